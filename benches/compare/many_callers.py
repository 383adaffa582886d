"""The scenario "callers": many threads that call on one storage at once, 4,096 keys a call."""

from __future__ import annotations

from typing import Any

from callers import KEYS_A_CALL, figure
from native import build
from report import LABELS, markdown, number
from session import Measurement, Session
from sizes import DIM, GIB, table_bytes
from turns import Run, how_often, in_turns, median

NAME = "callers"
CALLERS = (1, 2, 4, 8, 16)
# What the callers share: the keys, whether each has a group of its own, and the rows of a group.
SHARED = {
    "one group, uniform keys": ("uniform", False, 1_000_000),
    "one group, Zipf keys": ("zipf", False, 1_000_000),
    "a group each, uniform keys": ("uniform", True, 200_000),
}


def scenario(session: Session) -> None:
    systems: list[tuple[str, str, dict[str, Any]]] = []
    for durability in ("checkpoint", "process"):
        for threads in ({}, {"threads": 1}):
            options = {"durability": durability, "cache_bytes": 6 * GIB, **threads}
            name = "threads 1" if threads else "default threads"
            systems.append(("damo", f"{durability}, {name}", options))
    systems.append(("plain_array", "", {}))
    try:
        library, compiled = build(session.directory)
    except RuntimeError as reason:
        for system, variant, _ in systems:
            if system in session.systems:
                session.absent(NAME, system, variant, str(reason))
        return
    runs = []
    for shared, (keys, own, rows) in SHARED.items():
        rows = rows // 20 if session.quick else rows
        for system, variant, options in systems:
            # Many callers need some seconds to fill a journal.
            usual = 3 if options.get("durability") == "process" else 1.5
            task = {
                "program": "callers",
                "ids": rows,
                "dim": DIM,
                "callers": CALLERS,
                "seconds": session.seconds(usual, quick=0.05),
                "native": str(library),
                "compiled": compiled,
                "options": {**options, "groups": max(CALLERS) if own else 1},
                "shared": shared,
                "series": variant,
            }
            if keys == "zipf":
                task["batches"] = session.zipf_batches(rows, 4 if session.quick else 20)
            if system == "plain_array":
                task["options"]["native"] = str(library)
            groups = task["options"]["groups"]
            disk = groups * 8 * table_bytes(rows) + 8 * GIB
            runs.append(Run(system, f"{shared}, {variant}".removesuffix(", "), task, disk))
    in_turns(session, NAME, runs, 1 if session.quick else 3, figures)


def figures(result: dict[str, Any]) -> dict[str, float]:
    """The rates, and the growth within the same round."""
    rates = result["figures"]
    grown = {growth(count): rates[figure(count)] / rates[figure(1)] for count in CALLERS}
    return {**rates, **grown}


def growth(callers: int) -> str:
    return f"{callers} callers, growth"


def measured(session: Session) -> dict[str, list[Measurement]]:
    """By what the callers share."""
    found: dict[str, list[Measurement]] = {}
    for m in session.measurements:
        if m.ok and m.scenario == NAME and "rounds" in m.result:
            found.setdefault(m.task["shared"], []).append(m)
    return found


def name_of(m: Measurement) -> str:
    name = LABELS[m.system].strip("*")
    if m.system == "plain_array":
        return f"{name}, no locks"
    return f"{name}, {m.task['series']}"


def cell(m: Measurement, callers: int) -> str:
    gain = f" ({median(m, growth(callers)):.2f} x)" if callers > 1 else ""
    return number(median(m, figure(callers)) / 1e6, 2) + gain


def tables(session: Session) -> str:
    parts = []
    for shared, measurements in measured(session).items():
        first = measurements[0]
        header = ("system", *(f"{count} caller{'s' * (count > 1)}" for count in CALLERS))
        parts += [
            (
                f"Many callers: {shared}. Lookup and adam of {number(KEYS_A_CALL, 0)} keys a call,"
                f" {number(first.task['ids'], 0)} rows a group, in M rows/s; in brackets, how many"
                f" times the rows of one caller. Cores: {first.result['cores']}."
                f" {how_often(measurements, figure(CALLERS[-1]))}"
            ),
            markdown(header, [(name_of(m), *(cell(m, c) for c in CALLERS)) for m in measurements]),
        ]
    return "\n\n".join(parts)
