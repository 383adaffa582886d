"""Rows in memory, in NumPy, before a store on disk: a dictionary says where each is."""

from __future__ import annotations

from itertools import repeat

import numpy as np


class HotRows:
    """At most `capacity` rows. The rows of the latest batches stay."""

    def __init__(self, capacity: int, width: int) -> None:
        self.capacity = capacity
        self.floats = np.zeros((capacity, width), np.float32)
        self.keys = np.zeros(capacity, np.int64)
        self.dirty = np.zeros(capacity, bool)
        # The batch that each was used by last; 0: there is no row.
        self._used = np.zeros(capacity, np.int64)
        self._batch = 0
        self._places: dict[int, int] = {}
        self._free = np.arange(capacity)

    @property
    def rows(self) -> int:
        return len(self._places)

    @property
    def free(self) -> int:
        return self._free.size

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The place of each key, or -1."""
        places = map(self._places.get, keys.tolist(), repeat(-1))
        return np.fromiter(places, np.int64, keys.size)

    def use(self, places: np.ndarray) -> None:
        """Begins a batch, which uses these places."""
        self._batch += 1
        self._used[places] = self._batch

    def install(self, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Puts new rows in free places and returns these. The batch uses them."""
        places, self._free = self._free[: keys.size], self._free[keys.size :]
        self.floats[places] = rows
        self.keys[places] = keys
        self.dirty[places] = False
        self._used[places] = self._batch
        self._places.update(zip(keys.tolist(), places.tolist()))
        return places

    def oldest(self, count: int) -> np.ndarray:
        """The places of the rows that were used the longest ago; none of this batch."""
        candidates = np.flatnonzero((self._used > 0) & (self._used < self._batch))
        if candidates.size <= count:
            return candidates
        return candidates[np.argpartition(self._used[candidates], count)[:count]]

    def forget(self, places: np.ndarray) -> None:
        for key in self.keys[places].tolist():
            del self._places[key]
        self._used[places] = 0
        self.dirty[places] = False
        self._free = np.concatenate([self._free, places])
