"""Counting Bloom filters: how often each key has been seen."""

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
    """A counting Bloom filter in a file, made when there is none; attach it with storage.embedding(..., filter=).

    capacity: keys that it is made for (2^28); count: occurrences that a key needs, 1 to 15 (15); fpr: the share of keys that
    may pass too early at capacity (1e-3); reload: False replaces a file that is there; verify:
    a checksum is written at closing and compared at opening (True). None is the library's default.

    Raises ValueError for a parameter that is wrong and for a file with other ones, damo.BusyError, damo.CorruptionError.
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
        """Adds num to each of keys: one, or integers of any shape. One that is given twice is added twice.

        num: one count for all, or an array of counts with the shape of keys. group: whose keys they are.
        """
        numbers, which = _arrays.keys(keys), _arrays.group(group)
        num = _tensors.integers(num, "num")
        if isinstance(num, (list, tuple)) or (isinstance(num, np.ndarray) and num.ndim):
            counts = _arrays.counts(num, numbers.shape)
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
        """Whether each of keys of group was seen often enough: bool of the same shape; a bool for one key."""
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
        """Returns once every addition so far is on disk, for the machine losing power."""
        _c_api.damo_filter_sync(self._use())

    # The drop-in class has one key a call.
    def _add_one(self, group: int, key: int, num: int) -> None:
        _c_api.damo_filter_add(self._use(), group, key, num)

    def _check_one(self, group: int, key: int) -> bool:
        admitted = ctypes.c_bool()
        _c_api.damo_filter_check(self._use(), group, key, ctypes.byref(admitted))
        return admitted.value
