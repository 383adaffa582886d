"""What damo-embedding and damo both accept and do differently, as docs/migrating.md says.

Damo's side of each difference, as the document says it. The other side was printed by 1.0.6.
"""

import math
import pathlib
import re

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters

DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "docs" / "migrating.md"


class Differences(Case):
    def rows(self, schedule=None, **values):
        made = damo.PyOptimizer(
            parameters(**values), *([] if schedule is None else [parameters(**schedule)])
        )
        self.opened = getattr(self, "opened", None) or self.storage()
        self.group = getattr(self, "group", -1) + 1
        return damo.PyEmbedding(self.opened, made, initializer("zeros"), 1, self.group)

    def weight(self, rows, key=5):
        w = floats(9)
        rows.lookup(keys(key), w)
        return float(w[0])

    def test_schedules_as_documented(self):
        text = DOCUMENT.read_text(encoding="utf-8")
        (block,) = re.findall(r"```python\n(def rate.*?)```", text, re.DOTALL)

        def bag(**values):
            return parameters(**values)

        names = {"np": np, "damo": damo, "bag": bag}
        exec(compile(block, str(DOCUMENT), "exec"), names)
        lines = re.findall(r"^\| `(rate\(.*\))` \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
        self.assertEqual(len(lines), 9)
        for line, theirs, ours in lines:
            with self.subTest(line=line):
                self.assertAlmostEqual(eval(line, names), float(ours), places=3)
                self.assertNotEqual(float(ours), float(theirs))

    def rate(self, step, **schedule):
        w = floats(0)
        made = damo.PyOptimizer(parameters(name="sgd", gamma=1.0), parameters(**schedule))
        made.call(w, floats(-1), step)
        return float(w[0])

    def test_schedules_by_their_formulas(self):
        """TensorFlow's, at steps that a constant rate, or a cosine that rises again, would miss."""
        for step in (0, 3, 7, 10, 13, 40):
            part, until = step / 10, min(step, 10) / 10
            cosine = (1 + math.cos(math.pi * until)) / 2
            linear = (1 - until) * (math.cos(math.pi * until) + 1) / 2 + 0.001
            for name, more, expected in (
                ("natural_exp_decay", {"decay_rate": 0.5}, math.exp(-0.5 * part)),
                ("nature_exponential_decay", {"decay_rate": 2.0}, math.exp(-2 * part)),
                ("inverse_time_decay", {"decay_rate": 2.0}, 1 / (1 + 2 * part)),
                ("exponential_decay", {"decay_rate": 0.3, "staircase": True}, 0.3 ** int(part)),
                ("cosine_decay", {}, cosine),
                ("cosine_decay", {"alpha": 0.25}, 0.75 * cosine + 0.25),
                ("linear_cosine_decay", {}, linear),
                ("liner_cosine_decay", {}, linear),
                ("polynomial_decay", {"end_learning_rate": 0.0}, 1 - until),
                (
                    "polynomial_decay",
                    {"end_learning_rate": 0.5, "power": 2.0},
                    0.5 * (1 - until) ** 2 + 0.5,
                ),
            ):
                with self.subTest(name=name, step=step, more=more):
                    found = self.rate(step, name=name, decay_steps=10, **more)
                    self.assertAlmostEqual(found, expected, places=5)

    def test_warmup(self):
        for steps in (1, 4, 10):
            for name, more in (("cosine_decay", {}), ("exponential_decay", {"decay_rate": 1.0})):
                found = [
                    self.rate(step, name=name, decay_steps=10**6, warmup_steps=steps, **more)
                    for step in range(steps + 1)
                ]
                expected = [step / steps for step in range(steps)] + [1]
                for one, other in zip(found, expected):
                    self.assertAlmostEqual(one, other, places=5)

    def test_keys_that_were_never_looked_up(self):
        for number, key in enumerate((5, -5, 2**62)):
            rows = self.rows(name="sgd", gamma=1.0)
            rows.apply_gradients(keys(key), floats(1))
            self.assertEqual(self.weight(rows, key), -1)
            # Among others, and given twice.
            rows.lookup(keys(7), floats(0))
            rows.apply_gradients(keys(7, 8, 8), floats(1, 2, 3))
            self.assertEqual([self.weight(rows, one) for one in (7, 8)], [-1, -5])

    def test_the_first_step_is_0(self):
        schedule = {"name": "exponential_decay", "decay_steps": 1, "decay_rate": 0.5}
        rows = self.rows(schedule, name="sgd", gamma=1.0)
        seen = []
        for key in (5, 5, 6, 5):
            self.weight(rows, key)
            rows.apply_gradients(keys(key), floats(-1))
            seen.append(self.weight(rows, key))
        # By the group's calls, not by the row's updates.
        self.assertEqual(seen, [1, 1.5, 0.25, 1.625])

    def test_gamma_of_ftrl_is_alpha(self):
        for given in (0.5, 0.05, 0.005):
            found = []
            for name in ("gamma", "alpha"):
                rows = self.rows(name="ftrl", **{name: given})
                self.weight(rows)
                for _ in range(5):
                    rows.apply_gradients(keys(5), floats(1))
                found.append(self.weight(rows))
            self.assertEqual(found[0], found[1])
            self.assertAlmostEqual(found[0], given * -3.2317, places=4)

    def test_ftrl_with_lambda1(self):
        """McMahan's algorithm 1: a step that leaves |z| within lambda1 counts in n all the same."""
        for lambda1 in (0.25, 0.5, 2.0):
            rows = self.rows(name="ftrl", alpha=0.05, beta=1.0, lambda1=lambda1, lambda2=0.25)
            self.weight(rows)
            z = n = w = 0.0
            for step in range(60):
                g = ((7 * step) % 17 - 8) / 16
                sigma = (math.sqrt(n + g * g) - math.sqrt(n)) / 0.05
                z, n = z + g - sigma * w, n + g * g
                shrunk = max(abs(z) - lambda1, 0) * math.copysign(1, z)
                w = -shrunk / ((1 + math.sqrt(n)) / 0.05 + 0.25)
                rows.apply_gradients(keys(5), floats(g))
            with self.subTest(lambda1=lambda1):
                self.assertAlmostEqual(self.weight(rows), w, places=6)

    def test_amsgrad(self):
        """torch.optim.Adam(amsgrad=True): the largest v, and then it is corrected for its bias."""
        for rate in (0.01, 0.1, 0.5):
            rows = self.rows(name="amsgrad", gamma=rate)
            self.weight(rows)
            m = v = largest = w = 0.0
            for step in range(1, 61):
                g = ((7 * step) % 17 - 8) / 16 / step
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                largest = max(largest, v)
                corrected = math.sqrt(largest / (1 - 0.999**step)) + 1e-8
                w -= rate * m / (1 - 0.9**step) / corrected
                rows.apply_gradients(keys(5), floats(g))
            with self.subTest(rate=rate):
                self.assertAlmostEqual(self.weight(rows), w, delta=2e-5 * max(1, abs(w)))
