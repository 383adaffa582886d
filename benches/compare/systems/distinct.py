"""The distinct keys of a batch, for systems that must be asked for each key once."""

from __future__ import annotations

from typing import Any

import numpy as np

from systems import System


class Distinct:
    """Keys are in the order of uint64, which is that of their bytes in LMDB."""

    def __init__(self, keys: np.ndarray) -> None:
        self._order = np.argsort(keys.view(np.uint64), kind="stable")
        ordered = keys[self._order]
        first = np.ones(keys.size, bool)
        np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
        self._starts = np.flatnonzero(first)
        self._number = np.cumsum(first) - 1
        self.keys = ordered[self._starts]

    def spread(self, rows: np.ndarray, every: np.ndarray) -> None:
        """Fills every with the row of each key of the batch."""
        every[self._order] = rows[self._number]

    def summed(self, gradients: np.ndarray) -> np.ndarray:
        """The sum of each distinct key's gradients."""
        return np.add.reduceat(gradients[self._order], self._starts, axis=0)


class Coalescing(System):
    """A system that is given each key once in a step. Its user makes the keys distinct and sums
    the gradients of each in NumPy, which is timed as part of the step.
    """

    def step(
        self, timer: Any, keys: np.ndarray, weights: np.ndarray, gradients: np.ndarray
    ) -> None:
        timer.call("lookup", self._lookup_distinct, keys, weights)
        timer.call("apply", self._apply_summed, gradients)

    def _lookup_distinct(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._distinct = Distinct(keys)
        rows = np.empty((self._distinct.keys.size, weights.shape[1]), np.float32)
        self.lookup(self._distinct.keys, rows)
        self._distinct.spread(rows, weights)

    def _apply_summed(self, gradients: np.ndarray) -> None:
        self.apply(self._distinct.keys, self._distinct.summed(gradients))
