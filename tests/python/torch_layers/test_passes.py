"""Backward passes: what is one transaction, and passes that torch keeps after they have ended.

A GPU's thread keeps a pass.
"""

import unittest
from unittest import mock

# Before the others: without torch it skips this file.
from support import Case, Fails, torch  # isort: skip
from torch.utils.checkpoint import checkpoint

import damo
import damo.torch
from damo import _c_api
from damo.torch import _passes

nn = torch.nn

IDS = torch.tensor([1, 2])
has_numbers = hasattr(torch._C, "_current_graph_task_id")


class Transactions(Case):
    """Layers of a storage are stepped together."""

    def setUp(self):
        super().setUp()
        table = self.storage()
        self.layers = [
            damo.torch.Embedding(
                table, name, 2, optimizer=damo.SGD(lr=1.0), initializer=damo.Zeros()
            )
            for name in "abc"
        ]

    def loss(self, factor=1.0):
        return sum((layer(IDS) * factor).sum() for layer in self.layers)

    def check_one_step(self, step):
        with mock.patch.object(
            _c_api, "damo_step_apply_gradients", wraps=_c_api.damo_step_apply_gradients
        ) as together:
            with mock.patch.object(_c_api, "damo_embedding_apply_gradients") as alone:
                step()
        self.assertEqual((together.call_count, alone.call_count), (1, 0))

    def test_a_pass_is_one_transaction(self):
        for number in (1, 2):
            self.check_one_step(self.loss().backward)
            for layer in self.layers:
                self.assertEqual(layer.rows.step, number)
                self.assertEqual(layer.rows.peek(1)[0][0], -number)

    def test_a_step_of_an_optimizer_is_one_transaction(self):
        for number, kind in enumerate((damo.torch.SparseOptimizer, self.optimizer), 1):
            optimizer = kind(nn.ModuleList(self.layers))
            self.loss().backward()
            self.check_one_step(optimizer.step)
            optimizer.close()
            self.assertEqual([layer.rows.step for layer in self.layers], [number] * 3)

    def optimizer(self, model):
        return damo.torch.Optimizer(torch.optim.SGD(model.parameters(), lr=1.0), model)

    def test_a_layer_that_is_refused_is_named_and_changes_no_other(self):
        for wrong in (float("nan"), 1e19):
            first, second, third = self.layers
            loss = first(IDS).sum() + (third(IDS) * wrong).sum() + second(IDS).sum()
            self.assert_fails(ValueError, ["key 1 ", "'c'"], loss.backward)
            self.assertEqual([layer.rows.step for layer in self.layers], [0] * 3)

    def test_a_step_keeps_no_rows_and_no_storage_open(self):
        self.loss().backward()
        self.assertEqual(self.layers[0].rows.step, 1)
        rows = [layer.rows for layer in self.layers]
        rows[1].close()
        with self.assertRaises(damo.ClosedError):
            self.loss().backward()
        self.assertEqual(rows[0].step, 1)
        storage = rows[0].storage
        storage.close()
        damo.Storage(self.path("table")).close()


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
