"""Runs one measurement of one system in a process of its own: worker.py TASK.json RESULT.json.

A task names a program below; its result is what the program returns, and the process's peak memory.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import measure
from beyond import beyond_build, beyond_lookups, beyond_steps
from beyond_calls import beyond_calls
from beyond_files import beyond_files
from callers import callers
from calls import calls
from gpu import gpu
from layers import layers
from selfcheck import SelfCheck
from systems import System
from task import (
    CHECKED_ROWS,
    CHECKED_STEPS,
    Task,
    finish,
    keys_of,
    memory_from_here,
    open_table,
    progress,
    rare_keys,
)
from workload import BATCH, Batches, gradient_pool, scatter


def train(task: Task, report: dict[str, Any]) -> None:
    """Steps over batches: first_pass batches (may be 0) first, and then for `seconds` of calls.

    With prefetch, batch i + 1 is announced before the calls for batch i.
    """
    batches, pool = Batches(Path(task["batches"]), task["mixed"]), gradient_pool(task["dim"])
    cycle = task.get("cycle", batches.count)
    weights = np.zeros((BATCH, task["dim"]), np.float32)
    memory_from_here(report)
    system = open_table(task)
    report["notes"] = system.notes
    if task.get("prefetch") and not system.has_prefetch:
        report["absent"] = "the library has no damo_embedding_prefetch"
        return
    if task.get("fill"):
        fill(task, system, weights, report)
    if "saved" in task:
        check = SelfCheck.load(system, Path(task["saved"]))
        report["reopened"] = check.compare()
        frequent_check = None
    else:
        check = SelfCheck(system, rare_keys(task), task["dim"])
        frequent = np.setdiff1d(batches[0][:CHECKED_ROWS], rare_keys(task))
        frequent_check = SelfCheck(system, frequent, task["dim"])
    done = 0

    def step(timer: measure.Timer) -> None:
        nonlocal done, frequent_check
        keys = upcoming.pop() if upcoming else batches[done % cycle]
        gradients = pool[done % len(pool)]
        if task.get("prefetch"):
            upcoming.append(batches[(done + 1) % cycle])
            timer.call("prefetch", system.prefetch, upcoming[0])
        system.step(timer, keys, weights, gradients)
        done += 1
        check.applied(keys, gradients)
        if frequent_check is not None:
            frequent_check.applied(keys, gradients)
            if done == CHECKED_STEPS:
                report["self_check_frequent"], frequent_check = frequent_check.compare(), None

    upcoming: list[np.ndarray] = []
    timer = measure.Timer()
    for _ in range(task.get("first_pass", 0)):
        step(timer)
        progress(task, done, timer.total)
    if done:
        report["first_pass"] = timer.summary(done, done * BATCH)

    before, timer, step_seconds = done, measure.Timer(), []
    statistics = system.statistics()
    disk = measure.read_from_disk()
    while timer.total < task["seconds"] or done - before < task.get("min_steps", 5):
        spent = timer.total
        step(timer)
        step_seconds.append(timer.total - spent)
        progress(task, done, timer.total)
    report["following"] = timer.summary(done - before, (done - before) * BATCH)
    report["following"]["steps_per_second_over_time"] = measure.per_interval(step_seconds)
    report["following"]["read_bytes"] = difference(disk, measure.read_from_disk())
    report["statistics"] = change(statistics, system.statistics())
    report["self_check"] = check.compare()
    finish(system, task, report)


def fill(task: Task, system: System, weights: np.ndarray, report: dict[str, Any]) -> None:
    """Makes every row of a table in scattered order, and waits until the system is at rest."""
    before, rows = time.perf_counter(), task["rows"]
    for start in range(0, rows, BATCH):
        keys = keys_of(task, scatter(np.arange(start, min(start + BATCH, rows)), rows))
        system.fill(keys, weights[: keys.size])
        progress(task, start // BATCH, time.perf_counter() - before)
    system.flush()
    report["at_rest_after_seconds"] = measure.wait_for_rest(120)
    report["fill_seconds"] = time.perf_counter() - before
    report["filled"] = {
        "rows": rows,
        "rss_bytes": measure.status_bytes("VmRSS") - report["rss_before_bytes"],
        **system.statistics(),
    }


def build(task: Task, report: dict[str, Any]) -> None:
    """Makes every row of a table with one gradient, in scattered order, and compacts the table."""
    rows, pool = task["rows"], gradient_pool(task["dim"])
    memory_from_here(report)
    system = open_table(task)
    report["notes"] = system.notes

    check = SelfCheck(system, rare_keys(task), task["dim"])
    timer = measure.Timer()
    for index, start in enumerate(range(0, rows, BATCH)):
        keys = keys_of(task, scatter(np.arange(start, min(start + BATCH, rows)), rows))
        gradients = pool[index % len(pool)][: keys.size]
        timer.call("apply", system.apply, keys, gradients)
        check.applied(keys, gradients)
        progress(task, index, timer.total)
    report["build"] = timer.summary(len(timer.seconds), rows)
    report["self_check"] = check.compare()
    check.save(Path(task["saved"]))
    before = time.perf_counter()
    system.flush()
    report["flush_seconds"] = time.perf_counter() - before
    before = time.perf_counter()
    report["compacted"] = system.compact()
    report["compact_seconds"] = time.perf_counter() - before
    finish(system, task, report)


def lookup(task: Task, report: dict[str, Any]) -> None:
    """Looks up uniform keys of a table that is there. With cold, from disk: see README."""
    rows, count = task["rows"], task["batch"]
    weights = np.zeros((count, task["dim"]), np.float32)
    rng = np.random.default_rng(11)
    directory = Path(task["directory"])
    if task["cold"]:
        report["page_cache_dropped"] = measure.drop_page_cache()
    memory_from_here(report)
    system = open_table(task)
    report["notes"] = system.notes
    if "saved" in task:
        report["self_check"] = SelfCheck.load(system, Path(task["saved"])).compare()

    def draw() -> np.ndarray:
        return keys_of(task, rng.integers(0, rows, count))

    if not task["cold"]:  # every row resident, every page touched
        for start in range(0, rows, count):
            system.fill(keys_of(task, np.arange(start, start + count) % rows), weights)
    timer, statistics, disk = measure.Timer(), system.statistics(), measure.read_from_disk()
    slice_ends = 0.0
    while timer.total < task["seconds"] or len(timer.seconds) < 5:
        if task["cold"] and timer.total >= slice_ends:
            measure.forget_cached_pages(directory)
            slice_ends = timer.total + 1.0
        timer.call("lookup", system.lookup, draw(), weights)
        progress(task, len(timer.seconds), timer.total)
    calls = len(timer.seconds)
    report["lookup"] = timer.summary(calls, calls * count)
    report["lookup"]["read_bytes"] = difference(disk, measure.read_from_disk())
    report["statistics"] = change(statistics, system.statistics())
    finish(system, task, report)


def apply(task: Task, report: dict[str, Any]) -> None:
    """Applies gradients to distinct uniform keys of resident rows."""
    rows, count = task["rows"], task["batch"]
    pool, rng = gradient_pool(task["dim"], count), np.random.default_rng(13)
    weights = np.zeros((count, task["dim"]), np.float32)
    memory_from_here(report)
    system = open_table(task)
    report["notes"] = system.notes
    for start in range(0, rows, count):
        system.fill(keys_of(task, np.arange(start, start + count) % rows), weights)
    queue: list[np.ndarray] = []

    def draw() -> np.ndarray:
        if not queue:
            shuffled = keys_of(task, rng.permutation(rows))
            queue.extend(shuffled[i * count : (i + 1) * count] for i in range(rows // count))
        return queue.pop()

    first = draw()
    queue.append(first)
    check: SelfCheck | None = SelfCheck(system, first[:CHECKED_ROWS], task["dim"])
    timer, done = measure.Timer(), 0
    while timer.total < task["seconds"] or done < CHECKED_STEPS:
        keys, gradients = draw(), pool[done % len(pool)]
        timer.call("apply", system.apply, keys, gradients)
        done += 1
        if check is not None:
            check.applied(keys, gradients)
            if done == CHECKED_STEPS:
                report["self_check"], check = check.compare(), None
        progress(task, done, timer.total)
    report["apply"] = timer.summary(done, done * count)
    finish(system, task, report)


def change(before: dict[str, int], after: dict[str, int]) -> dict[str, list[int]]:
    """Statistics at the start and at the end of what was measured."""
    return {name: [before.get(name, 0), value] for name, value in after.items()}


def difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


PROGRAMS = {
    "train": train,
    "build": build,
    "lookup": lookup,
    "apply": apply,
    "calls": calls,
    "callers": callers,
    "gpu": gpu,
    "layers": layers,
    "beyond_build": beyond_build,
    "beyond_steps": beyond_steps,
    "beyond_lookups": beyond_lookups,
    "beyond_calls": beyond_calls,
    "beyond_files": beyond_files,
}
# This one imports torch, which others may not have.
MANY_TABLES = "dlrm"


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
    }
    others = measure.OtherWork()
    if task["program"] == MANY_TABLES:
        import many_tables

        many_tables.dlrm(task, report)
    else:
        PROGRAMS[task["program"]](task, report)
    report["other_work_cores"] = others.cores()
    # Closing frees memory and writes; its peak counts too.
    report["peak_rss_bytes"] = measure.status_bytes("VmHWM")
    Path(sys.argv[2]).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
