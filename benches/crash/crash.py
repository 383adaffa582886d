"""Kills every way to keep a table and writes the table of what was left. Started by
benches/crash/run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

# The systems, and how to find out about the machine, are those of the comparison.
sys.path.append(str(Path(__file__).resolve().parent.parent / "compare"))

import report
from about import interpreters, machine
from kills import Outcome, Trial
from traces import Steps
from ways import named


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benches/crash/run",
        description="SIGKILL while training: what each way to keep a table has left.",
    )
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="for each way (30)")
    parser.add_argument(
        "--seed",
        type=int,
        default=11,
        metavar="N",
        help="of the steps and of the moments of kills (11)",
    )
    parser.add_argument(
        "--systems",
        default="",
        metavar="NAME,...",
        help=(
            "systems (damo, damo_embedding, damo_embedding_1_1, torch_sparse_adam, tfra,"
            " lmdb_numpy, sqlite_numpy) or single ways, such as damo-process (default: all)"
        ),
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=4,
        metavar="N",
        help="how long a rate is measured, twice; the better one counts (4)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small table, 4 kills and half a second each: tries the harness",
    )
    parser.add_argument(
        "--ids", type=int, metavar="N", help="rows of the table (50000; quick: 2000)"
    )
    parser.add_argument("--batch", type=int, default=512, metavar="N", help="keys a step (512)")
    parser.add_argument("--dim", type=int, default=16, metavar="N", help="floats a row (16)")
    parser.add_argument(
        "--damo-library", metavar="PATH", help="libdamo.so (default: $DAMO_LIBRARY, then cargo's)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where tables are put, on a disk (default: $TMPDIR or /tmp)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=(
            "where the table and the raw results go (default: a folder in cargo's target directory)"
        ),
    )
    parser.add_argument(
        "--list-systems", action="store_true", help="print which systems would be tried, and stop"
    )
    chosen = parser.parse_args()
    try:
        chosen.ways = named([name.strip() for name in chosen.systems.split(",") if name.strip()])
    except ValueError as error:
        parser.error(f"--systems: {error}")
    if chosen.quick:
        chosen.kills, chosen.seconds = min(chosen.kills, 4), 0.5
    chosen.ids = chosen.ids or (2000 if chosen.quick else 50_000)
    if (
        chosen.kills < 1
        or chosen.seconds <= 0
        or chosen.dim < 1
        or not 16 <= chosen.batch <= chosen.ids
    ):
        parser.error(
            "--kills and --dim must be at least 1, --seconds above 0, --batch from 16 to --ids"
        )
    if not 0 <= chosen.seed < 1 << 16:
        parser.error("--seed must be from 0 to 65535")
    return chosen


# How often each rate is measured.
RATES = 2


class Progress:
    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        elapsed = int(time.monotonic() - self._started)
        print(f"[{elapsed // 60:3d}:{elapsed % 60:02d}] {text}", file=sys.stderr, flush=True)


def try_ways(
    chosen: argparse.Namespace, directory: Path, library: str, outcomes: list[Outcome]
) -> None:
    found, reasons = interpreters(dict.fromkeys(way.system for way in chosen.ways))
    steps = Steps(chosen.seed, chosen.ids, chosen.dim, chosen.batch)
    progress = Progress()
    trials = []
    for way in chosen.ways:
        trial = Trial(
            way, directory / way.name, found.get(way.system, ""), library, steps, chosen.seed
        )
        trial.outcome.absent = reasons.get(way.system, "")
        trials.append(trial)
        outcomes.append(trial.outcome)
    # All rates first and close together, so that other work on the machine is more or less the same
    # for all.
    for _ in range(RATES):
        for trial in trials:
            trial.measure(chosen.seconds)
            progress.say(
                f"{trial.way.name}:"
                f" {trial.outcome.absent or f'{trial.outcome.steps_per_second:.1f} steps/s'}"
            )
    for trial in trials:
        trial.run(chosen.kills)
        progress.say(f"{trial.way.name}: {report.in_short(trial.outcome)}")


def broken_promises(outcomes: list[Outcome]) -> list[str]:
    """Where damo did not keep what it promises, or could not be tried; other systems are only
    reported.
    """
    return [
        outcome.way.name
        for outcome in outcomes
        if outcome.way.system == "damo" and report.is_broken(outcome)
    ]


def main() -> int:
    chosen = arguments()
    if chosen.list_systems:
        print(",".join(dict.fromkeys(way.system for way in chosen.ways)))
        return 0
    library = chosen.damo_library or os.environ["DAMO_LIBRARY"]
    if not Path(library).is_file():
        sys.exit(f"benches/crash: there is no library {library}")
    library = str(Path(library).resolve())
    output = chosen.output or Path(os.environ["DAMO_CRASH_OUTPUT"])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))

    base = chosen.data_dir or Path(tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="damo-crash-", dir=base))
    outcomes: list[Outcome] = []
    about = machine(directory, library)
    try:
        try_ways(chosen, directory, library, outcomes)
    finally:
        # What was tried before an interruption is worth keeping.
        shutil.rmtree(directory, ignore_errors=True)
        about["load_at_end"] = os.getloadavg()[0]
        settings = {
            name: getattr(chosen, name)
            for name in ("kills", "seed", "ids", "batch", "dim", "seconds")
        }
        command = ("benches/crash/run " + os.environ.get("DAMO_CRASH_ARGUMENTS", "")).strip()
        text = report.markdown(outcomes, command, about, settings)
        output.mkdir(parents=True, exist_ok=True)
        (output / "crash.md").write_text(text)
        (output / "crash.json").write_text(
            json.dumps(report.raw(outcomes, command, about, settings), indent=1)
        )
        print(text)
    print(f"benches/crash: wrote crash.md and crash.json to {output}", file=sys.stderr)
    broken = broken_promises(outcomes)
    if broken:
        print(f"benches/crash: damo did not keep its promise: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
