"""Clocks, memory, files: what is read off while a system works."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


class Timer:
    """Times calls; everything between them (making keys, checks) does not count."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.by_name: dict[str, list[float]] = {}
        self._started = time.perf_counter()

    def call(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        before = time.perf_counter()
        function(*arguments)
        taken = time.perf_counter() - before
        self.seconds.append(taken)
        self.by_name.setdefault(name, []).append(taken)

    @property
    def total(self) -> float:
        return float(sum(self.seconds))

    def summary(self, steps: int, rows: int) -> dict[str, object]:
        """Rates over the time spent in calls; wall_seconds shows how much there was besides."""
        if not self.seconds:
            return {"steps": 0}
        calls = np.asarray(self.seconds) * 1e3
        return {
            "steps": steps,
            "seconds": round(self.total, 4),
            "wall_seconds": round(time.perf_counter() - self._started, 4),
            "steps_per_second": steps / self.total,
            "rows_per_second": rows / self.total,
            "longest_call_ms": float(calls.max()),
            "p99_call_ms": float(np.percentile(calls, 99)),
            "calls": {name: call_summary(times) for name, times in self.by_name.items()},
        }


def call_summary(seconds: list[float]) -> dict[str, float]:
    times = np.asarray(seconds) * 1e3
    return {
        "count": len(times),
        "mean_ms": float(times.mean()),
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "longest_ms": float(times.max()),
    }


def per_interval(step_seconds: list[float], interval: float = 2.0) -> list[float]:
    """Steps per second in consecutive stretches of time: shows stalls and slow decline."""
    rates, steps, spent = [], 0, 0.0
    for seconds in step_seconds:
        steps, spent = steps + 1, spent + seconds
        if spent >= interval:
            rates.append(round(steps / spent, 3))
            steps, spent = 0, 0.0
    return rates


def available_memory() -> int:
    """Bytes of memory that a new process can have without pushing others out."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def wait_for_rest(longest: float) -> float:
    """Waits until this process has hardly worked for a second; returns the seconds that took."""
    before = time.perf_counter()
    while time.perf_counter() - before < longest:
        own = time.process_time()
        time.sleep(1)
        if time.process_time() - own < 0.02:
            break
    return time.perf_counter() - before


def status_bytes(field: str) -> int:
    """A field of /proc/self/status that is given in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


class OtherWork:
    """The cores that were busy with other work than this process, on average: noise in figures."""

    def __init__(self) -> None:
        self._wall, self._busy, self._own = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        try:
            fields = [
                int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
            ]
            idle = fields[3] + fields[4]
            busy = (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError):
            busy = 0.0
        return time.perf_counter(), busy, time.process_time()

    def cores(self) -> float:
        wall, busy, own = self._now()
        return round(max(0.0, (busy - self._busy) - (own - self._own)) / (wall - self._wall), 3)


def reset_peak_memory() -> None:
    """Forgets the peak so far, which belongs to starting up (imports, workload)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def read_from_disk() -> int | None:
    """Bytes this process made the disk read: what the page cache answered is not in it."""
    try:
        for line in Path("/proc/self/io").read_text().splitlines():
            if line.startswith("read_bytes:"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


class AnonymousPeak:
    """The most anonymous memory (RssAnon) seen while a thread looked: mapped files and the page
    cache are not in it, which VmHWM counts.
    """

    INTERVAL = 0.2

    def __init__(self) -> None:
        self.bytes = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(self.INTERVAL):
            self.bytes = max(self.bytes, status_bytes("RssAnon"))

    def stop(self) -> int:
        self._end.set()
        self._thread.join()
        return self.bytes


def files(directory: Path) -> list[Path]:
    return [Path(root, name) for root, _, names in os.walk(directory) for name in names]


def bytes_on_disk(directory: Path) -> int:
    total = 0
    for file in files(directory):
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # removed in the background in the meantime
            pass
    return total


def forget_cached_pages(directory: Path) -> None:
    """Asks the kernel to drop the directory's files from the page cache. Needs no privilege."""
    for file in files(directory):
        try:
            descriptor = os.open(file, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def fill_page_cache(directory: Path) -> None:
    """Reads the directory's files once, so that the page cache has what it has room for."""
    for file in files(directory):
        with file.open("rb", buffering=0) as opened:
            while opened.read(4 << 20):
                pass


def drop_page_cache() -> bool:
    """Drops the machine's whole page cache; False when that is not permitted."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
        return True
    except OSError:
        return False
