"""The programs of worker.py for tables larger than memory. They make a table, step it, look up its
rows, and look for keys that it does not have. beyond_memory.py says which programs are run.

A table is made once. Each process goes on with the table and its self-check where the last process
ended. report["figures"] has what is compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import measure
from phase import Phase
from selfcheck import SelfCheck
from systems import System
from task import Task, finish, keys_of, memory_from_here, open_table, progress, rare_keys
from workload import BATCH, Batches, gradient_pool, scatter

RATE, KEYS_RATE = "steps/s", "keys/s"
MISSES, PROCESSOR, A_MISS = "misses a step", "core-ms a step", "core-us a miss"
A_KEY, A_ROW, ROWS_RATE = "core-us a key", "core-us a row", "rows/s"
READ, ON_DISK = "bytes read a miss", "bytes on disk a row"
BESIDE_CACHE = "MB beside the cache"
# Keys of rows that are there are below any number of ids, and new ones from here on.
NEW_KEYS = 1 << 40
LONGEST_WARM_UP, LEAST_STEPS = 120, 3


class Table:
    """A table that an earlier process left, and the self-check that follows it."""

    def __init__(self, task: Task, report: dict[str, Any]) -> None:
        self.task, self.report = task, report
        self.directory, self._saved = Path(task["directory"]), Path(task["saved"])
        # Until it is closed the table is ahead of what was saved.
        self._claimed = self._saved.with_suffix(".claimed")
        if not self._saved.exists():
            raise RuntimeError("an earlier run on this table failed")
        self._saved.rename(self._claimed)
        if task.get("page_cache") == "warm":
            measure.fill_page_cache(self.directory)
        elif task.get("page_cache") == "cold":
            measure.forget_cached_pages(self.directory)
        memory_from_here(report)
        self._anonymous_before = measure.status_bytes("RssAnon")
        self._peak = measure.AnonymousPeak()
        self.system = open_table(task)
        report["notes"] = self.system.notes
        self.check = SelfCheck.load(self.system, self._claimed)
        report["reopened"] = self.check.compare()
        self._steps = self._saved.with_suffix(".steps")
        self.steps = int(self._steps.read_text()) if self._steps.exists() else 0
        self._pages_forgotten = 0.0

    def forget_pages(self) -> None:
        """Once in a second, where the page cache is to be cold. Call it before each step."""
        cold = self.task.get("page_cache") == "cold"
        if cold and time.monotonic() - self._pages_forgotten >= 1:
            measure.forget_cached_pages(self.directory)
            self._pages_forgotten = time.monotonic()

    def warm_up(self, step: Callable[[measure.Timer], None]) -> None:
        """Steps until memory is full and rows are evicted, and then as many steps again, up to 20.
        It ends after task["warm_up"] seconds in any case.
        """
        timer, done, full_after = measure.Timer(), 0, 0
        last = self.task.get("warm_up", LONGEST_WARM_UP)
        while done < LEAST_STEPS or timer.total < last and done < full_after + min(full_after, 20):
            step(timer)
            done += 1
            # A system that does not say what it evicts is not waited for.
            if self.system.statistics().get("evictions") == 0:
                full_after = done + 1
            elif full_after == 0:
                full_after = LEAST_STEPS
            progress(self.task, done, timer.total)
        self.report["first_pass"] = timer.summary(done, done * BATCH)

    def ends(self, name: str, phase: Phase, steps: int, keys: int) -> dict[str, Any]:
        """Notes what a phase has cost, and its figures."""
        costs = self.report[name] = phase.costs(steps, keys)
        microseconds, misses = costs["processor_seconds"] * 1e6, costs["misses"]
        figures = {RATE: costs["steps_per_second"], KEYS_RATE: costs["rows_per_second"]}
        figures |= {PROCESSOR: microseconds / steps / 1e3, A_KEY: microseconds / keys}
        if misses:
            figures |= {MISSES: misses / steps, A_MISS: microseconds / misses}
            if costs["read_bytes"] is not None:
                figures[READ] = costs["read_bytes"] / misses
        self.report["figures"] = figures
        return costs

    def close(self) -> None:
        """Closes the table, and leaves what the next process goes on from."""
        self.report.setdefault("self_check", self.check.compare())
        finish(self.system, self.task, self.report)
        self.check.save(self._saved)
        self._claimed.unlink()
        self._steps.write_text(str(self.steps))
        figures = self.report["figures"]
        figures[ON_DISK] = self.report["disk_bytes"] / self.task["rows"]
        beside = self._peak.stop() - self._anonymous_before
        self.report["anonymous_bytes"] = beside
        if self.task.get("fills_cache", True):
            figures[BESIDE_CACHE] = (beside - self.task["cache_bytes"]) / 1e6


def beyond_build(task: Task, report: dict[str, Any]) -> None:
    """Makes every row with one gradient, in scattered order, and waits until all is at rest."""
    rows, pool, saved = task["rows"], gradient_pool(task["dim"]), Path(task["saved"])
    for earlier in (saved, saved.with_suffix(".steps")):
        earlier.unlink(missing_ok=True)
    memory_from_here(report)
    system = open_table(task)
    report["notes"] = system.notes
    check = SelfCheck(system, rare_keys(task), task["dim"])
    phase = Phase(system)
    for index, start in enumerate(range(0, rows, BATCH)):
        keys = keys_of(task, scatter(np.arange(start, min(start + BATCH, rows)), rows))
        gradients = pool[index % len(pool)][: keys.size]
        phase.call("apply", system.apply, keys, gradients)
        check.applied(keys, gradients)
        progress(task, index, phase.total)
    phase.call("flush", system.flush)
    report["at_rest_after_seconds"] = measure.wait_for_rest(300)
    report["build"] = phase.costs(-(-rows // BATCH), rows)
    report["self_check"] = check.compare()
    finish(system, task, report)
    check.save(saved)
    report["figures"] = {
        ROWS_RATE: report["build"]["rows_per_second"],
        A_ROW: report["build"]["processor_seconds"] * 1e6 / rows,
        ON_DISK: report["disk_bytes"] / rows,
    }


def beyond_steps(task: Task, report: dict[str, Any]) -> None:
    """Trains on batches that the table has not seen for long: lookup and adam of each key."""
    batches, pool = Batches(Path(task["batches"]), task["mixed"]), gradient_pool(task["dim"])
    weights = np.zeros((BATCH, task["dim"]), np.float32)
    table = Table(task, report)
    system = table.system
    if task.get("in_memory"):
        bring_all(task, system, weights)

    def step(timer: measure.Timer) -> None:
        keys, gradients = batches[table.steps], pool[table.steps % len(pool)]
        table.forget_pages()
        system.step(timer, keys, weights, gradients)
        table.check.applied(keys, gradients)
        table.steps += 1

    table.warm_up(step)
    phase, before = Phase(system), table.steps
    while phase.total < task["seconds"] or table.steps - before < LEAST_STEPS:
        step(phase)
        progress(task, table.steps - before, phase.total)
    done = table.steps - before
    table.ends("following", phase, done, done * BATCH)
    table.close()


def bring_all(task: Task, system: System, weights: np.ndarray) -> None:
    for start in range(0, task["rows"], BATCH):
        keys = keys_of(task, np.arange(start, min(start + BATCH, task["rows"])))
        system.lookup(keys, weights[: keys.size])


def beyond_lookups(task: Task, report: dict[str, Any]) -> None:
    """Looks up uniform keys that have rows, or with new_keys, keys that have none."""
    weights = np.zeros((BATCH, task["dim"]), np.float32)
    table = Table(task, report)
    system, random = table.system, np.random.default_rng([11, time.time_ns()])
    first, end = (NEW_KEYS, 2 * NEW_KEYS) if task.get("new_keys") else (0, task["rows"])
    look = system.peek if task.get("new_keys") else system.lookup

    def step(timer: measure.Timer) -> None:
        keys = keys_of(task, random.integers(first, end, BATCH))
        table.forget_pages()
        timer.call("lookup", look, keys, weights)

    table.warm_up(step)
    # Lookups leave nothing to merge. What steps on this table have left is not theirs.
    report["at_rest_after_seconds"] = measure.wait_for_rest(300)
    phase, done = Phase(system), 0
    while phase.total < task["seconds"] or done < LEAST_STEPS:
        step(phase)
        done += 1
        progress(task, done, phase.total)
    table.ends("lookup", phase, done, done * BATCH)
    if task.get("new_keys"):
        report["self_check"] = known_and_new(table, keys_of(task, np.arange(first, first + 1000)))
    table.close()


def known_and_new(table: Table, new: np.ndarray) -> dict[str, Any]:
    """Whether peek tells the rows that are there from those that are not."""
    weights = np.zeros((new.size, table.task["dim"]), np.float32)
    known = rare_keys(table.task)
    found = table.system.peek(known, weights[: known.size])
    made_up = table.system.peek(new, weights)
    passed = bool(found.all() and not made_up.any() and table.check.compare()["passed"])
    counts = {"found": int(found.sum()), "made_up": int(made_up.sum())}
    return {"rows": known.size, **counts, "passed": passed}
