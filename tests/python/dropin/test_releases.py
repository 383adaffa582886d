"""What releases of damo-embedding took: accepted with one warning that says what to write."""

import glob
import os
import warnings

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters
from test_storage import read_classic


def row(made, step=0):
    w = floats(0)
    made.call(w, floats(-1), step)
    return float(w[0])


def read_counted(path):
    """docs/formats.md: groups with their dims, and {(group, key): weights}."""
    with open(path, "rb") as file:
        data = file.read()
    n = int(np.frombuffer(data, "<i4", 1)[0])
    groups, dims = np.frombuffer(data, "<i4", 2 * n, 4).reshape(2, n).tolist()
    dim_of, rows, at = dict(zip(groups, dims)), {}, 4 + 16 * n
    while at < len(data):
        (key,), (group,) = np.frombuffer(data, "<i8", 1, at), np.frombuffer(data, "<i4", 1, at + 8)
        rows[int(group), int(key)] = np.frombuffer(data, "<f4", dim_of[group], at + 12).tolist()
        at += 12 + 4 * dim_of[group]
    return dim_of, rows


class Kinds(Case):
    def schedule(self, words, step, **values):
        made = self.warned(
            words, damo.PyOptimizer, parameters(name="sgd", gamma=1.0), parameters(**values)
        )
        return row(made, step)

    def test_made_without_arguments(self):
        self.assertAlmostEqual(
            row(self.warned(["PyOptimizer()", "'sgd'", "0.001"], damo.PyOptimizer)), 1e-3
        )
        w = floats(9, 9)
        self.warned(["PyInitializer()", "'zeros'"], damo.PyInitializer).call(w)
        self.assertEqual(w.tolist(), [0, 0])
        passes = self.warned(["PyFilter()", "path"], damo.PyFilter)
        self.assertIs(passes.check(5), True)
        self.assertIsNone(passes.add(3, 5, 1))
        self.assertIs(passes.check(3, 5), True)
        self.assert_fails(TypeError, [], passes.check)
        self.assert_fails(TypeError, [], passes.add, 1)
        self.assert_fails((TypeError, ValueError), [], damo.PyFilter, damo.Parameters())

    def test_an_empty_schedule_is_none(self):
        self.assertEqual(
            self.schedule(
                ["empty 'name'", "leave scheduler_params out"], 7, name="", decay_steps=3
            ),
            1,
        )

    def test_another_name_of_inverse_time_decay(self):
        words = ["'inverse_time_lr_scheduler'", "'inverse_time_decay'"]
        self.assertAlmostEqual(
            self.schedule(
                words, 4, name="inverse_time_lr_scheduler", decay_steps=4, decay_rate=0.5
            ),
            2 / 3,
            places=6,
        )

    def test_steps_that_are_floats(self):
        for given, whole in ((4.0, 4), (4.4, 4), (0.2, 1), (1e6, 1_000_000)):
            rate = self.schedule(
                ["decay_steps", f"{whole} is taken"],
                4,
                name="exponential_decay",
                decay_steps=given,
                decay_rate=0.5,
            )
            self.assertAlmostEqual(rate, 0.5 ** (4 / whole), places=6)
        self.schedule(
            ["warmup_steps is 0.0", "0 is taken"],
            4,
            name="cosine_decay",
            decay_steps=9,
            warmup_steps=0.0,
        )
        for bad in (-4.0, 0.0, float("nan"), float("inf"), 1e300):
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what is refused is not also warned of
                self.assert_fails(
                    ValueError,
                    ["decay_steps"],
                    lambda steps: damo.PyOptimizer(
                        parameters(name="sgd"), parameters(name="cosine_decay", decay_steps=steps)
                    ),
                    bad,
                )

    def test_decay_rate_of_polynomial_decay(self):
        words = ["'polynomial_decay'", "'decay_rate'", "ignored"]
        rate = self.schedule(
            words, 5, name="polynomial_decay", decay_steps=10, decay_rate=0.5, end_learning_rate=0.0
        )
        self.assertAlmostEqual(rate, 0.5, places=6)

    def test_parameters_that_a_kind_does_not_know(self):
        words = ["optimizer 'sgd'", "'gama'", "'gamma'", "ignored"]
        made = self.warned(words, damo.PyOptimizer, parameters(name="sgd", gama=7, gamma=0.5))
        self.assertEqual(row(made), 0.5)
        made = self.warned(
            ["initializer 'constant'", "'stddev'"],
            damo.PyInitializer,
            parameters(name="constant", value=3, stddev=1),
        )
        w = floats(0)
        made.call(w)
        self.assertEqual(w[0], 3)
        # A value that is wrong stays wrong, and so does another kind.
        self.assert_fails(
            ValueError, ["gamma"], damo.PyOptimizer, parameters(name="sgd", gamma="1")
        )
        self.assert_fails(
            ValueError, ["'wonder'"], damo.PyOptimizer, parameters(name="wonder", gama=1)
        )

    def test_global_step(self):
        made = damo.PyOptimizer(
            parameters(name="sgd", gamma=1.0),
            parameters(name="exponential_decay", decay_steps=1, decay_rate=0.5),
        )
        w = floats(0)
        self.warned(["global_step", "step"], made.call, w, floats(-1), global_step=2)
        self.assertEqual(w[0], 0.25)
        self.assert_fails(TypeError, [], lambda: made.call(w, floats(-1), steps=2))


