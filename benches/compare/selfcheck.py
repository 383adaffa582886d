"""Checks that the work was done: compares a few rows with a plain NumPy optimizer in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from systems import (
    ADAGRAD_EPSILON,
    ADAGRAD_LEARNING_RATE,
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    System,
)

# Of the largest change that a followed weight has seen.
TOLERANCE = 1e-4
FILTER_BITS = 16


class SelfCheck:
    """Give it every batch that is applied, in order; then compare()."""

    def __init__(self, system: System, keys: np.ndarray, dim: int) -> None:
        start = np.empty((np.unique(keys).size, dim), np.float32)
        self._follow(system, np.unique(keys))
        system.initial(self._keys, start)
        self._start = start.astype(np.float64)
        self._weights = self._start.copy()
        self._m = np.zeros_like(self._start)
        self._v = np.zeros_like(self._start)
        self._steps = np.zeros(self._keys.size, np.int64)

    def _follow(self, system: System, keys: np.ndarray) -> None:
        self._system, self._keys = system, keys
        self._table_steps = system.adam_steps_before
        # Sorts out almost all keys of a batch at little cost, so that a check hardly pauses a run.
        self._filter = np.zeros(1 << FILTER_BITS, bool)
        self._filter[keys & (self._filter.size - 1)] = True

    def save(self, path: Path) -> None:
        np.savez(
            path,
            keys=self._keys,
            start=self._start,
            weights=self._weights,
            m=self._m,
            v=self._v,
            steps=self._steps,
        )

    @classmethod
    def load(cls, system: System, path: Path) -> SelfCheck:
        """Goes on, in another process, with a table that was closed and opened again."""
        check = cls.__new__(cls)
        saved = np.load(path)
        check._follow(system, saved["keys"])
        check._start, check._weights, check._steps = (
            saved["start"],
            saved["weights"],
            saved["steps"],
        )
        check._m, check._v = saved["m"], saved["v"]
        return check

    def applied(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        self._table_steps += 1
        candidates = np.flatnonzero(self._filter[keys & (self._filter.size - 1)])
        position = np.minimum(np.searchsorted(self._keys, keys[candidates]), self._keys.size - 1)
        exact = self._keys[position] == keys[candidates]
        rows, occurrences = position[exact], gradients[candidates[exact]].astype(np.float64)
        if self._system.duplicates == "sum":
            distinct, inverse = np.unique(rows, return_inverse=True)
            summed = np.zeros((distinct.size, occurrences.shape[1]))
            np.add.at(summed, inverse, occurrences)
            self._step(distinct, summed)
        else:
            for row, gradient in zip(rows, occurrences):
                self._step(np.array([row]), gradient[None])

    def _step(self, rows: np.ndarray, gradients: np.ndarray) -> None:
        self._steps[rows] += 1
        if self._system.optimizer == "adam":
            self._adam(rows, gradients)
        else:
            self._adagrad(rows, gradients)

    def _adagrad(self, rows: np.ndarray, gradients: np.ndarray) -> None:
        squares = gradients**2
        if self._system.optimizer == "rowwise_adagrad":
            squares = squares.mean(axis=1, keepdims=True)
        self._v[rows] += squares
        root = np.sqrt(self._v[rows]) + ADAGRAD_EPSILON
        self._weights[rows] -= ADAGRAD_LEARNING_RATE * gradients / root

    def _adam(self, rows: np.ndarray, gradients: np.ndarray) -> None:
        per_row = self._system.adam_step == "row"
        step = self._steps[rows, None] if per_row else np.full((rows.size, 1), self._table_steps)
        self._m[rows] = BETA1 * self._m[rows] + (1 - BETA1) * gradients
        self._v[rows] = BETA2 * self._v[rows] + (1 - BETA2) * gradients**2
        m = self._m[rows] / (1 - BETA1**step)
        v = self._v[rows] / (1 - BETA2**step)
        corrected = self._system.adam_epsilon == "corrected"
        epsilon = EPSILON if corrected else EPSILON / np.sqrt(1 - BETA2**step)
        self._weights[rows] -= LEARNING_RATE * m / (np.sqrt(v) + epsilon)

    def compare(self) -> dict[str, object]:
        found = np.empty(self._start.shape, np.float32)
        self._system.current(self._keys, found)
        change = np.abs(self._weights - self._start).max()
        error = float(np.abs(found - self._weights).max() / change) if change > 0 else -1.0
        return {
            "rows": int((self._steps > 0).sum()),
            "row_steps": int(self._steps.sum()),
            "error": error,
            "passed": bool(0 <= error <= TOLERANCE),
        }
