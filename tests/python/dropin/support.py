"""What the tests of the drop-in classes share.

They run against whatever `import damo` gives: the SWIG module or the package.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
import warnings

import numpy as np

import damo

# What suites share.
sys.path.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

# Files that releases of damo-embedding wrote: tests/import/make_fixtures.
FIXTURES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../import/fixtures")

# Whether it is the SWIG module.
SWIG = hasattr(damo, "_damo")


def parameters(**values):
    """A bag; `lambda` is a keyword of Python, so lambda_ stands for it."""
    bag = damo.Parameters()
    for key, value in values.items():
        bag.insert(key.rstrip("_"), value)
    return bag


def optimizer(name="sgd", **values):
    return damo.PyOptimizer(parameters(name=name, **values))


def initializer(name="ones", **values):
    return damo.PyInitializer(parameters(name=name, **values))


def keys(*numbers):
    return np.array(numbers, dtype=np.int64)


def floats(*numbers):
    return np.array(numbers, dtype=np.float32)


class Case(unittest.TestCase):
    """A test with a folder of its own, self.folder."""

    def setUp(self):
        self.new_folder()

    def new_folder(self):
        self.folder = tempfile.mkdtemp(prefix="damo-dropin-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def storage(self, name="table", *more):
        return damo.PyStorage(self.path(name), *more)

    def assert_fails(self, kind, words, function, *arguments, status=None, **named):
        """The call raises kind with all words in the message, and with status if it is given."""
        with self.assertRaises(kind) as caught:
            function(*arguments, **named)
        for word in words:
            self.assertIn(word, str(caught.exception))
        if status is not None:
            self.assertIsInstance(caught.exception, damo.Error)
            self.assertEqual(caught.exception.status.name, status)
        return caught.exception

    def warned(self, words, function, *arguments, **named):
        """What the call returns. It gives one warning with all words, about the line that calls."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = function(*arguments, **named)
        self.assertEqual(len(caught), 1, [str(warning.message) for warning in caught])
        self.assertEqual(os.path.realpath(caught[0].filename), os.path.realpath(__file__))
        for word in words:
            self.assertIn(word, str(caught[0].message))
        return result

    def run_script(self, script, *, status=0, errors="", **format_values):
        """Runs a script in an interpreter of its own. FOLDER in it is the test's folder.

        It must end with status, print nothing to stdout, and have errors in what it prints to
        stderr ("": it prints nothing).
        """
        text = PREAMBLE + textwrap.dedent(script).replace("FOLDER", repr(self.folder))
        ended = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, timeout=120
        )
        self.assertEqual((ended.returncode, ended.stdout), (status, ""), ended.stderr)
        if errors:
            self.assertIn(errors, ended.stderr)
        else:
            self.assertEqual(ended.stderr, "")


PREAMBLE = """
import atexit, builtins, gc, os, sys, threading, time
import numpy as np
import damo

def bag(**values):
    made = damo.Parameters()
    for key, value in values.items():
        made.insert(key, value)
    return made

def open_all(folder):
    storage = damo.PyStorage(os.path.join(folder, "table"))
    decay = bag(name="cosine_decay", decay_steps=10, alpha=1.0)
    optimizer = damo.PyOptimizer(bag(name="sgd", gamma=0.5), decay)
    initializer = damo.PyInitializer(bag(name="ones"))
    filter = damo.PyFilter(bag(path=os.path.join(folder, "filter"), capacity=1000, count=1))
    embedding = damo.PyEmbedding(storage, optimizer, initializer, 4, 1)
    return storage, optimizer, initializer, filter, embedding

def train(embedding):
    embedding.apply_gradients(np.array([7], np.int64), np.ones(4, np.float32))
"""
