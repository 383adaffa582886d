"""Embedding.sum_gradients: values, shapes, clipping, and what is refused."""

import threading

import numpy as np

import damo
from support import Case, floats


def as_dict(summed):
    return {int(key): row.tolist() for key, row in zip(summed.keys, summed.sums)}


class Sums(Case):
    def test_each_key_once(self):
        users = self.users(dim=2, padding_key=0)
        summed = users.sum_gradients(
            [7, -7, 0, 7], np.array([[1, 0], [0, 4], [9, 9], [2, 0]], np.float32)
        )
        self.assertIsInstance(summed, damo.GradientSums)
        self.assertEqual(as_dict(summed), {7: [3, 0], -7: [0, 4]})
        self.assertEqual((summed.norm, summed.largest), (5.0, 4.0))
        self.assertEqual(
            (summed.keys.dtype, summed.sums.dtype), (np.dtype(np.int64), np.dtype(np.float32))
        )
        self.assertEqual((len(users), users.step), (0, 0))

    def test_duplicates(self):
        storage = self.storage()
        for group, (duplicates, expected) in enumerate(
            [("sequential", 4.0), ("sum", 4.0), ("mean", 2.0), (None, 4.0)]
        ):
            users = storage.embedding(group, dim=1, optimizer=damo.SGD(), duplicates=duplicates)
            keys, sums, norm, largest = users.sum_gradients(
                [5, 5], np.array([[1], [3]], np.float32)
            )
            self.assertEqual(
                (keys.tolist(), sums.tolist(), norm, largest),
                ([5], [[expected]], expected, expected),
            )

    def test_shapes(self):
        users = self.users()
        self.assertEqual(as_dict(users.sum_gradients(5, floats(4))), {5: [1, 1, 1, 1]})
        summed = users.sum_gradients(np.zeros((2, 3), np.uint64), floats(2, 3, 4))
        self.assertEqual(as_dict(summed), {0: [6, 6, 6, 6]})
        empty = users.sum_gradients([], floats(0, 4))
        self.assertEqual(
            (empty.keys.shape, empty.sums.shape, empty.norm, empty.largest),
            ((0,), (0, 4), 0.0, 0.0),
        )

    def test_against_numpy(self):
        users = self.users(dim=3)
        random = np.random.default_rng(13)
        keys = random.integers(-400, 400, 9000)
        gradients = random.standard_normal((9000, 3)).astype(np.float32)
        summed = users.sum_gradients(keys, gradients)
        distinct, places = np.unique(keys, return_inverse=True)
        expected = np.zeros((len(distinct), 3), np.float32)
        # Unbuffered, in the order of occurrence, in float32.
        np.add.at(expected, places, gradients)
        order = np.argsort(summed.keys)
        np.testing.assert_array_equal(summed.keys[order], distinct)
        np.testing.assert_array_equal(summed.sums[order], expected)
        self.assertAlmostEqual(
            summed.norm / np.linalg.norm(expected.astype(np.float64)), 1, places=12
        )
        self.assertEqual(summed.largest, np.abs(expected).max())

    def test_the_rows_are_those_of_the_gradients(self):
        storage = self.storage()
        make = lambda name: storage.embedding(
            name, dim=4, optimizer=damo.Adam(), initializer=damo.Ones(), duplicates="sum"
        )
        summing, applying = make("summing"), make("applying")
        random = np.random.default_rng(7)
        for _ in range(5):
            keys = random.integers(0, 50, 300)
            gradients = random.standard_normal((300, 4)).astype(np.float32)
            summed = summing.sum_gradients(keys, gradients)
            summing.apply_gradients(summed.keys, summed.sums)
            applying.apply_gradients(keys, gradients)
        every = np.arange(50)
        np.testing.assert_array_equal(summing.peek(every)[0], applying.peek(every)[0])

    def test_sums_can_be_clipped_in_place(self):
        users = self.users(dim=2)
        summed = users.sum_gradients([8, 9, 8], np.array([[1, 0], [0, 4], [2, 0]], np.float32))
        summed.sums[...] *= 1 / summed.norm
        users.apply_gradients(summed.keys, summed.sums)
        np.testing.assert_allclose(users.peek([8, 9])[0], [[1 - 0.3, 1], [1, 1 - 0.4]], rtol=1e-6)

    def test_a_storage_that_is_looked_at(self):
        with damo.Storage(self.path("table")) as storage:
            self.users(storage).lookup([1])
        with damo.Storage(self.path("table"), read_only=True) as looking:
            self.assertEqual(
                as_dict(self.users(looking).sum_gradients([1, 2, 1], floats(3, 4)))[1], [2, 2, 2, 2]
            )

    def test_threads(self):
        users = self.users(dim=2)
        wrong = []

        def work(seed):
            keys = np.random.default_rng(seed).integers(0, 90, 5000)
            for _ in range(10):
                summed = users.sum_gradients(keys, floats(5000, 2))
                counts = np.bincount(keys, minlength=90)
                if not np.array_equal(summed.sums[:, 0], counts[summed.keys]):
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_refusals(self):
        users = self.users(dim=2)
        fails = lambda kind, words, *arguments: self.assert_fails(
            kind, words, users.sum_gradients, *arguments
        )
        bad = floats(2, 2)
        bad[1, 1] = np.nan
        fails(ValueError, ["key 6 (position 1, column 1)", "NaN"], [5, 6], bad)
        fails(ValueError, ["gradients of key 5 add up"], [5, 5], floats(2, 2, value=9e17))
        fails(ValueError, ["(1, 2)", "(2, 2)"], [5, 6], floats(1, 2))
        fails(TypeError, ["float64"], [5], np.ones((1, 2)))
        fails(TypeError, ["keys", "integer"], [1.5], floats(1, 2))
        users.close()
        fails(damo.ClosedError, [], [5], floats(1, 2))
