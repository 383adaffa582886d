"""The earlier C++ implementation: damo-embedding 1.0.6, with the interface PyStorage/PyEmbedding.

It has no cache option and no option for duplicates: a key that is given twice is stepped twice.
With the option coalesce its user sums the gradients of a key beforehand, in NumPy (timed, as part
of the step), and asks for distinct keys only, which makes the work the same as everyone's.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

import damo  # the package's module; systems/damo.py is another one

from systems import Setup, System


def parameters(**values: object) -> damo.Parameters:
    bag = damo.Parameters()
    for key, value in values.items():
        bag.insert(key.rstrip("_"), value)
    return bag


class DamoEmbedding(System):
    """Options: coalesce (True)."""

    def __init__(self, setup: Setup) -> None:
        self._dim, adam = setup.dim, setup.adam
        self.notes = "damo-embedding " + version("damo-embedding")
        self._coalesce = setup.options.get("coalesce", True)
        self.duplicates = "sum" if self._coalesce else "sequential"
        self._storage = damo.PyStorage(str(setup.directory), 0)
        optimizer = damo.PyOptimizer(
            parameters(
                name="adam",
                gamma=adam.learning_rate,
                beta1=adam.beta1,
                beta2=adam.beta2,
                epsilon=adam.epsilon,
                lambda_=0.0,
            )
        )
        initializer = damo.PyInitializer(
            parameters(name="random_normal", mean=0.0, stddev=setup.initial_stddev)
            if setup.initial_stddev
            else parameters(name="zeros")
        )
        self._embedding = damo.PyEmbedding(self._storage, optimizer, initializer, setup.dim, 0)

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._embedding.lookup(keys, weights.reshape(-1))

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        self._embedding.apply_gradients(keys, gradients.reshape(-1))

    def step(self, timer, keys: np.ndarray, weights: np.ndarray, gradients: np.ndarray) -> None:
        if not self._coalesce:
            super().step(timer, keys, weights, gradients)
            return
        timer.call("lookup", self._lookup_distinct, keys, weights)
        timer.call("apply", self._apply_summed, gradients)

    def _lookup_distinct(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._order = np.argsort(keys, kind="stable")
        ordered = keys[self._order]
        first = np.empty(keys.size, bool)
        first[0] = True
        np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
        self._starts = np.flatnonzero(first)
        self._distinct = ordered[self._starts]
        rows = np.empty((self._distinct.size, self._dim), np.float32)
        self.lookup(self._distinct, rows)
        weights[self._order] = rows[np.cumsum(first) - 1]

    def _apply_summed(self, gradients: np.ndarray) -> None:
        self.apply(self._distinct, np.add.reduceat(gradients[self._order], self._starts, axis=0))

    def save(self, path: Path) -> None:
        """Makes a file whose name is that of path, a hyphen and the time."""
        self._storage.checkpoint(str(path))

    def restore(self, path: Path) -> None:
        self._storage.load_from_checkpoint(str(path))

    def close(self) -> None:
        del self._embedding, self._storage


def open(setup: Setup) -> System:
    return DamoEmbedding(setup)
