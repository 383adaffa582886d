"""The table of what kills have left, and the raw results."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

from kills import Kill, Outcome

HEADER = (
    "system",
    "how it keeps",
    "what it promises after a kill",
    "kills",
    "opened",
    "steps lost: least / median / most",
    "torn",
    "doubled",
    "never was",
    "broken",
    "steps/s",
)


def openings(outcome: Outcome) -> list[Kill]:
    return [kill for kill in outcome.kills if kill.verdict is not None]


def is_broken(outcome: Outcome) -> bool:
    """Whether a kill broke something, or the way could not be tried."""
    return bool(outcome.absent) or broken_kills(outcome) > 0


def broken_kills(outcome: Outcome) -> int:
    """Kills after which the table did not open, or steps of a returned save (or step) were lost
    or torn, or rows were doubled or never were.
    """
    return sum(
        not kill.opened
        or bool(kill.verdict.broken or kill.verdict.doubled_rows or kill.verdict.strange_rows)
        for kill in outcome.kills
    )


def lost_steps(outcome: Outcome) -> str:
    lost = [kill.verdict.lost for kill in openings(outcome)]
    return f"{min(lost)} / {statistics.median(lost):g} / {max(lost)}" if lost else "-"


def after(outcome: Outcome, what: str) -> int:
    """After how many kills there was something of the kind."""
    return sum(getattr(kill.verdict, what) > 0 for kill in openings(outcome))


def in_short(outcome: Outcome) -> str:
    if not outcome.kills:
        return f"absent: {outcome.absent}"
    text = (
        f"{len(outcome.kills)} kills, {len(openings(outcome))} opened, lost {lost_steps(outcome)}, "
        f"torn after {after(outcome, 'torn')}, doubled {after(outcome, 'doubled_rows')}, "
        f"never was {after(outcome, 'strange_rows')}, broken {broken_kills(outcome)}, "
        f"{outcome.steps_per_second:.1f} steps/s"
    )
    return f"{text}; stopped: {outcome.absent}" if outcome.absent else text


def row(outcome: Outcome) -> list[str]:
    way = outcome.way
    cells = [way.label, way.setting, way.promise]
    if not outcome.kills:
        return [*cells, f"absent: {outcome.absent}", *[""] * (len(HEADER) - 4)]
    return [
        *cells,
        str(len(outcome.kills)),
        str(len(openings(outcome))),
        lost_steps(outcome),
        *(str(after(outcome, what)) for what in ("torn", "doubled_rows", "strange_rows")),
        str(broken_kills(outcome)),
        f"{outcome.steps_per_second:.1f}",
    ]


def refusals(outcome: Outcome) -> list[str]:
    """Each different message of an opening that failed, with how often it came."""
    count: dict[str, int] = {}
    for kill in outcome.kills:
        if not kill.opened:
            count[kill.refusal] = count.get(kill.refusal, 0) + 1
    return [
        f"{outcome.way.name} did not open after {times} of {len(outcome.kills)} kills:"
        f" `{message[:200]}`"
        for message, times in count.items()
    ]


def markdown(
    outcomes: list[Outcome], command: str, about: dict[str, Any], settings: dict[str, Any]
) -> str:
    lines = [f"`{command}`", ""]
    lines += [
        f"- {name.replace('_', ' ')}: {value}" for name, value in {**about, **settings}.items()
    ]
    versions = dict.fromkeys(
        f"{outcome.way.label}: {outcome.notes}" for outcome in outcomes if outcome.notes
    )
    lines += [f"- {version}" for version in versions]
    lines += ["", "| " + " | ".join(HEADER) + " |", "|---" * len(HEADER) + "|"]
    lines += ["| " + " | ".join(row(outcome)) + " |" for outcome in outcomes]
    remarks = [remark for outcome in outcomes for remark in refusals(outcome)]
    remarks += [
        f"{outcome.way.name} stopped early: {outcome.absent}"
        for outcome in outcomes
        if outcome.kills and outcome.absent
    ]
    return (
        "\n".join([*lines, *(["", *(f"- {remark}" for remark in remarks)] if remarks else [])])
        + "\n"
    )


def raw(
    outcomes: list[Outcome], command: str, about: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    return {
        "command": command,
        "machine": about,
        "settings": settings,
        "ways": [asdict(outcome) for outcome in outcomes],
    }
