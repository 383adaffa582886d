"""LMDB, a memory-mapped B+ tree, with adam in NumPy: the offload that people build by hand.

A row lies in LMDB with its moments. Its name is the key, 8 bytes in the machine's order
(integerkey). Keys of a batch are made distinct and sorted first, so that the tree is walked in its
order.

- Without cache_rows a step is one write transaction, which reads the rows, steps them and writes
  them back. The page cache is the only cache.
- With cache_rows the rows used last are in arrays, and a dictionary says where each is. A sixteenth
  of them is evicted at once. flush and close write the rest; a kill loses it. A transaction writes
  ROWS_WRITTEN rows at most, since it has the pages that it changes in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import lmdb
import numpy as np

from systems import Setup, System, numpy_adam
from systems.distinct import Distinct
from systems.hot_rows import HotRows

# LMDB reserves address space of this size at least; the file grows as it fills.
MAP_BYTES = 4 << 30
ROWS_WRITTEN = 1 << 14


class Lmdb(System):
    """Options: cache_rows (0), and those of lmdb.open: sync, writemap, map_async. With sync=False
    the disk is waited for in flush only, so that a crash of the machine may damage the file.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup, self._width = setup, numpy_adam.width(setup.dim)
        options = {"readahead": False, **setup.options}
        cache_rows = options.pop("cache_rows", 0)
        map_bytes = max(MAP_BYTES, 8 * 4 * self._width * setup.ids)
        self._environment = lmdb.open(
            str(setup.directory), map_size=map_bytes, max_dbs=1, **options
        )
        self._table = self._environment.open_db(b"rows", integerkey=True)
        self._hot = HotRows(cache_rows, self._width) if cache_rows else None
        self._random = np.random.default_rng(0)
        self._counts = dict.fromkeys(("rows_loaded", "rows_written", "evictions"), 0)
        self.notes = (
            f"lmdb {lmdb.__version__} (LMDB {'.'.join(map(str, lmdb.version()))}), numpy"
            f" {np.__version__}"
        )

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        distinct = Distinct(keys)
        rows = np.empty((distinct.keys.size, self._setup.dim), np.float32)
        for part in self._parts(distinct.keys):
            rows[part] = self._found(distinct.keys[part])[:, : self._setup.dim]
        distinct.spread(rows, weights)

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        distinct = Distinct(keys)
        summed = distinct.summed(gradients)
        for part in self._parts(distinct.keys):
            self._step(distinct.keys[part], summed[part])

    def peek(self, keys: np.ndarray, weights: np.ndarray) -> np.ndarray:
        distinct = Distinct(keys)
        places = self._hot.find(distinct.keys) if self._hot else np.full(distinct.keys.size, -1)
        rows, known = np.zeros((places.size, self._width), np.float32), places >= 0
        if self._hot:
            rows[known] = self._hot.floats[places[known]]
        absent = np.flatnonzero(~known)
        with self._environment.begin(self._table) as transaction:
            rows[absent], missing = self._read(transaction, distinct.keys[absent])
        known[absent] = ~missing
        distinct.spread(rows[:, : self._setup.dim], weights)
        found = np.empty(keys.size, bool)
        distinct.spread(known, found)
        return found

    def _parts(self, keys: np.ndarray) -> Iterator[slice]:
        """Parts of a batch that leave half of the hot rows alone."""
        size = max(1, self._hot.capacity // 2) if self._hot else max(1, keys.size)
        return (slice(start, start + size) for start in range(0, keys.size, size))

    def _found(self, keys: np.ndarray) -> np.ndarray:
        """The rows of these keys. Those that are new are made."""
        if self._hot:
            return self._hot.floats[self._brought(keys)]
        with self._environment.begin(self._table) as transaction:
            rows, missing = self._read(transaction, keys)
        # Without a deviation a row that is not there is all zeros, as it is when it is made.
        if missing.any() and self._setup.initial_stddev:
            self._make(rows, missing)
            with self._environment.begin(self._table, write=True) as transaction:
                self._write(transaction, keys[missing], rows[missing])
        return rows

    def _step(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        if self._hot:
            places = self._brought(keys)
            rows = self._hot.floats[places]
            numpy_adam.step(rows, gradients, self._setup.adam)
            self._hot.floats[places] = rows
            self._hot.dirty[places] = True
            return
        with self._environment.begin(self._table, write=True) as transaction:
            rows, missing = self._read(transaction, keys)
            self._make(rows, missing)
            numpy_adam.step(rows, gradients, self._setup.adam)
            self._write(transaction, keys, rows)

    def _brought(self, keys: np.ndarray) -> np.ndarray:
        """The places of these keys among the hot rows, where they are brought to."""
        hot = self._hot
        places = hot.find(keys)
        absent = np.flatnonzero(places < 0)
        hot.use(places[places >= 0])
        if absent.size > hot.free:
            self._evict(max(absent.size - hot.free, hot.capacity // 16))
        if absent.size:
            with self._environment.begin(self._table) as transaction:
                rows, missing = self._read(transaction, keys[absent])
            self._make(rows, missing)
            places[absent] = hot.install(keys[absent], rows)
            # A row that was made is nowhere else.
            hot.dirty[places[absent[missing]]] = True
        return places

    def _evict(self, count: int) -> None:
        places = self._hot.oldest(count)
        self._save_hot(places[self._hot.dirty[places]])
        self._hot.forget(places)
        self._counts["evictions"] += places.size

    def _save_hot(self, places: np.ndarray) -> None:
        places = places[np.argsort(self._hot.keys[places].view(np.uint64))]
        for start in range(0, places.size, ROWS_WRITTEN):
            part = places[start : start + ROWS_WRITTEN]
            with self._environment.begin(self._table, write=True) as transaction:
                self._write(transaction, self._hot.keys[part], self._hot.floats[part])
        self._hot.dirty[places] = False

    def _make(self, rows: np.ndarray, missing: np.ndarray) -> None:
        if missing.any() and self._setup.initial_stddev:
            shape = (int(missing.sum()), self._setup.dim)
            drawn = self._random.standard_normal(shape, dtype=np.float32)
            rows[missing, : self._setup.dim] = drawn * np.float32(self._setup.initial_stddev)

    def _read(
        self, transaction: lmdb.Transaction, keys: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows, zeros for a key without one, and which keys these are."""
        names = split(keys.tobytes(), 8)
        found = transaction.cursor().getmulti(names)
        missing = np.zeros(keys.size, bool)
        if len(found) == len(names):
            packed = b"".join([row for _, row in found])
        else:
            rows, zeros = dict(found), bytes(4 * self._width)
            packed = b"".join([rows.get(name, zeros) for name in names])
            missing[:] = [name not in rows for name in names]
        self._counts["rows_loaded"] += keys.size
        return np.frombuffer(packed, np.float32).reshape(keys.size, self._width).copy(), missing

    def _write(self, transaction: lmdb.Transaction, keys: np.ndarray, rows: np.ndarray) -> None:
        items = list(zip(split(keys.tobytes(), 8), split(rows.tobytes(), 4 * self._width)))
        transaction.cursor().putmulti(items)
        self._counts["rows_written"] += keys.size

    def statistics(self) -> dict[str, int]:
        hot = self._hot
        memory = {"rows_in_memory": hot.rows, "dirty_rows": int(hot.dirty.sum())} if hot else {}
        return {**self._counts, **memory}

    def flush(self) -> None:
        if self._hot:
            self._save_hot(np.flatnonzero(self._hot.dirty))
        self._environment.sync(True)

    def close(self) -> None:
        self.flush()
        self._environment.close()


def split(packed: bytes, size: int) -> list[bytes]:
    return [packed[i : i + size] for i in range(0, len(packed), size)]


def open(setup: Setup) -> System:
    return Lmdb(setup)
