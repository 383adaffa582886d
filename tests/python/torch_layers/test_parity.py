"""Every optimizer follows the same model in PyTorch over 50 batches.

damo counts the steps of each row, and torch.optim those of each parameter. So the reference has one
parameter for each row. Rows that are not in a batch keep grad None, which torch.optim skips: so
both do the same. torch.optim.SparseAdam has one count for the whole table, as the last test shows.
"""

import math

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch

ROWS, DIM, BATCHES, BATCH, FIELDS = 40, 8, 50, 16, 3
TOLERANCE = 1e-5


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, parameters, lr=3e-4, betas=(0.9, 0.99), weight_decay=1e-2):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for w in (p for p in group["params"] if p.grad is not None):
                m = self.state[w].setdefault("m", torch.zeros_like(w))
                update = torch.sign(beta1 * m + (1 - beta1) * w.grad)
                w -= group["lr"] * (update + group["weight_decay"] * w)
                m.mul_(beta2).add_(w.grad, alpha=1 - beta2)


class Ftrl(torch.optim.Optimizer):
    """McMahan et al. 2013, algorithm 1."""

    def __init__(self, parameters, lr, beta, lambda1, lambda2):
        super().__init__(
            parameters, {"lr": lr, "beta": beta, "lambda1": lambda1, "lambda2": lambda2}
        )

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            alpha, beta, l1, l2 = (group[name] for name in ("lr", "beta", "lambda1", "lambda2"))
            for w in (p for p in group["params"] if p.grad is not None):
                state = self.state[w]
                z, n = state.setdefault("z", torch.zeros_like(w)), state.setdefault(
                    "n", torch.zeros_like(w)
                )
                sigma = ((n + w.grad**2).sqrt() - n.sqrt()) / alpha
                z += w.grad - sigma * w
                n += w.grad**2
                w.copy_(
                    torch.where(
                        z.abs() <= l1, 0.0, -(z - z.sign() * l1) / ((beta + n.sqrt()) / alpha + l2)
                    )
                )


