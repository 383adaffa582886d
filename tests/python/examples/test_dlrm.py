"""examples/python/train_dlrm.py on small logs.

It learns from ids, numbers and bags, resumes to the same numbers, and serves the same scores. If
the folder of real logs is there (DAMO_TEST_DATA, or shared/data beside the checkout), its AUC on
them is tested, too.
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
SCRIPT = CHECKOUT / "examples" / "python" / "train_dlrm.py"
DATA = pathlib.Path(os.environ.get("DAMO_TEST_DATA") or CHECKOUT.parent / "shared" / "data")
EPOCH = re.compile(r"^epoch (\d+)/\d+  train log-loss ([\d.]+)  test AUC ([\d.]+)", re.MULTILINE)
SMALL = ("--cache-bytes", 1 << 24)


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="damo-dlrm-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_script(self, *arguments):
        return subprocess.run(
            [sys.executable, SCRIPT, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
        )

    def train(self, *arguments):
        """The epochs, with loss and AUC, and all that was printed."""
        ended = self.run_script(*arguments)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("scores equal", ended.stdout)
        return EPOCH.findall(ended.stdout), ended.stdout

    def write(self, name, lines):
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path


def criteo(samples, seed, clicked):
    """Lines of a log with the columns I1, I2, C1, C2 and C6. Some fields are empty."""
    draw = random.Random(seed)
    yield "Id,Label,I1,I2,C1,C2,C6"
    for number in range(samples):
        counts = [draw.choice((None, 0, 1, 2, draw.randrange(100))) for _ in range(2)]
        tokens = [draw.randrange(size) for size in (20, 30, 4)]
        label = int(draw.random() < clicked(counts, tokens))
        fields = ["" if count is None else count for count in counts]
        fields += [f"{token:08x}" if token else "" for token in tokens]
        yield ",".join(map(str, (number, label, *fields)))


def of_pair(_counts, tokens):
    """Depends on a pair of ids, so that no id alone tells."""
    return 0.95 if tokens[0] % 2 == tokens[1] % 2 else 0.05


def of_count(counts, _tokens):
    """Depends on whether a count is 0, which its bucket tells."""
    return 0.95 if counts[0] == 0 else 0.05


@unittest.skipIf(importlib.util.find_spec("torch") is None, "PyTorch is not installed")
class Generated(Run):
    def test_learns_and_resumes(self):
        log = self.write("train.csv", criteo(4000, 1, of_pair))
        options = ("--lr", 0.05, *SMALL)
        whole, printed = self.train(log, "--out", self.folder / "whole", "--epochs", 3, *options)
        self.assertGreater(float(whole[-1][2]), 0.8)
        self.assertIn("2 numbers, 3 features with one id, and counts with 1.6 on", printed)
        self.assertIn("ids in 4 tables", printed)
        parts = self.folder / "parts"
        first, _ = self.train(log, "--out", parts, "--epochs", 1, *options)
        rest, _ = self.train(log, "--out", parts, "--epochs", 3, "--resume", *options)
        self.assertEqual(first + rest, whole)
        if importlib.util.find_spec("matplotlib") is not None:
            self.assertEqual((parts / "curve.png").read_bytes()[:4], b"\x89PNG")

    def test_learns_from_numbers_with_each_optimizer(self):
        logs = (
            self.write("train.csv", criteo(2000, 1, of_count)),
            self.write("test.csv", criteo(500, 2, of_count)),
        )
        for optimizer, rate in (("adagrad", 0.05), ("rowwise_adagrad", 0.05), ("adam", 0.01)):
            options = ("--epochs", 3, "--optimizer", optimizer, "--lr", rate, *SMALL)
            epochs, _ = self.train(*logs, "--out", self.folder / optimizer, *options)
            self.assertGreater(float(epochs[-1][2]), 0.85, optimizer)

    def test_learns_from_genres(self):
        """A click depends on a genre, and films come once only."""
        draw = random.Random(1)
        lines, films = [], []
        for film in range(2500):
            genres = draw.sample(("Comedy", "Crime", "Drama", "Western", "War"), draw.randrange(4))
            films.append(f"{film}\t{1950 + film % 50}\t{' '.join(genres)}")
            clicked = draw.random() < (0.95 if "War" in genres else 0.05)
            lines.append(f"{film % 20}\t{film}\t{4 if clicked else 2}\t{film}")
        log = self.write(
            "log.inter", ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *lines]
        )
        self.write("log.item", ["item_id:token\trelease_year:token\tclass:token_seq", *films])
        options = ("--epochs", 3, "--lr", 0.05, *SMALL)
        epochs, printed = self.train(log, "--out", self.folder / "out", *options)
        self.assertGreater(float(epochs[-1][2]), 0.85)
        self.assertIn("6 features with one id, and genres with 1.5 on average", printed)

    def test_without_the_tables_beside_it(self):
        lines = [f"{n % 7}\t{n % 5}\t{1 + n % 5}\t{n}" for n in range(200)]
        log = self.write(
            "log.inter", ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *lines]
        )
        _, printed = self.train(log, "--out", self.folder / "out", "--epochs", 1, *SMALL)
        self.assertIn("and genres with 0.0 on average", printed)

    def test_one_label_only(self):
        log = self.write("log.csv", ["Label,I1,C1", *["1,2,a", "1,,b"] * 40])
        _, printed = self.train(log, "--out", self.folder / "out", "--epochs", 2, *SMALL)
        self.assertEqual(printed.count("test AUC undefined (one label only)"), 2)
        self.assertNotIn("nan", printed.lower())

    def test_logs_that_are_refused(self):
        needed = "; one of each is needed at least"
        for name, line, expected in (
            ("log.csv", "Label,I1,C1\n2,1,a", "log.csv:2: Label '2' should be 0 or 1"),
            ("log.csv", "Label,I1\n1,1", f"log.csv: has 1 I columns and 0 C columns{needed}"),
            ("log.csv", "Label,C1\n1,a", f"log.csv: has 0 I columns and 1 C columns{needed}"),
            (
                "log.libfm",
                "1 5:1",
                "log.libfm: is libfm, whose features have no columns; DLRM needs a criteo or"
                " movielens log",
            ),
        ):
            path, out = self.write(name, [line]), self.folder / "refused"
            ended = self.run_script(path, "--out", out)
            self.assertEqual(ended.stderr, f"train_dlrm: {self.folder}/{expected}\n")
            self.assertEqual((ended.returncode, ended.stdout, out.exists()), (2, "", False))

    def test_nothing_to_resume(self):
        log = self.write("log.csv", criteo(20, 1, of_pair))
        ended = self.run_script(log, "--out", self.folder / "none", "--resume")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("has no checkpoint to go on from", ended.stderr)


@unittest.skipIf(importlib.util.find_spec("torch") is None, "PyTorch is not installed")
class RealLogs(Run):
    def real(self, name):
        path = DATA / name
        if not path.is_file():
            self.skipTest(f"{path} is absent; DAMO_TEST_DATA can name the folder that has it")
        return path

    def test_criteo(self):
        log = self.real("criteo.train.csv")
        epochs, printed = self.train(log, "--out", self.folder / "out", *SMALL)
        # It has 400 samples to test on.
        self.assertGreater(float(epochs[-1][2]), 0.6)
        self.assertIn("13 numbers, 26 features with one id, and counts", printed)

    def test_movielens_with_genres(self):
        log = self.real("ml-100k.inter")
        epochs, printed = self.train(
            log, "--out", self.folder / "out", "--epochs", 1, "--batch", 256, *SMALL
        )
        self.assertGreater(float(epochs[-1][2]), 0.68)
        self.assertIn("and genres with 2.1 on average", printed)
