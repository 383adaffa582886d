"""The scenario "calls": trainers that learn sample by sample, with several threads that make calls
of few keys. damo beside the rows in memory that such trainers have otherwise.
"""

from __future__ import annotations

from typing import Any

from native import build
from report import LABELS, markdown, number
from session import Measurement, Session
from sizes import DIM, GIB, large_cache, table_bytes

# C++ of our own: native/tables.hpp.
PLAIN = ("plain_array", "hash_map")
SIZES, THREADS = (1, 8, 39, 64, 96, 256), (1, 2, 4)
SCENARIOS = ("calls", "calls-zipf")
WORK = {
    "lookup": "lookup",
    "apply": "apply_gradients",
    "both": "a sample: lookup, then apply_gradients",
}


def scenario(session: Session) -> None:
    systems: list[tuple[str, str, dict[str, Any]]] = [
        ("damo", durability, {"durability": durability, "duplicates": "sequential", "threads": 1})
        for durability in ("checkpoint", "process")
    ]
    systems += [(system, "", {}) for system in PLAIN]
    try:
        library, compiled = build(session.directory)
    except RuntimeError as reason:
        for system, variant, _ in systems:
            if system in session.systems:
                session.absent("calls", system, variant, str(reason))
        return
    rows = 50_000 if session.quick else 1_000_000
    base = {
        "program": "calls",
        "ids": rows,
        "dim": DIM,
        "threads": THREADS,
        "rounds": 1 if session.quick else 5,
        "seconds": 0.05 if session.quick else session.seconds(0.5),
        "native": str(library),
        "compiled": compiled,
    }
    zipf = {"batches": session.zipf_batches(rows, 4 if session.quick else 20), "sizes": (8, 39)}
    for name, optimizer, more in (
        ("calls", "adam", {"sizes": SIZES}),
        ("calls", "adagrad", {"sizes": SIZES}),
        ("calls-zipf", "adam", zipf),
    ):
        for system, variant, options in systems:
            options = {**options, "optimizer": optimizer}
            if system == "damo":
                options["cache_bytes"] = large_cache(rows)
            else:
                options["native"] = str(library)
            session.measure(
                name,
                system,
                f"{variant}, {optimizer}".removeprefix(", "),
                {**base, **more, "options": options},
                disk_bytes=8 * table_bytes(rows) + 8 * GIB,
            )


def measured(session: Session) -> list[tuple[str, list[Measurement]]]:
    """The measurements that belong side by side, under what they have in common."""
    found: dict[str, list[Measurement]] = {}
    for m in session.measurements:
        if m.ok and m.scenario in SCENARIOS:
            keys = "uniform keys" if m.scenario == "calls" else "Zipf(1.05) keys"
            title = f"{m.task['options']['optimizer']}, {keys}, {number(m.task['ids'], 0)} rows"
            found.setdefault(title, []).append(m)
    return list(found.items())


def name_of(m: Measurement) -> str:
    durability = m.task["options"].get("durability")
    return LABELS[m.system].strip("*") + (f", {durability}" if durability else "")


def point(m: Measurement, keys: int, work: str) -> dict[str, Any]:
    return next(p for p in m.result["calls"] if (p["keys"], p["work"]) == (keys, work))


def cell(m: Measurement, keys: int, work: str) -> str:
    found = point(m, keys, work)
    return f"{found['us']['1']:.3g}; " + ", ".join(
        f"{speedup:.2f}" for threads, speedup in found["speedup"].items() if threads != "1"
    )


def tables(session: Session) -> str:
    parts = []
    for title, measurements in measured(session):
        header = ["work", "keys a call", *map(name_of, measurements)]
        array = next((m for m in measurements if m.system == "plain_array"), None)
        ours = [m for m in measurements if m.system == "damo"] if array else []
        header += [f"{name_of(m)} ÷ array" for m in ours]
        rows = []
        for work, label in WORK.items():
            for keys in measurements[0].task["sizes"]:
                row = [label, str(keys), *(cell(m, keys, work) for m in measurements)]
                for m in ours:
                    theirs = point(array, keys, work)["processor_us"]["1"]
                    row.append(f"{point(m, keys, work)['processor_us']['1'] / theirs:.1f}")
                rows.append(tuple(row))
        parts += [
            (
                f"Small calls: {title}. Microseconds a call on the clock with one thread; then how"
                " many times as many calls 2 and 4 threads make. The last columns compare"
                " processor time of one calling thread, from which other work on the machine takes"
                " less."
            ),
            markdown(tuple(header), rows),
        ]
    if parts:
        compiled = {m.task["compiled"] for _, found in measured(session) for m in found}
        parts.append(f"The rows in memory are compiled with {', '.join(sorted(compiled))}.")
    return "\n\n".join(parts)
