"""Embedding against torch.nn's, what it refuses, and training that goes on from a state_dict."""

import copy
import pickle
import threading
import unittest.mock
import warnings

# Before the others: without torch it skips this file.
from support import Case, Fails, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn


class Embedding(Case):
    def test_ids_of_any_shape(self):
        layer = self.layer()
        for shape in ((), (0,), (5,), (2, 3), (2, 0, 3), (2, 3, 4)):
            ids = torch.randint(-(2**62), 2**62, shape)
            self.assertEqual(layer(ids).shape, (*shape, 4))
        columns = torch.arange(12).view(3, 4).t()
        close(layer(columns), layer(columns.contiguous()))
        close(layer(torch.arange(3, dtype=torch.int32)), layer(torch.arange(3)))
        self.assert_fails(TypeError, ["int64", "float32"], layer, torch.zeros(3))
        self.assert_fails(TypeError, ["int64", "list"], layer, [1, 2])

    def test_backward_steps_the_rows_once_with_the_sum(self):
        layer = self.layer(initializer=damo.Zeros())
        ids = torch.tensor([[1, 2], [1, 3]])
        layer(ids).sum().backward()
        layer.eval()
        close(layer(torch.tensor([1, 2, 3]))[:, 0], torch.tensor([-1.0, -0.5, -0.5]))
        self.assertEqual((layer.rows.step, layer.rows.record(1).update_num), (1, 1))
        self.assertEqual(
            [(parameter.shape, parameter.grad) for parameter in layer.parameters()],
            [((64, 64), None)],
        )

    def test_a_layer_that_is_used_twice_has_one_step(self):
        layer = self.layer(initializer=damo.Zeros())
        rows = layer.rows
        bag = damo.torch.EmbeddingBag(rows, mode="sum")
        for turn in range(1, 3):
            ids = torch.tensor([1, 2])
            (layer(ids).sum() + layer(ids[:1]).sum() + bag(ids.view(1, 2)).sum()).backward()
            self.assertEqual((rows.step, rows.record(1).update_num), (turn, turn))
            close(torch.from_numpy(rows.peek([1, 2])[0][:, 0]), torch.tensor([-1.5, -1.0]) * turn)

    def test_a_backward_that_fails_changes_nothing(self):
        layer = self.layer(initializer=damo.Zeros())
        weight = nn.Parameter(torch.ones(4))
        for _ in range(2):
            out = layer(torch.tensor([1])) * Fails.apply(weight)
            self.assert_fails(
                OSError, ["in backward"], (out.sum() + layer(torch.tensor([2])).sum()).backward
            )
            layer(torch.tensor([3])).sum().backward()
        self.assertEqual(
            (layer.rows.step, layer.rows.peek([1, 2, 3])[0][:, 0].tolist()), (2, [0, 0, -1])
        )

    def test_gradients_that_are_not_finite_leave_other_groups_alone(self):
        layers = [
            self.layer(storage=self.storage(name), initializer=damo.Zeros()) for name in "abc"
        ]
        ids = torch.tensor([1])
        for wrong in range(3):
            out = sum(
                layer(ids).sum() * (float("nan") if index == wrong else 1)
                for index, layer in enumerate(layers)
            )
            self.assert_fails(ValueError, ["key 1"], out.backward)
            self.assertEqual([layer.rows.step for layer in layers], [0, 0, 0])

    def test_backward_in_two_threads(self):
        layer = self.layer(initializer=damo.Zeros())

        def train():
            for _ in range(200):
                (layer(torch.tensor([1])).sum() + layer(torch.tensor([1])).sum()).backward()

        threads = [threading.Thread(target=train) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((layer.rows.step, layer.rows.peek(1)[0][0]), (400, -400))

    def test_freezing(self):
        layer = self.layer(initializer=damo.Zeros())
        model = nn.Sequential(layer, nn.Linear(4, 1))
        for freeze in (
            lambda: layer.requires_grad_(False),
            lambda: model.requires_grad_(False),
            lambda: [parameter.requires_grad_(False) for parameter in layer.parameters()],
        ):
            freeze()
            out = layer(torch.tensor([1]))
            self.assertFalse(out.requires_grad)
            model.requires_grad_(True)
        model[1].requires_grad_(True)
        layer.requires_grad_(False)
        model(torch.tensor([1])).sum().backward()
        self.assertEqual(layer.rows.step, 0)
        layer.requires_grad_(True)
        model(torch.tensor([1])).sum().backward()
        self.assertEqual(layer.rows.step, 1)

    def test_traces_are_refused(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Newer versions of torch have something else.
            self.assert_fails(
                RuntimeError, ["torch.jit.trace"], torch.jit.trace, self.layer(), torch.tensor([1])
            )

    def test_gradients_reach_what_is_before_and_behind(self):
        layer = self.layer()
        scale = nn.Parameter(torch.ones(()))
        (layer(torch.tensor([1, 2])) * scale).sum().backward()
        self.assertIsNotNone(scale.grad)

    def test_eval_creates_nothing(self):
        layer = self.layer()
        layer(torch.tensor([1]))
        layer.eval()
        before = layer.rows.peek(1)[0][0]
        out = layer(torch.tensor([1, 2]))
        close(out[1], torch.zeros(4))
        # Rows that are there are trained, as the weights of torch.nn.Embedding are.
        out.sum().backward()
        self.assertEqual((len(layer.rows), layer.rows.step), (1, 1))
        self.assertAlmostEqual(layer.rows.peek(1)[0][0], before - 0.5, 6)

    def test_no_grad_in_training(self):
        layer = self.layer()
        with torch.no_grad():
            self.assertFalse(layer(torch.tensor([1])).requires_grad)
        self.assertEqual((len(layer.rows), layer.rows.step), (1, 0))

    def test_padding(self):
        layer = self.layer(padding_idx=-1)
        out = layer(torch.tensor([-1, 5]))
        close(out[0], torch.zeros(4))
        out.sum().backward()
        self.assertEqual((len(layer.rows), layer.padding_idx), (1, -1))

    def test_ids_that_change_before_backward_are_noticed(self):
        layer = self.layer()
        ids = torch.tensor([1, 2])
        out = layer(ids)
        ids.add_(1)
        self.assert_fails(RuntimeError, ["modified by an inplace operation"], out.sum().backward)

    def test_gradients_that_are_not_finite_are_refused(self):
        layer = self.layer()
        out = layer(torch.tensor([7])) * float("inf")
        self.assert_fails(ValueError, ["key 7"], out.sum().backward)
        self.assertEqual(layer.rows.step, 0)

    def test_made_of_an_embedding(self):
        storage = self.storage()
        options = {"dim": 4, "optimizer": damo.SGD()}
        rows = storage.embedding("a", padding_key=0, **options)
        self.assertEqual(damo.torch.Embedding(rows, padding_idx=0).padding_idx, 0)
        self.assert_fails(
            ValueError, ["padding_idx is 5"], damo.torch.Embedding, rows, padding_idx=5
        )
        self.assert_fails(TypeError, ["already"], damo.torch.Embedding, rows, dim=4)
        self.assert_fails(TypeError, ["are needed"], damo.torch.Embedding, storage, "a", 4)
        self.assert_fails(TypeError, ["damo.Storage"], damo.torch.Embedding, 10, 4)
        in_order = storage.embedding("b", duplicates="sequential", **options)
        self.assert_fails(ValueError, ["duplicates='sum'"], damo.torch.Embedding, in_order)

    def test_double_backward_is_refused(self):
        layer = self.layer()
        out = (layer(torch.tensor([1])) ** 2).sum()
        anchor = layer.anchor
        self.assert_fails(
            RuntimeError,
            [],
            lambda: torch.autograd.grad(out, anchor, create_graph=True)[0].backward(),
        )

    def test_copies_are_refused(self):
        layer = self.layer()
        self.assert_fails(TypeError, ["save_checkpoint"], copy.deepcopy, layer)
        self.assert_fails(TypeError, ["save_checkpoint"], pickle.dumps, layer)

    def test_autocast(self):
        layer = self.layer()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = nn.Linear(4, 1)(layer(torch.tensor([1])))
        self.assertEqual(out.dtype, torch.bfloat16)
        out.float().sum().backward()
        self.assertEqual(layer.rows.step, 1)
        # As on a GPU, or on a CPU since torch 2.3.
        with unittest.mock.patch("damo.torch._readers._is_autocast_to_half", lambda: True):
            self.assert_fails(RuntimeError, ["SparseOptimizer"], layer, torch.tensor([1]))
            sparse = damo.torch.SparseOptimizer(layer)
            layer(torch.tensor([1]))
            sparse.close()


class State(Case):
    def test_training_goes_on_from_a_checkpoint_to_the_same_weights(self):
        def net(storage):
            torch.manual_seed(3)
            table = self.layer(storage=storage, optimizer=damo.Adam(lr=0.1))
            return nn.Sequential(table, nn.Flatten(), nn.Linear(8, 1))

        def train(model, optimizer, numbers):
            for number in numbers:
                optimizer.zero_grad()
                model(torch.tensor([[number % 3, number % 5]])).pow(2).sum().backward()
                optimizer.step()

        first = self.storage()
        model = net(first)
        adam = torch.optim.Adam(model.parameters())
        train(model, adam, range(10))
        first.checkpoint(self.path("checkpoint"))
        saved = {"model": model.state_dict(), "adam": copy.deepcopy(adam.state_dict())}
        saved["model"] = {name: copy.deepcopy(value) for name, value in saved["model"].items()}
        train(model, adam, range(10, 20))
        expected = model.eval()(torch.tensor([[1, 2]]))

        again = net(self.storage("checkpoint"))
        adam = torch.optim.Adam(again.parameters())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again.load_state_dict(saved["model"])
        adam.load_state_dict(saved["adam"])
        train(again, adam, range(10, 20))
        self.assertTrue(torch.equal(again.eval()(torch.tensor([[1, 2]])), expected))
