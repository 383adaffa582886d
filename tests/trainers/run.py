"""Runs each trainer on torch's embedding and on damo's, and compares the scores.

scripts/test-trainers runs this where the trainers are installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checks import Check, Result, run
from logs import TRAIN, load

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if "\nCHECKS = [" in path.read_text())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    data = os.environ.get("DAMO_TEST_DATA")
    parser.add_argument("--data", type=Path, default=data, help="a folder with frappe.train.libfm")
    parser.add_argument("--samples", type=int, default=10_000, help="to train on")
    parser.add_argument("--scratch", help="where storages are made; the system's temporary folder")
    parser.add_argument("--table", type=Path, help="a file for the table of docs/trainers.md")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return options


def main() -> int:
    options = arguments()
    # Trainers here are small; threads would only wait for each other.
    torch.set_num_threads(1)
    log = load(None if options.data is None else Path(options.data), options.samples)
    print(
        f"{log.name}: {len(log.parts[TRAIN][1])} samples to train on, "
        f"{sum(log.sizes)} ids of {len(log.sizes)} fields"
    )
    done: list[tuple[str, Result]] = []
    failed: list[str] = []
    missing: list[str] = []
    for name in options.names or NAMES:
        module = imported(name, missing)
        if module is None:
            continue
        print(f"-- {title(module)}")
        for check in module.CHECKS:
            result = compared(name, check, log, options.scratch, failed)
            if result is not None:
                done.append((title(module), result))
    if options.table:
        options.table.write_text(table(done), encoding="utf-8")
    print(f"\n{len(done)} compared, {len(failed)} failed, {len(missing)} trainers not installed")
    print("\n".join([*missing, *failed]))
    return 1 if failed or not done else 0


def imported(name: str, missing: list[str]) -> Any:
    """A module of this folder; None, with the reason in missing, when its trainer is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").startswith("damo"):
            raise
        missing.append(f"{name} is left out: {error}")
        print(missing[-1])
        return None


def compared(
    name: str, check: Check, log: Any, scratch: str | None, failed: list[str]
) -> Result | None:
    try:
        result = run(check, log, scratch)
    except Exception as error:
        failed.append(f"{name}, {check.name}: {type(error).__name__}: {error}")
        print(f"FAILED {check.name}\n{getattr(error, 'said', '')}\n{traceback.format_exc()}")
        return None
    if not result.holds:
        failed.append(f"{name}, {check.name}: {result.asked} asked for")
    print(
        f"{'ok    ' if result.holds else 'FAILED'} {check.name:50} torch {result.torch_auc:.4f}  "
        f"damo {result.damo_auc:.4f}  scores apart {result.apart:.1e}  {result.lines:2} lines  "
        f"{result.seconds:.0f} s",
        flush=True,
    )
    return result


def title(module: Any) -> str:
    if module.PACKAGE is None:
        return "retold here"
    return f"{module.PACKAGE} {importlib.metadata.version(module.PACKAGE)}"


def table(done: list[tuple[str, Result]]) -> str:
    lines = [
        f"torch {torch.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}:\n",
        "| trainer | what | required | AUC, torch | AUC, damo | scores apart | lines |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in done:
        lines.append(
            f"| {name} | {result.check.name} | {result.asked} | {result.torch_auc:.4f} | "
            f"{result.damo_auc:.4f} | {result.apart:.0e} | {result.lines} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
