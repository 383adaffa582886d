"""Lookups and steps: values, shapes, and what is refused."""

import datetime

import numpy as np

import damo
from support import Case, floats


class Reading(Case):
    def test_lookup_creates_and_peek_does_not(self):
        users = self.users()
        np.testing.assert_array_equal(users.lookup([7, -7, 7]), floats(3, 4))
        weights, found = users.peek([7, 8])
        np.testing.assert_array_equal(weights, [[1, 1, 1, 1], [0, 0, 0, 0]])
        self.assertEqual((found.dtype, found.tolist()), (np.dtype(bool), [True, False]))
        self.assertEqual((len(users), 7 in users, 8 in users, bool(users)), (2, True, False, True))

    def test_shapes(self):
        users = self.users()
        self.assertEqual(users[5].shape, (4,))
        self.assertEqual(users[[]].shape, (0, 4))
        self.assertEqual(users.lookup(np.zeros((2, 3), np.int64)).shape, (2, 3, 4))
        self.assertEqual(users.peek(np.zeros((2, 0), np.int64))[1].shape, (2, 0))
        self.assertEqual(users[np.int32(5)].shape, (4,))

    def test_out(self):
        users = self.users()
        out = floats(2, 4, value=9)
        self.assertIs(users.lookup([1, 2], out=out), out)
        np.testing.assert_array_equal(out, floats(2, 4))
        users.peek([1, 3], out=out)
        np.testing.assert_array_equal(out[1], [0] * 4)
        fails = lambda kind, words, out: self.assert_fails(
            kind, words, users.lookup, [1, 2], out=out
        )
        fails(TypeError, ["float32", "float64"], np.zeros((2, 4)))
        fails(TypeError, ["numpy.ndarray", "list"], [[0.0] * 4] * 2)
        fails(ValueError, ["(2, 3)", "(2, 4)"], floats(2, 3))
        fails(ValueError, ["strides", "C-contiguous"], floats(2, 8)[:, ::2])
        fails(ValueError, ["strides"], np.asfortranarray(floats(2, 4)))
        out.flags.writeable = False
        fails(ValueError, ["read-only"], out)

    def test_keys(self):
        users = self.users()
        users.lookup(np.array([2**64 - 1], np.uint64))
        self.assertTrue(-1 in users and 2**64 - 1 in users)
        strided = np.arange(10)[::3]
        users.lookup(strided)
        self.assertEqual(len(users), 5)
        for wrong in (
            1.0,
            [1.5],
            np.zeros(2, np.float32),
            "a",
            ["a"],
            None,
            np.array([True]),
            [True, 1.5],
            np.ma.array([1]),
        ):
            with self.subTest(keys=wrong):
                self.assert_fails(TypeError, [], users.lookup, wrong)
        for wrong in (2**64, [1, 2**64], [[-(2**63) - 1, 1]]):
            self.assert_fails(
                ValueError, ["in -9223372036854775808..18446744073709551615"], users.lookup, wrong
            )
        self.assertEqual(len(users), 5)
        # NumPy has no one type for these, and they are keys.
        np.testing.assert_array_equal(users.peek([[-1, 2**63]])[1], [[True, False]])
        users.lookup([1, 2**63])
        self.assertIn(-(2**63), users)
        self.assert_fails(ValueError, ["name", "UTF-8"], users.storage.stat, "\ud800")

    def test_padding(self):
        users = self.users(padding_key=-1)
        np.testing.assert_array_equal(users[[-1, 3]], [[0] * 4, [1] * 4])
        users.apply_gradients([-1, 3], floats(2, 4))
        np.testing.assert_array_equal(users[[-1, 3]], [[0] * 4, [0.5] * 4])
        self.assertEqual(len(users), 1)

    def test_initial_weights_are_a_function_of_the_key(self):
        normal = damo.Normal(stddev=0.1, seed=3)
        users = self.users(initializer=normal)
        np.testing.assert_array_equal(users[42], normal.weights(42, 4, group=users.group))

    def test_prefetch(self):
        users = self.users()
        users.prefetch(np.arange(100))
        self.assertEqual(len(users), 0)


