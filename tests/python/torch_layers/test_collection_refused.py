"""What collections refuse: before a group is emptied, and before a row is made."""

import dataclasses
import unittest
import warnings

import numpy as np

# Before the others: without torch it skips this file.
from collection_support import (  # isort: skip
    DIMS,
    IDS,
    Collections,
    Jagged,
    bags,
    ids,
    torch,
)

import damo
import damo.torch

nn = torch.nn
tensor = torch.tensor
Config = damo.torch.TableConfig


class Made(Collections):
    def fails(self, kind, words, *arguments, cls=damo.torch.EmbeddingBagCollection, **options):
        self.assert_fails(kind, words, cls, *arguments, **options)

    def test_tables(self):
        storage, sgd = self.storage(), damo.SGD()
        one = Config("user", 2, sgd)
        self.fails(TypeError, ["storage", "str"], "table", [one])
        self.fails(TypeError, ["tables", "TableConfig"], storage, one)
        self.fails(TypeError, ["TableConfig", "str"], storage, ["user"])
        self.fails(ValueError, ["empty"], storage, [])
        self.fails(ValueError, ["output", "'list'"], storage, [one], output="list")
        self.fails(TypeError, ["fresh", "'no'"], storage, [one], fresh="no")
        for name in ("a.b", "", "keys"):
            self.fails(ValueError, [repr(name), "group="], storage, [Config(name, 2, sgd)])
        self.fails(TypeError, ["name", "int"], storage, [Config(1, 2, sgd)])
        self.fails(ValueError, ["two tables", "'user'"], storage, [one, one])
        for features, kind in (("tags", TypeError), ([1], TypeError), ([], ValueError)):
            self.fails(
                kind,
                ["'user'", "features" if features != [] else "no"],
                storage,
                [Config("user", 2, sgd, features)],
            )
        self.fails(ValueError, ["'user'", "twice"], storage, [one, Config("tag", 2, sgd, ["user"])])
        self.fails(
            ValueError, ["'user'", "'avg'"], storage, [Config("user", 2, sgd, pooling="avg")]
        )
        self.fails(
            ValueError,
            ["'user'", "'sum'", "EmbeddingBagCollection"],
            storage,
            [Config("user", 2, sgd, pooling="sum")],
            cls=damo.torch.EmbeddingCollection,
        )
        self.fails(TypeError, ["table 'user'", "dim"], storage, [Config("user", None, sgd)])
        self.fails(TypeError, ["table 'user'", "int8"], storage, [one], dtype=torch.int8)
        again = [one, Config("more", 2, sgd, group="user")]
        self.fails(ValueError, ["'user'", "'more'", "group"], storage, again)
        other = self.storage("other").embedding("user", dim=2, optimizer=sgd, duplicates="sum")
        self.fails(ValueError, ["table 'user'", "other"], storage, [Config("user", rows=other)])
        rows = storage.embedding("rows", dim=2, optimizer=sgd, duplicates="sequential")
        self.fails(ValueError, ["table 'rows'", "sequential"], storage, [Config("rows", rows=rows)])
        self.fails(TypeError, ["table 'rows'"], storage, [Config("rows", 2, rows=rows)])

    def test_names_of_torchrec(self):
        """Arguments of TorchRec's configs and collections: the error says what to use here."""
        for name, value, word in (
            ("num_embeddings", 10, "64-bit"),
            ("embedding_dim", 4, "dim"),
            ("feature_names", ["a"], "features"),
            ("init_fn", torch.nn.init.zeros_, "initializer"),
            ("weight_init_min", -1.0, "damo.Uniform"),
            ("data_type", "FP32", "dtype"),
            ("mode", "sum", "pooling"),
            ("lr", 0.1, "optimizer="),
        ):
            self.assert_fails(TypeError, [repr(name), word], Config, "user", **{name: value})
        self.assert_fails(TypeError, ["unexpected", "'size'"], Config, "user", size=1)
        one = Config("user", 2, damo.SGD())
        for cls in (damo.torch.EmbeddingCollection, damo.torch.EmbeddingBagCollection):
            for name, value, word in (
                ("device", "meta", "device of the ids"),
                ("is_weighted", True, "'sum'"),
                ("optimizer", damo.SGD(), "TableConfig"),
            ):
                words = [cls.__name__, repr(name), word]
                self.fails(TypeError, words, tables=[one], cls=cls, **{name: value})
        self.assertEqual(dataclasses.replace(one, dim=3), Config("user", 3, one.optimizer))

    def test_fresh_empties_nothing_that_is_refused(self):
        storage = self.storage()
        ours = self.collection(storage=storage)
        ours(bags(1))
        wrong = [*self.configs(True), Config("user2", 9, damo.SGD(), group="user")]
        self.fails(ValueError, ["user2"], storage, wrong, fresh=True)
        wrong[-1] = Config("user2", 4, damo.SGD(), group="user")
        self.fails(ValueError, ["user2"], storage, wrong, fresh=True)
        self.assertTrue(all(len(table.rows) for table in ours.tables.values()))

    def test_two_tables_of_one_group_leave_no_group(self):
        storage, sgd = self.storage(), damo.SGD()
        rows = storage.embedding("old", dim=2, optimizer=sgd, duplicates="sum")
        for first, second in (
            (Config("new", 2, sgd), Config("more", 2, sgd, group="new")),
            (Config("new", 2, sgd, group=7), Config("more", 2, sgd, group=np.int32(7))),
            (Config("old", 2, sgd), Config("more", 2, sgd, group=rows.group)),
            (Config("more", 2, sgd, group="old"), Config("other", rows=rows)),
        ):
            tables = [Config("a", 2, sgd), first, second]
            words = [repr(first.name), repr(second.name), "same group"]
            self.fails(ValueError, words, storage, tables)
            self.assertEqual([one["name"] for one in storage.describe()["groups"]], ["old"])
        # A new name gets the lowest free number.
        tables = [Config("a", 2, sgd), Config("b", 2, sgd, group=1)]
        self.fails(ValueError, ["'a'", "'b'", "same group"], storage, tables)

    def test_embeddings_that_are_open(self):
        storage = self.storage()
        rows = storage.embedding("rows", dim=2, optimizer=damo.SGD(lr=1.0), duplicates="mean")
        ours = damo.torch.EmbeddingCollection(storage, [Config("rows", rows=rows)])
        before = rows.lookup(1)
        ours({"rows": tensor([1, 1])})["rows"].sum().backward()
        self.assertTrue(((before - rows.lookup(1)).round(6) == 1).all())
        self.assertIs(ours.tables["rows"].rows, rows)

    def test_tables_are_read_by_their_collection(self):
        ours, _ = self.pair()
        self.assert_fails(TypeError, ["collection"], ours.tables["user"], tensor([1]))


