"""The program "beyond_calls" of worker.py: calls of few keys by one thread, on a table that is
partly in memory.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from beyond import Table
from calls import gradients_of
from native import Native
from phase import Phase
from task import Task, progress
from workload import Batches

# Keys of a slice; slices of each kind of call, of which the median is told.
KEYS_A_SLICE, SLICES = 60_000, 5
WARM_UP_KEYS = 4096
WORK = ("lookup", "both")


def figure(work: str, keys: int, what: str) -> str:
    """what: "us", "core-us" or "misses", of a key."""
    return f"{work}, {keys} keys, {what} a key"


def beyond_calls(task: Task, report: dict[str, Any]) -> None:
    keys = keys_to_walk(task)
    gradients = gradients_of(WARM_UP_KEYS, task["dim"])
    table = Table(task, report)
    caller = Caller(table, keys, gradients)
    before = table.system.statistics().get("evictions")
    while caller.left() > len(keys) // 2 and table.system.statistics().get("evictions") == before:
        caller.work("both", WARM_UP_KEYS, WARM_UP_KEYS)
        caller.applied(WARM_UP_KEYS)
        progress(task, caller.at, 0)
    kinds = [(work, size) for work in WORK for size in task["sizes"]]
    found: dict[str, list[float]] = {}
    slice_keys = min(KEYS_A_SLICE, caller.left() // (SLICES * len(kinds)))
    for number in range(SLICES):
        for work, size in kinds if number % 2 == 0 else reversed(kinds):
            phase, processor = Phase(table.system), time.process_time()
            before = time.perf_counter()
            count = caller.work(work, size, slice_keys)
            seconds = time.perf_counter() - before
            taken = {
                "us": seconds * 1e6 / count,
                "core-us": (time.process_time() - processor) * 1e6 / count,
                "misses": (phase.counted("rows_loaded") or 0) / count,
            }
            for what, value in taken.items():
                found.setdefault(figure(work, size, what), []).append(value)
            if work == "both":
                caller.applied(size)
    report["figures"] = {name: statistics.median(values) for name, values in found.items()}
    table.close()


def keys_to_walk(task: Task) -> np.ndarray:
    """Keys that were hardly walked before: each process takes another stretch of the batches."""
    batches = Batches(Path(task["batches"]), task["mixed"])
    first = int(np.random.default_rng(time.time_ns()).integers(batches.count))
    return np.concatenate([batches[first + i] for i in range(min(task["stretch"], batches.count))])


class Caller:
    """Walks through the keys once. Where a system has tables of native.py, C++ makes the calls, so
    that nothing of Python is in their time.
    """

    def __init__(self, table: Table, keys: np.ndarray, gradients: np.ndarray) -> None:
        self._table, self._keys, self._gradients = table, keys, gradients
        self.at, self._last = 0, keys[:0]
        self._native = None
        if hasattr(table.system, "native_tables"):
            self._native = table.system.native_tables(Native(table.task["native"]))[0]

    def left(self) -> int:
        return self._keys.size - self.at

    def work(self, work: str, size: int, keys: int) -> int:
        """Makes calls of `size` keys each, for `keys` keys or somewhat fewer. Returns how many."""
        calls = keys // size
        self._last = self._keys[self.at : self.at + calls * size]
        self.at += self._last.size
        gradients = self._gradients[:size]
        if self._native is not None:
            self._native.run(self._last, gradients, 1, work, calls=calls)
        else:
            self._in_python(work, size, gradients)
        return self._last.size

    def _in_python(self, work: str, size: int, gradients: np.ndarray) -> None:
        system, weights = self._table.system, np.empty_like(gradients)
        for start in range(0, self._last.size, size):
            call = self._last[start : start + size]
            system.lookup(call, weights)
            if work == "both":
                system.apply(call, gradients)

    def applied(self, size: int) -> None:
        """Tells the self-check of the last work."""
        gradients = self._gradients[:size]
        for start in range(0, self._last.size, size):
            self._table.check.applied(self._last[start : start + size], gradients)
