"""What a run starts from: the machine, the library, the checkout, and the Python that has each
system.
"""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterable

# Systems that need no environment of their own.
OWN = ("damo", "damo_before", "sqlite_numpy", "plain_array", "hash_map")


def first_line(path: str, prefix: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(prefix):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown"


def output_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine(directory: Path, library: str) -> dict[str, object]:
    """What the figures depend on besides the systems."""
    commit = output_of("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    built = datetime.datetime.fromtimestamp(Path(library).stat().st_mtime, datetime.timezone.utc)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "cpu": first_line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": first_line("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "file_system": output_of("stat", "-f", "-c", "%T", str(directory)),
        "disk_free_gb": round(shutil.disk_usage(directory).free / 1e9, 1),
        "load_at_start": os.getloadavg()[0],
        "checkout": commit,
        "library_built": built.isoformat(timespec="minutes"),
    }


def interpreters(systems: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Which Python has which system, and why another has none: benches/peers.sh says so in the
    environment.
    """
    found, reasons = {}, {}
    for system in systems:
        python = (
            sys.executable if system in OWN else os.environ.get(f"DAMO_COMPARE_PYTHON_{system}")
        )
        if python:
            found[system] = python
        else:
            reasons[system] = os.environ.get(f"DAMO_COMPARE_ABSENT_{system}", "not installed")
    return found, reasons