class Given(Collections):
    def refused(self, ours, given, kind, *words):
        with self.subTest(given=given):
            self.assert_fails(kind, words, ours, given)
            if ours.output == "dict":
                self.assert_fails(kind, words, ours.prefetch, given)
            self.assertEqual([len(table.rows) for table in ours.tables.values()], [0, 0, 0])

    def test_ids(self):
        ours, right = self.collection(False), ids(1)
        self.refused(ours, right["user"], TypeError, "dict", "KeyedJaggedTensor", "Tensor")
        self.refused(ours, list(right.items()), TypeError, "dict", "list")
        self.refused(ours, {"user": right["user"]}, ValueError, "no 'tags'", "'user', 'tags'")
        self.refused(ours, {**right, "label": right["user"]}, ValueError, "unknown 'label'")
        for value, kind, words in (
            ((right["user"][0], tensor([0])), TypeError, ["EmbeddingBagCollection", "tuple"]),
            ([right["user"][0], tensor([0])], TypeError, ["EmbeddingBagCollection", "list"]),
            ([1, 2], TypeError, ["list"]),
            (right["user"].numpy(), TypeError, ["ids", "ndarray"]),
            (right["user"].float(), TypeError, ["ids", "float32"]),
            (right["user"].to_sparse(), TypeError, ["dense"]),
        ):
            self.refused(ours, {**right, "words": value}, kind, "feature 'words'", *words)
        ours.output = "tensor"
        self.refused(ours, right, ValueError, "'user'", "(6, 3)")
        flat = {name: one[:, 0] for name, one in right.items()}
        self.refused(ours, {**flat, "tags": flat["tags"][1:]}, ValueError, "'tags'", "5", "6")

    def test_bags(self):
        ours, right = self.collection(), bags(1)
        values, offsets, weights = right["user"]
        for value, kind, words in (
            (values, ValueError, ["offsets"]),
            ([1, 2], TypeError, ["(ids, offsets)", "int"]),
            ([[1, 2], [0]], TypeError, ["(ids, offsets)", "list"]),
            ([values], TypeError, ["(ids, offsets)"]),
            ((values, [0]), TypeError, ["(ids, offsets)", "list"]),
            ((values, None, weights), TypeError, ["(ids, offsets)", "NoneType"]),
            ((values, offsets, weights, weights), TypeError, ["of 4"]),
            ((values.view(1, -1), offsets), ValueError, ["one dimension"]),
            ((values, offsets + 1), ValueError, ["offsets"]),
            ((values, offsets.flip(0)), ValueError, ["offsets"]),
            ((values[:1], offsets), ValueError, ["offsets"]),
            ((values, offsets[:0]), ValueError, ["offsets"]),
            ((values, offsets.float()), TypeError, ["offsets"]),
            ((values, offsets, weights[1:]), ValueError, ["per_sample_weights"]),
            ((values, offsets, weights.double()), TypeError, ["per_sample_weights"]),
            ((values, offsets, [1.0]), TypeError, ["per_sample_weights"]),
        ):
            self.refused(ours, {**right, "user": value}, kind, "feature 'user'", *words)
        weighted = {**right, "tags": (*right["tags"], torch.rand(len(right["tags"][0])))}
        self.refused(ours, weighted, ValueError, "feature 'tags'", "'mean'")
        ours.output = "tensor"
        less = {**right, "tags": bags(2, count=5)["tags"]}
        self.refused(ours, less, ValueError, "'tags'", "5", "6")
        last = self.collection(include_last_offset=True, storage=self.storage("last"))
        self.refused(last, right, ValueError, "feature 'user'", "ends with")

    def test_jagged_tensors(self):
        ours, right = self.collection(), bags(1, weights=False)
        jagged = Jagged.of(right)
        jagged._inverse = (list(DIMS), torch.zeros(4, 6, dtype=torch.int64))
        self.refused(ours, jagged, ValueError, "inverse_indices")
        jagged = Jagged.of(right)
        jagged.variable_stride_per_key = lambda: True
        self.refused(ours, jagged, ValueError, "variable_stride_per_key")
        jagged = Jagged.of({name: one for name, one in right.items() if name != "tags"})
        self.refused(ours, jagged, ValueError, "'tags'", "not among")
        jagged = Jagged.of(right)
        jagged._keys = ["tags" if key == "more" else key for key in jagged._keys]
        self.refused(ours, jagged, ValueError, "'tags'", "twice")
        jagged = Jagged.of(right)
        jagged._lengths[0] += 1
        self.refused(ours, jagged, ValueError, "offsets")
        jagged = Jagged.of(right, torch.rand(len(Jagged.of(right).values())))
        self.refused(ours, jagged, ValueError, "'tags'", "weights", "'mean'")
        self.refused(ours, {**right, "tags": Jagged.of(right)}, TypeError, "'tags'", "several")
        plain = self.collection(False, storage=self.storage("plain"))
        self.refused(plain, jagged, ValueError, "'user'", "weights")

    @unittest.skipUnless(hasattr(torch, "func"), "torch.func needs torch 2.0")
    def test_transforms(self):
        ours = self.collection(False)
        self.assert_fails(
            RuntimeError,
            ["torch.func"],
            torch.func.vmap(lambda one: ours({name: one for name in DIMS})["user"]),
            torch.arange(IDS).view(3, 4),
        )

    def test_traces(self):
        ours = self.collection(False)
        users = lambda one: ours({name: one for name in DIMS})["user"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Newer versions of torch call it deprecated.
            self.assertRaises(RuntimeError, torch.jit.trace, users, torch.arange(IDS))

    def test_a_closed_storage(self):
        ours, _ = self.pair()
        ours(bags(1))
        ours.tables["user"].rows.storage.close()
        self.assert_fails(damo.ClosedError, ["closed"], ours, bags(1))


if __name__ == "__main__":
    unittest.main()
