"""What the tests of the package share."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

import numpy as np

import damo

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
# What suites share.
sys.path.append(str(CHECKOUT / "tests" / "python"))
CACHE = 1 << 24


# Python 3.12 and later warn of forking with threads, which is what the tests of forks do.
PREAMBLE = """
import os, sys, threading, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
import numpy as np
import damo
"""


class Case(unittest.TestCase):
    """A test with a folder of its own, self.folder, whose storages are small."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="damo-python-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def storage(self, name="table", **options):
        made = damo.Storage(self.path(name), cache_bytes=CACHE, **options)
        self.addCleanup(made.close)
        return made

    def users(self, storage=None, dim=4, **options):
        """A group of ones, and sgd with a rate of 0.5."""
        options = {"optimizer": damo.SGD(lr=0.5), "initializer": damo.Ones(), **options}
        return (storage or self.storage()).embedding("user", dim=dim, **options)

    def assert_fails(self, kind, words, function, *arguments, status=None, **options):
        with self.assertRaises(kind) as caught:
            function(*arguments, **options)
        for word in words:
            self.assertIn(word, str(caught.exception))
        if status is not None:
            self.assertIsInstance(caught.exception, damo.Error)
            self.assertEqual(caught.exception.status, status)
        return caught.exception

    def run_script(self, script, *, status=0, output="", errors=""):
        """Runs a script in an interpreter of its own. FOLDER in it is the test's folder.

        It must end with status, print output, and have errors in what it prints to stderr ("": it
        prints nothing).
        """
        text = PREAMBLE + textwrap.dedent(script)
        text = text.replace("FOLDER", repr(self.folder))
        ended = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, timeout=120
        )
        self.assertEqual((ended.returncode, ended.stdout), (status, output), ended.stderr)
        self.assertIn(errors, ended.stderr)
        if not errors:
            self.assertEqual(ended.stderr, "")


def floats(*shape, value=1.0):
    return np.full(shape, value, np.float32)
