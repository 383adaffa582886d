"""Optimizers, schedules, initializers and filters as code for damo-embedding makes them."""

import json
import warnings

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters


def rate(made, step):
    w = floats(0)
    made.call(w, floats(-1), step)
    return round(float(w[0]), 6)


class Schedules(Case):
    def made(self, *words, **values):
        return self.warned(
            words, damo.PyOptimizer, parameters(name="sgd", gamma=1.0), parameters(**values)
        )

    def test_an_empty_name_is_no_schedule(self):
        for values in (
            {},
            {"decay_rate": 0.5},
            {"decay_steps": 4.5, "decay_rate": 0.5, "staircase": True},
            {"wonder": "x", "warmup_steps": 0.0},
        ):
            with self.subTest(values=values):
                made = self.made("empty 'name'", "leave scheduler_params out", name="", **values)
                self.assertEqual([rate(made, step) for step in (0, 1, 1000)], [1, 1, 1])
        # A bag without a name ended the process there, and a name that nobody knows is a mistake.
        sgd = parameters(name="sgd")
        for bag in (damo.Parameters(), parameters(decay_steps=3), parameters(name="wonder")):
            self.assert_fails(ValueError, ["name"], damo.PyOptimizer, sgd, bag)

    def test_inverse_time_lr_scheduler(self):
        for values, step, expected in (
            ({"decay_steps": 10, "decay_rate": 1.0}, 10, 0.5),
            ({"decay_steps": 2, "decay_rate": 3}, 1, 0.4),
            ({"decay_steps": 10, "decay_rate": 1.0, "staircase": True}, 19, 0.5),
        ):
            made = self.made("'inverse_time_decay'", name="inverse_time_lr_scheduler", **values)
            self.assertEqual(rate(made, step), expected)
        # With a float, each thing that is to be mended has its warning.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bag = parameters(
                name="inverse_time_lr_scheduler", decay_steps=9.6, decay_rate=1.0, power=2.0
            )
            made = damo.PyOptimizer(parameters(name="sgd", gamma=1.0), bag)
        self.assertEqual(len(caught), 3)
        self.assertEqual(rate(made, 10), 0.5)

    def test_steps_that_are_floats(self):
        for name, more in (
            ("exponential_decay", {"decay_rate": 0.25}),
            ("nature_exponential_decay", {"decay_rate": 0.5}),
            ("polynomial_decay", {"power": 2.0}),
            ("cosine_decay", {}),
            ("liner_cosine_decay", {}),
            ("inverse_time_decay", {"decay_rate": 1.0}),
        ):
            for given in (10.0, np.float32(10), np.float64(9.7), 10.49):
                with self.subTest(name=name, given=given):
                    made = self.made(
                        "decay_steps", "10 is taken", name=name, decay_steps=given, **more
                    )
                    same = damo.PyOptimizer(
                        parameters(name="sgd", gamma=1.0),
                        parameters(name=name, decay_steps=10, **more),
                    )
                    self.assertEqual(rate(made, 3), rate(same, 3))
        for wrong in (0.0, -1.0, float(2**53)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.assert_fails(
                    ValueError,
                    ["decay_steps"],
                    damo.PyOptimizer,
                    parameters(name="sgd"),
                    parameters(name="cosine_decay", decay_steps=wrong),
                )

    def test_decay_rate_of_polynomial_decay(self):
        for values, expected in (
            ({"decay_rate": 0.1, "power": 2.0, "end_learning_rate": 0.0}, 0.25),
            ({"decay_rate": 1, "end_learning_rate": 0.5}, 0.75),
            ({"decay_rate": "x", "end_learning_rate": 0.0}, 0.5),
        ):
            made = self.made(
                "'polynomial_decay'",
                "'decay_rate'",
                name="polynomial_decay",
                decay_steps=10,
                **values,
            )
            self.assertEqual(rate(made, 5), expected)


class Kinds(Case):
    def test_parameters_that_a_kind_does_not_know(self):
        for name, values in (
            ("adam", {"gama": 0.5}),
            ("ftrl", {"lambda": 0.5}),
            ("lion", {"beta3": "x"}),
            ("adagrad", {"rho": True}),
        ):
            with self.subTest(name=name):
                words = [f"optimizer '{name}'", *map(repr, values), "ignored"]
                self.warned(words, damo.PyOptimizer, parameters(name=name, **values))
        for name in ("zeros", "ones", "xavier_uniform"):
            words = [f"initializer '{name}'", "'value'"]
            self.warned(words, damo.PyInitializer, parameters(name=name, value=3))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bag = parameters(name="sgd", a=1, b="x", gamma=0.5, c=0.5)
            made = damo.PyOptimizer(bag)
        self.assertEqual(len(caught), 3, "one for each of them")
        self.assertEqual(rate(made, 0), 0.5)
        # A filter's and a dump's were never left out.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bag = parameters(path=self.path("filter"), hashes=3)
            self.assert_fails(ValueError, ["'hashes'"], damo.PyFilter, bag)

    def test_parameters_with_names_of_arguments(self):
        """Whatever a parameter is called, it is the library that does not know it."""
        for name in (
            "self", "cls", "scheduler", "initializer", "optimizer", "params", "values", "build",
            "op_params", "scheduler_params", "w", "key", "value", "kwargs", "_open",
        ):  # fmt: skip
            words = [f"no parameter '{name}'", "ignored"]
            with self.subTest(name=name):
                made = self.warned(
                    ["optimizer 'sgd'", *words],
                    damo.PyOptimizer,
                    parameters(name="sgd", gamma=0.5, **{name + "_": 7}),
                )
                self.assertEqual(rate(made, 0), 0.5)
                if name != "value":
                    self.warned(
                        ["initializer 'constant'", *words],
                        damo.PyInitializer,
                        parameters(name="constant", value=3, **{name + "_": "x"}),
                    )
                made = self.warned(
                    ["scheduler 'cosine_decay'", *words],
                    damo.PyOptimizer,
                    parameters(name="sgd", gamma=1.0),
                    parameters(name="cosine_decay", decay_steps=10, **{name + "_": True}),
                )
                self.assertEqual(rate(made, 5), 0.5)

    def test_made_without_arguments(self):
        storage = self.storage()
        sgd = self.warned(["'sgd'"], damo.PyOptimizer)
        zeros = self.warned(["'zeros'"], damo.PyInitializer)
        rows = damo.PyEmbedding(storage, sgd, zeros, 2)
        rows.apply_gradients(keys(5), floats(1, -2))
        w = floats(9, 9)
        rows.lookup(keys(5), w)
        np.testing.assert_allclose(w, [-1e-3, 2e-3])
        # None is as good as nothing, and a schedule may come along.
        self.warned(["'zeros'"], damo.PyInitializer, None)
        decay = parameters(name="exponential_decay", decay_steps=1, decay_rate=0.5)
        made = self.warned(["'sgd'"], damo.PyOptimizer, None, decay)
        self.assertEqual(rate(made, 1), 5e-4)
        # An empty bag ended the process there.
        for cls in (damo.PyOptimizer, damo.PyInitializer):
            self.assert_fails(ValueError, ["name"], cls, damo.Parameters())

    def test_a_filter_without_arguments(self):
        passes = self.warned(["PyFilter()"], damo.PyFilter)
        for arguments in ((5,), (3, 5), (2**64 - 1,), (np.int64(-5),)):
            self.assertIs(passes.check(*arguments), True)
            self.assertIsNone(passes.add(*arguments, 2**32 - 1))
        self.assertIs(passes.check(key=5, group=7), True)
        self.assertIsNone(passes.add(key=5, num=1))
        for wrong in ((), (1, 2, 3)):
            self.assert_fails(TypeError, ["[group,] key"], passes.check, *wrong)
        for wrong in ((1,), (1, 2, 3, 4)):
            self.assert_fails(TypeError, ["[group,] key"], passes.add, *wrong)
        self.warned(["PyFilter()"], damo.PyFilter, None)

    def test_global_step(self):
        made = damo.PyOptimizer(
            parameters(name="sgd", gamma=1.0),
            parameters(name="exponential_decay", decay_steps=1, decay_rate=0.5),
        )
        for given in (2, np.int64(2), np.uint8(2)):
            w = floats(0)
            self.warned(["step"], made.call, w, floats(-1), global_step=given)
            self.assertEqual(w[0], 0.25)
        w = floats(0)
        self.warned(["step"], made.call, w=w, gds=floats(-1), global_step=0)
        self.assertEqual(w[0], 1)
        for wrong in (-1, 2.5, True, "2"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.assert_fails(
                    (TypeError, ValueError), [], made.call, w, floats(-1), global_step=wrong
                )
        self.assertEqual(w[0], 1)

    def test_the_rest_of_the_package_takes_none_of_them(self):
        if not hasattr(damo, "Storage"):
            self.skipTest("the SWIG module has the drop-in classes only")
        with damo.Storage(self.path("strict"), cache_bytes=1 << 24) as storage:
            rows = storage.embedding(0, dim=1, optimizer=damo.SGD(lr=1.0))
            self.assert_fails(LookupError, ["7"], storage.dump, self.path("dump"), group=7)
            storage.checkpoint(self.path("cp"))
            self.assert_fails(FileExistsError, ["cp"], storage.checkpoint, self.path("cp"))
            self.assert_fails(TypeError, [], lambda: rows.step([5], np.ones((1, 1), np.float32)))
        for call in (
            lambda: damo.Optimizer(""),
            lambda: damo.Optimizer("sgd", gama=1),
            lambda: damo.Scheduler("inverse_time_lr_scheduler", decay_steps=3),
            lambda: damo.Scheduler("cosine_decay", decay_steps=3.0),
            lambda: damo.PolynomialDecay(3, decay_rate=0.5),
        ):
            self.assert_fails((TypeError, ValueError), [], call)
        self.assertEqual(json.loads(parameters(a=1).to_json()), {"a": 1})
