"""Initializers, optimizers and schedulers alone: PyInitializer.call and PyOptimizer.call."""

import math

import numpy as np

import damo
from support import Case, floats, initializer, optimizer, parameters

# name: parameters beside the defaults
INITIALIZERS = [
    "zeros", "ones", "constant", "random_uniform", "random_normal", "truncate_normal",
    "xavier_uniform", "uniform", "normal", "truncated_normal", "xavier",
]  # fmt: skip

# name: floats of state beside dim weights
OPTIMIZERS = {
    "sgd": lambda dim: 0, "ftrl": lambda dim: 2 * dim, "adagrad": lambda dim: dim,
    "rowwise_adagrad": lambda dim: 1, "adam": lambda dim: 2 * dim, "amsgrad": lambda dim: 3 * dim,
    "adamw": lambda dim: 2 * dim, "lion": lambda dim: dim,
}  # fmt: skip

SCHEDULERS = {
    "exponential_decay": {"decay_steps": 10, "decay_rate": 0.5},
    "natural_exp_decay": {"decay_steps": 10, "decay_rate": 0.5},
    "nature_exponential_decay": {"decay_steps": 10, "decay_rate": 0.5},
    "inverse_time_decay": {"decay_steps": 10, "decay_rate": 0.5},
    "polynomial_decay": {"decay_steps": 10},
    "cosine_decay": {"decay_steps": 10},
    "linear_cosine_decay": {"decay_steps": 10},
    "liner_cosine_decay": {"decay_steps": 10},
}


class Initializers(Case):
    def test_every_kind(self):
        for name in INITIALIZERS:
            with self.subTest(name=name):
                w = np.full(64, 9, np.float32)
                self.assertIsNone(initializer(name).call(w))
                self.assertTrue((np.abs(w) < 6).all())
                again = np.zeros(64, np.float32)
                initializer(name).call(again)
                np.testing.assert_array_equal(w, again)

    def test_values(self):
        w = np.full(3, 9, np.float32)
        for name, values, expected in (
            ("zeros", {}, 0),
            ("ones", {}, 1),
            ("constant", {"value": 2.5}, 2.5),
        ):
            initializer(name, **values).call(w)
            np.testing.assert_array_equal(w, np.full(3, expected, np.float32))
        w = np.zeros(20000, np.float32)
        initializer("random_uniform", min=1, max=3).call(w)
        self.assertTrue(((w >= 1) & (w <= 3)).all() and abs(w.mean() - 2) < 0.02)
        initializer("random_normal", mean=1.0, stddev=0.5).call(w)
        self.assertTrue(abs(w.mean() - 1) < 0.02 and abs(w.std() - 0.5) < 0.02)
        initializer("truncate_normal", stddev=0.5).call(w)
        self.assertLessEqual(np.abs(w).max(), 1)

    def test_seeds_differ(self):
        a, b = np.zeros(8, np.float32), np.zeros(8, np.float32)
        initializer("random_normal", seed=1).call(a)
        initializer("random_normal", seed=2).call(b)
        self.assertFalse((a == b).any())

    def test_the_row_of_key_0_of_group_0(self):
        kind = initializer("random_normal", seed=5)
        w, row = np.zeros(6, np.float32), np.zeros(6, np.float32)
        kind.call(w)
        damo.PyEmbedding(self.storage(), optimizer(), kind, 6).lookup(np.array([0]), row)
        np.testing.assert_array_equal(w, row)

    def test_two_dimensions_are_filled_as_one(self):
        flat, square = np.zeros(6, np.float32), np.zeros((2, 3), np.float32)
        initializer("random_normal").call(flat)
        initializer("random_normal").call(square)
        np.testing.assert_array_equal(square.ravel(), flat)

    def test_one_dimension_or_two(self):
        call = initializer().call
        for shape in ((), (1, 1, 1), (2, 1, 2), (1, 2, 1, 2), (0, 0, 0)):
            w = np.full(shape, 9, np.float32)
            with self.subTest(shape=shape):
                self.assert_fails(ValueError, ["shape", "one dimension"], call, w)
                self.assert_fails(ValueError, [], optimizer().call, w, floats(0))
                self.assertTrue((w == 9).all())
        self.assert_fails(ValueError, [], call, np.zeros((2, 3), np.float32, order="F"))
        for shape in ((0,), (3,), (1, 3), (3, 1), (0, 3)):
            w = np.full(shape, 9, np.float32)
            call(w)
            self.assertTrue((w == 1).all())

    def test_what_is_missing_or_wrong_is_named(self):
        make = damo.PyInitializer
        self.assert_fails(
            ValueError, ["name", "initializer"], make, damo.Parameters(), status="INVALID_ARGUMENT"
        )
        self.assert_fails((TypeError, ValueError), ["name"], make, parameters(name=3))
        self.assert_fails(
            ValueError, ["'gauss'", "'random_normal'"], make, parameters(name="gauss")
        )
        self.assert_fails(
            ValueError, ["stddev"], make, parameters(name="random_normal", stddev="1")
        )
        self.assert_fails((TypeError, ValueError), [], make, 3)

    def test_buffers_are_checked(self):
        call = initializer().call
        self.assert_fails(TypeError, ["float32"], call, np.zeros(4))
        self.assert_fails(TypeError, ["float32"], call, [0.0, 0.0])
        self.assert_fails(ValueError, [], call, np.zeros(8, np.float32)[::2])
        read_only = np.zeros(4, np.float32)
        read_only.flags.writeable = False
        self.assert_fails(ValueError, ["read-only"], call, read_only)
        np.testing.assert_array_equal(read_only, np.zeros(4))


