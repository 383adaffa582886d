"""Measurements that take turns, so that other work on the machine falls on all alike."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from session import CHECKS, Measurement, Session

Figures = dict[str, float]


@dataclass
class Run:
    """Arguments of Session.measure, without the scenario."""

    system: str
    variant: str
    task: dict[str, Any]
    disk_bytes: int = 0
    # The system whose Python runs it, if not its own.
    python_of: str | None = None
    # Whether its directory stays for the next run, and whether it begins with none.
    keep: bool = False
    fresh: bool = False
    # Seconds after which it is stopped.
    limit: float = 1800


def in_turns(
    session: Session,
    scenario: str,
    runs: list[Run],
    rounds: int,
    figures: Callable[[dict[str, Any]], Figures],
) -> None:
    """Measures every run once a round; every second round goes backwards.

    One Measurement of each run is kept: that with the median figures. Its result has the figures of
    all rounds under "rounds". A run that is absent once is not tried again.

    figures: those of a result, by name.
    """
    before = len(session.measurements)
    found: list[list[Measurement]] = [[] for _ in runs]
    try:
        for number in range(rounds):
            session.say(f"{scenario}: round {number + 1} of {rounds}")
            order = list(zip(runs, found))
            for run, measured in order if number % 2 == 0 else reversed(order):
                if measured and not measured[-1].ok:
                    continue
                if run.fresh:
                    shutil.rmtree(run.task["directory"], ignore_errors=True)
                measurement = session.measure(
                    scenario,
                    run.system,
                    run.variant,
                    dict(run.task),
                    run.disk_bytes,
                    keep=run.keep,
                    limit=run.limit,
                    python_of=run.python_of,
                )
                if measurement is not None:
                    measured.append(measurement)
    finally:
        del session.measurements[before:]
        session.measurements += [together(measured, figures) for measured in found if measured]


def together(
    measured: list[Measurement], figures: Callable[[dict[str, Any]], Figures]
) -> Measurement:
    """The measurement in the middle, with the figures of all and the checks that failed."""
    rounds = sorted((m for m in measured if m.ok), key=lambda m: sum(figures(m.result).values()))
    if not rounds:
        return measured[0]
    kept = rounds[(len(rounds) - 1) // 2]
    kept.result["rounds"] = [figures(m.result) for m in measured if m.ok]
    kept.result["failed_rounds"] = [m.absent for m in measured if not m.ok]
    for check in CHECKS:
        for m in rounds:
            if check in m.result and not m.result[check]["passed"]:
                kept.result[check] = m.result[check]
    return kept


def median(m: Measurement, name: str) -> float | None:
    """The median of a figure over the rounds; None if no round has it."""
    values = [figures[name] for figures in m.result.get("rounds", []) if name in figures]
    return statistics.median(values) if values else None


def quotient(m: Measurement, base: Measurement, name: str) -> float | None:
    """The median, over the rounds, of a figure of m divided by that of base."""
    pairs = zip(m.result.get("rounds", []), base.result.get("rounds", []))
    values = [ours[name] / theirs[name] for ours, theirs in pairs if ours and theirs]
    return statistics.median(values) if values else None


def how_often(measurements: list[Measurement], name: str) -> str:
    """How many rounds there were, and how far apart those of one figure are."""
    found = [[figures[name] for figures in m.result["rounds"]] for m in measurements]
    rounds = max(map(len, found))
    if rounds == 1:
        return "One round."
    apart = max(max(values) / min(values) for values in found)
    return f"Medians of {rounds} rounds; the rounds of a figure differ by up to {apart:.1f} x."


def failures(session: Session) -> list[str]:
    """The rounds that failed after others of the same run had gone well."""
    return [
        f"{m.scenario}: {m.system} {m.variant}: {len(m.result['rounds'])} rounds went well, and"
        f" then one failed: {reason}"
        for m in session.measurements
        if m.ok
        for reason in m.result.get("failed_rounds", [])
    ]
