"""key_shard, keys_partition, rows_gather, gradients_sum: against NumPy, and over two storages."""

import unittest

import numpy as np

import damo
from support import CHECKOUT, Case, floats

GOLDEN = CHECKOUT / "tests" / "golden" / "key_shards.txt"


class Keys(Case):
    def test_shards_are_the_documented_ones(self):
        lines = [tuple(map(int, line.split())) for line in GOLDEN.read_text().splitlines()]
        self.assertGreater(len(lines), 50)
        for key, shards, shard in lines:
            self.assertEqual(damo.key_shard(key, shards), shard)
        for shards in {shards for _, shards, _ in lines}:
            keys = [key for key, number, _ in lines if number == shards]
            owners = [shard for _, number, shard in lines if number == shards]
            self.assertEqual(damo.key_shards(keys, shards).tolist(), owners)
        self.assertEqual(damo.key_shards(np.zeros((2, 3), int), 8).shape, (2, 3))
        self.assertEqual(damo.key_shard(2**64 - 1, 1000), damo.key_shard(-1, 1000))

    def test_partitions_are_numpy_s(self):
        random = np.random.default_rng(18)
        for shape in ((0,), (1,), (7, 3), (5000,)):
            for shards in (1, 3, 64):
                keys = random.integers(-900, 900, shape)
                part = damo.keys_partition(keys, shards)
                self.assertIsInstance(part, damo.KeysPartition)
                unique, counts = np.unique(keys, return_counts=True)
                order = np.argsort(part.keys)
                np.testing.assert_array_equal(part.keys[order], unique)
                np.testing.assert_array_equal(part.occurrences[order], counts)
                np.testing.assert_array_equal(part.keys[part.positions], keys)
                self.assertEqual((part.starts.dtype, len(part.starts)), (np.int64, shards + 1))
                sizes = np.bincount(damo.key_shards(part.keys, shards), minlength=shards)
                np.testing.assert_array_equal(np.diff(part.starts), sizes)
                first = [keys.ravel().tolist().index(key) for key in part.keys.tolist()]
                for begin, end in zip(part.starts, part.starts[1:]):
                    self.assertEqual(sorted(first[begin:end]), first[begin:end])

    def test_refusals(self):
        for shards in (0, 65537, 2**32 - 1):
            for call in (damo.key_shard, damo.key_shards, damo.keys_partition):
                self.assert_fails(ValueError, [f"shards is {shards}"], call, 5, shards)
        for call in (damo.key_shard, damo.key_shards, damo.keys_partition):
            self.assert_fails(ValueError, ["shards is -1"], call, 5, -1)
            self.assert_fails(TypeError, ["shards", "integer"], call, 5, 2.0)
            self.assert_fails(TypeError, ["key", "integer"], call, 1.5, 2)


