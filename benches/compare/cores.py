"""The scenario "cores": the reference workload on 1, 2, 4, 8, ... cores of the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from report import LABELS, main_phase, markdown, number, optimizer_of
from session import Measurement, Session
from sizes import DIM, GIB
from turns import Figures, Run, how_often, in_turns, median, quotient
from variants import REFERENCE_BATCHES, REFERENCE_IDS, beside_fbgemm

RATE = "steps_per_second"
NAME = "cores"


def doubled(last: int) -> list[int]:
    """1, 2, 4, 8, ... and the last."""
    return sorted({last, *(1 << power for power in range(last.bit_length()))})


def cpus() -> list[int]:
    """The CPUs that this process may use: one of each core first, then the hyper-threads."""
    seen: dict[str, int] = {}
    turn = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text().strip() if siblings.exists() else str(cpu)
        turn[cpu] = seen[core] = seen.get(core, -1) + 1
    return sorted(turn, key=lambda cpu: (turn[cpu], cpu))


def scenario(session: Session) -> None:
    ids, count = (200_000, 4) if session.quick else (REFERENCE_IDS, REFERENCE_BATCHES)
    base = {
        "program": "train",
        "ids": ids,
        "dim": DIM,
        "first_pass": count,
        "cycle": count,
        "seconds": session.seconds(4, quick=0.3),
        "batches": session.zipf_batches(ids, count),
    }
    variants = [
        ("damo", durability, {"durability": durability, "cache_bytes": 4 * GIB})
        for durability in ("checkpoint", "process")
    ]
    variants += [("torch_sparse_adam", "", {}), ("torch_newest", "", {})]
    variants += beside_fbgemm(("checkpoint",), 4 * GIB)
    usable = cpus()
    runs = []
    for cores in doubled(len(usable)):
        for system, variant, options in variants:
            task = {**base, "cpus": usable[:cores], "options": options, "series": variant}
            name = f"{variant}, {plural(cores)}".removeprefix(", ")
            runs.append(Run(system, name, task, disk_bytes=8 * GIB))
    in_turns(session, NAME, runs, 1 if session.quick else 3, rate)


def plural(cores: int) -> str:
    return f"{cores} core{'s' * (cores > 1)}"


def rate(result: dict[str, Any]) -> Figures:
    return {RATE: main_phase(result)[RATE]}


Series = tuple[str, str]


def measured(session: Session) -> dict[Series, dict[int, Measurement]]:
    """By system and variant: the measurements by number of cores."""
    found: dict[Series, dict[int, Measurement]] = {}
    for m in session.measurements:
        if m.ok and m.scenario == NAME and "rounds" in m.result:
            series = found.setdefault((m.system, m.task["series"]), {})
            series[m.result["cores"]] = m
    return found


def name_of(system: str, variant: str) -> str:
    name = LABELS[system].strip("*")
    return f"{name}, {variant}" if variant else name


def growth(series: dict[int, Measurement], cores: int) -> float | None:
    """The steps on so many cores divided by those on one."""
    if 1 not in series or cores not in series:
        return None
    return quotient(series[cores], series[1], RATE)


def tables(session: Session) -> str:
    found = measured(session)
    counts = sorted({cores for series in found.values() for cores in series})
    if not counts:
        return ""
    rows, leads = [], []
    for (system, variant), series in found.items():
        cells, lead = [], []
        ours = found.get(("damo", damo_beside(series)), {})
        for cores in counts:
            steps = median(series[cores], RATE) if cores in series else None
            gain = growth(series, cores) if cores > 1 else None
            cells.append(number(steps) + (f" ({gain:.2f} x)" if gain else ""))
            both = cores in series and cores in ours
            lead.append(number(quotient(ours[cores], series[cores], RATE) if both else None, 2))
        rows.append((name_of(system, variant), *cells))
        if system != "damo":
            leads.append((name_of(system, variant), *lead))
    header = tuple(map(plural, counts))
    parts = [
        (
            "The reference workload on as many cores, in steps/s; in brackets, how many times the"
            f" steps of one core. {told(found)}"
        ),
        markdown(("system", *header), rows),
    ]
    if leads and any(cell for row in leads for cell in row[1:]):
        parts += [
            "damo, `checkpoint`, with the same optimizer ÷ the peer, on the same cores:",
            markdown(("peer", *header), leads),
        ]
    return "\n\n".join(parts)


def damo_beside(series: dict[int, Measurement]) -> str:
    """The variant of damo that a peer is compared with."""
    optimizer = optimizer_of(next(iter(series.values())))
    return "checkpoint" if optimizer == "adam" else f"checkpoint, {optimizer}"


def told(found: dict[Series, dict[int, Measurement]]) -> str:
    """How the figures came about."""
    measurements = [m for series in found.values() for m in series.values()]
    order = max((m.task["cpus"] for m in measurements), key=len)
    return f"{how_often(measurements, RATE)} CPUs, as they join: {', '.join(map(str, order))}."
