"""The program "calls" of worker.py: small calls by several threads, as trainers make them that
learn sample by sample.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from native import WORK, Native, Table
from selfcheck import TOLERANCE, SelfCheck
from systems import INITIAL_STDDEV, Setup, System
from task import CHECKED_ROWS, Task, finish, keys_of, memory_from_here, open_table, progress
from workload import Batches

# Rows made in one call, before the clock starts.
ROWS_A_FILL = 100_000
# A table of its own is checked: few rows, so that each is stepped many times.
CHECK_IDS, CHECK_CALLS = 2_000, 200


def calls(task: Task, report: dict[str, Any]) -> None:
    keys = drawn(task)
    weights = first_weights(task["ids"], task["dim"])
    gradients = gradients_of(max(task["sizes"]), task["dim"])
    memory_from_here(report)
    folder = Path(task["directory"])
    check({**task, "directory": str(folder / "check"), "ids": CHECK_IDS}, report)
    task = {**task, "directory": str(folder / "table")}
    system = open_table(task)
    report["notes"] = system.notes
    fill(task, system, weights)
    table = system.native_tables(Native(task["native"]))[0]
    report["calls"] = []
    for size in task["sizes"]:
        for work in WORK:
            report["calls"].append(point(task, table, keys, gradients[:size], work))
            progress(task, len(report["calls"]), len(report["calls"]) * task["seconds"])
    finish(system, task, report)


def point(
    task: Task, table: Table, keys: np.ndarray, gradients: np.ndarray, work: str
) -> dict[str, Any]:
    """One size and kind of call. All numbers of threads take turns, so that other work on the
    machine falls on all alike; figures are medians over the rounds.
    """
    threads, seconds = task["threads"], task["seconds"] / task["rounds"]
    taken = [
        [table.run(keys, gradients, count, work, seconds=seconds) for count in threads]
        for _ in range(task["rounds"])
    ]
    clock = [[cost.on_the_clock for cost in each] for each in taken]
    processor = [[cost.of_the_callers for cost in each] for each in taken]
    speedup = [[each[0] / of_so_many for of_so_many in each] for each in clock]
    found = {"us": clock, "processor_us": processor, "speedup": speedup}
    return {
        "keys": len(gradients),
        "work": work,
        **{
            name: dict(zip(threads, map(statistics.median, zip(*rounds))))
            for name, rounds in found.items()
        },
    }


def drawn(task: Task) -> np.ndarray:
    """The keys of the log that the threads walk through, one after the other."""
    if "batches" in task:
        batches = Batches(Path(task["batches"]), task["mixed"])
        return np.concatenate([batches[i] for i in range(batches.count)])
    return keys_of(task, np.random.default_rng(17).integers(0, task["ids"], 1 << 21))


def first_weights(rows: int, dim: int) -> np.ndarray:
    weights = np.random.default_rng(5).standard_normal((rows, dim), dtype=np.float32)
    return weights * np.float32(INITIAL_STDDEV)


def gradients_of(count: int, dim: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((count, dim), dtype=np.float32) * np.float32(
        0.01
    )


def fill(task: Task, system: System, weights: np.ndarray) -> None:
    """Makes every row. A system that draws first weights itself leaves them in weights."""
    for start in range(0, len(weights), ROWS_A_FILL):
        part = weights[start : start + ROWS_A_FILL]
        system.fill(keys_of(task, np.arange(start, start + len(part))), part)
    system.flush()


def check(task: Task, report: dict[str, Any]) -> None:
    """Trains a small table with one thread, with calls of every size. Some rows must agree with
    NumPy, and all of them with an array of rows.
    """
    ids, dim = task["ids"], task["dim"]
    system, start = open_table(task), first_weights(ids, dim)
    fill(task, system, start)
    native, random = Native(task["native"]), np.random.default_rng(19)
    # An array knows no other ids than 0..n-1.
    setup = Setup(Path(task["directory"]), dim, ids, {"optimizer": system.optimizer})
    array = native.plain_table("array", setup)
    array.insert(np.arange(ids), start)

    every = keys_of(task, np.arange(ids))
    numpy_check = SelfCheck(system, every[:CHECKED_ROWS], dim)
    table = system.native_tables(native)[0]
    for size in task["sizes"]:
        gradients = gradients_of(size, dim)
        positions = random.integers(0, ids, size * CHECK_CALLS)
        table.run(every[positions], gradients, threads=1, work="both", calls=CHECK_CALLS)
        array.run(positions, gradients, threads=1, work="both", calls=CHECK_CALLS)
        for call in np.split(every[positions], CHECK_CALLS):
            numpy_check.applied(call, gradients)
    report["self_check"] = numpy_check.compare()
    found, expected = np.empty_like(start), np.empty_like(start)
    table.lookup(every, found)
    array.lookup(np.arange(ids), expected)
    array.free()
    error = float(np.abs(found - expected).max() / np.abs(expected - start).max())
    report["same_as_array"] = {"rows": ids, "error": error, "passed": error <= TOLERANCE}
    system.close()