class Stepping(Case):
    def test_duplicates(self):
        for duplicates, expected in (("sum", -0.5), ("mean", 0.25), ("sequential", -0.5)):
            users = self.users(self.storage(duplicates), duplicates=duplicates)
            users.apply_gradients([1, 1], np.stack([floats(4, value=1), floats(4, value=2)]))
            np.testing.assert_allclose(users[1], [expected] * 4)
            self.assertEqual(users.step, 1)
            self.assertEqual(users.record(1).update_num, 2 if duplicates == "sequential" else 1)

    def test_wrong_gradients_change_nothing(self):
        users = self.users()
        apply = users.apply_gradients
        self.assert_fails(TypeError, ["float64"], apply, [1], np.ones((1, 4)))
        self.assert_fails(ValueError, ["(1, 4)"], apply, [1], floats(4))
        self.assert_fails(ValueError, ["strides"], apply, [1, 2], floats(2, 8)[:, ::2])
        self.assert_fails(
            ValueError,
            ["key 9", "NaN"],
            apply,
            [1, 9],
            np.array([[1] * 4, [np.nan] * 4], np.float32),
            status=1,
        )
        self.assertEqual((len(users), users.step), (0, 0))

    def test_learning_rate_and_step(self):
        adam = damo.Adam(lr=0.25)
        users = self.users(optimizer=adam)
        self.assertEqual(adam.learning_rate, 0.25)
        adam.learning_rate = 0
        users.apply_gradients([1], floats(1, 4))
        np.testing.assert_array_equal(users[1], [1] * 4)
        users.step = 41
        users.apply_gradients([1], floats(1, 4))
        self.assertEqual(users.step, 42)
        self.assert_fails(ValueError, ["-1"], setattr, users, "step", -1)

    def test_schedules(self):
        decay = damo.ExponentialDecay(decay_steps=1, decay_rate=0.5)
        self.assertAlmostEqual(decay.rate(1.0, 2), 0.25)
        users = self.users(optimizer=damo.SGD(lr=1.0, scheduler=decay))
        users.apply_gradients([1], floats(1, 4))
        users.apply_gradients([1], floats(1, 4))
        np.testing.assert_allclose(users[1], [-0.5] * 4)

    def test_insert_delete_records(self):
        users = self.users(optimizer=damo.Adam())
        users.insert([1, 2], np.arange(8, dtype=np.float32).reshape(2, 4))
        users.apply_gradients([3], floats(1, 4))
        users.delete([1, 99])
        records = list(users)
        self.assertEqual(
            [(row.key, row.update_num, row.group) for row in records], [(2, 0, 0), (3, 1, 0)]
        )
        np.testing.assert_array_equal(records[0].weights, [4, 5, 6, 7])
        np.testing.assert_allclose(records[1].state, [0.1] * 4 + [0.001] * 4, rtol=1e-5)
        now = datetime.datetime.now().timestamp() * 1000
        self.assertLess(abs(now - records[1].update_time), 60_000)
        self.assert_fails(KeyError, ["1"], users.record, 1, status=damo.Status.NOT_FOUND)
        with self.assertRaises(StopIteration):
            next(iter(self.storage("other").embedding(0, dim=1, optimizer=damo.SGD())))

    def test_clear(self):
        storage = self.storage()
        users = storage.embedding("user", dim=4, optimizer=damo.Adam(), initializer=damo.Ones())
        again = storage.embedding("user", dim=4, optimizer=damo.Adam(), initializer=damo.Ones())
        items = storage.embedding(
            "item", dim=4, optimizer=damo.SGD(lr=1.0), initializer=damo.Ones()
        )
        for embedding in (users, items):
            embedding.apply_gradients(np.arange(100), floats(100, 4))
        number = storage.dump(self.path("base"), format="table").number
        before = iter(users)
        self.assertEqual(next(before).key, 0)
        self.assertIsNone(users.clear())
        self.assertEqual(
            (len(users), len(again), again.step, 5 in users, list(users)), (0, 0, 0, False, [])
        )
        self.assertEqual((len(items), items.step), (100, 1))
        self.assertEqual(len(list(before)), 99)
        self.assert_fails(
            KeyError,
            ["was cleared", "full dump"],
            storage.dump,
            self.path("more"),
            format="table",
            since=number,
        )
        np.testing.assert_array_equal(again[[5, 6]], floats(2, 4))
        again.apply_gradients([5], floats(1, 4))
        self.assertEqual((users.step, users.record(5).update_num, len(users)), (1, 1, 2))

    def test_every_optimizer_and_initializer(self):
        storage = self.storage()
        for group, cls in enumerate(
            (
                damo.SGD,
                damo.FTRL,
                damo.Adagrad,
                damo.RowwiseAdagrad,
                damo.Adam,
                damo.AMSGrad,
                damo.AdamW,
                damo.Lion,
            )
        ):
            rows = storage.embedding(group, dim=2, optimizer=cls(), initializer=damo.Zeros())
            rows.apply_gradients([1], np.array([[1, -1]], np.float32))
            self.assertEqual(np.sign(rows[1]).tolist(), [-1, 1], cls)
        for made in (
            damo.Zeros(),
            damo.Ones(),
            damo.Constant(2),
            damo.Uniform(),
            damo.Normal(),
            damo.TruncatedNormal(),
            damo.XavierUniform(),
        ):
            self.assertEqual(made.weights(5, 3).shape, (3,))

    def test_filter(self):
        seen = damo.Filter(self.path("filter"), capacity=1000, count=2)
        users = self.users(filter=seen)
        users[[5]]
        self.assertNotIn(5, users)
        self.assertIs(seen.check(5), False)
        users[[5]]
        self.assertIn(5, users)
        seen.add([6, 7], 2)
        self.assertEqual(
            seen.check(np.array([[5, 6], [7, 8]])).tolist(), [[True, True], [True, False]]
        )
        seen.sync()
        self.assert_fails(TypeError, ["damo.Filter"], users.set_filter, "filter")


