"""Serving tables: files that Storage.dump wrote, mapped into memory. They need no storage."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Mapping, SupportsIndex

import numpy as np

from . import _arrays, _c_api
from ._handles import Handle


class Table(Handle):
    """The serving table in the file path, read-only and mapped into memory.

    Processes and threads share its memory, forked children too. It is a context manager. A copy or
    a pickle opens the same file again, by its absolute path.

    names: the numbers of groups by name, as storage.names has them, so that calls take a name, too.

    Raises FileNotFoundError, ValueError for a file that is no table, and damo.CorruptionError for
    one that was changed.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, names: Mapping[str, int] | None = None
    ) -> None:
        self.path = os.fspath(path)
        self._full_path = os.path.abspath(self.path)
        self.names = dict(names or {})
        super().__init__(_c_api.damo_table_open, _c_api.damo_table_free, _c_api.path(path, "path"))

    def __reduce__(self) -> Any:
        self._use()
        return _open, (self._full_path, self.names)

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _group(self, name_or_group: SupportsIndex | str) -> int:
        if not isinstance(name_or_group, str):
            return _arrays.group(name_or_group)
        try:
            return self.names[name_or_group]
        except KeyError:
            known = ", ".join(repr(name) for name in self.names) or "none"
            raise KeyError(
                f"damo: no group is called {name_or_group!r}; names given to this table: {known}"
            ) from None

    def dim(self, group: SupportsIndex | str = 0) -> int:
        """The number of weights in a row of group. Raises KeyError if the table has no such one."""
        which = self._group(group)
        return _c_api.read(
            ctypes.c_size_t, lambda dim: _c_api.damo_table_dim(self._use(), which, dim)
        )

    def rows(self, group: SupportsIndex | str = 0) -> int:
        """The number of rows of group."""
        which = self._group(group)
        return _c_api.read(
            ctypes.c_uint64, lambda rows: _c_api.damo_table_rows(self._use(), which, rows)
        )

    @property
    def number(self) -> int:
        """The sequence number of the last call in the table: since of an increment to it."""
        return _c_api.read(
            ctypes.c_uint64, lambda number: _c_api.damo_table_number(self._use(), number)
        )

    def lookup(
        self, keys: Any, group: SupportsIndex | str = 0, *, out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The weights of keys, and whether each key has a row.

        The weights are float32 of shape keys.shape + (dim,), the second array is bool of
        keys.shape. A key without a row reads as zeros.

        keys: as for Embedding.lookup. group: its number, or its name in names. out: contiguous
        writable float32 of the shape of the weights, which is filled and returned.
        """
        which, numbers = self._group(group), _arrays.keys(keys)
        shape = (*numbers.shape, self.dim(which))
        weights = (
            np.empty(shape, np.float32)
            if out is None
            else _arrays.floats(out, "out", (shape,), writable=True)
        )
        found = np.empty(numbers.shape, np.uint8)
        _c_api.damo_table_lookup(
            self._use(),
            which,
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(weights),
            weights.size,
            _arrays.address(found),
        )
        return weights, found.view(np.bool_)


def _open(path: str | bytes, names: dict[str, int]) -> Table:
    return Table(path, names=names)  # type: ignore[arg-type]


def merge(
    base: str | os.PathLike[str], increment: str | os.PathLike[str], path: str | os.PathLike[str]
) -> None:
    """Merges a table and the increment after it into a new table.

    base: a table. increment: a dump since the number of base. path: the file to write, which may be
    base. All three are paths.

    Raises ValueError if base and increment do not belong together, FileNotFoundError,
    damo.CorruptionError, and damo.BusyError if path is being written. After an error the file at
    path is as it was.
    """
    _c_api.damo_table_merge(
        _c_api.path(base, "base"), _c_api.path(increment, "increment"), _c_api.path(path, "path")
    )
