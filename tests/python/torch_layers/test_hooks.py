"""Hooks that see gradients of rows, and what else code does to a layer's anchor."""

import unittest

# Before the others: without torch it skips this file.
from support import Rows, close, torch  # isort: skip

from torch.utils.checkpoint import checkpoint

import damo
import damo.torch

nn = torch.nn
ids = torch.tensor


class Hooks(Rows):
    def test_hooks_on_the_output_change_gradients(self):
        out = self.table(ids([1]))
        out.register_hook(lambda gradient: gradient * 3)
        out.sum().backward()
        self.assertEqual(self.weights(1), [-3])

    def test_hooks_on_parameters_see_the_norm_and_may_scale_and_clamp(self):
        seen = []
        for made, expected in (
            (lambda gradient: seen.append(float(gradient.norm())), -2.0),
            (lambda gradient: gradient * 0.5, -1.0),
            (lambda gradient: gradient.clamp(-0.5, 0.5), -0.5),
            (lambda gradient: gradient * 0, 0.0),
        ):
            table = self.layer(
                storage=self.storage(f"hooked {expected}"),
                initializer=damo.Zeros(),
                optimizer=damo.SGD(lr=1.0),
            )
            for parameter in table.parameters():
                parameter.register_hook(made)
            (table(ids([1])).sum() + table(ids([1, 2])).sum()).backward()
            self.assertEqual((table.rows.peek(1)[0][0], table.rows.step), (expected, 1))
        close(torch.tensor(seen[0]), torch.tensor((4 * 4.0 + 4.0) ** 0.5))

    def test_hooks_while_gradients_add_up(self):
        table = self.layer(
            initializer=damo.Zeros(), optimizer=damo.SGD(lr=1.0), storage=self.storage("adds up")
        )
        optimizer = damo.torch.SparseOptimizer(table)
        table.anchor.register_hook(lambda gradient: gradient * 0.5)
        total = torch.zeros(2, 4)
        for factor in (1e4, 0.3, 0.7, 1e-3):
            gradient = factor * torch.randn(2, 4)
            (table(ids([1, 2])) * gradient).sum().backward()
            total += gradient * 0.5
        optimizer.step()
        close(-torch.from_numpy(table.rows.peek([1, 2])[0]) / 1e4, total / 1e4, 1e-6)

    def test_hooks_that_do_something_else_are_refused(self):
        self.table.anchor.register_hook(lambda gradient: gradient + 1)
        self.assert_fails(RuntimeError, ["hook", "clamped"], self.table(ids([1])).sum().backward)
        self.assertEqual(self.step, 0)

    @unittest.skipUnless(
        hasattr(torch.Tensor, "register_post_accumulate_grad_hook"), "needs torch 2.1"
    )
    def test_hooks_after_accumulation(self):
        seen = []
        self.table.anchor.register_post_accumulate_grad_hook(
            lambda anchor: seen.append(float(anchor.grad.norm()))
        )
        self.table(ids([1])).sum().backward()
        self.assertEqual((seen, self.weights(1), self.table.anchor.grad), ([2.0], [-1], None))


class Anchors(Rows):
    def test_loops_over_parameters(self):
        for parameter in self.table.parameters():
            self.assertEqual(
                (
                    float(parameter.detach().abs().max()),
                    float(parameter.detach().mean()),
                    float(parameter.detach().norm(float("inf"))),
                ),
                (0, 0, 0),
            )
            torch.histogram(parameter.detach(), 10)
            nn.init.xavier_uniform_(parameter)
            nn.init.kaiming_normal_(parameter)
        before = self.table.rows.step
        self.table(ids([1])).sum().backward()
        self.assertEqual(
            (float(self.table.anchor.detach().abs().max()), self.step, self.weights(1)),
            (0, before + 1, [-1]),
        )

    def test_terms_over_parameters_and_optimizers_that_hold_them_do_nothing_to_rows(self):
        optimizer = torch.optim.Adam(self.table.parameters(), lr=0.5, weight_decay=0.5)
        for number in range(1, 4):
            optimizer.zero_grad()
            term = sum(
                parameter.pow(2).sum() + parameter.abs().sum() + parameter.norm()
                for parameter in self.table.parameters()
            )
            (self.table(ids([1])).sum() + term).backward()
            optimizer.step()
            self.assertEqual(
                (float(term.detach()), self.step, self.weights(1)), (0, number, [-number])
            )

    def test_names(self):
        names = [name for name, _ in self.table.named_parameters()]
        self.assertTrue(set(names) <= set(self.table.state_dict()), names)
        other = self.layer(storage=self.storage("other"))
        for anchor in ({}, {"anchor": torch.zeros(0)}, {"anchor": torch.ones(64, 64)}):
            state = {**anchor, "_extra_state": other.state_dict()["_extra_state"]}
            other.load_state_dict(state)
        other(ids([1]))
        self.assertEqual(float(other.anchor.detach().abs().max()), 0)

    def test_a_parameter_that_takes_its_place(self):
        for _ in range(2):
            self.table.anchor = nn.Parameter(torch.zeros(64, 64))
            self.table(ids([1])).sum().backward()
        self.table.double()
        self.table(ids([1])).sum().backward()
        self.assertEqual((self.step, self.weights(1)), (3, [-3]))
