"""damo.torch.Optimizer against torch's optimizers on nn.Embedding: same loops, same weights."""

# Before the others: without torch it skips this file.
from support import close, torch  # isort: skip
from pair import Net, Pair, loss_of

import damo
import damo.torch

nn = torch.nn


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
