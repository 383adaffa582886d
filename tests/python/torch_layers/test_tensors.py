"""PyTorch tensors as keys, weights and gradients, in rows.insert(ids, weights) and the like."""

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch
import numpy as np

nn = torch.nn
KEYS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]
KEYS += [getattr(torch, name) for name in ("uint16", "uint32", "uint64") if hasattr(torch, name)]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


class Tensors(Case):
    def setUp(self):
        super().setUp()
        self.rows = self.storage().embedding(
            "user", dim=4, optimizer=damo.SGD(lr=1.0), initializer=damo.Zeros()
        )

    def first(self, *keys):
        return self.rows.peek(list(keys))[0][:, 0].tolist()

    def test_keys_of_any_integer_dtype(self):
        for dtype in KEYS:
            keys = torch.tensor([[1, 2], [3, 1]]).to(dtype)
            self.rows.insert(keys[0], np.full((2, 4), 5, np.float32))
            self.assertEqual(self.rows.lookup(keys).shape, (2, 2, 4))
            self.assertEqual(self.rows.peek(keys)[1].shape, (2, 2))
            self.assertEqual(self.rows.lookup(keys.t())[0, 0, 0], 5)
            self.rows.prefetch(keys)
            self.rows.delete(keys)
            self.assertEqual(len(self.rows), 0)
        high = torch.tensor([-1, 2**62])
        self.rows.insert(high, np.ones((2, 4), np.float32))
        self.assertEqual(
            (self.rows.peek([2**64 - 1, 2**62])[1].all(), -1 in self.rows), (True, True)
        )
        self.assertTrue(torch.tensor(-1) in self.rows)
        self.assertEqual(self.rows.record(torch.tensor(-1)).key, -1)

    def test_floats_of_any_dtype(self):
        for dtype in FLOATS:
            weights = torch.tensor([[0.5] * 4, [0.1] * 4], dtype=dtype, requires_grad=True)
            self.rows.insert(torch.tensor([1, 2]), weights)
            expected = weights.detach().float().numpy()
            self.assertEqual(self.rows.peek([1, 2])[0].tolist(), expected.tolist())
            self.rows.apply_gradients(torch.tensor([1, 2]), weights)
            self.assertEqual(np.abs(self.rows.peek([1, 2])[0]).max(), 0)
            self.rows.insert_records(torch.tensor([1, 2]), weights, torch.tensor([7, 8]))
            self.assertEqual((self.rows.record(2).update_num, self.first(1)), (8, [0.5]))
            self.assertEqual(weights.requires_grad, True)

    def test_weights_of_modules_and_views(self):
        emb = nn.Embedding(6, 4)
        self.rows.insert(torch.arange(6), emb.weight)
        self.assertEqual(self.rows.peek(range(6))[0].tolist(), emb.weight.tolist())
        self.rows.insert(torch.arange(6)[::2], emb.weight.data[::2])
        self.rows.insert(np.arange(4), torch.arange(16.0).view(4, 4).t())
        self.assertEqual(self.first(0, 1, 2, 3), [0, 1, 2, 3])
        self.rows.insert([1], emb.state_dict()["weight"][:1].expand(1, 4))
        self.rows.insert(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
        self.rows.insert(torch.tensor(9), torch.ones(4))
        self.assertEqual(self.first(9), [1])
        with torch.inference_mode():
            self.rows.insert(torch.tensor([9]), torch.full((1, 4), 2.0))
        self.assertEqual(self.first(9), [2])

    def test_what_is_wrong_is_refused_as_arrays_are(self):
        keys, weights = torch.tensor([1, 2]), torch.zeros(2, 4)
        for kind, words, wrong in (
            (TypeError, ["keys", "float32", "keys.long()"], (keys.float(), weights)),
            (TypeError, ["keys", "bfloat16"], (keys.bfloat16(), weights)),
            (TypeError, ["keys", "bool"], (keys.bool(), weights)),
            (TypeError, ["keys", "complex64"], (keys.to(torch.complex64), weights)),
            (TypeError, ["keys", "dense"], (keys.to_sparse(), weights)),
            (ValueError, ["keys", "meta"], (keys.to("meta"), weights)),
            (ValueError, ["(2, 3)", "(2, 4)"], (keys, weights[:, :3])),
            (ValueError, ["(2, 4)", "(1, 4)"], (keys[:1], weights)),
            (TypeError, ["weights", "int64"], (keys, weights.long())),
            (TypeError, ["weights", "bool"], (keys, weights.bool())),
            (TypeError, ["weights", "dense"], (keys, weights.to_sparse())),
            (ValueError, ["weights", "meta"], (keys, weights.to("meta"))),
            (ValueError, ["key 1", "NaN"], (keys, weights / 0)),
            (ValueError, ["key 1", "inf"], (keys, torch.full((2, 4), 1e300, dtype=torch.float64))),
            (TypeError, ["weights", "float32", "list"], (keys, weights.tolist())),
        ):
            self.assert_fails(kind, ["damo", *words], self.rows.insert, *wrong)
        self.assert_fails(TypeError, ["out.numpy()"], self.rows.lookup, keys, out=weights)
        self.assert_fails(TypeError, ["keys"], self.rows.lookup, [torch.tensor(1.5)])
        self.assertEqual(len(self.rows), 0)

    def test_filters_and_tables(self):
        seen = damo.Filter(self.path("seen"), count=3, capacity=1000)
        self.addCleanup(seen.close)
        seen.add(torch.tensor([1, 2, 3]), torch.tensor([1, 3, 4]))
        self.assertEqual(seen.check(torch.tensor([1, 2, 3])).tolist(), [False, True, True])
        self.rows.insert(torch.tensor([5]), torch.ones(1, 4))
        self.rows.storage.dump(self.path("table.damo"))
        table = damo.Table(self.path("table.damo"))
        self.assertEqual(
            table.lookup(torch.tensor([5, 6], dtype=torch.int32))[1].tolist(), [True, False]
        )
