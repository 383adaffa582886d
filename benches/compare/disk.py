"""Measures the disk itself: fio's random reads of 4 KiB past the page cache, and a plain write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from session import Absent

# Reads in flight of each job, and jobs. The first is what one depth is compared with.
DEPTHS = ((32, 1), (64, 1), (128, 1), (256, 1), (64, 4), (128, 4))
PIECE = 4 << 20


def random_read_rate(
    directory: Path, file_bytes: int, seconds: float, depths: tuple[tuple[int, int], ...]
) -> dict[str, object]:
    """Reads per second, in a file of the size of the table, on the table's disk, at the best of
    these depths.
    """
    if shutil.which("fio") is None:
        raise Absent("fio is not installed: apt-get install fio")
    file = directory / "fio.bin"
    try:
        found = [at_depth(file, file_bytes, seconds, *depth) for depth in depths]
    finally:
        file.unlink(missing_ok=True)
    best = max(found, key=lambda one: one["reads_per_second"])
    return {**best, "depths": {one["settings"]: one["reads_per_second"] for one in found}}


def at_depth(
    file: Path, file_bytes: int, seconds: float, depth: int, jobs: int
) -> dict[str, object]:
    reason = ""
    for engine in ("io_uring", "libaio"):
        command = [
            "fio",
            "--name=read",
            f"--filename={file}",
            f"--size={file_bytes}",
            "--rw=randread",
            "--bs=4k",
            "--direct=1",
            f"--iodepth={depth}",
            f"--numjobs={jobs}",
            "--group_reporting",
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
                "settings": f"randread, bs=4k, direct=1, iodepth={depth}, numjobs={jobs}",
                "file_bytes": file_bytes,
                "p99_us": read["clat_ns"].get("percentile", {}).get("99.000000", 0) / 1e3,
            }
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
    raise Absent(f"fio failed: {reason}")


def plain_write(file: Path, count: int) -> float:
    """The seconds that it takes to write so many bytes to a new file, with fsync."""
    piece = os.urandom(min(PIECE, count))
    before = time.perf_counter()
    with file.open("wb", buffering=0) as written:
        for start in range(0, count, len(piece)):
            written.write(piece[: count - start])
        os.fsync(written.fileno())
    taken = time.perf_counter() - before
    file.unlink()
    return taken
