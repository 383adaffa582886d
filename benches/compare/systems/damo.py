"""damo, through its C ABI."""

from __future__ import annotations

import ctypes
import re
import time
from pathlib import Path

import numpy as np

from native import Native, Table
from systems import Setup, System
from systems.damo_abi import Library


class Damo(System):
    """Options: library, cache_bytes, threads, durability ("checkpoint"), duplicates ("sum"),
    optimizer ("adam"), groups (1): all but native_tables is about the first of them.
    """

    def __init__(self, setup: Setup) -> None:
        options = setup.options
        self.optimizer = setup.optimizer
        self.duplicates = options.get("duplicates", "sum")
        self._library = library = Library(options["library"])
        self._dim = setup.dim
        self.notes = "damo " + library.version().decode()

        storage_options = {"durability": options.get("durability", "checkpoint")}
        for name in ("cache_bytes", "threads"):
            if name in options:
                storage_options[name] = options[name]
        bags = [
            library.params(storage_options),
            library.params(setup.optimizer_parameters),
            library.params({"stddev": setup.initial_stddev} if setup.initial_stddev else {}),
            library.params({"duplicates": self.duplicates}),
        ]
        before = time.perf_counter()
        self._storage = library.handle(
            library.storage_new(str(setup.directory).encode(), 0, bags[0])
        )
        self.open_seconds = time.perf_counter() - before
        optimizer = library.handle(library.optimizer_new(setup.optimizer.encode(), bags[1], None))
        initial = b"random_normal" if setup.initial_stddev else b"zeros"
        initializer = library.handle(library.initializer_new(initial, bags[2]))
        self._embeddings = [
            library.handle(
                library.embedding_new(
                    self._storage, optimizer, initializer, setup.dim, group, bags[3]
                )
            )
            for group in range(options.get("groups", 1))
        ]
        self._embedding = self._embeddings[0]
        library.optimizer_free(optimizer)
        library.initializer_free(initializer)
        for bag in bags:
            library.params_free(bag)

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        check(
            self._library,
            self._library.embedding_lookup(
                self._embedding, keys.ctypes.data, keys.size, weights.ctypes.data, weights.size
            ),
        )

    def peek(self, keys: np.ndarray, weights: np.ndarray) -> np.ndarray:
        found = np.empty(keys.size, np.uint8)
        floats = (weights.ctypes.data, weights.size)
        check(
            self._library,
            self._library.embedding_peek(
                self._embedding, keys.ctypes.data, keys.size, *floats, found.ctypes.data
            ),
        )
        return found.astype(bool)

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        check(
            self._library,
            self._library.embedding_apply_gradients(
                self._embedding, keys.ctypes.data, keys.size, gradients.ctypes.data, gradients.size
            ),
        )

    def native_tables(self, native: Native) -> list[Table]:
        return [
            native.damo_table(self._library, embedding, self._dim) for embedding in self._embeddings
        ]

    @property
    def has_prefetch(self) -> bool:
        return self._library.embedding_prefetch is not None

    def prefetch(self, keys: np.ndarray) -> None:
        check(
            self._library,
            self._library.embedding_prefetch(self._embedding, keys.ctypes.data, keys.size),
        )

    def flush(self) -> None:
        self._library.check(self._library.storage_flush(self._storage))

    def save(self, path: Path) -> None:
        self._library.check(self._library.storage_checkpoint(self._storage, str(path).encode()))

    def restore(self, path: Path) -> None:
        self._library.check(
            self._library.storage_load_from_checkpoint(self._storage, str(path).encode())
        )

    def dump(self, file: Path, format: str) -> None:
        bag = self._library.params({"format": format})
        status = self._library.storage_dump(self._storage, str(file).encode(), bag)
        self._library.params_free(bag)
        self._library.check(status)

    def compact(self) -> bool:
        if self._library.storage_compact is None:
            return False
        self._library.check(self._library.storage_compact(self._storage))
        return True

    def statistics(self) -> dict[str, int]:
        """Every statistic the library knows: an unknown name makes it list them."""
        value = ctypes.c_uint64()
        self._library.storage_stat(self._storage, b"?", ctypes.byref(value))
        found = {}
        for name in re.findall(r"'([a-z_]+)'", self._library.message()):
            if self._library.storage_stat(self._storage, name.encode(), ctypes.byref(value)) == 0:
                found[name] = value.value
        return found

    def call_overhead_microseconds(self) -> float:
        """What a lookup of no keys takes: ctypes, and the way in and out of the library."""
        keys, weights = np.empty(0, np.int64), np.empty((0, self._dim), np.float32)
        rounds = 2000
        before = time.perf_counter()
        for _ in range(rounds):
            self.lookup(keys, weights)
        return (time.perf_counter() - before) / rounds * 1e6

    def close(self) -> None:
        for embedding in self._embeddings:
            self._library.embedding_free(embedding)
        self._library.storage_free(self._storage)


def check(library: Library, status: int) -> None:
    if status != 0:
        raise RuntimeError(library.message())


def open(setup: Setup) -> System:
    return Damo(setup)
