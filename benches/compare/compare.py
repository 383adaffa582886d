"""Runs the scenarios and writes the table, the raw results and the plots.

benches/compare/run starts it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import beyond_memory
import beyond_tables
import cores
import dlrm_steps
import many_callers
import plots
import report
import scaling_plots
import scenarios
import small_calls
import torch_layers
from about import interpreters, machine
from aims import aims
from session import CHECKS, Session
from turns import failures
from variants import PEERS

ALIASES = {"torch": "torch_sparse_adam"}
# What is written to compare.md after the table, and the plots with their files.
SECTIONS = (
    aims,
    report.row_memory,
    small_calls.tables,
    cores.tables,
    many_callers.tables,
    torch_layers.tables,
    dlrm_steps.tables,
    beyond_tables.tables,
)
PLOTS = {
    plots.compared: "compare",
    plots.calls: "calls",
    plots.growth: "growth",
    scaling_plots.over_cores: "cores",
    scaling_plots.over_callers: "callers",
    scaling_plots.layers: "layers",
}
SYSTEMS = ("damo", *PEERS, *small_calls.PLAIN)


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(text: str) -> list[int]:
    found = [int(number) for number in names(text)]
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is given; numbers of 1 and more are needed")
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benches/compare/run",
        description="damo and what a user would pick instead, same workload, same run.",
    )
    parser.add_argument(
        "--only",
        type=names,
        default=list(scenarios.NAMES),
        metavar="NAME,...",
        help=(
            f"scenarios: {', '.join(scenarios.NAMES)} (the default); {scenarios.BEYOND}, which is"
            f" {', '.join(scenarios.LONG)}"
        ),
    )
    parser.add_argument(
        "--systems",
        type=names,
        default=list(SYSTEMS),
        metavar="NAME,...",
        help="systems: damo, torch, " + ", ".join(SYSTEMS[2:]),
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small tables and 3 seconds each: tries the harness, its figures mean nothing",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help="measure every phase this long (default: its own)",
    )
    parser.add_argument(
        "--keys",
        choices=("dense", "mixed"),
        default="dense",
        help="ids 0..n-1, or spread over int64 (arrays such as PyTorch's always get dense ones)",
    )
    parser.add_argument(
        "--table-rows",
        type=int,
        metavar="N",
        help="rows of the table that is ten times the cache (20 million; beyond-...: 10 million;"
        " quick: 1 million and 300,000)",
    )
    parser.add_argument(
        "--max-rows",
        type=int,
        metavar="N",
        help="where growth and table end (100 million; quick: 3 million)",
    )
    parser.add_argument(
        "--hundred-million",
        action="store_true",
        help="beyond-...: 100 million rows, too, each as often as 10 million but for the builds",
    )
    parser.add_argument(
        "--cores",
        type=numbers,
        metavar="N,...",
        help="beyond-...: on so many cores, each in its turn (default: 2 and all)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="beyond-...: how often each is measured (5; quick: 1)",
    )
    parser.add_argument(
        "--before",
        metavar="PATH",
        help="beyond-...: an earlier libdamo.so, which takes turns with damo",
    )
    parser.add_argument(
        "--damo-library", metavar="PATH", help="libdamo.so (default: $DAMO_LIBRARY, then cargo's)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where tables are put while they are measured, tens of GB (default: $TMPDIR or /tmp)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=(
            "where table, raw results and plots go (default: a folder in cargo's target directory)"
        ),
    )
    chosen = parser.parse_args()
    chosen.systems = [ALIASES.get(name, name) for name in chosen.systems]
    if scenarios.BEYOND in chosen.only:
        chosen.only = [*chosen.only, *scenarios.LONG]
    scenarios_known = (*scenarios.NAMES, *scenarios.LONG, scenarios.BEYOND)
    for kind, known in (("only", scenarios_known), ("systems", SYSTEMS)):
        for name in getattr(chosen, kind):
            if name not in known:
                parser.error(f"--{kind}: there is no '{name}'; known are {', '.join(known)}")
    for name in ("seconds", "rounds"):
        given = getattr(chosen, name)
        if given is not None and given <= 0:
            parser.error(f"--{name} must be above 0; {given} is given")
    if chosen.before and not Path(chosen.before).is_file():
        parser.error(f"--before: there is no library {chosen.before}")
    return chosen


def beyond_rows(chosen: argparse.Namespace) -> tuple[int, ...]:
    rows = chosen.table_rows or (300_000 if chosen.quick else 10_000_000)
    return (rows, beyond_memory.HUNDRED_MILLION) if chosen.hundred_million else (rows,)


def write(session: Session, about: dict[str, object], output: Path, command: str) -> str:
    """Writes everything; returns the Markdown."""
    output.mkdir(parents=True, exist_ok=True)
    about = {**about, "load_at_end": os.getloadavg()[0]}
    parts = [
        f"`{command}`",
        "",
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in about.items()),
    ]
    for peer, reason in session.reasons.items():
        if peer in session.systems:
            parts.append(f"- absent: {report.LABELS[peer]}: {reason}")
    parts += [f"- {remark}" for remark in (*report.remarks(session), *failures(session))]
    if session.quick:
        parts += [
            "",
            (
                "**A quick run: small tables, short phases. It shows that the harness works and"
                " nothing else.**"
            ),
        ]
    for section in (report.table, *SECTIONS):
        text = section(session)
        parts += ["", text] if text else []
    for draw, name in PLOTS.items():
        if draw(session, output / f"{name}.png"):
            parts += ["", f"![{name}]({name}.png)"]
    text = "\n".join(parts) + "\n"
    (output / "compare.md").write_text(text)
    (output / "compare.json").write_text(
        json.dumps({"machine": about, "measurements": session.raw()}, indent=1)
    )
    return text


def main() -> int:
    chosen = arguments()
    library = chosen.damo_library or os.environ["DAMO_LIBRARY"]
    if not Path(library).is_file():
        sys.exit(f"benches/compare: there is no library {library}")
    output = chosen.output or Path(os.environ["DAMO_COMPARE_OUTPUT"])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))

    base = chosen.data_dir or Path(tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    found, reasons = interpreters((*SYSTEMS, "damo_before"))
    directory = Path(tempfile.mkdtemp(prefix="damo-compare-", dir=base))
    session = Session(
        directory=directory,
        library=str(Path(library).resolve()),
        interpreters=found,
        reasons=reasons,
        systems=[*chosen.systems, *(["damo_before"] if chosen.before else [])],
        quick=chosen.quick,
        seconds_given=chosen.seconds,
        mixed=chosen.keys == "mixed",
        table_rows=chosen.table_rows or (1_000_000 if chosen.quick else 20_000_000),
        library_before=chosen.before and str(Path(chosen.before).resolve()),
        beyond_rows=beyond_rows(chosen),
        cores_given=chosen.cores,
        rounds=chosen.rounds or (1 if chosen.quick else 5),
        max_rows=chosen.max_rows or (3_000_000 if chosen.quick else 100_000_000),
    )
    command = "benches/compare/run " + os.environ.get("DAMO_COMPARE_ARGUMENTS", "")
    try:
        about = machine(session.directory, library)
        try:
            scenarios.run(session, chosen.only)
        finally:
            # What was measured before a failure or an interruption is worth keeping.
            session.stop()
            if session.measurements:
                print(write(session, about, output, command.strip()))
    finally:
        session.stop()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"benches/compare: wrote compare.md, compare.json and plots to {output}", file=sys.stderr)
    checks = [
        m.result[name]["passed"]
        for m in session.measurements
        if m.ok
        for name in CHECKS
        if name in m.result
    ]
    return 0 if all(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
