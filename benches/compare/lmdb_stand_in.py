"""A dictionary that stands for LMDB in tests, as far as systems/lmdb_numpy.py uses it.

Import it before that: it takes the place of the module lmdb.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np


class Transaction:
    """A transaction of LMDB and its cursor, as far as they are used."""

    def __init__(self, rows: dict[bytes, bytes], write: bool) -> None:
        self._rows, self._write = rows, write

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows = None

    def cursor(self) -> Transaction:
        return self

    def getmulti(self, names: list[bytes]) -> list[tuple[bytes, bytes]]:
        numbers = np.frombuffer(b"".join(names), np.uint64)
        assert (numbers[1:] > numbers[:-1]).all(), "keys are distinct and in order"
        return [(name, self._rows[name]) for name in names if name in self._rows]

    def putmulti(self, items: list[tuple[bytes, bytes]]) -> None:
        assert self._write
        self._rows.update(items)


class Environment:
    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def open_db(self, _name: bytes, **_: Any) -> str:
        return "rows"

    def begin(self, _table: str, write: bool = False) -> Transaction:
        return Transaction(self.rows, write)

    def sync(self, _force: bool) -> None:
        pass

    def close(self) -> None:
        pass


# The one that is opened, whatever the directory.
environment = Environment()

module = types.ModuleType("lmdb")
module.__version__, module.version = "none", lambda: (0,)
module.open = lambda *_, **__: environment
module.Transaction = Transaction
sys.modules["lmdb"] = module