class Keys(Case):
    def test_of_strings(self):
        for text, digest in [
            ("", 0xEF46DB3751D8E999),
            ("a", 0xD24EC4F1A98C6E5B),
            (b"abc", 0x44BC2CF5AD770999),
        ]:
            self.assertEqual(damo.key_hash(text) % 2**64, digest)
        texts = ["", "a", b"abc", "Zürich", "", "a"]
        keys = damo.key_hashes(texts)
        self.assertEqual(
            (keys.dtype, keys.tolist()), (np.int64, [damo.key_hash(text) for text in texts])
        )
        self.assertEqual(damo.key_hash("Zürich"), damo.key_hash("Zürich".encode()))
        self.assertEqual(damo.key_hashes([]).shape, (0,))
        self.assert_fails(TypeError, ["str or bytes", "int"], damo.key_hash, 5)

    def test_at_any_address(self):
        users = self.users()
        raw = bytearray(25)
        raw[1:] = np.array([3, -4, 3], np.int64).tobytes()
        keys = np.frombuffer(raw, np.int64, offset=1)
        self.assertFalse(keys.flags.aligned)
        users.apply_gradients(keys, floats(3, 4))
        np.testing.assert_array_equal(users[[3, -4]], [[0.0] * 4, [0.5] * 4])
        self.assertEqual(users.peek(keys)[0].shape, (3, 4))

    def test_counts_of_a_filter(self):
        counting = damo.Filter(self.path("filter"), capacity=1000, count=5)
        counting.add([1, 2, 3, 1], [4, 5, 0, 1])
        self.assertEqual(counting.check([1, 2, 3]).tolist(), [True, True, False])
        counting.add(np.array([[3], [4]], np.uint64), np.array([[5], [4]]))
        self.assertEqual(counting.check([3, 4]).tolist(), [True, False])
        self.assert_fails(ValueError, ["num has shape (1,)", "(2,)"], counting.add, [1, 2], [1])
        self.assert_fails(ValueError, ["-1"], counting.add, [1], [-1])
        self.assert_fails(TypeError, ["num", "integer", "0.5"], counting.add, [1], [0.5])
