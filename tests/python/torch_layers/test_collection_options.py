"""Options of collections: clipping as torch clips its own tables, and steps that are skipped."""

import unittest

# Before the others: without torch it skips this file.
from collection_support import Collections, bags, close, ids, loss_of, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn
clip_norm, clip_value = nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_


class Options(Collections):
    def assert_as_torch(self, clip, has_bags=True, train=True, **options):
        """Steps of a collection with options are those of torch's tables, which clip clips."""
        self.folder += "x"
        make = bags if has_bags else ids
        ours, theirs = self.pair(has_bags, optimizer=lambda: damo.SGD(lr=0.5), **options)
        ours.train(train)
        other = torch.optim.SGD(theirs.parameters(), lr=0.5)
        for number in range(4):
            loss_of(ours(make(number)), number).backward()
            other.zero_grad()
            loss_of(theirs(make(number)), number).backward()
            clip(theirs.parameters())
            other.step()
        self.assert_equal(ours, theirs, 1e-5)
        self.assertEqual(self.steps(ours), [4, 4, 4])

    def test_clip_in_backward(self):
        for has_bags in (True, False):
            for train in (True, False):
                kinds = {"has_bags": has_bags, "train": train}
                with self.subTest(**kinds):
                    self.assert_as_torch(
                        lambda parameters: clip_value(parameters, 0.05), **kinds, clip_value=0.05
                    )
                    self.assert_as_torch(
                        lambda parameters: clip_norm(parameters, 0.3), **kinds, clip_norm=0.3
                    )

    def test_clip_rows(self):
        def clip(parameters):
            for weight in parameters:
                for row in weight.grad:
                    one = nn.Parameter(torch.zeros_like(row))
                    one.grad = row
                    clip_norm(one, 0.1)

        self.assert_as_torch(clip, clip_row_norm=0.1)

    def test_clip_in_an_optimizers_step(self):
        for make in (
            lambda model, dense: damo.torch.Optimizer(dense, model),
            lambda model, _: damo.torch.SparseOptimizer(model),
        ):
            self.folder += "x"
            ours, theirs = self.pair(optimizer=lambda: damo.SGD(lr=0.5), clip_norm=0.3)
            dense = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5)
            mine, other = make(ours, dense), torch.optim.SGD(theirs.parameters(), lr=0.5)
            for number in range(3):
                for model, optimizer in ((ours, mine), (theirs, other)):
                    optimizer.zero_grad()
                    for part in (number, number + 7):
                        loss_of(model(bags(part)), part).backward()
                    if model is theirs:
                        clip_norm(theirs.parameters(), 0.3)
                    optimizer.step()
            self.assert_equal(ours, theirs, 1e-5)

    def test_wrong_gradients_are_skipped_in_backward(self):
        for train in (True, False):
            self.folder += "x"
            ours, theirs = self.pair(non_finite="skip")
            ours.train(train)
            (loss_of(ours(bags(1))) * float("nan")).backward()
            self.assertEqual(self.steps(ours), [0, 0, 0])
            storage = ours.tables["user"].rows.storage
            self.assertEqual(storage.stat("steps_skipped"), 1)
            self.assert_equal(ours, theirs, 0)
            loss_of(ours(bags(1))).backward()
            self.assertEqual(self.steps(ours), [1, 1, 1])
        self.folder += "x"
        with self.assertRaisesRegex(ValueError, "NaN|nan"):
            (loss_of(self.collection()(bags(1))) * float("nan")).backward()

    def test_an_optimizer_skips_the_dense_part_too(self):
        ours, theirs = self.pair(non_finite="skip")
        factor = nn.Parameter(torch.ones(1))
        optimizer = damo.torch.Optimizer(torch.optim.SGD([factor], lr=0.5), ours)
        (loss_of(ours(bags(1))) * float("inf") + factor.sum()).backward()
        self.assertIsNone(optimizer.step())
        self.assertEqual((float(factor), self.steps(ours)), (1, [0, 0, 0]))
        self.assert_equal(ours, theirs, 0)
        optimizer.zero_grad()
        (loss_of(ours(bags(1))) + factor.sum()).backward()
        optimizer.step()
        self.assertEqual((float(factor), self.steps(ours)), (0.5, [1, 1, 1]))

    def test_different_options_of_one_storage_are_refused(self):
        storage = self.storage()
        first = self.collection(storage=storage, clip_norm=1)
        other = damo.torch.TableConfig("other", 2, damo.SGD(lr=0.1))
        second = damo.torch.EmbeddingCollection(storage, [other])
        loss = loss_of(first(bags(1))) + second({"other": torch.tensor([1])})["other"].sum()
        with self.assertRaisesRegex(ValueError, r"different options.*'clip_norm': 1.*the same"):
            loss.backward()
        model = nn.ModuleList([first, second])
        sparse = damo.torch.SparseOptimizer(model)
        loss = loss_of(first(bags(1))) + second({"other": torch.tensor([1])})["other"].sum()
        loss.backward()
        with self.assertRaisesRegex(ValueError, "different options"):
            sparse.step()
        self.assertEqual([*self.steps(first), *self.steps(second)], [0] * 4)

    def test_wrong_options_open_no_group(self):
        storage = self.storage()
        for options, words in (
            ({"clip_norm": 0}, "'clip_norm' is 0"),
            ({"non_finite": "drop"}, "one of 'refuse', 'skip'"),
        ):
            with self.assertRaisesRegex(ValueError, words):
                self.collection(storage=storage, **options)
        self.assertEqual(storage.names, {})

    def test_shows_its_options(self):
        shown = repr(self.collection(clip_value=2.5, non_finite="skip"))
        self.assertIn("output='dict'; clip_value=2.5; non_finite='skip'", shown)


