"""examples/python/train_deepfm.py on a small log.

It learns, resumes to the same numbers, and serves the same scores. If DAMO_TEST_DATA names a folder
with frappe.train.libfm and frappe.test.libfm, its AUC there is tested, too.
"""

import importlib.util
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
SCRIPT = CHECKOUT / "examples" / "python" / "train_deepfm.py"
EPOCH = re.compile(r"^epoch (\d+)/\d+  train log-loss ([\d.]+)  test AUC ([\d.]+)", re.MULTILINE)


@unittest.skipIf(importlib.util.find_spec("torch") is None, "PyTorch is not installed")
class DeepFM(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="damo-deepfm-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def write_log(self, name, samples, seed):
        """Clicks that depend on a pair of fields, so that linear weights are not enough."""
        draw = random.Random(seed)
        with open(self.folder / name, "w") as file:
            for _ in range(samples):
                user, item, other = draw.randrange(30), draw.randrange(30), draw.randrange(100)
                clicked = draw.random() < (0.9 if user % 2 == item % 2 else 0.1)
                file.write(f"{1 if clicked else -1} {user}:1 {100 + item}:1 {200 + other}:1\n")
        return self.folder / name

    def train(self, *arguments):
        ended = subprocess.run(
            [sys.executable, SCRIPT, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("scores equal", ended.stdout)
        return EPOCH.findall(ended.stdout), ended.stdout

    def test_learns_and_resumes(self):
        logs = self.write_log("train.libfm", 4000, 1), self.write_log("test.libfm", 1000, 2)
        options = ("--batch", 64, "--lr", 0.01, "--cache-bytes", 1 << 24)
        whole, _ = self.train(*logs, "--out", self.folder / "whole", "--epochs", 3, *options)
        self.assertGreater(float(whole[-1][2]), 0.8)
        first, _ = self.train(*logs, "--out", self.folder / "parts", "--epochs", 1, *options)
        rest, _ = self.train(
            *logs, "--out", self.folder / "parts", "--epochs", 3, "--resume", *options
        )
        self.assertEqual(first + rest, whole)
        if importlib.util.find_spec("matplotlib") is not None:
            self.assertEqual((self.folder / "parts" / "curve.png").read_bytes()[:4], b"\x89PNG")

    def test_adagrad_is_that_of_torch_nn(self):
        logs = self.write_log("train.libfm", 4000, 1), self.write_log("test.libfm", 1000, 2)
        options = ("--batch", 64, "--lr", 0.01, "--cache-bytes", 1 << 24, "--epochs", 2)
        epochs, printed = self.train(
            *logs, "--out", self.folder / "adagrad", "--optimizer", "adagrad", "--compare", *options
        )
        self.assertGreater(float(epochs[-1][2]), 0.7)
        self.assertLess(self.difference(printed), 0.0005)

    def test_values_are_trained(self):
        """A click is the sign of a value, which the ids do not say."""
        draw = random.Random(3)
        path = self.folder / "values.libfm"
        values = [draw.choice((-1.5, 0.5, 1.5)) for _ in range(4000)]
        path.write_text("".join(f"{int(x > 0)} 1:{x} {draw.randrange(2, 30)}:1\n" for x in values))
        options = (
            "--batch",
            64,
            "--lr",
            0.01,
            "--cache-bytes",
            1 << 24,
            "--epochs",
            1,
            "--compare",
        )
        epochs, _ = self.train(
            path, "--out", self.folder / "values", "--optimizer", "adagrad", *options
        )
        self.assertGreater(float(epochs[-1][2]), 0.95)

    def test_a_log_that_is_refused(self):
        """The readers themselves are tested in test_logs.py."""
        path, out = self.folder / "refused.libfm", self.folder / "refused"
        path.write_text("1 5:1\n2 5:1\n")
        ended = subprocess.run(
            [sys.executable, SCRIPT, path, "--out", out],
            capture_output=True,
            text=True,
            timeout=600,
        )
        self.assertEqual(
            ended.stderr, f"train_deepfm: {path}:2: label '2' should be 1, or -1 or 0\n"
        )
        self.assertEqual((ended.returncode, ended.stdout, out.exists()), (2, "", False))

    def test_one_label_only(self):
        path = self.folder / "clicks.libfm"
        path.write_text("1 5:1 7:1\n1 6:1 7:1\n" * 20)
        options = ("--cache-bytes", 1 << 24, "--epochs", 1, "--compare")
        epochs, printed = self.train(path, "--out", self.folder / "clicks", *options)
        self.assertEqual(epochs, [])
        self.assertIn("there is no AUC", printed)
        self.assertEqual(printed.count("undefined (one label only)"), 3)
        self.assertNotIn("nan", printed)

    def difference(self, printed):
        return abs(float(re.search(r"minus on torch.nn.Embedding: ([-+\d.]+)", printed)[1]))

    @unittest.skipUnless(
        os.environ.get("DAMO_TEST_DATA"),
        "DAMO_TEST_DATA does not name a folder with the Frappe log",
    )
    def test_auc_on_frappe_is_that_of_torch_nn(self):
        data = pathlib.Path(os.environ["DAMO_TEST_DATA"])
        logs = data / "frappe.train.libfm", data / "frappe.test.libfm"
        for optimizer, bound in (("adam", 0.003), ("adagrad", 0.0005)):
            options = ("--epochs", 3, "--compare", "--optimizer", optimizer)
            epochs, printed = self.train(*logs, "--out", self.folder / optimizer, *options)
            self.assertGreater(float(epochs[-1][2]), 0.925)
            self.assertLess(self.difference(printed), bound, optimizer)
