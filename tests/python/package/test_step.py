"""Step: against plain NumPy and calls of single embeddings, bit for bit."""

import unittest

import numpy as np

import damo
from step_support import StepCase
from support import Case, floats

PADDING = -7


def bags(random, count, weights=False):
    """Random keys, offsets without the last one, and weights. Some bags are empty."""
    sizes = random.integers(0, 5, count)
    offsets = np.concatenate([[0], sizes.cumsum()[:-1]])
    keys = random.integers(-9, 30, sizes.sum())
    made = (keys, offsets)
    return (*made, random.standard_normal(len(keys), np.float32)) if weights else made


def expand(keys, offsets, weights=None):
    """The places of each bag's keys that are not padding."""
    ends = [*offsets[1:], len(keys)]
    return [
        [place for place in range(begin, end) if keys[place] != PADDING]
        for begin, end in zip(offsets, ends)
    ]


def pooled(rows, given, kind):
    """The bags of rows, one for each key. Also which row each number of "max" comes from."""
    out = np.zeros((len(given[1]), rows.shape[1]), np.float32)
    winners = np.full(out.shape, -1)
    for bag, places in enumerate(expand(*given)):
        if kind == "max" and places:
            out[bag] = rows[places].max(0)
            winners[bag] = np.array(places)[rows[places].argmax(0)]
            continue
        for place in places:
            out[bag] += rows[place] * (given[2][place] if len(given) > 2 else np.float32(1))
        if kind == "mean" and places:
            out[bag] /= np.float32(len(places))
    return out, winners


def spread(gradients, given, kind, winners):
    """The gradient of each key's row."""
    out = np.zeros((len(given[0]), gradients.shape[1]), np.float32)
    for bag, places in enumerate(expand(*given)):
        for place in places:
            if kind == "max":
                out[place] = np.where(winners[bag] == place, gradients[bag], 0)
            elif kind == "mean":
                out[place] = gradients[bag] / np.float32(len(places))
            else:
                out[place] = gradients[bag] * (given[2][place] if len(given) > 2 else np.float32(1))
    return out


class Twins(Case):
    """The same groups in two storages: one for a Step, and one for single calls."""

    POOLING = {"tags": "mean", "words": "sum", "marks": "max", "more": "sum"}

    def embeddings(self, storage, duplicates="sum"):
        options = {"initializer": damo.Uniform(), "duplicates": duplicates, "padding_key": PADDING}
        made = [
            storage.embedding("user", dim=4, optimizer=damo.Adam(lr=0.1), **options),
            storage.embedding("tag", dim=3, optimizer=damo.Adagrad(lr=0.1), **options),
            storage.embedding("mark", dim=5, optimizer=damo.SGD(lr=0.1), **options),
        ]
        names = ("user", "tags", "words", "marks", "more", "other")
        return dict(zip(names, (made[0], made[1], made[1], made[2], made[0], made[0])))

    def batch(self, random, count):
        return {
            "user": random.integers(-9, 30, count),
            "tags": bags(random, count),
            "words": bags(random, count, weights=True),
            "marks": bags(random, count),
            "more": bags(random, count),
            "other": random.integers(0, 2**64, count, dtype=np.uint64),
        }

    def setUp(self):
        super().setUp()
        self.mine, self.single = (self.storage(name) for name in ("mine", "single"))

    def step(self, **options):
        embeddings = self.embeddings(self.mine, **options)
        made = self.mine.step(embeddings, pooling=self.POOLING)
        self.addCleanup(made.close)
        return made

    def expected(self, given, single, read):
        """What read of single embeddings gives for a batch, and where max pooling took it from."""
        found, winners = {}, {}
        for name, value in given.items():
            kind = self.POOLING.get(name)
            rows = read(single[name], value if kind is None else value[0])
            found[name], winners[name] = (rows, None) if kind is None else pooled(rows, value, kind)
        return found, winners

    def apply(self, given, gradients, winners, single):
        """One step of each embedding with the gradients of all its features."""
        by_group = {}
        for name, value in given.items():
            kind = self.POOLING.get(name)
            keys = value if kind is None else value[0]
            each = (
                gradients[name]
                if kind is None
                else spread(gradients[name], value, kind, winners[name])
            )
            keys = keys.astype(np.int64) if keys.dtype != np.uint64 else keys.view(np.int64)
            by_group.setdefault(single[name].group, []).append((single[name], keys, each))
        for parts in by_group.values():
            keys, each = (np.concatenate(some) for some in list(zip(*parts))[1:])
            parts[0][0].apply_gradients(keys, each)

    def assert_same(self, mine, single):
        for name in mine:
            self.assertEqual(mine[name].step, single[name].step)
            for one, other in zip(mine[name], single[name]):
                self.assertEqual((one.key, one.update_num), (other.key, other.update_num))
                np.testing.assert_array_equal(one.weights, other.weights)
                np.testing.assert_array_equal(one.state, other.state)

    def check(self, duplicates):
        random = np.random.default_rng(5)
        step = self.step(duplicates=duplicates)
        mine = {one.name: one.embedding for one in step._features}
        single = self.embeddings(self.single, duplicates)
        for number, count in enumerate((7, 0, 1, 40, 7)):
            given = self.batch(random, count)
            with self.subTest(duplicates=duplicates, batch=number):
                looked = step.peek(given)
                for name, rows in self.expected(given, single, lambda e, k: e.peek(k)[0])[
                    0
                ].items():
                    np.testing.assert_array_equal(looked[name], rows)
                found = step.lookup(given)
                expected, winners = self.expected(given, single, lambda e, k: e.lookup(k))
                self.assertEqual(list(found), list(given))
                for name, rows in expected.items():
                    self.assertEqual(
                        (found[name].dtype, found[name].shape), (np.float32, rows.shape)
                    )
                    np.testing.assert_array_equal(found[name], rows)
                gradients = {
                    name: random.standard_normal(rows.shape, np.float32)
                    for name, rows in found.items()
                }
                step.apply_gradients(gradients)
                self.apply(given, gradients, winners, single)
                self.assert_same(mine, single)

    def test_is_single_calls_bit_for_bit(self):
        self.check("sum")

    def test_averages_over_features(self):
        self.check("mean")