class Rows(Case):
    def test_rows_are_numpy_s(self):
        random = np.random.default_rng(1)
        for dim in (1, 3, 8, 16, 40):
            rows = random.standard_normal((50, dim), np.float32)
            for shape in ((0,), (200,), (4, 5, 6)):
                for kind in (np.int64, np.uint32, np.uint8):
                    positions = random.integers(0, 50, shape).astype(kind)
                    found = damo.rows_gather(rows, positions)
                    np.testing.assert_array_equal(found, rows[positions])
                    gradients = random.standard_normal((*shape, dim), np.float32)
                    sums = np.zeros((60, dim), np.float32)
                    np.add.at(sums, positions, gradients)
                    np.testing.assert_array_equal(
                        damo.gradients_sum(gradients, positions, 60), sums
                    )
        self.assertEqual(damo.rows_gather(rows, 3).shape, (40,))

    def test_columns_of_a_matrix(self):
        matrix = np.arange(24, dtype=np.float32).reshape(4, 6)
        out = np.full((3, 7), -1, np.float32)
        same = damo.rows_gather(matrix[:, 2:4], [3, 0, 3], out=out[:, 1:3])
        np.testing.assert_array_equal(out[:, 1:3], matrix[[3, 0, 3], 2:4])
        self.assertTrue(np.shares_memory(same, out) and (out[:, 3:] == -1).all())
        sums = np.full((2, 5), -1, np.float32)
        damo.gradients_sum(matrix[::2, 1:4], [1, 1], 2, out=sums[:, :3])
        np.testing.assert_array_equal(sums[:, :3], [[0, 0, 0], [14, 16, 18]])
        self.assertTrue((sums[:, 3:] == -1).all())

    def test_refusals(self):
        rows = np.ones((3, 2), np.float32)
        fails = lambda kind, words, *arguments, **named: self.assert_fails(
            kind, words, damo.rows_gather, *arguments, **named
        )
        fails(ValueError, ["positions[2] is 3", "0 to 2"], rows, [0, 1, 3])
        fails(ValueError, ["positions[1] is -1"], rows, [0, -1])
        fails(ValueError, ["positions[0] is 4294967296"], rows, [2**32])
        fails(TypeError, ["positions", "integer"], rows, [0.5])
        fails(TypeError, ["rows", "float32"], rows.astype(float), [0])
        fails(TypeError, ["rows"], [[1.0]], [0])
        fails(ValueError, ["rows has shape (6,)"], rows.ravel(), [0])
        fails(ValueError, ["dim is 0"], rows[:, :0], [0])
        fails(ValueError, ["rows", "strides"], rows[::-1], [0])
        column = np.arange(8, dtype=np.float32).reshape(4, 2)[:, ::2]
        self.assertEqual(damo.rows_gather(column, [3, 0]).tolist(), [[6.0], [0.0]])
        fails(ValueError, ["rows", "strides"], rows.repeat(2, axis=1)[:, ::2], [0])
        fails(ValueError, ["out has shape (1, 3)"], rows, [0], out=np.ones((1, 3), np.float32))
        fails(ValueError, ["overlap"], rows, [0, 1], out=rows[1:])
        frozen = np.ones((1, 2), np.float32)
        frozen.flags.writeable = False
        fails(ValueError, ["out", "read-only"], rows, [0], out=frozen)
        fails = lambda kind, words, *arguments: self.assert_fails(
            kind, words, damo.gradients_sum, *arguments
        )
        fails(ValueError, ["positions[1] is 2", "sums has 2 rows"], rows, [0, 2, 1], 2)
        fails(ValueError, ["gradients has shape (3, 2)", "(2, 2)"], rows, [0, 1], 2)
        fails(TypeError, ["count", "integer"], rows, [0, 1, 2], 3.0)

    def test_two_storages_are_as_one(self):
        def users(name):
            return self.storage(name).embedding(
                "user", dim=4, optimizer=damo.Adam(), initializer=damo.Uniform(), duplicates="sum"
            )

        whole, shards = users("whole"), [users("0"), users("1")]
        random = np.random.default_rng(2)
        for _ in range(5):
            keys = random.integers(0, 60, (20, 9))
            part = damo.keys_partition(keys, 2)
            ranges = [slice(*part.starts[shard : shard + 2]) for shard in (0, 1)]
            rows = np.concatenate([one.lookup(part.keys[of]) for one, of in zip(shards, ranges)])
            gathered = damo.rows_gather(rows, part.positions)
            np.testing.assert_array_equal(gathered, whole.lookup(keys))
            gradients = gathered * 3 + random.standard_normal(gathered.shape, np.float32)
            sums = damo.gradients_sum(gradients, part.positions, len(part.keys))
            for one, of in zip(shards, ranges):
                one.apply_gradients(part.keys[of], sums[of])
            whole.apply_gradients(keys, gradients)
        for key in range(60):
            of = shards[damo.key_shard(key, 2)]
            self.assertEqual(key in of, key in whole)
            if key in whole:
                np.testing.assert_array_equal(of.record(key).state, whole.record(key).state)
                np.testing.assert_array_equal(of.record(key).weights, whole.record(key).weights)

    def test_occurrences_count(self):
        table = self.storage()
        users = [
            table.embedding(
                name,
                dim=4,
                optimizer=damo.Adam(),
                initializer=damo.Uniform(),
                filter=damo.Filter(self.path(f"{name}.filter"), capacity=1000, count=4),
            )
            for name in ("sent once", "whole")
        ]
        random = np.random.default_rng(3)
        for _ in range(20):
            keys = random.integers(0, 60, 50)
            part = damo.keys_partition(keys)
            rows, expected = floats(len(part.keys), 4), users[1].lookup(keys)
            before = table.stats()["rows_read"]
            found = users[0].lookup(part.keys, occurrences=part.occurrences, out=rows)
            self.assertIs(found, rows)
            self.assertEqual(table.stats()["rows_read"], before + 50)
            # The groups have numbers of their own, so their first weights differ.
            self.assertEqual(expected.shape, (50, 4))
            peeks = [one.peek(part.keys)[1] for one in users]
            np.testing.assert_array_equal(*peeks)
        self.assertTrue(0 < len(users[0]) == len(users[1]))

    def test_occurrences_of_a_step_count(self):
        table = self.storage()
        both = {
            name: table.embedding(
                name, dim=2, optimizer=damo.SGD(lr=1.0), initializer=damo.Ones()
            )
            for name in ("user", "item")
        }
        step = table.step(both, pooling={"item": "sum"})
        given = {"user": [5, 6], "item": ([1, 2], [0, 1])}
        rows = step.lookup(given, occurrences={"user": [3, 1]})
        np.testing.assert_array_equal(rows["user"], floats(2, 2))
        self.assertEqual(table.stats()["rows_read"], 4 + 2)
        step.peek(given, occurrences={"user": np.array([2, 2], np.uint32)}, out=rows)
        self.assertEqual(table.stats()["rows_read"], 6 + 4 + 2)
        step.apply_gradients(rows)
        np.testing.assert_array_equal(both["user"].peek([5, 6])[0], np.zeros((2, 2)))
        for occurrences, kind, words in (
            ([3, 1], TypeError, ["occurrences", "dict", "list"]),
            ({"users": [3, 1]}, ValueError, ["'users'", "'user'"]),
            ({"item": [3, 1]}, ValueError, ["'item'", "without a pooling", "'user'"]),
            ({"user": [3]}, ValueError, ["'user'", "occurrences has shape (1,)", "(2,)"]),
            ({"user": [3, 0]}, ValueError, ["'user'", "0 to 3", "1..4294967295"]),
            ({"user": [3, 2.5]}, TypeError, ["'user'", "occurrences", "integer"]),
        ):
            with self.subTest(occurrences=occurrences):
                for read in (step.lookup, step.peek):
                    self.assert_fails(kind, words, read, given, occurrences=occurrences)
        step.close()

    def test_wrong_occurrences(self):
        users = self.users()
        fails = lambda kind, words, occurrences: self.assert_fails(
            kind, words, users.lookup, [7, 8], occurrences=occurrences
        )
        fails(ValueError, ["occurrences has shape (1,)", "(2,)"], [1])
        fails(ValueError, ["occurrences has 0 to 1", "1..4294967295"], [1, 0])
        fails(ValueError, ["occurrences has 1 to 4294967296"], [1, 2**32])
        fails(TypeError, ["occurrences", "integer"], [1.5, 1])
        fails(TypeError, ["occurrences", "bool"], [1, True])
        self.assertEqual(len(users), 0)


if __name__ == "__main__":
    unittest.main()
