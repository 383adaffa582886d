"""The rows that a C++ trainer keeps in memory without a library: native/tables.hpp. Nothing is on
disk, and threads share the rows without locks.
"""

from __future__ import annotations

import numpy as np

from native import Native, Table
from systems import Setup, System


class Plain(System):
    """Options: native, the library that native.build has made; optimizer, "adam" or "adagrad";
    groups (1): all but native_tables is about the first of them.
    """

    duplicates = "sequential"
    loses_updates = True
    kind = ""

    def __init__(self, setup: Setup) -> None:
        self.optimizer = setup.optimizer
        native, groups = Native(setup.options["native"]), setup.options.get("groups", 1)
        self._tables = [native.plain_table(self.kind, setup) for _ in range(groups)]
        self._table = self._tables[0]

    def native_tables(self, native: Native) -> list[Table]:
        return self._tables

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._table.lookup(keys, weights)

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        self._table.apply(keys, gradients)

    def fill(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._table.insert(keys, weights)

    def close(self) -> None:
        for table in self._tables:
            table.free()
