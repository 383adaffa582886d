"""The tables of the scenarios "beyond-...": beyond_memory.py."""

from __future__ import annotations

import beyond
import beyond_calls
import beyond_files
from beyond_memory import (
    BUILD,
    CALL_SIZES,
    CALLS,
    COLD,
    FILES,
    IN_MEMORY,
    NAMES,
    NEW,
    UNIFORM,
    ZIPF,
)
from report import LABELS, markdown, number
from session import Measurement, Session
from turns import how_often, median, quotient

FILES_SHOWN = (
    *(
        name
        for format in beyond_files.FORMATS
        for name in (
            beyond_files.dumped(format),
            beyond_files.dumped_row(format),
            beyond_files.written(format),
        )
    ),
    beyond_files.CHECKPOINT,
    beyond_files.CHECKPOINT_DIRTY,
    beyond_files.COMPACT,
    beyond_files.COMPACT_ROW,
    beyond_files.CLOSE,
    beyond_files.CLOSE_DIRTY,
)
# Figures that are shown in units of a million, and those with one digit.
IN_MILLIONS = (beyond.KEYS_RATE, beyond.ROWS_RATE)
ONE_DIGIT = (beyond.RATE, beyond.PROCESSOR, beyond.BESIDE_CACHE, beyond.ON_DISK)
NO_DIGIT = (beyond.READ, beyond.MISSES)
OF_STEPS = (beyond.RATE, beyond.MISSES, beyond.PROCESSOR, beyond.A_MISS)
OF_LOOKUPS = (beyond.KEYS_RATE, beyond.A_KEY, beyond.A_MISS)
OF_TABLES = (beyond.READ, beyond.ON_DISK, beyond.BESIDE_CACHE)
SHOWN = {
    BUILD: (beyond.ROWS_RATE, beyond.A_ROW, beyond.ON_DISK),
    ZIPF: (*OF_STEPS, *OF_TABLES),
    COLD: (*OF_STEPS, *OF_TABLES),
    UNIFORM: (*OF_LOOKUPS, *OF_TABLES),
    NEW: (*OF_LOOKUPS, *OF_TABLES),
    CALLS: tuple(
        beyond_calls.figure(work, size, what)
        for work in beyond_calls.WORK
        for size in CALL_SIZES
        for what in ("us", "core-us", "misses")
    ),
}
TITLES = {
    BUILD: "Making every row with one gradient, until all is on disk and at rest.",
    ZIPF: "Lookup and adam of Zipf(1.05) keys, page cache warm.",
    COLD: "Lookup and adam of Zipf(1.05) keys, page cache cold.",
    UNIFORM: "Lookup of uniform keys.",
    NEW: "Learning that uniform keys are new.",
    CALLS: "Calls of few keys by one thread, a fifth of the table in memory, page cache warm.",
    FILES: "The table as a whole.",
}
# What the spread of the rounds is told of.
MAIN = {
    BUILD: beyond.ROWS_RATE,
    ZIPF: beyond.RATE,
    COLD: beyond.RATE,
    UNIFORM: beyond.RATE,
    NEW: beyond.RATE,
    CALLS: beyond_calls.figure("both", 39, "core-us"),
    FILES: beyond_files.CLOSE,
}
BEYOND_MEMORY = "core-us a miss beyond a step in memory"


def tables(session: Session) -> str:
    parts = []
    for name in NAMES:
        found = measured(session, name)
        if not found:
            continue
        parts.append(f"{TITLES[name]} {how_often(found, MAIN[name])}")
        if name in (CALLS, FILES):
            parts.append(turned(found, SHOWN.get(name, FILES_SHOWN)))
        else:
            parts.append(in_lines(session, name, found))
    if parts:
        parts.append(limits(session))
    return "\n\n".join(part for part in parts if part)


def measured(session: Session, name: str) -> list[Measurement]:
    return [m for m in session.measurements if m.ok and m.scenario == name and "rounds" in m.result]


def in_lines(session: Session, name: str, found: list[Measurement]) -> str:
    """A measurement a line."""
    extra = (BEYOND_MEMORY,) if name == ZIPF else ()
    rows = []
    for m in found:
        cells = [shown(figure, median(m, figure)) for figure in SHOWN[name]]
        cells += [number(beyond_a_step_in_memory(session, m), 2)] if extra else []
        rows.append((LABELS[m.system], m.variant, *cells))
    return markdown(("system", "variant", *map(unit, SHOWN[name]), *extra), rows)


def turned(found: list[Measurement], names: tuple[str, ...]) -> str:
    """A figure a line: for figures of which there are many."""
    rows = [
        (name, *(shown(name, median(m, name)) for m in found))
        for name in names
        if any(median(m, name) is not None for m in found)
    ]
    return markdown(("", *(f"{LABELS[m.system]}, {m.variant}" for m in found)), rows)


def unit(figure: str) -> str:
    return f"M {figure}" if figure in IN_MILLIONS else figure


def shown(figure: str, value: float | None) -> str:
    if value is not None and figure in IN_MILLIONS:
        value /= 1e6
    return number(value, 0 if figure in NO_DIGIT else 1 if figure in ONE_DIGIT else 2)


def beyond_a_step_in_memory(session: Session, m: Measurement) -> float | None:
    """What a miss costs, with everything that it causes: the processor time of a step, less that of
    a step with all rows in memory, divided by the misses. Computed in each round, as all quotients.
    """
    title = m.variant.replace(m.task["series"], IN_MEMORY)
    base = session.find(ZIPF, m.system, title)
    if base is None or base is m:
        return None
    costs = [
        {BEYOND_MEMORY: step[beyond.PROCESSOR] - memory[beyond.PROCESSOR]}
        for step, memory in zip(m.result["rounds"], base.result["rounds"])
    ]
    misses = [
        {BEYOND_MEMORY: step[beyond.MISSES] / 1e3}
        for step in m.result["rounds"]
        if step.get(beyond.MISSES)
    ]
    of = [Measurement("", "", "", result={"rounds": rounds}) for rounds in (costs, misses)]
    return quotient(*of, BEYOND_MEMORY) if misses else None


def limits(session: Session) -> str:
    """Whether the page cache was limited where it should be cold."""
    told = {
        m.result["memory_limit"]
        for m in session.measurements
        if m.ok and m.scenario in NAMES and "memory_limit" in m.result
    }
    if not told:
        return ""
    return (
        "Where the page cache is cold, memory was limited to: "
        + "; ".join(sorted(told))
        + ". Without a control group only pages that nobody has mapped are dropped, so that what is"
        " read from mapped files is warm: see the bytes read a miss."
    )