class RowwiseAdagrad(torch.optim.Optimizer):
    """FBGEMM's: one accumulator a row."""

    def __init__(self, parameters, lr, eps=1e-8):
        super().__init__(parameters, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in (p for p in group["params"] if p.grad is not None):
                m = self.state[w].setdefault("m", torch.zeros(()))
                m += (w.grad**2).mean()
                w -= group["lr"] * w.grad / (m.sqrt() + group["eps"])


class RowTable(torch.nn.Module):
    """The reference: a parameter a row."""

    def __init__(self, rows):
        super().__init__()
        self.rows = torch.nn.ParameterList([torch.nn.Parameter(row.clone()) for row in rows])

    def forward(self, ids):
        return torch.stack([self.rows[i] for i in ids.reshape(-1).tolist()]).view(*ids.shape, DIM)


class Net(torch.nn.Module):
    def __init__(self, table):
        super().__init__()
        self.table = table
        self.dense = torch.nn.Sequential(
            torch.nn.Linear(FIELDS * DIM, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        )

    def forward(self, ids):
        return self.dense(self.table(ids).flatten(1)).squeeze(1)


def batches(seed=3):
    generator = torch.Generator().manual_seed(seed)
    for number in range(BATCHES):
        # Rows come in one after the other, so that their step counts differ. Ids repeat in a batch.
        known = min(ROWS, 5 + number)
        yield (
            torch.randint(0, known, (BATCH, FIELDS), generator=generator),
            torch.randint(0, 2, (BATCH,), generator=generator).float(),
        )


class Parity(Case):
    def follows(self, ours, theirs, deferred=False):
        layer = self.layer(dim=DIM, optimizer=ours, storage=self.storage(f"table{id(ours)}"))
        net = Net(layer)
        initial = torch.from_numpy(layer.rows[range(ROWS)])
        reference = Net(RowTable(initial))
        reference.dense.load_state_dict(net.dense.state_dict())
        sparse = damo.torch.SparseOptimizer(net) if deferred else None
        optimizers = {
            model: [torch.optim.SGD(model.dense.parameters(), lr=0.1)] for model in (net, reference)
        }
        optimizers[reference].append(theirs(reference.table.parameters()))
        if sparse is not None:
            optimizers[net].append(sparse)
        for ids, labels in batches():
            losses = []
            for model, steps in optimizers.items():
                for optimizer in steps:
                    # None, not zeros: torch.optim leaves a row with grad None alone.
                    optimizer.zero_grad(set_to_none=True)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(model(ids), labels)
                loss.backward()
                losses.append(loss.item())
                for optimizer in steps:
                    optimizer.step()
            self.assertLess(abs(losses[0] - losses[1]), TOLERANCE)
        mine = torch.from_numpy(layer.rows.peek(range(ROWS))[0])
        other = torch.stack([row.detach() for row in reference.table.rows])
        moved = (mine - initial).abs().max().item()
        self.assertGreater(moved, 1e-3, "the rows have been trained")
        difference = (mine - other).abs().max().item()
        self.assertLess(difference, TOLERANCE)
        return difference

    def test_sgd(self):
        self.follows(
            damo.SGD(lr=0.5, weight_decay=0.01),
            lambda p: torch.optim.SGD(p, lr=0.5, weight_decay=0.01),
        )

    def test_adagrad(self):
        self.follows(
            damo.Adagrad(lr=0.05, lr_decay=0.01),
            lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.01),
        )

    def test_adam(self):
        self.follows(damo.Adam(lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01))

    def test_adam_with_weight_decay(self):
        self.follows(
            damo.Adam(lr=0.01, weight_decay=0.1),
            lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
        )

    def test_amsgrad(self):
        self.follows(damo.AMSGrad(lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True))

    def test_adamw(self):
        self.follows(damo.AdamW(lr=0.01), lambda p: torch.optim.AdamW(p, lr=0.01))

    def test_lion(self):
        self.follows(damo.Lion(lr=1e-3), lambda p: Lion(p, lr=1e-3))

    def test_ftrl(self):
        self.follows(
            damo.FTRL(lr=0.1, beta=1.0, lambda1=1e-4, lambda2=1e-3),
            lambda p: Ftrl(p, lr=0.1, beta=1.0, lambda1=1e-4, lambda2=1e-3),
        )

    def test_rowwise_adagrad(self):
        self.follows(damo.RowwiseAdagrad(lr=0.05), lambda p: RowwiseAdagrad(p, lr=0.05))

    def test_stepped_by_a_sparse_optimizer(self):
        self.follows(damo.Adam(lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01), deferred=True)

    def test_sparse_adam_counts_steps_of_the_table(self):
        """A row first seen at step t: SparseAdam corrects its bias as at step t, damo as at 1."""
        table = torch.nn.Embedding(2, 4, sparse=True)
        torch.nn.init.zeros_(table.weight)
        theirs = torch.optim.SparseAdam(table.parameters(), lr=0.01)
        ours = self.layer(optimizer=damo.Adam(lr=0.01), initializer=damo.Zeros())
        for ids in [torch.tensor([0])] * 99 + [torch.tensor([1])]:
            theirs.zero_grad()
            table(ids).sum().backward()
            theirs.step()
            ours(ids).sum().backward()
        ours.eval()
        # The row that has been in every batch is the same. SparseAdam's first step of the late one
        # is (1 - 0.9) / sqrt(1 - 0.999) * sqrt(1 - 0.999^100) / (1 - 0.9^100) = 0.98 times the
        # rate. damo's is the rate.
        torch.testing.assert_close(
            ours(torch.tensor([0])), table(torch.tensor([0])).detach(), rtol=1e-4, atol=1e-6
        )
        self.assertAlmostEqual(ours(torch.tensor([1]))[0, 0].item(), -0.01, places=6)
        factor = (1 - 0.9) / math.sqrt(1 - 0.999) * math.sqrt(1 - 0.999**100) / (1 - 0.9**100)
        self.assertAlmostEqual(table(torch.tensor([1]))[0, 0].item(), -0.01 * factor, places=5)
