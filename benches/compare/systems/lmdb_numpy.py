"""LMDB, a memory-mapped B+ tree, with adam in NumPy: a step is one transaction.

Options are lmdb.open's: sync, writemap, map_async.
"""

from __future__ import annotations

import lmdb
import numpy as np

from systems import Setup, System, numpy_adam

# LMDB reserves address space of this size; the file grows as it fills.
MAP_BYTES = 4 << 30


class Lmdb(System):
    def __init__(self, setup: Setup) -> None:
        self._setup, self._width = setup, numpy_adam.width(setup.dim)
        self._environment = lmdb.open(str(setup.directory), map_size=MAP_BYTES, **setup.options)
        self.notes = (
            f"lmdb {lmdb.__version__} (LMDB {'.'.join(map(str, lmdb.version()))}), numpy"
            f" {np.__version__}"
        )

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        with self._environment.begin() as transaction:
            weights[:] = self._rows(transaction, self._names(keys))[:, : self._setup.dim]

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        names = self._names(keys)
        with self._environment.begin(write=True) as transaction:
            rows = self._rows(transaction, names)
            numpy_adam.step(rows, gradients, self._setup.adam)
            transaction.cursor().putmulti(list(zip(names, map(bytes, rows))))

    @staticmethod
    def _names(keys: np.ndarray) -> list[bytes]:
        packed = keys.astype(">i8").tobytes()
        return [packed[i : i + 8] for i in range(0, len(packed), 8)]

    def _rows(self, transaction: lmdb.Transaction, names: list[bytes]) -> np.ndarray:
        found = dict(transaction.cursor().getmulti(names))
        missing = bytes(4 * self._width)
        packed = b"".join([found.get(name, missing) for name in names])
        return np.frombuffer(packed, np.float32).reshape(len(names), self._width).copy()

    def flush(self) -> None:
        self._environment.sync(True)

    def close(self) -> None:
        self._environment.close()


def open(setup: Setup) -> System:
    return Lmdb(setup)
