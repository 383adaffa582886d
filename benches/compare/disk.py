"""Measures the disk itself with fio: random reads of 4 KiB past the page cache, 32 in flight."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from session import Absent

SETTINGS = "randread, bs=4k, direct=1, iodepth=32, numjobs=1"


def random_read_rate(directory: Path, file_bytes: int, seconds: float) -> dict[str, object]:
    """Reads per second, in a file of the size of the table, on the table's disk."""
    if shutil.which("fio") is None:
        raise Absent("fio is not installed")
    file = directory / "fio.bin"
    reason = ""
    try:
        for engine in ("io_uring", "libaio"):
            command = [
                "fio",
                "--name=read",
                f"--filename={file}",
                f"--size={file_bytes}",
                "--rw=randread",
                "--bs=4k",
                "--direct=1",
                "--iodepth=32",
                f"--ioengine={engine}",
                "--time_based",
                f"--runtime={seconds:g}",
                "--ramp_time=1",
                "--output-format=json",
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                read = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]["read"]
                return {
                    "reads_per_second": read["iops"],
                    "engine": engine,
                    "settings": SETTINGS,
                    "file_bytes": file_bytes,
                    "p99_us": read["clat_ns"].get("percentile", {}).get("99.000000", 0) / 1e3,
                }
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
    finally:
        file.unlink(missing_ok=True)
    raise Absent(f"fio failed: {reason}")
