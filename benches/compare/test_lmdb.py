"""Does the offload onto LMDB step its rows right, with and without rows in memory?

    /usr/bin/python3 benches/compare/test_lmdb.py

Needs NumPy. LMDB itself need not be installed: lmdb_stand_in.py stands for it.
"""

from __future__ import annotations

import unittest
from pathlib import Path

import numpy as np

from lmdb_stand_in import environment
from selfcheck import SelfCheck
from systems import Setup, System, open_system
from systems.distinct import Distinct

DIM, IDS, KEYS_A_CALL, STEPS = 8, 300, 120, 40


def opened(cache_rows: int) -> System:
    options = {"cache_rows": cache_rows, "sync": False}
    return open_system("lmdb_numpy", Setup(Path("."), DIM, IDS, options))


class Lmdb(unittest.TestCase):
    def setUp(self) -> None:
        environment.rows.clear()

    def trained(self, cache_rows: int) -> dict[str, int]:
        """Trains, opens again and trains on. All rows must agree with NumPy in float64."""
        random = np.random.default_rng(1)
        every = np.unique(random.integers(-(2**63), 2**63 - 1, IDS))
        system = opened(cache_rows)
        check = SelfCheck(system, every, DIM)
        for step in range(STEPS):
            # A fifth of the keys come twice.
            keys = every[random.integers(0, IDS, KEYS_A_CALL)]
            gradients = random.standard_normal((KEYS_A_CALL, DIM), dtype=np.float32)
            system.lookup(keys, np.empty_like(gradients))
            system.apply(keys, gradients)
            check.applied(keys, gradients)
            if step == STEPS // 2:
                counts = system.statistics()
                system.close()
                system = check._system = opened(cache_rows)
        found = check.compare()
        self.assertTrue(found["passed"], found)
        weights = np.empty((IDS, DIM), np.float32)
        system.lookup(every, weights)
        # What 20 steps in float32 may be off, of weights that have moved by 0.02.
        self.assertLess(np.abs(weights - check._weights).max(), 1e-6)
        return counts

    def test_a_transaction_a_step(self) -> None:
        counts = self.trained(0)
        self.assertEqual(counts["evictions"], 0)
        self.assertGreater(counts["rows_written"], STEPS // 2 * KEYS_A_CALL // 2)

    def test_rows_in_memory_are_evicted_and_come_back(self) -> None:
        for cache_rows in (17, 64, 200):
            environment.rows.clear()
            counts = self.trained(cache_rows)
            self.assertGreater(counts["evictions"], 0)
            self.assertLessEqual(counts["rows_in_memory"], cache_rows)

    def test_rows_that_fit_are_read_once_and_written_at_the_end(self) -> None:
        counts = self.trained(IDS)
        self.assertEqual((counts["rows_loaded"], counts["rows_written"]), (IDS, 0))

    def test_a_peek_makes_no_row(self) -> None:
        for cache_rows in (0, 16):
            environment.rows.clear()
            system, weights = opened(cache_rows), np.empty((4, DIM), np.float32)
            system.lookup(np.array([5, 9]), weights[:2])
            made = weights[:2].copy()
            found = system.peek(np.array([9, 7, 5, 9]), weights)
            self.assertEqual(found.tolist(), [True, False, True, True])
            np.testing.assert_array_equal(weights[[2, 0, 3]], made[[0, 1, 1]])
            self.assertFalse(weights[1].any())
            system.close()
            self.assertEqual(len(environment.rows), 2)


class DistinctKeys(unittest.TestCase):
    def test_gradients_are_summed_and_rows_spread(self) -> None:
        keys = np.array([3, -1, 3, 0, -1, 3])
        distinct = Distinct(keys)
        self.assertEqual(distinct.keys.tolist(), [0, 3, -1])
        summed = distinct.summed(np.arange(6, dtype=np.float32)[:, None])
        self.assertEqual(summed.tolist(), [[3], [7], [5]])
        every = np.empty((6, 1), np.float32)
        distinct.spread(summed, every)
        self.assertEqual(every[:, 0].tolist(), [7, 5, 7, 3, 5, 7])


if __name__ == "__main__":
    unittest.main()
