"""PyTable: serving tables, with the same signatures as in the SWIG module."""

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

    Needs no storage; processes share its memory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._table = Table(path)

    def lookup(
        self, group: SupportsIndex, keys: np.ndarray | Buffer, w: np.ndarray | Buffer
    ) -> bytes:
        """Fills w as PyEmbedding.lookup does; what is returned has a byte a key.

        A key without a row reads as zeros, and is a 0 there.
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
        """The number of weights a row of group has."""
        return self._table.dim(_arrays.group(group))

    def rows(self, group: SupportsIndex) -> int:
        """The number of rows that group has."""
        return self._table.rows(_arrays.group(group))

    def number(self) -> int:
        """Where in the life of its storage it was taken: what the next increment has as since."""
        return self._table.number

    @staticmethod
    def merge(
        base: str | os.PathLike[str],
        increment: str | os.PathLike[str],
        path: str | os.PathLike[str],
    ) -> None:
        """Writes to path the table that base becomes with the changes in increment."""
        merge_tables(base, increment, path)
