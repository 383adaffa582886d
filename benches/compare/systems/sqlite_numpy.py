"""SQLite, as Python has it, with adam in NumPy: a step is one transaction.

Options: journal_mode ("delete" by default, or "wal") and synchronous ("full" by default, or
"normal").
"""

from __future__ import annotations

import sqlite3

import numpy as np

from systems import Setup, System, numpy_adam


class Sqlite(System):
    def __init__(self, setup: Setup) -> None:
        self._setup, self._width = setup, numpy_adam.width(setup.dim)
        # Transactions are begun and committed by the statements below, not by the module.
        self._database = sqlite3.connect(setup.directory / "rows.sqlite", isolation_level=None)
        for pragma, value in setup.options.items():
            self._database.execute(f"PRAGMA {pragma} = {value}")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS rows (key INTEGER PRIMARY KEY, row BLOB NOT NULL)"
        )
        self.notes = f"SQLite {sqlite3.sqlite_version}, numpy {np.__version__}"

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        weights[:] = self._rows(keys)[:, : self._setup.dim]

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        rows = self._rows(keys)
        numpy_adam.step(rows, gradients, self._setup.adam)
        self._database.executemany(
            "INSERT OR REPLACE INTO rows VALUES (?, ?)", zip(keys.tolist(), map(bytes, rows))
        )
        self._database.execute("COMMIT")

    def _rows(self, keys: np.ndarray) -> np.ndarray:
        missing = bytes(4 * self._width)
        find = self._database.execute
        found = (
            find("SELECT row FROM rows WHERE key = ?", (key,)).fetchone() for key in keys.tolist()
        )
        packed = b"".join([row[0] if row else missing for row in found])
        return np.frombuffer(packed, np.float32).reshape(keys.size, self._width).copy()

    def close(self) -> None:
        self._database.close()


def open(setup: Setup) -> System:
    return Sqlite(setup)
