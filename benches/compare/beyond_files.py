"""The program "beyond_files" of worker.py: dumps, checkpoints, compacts and closes a table larger
than memory, and measures how long that takes.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from beyond import Table
from disk import plain_write
from phase import Phase
from sizes import table_bytes
from task import Task, keys_of
from workload import BATCH, gradient_pool

FORMATS = ("classic", "table")
CHECKPOINT, CHECKPOINT_DIRTY = "checkpoint, s", "MB dirty before it"
COMPACT, COMPACT_ROW = "compact, s", "compact, core-us a row"
CLOSE, CLOSE_DIRTY = "close, s", "million rows dirty before it"


def dumped(format: str) -> str:
    return f"dump, {format}, MB/s"


def dumped_row(format: str) -> str:
    return f"dump, {format}, core-us a row"


def written(format: str) -> str:
    return f"plain write beside it, {format}, MB/s"


def beyond_files(task: Task, report: dict[str, Any]) -> None:
    table = Table(task, report)
    system, scratch = table.system, Path(task["scratch"])
    scratch.mkdir(exist_ok=True)
    figures = report["figures"] = {}
    if task.get("close_only"):
        make_dirty(table, task["rows"])
    else:
        for format in FORMATS:
            dump(table, scratch / "dump", format)
        figures[CHECKPOINT_DIRTY] = make_dirty(table, half_of_the_cache(task)) / 1e6
        seconds, _ = timed(table, "checkpoint", system.save, scratch / "checkpoint")
        figures[CHECKPOINT] = seconds
        shutil.rmtree(scratch / "checkpoint")
        seconds, processor = timed(table, "compact", system.compact)
        figures |= {COMPACT: seconds, COMPACT_ROW: processor * 1e6 / task["rows"]}
        make_dirty(table, half_of_the_cache(task))
    figures[CLOSE_DIRTY] = system.statistics()["dirty_rows"] / 1e6
    report["self_check"] = table.check.compare()
    table.close()
    figures[CLOSE] = report["close_seconds"]


def half_of_the_cache(task: Task) -> int:
    return task["cache_bytes"] // 2 // table_bytes(1)


def timed(table: Table, name: str, function: Any, *arguments: Any) -> tuple[float, float]:
    """The seconds of a call, on the clock and of the processor."""
    phase = Phase(table.system)
    phase.call(name, function, *arguments)
    table.report[name] = phase.costs(1, table.task["rows"])
    return phase.total, table.report[name]["processor_seconds"]


def dump(table: Table, file: Path, format: str) -> None:
    """A dump beside a plain write of as many bytes."""
    figures, rows = table.report["figures"], table.task["rows"]
    dump = table.system.dump
    seconds, processor = timed(table, f"dump {format}", dump, file, format)
    size = file.stat().st_size
    file.unlink()
    figures[dumped(format)] = size / seconds / 1e6
    figures[dumped_row(format)] = processor * 1e6 / rows
    figures[written(format)] = size / plain_write(file, size) / 1e6


def make_dirty(table: Table, rows: int) -> float:
    """Steps distinct rows until so many are dirty, or until their number stops growing. Returns the
    bytes of the floats of all dirty rows.
    """
    task, pool = table.task, gradient_pool(table.task["dim"])
    order = np.random.default_rng([3, time.time_ns()]).permutation(task["rows"])
    dirty, before, calls_without = 0, 0, 0
    for index, start in enumerate(range(0, task["rows"], BATCH)):
        if dirty >= rows or calls_without == 10:
            break
        keys = keys_of(task, order[start : start + BATCH])
        gradients = pool[index % len(pool)][: keys.size]
        table.system.apply(keys, gradients)
        table.check.applied(keys, gradients)
        dirty = table.system.statistics()["dirty_rows"]
        calls_without = 0 if dirty > before else calls_without + 1
        before = max(before, dirty)
    return dirty * table_bytes(1, task["dim"])
