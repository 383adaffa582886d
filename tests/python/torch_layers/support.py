"""What the tests of the layers share. Without torch they are skipped, with a message."""

import os
import shutil
import tempfile
import unittest

try:
    import torch
except ImportError as error:
    raise unittest.SkipTest(f"PyTorch is not installed ({error})")

import damo
import damo.torch


class Case(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        self.folder = tempfile.mkdtemp(prefix="damo-torch-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def storage(self, name="table"):
        made = damo.Storage(self.path(name), cache_bytes=1 << 24)
        self.addCleanup(made.close)
        return made

    def layer(self, dim=4, cls=None, storage=None, **options):
        options = {"optimizer": damo.SGD(lr=0.5), "initializer": damo.Normal(stddev=0.1), **options}
        return (cls or damo.torch.Embedding)(storage or self.storage(), "user", dim, **options)

    def assert_fails(self, kind, words, function, *arguments, **options):
        with self.assertRaises(kind) as caught:
            function(*arguments, **options)
        for word in words:
            self.assertIn(word, str(caught.exception))


class Fails(torch.autograd.Function):
    """Raises in backward."""

    @staticmethod
    def forward(ctx, given):
        return given * 1

    @staticmethod
    def backward(ctx, gradient):
        raise OSError("in backward")


class Rows(Case):
    """A layer whose rows begin at 0 and step by their gradients."""

    def setUp(self):
        super().setUp()
        self.table = self.layer(initializer=damo.Zeros(), optimizer=damo.SGD(lr=1.0))
        self.weight = torch.nn.Parameter(torch.ones(4))

    def weights(self, *keys):
        return self.table.rows.peek(list(keys))[0][:, 0].tolist()

    @property
    def step(self):
        return self.table.rows.step


def close(a, b, tolerance=1e-6):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
