"""The earlier C++ implementation: damo-embedding 1.0.6, with the interface PyStorage/PyEmbedding.

It has no cache option and no option for duplicates: a key that is given twice is stepped twice.
With the option coalesce its user sums the gradients of a key beforehand and asks for distinct keys
only, which makes the work the same as everyone's.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

import damo  # the package's module; systems/damo.py is another one

from systems import Setup, System
from systems.distinct import Coalescing


def parameters(**values: object) -> damo.Parameters:
    bag = damo.Parameters()
    for key, value in values.items():
        bag.insert(key.rstrip("_"), value)
    return bag


class DamoEmbedding(Coalescing):
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
        how = Coalescing if self._coalesce else System
        how.step(self, timer, keys, weights, gradients)

    def save(self, path: Path) -> None:
        """Makes a file whose name is that of path, a hyphen and the time."""
        self._storage.checkpoint(str(path))

    def restore(self, path: Path) -> None:
        self._storage.load_from_checkpoint(str(path))

    def close(self) -> None:
        del self._embedding, self._storage


def open(setup: Setup) -> System:
    return DamoEmbedding(setup)
