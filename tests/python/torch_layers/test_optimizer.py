"""damo.torch.Optimizer against torch's optimizers on nn.Embedding: same loops, same weights."""

import copy
import gc

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn
IDS = 12


class Net(nn.Module):
    """Ids and results are in main memory, and what is between is on the device."""

    def __init__(self, table, dense=True, device="cpu"):
        super().__init__()
        self.table = table
        self.dense = nn.Linear(4, 1) if dense else nn.Identity()
        self.device = device
        self.to(device)

    def forward(self, ids):
        return self.dense(self.table(ids.to(self.device))).cpu()


class Pair(Case):
    """The same model twice: on damo.torch.Embedding and on torch.nn.Embedding."""

    device = "cpu"

    def made(self, rows=None, name="table", lr=0.5, dense=torch.optim.SGD, dim=4, **options):
        torch.manual_seed(2)
        theirs = Net(nn.Embedding(IDS, dim), dim == 4, self.device)
        table = self.layer(dim, storage=self.storage(name), optimizer=rows or damo.SGD(lr=lr))
        ours = Net(table, dim == 4, self.device)
        ours.dense.load_state_dict(theirs.dense.state_dict())
        ours.table.rows.insert(range(IDS), theirs.table.weight.detach().cpu().numpy().copy())
        optimizers = [dense(model.parameters(), lr=lr, **options) for model in (ours, theirs)]
        return ours, theirs, damo.torch.Optimizer(optimizers[0], ours), optimizers[1]

    def assert_equal(self, ours, theirs, tolerance=1e-6):
        close(
            torch.from_numpy(ours.table.rows.peek(range(IDS))[0]),
            theirs.table.weight.detach().cpu(),
            tolerance,
        )
        for mine, other in zip(ours.dense.parameters(), theirs.dense.parameters()):
            close(mine.detach(), other.detach(), tolerance)

    def both(self, made, loop, tolerance=1e-6):
        """Runs loop(model, optimizer) for both, and compares their weights."""
        ours, theirs, mine, other = made
        for model, optimizer in ((ours, mine), (theirs, other)):
            torch.manual_seed(4)
            loop(model, optimizer)
        self.assert_equal(ours, theirs, tolerance)


def batch(number):
    generator = torch.Generator().manual_seed(number)
    return torch.randint(IDS, (6, 2), generator=generator), torch.rand(6, 2, 1, generator=generator)


def loss_of(model, number):
    ids, wanted = batch(number)
    return (model(ids) - wanted).square().sum()


