"""Models and loops of public programs, written again in a few lines: accumulation, clipping, a
schedule, early stopping with the best epoch, and resuming.

The factorization machine is Rendle's (2010), DeepFM that of Guo et al. (2017), DLRM that of Naumov
et al. (2019), with the row-wise Adagrad of its authors.
"""

from __future__ import annotations

import copy

import damo
import damo.torch
import torch
from checks import AUC, DIGITS, SMOOTH, Check, auc
from logs import TEST, TRAIN, VALID
from torch import nn

PACKAGE = None


class FM(nn.Module):
    """A bias, a weight for each id, and the products of the factors of each pair of ids."""

    def __init__(self, sizes, dim=8, sparse=False):
        super().__init__()
        self.register_buffer("begins", torch.tensor([0, *sizes[:-1]]).cumsum(0))
        self.bias = nn.Parameter(torch.zeros(1))
        self.weights = nn.Embedding(sum(sizes), 1, sparse=sparse)
        self.factors = nn.Embedding(sum(sizes), dim, sparse=sparse)
        nn.init.zeros_(self.weights.weight)
        nn.init.normal_(self.factors.weight, std=0.05)

    def forward(self, ids):
        ids = ids + self.begins
        factors = self.factors(ids)
        pairs = (factors.sum(1).square() - factors.square().sum(1)).sum(1) / 2
        return self.bias + self.weights(ids).sum((1, 2)) + pairs + self.deep(factors)

    def deep(self, factors):
        return 0.0


class DeepFM(FM):
    """FM, and a net over the factors of all fields side by side."""

    def __init__(self, sizes, dim=8, sparse=False):
        super().__init__(sizes, dim, sparse)
        self.net = nn.Sequential(nn.Linear(dim * len(sizes), 32), SMOOTH(), nn.Linear(32, 1))

    def deep(self, factors):
        return self.net(factors.flatten(1)).squeeze(1)


