"""What every program of worker.py does: it opens its system, tells how far it is, and closes it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import measure
from systems import Setup, System, open_system
from workload import mix, scatter

# Rows that a self-check follows; steps for which it follows the most frequent ones.
CHECKED_ROWS, CHECKED_STEPS = 64, 5

Task = dict[str, Any]


def open_table(task: Task) -> System:
    directory = Path(task["directory"])
    directory.mkdir(parents=True, exist_ok=True)
    return open_system(task["system"], Setup(directory, task["dim"], task["ids"], task["options"]))


def rare_keys(task: Task) -> np.ndarray:
    """Keys to follow through a whole run, of all frequencies but the highest: those take long."""
    ranks = np.unique(np.geomspace(100, task["ids"] - 1, CHECKED_ROWS).astype(np.int64))
    return keys_of(task, scatter(ranks, task["ids"]))


def keys_of(task: Task, dense: np.ndarray) -> np.ndarray:
    return mix(dense) if task["mixed"] else dense


def memory_from_here(report: dict[str, Any]) -> None:
    """Restarts the peak of memory, and notes what Python, its modules and the workload take."""
    measure.reset_peak_memory()
    report["rss_before_bytes"] = measure.status_bytes("VmRSS")


def finish(system: System, task: Task, report: dict[str, Any]) -> None:
    if hasattr(system, "call_overhead_microseconds"):
        report["call_overhead_us"] = system.call_overhead_microseconds()
    before = time.perf_counter()
    system.close()
    report["close_seconds"] = time.perf_counter() - before
    report["disk_bytes"] = measure.bytes_on_disk(Path(task["directory"]))


last_progress = 0.0


def progress(task: Task, done: int, seconds: float) -> None:
    global last_progress
    if time.monotonic() - last_progress >= 10:
        last_progress = time.monotonic()
        print(
            f"      {done} calls or steps, {seconds:.0f} s in the library",
            file=sys.stderr,
            flush=True,
        )