class Steps(StepCase):

    def test_attributes(self):
        step = self.step()
        self.assertEqual((step.features, step.dim), (("user", "tags"), 5))
        self.assertEqual((step.dims, step.storage), ({"user": 2, "tags": 3}, self.table))
        self.assertRegex(repr(step), r"Step of .*: user, tags \(sum\)>")

    def test_clips_gradients_of_an_embedding_first(self):
        options = {"dim": 1, "optimizer": damo.SGD(lr=1.0), "initializer": damo.Zeros()}
        with self.assertRaisesRegex(ValueError, "'clip_norm' is 0"):
            self.table.embedding("clipped", **options, clip_norm=0)
        clipped = self.table.embedding(
            "clipped", **options, clip_value=3, clip_row_norm=2.5, clip_norm=2
        )
        clipped.apply_gradients([1, 1, 2], np.float32([[1], [-9], [0]]))
        np.testing.assert_allclose(clipped.lookup([1, 2]), [[2], [0]], rtol=1e-5)
        self.assertEqual(clipped.sum_gradients([1], np.float32([[9]])).norm, 9)
        step = self.table.step({"a": clipped}, clip_norm=1)
        self.addCleanup(step.close)
        step.apply_gradients({"a": np.float32([[9]])}, {"a": [3]})
        np.testing.assert_allclose(step.gradient_norm, 2, rtol=1e-5)
        np.testing.assert_allclose(clipped.lookup([3]), [[-1]], rtol=1e-5)

    def test_a_call_that_fails_was_not_skipped(self):
        step = self.step(non_finite="skip", clip_norm=1)
        user, tags = np.zeros((3, 2), np.float32), np.zeros((3, 3), np.float32)
        user[1, 1] = np.nan
        wrong, right = {"user": user, "tags": tags}, {"user": tags[:, :2].copy(), "tags": tags}
        for fails in (
            lambda: step.apply_gradients({"user": user}),
            lambda: step.apply_gradients(right, {"user": [1]}),
            lambda: step.apply_gradients(right, expected_step=1),
            lambda: step.apply_gradients(right, once=(1, -1)),
            lambda: step.apply_gradients(right, once=(1, 1), expected_step={"user": 7}),
        ):
            step.lookup(self.GIVEN)
            step.apply_gradients(wrong)
            self.assertIs(step.skipped, True)
            self.assertRaises((ValueError, damo.StepMismatchError, OverflowError), fails)
            self.assertIs(step.skipped, False)
            with self.assertRaisesRegex(ValueError, "the latest call has failed"):
                step.gradient_norm
        self.assertEqual((self.user.step, self.tag.step), (0, 0))

    def test_names_no_feature_that_skips(self):
        options = {"dim": 2, "optimizer": damo.SGD(lr=1.0)}
        skips = self.table.embedding("skips", non_finite="skip", **options)
        step = self.table.step({"first": skips, "user": self.user})
        self.addCleanup(step.close)
        step.lookup({"first": [1], "user": [1]})
        wrong = np.float32([[0, np.nan]])
        with self.assertRaisesRegex(ValueError, "gradients of feature 'user', row 0, column 1"):
            step.apply_gradients({"first": wrong, "user": wrong})
        step.apply_gradients({"first": wrong, "user": np.zeros_like(wrong)})
        self.assertIs(step.skipped, True)

    def test_takes_sums_of_counted_keys(self):
        for duplicates, factor in (("sum", 1), ("mean", 3)):
            options = {"dim": 2, "optimizer": damo.SGD(lr=1.0), "initializer": damo.Ones()}
            counted = self.table.embedding(duplicates, duplicates=duplicates, **options)
            step = self.table.step({"counted": counted})
            self.addCleanup(step.close)
            step.lookup({"counted": [4, 5]}, occurrences={"counted": [3, 1]})
            step.apply_gradients({"counted": np.float32([[6, 3], [2, 2]])})
            expected = [[1 - 6 / factor, 1 - 3 / factor], [-1, -1]]
            np.testing.assert_array_equal(counted.lookup([4, 5]), expected)

    def test_skips_gradients_that_are_not_finite(self):
        step = self.step(non_finite="skip", clip_norm=1)
        self.assertIs(step.skipped, False)
        step.lookup(self.GIVEN)
        user, tags = np.zeros((3, 2), np.float32), np.zeros((3, 3), np.float32)
        tags[1] = np.nan  # The bag is empty: its gradient goes to no key.
        step.apply_gradients({"user": user, "tags": tags})
        self.assertIs(step.skipped, False)
        user[1, 1] = np.inf
        step.apply_gradients({"user": user, "tags": tags})
        self.assertIs(step.skipped, True)
        self.assertTrue(np.isnan(step.gradient_norm))
        self.assertEqual((self.user.step, self.tag.step), (1, 1))
        self.assertEqual(self.table.stat("steps_skipped"), 1)
        with self.assertRaisesRegex(ValueError, "feature 'user', row 1, column 1 is inf"):
            self.step(non_finite="refuse").apply_gradients(
                {"user": user, "tags": tags}, self.GIVEN
            )
        own = {"dim": 1, "optimizer": damo.SGD(lr=1.0), "non_finite": "skip"}
        skips = self.table.embedding("skips", **own)
        skips.apply_gradients(1, np.float32([np.nan]))
        self.assertEqual((skips.step, self.table.stat("steps_skipped")), (0, 2))
        with self.assertRaisesRegex(ValueError, "one of 'refuse', 'skip'"):
            self.table.embedding("other", **{**own, "non_finite": "drop"})

    def test_limits_the_norm_of_rows(self):
        limited = self.table.embedding(
            "limited",
            dim=2,
            optimizer=damo.SGD(lr=1.0),
            initializer=damo.Ones(),
            max_norm=1,
        )
        np.testing.assert_allclose(limited.lookup(1), [0.5**0.5] * 2, rtol=1e-6)
        limited.apply_gradients(1, np.float32([0, 9]))
        np.testing.assert_allclose(np.linalg.norm(limited.lookup(1)), 1, rtol=1e-6)
        limits = {one["name"]: one["max_norm"] for one in self.table.describe()["groups"]}
        self.assertEqual((limits["limited"], limits["tag"]), (1, None))

    def test_clips_gradients(self):
        step = self.step(clip_value=3, clip_norm=2.5)
        with self.assertRaisesRegex(ValueError, "no gradients were applied: the latest call"):
            step.gradient_norm
        step.lookup(self.GIVEN)
        # User 1 occurs twice and has (3, 4), of which (3, 3) is left; user 2 has nothing.
        gradients = {"user": [[1, 2], [0, 0], [2, 2]], "tags": np.zeros((3, 3))}
        step.apply_gradients({name: np.float32(rows) for name, rows in gradients.items()})
        norm = np.hypot(3, 3)
        self.assertAlmostEqual(step.gradient_norm, norm, places=6)
        clipped = 1 - 0.5 * 3 * 2.5 / norm
        np.testing.assert_allclose(self.user.lookup([1, 2]), [[clipped] * 2, [1, 1]], rtol=1e-5)
        with self.assertRaisesRegex(ValueError, "no option clip_norm"):
            self.step(clip_row_norm=1).gradient_norm
        with self.assertRaisesRegex(ValueError, "'clip_value' is 0"):
            self.step(clip_value=0)

    def test_matrices(self):
        step = self.step()
        whole = np.full((4, 7), 9, np.float32)
        out = whole[:3, 1:6]
        self.assertIs(step.lookup(self.GIVEN, out=out), out)
        expected = [[9, 1, 1, 2, 2, 2, 9], [9, 1, 1, 0, 0, 0, 9], [9, 1, 1, 1, 1, 1, 9], [9] * 7]
        self.assertEqual(whole.tolist(), expected)
        self.assertIs(step.peek(self.GIVEN, out=out), out)
        self.assertEqual(whole.tolist(), expected)
        step.apply_gradients(out)
        self.assertEqual(self.user.lookup([1, 2]).tolist(), [[0, 0], [0.5, 0.5]])
        self.assertEqual(self.tag.lookup([5, 6])[:, 0].tolist(), [-2, -1])
        # Every second row of a matrix.
        wide = np.full((6, 5), 9, np.float32)
        step.peek(self.GIVEN, out=wide[::2])
        np.testing.assert_array_equal(wide[::2], np.hstack(list(step.peek(self.GIVEN).values())))
        self.assertTrue((wide[1::2] == 9).all())

    def test_arrays_for_each(self):
        step = self.step()
        whole = np.full((3, 6), 9, np.float32)
        out = {"tags": whole[:, 3:], "user": np.empty((3, 2), np.float32)}
        self.assertIs(step.lookup(self.GIVEN, out=out), out)
        self.assertEqual(out["user"].tolist(), [[1, 1]] * 3)
        self.assertEqual(whole[:, 2:4].tolist(), [[9, 2], [9, 0], [9, 1]])
        step.apply_gradients({"user": floats(3, 2), "tags": whole[:, 3:]})
        self.assertEqual(self.tag.lookup(5).tolist(), [-2] * 3)

    def test_keys_of_any_shape(self):
        step = self.table.step({"user": self.user, "friends": self.user})
        found = step.lookup({"user": 3, "friends": [[1, 2, 3], [4, 5, 3]]})
        self.assertEqual(
            {name: one.shape for name, one in found.items()}, {"user": (2,), "friends": (2, 3, 2)}
        )
        step.apply_gradients(found)
        self.assertEqual(self.user.lookup([3, 4])[:, 0].tolist(), [-0.5, 0.5])
        self.assertEqual(self.user.step, 1)

    def test_gradients_with_features(self):
        step = self.step()
        gradients = {"user": floats(2, 2), "tags": floats(1, 3)}
        step.apply_gradients(gradients, {"user": [1, 2], "tags": ([7], [0])})
        self.assertEqual(self.user.lookup([1, 2])[:, 0].tolist(), [0.5, 0.5])
        step.apply_gradients(gradients)
        self.assertEqual((self.user.step, self.tag.lookup(7).tolist()), (2, [-1] * 3))

    def test_last_offsets(self):
        step = self.step(include_last_offset=True)
        found = step.lookup({"user": [1], "tags": ([5, 6, 5], [0, 2, 2, 3])})
        self.assertEqual(found["tags"][:, 0].tolist(), [2, 0, 1])
        for offsets in ([0, 2], [], [0, 2, 4]):
            given = {"user": [1], "tags": ([5, 6, 5], offsets)}
            self.assert_fails(ValueError, ["'tags'", "offsets"], step.lookup, given)

    def test_lists_of_arrays_are_bags(self):
        # A DataLoader makes a list of a tuple.
        keys, offsets = np.array([5, 6, 5]), np.array([0, 2, 2])
        found = self.step().lookup({"user": [1], "tags": [keys, offsets]})
        self.assertEqual(found["tags"][:, 0].tolist(), [2, 0, 1])

    def test_makes_no_row_in_a_peek(self):
        step = self.step()
        self.assertFalse(
            np.concatenate([one.ravel() for one in step.peek(self.GIVEN).values()]).any()
        )
        self.assertEqual((len(self.user), len(self.tag)), (0, 0))

    def test_a_loop_uses_its_structures_again(self):
        step = self.step()
        step.lookup(self.GIVEN)
        array = step._array
        for _ in range(3):
            step.apply_gradients(step.lookup(self.GIVEN))
        self.assertIs(step._array, array)

    def test_tensors(self):
        try:
            import torch
        except ImportError:
            self.skipTest("PyTorch is not installed")
        tensor = torch.tensor
        step = self.step()
        given = {"user": tensor([1, 2]), "tags": (tensor([5, 6, 5]), tensor([0, 2]), torch.ones(3))}
        found = step.lookup(given)
        self.assertEqual(found["tags"][:, 0].tolist(), [2, 1])
        step.apply_gradients(torch.ones(2, 5, dtype=torch.float64))
        self.assertEqual(self.user.lookup([1, 2])[:, 0].tolist(), [0.5, 0.5])
        step.apply_gradients({name: torch.from_numpy(one) for name, one in found.items()})
        self.assertEqual(self.user.step, 2)


if __name__ == "__main__":
    unittest.main()
