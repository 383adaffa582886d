"""The program "callers" of worker.py: many threads that make large calls on one storage at once,
on one group or each on a group of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calls import ROWS_A_FILL, drawn, gradients_of
from native import Native, Table, run
from selfcheck import SelfCheck
from systems import System
from task import Task, finish, keys_of, memory_from_here, open_table, progress

KEYS_A_CALL = 4096
# A storage of its own is checked: few rows, so that each is stepped many times.
CHECK_IDS, CHECK_CALLERS, CHECK_CALLS = 2 * KEYS_A_CALL, 4, 16


def callers(task: Task, report: dict[str, Any]) -> None:
    """Rows looked up and stepped a second, by the number of callers."""
    keys, gradients = drawn(task), gradients_of(KEYS_A_CALL, task["dim"])
    folder = Path(task["directory"])
    memory_from_here(report)
    check({**task, "directory": str(folder / "check"), "ids": CHECK_IDS}, report)
    task = {**task, "directory": str(folder / "table")}
    system = open_table(task)
    report["notes"] = system.notes
    tables = system.native_tables(Native(task["native"]))
    make_rows(task, tables)
    report["figures"] = {}
    for count in task["callers"]:
        # Writes and merges what earlier callers left, so that it does not slow these. A flush on
        # several threads writes more files, so that merges come sooner than with threads=1.
        system.flush()
        system.compact()
        cost = run(tables, keys, gradients, count, "both", seconds=task["seconds"])
        report["figures"][figure(count)] = KEYS_A_CALL / cost.on_the_clock * 1e6
        progress(task, count, task["seconds"])
    finish(system, task, report)


def figure(callers: int) -> str:
    return f"{callers} callers, rows/s"


def make_rows(task: Task, tables: list[Table]) -> None:
    weights = np.zeros((ROWS_A_FILL, task["dim"]), np.float32)
    for table in tables:
        for start in range(0, task["ids"], ROWS_A_FILL):
            part = np.arange(start, min(start + ROWS_A_FILL, task["ids"]))
            table.lookup(keys_of(task, part), weights[: part.size])


class OfTable(System):
    """One table of a system, as a self-check sees it. Calls have distinct keys."""

    def __init__(self, system: System, table: Table) -> None:
        self.optimizer = system.optimizer
        self._table = table

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._table.lookup(keys, weights)


def check(task: Task, report: dict[str, Any]) -> None:
    """Several callers step the same rows at once, and no step may be lost.

    A call has distinct keys, and all gradients are the same: so a row depends on the number of its
    steps alone, and not on their order.
    """
    system, random = open_table(task), np.random.default_rng(23)
    tables = system.native_tables(Native(task["native"]))
    every = keys_of(task, np.arange(CHECK_IDS))
    threads = CHECK_CALLERS
    checks = [SelfCheck(OfTable(system, t), every, task["dim"]) for t in tables[:threads]]
    gradients = np.repeat(gradients_of(1, task["dim"]), KEYS_A_CALL, axis=0)
    if system.loses_updates and len(tables) == 1:
        threads = 1
    calls = [
        every[random.permutation(CHECK_IDS)[:KEYS_A_CALL]] for _ in range(threads * CHECK_CALLS)
    ]
    run(tables, np.concatenate(calls), gradients, threads, "both", calls=CHECK_CALLS)
    for number, keys in enumerate(calls):
        # A thread's calls follow each other in the keys. One table gets all calls.
        checks[number // CHECK_CALLS % len(checks)].applied(keys, gradients)
    compared = [check.compare() for check in checks]
    report["self_check"] = max(compared, key=lambda found: (not found["passed"], found["error"]))
    system.close()