class DLRM(nn.Module):
    """A net over numbers, bags of ids, the products of all pairs, and a net over these.

    The log has no numbers: the ids of its three smallest fields are used as numbers.
    """

    def __init__(self, sizes, dim=8, sparse=True):
        super().__init__()
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        self.numbers, self.fields = sorted(order[:3]), sorted(order[3:])
        self.bottom = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, dim), nn.ReLU())
        self.bags = nn.ModuleList(
            nn.EmbeddingBag(sizes[field], dim, mode="sum", sparse=sparse) for field in self.fields
        )
        for bag in self.bags:
            bound = bag.num_embeddings**-0.5
            nn.init.uniform_(bag.weight, -bound, bound)
        vectors = len(self.fields) + 1
        self.register_buffer("pairs", torch.triu_indices(vectors, vectors, offset=1))
        self.top = nn.Sequential(
            nn.Linear(dim + self.pairs.shape[1], 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def forward(self, ids):
        dense = self.bottom(ids[:, self.numbers].float() / 10)
        one_each = torch.arange(len(ids))
        bags = [bag(ids[:, field], one_each) for bag, field in zip(self.bags, self.fields)]
        vectors = torch.stack([dense, *bags], 1)
        products = (vectors @ vectors.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([dense, products], 1)).squeeze(1)


class RowwiseAdagrad(torch.optim.Optimizer):
    """Adagrad with one sum for each row, of the mean of its squared gradients. Sparse ones only."""

    def __init__(self, parameters, lr, eps=1e-8):
        super().__init__(parameters, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                gradient = weight.grad.coalesce()
                rows, values = gradient.indices()[0], gradient.values()
                state = self.state[weight]
                sums = state.setdefault("sums", torch.zeros(len(weight)))
                sums[rows] += values.square().mean(1)
                steps = group["lr"] * values / (sums[rows].sqrt() + group["eps"]).unsqueeze(1)
                weight.index_add_(0, rows, -steps)


class RowAdam(torch.optim.Optimizer):
    """Adam with a count of steps for each row, as damo's. Sparse gradients only."""

    def __init__(self, parameters, lr, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                self.step_rows(weight, group["lr"], *group["betas"], group["eps"])

    def step_rows(self, weight, lr, beta1, beta2, eps):
        gradient = weight.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        state = self.state[weight]
        if not state:
            state.update(
                steps=torch.zeros(len(weight), 1),
                mean=torch.zeros_like(weight),
                square=torch.zeros_like(weight),
            )
        state["steps"][rows] += 1
        state["mean"][rows] = state["mean"][rows].lerp(values, 1 - beta1)
        state["square"][rows] = state["square"][rows].lerp(values.square(), 1 - beta2)
        mean = state["mean"][rows] / (1 - beta1 ** state["steps"][rows])
        square = state["square"][rows] / (1 - beta2 ** state["steps"][rows])
        weight.index_add_(0, rows, -lr * mean / (square.sqrt() + eps))


def tensors(log, part):
    return tuple(torch.from_numpy(values) for values in log.parts[part])


@torch.no_grad()
def scores(model, log, part):
    model.eval()
    found = torch.cat([model(ids) for ids in tensors(log, part)[0].split(1024)])
    model.train()
    return found.numpy()


def epoch(model, optimizers, log, number, accumulate=1, clip=None, schedule=None):
    """One epoch, whose order is that of its number."""
    ids, clicks = tensors(log, TRAIN)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(number))
    loss_of = nn.BCEWithLogitsLoss()
    for place, batch in enumerate(order.split(256)):
        (loss_of(model(ids[batch]), clicks[batch]) / accumulate).backward()
        if (place + 1) % accumulate:
            continue
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if schedule:
            schedule.step()


def made(kind, log, storage, make_dense, rows, **options):
    """A model and its optimizer."""
    model = kind(log.sizes, **options)
    if storage:
        damo.torch.convert(model, storage, optimizer=rows)  # damo
    optimizer = make_dense(model.parameters())
    if storage:
        optimizer = damo.torch.Optimizer(optimizer, model)  # damo
    return model, optimizer


def torch_adagrad(parameters):
    # From 0 the first step would be as large for rounding errors as for gradients.
    return torch.optim.Adagrad(parameters, 0.1, initial_accumulator_value=0.01)


def damo_adagrad():
    return damo.Adagrad(0.1, initial_accumulator_value=0.01)


def accumulated(log, storage, folder):
    sgd = lambda p: torch.optim.SGD(p, 0.5)  # noqa: E731
    model, optimizer = made(DeepFM, log, storage, sgd, damo.SGD(0.5))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=1000, cycle_momentum=False
    )
    for number in range(4):
        epoch(model, [optimizer], log, number, accumulate=3, clip=0.1, schedule=schedule)
    return scores(model, log, TEST)


def stopped(log, storage, folder):
    model, optimizer = made(DeepFM, log, storage, torch_adagrad, damo_adagrad())
    best, waited = 0.0, 0
    for number in range(12):
        epoch(model, [optimizer], log, number)
        reached = auc(scores(model, log, VALID), log.parts[VALID][1])
        if reached > best:
            best, waited = reached, 0
            if storage:
                damo.torch.save_checkpoint(model, optimizer, f"{folder}/best")  # damo
            else:
                kept = copy.deepcopy(model.state_dict())
        elif (waited := waited + 1) == 2:
            break
    if storage:
        damo.torch.load_checkpoint(f"{folder}/best", model, optimizer)  # damo
    else:
        model.load_state_dict(kept)
    return scores(model, log, TEST)


def resumed(log, storage, folder):
    """The second half of the epochs in a model that is made anew; torch goes through in one go."""
    parts = [(range(4), storage)]
    if storage:
        parts = [(range(2), storage), (range(2, 4), storage)]
    for numbers, where in parts:
        made_here = again(log, where) if where else made(FM, log, None, torch_adagrad, None)
        model, optimizer = made_here
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
        if storage and numbers.start:
            damo.torch.load_checkpoint(
                f"{folder}/last", model, optimizer, schedule=schedule
            )  # damo
        for number in numbers:
            epoch(model, [optimizer], log, number)
            schedule.step()
        if storage:
            damo.torch.save_checkpoint(
                model, optimizer, f"{folder}/last", schedule=schedule
            )  # damo
    return scores(model, log, TEST)


def again(log, storage):
    model = FM(log.sizes)
    damo.torch.convert(model, storage, optimizer=damo_adagrad(), exist_ok=True)  # damo
    optimizer = torch_adagrad(model.parameters())
    return model, damo.torch.Optimizer(optimizer, model)  # damo


def adam(log, storage, make_sparse):
    if storage:
        model, optimizer = made(
            FM, log, storage, lambda p: torch.optim.Adam(p, 0.01), damo.Adam(0.01)
        )
        optimizers = [optimizer]
    else:
        model = FM(log.sizes, sparse=True)
        rows = [model.weights.weight, model.factors.weight]
        optimizers = [make_sparse(rows, 0.01), torch.optim.Adam([model.bias], 0.01)]
    for number in range(5):
        epoch(model, optimizers, log, number)
    return scores(model, log, TEST)


def sparse_adam(log, storage, folder):
    return adam(log, storage, torch.optim.SparseAdam)


def row_adam(log, storage, folder):
    return adam(log, storage, RowAdam)


def rowwise(log, storage, folder):
    model = DLRM(log.sizes)
    if storage:
        damo.torch.convert(model, storage, optimizer=damo.RowwiseAdagrad(0.1))  # damo
    nets = [*model.bottom.parameters(), *model.top.parameters()]
    optimizers = [torch.optim.SGD(nets, 0.1)]
    if storage:
        optimizers = [damo.torch.Optimizer(optimizers[0], model)]  # damo
    else:
        optimizers.append(RowwiseAdagrad(model.bags.parameters(), 0.1))
    for number in range(4):
        epoch(model, optimizers, log, number)
    return scores(model, log, TEST)


CHECKS = [
    Check(
        "DeepFM, SGD, 3 batches a step, clipped, OneCycle", accumulated, DIGITS, (made, accumulated)
    ),
    Check("DeepFM, Adagrad, early stopping, best weights", stopped, DIGITS, (made, stopped)),
    Check("FM, Adagrad, cosine, saved and gone on with", resumed, DIGITS, (resumed, again)),
    Check("FM, SparseAdam and damo.Adam", sparse_adam, AUC, (made,)),
    Check("FM, Adam with a count for each row, retold", row_adam, AUC, (made,)),
    Check("DLRM, row-wise Adagrad, sparse bags", rowwise, DIGITS, (rowwise,)),
]
