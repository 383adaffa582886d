"""Iteration over stored rows."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from . import _c_api
from ._handles import ForkSafeLock, Handle


class Record(NamedTuple):
    """Everything stored of one row."""

    group: int
    key: int
    update_time: int
    """The time of the last write, in milliseconds since 1970."""
    update_num: int
    """The number of gradients applied so far."""
    weights: np.ndarray
    """float32 of shape (dim,), a copy that belongs to the caller."""
    state: np.ndarray
    """The optimizer's state, float32 of shape (row_len - dim,).

    Its parts, such as m and v of Adam, follow one another (damo_optimizer in damo.h).
    """


def floats_at(address: int | None, length: int) -> np.ndarray:
    """A copy of length floats that lie at address."""
    if not address or not length:
        return np.empty(0, np.float32)
    return np.ctypeslib.as_array((ctypes.c_float * length).from_address(address)).copy()


class Records(Handle):
    """An iterator over every row of a group, or of all groups, in order of group and key.

    It has the rows as they were when it was made. While it is open no checkpoint can be loaded. It
    closes itself at its end; call close() if you leave it earlier.
    """

    def __init__(self, storage: Handle, group: int) -> None:
        super().__init__(_c_api.damo_iterator_new, _c_api.damo_iterator_free, storage._use(), group)
        # The floats of a row are valid until any thread asks for the next one.
        self._lock = ForkSafeLock()
        self._ended = False

    def __iter__(self) -> "Records":
        return self

    def __next__(self) -> Record:
        if self._ended:
            raise StopIteration
        found, group, key = ctypes.c_bool(), ctypes.c_uint32(), ctypes.c_int64()
        time, num, dim = ctypes.c_int64(), ctypes.c_int64(), ctypes.c_size_t()
        data, length = ctypes.c_void_p(), ctypes.c_size_t()
        pointers = [
            ctypes.byref(value) for value in (found, group, key, time, num, dim, data, length)
        ]
        with self._lock:
            # A reference until the floats are copied: another thread may close this.
            iterator = self._use()
            try:
                _c_api.damo_iterator_next(iterator, *pointers)
                row = floats_at(data.value, length.value) if found.value else None
            finally:
                del iterator
        if row is None:
            self._ended = True
            self.close()
            raise StopIteration
        return Record(
            group.value, key.value, time.value, num.value, row[: dim.value], row[dim.value :]
        )
