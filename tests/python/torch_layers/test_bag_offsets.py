"""EmbeddingBag's offsets, two-dimensional ids and padding: what earlier versions got wrong."""

import unittest
import warnings

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn


def ints(*numbers, dtype=torch.int64):
    return torch.tensor(numbers, dtype=dtype)


class Offsets(Case):
    """Offsets that leave ids in no bag were a crash, or uninitialised memory as gradients."""

    def refused(self, words, ids, offsets, **options):
        """In each mode, with padding and without, in training and not; and no row is made."""
        self.folder += "x"
        storage = self.storage()
        for padding in (None, 0, 30):
            rows = storage.embedding(
                f"of {padding}", dim=4, optimizer=damo.SGD(lr=1.0), padding_key=padding
            )
            for mode in ("sum", "mean", "max"):
                bag = damo.torch.EmbeddingBag(rows, mode=mode, **options)
                for training in (True, False):
                    with self.subTest(
                        ids=ids, offsets=offsets, mode=mode, padding=padding, training=training
                    ):
                        self.assert_fails(
                            ValueError, ["offsets", *words], bag.train(training), ids, offsets
                        )
            self.assertEqual((len(rows), rows.step), (0, 0))

    def test_none_for_some_ids(self):
        self.refused(["the 3 ids"], ints(1, 2, 0), ints())
        self.refused(["the 1 ids"], ints(7), ints())
        self.refused(["the 3 ids"], ints(1, 2, 0, dtype=torch.int32), ints(dtype=torch.int32))
        self.refused(["empty"], ints(1, 2, 0), ints(), include_last_offset=True)

    def test_an_end_before_the_last_id(self):
        last = {"include_last_offset": True}
        self.refused(["ends with 2", "3"], ints(10, 20, 30), ints(0, 2), **last)
        self.refused(["ends with 0", "3"], ints(10, 20, 30), ints(0), **last)
        self.refused(["ends with 0", "3"], ints(10, 20, 30), ints(0, 0, 0), **last)
        self.refused(
            ["ends with 2", "3"], ints(10, 20, 30, dtype=torch.int32), ints(0, 1, 2), **last
        )

    def test_from_elsewhere_back_and_beyond(self):
        for options in ({}, {"include_last_offset": True}):
            for offsets in (
                (1, 3),
                (0, 2, 1, 3),
                (-1, 3),
                (0, -1, 3),
                (0, 4),
                (0, 2**62),
                (-(2**63), 3),
                (0, 3, 2),
            ):
                self.refused(["never back"], ints(1, 2, 3), ints(*offsets), **options)
        self.refused(["never back"], ints(), ints(0, 1))
        self.refused(["(1, 2)"], ints(1, 2), ints([0, 1]))

    def test_other_tensors_and_devices(self):
        layer = self.layer(cls=damo.torch.EmbeddingBag, mode="sum")
        ids, offsets, weights = ints(1, 2), ints(0, 1), torch.ones(2)
        for wrong in (
            offsets.to(torch.int16),
            offsets.float(),
            offsets.bool(),
            offsets.to_sparse(),
            [0, 1],
        ):
            self.assert_fails(TypeError, ["offsets"], layer, ids, wrong)
            self.assert_fails(TypeError, ["ids"], layer, wrong, offsets)
        for dtype in (torch.float64, torch.float16, torch.int64):
            self.assert_fails(
                TypeError, ["float32", str(dtype)], layer, ids, offsets, weights.to(dtype)
            )
        self.assert_fails(TypeError, ["dense"], layer, ids, offsets, weights.to_sparse())
        self.assert_fails(ValueError, ["ids", "meta"], layer, ids.to("meta"), offsets.to("meta"))
        self.assert_fails(ValueError, ["offsets", "meta"], layer, ids, offsets.to("meta"))
        self.assert_fails(
            ValueError, ["per_sample_weights", "meta"], layer, ids, offsets, weights.to("meta")
        )
        for shape in ((), (1, 1, 2)):
            self.assert_fails(
                ValueError, [str(shape)], layer, torch.ones(shape, dtype=torch.int64), offsets
            )
        single = damo.torch.Embedding(layer.rows)
        self.assert_fails(TypeError, ["dense"], single, ids.to_sparse())
        self.assert_fails(ValueError, ["meta"], single, ids.to("meta"))
        self.assertEqual(len(layer.rows), 0)

    @unittest.skipUnless(hasattr(torch, "jagged"), "jagged tensors need torch 2.2")
    def test_nested_tensors(self):
        layer = self.layer(cls=damo.torch.EmbeddingBag)
        for layout in (torch.jagged, torch.strided):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # They are a prototype, says torch.
                ids = torch.nested.nested_tensor([ints(1, 2), ints(3)], layout=layout)
            self.assert_fails(TypeError, ["nested", "ids.values()"], layer, ids)
            self.assert_fails(TypeError, ["nested"], damo.torch.Embedding(layer.rows), ids)
        self.assertEqual(len(layer.rows), 0)

    def test_those_that_torch_takes(self):
        layer = self.layer(cls=damo.torch.EmbeddingBag, mode="sum", initializer=damo.Ones())
        last = damo.torch.EmbeddingBag(layer.rows, mode="sum", include_last_offset=True)
        ids = ints(1, 2, 3)
        for offsets, sizes in (((0,), [3]), ((0, 3), [3, 0]), ((0, 0, 1, 3, 3), [0, 1, 2, 0, 0])):
            for dtype in (torch.int64, torch.int32):
                apart = torch.stack([ints(*offsets), ints(*offsets)], 1)[:, 0].to(dtype)
                for given in (ints(*offsets, dtype=dtype), apart):
                    self.assertEqual(layer(ids, given)[:, 0].tolist(), sizes)
                    ended = torch.cat([given, ints(3, dtype=dtype)])
                    self.assertEqual(last(ids, ended)[:, 0].tolist(), sizes)
        self.assertEqual(layer(ints(), ints()).shape, (0, 4))
        self.assertEqual(last(ints(), ints(0)).shape, (0, 4))


