"""Counting Bloom filters, which admit keys that were seen often enough."""

from __future__ import annotations

import ctypes
import os
from typing import Any, SupportsIndex

import numpy as np

from . import _arrays, _busy, _c_api, _tensors
from ._errors import BusyError
from ._handles import Handle
from ._params import Params

_REMEDY = (
    "close that one before the file is opened again: call its close(), or `del` every name that"
    " refers to it. A notebook's cell has to, before it runs again"
)


class Filter(Handle):
    """A counting Bloom filter in the file path, which is made if there is none.

    Attach it with storage.embedding(..., filter=). None is the library's default (in brackets).

    capacity: the number of keys that it is made for, 1..2^40 (2^28). The file has 8.7 bytes a key
    for an fpr of 1e-3.
    count: the number of additions after which it admits a key, 1..15 (15).
    fpr: the false positive rate: the share of keys that pass though they were never added, once
    capacity keys were added count times; 1e-6..0.5 (1e-3).
    reload: True opens a file that exists, False replaces it (True).
    verify: closing writes a checksum of the counters, and opening compares it (True).

    Raises ValueError for a wrong parameter and for a file with another capacity, count or fpr;
    damo.BusyError if the file is open; damo.CorruptionError, damo.IoError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        capacity: SupportsIndex | None = None,
        count: SupportsIndex | None = None,
        fpr: float | None = None,
        reload: bool | None = None,
        verify: bool | None = None,
    ) -> None:
        values = {
            "capacity": capacity,
            "count": count,
            "fpr": fpr,
            "reload": reload,
            "verify": verify,
        }
        self._open({"path": os.fsdecode(os.fspath(path)), **values})

    def _open(self, values: dict[str, Any]) -> None:
        bag = Params(values)
        self.path = str(values.get("path", ""))
        try:
            super().__init__(_c_api.damo_filter_new, _c_api.damo_filter_free, bag._use())
        except BusyError as error:
            raise _busy.with_remedy(error, self.path, _REMEDY, _REMEDY) from None
        bag.close()
        _busy.note(self, self.path)

    def __repr__(self) -> str:
        return f"<damo.Filter {self.path!r}{', closed' if self.closed else ''}>"

    def add(self, keys: Any, num: Any = 1, *, group: SupportsIndex = 0) -> None:
        """Adds num to the count of each of keys. A key that is given twice is added twice.

        keys: an integer, or integers of any shape. num: one count in 0..2^32 - 1 for all, or
        integers of the shape of keys. group: the number of the group that the keys are of.
        """
        numbers, which = _arrays.keys(keys), _arrays.group(group)
        num = _tensors.integers(num, "num")
        if isinstance(num, (list, tuple)) or (isinstance(num, np.ndarray) and num.ndim):
            counts = _arrays.counts(num, numbers.shape, "num", 0)
            _c_api.damo_filter_add_counts(
                self._use(),
                which,
                _arrays.address(numbers),
                numbers.size,
                _arrays.address(counts),
                counts.size,
            )
            return
        times = _arrays.integer(num, "num", 0, 2**32 - 1)
        _c_api.damo_filter_add_batch(
            self._use(), which, _arrays.address(numbers), numbers.size, times
        )

    def check(self, keys: Any, *, group: SupportsIndex = 0) -> np.ndarray | bool:
        """Whether each of keys was added often enough.

        Returns bool of the shape of keys, or a bool for one key. group: the number of the group
        that the keys are of.
        """
        numbers, which = _arrays.keys(keys), _arrays.group(group)
        admitted = np.empty(numbers.shape, np.uint8)
        _c_api.damo_filter_check_batch(
            self._use(),
            which,
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(admitted),
            admitted.size,
        )
        return admitted.view(np.bool_) if numbers.ndim else bool(admitted)

    def sync(self) -> None:
        """Returns once every addition so far is on disk, so that it survives a power failure."""
        _c_api.damo_filter_sync(self._use())

    # For the drop-in class, which takes one key a call.
    def _add_one(self, group: int, key: int, num: int) -> None:
        _c_api.damo_filter_add(self._use(), group, key, num)

    def _check_one(self, group: int, key: int) -> bool:
        admitted = ctypes.c_bool()
        _c_api.damo_filter_check(self._use(), group, key, ctypes.byref(admitted))
        return admitted.value
