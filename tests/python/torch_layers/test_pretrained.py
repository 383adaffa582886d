"""from_pretrained: first rows from a tensor, an array or a module of torch.nn."""

import unittest.mock

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch
import numpy as np

nn = torch.nn


class Pretrained(Case):
    def make(self, weights, cls=damo.torch.Embedding, storage=None, name="user", **options):
        return cls.from_pretrained(weights, storage or self.storage(), name, **options)

    def test_a_tensor_is_frozen_unless_asked(self):
        weights = torch.randn(7, 4)
        layer = self.make(weights)
        self.assertIsInstance(layer, damo.torch.Embedding)
        theirs = nn.Embedding.from_pretrained(weights)
        ids = torch.tensor([[0, 6], [3, 3]])
        close(layer(ids), theirs(ids), 0)
        self.assertFalse(layer(ids).requires_grad)
        self.assertEqual(
            (layer.embedding_dim, layer.num_embeddings, len(layer.rows), layer.rows.step),
            (4, 7, 7, 0),
        )

    def test_training_needs_an_optimizer(self):
        weights = torch.randn(3, 4)
        storage = self.storage()
        self.assert_fails(
            TypeError,
            ["optimizer", "freeze=True"],
            self.make,
            weights,
            storage=storage,
            freeze=False,
        )
        self.assertEqual(storage.describe()["groups"], [])
        layer = self.make(weights, storage=storage, freeze=False, optimizer=damo.SGD(lr=1.0))
        layer(torch.tensor([1, 1])).sum().backward()
        close(layer(torch.tensor([0, 1])), weights[:2] - torch.tensor([[0.0], [2.0]]))

    def test_a_module_keeps_what_it_has(self):
        for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
            theirs = nn.Embedding(6, 4, padding_idx=-1).to(dtype)
            layer = self.make(theirs, storage=self.storage(str(dtype)), optimizer=damo.SGD())
            ids = torch.tensor([0, 5, 3])
            self.assertEqual((layer.padding_idx, layer(ids).dtype, len(layer.rows)), (5, dtype, 5))
            close(layer(ids), theirs(ids), 1e-7)
            self.assertTrue(layer(ids).requires_grad)
        theirs.requires_grad_(False)
        self.assertFalse(self.make(theirs, storage=self.storage("frozen")).anchor.requires_grad)
        other = self.make(
            theirs,
            storage=self.storage("other"),
            dtype=torch.float32,
            freeze=False,
            optimizer=damo.Adam(),
        )
        self.assertEqual((other(ids).dtype, other(ids).requires_grad), (torch.float32, True))

    def test_bags(self):
        ids = torch.tensor([[0, 5, 3], [1, 1, 0]])
        for mode in ("sum", "mean", "max"):
            theirs = nn.EmbeddingBag(6, 4, mode=mode, include_last_offset=True, padding_idx=0)
            with torch.no_grad():
                theirs.weight[0] = 5.0  # Bags leave padding out.
            layer = self.make(
                theirs, damo.torch.EmbeddingBag, self.storage(mode), optimizer=damo.SGD()
            )
            self.assertEqual(
                (layer.mode, layer.include_last_offset, layer.padding_idx), (mode, True, 0)
            )
            offsets = torch.tensor([0, 2, 6])
            close(layer(ids.view(-1), offsets), theirs(ids.view(-1), offsets))
        weights = torch.randn(6, 4)
        bag = self.make(weights, damo.torch.EmbeddingBag, self.storage("tensor"))
        self.assertEqual((bag.mode, bag.include_last_offset), ("mean", False))
        close(bag(ids), nn.EmbeddingBag.from_pretrained(weights)(ids))
        bag = self.make(weights, damo.torch.EmbeddingBag, self.storage("tensors"), mode="sum")
        close(bag(ids), nn.EmbeddingBag.from_pretrained(weights, mode="sum")(ids))

    def test_other_ids_and_arrays(self):
        weights = np.random.default_rng(1).random((3, 4))
        layer = self.make(weights, ids=[-7, 2**62, 5])
        close(layer(torch.tensor([2**62, -7])), torch.tensor(weights[[1, 0]]).float(), 0)
        path = self.path("weights.npy")
        np.save(path, weights.astype(np.float32))
        mapped = self.make(np.load(path, mmap_mode="r"), storage=self.storage("mapped"))
        close(mapped(torch.arange(3)), torch.tensor(weights).float(), 0)
        storage = self.storage("wrong")
        for words, ids in (
            (["(2,)", "3 rows"], [1, 2]),
            (["twice"], [1, 2, 1]),
            (["(3, 1)"], [[1], [2], [3]]),
        ):
            self.assert_fails(ValueError, words, self.make, weights, storage=storage, ids=ids)
        self.assert_fails(TypeError, ["keys"], self.make, weights, storage=storage, ids=[1.5, 2, 3])

    def test_an_open_embedding(self):
        rows = self.storage().embedding("user", dim=4, optimizer=damo.SGD(), padding_key=0)
        weights = torch.randn(3, 4)
        self.assert_fails(
            ValueError, ["not zeros"], damo.torch.Embedding.from_pretrained, weights, rows
        )
        weights[0] = 0
        layer = damo.torch.Embedding.from_pretrained(weights, rows, freeze=False)
        self.assertIs(layer.rows, rows)
        close(layer(torch.arange(3)), weights, 0)
        self.assert_fails(
            ValueError,
            ["rows of 5", "dim 4"],
            damo.torch.Embedding.from_pretrained,
            torch.zeros(3, 5),
            rows,
        )

    def test_padding_that_torch_would_return(self):
        weights = torch.ones(5, 4)
        storage = self.storage()
        for wrong in (-1, 5):
            self.assert_fails(
                ValueError,
                [f"padding_idx is {wrong}", "4 is the last"],
                self.make,
                weights,
                storage=storage,
                padding_idx=wrong,
            )
        self.assert_fails(
            ValueError,
            ["padding_idx 4 is not zeros"],
            self.make,
            weights,
            storage=storage,
            padding_idx=4,
        )
        self.assertEqual(storage.row_count(), 0)
        weights[4] = 0
        self.assertEqual(len(self.make(weights, storage=storage, padding_idx=4).rows), 4)
        layer = self.make(weights, storage=self.storage("any"), ids=range(5), padding_idx=-1)
        self.assertEqual((len(layer.rows), layer.padding_idx), (5, -1))

    def test_what_cannot_be_kept_is_refused(self):
        storage = self.storage()
        for words, theirs in (
            (["max_norm=1.0", "weight"], nn.Embedding(3, 4, max_norm=1.0)),
            (["scale_grad_by_freq=True"], nn.Embedding(3, 4, scale_grad_by_freq=True)),
        ):
            self.assert_fails(ValueError, words, self.make, theirs, storage=storage)
        self.assert_fails(
            TypeError,
            ["nn.Embedding is needed", "EmbeddingBag"],
            self.make,
            nn.EmbeddingBag(3, 4),
            storage=storage,
        )
        bag = damo.torch.EmbeddingBag
        self.assert_fails(
            TypeError, ["nn.EmbeddingBag is needed"], self.make, nn.Embedding(3, 4), bag, storage
        )
        self.assert_fails(
            TypeError,
            ["'max_norm'", "weight_decay"],
            self.make,
            torch.zeros(3, 4),
            storage=storage,
            max_norm=None,
        )
        self.assert_fails(
            TypeError, ["'sparse'"], self.make, torch.zeros(3, 4), bag, storage, sparse=True
        )
        self.assert_fails(TypeError, ["Linear"], self.make, nn.Linear(3, 4), storage=storage)
        self.assert_fails(
            TypeError,
            ["floats", "int64"],
            self.make,
            torch.zeros(3, 4, dtype=torch.int64),
            storage=storage,
        )
        self.assert_fails(ValueError, ["(12,)"], self.make, torch.zeros(12), storage=storage)
        self.assert_fails(
            TypeError,
            ["damo.Storage", "bool"],
            damo.torch.Embedding.from_pretrained,
            torch.zeros(3, 4),
            False,
        )
        self.assertEqual(storage.describe()["groups"], [])
        for wrong in (float("nan"), float("inf"), 1e300):
            weights = torch.zeros(3, 4, dtype=torch.float64)
            weights[2, 1] = wrong
            self.assert_fails(ValueError, ["row 2, column 1"], self.make, weights, storage=storage)
        self.assertEqual(storage.row_count(), 0)

    def test_a_large_table_goes_in_batches_whole_or_not_at_all(self):
        weights = torch.randn(1003, 4)
        with unittest.mock.patch("damo.torch._weights._BATCH_BYTES", 1600):
            layer = self.make(weights)
            close(layer(torch.arange(1003)), weights, 0)
            weights[1002, 3] = float("nan")
            storage = self.storage("other")
            self.assert_fails(
                ValueError, ["row 1002, column 3"], self.make, weights, storage=storage
            )
            self.assertEqual(storage.row_count(), 0)

    def test_rows_that_are_there_are_replaced_and_others_stay(self):
        storage = self.storage()
        first = self.make(torch.ones(3, 4), storage=storage)
        first.rows.insert([9], np.full((1, 4), 9, np.float32))
        second = self.make(torch.zeros(3, 4), storage=storage)
        self.assertEqual(second(torch.tensor([0, 2, 9]))[:, 0].tolist(), [0, 0, 9])
