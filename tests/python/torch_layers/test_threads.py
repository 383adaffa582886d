"""PyTorch's threads, which damo.torch lends to damo: the same rows, whoever has them."""

import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

import damo
import damo.torch
from damo.torch import use_torch_threads
from support import Case

IDS, DIM, STEPS = 40_000, 8, 3


class Threads(Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(use_torch_threads)
        self.addCleanup(torch.set_num_threads, torch.get_num_threads())

    def trained(self, name: str) -> np.ndarray:
        """The rows after some steps."""
        ids = torch.arange(IDS) * 977 % 30_000
        with damo.Storage(self.path(name), threads=4) as storage:
            layer = damo.torch.Embedding(
                storage, "user", DIM, optimizer=damo.Adam(lr=0.01), initializer=damo.Normal()
            )
            for step in range(STEPS):
                (layer(ids) * (step + 1) + layer(ids)).square().sum().backward()
                (layer(ids).cos() * torch.arange(DIM)).sum().backward()
            return layer.rows.peek(np.arange(30_000))[0]

    @unittest.skipUnless(sys.platform == "linux", "GNU's OpenMP is looked for on Linux")
    def test_torch_with_openmp_lends_its_threads_from_the_start(self):
        if "parallel backend: OpenMP" not in torch.__config__.parallel_info():
            self.skipTest("this torch does not compute with OpenMP")
        self.assertTrue(use_torch_threads())
        self.assertFalse(use_torch_threads(False))
        self.assertTrue(use_torch_threads(True))

    def test_rows_are_the_same_to_the_bit(self):
        use_torch_threads(False)
        own = self.trained("own")
        self.assertTrue(own.any())
        for number in (1, 2, 3, 16):
            torch.set_num_threads(number)
            use_torch_threads()
            lent = self.trained(f"lent-{number}")
            np.testing.assert_array_equal(lent, own, f"{number} threads")
            use_torch_threads(False)

    def test_calls_of_other_threads_work(self):
        use_torch_threads()
        with ThreadPoolExecutor(4) as pool:
            rows = list(pool.map(self.trained, [f"caller-{number}" for number in range(4)]))
        for others in rows[1:]:
            np.testing.assert_array_equal(others, rows[0])

    def test_a_forked_child_uses_its_own_threads(self):
        # In a process that has opened no storage: a child of one that has is refused.
        program = f"""
import os, sys
import torch
import damo, damo.torch
torch.ones(1 << 20).add_(1)  # starts PyTorch's threads
pid = os.fork()
if pid == 0:
    with damo.Storage({self.path("child")!r}, threads=4) as storage:
        users = storage.embedding("user", dim=4, optimizer=damo.SGD(lr=1.0))
        users.lookup(list(range(40_000)))
    os._exit(7)
sys.exit(os.WEXITSTATUS(os.waitpid(pid, 0)[1]) != 7)
"""
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
