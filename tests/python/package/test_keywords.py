"""Keyword arguments by the names of other libraries: the error gives the name here."""

import unittest

import damo
from support import Case


class Keywords(Case):
    def test_the_right_one_is_named(self):
        for cls, wrong, right in (
            (damo.RowwiseAdagrad, "epsilon", "eps"),
            (damo.Adam, "epsilon", "eps"),
            (damo.Adam, "learning_rate", "lr"),
            (damo.SGD, "learning_rate", "lr"),
            (damo.SGD, "gamma", "lr"),
            (damo.FTRL, "alpha", "lr"),
            (damo.Lion, "eta", "lr"),
            (damo.FTRL, "betas", "beta"),
            (damo.FTRL, "l1", "lambda1"),
            (damo.FTRL, "weight_decay", "lambda2"),
            (damo.Adam, "beta1", "betas"),
            (damo.AdamW, "beta_2", "betas"),
            (damo.AdamW, "l2", "weight_decay"),
            (damo.Adagrad, "initial_accumulator", "initial_accumulator_value"),
            (damo.AMSGrad, "weigth_decay", "weight_decay"),
            (damo.AMSGrad, "lr_scheduler", "scheduler"),
            (damo.Normal, "std", "stddev"),
            (damo.TruncatedNormal, "sigma", "stddev"),
            (damo.Uniform, "a", "min"),
            (damo.Uniform, "high", "max"),
            (damo.Constant, "val", "value"),
            (damo.ExponentialDecay, "step_size", "decay_steps"),
            (damo.ExponentialDecay, "gamma", "decay_rate"),
            (damo.CosineDecay, "T_max", "decay_steps"),
            (damo.CosineDecay, "warmup", "warmup_steps"),
        ):
            with self.subTest(cls=cls.__name__, wrong=wrong):
                words = [f"damo: {cls.__name__} has no argument {wrong!r}", f"called {right} here"]
                self.assert_fails(TypeError, words, cls, **{wrong: 0.5})

    def test_what_is_not_there_says_so(self):
        for cls, wrong, words in (
            (damo.SGD, "momentum", ["damo.Adam"]),
            (damo.Adam, "amsgrad", ["damo.AMSGrad"]),
            (damo.SGD, "nesterov", ["momentum"]),
            (damo.Adam, "fused", ["leave it out"]),
            (damo.Adam, "params", ["storage.embedding"]),
            (damo.SGD, "betas", ["lr, weight_decay, scheduler"]),
            (damo.Adagrad, "betas", ["lr, lr_decay, weight_decay, eps"]),
            (damo.Zeros, "seed", ["none"]),
        ):
            self.assert_fails(
                TypeError,
                [f"damo: {cls.__name__} has no argument {wrong!r}", *words],
                cls,
                **{wrong: 1},
            )
        for wrong in (0.9, (0.9,), (0.9, 0.99, 0.999), None, "ab"):
            for cls in (damo.Adam, damo.AMSGrad, damo.AdamW, damo.Lion):
                self.assert_fails(TypeError, ["betas", "two numbers"], cls, betas=wrong)

    def test_other_errors_and_classes_of_users_are_as_they_were(self):
        self.assert_fails(TypeError, ["decay_steps"], damo.CosineDecay)
        self.assert_fails(TypeError, ["multiple values"], lambda: damo.Adam(1e-3, lr=1e-3))

        class Mine(damo.Adam):
            def __init__(self, *, epsilon):
                super().__init__(eps=epsilon)

        class Any(damo.Adam):
            def __init__(self, **options):
                super().__init__(lr=options["learning_rate"])

        self.assertEqual(Mine(epsilon=1e-6).name, "adam")
        self.assertEqual(Any(learning_rate=0.5).learning_rate, 0.5)
        self.assertEqual(damo.Adam(betas=[0.5, 0.9]).name, "adam")


if __name__ == "__main__":
    unittest.main()
