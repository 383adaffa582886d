"""Storage.stat and Storage.stats: the statistics of a storage."""

from __future__ import annotations

import ctypes
from typing import get_args

from . import _c_api
from ._choices import StatName
from ._storage_handle import StorageHandle

STATS: tuple[StatName, ...] = get_args(StatName)
"""Names of statistics. damo_storage_stat in damo.h explains them."""


class StorageStats(StorageHandle):
    """The part of damo.Storage that has its statistics."""

    def stats(self) -> dict[str, int]:
        """All statistics by name: see damo_storage_stat in damo.h."""
        return {name: self.stat(name) for name in STATS}

    def stat(self, name: StatName) -> int:
        """One statistic. An unknown name is a ValueError, which lists the known ones."""
        c_name = _c_api.text(name, "name")
        return _c_api.read(
            ctypes.c_uint64, lambda value: _c_api.damo_storage_stat(self._use(), c_name, value)
        )