class Optimizers(Case):
    def test_every_kind_steps(self):
        for name, state in OPTIMIZERS.items():
            with self.subTest(name=name):
                row = np.zeros(4 + state(4), np.float32)
                made = optimizer(name)
                self.assertIsNone(made.call(row, floats(1, -2, 3, -4)))
                made.call(row, floats(1, -2, 3, -4), 1)
                self.assertEqual(list(np.sign(row[:4])), [-1, 1, -1, 1])
                if state(4):
                    self.assertTrue((row[4:] != 0).any(), "the state is beside the weights")

    def test_values(self):
        w = floats(1, 1)
        optimizer("sgd", gamma=0.5, lambda_=0.5).call(w, floats(1, -1))
        np.testing.assert_array_equal(w, floats(0.25, 1.25))
        row = floats(1, 1, 0, 0, 0, 0)
        optimizer("adam", gamma=0.5).call(row, floats(4, -4), 0)
        np.testing.assert_allclose(row, [0.5, 1.5, 0.4, -0.4, 0.016, 0.016], rtol=1e-5)
        optimizer("adam", learning_rate=0.5).call(row, floats(4, -4), step=1)
        np.testing.assert_allclose(row[:2], [0, 2], atol=1e-5)

    def test_gradients_may_be_read_only(self):
        w, gds = floats(1), floats(1)
        gds.flags.writeable = False
        optimizer("sgd", gamma=1).call(w, gds)
        self.assertEqual(w[0], 0)

    def test_wrong_calls_change_nothing(self):
        adam = optimizer("adam")
        row = np.zeros(12, np.float32)
        self.assert_fails(ValueError, ["12", "5"], adam.call, row, np.ones(5, np.float32))
        self.assert_fails(ValueError, ["-1"], adam.call, row, np.ones(4, np.float32), -1)
        self.assert_fails(ValueError, ["NaN"], adam.call, row, floats(1, 1, 1, math.nan))
        self.assert_fails(TypeError, ["float32"], adam.call, row, np.ones(4))
        self.assert_fails(
            TypeError, ["float32"], adam.call, row.astype(np.float64), np.ones(4, np.float32)
        )
        self.assert_fails(ValueError, [], adam.call, row, np.ones(8, np.float32)[::2])
        self.assert_fails(TypeError, [], adam.call, row)
        self.assert_fails(TypeError, [], adam.call, row, np.ones(4, np.float32), 0.5)
        np.testing.assert_array_equal(row, np.zeros(12))

    def test_what_is_missing_or_wrong_is_named(self):
        make = damo.PyOptimizer
        self.assert_fails(
            ValueError, ["name", "optimizer"], make, damo.Parameters(), status="INVALID_ARGUMENT"
        )
        self.assert_fails((TypeError, ValueError), ["name"], make, parameters(name=True))
        self.assert_fails(ValueError, ["'adan'", "'adam'"], make, parameters(name="adan"))
        sgd = parameters(name="sgd")
        self.assert_fails(ValueError, ["name", "scheduler"], make, sgd, damo.Parameters())
        self.assert_fails(
            ValueError, ["'step'", "'cosine_decay'"], make, sgd, parameters(name="step")
        )
        self.assert_fails(ValueError, ["'decay_steps'"], make, sgd, parameters(name="cosine_decay"))
        self.assert_fails((TypeError, ValueError), [], make, "adam")
        self.assert_fails((TypeError, ValueError), [], make, sgd, 3)


class Schedulers(Case):
    def rate(self, step, **values):
        w = floats(0)
        damo.PyOptimizer(parameters(name="sgd", gamma=1), parameters(**values)).call(
            w, floats(-1), step
        )
        return w[0]

    def test_every_kind(self):
        for name, values in SCHEDULERS.items():
            with self.subTest(name=name):
                self.assertAlmostEqual(self.rate(0, name=name, **values), 1, delta=2e-3)
                self.assertLess(self.rate(8, name=name, **values), 0.9)

    def test_values(self):
        decay = {"name": "exponential_decay", "decay_steps": 10, "decay_rate": 0.5}
        self.assertAlmostEqual(self.rate(20, **decay), 0.25, places=6)
        self.assertAlmostEqual(self.rate(19, staircase=True, **decay), 0.5, places=6)
        self.assertAlmostEqual(self.rate(5, name="cosine_decay", decay_steps=10), 0.5, places=6)
        self.assertAlmostEqual(self.rate(5, warmup_steps=10, **decay), 0.5, delta=0.06)

    def test_drives_an_embedding(self):
        made = damo.PyOptimizer(
            parameters(name="sgd", gamma=1.0),
            parameters(name="exponential_decay", decay_steps=1, decay_rate=0.5),
        )
        embedding = damo.PyEmbedding(self.storage(), made, initializer("zeros"), 1)
        seen = []
        w = floats(0)
        for _ in range(3):
            embedding.apply_gradients(np.array([1]), floats(-1))
            embedding.lookup(np.array([1]), w)
            seen.append(float(w[0]))
        self.assertEqual(seen, [1, 1.5, 1.75])