class Loops(Pair):
    def test_plain(self):
        def loop(model, optimizer):
            for number in range(5):
                optimizer.zero_grad()
                loss_of(model, number).backward()
                optimizer.step()

        self.both(self.made(lr=0.05), loop)

    def test_zero_grad_from_anywhere(self):
        def loop(model, optimizer):
            zeroes = [
                optimizer.zero_grad,
                model.zero_grad,
                lambda: nn.ModuleList([model]).zero_grad(),
                lambda: model.zero_grad(set_to_none=False),
                lambda: optimizer.zero_grad(set_to_none=False),
                lambda: [setattr(parameter, "grad", None) for parameter in model.parameters()],
                lambda: [parameter.grad.zero_() for parameter in model.parameters()],
                lambda: [
                    setattr(parameter, "grad", torch.zeros_like(parameter))
                    for parameter in model.parameters()
                ],
            ]
            for number, zero in enumerate(zeroes):
                (loss_of(model, 50 + number) * 100).backward()
                zero()
                loss_of(model, number).backward()
                optimizer.step()
                optimizer.zero_grad()

        self.both(self.made(lr=0.01), loop)

    def test_accumulation_with_and_without_zeroing(self):
        def loop(model, optimizer):
            for number in range(9):
                (loss_of(model, number) / 3).backward()
                if number % 3 == 2:
                    optimizer.step()
                    if number < 6:
                        optimizer.zero_grad()
            # As in torch, a step without zero_grad applies the same gradients again.
            optimizer.step()

        self.both(self.made(lr=0.05), loop, 1e-5)

    def test_skipped_and_failing_batches(self):
        def loop(model, optimizer):
            for number in range(8):
                optimizer.zero_grad()
                if number == 3:
                    optimizer.step()  # There are no gradients.
                    continue
                loss = loss_of(model, number)
                if number == 5:
                    loss.register_hook(lambda _: 1 / 0)
                    with self.assertRaises(ZeroDivisionError):
                        loss.backward()
                    continue
                loss.backward()
                if number != 6:  # Gradients that nobody steps.
                    optimizer.step()

        made = self.made(lr=0.05)
        self.both(made, loop)
        self.assertEqual(made[0].table.rows.step, 5)

    def test_closures(self):
        def loop(model, optimizer):
            for number in range(4):

                def closure():
                    optimizer.zero_grad()
                    loss = loss_of(model, number)
                    loss.backward()
                    return loss

                self.assertGreater(float(optimizer.step(closure).detach()), 0)

        self.both(self.made(lr=0.05), loop)

    def test_lbfgs_steps_rows_by_the_last_gradient(self):
        ours, _, optimizer, _ = self.made(dense=torch.optim.LBFGS, lr=0.1)
        calls = []

        def closure():
            optimizer.zero_grad()
            loss = loss_of(ours, 1)
            loss.backward()
            calls.append(loss.detach())
            return loss

        for number in range(1, 4):
            optimizer.step(closure)
            self.assertEqual(ours.table.rows.step, number)
        self.assertGreater(len(calls), 6)
        self.assertLess(calls[-1], calls[0])

    def test_two_optimizers_over_two_models(self):
        first, second = self.made(lr=0.05), self.made(lr=0.05, name="other")
        for which in (0, 1):
            models, optimizers = (
                (first[which], second[which]),
                (first[which + 2], second[which + 2]),
            )
            for number in range(6):
                for optimizer in optimizers:
                    optimizer.zero_grad()
                sum(loss_of(model, number) for model in models).backward()
                optimizers[number % 2].step()
        for made in (first, second):
            self.assert_equal(*made[:2])
            self.assertEqual(made[0].table.rows.step, 3)

    def test_eval_mode_between_two_fits(self):
        def loop(model, optimizer):
            for number in range(6):
                model.train(number < 2)
                optimizer.zero_grad()
                loss_of(model, number).backward()
                optimizer.step()

        self.both(self.made(lr=0.05), loop)

    def test_a_table_that_is_used_twice(self):
        def loop(model, optimizer):
            for number in range(4):
                optimizer.zero_grad()
                (loss_of(model, number) + loss_of(model, number + 1) * 2).backward()
                optimizer.step()

        self.both(self.made(lr=0.02), loop)

    def test_adagrad_is_torchs(self):
        def loop(model, optimizer):
            for number in range(6):
                optimizer.zero_grad()
                loss_of(model, number).backward()
                optimizer.step()

        self.both(
            self.made(rows=damo.Adagrad(lr=0.1), dense=torch.optim.Adagrad, lr=0.1), loop, 1e-5
        )


class Schedules(Pair):
    def test_torchs_schedules_drive_both(self):
        schedules = torch.optim.lr_scheduler
        for name, make in {
            "step": lambda optimizer: schedules.StepLR(optimizer, 2, gamma=0.5),
            "plateau": lambda optimizer: schedules.ReduceLROnPlateau(
                optimizer, patience=0, factor=0.5
            ),
            "cosine": lambda optimizer: schedules.CosineAnnealingLR(optimizer, 5),
        }.items():
            with self.subTest(name):

                def loop(model, optimizer):
                    schedule = make(optimizer)
                    for number in range(6):
                        optimizer.zero_grad()
                        loss_of(model, number).backward()
                        optimizer.step()
                        schedule.step(*([1.0] if name == "plateau" else []))

                self.both(self.made(lr=0.05, name=name), loop)

    def test_one_cycle(self):
        for number, dense in enumerate((torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)):
            table = self.layer(storage=self.storage(str(number)))
            model = Net(table)
            options = {"momentum": 0.9} if dense is torch.optim.SGD else {}
            made = dense(damo.torch.dense_parameters(model), lr=0.1, **options)
            optimizer = damo.torch.Optimizer(made, model)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=[0.1, 0.4], total_steps=10
            )
            rates = set()
            for step in range(9):
                optimizer.zero_grad()
                loss_of(model, step).backward()
                optimizer.step()
                close(
                    torch.tensor(optimizer.param_groups[1]["lr"]),
                    torch.tensor(made.param_groups[0]["lr"] * 4),
                )
                rates.add(table.rows.optimizer.learning_rate)
                schedule.step()
            self.assertEqual(len(rates), 9)
        sparse = damo.torch.SparseOptimizer(self.layer(storage=self.storage("sparse")))
        torch.optim.lr_scheduler.OneCycleLR(sparse, max_lr=0.1, total_steps=10)