class LastOffsets(Case):
    """With include_last_offset and ids of two dimensions torch before 2.10 loses a bag."""

    def test_bags_of_two_dimensional_ids(self):
        ids = ints([1, 2], [3, 4], [5, 6])
        for mode in ("mean", "sum", "max"):
            self.folder += "x"
            layer = self.layer(
                cls=damo.torch.EmbeddingBag, mode=mode, include_last_offset=True, padding_idx=4
            )
            plain = damo.torch.EmbeddingBag(layer.rows, mode=mode)
            for shape in ((3, 2), (2, 3), (1, 6), (6, 1)):
                for given in (
                    ids.view(shape),
                    ids.view(shape).to(torch.int32),
                    ids.view(shape).t(),
                ):
                    out = layer(given)
                    self.assertEqual(out.shape, (given.shape[0], 4))
                    close(out, plain(given), 0)
                    offsets = torch.arange(given.shape[0]) * given.shape[1]
                    close(out, plain(given.reshape(-1), offsets))
            for shape in ((0, 3), (0, 0), (2, 0)):
                close(layer(ids[:0, :0].reshape(-1).reshape(shape)), torch.zeros(shape[0], 4), 0)


class Padding(Case):
    """A padding_idx that int32 cannot hold was compared after it was cut off to 32 bits."""

    def test_int32_ids(self):
        ids = ints(0, 5, dtype=torch.int32)
        for padding in (-(2**63), 2**32, 2**32 + 5, -(2**32), 2**63 - 1):
            for mode in ("sum", "mean", "max"):
                self.folder += "x"
                storage = self.storage()
                options = {"storage": storage, "initializer": damo.Ones(), "padding_idx": padding}
                bag = self.layer(cls=damo.torch.EmbeddingBag, mode=mode, **options)
                single = damo.torch.Embedding(bag.rows)
                expected = 2.0 if mode == "sum" else 1.0
                for given, offsets in ((ids, ints(0)), (ids.view(1, 2), None)):
                    with self.subTest(padding=padding, mode=mode, shape=given.shape):
                        close(bag(given, offsets), torch.full((1, 4), expected), 0)
                close(single(ids), torch.ones(2, 4), 0)
                self.assertEqual(len(bag.rows), 2)
                padded = ints(padding, 5)
                close(bag(padded.view(1, 2)), torch.ones(1, 4), 0)
                close(single(padded)[0], torch.zeros(4), 0)

    def test_in_a_served_model(self):
        padding = 2**32
        model = nn.Sequential(
            self.layer(cls=damo.torch.EmbeddingBag, mode="sum", padding_idx=padding)
        )
        ids = ints([0, 5], [5, padding])
        model(ids)
        expected = model.eval()(ids)
        damo.torch.save_for_serving(model, self.path("served"))
        served = damo.torch.load_for_serving(self.path("served"))
        close(served(ids), expected, 0)
        close(served(ids[:1].to(torch.int32)), expected[:1], 0)
