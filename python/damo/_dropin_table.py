"""PyTable: a serving table, with the signatures of the SWIG module."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from . import _arrays, _c_api
from ._table import Table
from ._table import merge as merge_tables

if TYPE_CHECKING:
    from typing_extensions import Buffer


class PyTable:
    """A table that PyStorage.dump wrote with format "table", mapped into memory.

    It needs no storage. Processes share its memory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._table = Table(path)

    def lookup(
        self, group: SupportsIndex, keys: np.ndarray | Buffer, w: np.ndarray | Buffer
    ) -> bytes:
        """Fills w with the weights of keys. A key without a row reads as zeros.

        Returns a byte for each key: 1 if it has a row, 0 if not.
        """
        keys = _arrays.strict_keys(keys)
        w = _arrays.strict_rows(w, "w", keys.size, self.dim(group), writable=True)
        found = np.empty(keys.size, np.uint8)
        _c_api.damo_table_lookup(
            self._table._use(),
            _arrays.group(group),
            _arrays.address(keys),
            keys.size,
            _arrays.address(w),
            w.size,
            _arrays.address(found),
        )
        return found.tobytes()

    def dim(self, group: SupportsIndex) -> int:
        """The number of weights in a row of group."""
        return self._table.dim(_arrays.group(group))

    def rows(self, group: SupportsIndex) -> int:
        """The number of rows of group."""
        return self._table.rows(_arrays.group(group))

    def number(self) -> int:
        """The sequence number of the last call in the table: since of the next increment."""
        return self._table.number

    @staticmethod
    def merge(
        base: str | os.PathLike[str],
        increment: str | os.PathLike[str],
        path: str | os.PathLike[str],
    ) -> None:
        """Merges base and the increment after it into a new table at path, which may be base."""
        merge_tables(base, increment, path)