class Groups(Pair):
    def test_what_stands_for_rows_leaves_dense(self):
        ours, _, optimizer, _ = self.made()
        anchor = ours.table.anchor
        self.assertFalse(
            any(
                held is anchor for group in optimizer.dense.param_groups for held in group["params"]
            )
        )
        self.assertIs(optimizer.param_groups[0], optimizer.dense.param_groups[0])
        self.assertIs(optimizer.param_groups[1]["params"][0], anchor)
        self.assertEqual(optimizer.param_groups[1]["rows"], "user")
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.25})
        self.assertEqual([group["lr"] for group in optimizer.param_groups], [0.5, 0.25, 0.5])

    def test_weight_decay_of_rows_is_refused(self):
        model = Net(self.layer())
        dense = torch.optim.AdamW(model.parameters())
        self.assert_fails(
            ValueError, ["weight_decay", "dense_parameters"], damo.torch.Optimizer, dense, model
        )
        self.assertTrue(any(held is model.table.anchor for held in dense.param_groups[0]["params"]))
        dense = torch.optim.AdamW(damo.torch.dense_parameters(model), weight_decay=0.1)
        optimizer = damo.torch.Optimizer(dense, model)
        optimizer.param_groups[1]["weight_decay"] = 0.1
        loss_of(model, 1).backward()
        before = [parameter.detach().clone() for parameter in model.dense.parameters()]
        self.assert_fails(ValueError, ["weight_decay", "damo.Adam"], optimizer.step)
        self.assertEqual(model.table.rows.step, 0)
        for parameter, was in zip(model.dense.parameters(), before):
            close(parameter.detach(), was, 0)

    def test_both_step_or_none(self):
        ours, _, optimizer, _ = self.made()
        (ours(torch.tensor([3])) * float("nan")).sum().backward()
        before = ours.dense.weight.detach().clone()
        self.assert_fails(ValueError, ["key 3"], optimizer.step)
        self.assert_fails(ValueError, ["key 3"], optimizer.step, lambda: 0)
        close(ours.dense.weight.detach(), before, 0)
        self.assertEqual(ours.table.rows.step, 0)
        optimizer.zero_grad()
        loss_of(ours, 1).backward()
        optimizer.step()
        self.assertEqual(ours.table.rows.step, 1)

    def test_state_dict_has_the_form_of_torchs(self):
        ours, _, optimizer, _ = self.made(dense=torch.optim.Adam, lr=0.1)
        for number in range(3):
            optimizer.zero_grad()
            loss_of(ours, number).backward()
            optimizer.step()
        optimizer.param_groups[1]["lr"] = 0.125
        state = copy.deepcopy(optimizer.state_dict())
        self.assertEqual([group["params"] for group in state["param_groups"]], [[0, 1], [2]])
        self.assertEqual(set(state["state"]), {0, 1})
        again, _, other, _ = self.made(dense=torch.optim.Adam, lr=0.1, name="other")
        other.load_state_dict(state)
        self.assertEqual(other.param_groups[1]["lr"], 0.125)
        self.assertIs(other.param_groups[0], other.dense.param_groups[0])
        self.assertIs(other.state, other.dense.state)
        wrong = {
            **state,
            "param_groups": [
                *state["param_groups"][:1],
                {**state["param_groups"][1], "rows": "item"},
            ],
        }
        self.assert_fails(ValueError, ["'item'", "'user'"], other.load_state_dict, wrong)
        self.assert_fails(
            ValueError, ["param_groups"], other.load_state_dict, optimizer.dense.state_dict()
        )

    def test_what_is_refused(self):
        model = Net(self.layer())
        dense = torch.optim.SGD(model.parameters(), lr=0.1)
        self.assert_fails(
            TypeError, ["torch.optim.Optimizer", "Net"], damo.torch.Optimizer, model, dense
        )
        self.assert_fails(ValueError, ["layers"], damo.torch.Optimizer, dense, nn.Linear(1, 1))
        optimizer = damo.torch.Optimizer(dense, model)
        self.assert_fails(TypeError, ["dense"], damo.torch.Optimizer, optimizer, model)
        self.assert_fails(TypeError, ["state_dict"], copy.deepcopy, optimizer)

    def test_one_that_is_closed_or_gone_collects_no_more(self):
        for end in (lambda optimizer: optimizer.close(), lambda _: None):
            ours, _, optimizer, _ = self.made(name=str(end))
            end(optimizer)
            del optimizer
            gc.collect()
            ours(torch.tensor([1])).sum().backward()
            self.assertEqual((ours.table.rows.step, ours.table.anchor.grad), (1, None))

    def test_an_anchor_that_is_replaced_is_noticed(self):
        ours, _, optimizer, _ = self.made()
        loss_of(ours, 1).backward()
        ours.table.anchor = nn.Parameter(torch.zeros(64, 64))  # As fully_shard does.
        self.assert_fails(RuntimeError, ["fully_shard", "ignored_params"], optimizer.step)
        self.assertEqual(ours.table.rows.step, 0)
        optimizer.zero_grad()
        optimizer.step()
        loss_of(ours, 1).backward()
        optimizer.step()
        self.assertEqual(ours.table.rows.step, 1)
