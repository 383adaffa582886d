"""One run of the comparison: a process for each measurement, whose result is kept."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memory_limit import MemoryLimit
from workload import BATCH, write_zipf_batches

HERE = Path(__file__).resolve().parent
SEED = 2024
# Systems whose table is an array: they know no other ids than 0..n-1.
ARRAYS = ("torch_sparse_adam", "torch_newest", "fbgemm", "plain_array")
# What a measurement's own checks are called in its result.
CHECKS = ("reopened", "self_check_frequent", "self_check", "same_as_array")
# Left free on the disk whatever is measured.
RESERVE = 2 << 30


class Absent(Exception):
    """Why something could not be measured."""


@dataclass
class Measurement:
    scenario: str
    system: str
    variant: str
    task: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    absent: str = ""

    @property
    def ok(self) -> bool:
        return not self.absent


@dataclass
class Session:
    directory: Path
    library: str
    # System name -> interpreter that can import it, or why there is none.
    interpreters: dict[str, str]
    reasons: dict[str, str]
    systems: list[str]
    quick: bool = False
    seconds_given: float | None = None
    mixed: bool = False
    table_rows: int = 10_000_000
    max_rows: int = 100_000_000
    # Of the scenarios "beyond-...": an earlier library of damo, which is the system damo_before;
    # rows of the tables; the numbers of cores (None: 2 and all); how often each run is made.
    library_before: str | None = None
    beyond_rows: tuple[int, ...] = (10_000_000,)
    cores_given: list[int] | None = None
    rounds: int = 5
    measurements: list[Measurement] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    _worker: subprocess.Popen[bytes] | None = None

    def seconds(self, usual: float, quick: float = 3) -> float:
        """How long to measure: --seconds, otherwise the scenario's own."""
        if self.seconds_given is not None:
            return self.seconds_given
        return min(usual, quick) if self.quick else usual

    def say(self, text: str) -> None:
        elapsed = int(time.monotonic() - self.started)
        print(f"[{elapsed // 60:3d}:{elapsed % 60:02d}] {text}", file=sys.stderr, flush=True)

    def zipf_batches(self, ids: int, count: int) -> str:
        """The file with these batches; made when it is asked for first."""
        path = self.directory / f"zipf-{ids}-{count}.u32"
        if not path.exists():
            if not self.has_space(4 * BATCH * count):
                raise Absent("no space on the disk for the keys")
            self.say(f"drawing {count} batches of {BATCH} keys, Zipf over {ids / 1e6:g} M ids")
            write_zipf_batches(path, ids, count, SEED)
        return str(path)

    def forget_batches(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.directory).free

    def has_space(self, need: int) -> bool:
        return self.free_bytes() >= need + RESERVE

    def measure(
        self,
        scenario: str,
        system: str,
        variant: str,
        task: dict[str, Any],
        disk_bytes: int,
        keep: bool = False,
        limit: float = 1800,
        python_of: str | None = None,
    ) -> Measurement | None:
        """Runs a task. Returns None if the system was not asked for.

        keep: True keeps its table. limit: the seconds, with preparations, after which the task is
        stopped and reported as absent. python_of: the system whose Python runs it, if not its own.
        The task's "cpus" are those that its process may use (all), and "memory_bytes" what it and
        the page cache that it fills may take, where that can be limited.
        """
        if system not in self.systems:
            return None
        task = {
            "directory": str(self.directory / "run"),
            "mixed": self.mixed,
            **task,
            "system": system,
        }
        if system in ARRAYS:
            task["mixed"] = False
        library = {"damo": self.library, "damo_before": self.library_before}.get(system)
        if library:
            task["options"] = {"library": library, **task["options"]}
        measurement = Measurement(scenario, system, variant, task)
        self.measurements.append(measurement)
        self.say(f"{scenario}: {system} {variant}".rstrip())
        try:
            python_of = python_of or system
            if python_of not in self.interpreters:
                raise Absent(self.reasons.get(python_of, "not installed"))
            if not self.has_space(disk_bytes):
                raise Absent(
                    f"needs up to {disk_bytes / 1e9:.0f} GB of disk, {self.free_bytes() / 1e9:.0f}"
                    " GB are free"
                )
            measurement.result = self._run(self.interpreters[python_of], task, limit)
            measurement.absent = measurement.result.pop("absent", "")
        except Absent as reason:
            measurement.absent = str(reason)
        finally:
            if not keep:
                shutil.rmtree(task["directory"], ignore_errors=True)
        self._tell(measurement)
        return measurement

    def _run(self, python: str, task: dict[str, Any], limit: float) -> dict[str, Any]:
        task_file, result_file = self.directory / "task.json", self.directory / "result.json"
        log_file = self.directory / "worker.log"
        task_file.write_text(json.dumps(task))
        result_file.unlink(missing_ok=True)
        # Output of a system goes to a log. The worker's own progress starts with spaces and is
        # shown.
        with log_file.open("wb") as log, MemoryLimit(task.get("memory_bytes")) as limit_of_memory:
            self._worker = subprocess.Popen(
                [python, str(HERE / "worker.py"), str(task_file), str(result_file)],
                stdout=log,
                stderr=subprocess.PIPE,
                preexec_fn=lambda: begin_worker(task.get("cpus"), limit_of_memory),
            )
            overdue = threading.Timer(limit, self._worker.kill)
            overdue.start()
            tail: list[str] = []
            for line in self._worker.stderr:
                text = line.decode(errors="replace").rstrip()
                if text.startswith("      "):
                    print(text, file=sys.stderr, flush=True)
                elif text:
                    tail = [*tail[-19:], text]
            code = self._worker.wait()
            stopped = not overdue.is_alive()
            overdue.cancel()
            self._worker = None
        if stopped and code != 0:
            raise Absent(f"stopped after {limit:.0f} s")
        if code != 0 or not result_file.exists():
            last = tail[-1] if tail else "no message"
            raise Absent(
                f"failed ({'signal ' + str(-code) if code < 0 else 'exit ' + str(code)}): {last}"
            )
        result = json.loads(result_file.read_text())
        if "memory_bytes" in task:
            result["memory_limit"] = limit_of_memory.told
        return result

    def _tell(self, measurement: Measurement) -> None:
        if not measurement.ok:
            self.say(f"   absent: {measurement.absent}")
            return
        for phase in ("first_pass", "following", "build", "lookup", "apply"):
            found = measurement.result.get(phase)
            if found and found["steps"]:
                self.say(
                    f"   {phase}: {found['steps_per_second']:.2f} calls or steps/s,"
                    f" {found['rows_per_second'] / 1e6:.3f} M rows/s, longest"
                    f" {found['longest_call_ms']:.0f} ms"
                )
        for point in measurement.result.get("calls", []):
            self.say(
                f"   {point['keys']} keys, {point['work']}: {point['us']['1']:.3f} us;"
                + ",".join(
                    f" {threads} threads {speedup:.2f} x"
                    for threads, speedup in point["speedup"].items()
                    if threads != "1"
                )
            )
        for name, figure in measurement.result.get("figures", {}).items():
            self.say(f"   {name}: {figure:.4g}")
        for check in CHECKS:
            found = measurement.result.get(check)
            if found and not found["passed"]:
                self.say(f"   {check} FAILED: {found}")

    def record(self, scenario: str, system: str, variant: str, result: dict[str, Any]) -> None:
        self.measurements.append(Measurement(scenario, system, variant, result=result))

    def absent(self, scenario: str, system: str, variant: str, reason: str) -> None:
        self.measurements.append(Measurement(scenario, system, variant, absent=reason))
        self._tell(self.measurements[-1])

    def find(self, scenario: str, system: str, variant: str | None = None) -> Measurement | None:
        for measurement in self.measurements:
            if (
                measurement.ok
                and (measurement.scenario, measurement.system) == (scenario, system)
                and variant in (None, measurement.variant)
            ):
                return measurement
        return None

    def raw(self) -> list[dict[str, Any]]:
        return [asdict(measurement) for measurement in self.measurements]

    def stop(self) -> None:
        """Ends the worker, if one runs."""
        if self._worker is not None and self._worker.poll() is None:
            self._worker.kill()
            self._worker.wait()


def begin_worker(cpus: list[int] | None, limit: MemoryLimit) -> None:
    limit.join()
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    end_with_parent()


def end_with_parent() -> None:
    """A worker must not outlive the comparison, however that ends."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
