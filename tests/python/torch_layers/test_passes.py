"""Backward passes that torch keeps after they have ended, as a GPU's thread does."""

import unittest
from unittest import mock

# Before the others: without torch it skips this file.
from support import Case, Fails, torch  # isort: skip
from torch.utils.checkpoint import checkpoint

import damo
import damo.torch
from damo.torch import _passes

IDS = torch.tensor([1, 2])
has_numbers = hasattr(torch._C, "_current_graph_task_id")


class Kept(Case):
    def setUp(self):
        super().setUp()
        self.kept = []
        call = _passes._call_at_end

        def keep(function):
            self.kept.append(function)
            return call(function)

        patch = mock.patch.object(_passes, "_call_at_end", keep)
        patch.start()
        self.addCleanup(patch.stop)

    def test_each_pass_is_a_step(self):
        layer = self.layer()
        for number in range(1, 5):
            layer(IDS).sum().backward()
            self.assertEqual(layer.rows.step, number)

    def test_each_pass_with_a_checkpoint_inside_is_a_step(self):
        layer = self.layer()
        for reentrant in (True, False):
            before = layer.rows.step
            for number in range(1, 5):
                one = torch.ones((), requires_grad=True)
                (
                    checkpoint(lambda one: layer(IDS) * one, one, use_reentrant=reentrant).sum()
                    + layer(IDS).sum()
                ).backward()
                self.assertEqual(layer.rows.step, before + number)

    def test_each_pass_counts_for_an_optimizer(self):
        layer = self.layer(optimizer=damo.SGD(lr=1.0), initializer=damo.Zeros())
        optimizer = damo.torch.SparseOptimizer(layer)
        for number in range(1, 5):
            layer(IDS).sum().backward()
            layer(IDS).sum().backward()
            optimizer.step()
            self.assertEqual((layer.rows.step, layer.rows.peek(1)[0][0]), (number, -2.0 * number))

    @unittest.skipUnless(has_numbers, "passes have no numbers before torch 2.1")
    def test_a_pass_after_one_that_failed_is_a_step(self):
        layer = self.layer()
        for number in range(1, 5):
            with self.assertRaises(OSError):
                (Fails.apply(torch.ones(4, requires_grad=True)) + layer(IDS)).sum().backward()
            step = layer.rows.step
            layer(IDS).sum().backward()
            self.assertEqual(layer.rows.step, step + 1)

    @unittest.skipUnless(has_numbers, "passes have no numbers before torch 2.1")
    def test_a_pass_after_one_that_failed_inside_another_is_a_step(self):
        layer = self.layer()
        for _ in range(4):
            one = torch.ones((), requires_grad=True)
            with self.assertRaises(OSError):
                checkpoint(
                    lambda one: Fails.apply(layer(IDS) * one), one, use_reentrant=True
                ).sum().backward()
            step = layer.rows.step
            checkpoint(lambda one: layer(IDS) * one, one, use_reentrant=True).sum().backward()
            self.assertEqual(layer.rows.step, step + 1)


if __name__ == "__main__":
    unittest.main()