class Rows(Collections):
    """Options of an embedding, in layers that are made of it."""

    def test_embeddings_of_one_group_with_other_limits_are_stepped_apart(self):
        storage = self.storage()
        one, two = (
            damo.torch.Embedding(
                storage.embedding(
                    "rows",
                    dim=1,
                    optimizer=damo.SGD(lr=1.0),
                    initializer=damo.Zeros(),
                    clip_value=limit,
                )
            )
            for limit in (1, 2)
        )
        some = torch.tensor([7])
        (one(some) * 5 + two(some + 1) * 5).sum().backward()
        self.assertEqual(one.rows.lookup([7, 8]).ravel().tolist(), [-1, -2])
        self.assertEqual(one.rows.step, 2)
        optimizer = damo.torch.SparseOptimizer([one, two])
        (one(some) * 5 + two(some + 1) * 5).sum().backward()
        optimizer.step()
        self.assertEqual(one.rows.lookup([7, 8]).ravel().tolist(), [-2, -4])

    def test_with_max_norm_lookups_are_those_of_torch(self):
        rows = self.storage().embedding(
            "rows", dim=3, optimizer=damo.SGD(lr=0.5), initializer=damo.Ones(), max_norm=0.75
        )
        ours = damo.torch.Embedding(rows)
        theirs = nn.Embedding(8, 3, max_norm=0.75)
        theirs.weight.data.fill_(1)
        other = torch.optim.SGD(theirs.parameters(), lr=0.5)
        factors = torch.arange(-12.0, 12.0).view(8, 3) / 4
        for number in range(5):
            some = torch.tensor([number, number + 1, 7 - number, number])
            outputs = []
            for layer in (ours, theirs):
                other.zero_grad()
                output = layer(some)
                outputs.append(output.detach().clone())
                (output * factors[some]).sum().backward()
                if layer is theirs:
                    other.step()
            close(*outputs, 1e-5)
        every = torch.arange(8)
        close(ours(every).detach(), theirs(every).detach(), 1e-5)


if __name__ == "__main__":
    unittest.main()
