"""The scenario "dlrm": a DLRM whose tables are damo's collection, beside layers, torch and FBGEMM.

The program is many_tables.py, which needs torch; this file does not.
"""

from __future__ import annotations

from typing import Any

from report import markdown, number
from session import Measurement, Session
from sizes import DIM, GIB
from torch_layers import figures, python_of
from turns import Run, in_turns, median
from variants import REFERENCE_IDS

TABLES = 26
DURABILITIES = ("checkpoint", "process")
# The systems beside damo's collection, and the names of what many_tables.py times.
BESIDE = {"torch": "PyTorch, Adam", "fbgemm": "FBGEMM, row-wise Adagrad"}
HEADER = (
    "tables",
    "steps/s",
    "the collection is faster by",
    "and takes less processor time by",
)


def scenario(session: Session) -> None:
    ids, count = (20_000, 6) if session.quick else (REFERENCE_IDS, 200)
    of_table = ids // TABLES
    base: dict[str, Any] = {
        "program": "dlrm",
        "ids": of_table,
        "dim": DIM,
        "batches": session.zipf_batches(of_table, count),
        "seconds": session.seconds(2, quick=0.2),
        "slices": 1 if session.quick else 5,
    }
    runs = []
    for beside, name in BESIDE.items():
        python = python_of(session) if beside == "torch" else beside
        if beside == "fbgemm" and beside not in session.systems:
            continue
        for durability in DURABILITIES:
            options = {"durability": durability, "cache_bytes": 8 * GIB}
            task = {**base, "beside": beside, "options": options}
            runs.append(Run("damo", f"{durability}, {name}", task, 12 * GIB, python))
    in_turns(session, "dlrm", runs, 1, figures)


def tables(session: Session) -> str:
    parts = []
    for m in session.measurements:
        if m.scenario != "dlrm":
            continue
        if not m.ok:
            parts.append(f"**The scenario dlrm was left out for {m.variant}: {m.absent}.**")
            continue
        parts += [
            (
                f"A step of a DLRM with {TABLES} tables of {m.task['ids']:,} rows, `{m.variant}`."
                f" {m.result['notes']}, {m.result['cores']} cores. Medians of"
                f" {m.task['slices']} slices, which take turns."
            ),
            markdown(HEADER, rows_of(m)),
        ]
    return "\n\n".join(parts)


def rows_of(m: Measurement) -> list[tuple[str, ...]]:
    names = [name for name in m.result["figures"] if " ÷ " not in name]
    collection = names[0]
    found = []
    for name in names:
        share = f"{collection} ÷ {name}"
        times = [f"{number(median(m, one), 2)} x" for one in (share, f"{share}, processor time")]
        found.append((name, number(median(m, name)), *times))
    return found