class Keys(Case):
    def test_lists_and_int32(self):
        embedding = damo.PyEmbedding(self.storage(), optimizer(gamma=1.0), initializer("zeros"), 1)
        for given in ([5, -6, 2**63], (5, np.int64(-6), 2**63 + 0), []):
            w = np.full(len(given), 9, np.float32)
            self.warned(["int64", type(given).__name__], embedding.lookup, given, w)
            self.assertEqual(w.tolist(), [0] * len(given))
        self.warned(["int64"], embedding.apply_gradients, [5, 2**63], floats(1, 2))
        self.warned(
            ["int32", "astype"], embedding.apply_gradients, np.array([5, 7], np.int32), floats(1, 2)
        )
        w = np.full(4, 9, np.float32)
        embedding.lookup(np.array([5, -(2**63), 7, -6]), w)
        self.assertEqual(w.tolist(), [-2, -2, -2, 0])
        self.warned(["int32"], embedding.lookup, np.arange(5, 9, dtype=np.int32)[::2], w[:2])
        self.assertEqual(w[:2].tolist(), [-2, -2])

    def test_ranges_and_other_short_integers(self):
        embedding = damo.PyEmbedding(self.storage(), optimizer(gamma=1.0), initializer("zeros"), 1)
        self.warned(["range"], embedding.apply_gradients, range(5, 7), floats(1, 2))
        for dtype in ("uint32", "int16", "uint16", "int8"):
            w = np.full(2, 9, np.float32)
            self.warned(
                ["keys are of " + dtype, "astype"], embedding.lookup, np.array([6, 5], dtype), w
            )
            self.assertEqual(w.tolist(), [-2, -1])
        # What is no number of a key, or has another shape, is refused as ever.
        for wrong in (
            [1.5],
            [True],
            [2**64],
            ["1"],
            np.array([1.0]),
            np.array([[1]], np.int32),
            np.array([1], ">i4"),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.assert_fails((TypeError, ValueError), [], embedding.lookup, wrong, floats(0))

    def test_step_of_an_embedding(self):
        embedding = damo.PyEmbedding(self.storage(), optimizer(gamma=1.0), initializer("zeros"), 1)
        self.warned(["apply_gradients"], embedding.step, keys(5, 5), floats(1, 2))
        w = floats(0)
        embedding.lookup(keys(5), w)
        self.assertEqual(w[0], -3)


class Files(Case):
    def embedding(self, storage, group=1, dim=2):
        return damo.PyEmbedding(
            storage, optimizer("sgd", gamma=1.0), initializer("ones"), dim, group
        )

    def test_dumps_as_a_release_wrote_them(self):
        storage = self.storage()
        self.embedding(storage).apply_gradients(keys(5), floats(0.5, 0.25))
        self.addCleanup(damo.write_as, None)
        rows = {(1, 5): [0.5, 0.75]}
        for release, width in ((None, 256), ("1.0.5", 1024), (None, 256)):
            damo.write_as(release)
            storage.dump(self.path("dump"))
            self.assertEqual(read_classic(self.path("dump"), width)[2], rows)
        for release in ("1.0.6", "1.1.3", "1.1.12"):
            damo.write_as(release)
            storage.dump(self.path("dump"))
            self.assertEqual(read_counted(self.path("dump")), ({1: 2}, rows))
        storage.dump(self.path("dump"), parameters(format="classic"))
        self.assertEqual(read_classic(self.path("dump"))[2], rows)
        for release in ("1.0.4", "2", "", 1.1):
            self.assert_fails((ValueError, TypeError), [], damo.write_as, release)

    def test_a_dump_of_a_group_that_is_not_there_is_empty(self):
        storage = self.storage()
        self.embedding(storage).apply_gradients(keys(5), floats(0.5, 0.25))
        self.warned(
            ["group 7", "open the group"], storage.dump, self.path("dump"), parameters(group=7)
        )
        dims, counts, rows = read_classic(self.path("dump"))
        self.assertEqual((rows, counts.sum(), dims[1]), ({}, 0, 2))
        self.warned(
            ["group 7"],
            storage.dump,
            self.path("dump"),
            parameters(group=7, format="counted", min_count=1),
        )
        self.assertEqual(read_counted(self.path("dump")), ({1: 2}, {}))
        self.assert_fails(
            ValueError, ["70000"], storage.dump, self.path("dump"), parameters(group=70000)
        )

    def test_a_second_checkpoint_under_one_path(self):
        storage = self.storage()
        embedding = self.embedding(storage)
        weights = []
        for number in range(3):
            embedding.apply_gradients(keys(5), floats(0.5, 0.25))
            if number == 0:
                storage.checkpoint(self.path("cp"))
            else:
                self.warned(
                    ["'" + self.path("cp") + "'", "a name of its own"],
                    storage.checkpoint,
                    self.path("cp"),
                )
            made = sorted(
                glob.glob(self.path("cp-*")), key=lambda path: int(path.rsplit("-", 1)[1])
            )
            self.assertEqual(len(made), number + 1)
            self.assertEqual(os.path.realpath(self.path("cp")), os.path.realpath(made[-1]))
            weights.append(self.rows(embedding))
        for path, expected in [(self.path("cp"), weights[2]), *zip(made, weights)]:
            storage.load_from_checkpoint(path)
            self.assertEqual(self.rows(embedding), expected)

    def test_a_checkpoint_where_something_else_is(self):
        storage = self.storage()
        os.mkdir(self.path("cp"))
        self.warned(["there already", self.path("cp-")], storage.checkpoint, self.path("cp"))
        self.assertEqual(os.listdir(self.path("cp")), [])
        storage.load_from_checkpoint(*glob.glob(self.path("cp-*")))

    def rows(self, embedding):
        w = np.zeros(2, np.float32)
        embedding.lookup(keys(5), w)
        return w.tolist()
