"""The rows that a C++ trainer keeps in memory without a library: native/tables.hpp. Nothing is on
disk, and threads share the rows without locks.
"""

from __future__ import annotations

import numpy as np

from native import Native, Table
from systems import Setup, System


class Plain(System):
    """Options: native, the library that native.build has made; optimizer, "adam" or "adagrad"."""

    duplicates = "sequential"
    kind = ""

    def __init__(self, setup: Setup) -> None:
        self.optimizer = setup.optimizer
        self._table = Native(setup.options["native"]).plain_table(self.kind, setup)

    def native_table(self, native: Native) -> Table:
        return self._table

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._table.lookup(keys, weights)

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        self._table.apply(keys, gradients)

    def fill(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._table.insert(keys, weights)

    def close(self) -> None:
        self._table.free()
