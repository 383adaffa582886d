"""Do the scenarios of tables larger than memory count right, and do their checks see a lost row?

    /usr/bin/python3 benches/compare/test_beyond.py

Needs NumPy. A dictionary stands for LMDB.
"""

from __future__ import annotations

import tempfile
import threading
import time
import unittest
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import beyond
import beyond_memory
import disk
import memory_limit
import task as task_of_workers
import workload
from beyond_aims import aims
from beyond_memory import Beyond
from beyond_tables import tables
from lmdb_stand_in import environment
from memory_limit import MemoryLimit
from phase import Phase
from session import Absent, Measurement, Session
from systems import System

# Batches of so many keys are enough here.
ROWS, BATCH = 5_000, 1_000


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Counting(System):
    """A system whose statistic rises with each lookup, and that works in a thread, too."""

    def __init__(self) -> None:
        self.rows_loaded = 0

    def statistics(self) -> dict[str, int]:
        return {"rows_loaded": self.rows_loaded}

    def lookup(self, *_: Any) -> None:
        self.rows_loaded += 7
        other = threading.Thread(target=work, args=(0.05,))
        other.start()
        other.join()
        work(0.05)


class Phases(unittest.TestCase):
    def test_all_threads_count_and_what_is_between_calls_does_not(self) -> None:
        system = Counting()
        system.rows_loaded = 100
        phase = Phase(system)
        for _ in range(3):
            phase.call("lookup", system.lookup)
            work(0.1)
        costs = phase.costs(3, 30)
        self.assertEqual((costs["misses"], costs["steps"]), (21, 3))
        self.assertGreater(costs["processor_seconds"], 0.29)
        self.assertLess(costs["processor_seconds"], 0.45)


class Limits(unittest.TestCase):
    def test_without_a_limit_nothing_is_made(self) -> None:
        with MemoryLimit(None) as limit:
            limit.join()
        self.assertIn("no limit", limit.told)

    def test_a_group_that_cannot_be_made_is_told(self) -> None:
        nowhere = [(Path("/nowhere"), 2)]
        with mock.patch.object(memory_limit, "parents", lambda: nowhere):
            with MemoryLimit(1 << 30) as limit:
                limit.join()
        self.assertIn("no control group", limit.told)

    def test_the_limit_is_written_and_the_process_joins(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            parent = Path(folder)
            # The kernel makes the files of a group.
            made = parent / f"damo-compare-{memory_limit.os.getpid()}"
            with mock.patch.object(memory_limit, "parents", lambda: [(parent, 2)]):
                with MemoryLimit(12345) as limit:
                    limit.join()
                    self.assertEqual((made / "memory.max").read_text(), "12345")
                    joined = (made / "cgroup.procs").read_text()
                    self.assertEqual(joined, str(memory_limit.os.getpid()))


class Programs(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        environment.rows.clear()
        for module, name, value in (
            (workload, "BATCH", BATCH),
            (beyond, "BATCH", BATCH),
            (beyond, "gradient_pool", lambda dim: workload.gradient_pool(dim, BATCH)),
            (task_of_workers, "last_progress", time.monotonic() + 1e6),
        ):
            patch = mock.patch.object(module, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        workload.write_zipf_batches(self.folder / "batches", ROWS, 40, 1)

    def task(self, **more: Any) -> dict[str, Any]:
        return {
            "system": "lmdb_numpy",
            "directory": str(self.folder / "table"),
            "saved": str(self.folder / "table.npz"),
            "batches": str(self.folder / "batches"),
            "ids": ROWS,
            "rows": ROWS,
            "dim": 4,
            "mixed": True,
            "seconds": 0.01,
            "warm_up": 0.01,
            "options": {"sync": False, "cache_rows": ROWS // 10},
            "cache_bytes": 0,
            **more,
        }

    def run_program(self, program: Any, **more: Any) -> dict[str, Any]:
        report: dict[str, Any] = {}
        with warnings.catch_warnings():
            # A worker leaves its batches open until it ends.
            warnings.simplefilter("ignore", ResourceWarning)
            program(self.task(**more), report)
        return report

    def test_processes_go_on_with_a_table_and_its_check(self) -> None:
        built = self.run_program(beyond.beyond_build)
        self.assertTrue(built["self_check"]["passed"])
        self.assertEqual(len(environment.rows), ROWS)
        first = self.run_program(beyond.beyond_steps, page_cache="warm")
        second = self.run_program(beyond.beyond_steps, page_cache="cold")
        for report in (first, second):
            self.assertTrue(report["reopened"]["passed"] and report["self_check"]["passed"])
            self.assertGreater(report["figures"][beyond.MISSES], 0)
        self.assertGreater(second["reopened"]["row_steps"], first["reopened"]["row_steps"])
        self.assertEqual(second["reopened"]["row_steps"], first["self_check"]["row_steps"])
        new = self.run_program(beyond.beyond_lookups, new_keys=True)
        self.assertTrue(new["self_check"]["passed"])
        self.assertEqual(len(environment.rows), ROWS)
        self.assertAlmostEqual(new["figures"][beyond.MISSES], BATCH, delta=BATCH / 100)

    def test_a_table_of_which_a_run_failed_is_not_used_again(self) -> None:
        self.run_program(beyond.beyond_build)
        with self.assertRaisesRegex(ValueError, "broken"):
            with mock.patch.object(beyond, "Phase", side_effect=ValueError("broken")):
                self.run_program(beyond.beyond_lookups)
        with self.assertRaisesRegex(RuntimeError, "an earlier run on this table failed"):
            self.run_program(beyond.beyond_lookups)

    def test_a_lost_row_is_seen(self) -> None:
        self.run_program(beyond.beyond_build)
        key = np.load(self.task()["saved"])["keys"][5]
        del environment.rows[int(key).to_bytes(8, "little", signed=True)]
        report = self.run_program(beyond.beyond_lookups)
        self.assertFalse(report["reopened"]["passed"])


def measured(session: Session, name: str, system: str, series: str, rounds: list[dict]) -> None:
    task = {"series": series, "rows": 10_000_000, "page_cache": "cold"}
    title = f"10 M rows, {series}, 2 cores"
    m = Measurement(name, system, title, task, {"rounds": rounds, "cores": 2})
    session.measurements.append(m)


class Told(unittest.TestCase):
    def setUp(self) -> None:
        self.session = Session(Path("/nowhere"), "", {}, {}, ["damo", "damo_before"])
        steps = [(10, 300, 20_000), (12, 280, 20_000), (11, 290, 20_000)]
        for system, factor in (("damo", 1.0), ("damo_before", 0.25)):
            rounds = [
                {
                    beyond.RATE: rate * factor,
                    beyond.PROCESSOR: cost,
                    beyond.MISSES: misses,
                    beyond.A_MISS: cost * 1e3 / misses,
                    beyond.BESIDE_CACHE: 55.0,
                    beyond.READ: 4096,
                }
                for rate, cost, misses in steps
            ]
            for name in (beyond_memory.ZIPF, beyond_memory.COLD):
                measured(self.session, name, system, beyond_memory.CACHED, rounds)
        memory = [{**each, beyond.PROCESSOR: 250, beyond.MISSES: 0} for each in rounds]
        measured(self.session, beyond_memory.ZIPF, "damo", beyond_memory.IN_MEMORY, memory)
        fio = {"fio": {"reads_per_second": 250_000}}
        self.session.record(beyond_memory.COLD, "fio", "10 M rows, best depth", fio)

    def test_medians_and_what_a_miss_costs_beyond_a_step_in_memory(self) -> None:
        line = next(line for line in tables(self.session).splitlines() if "10 M rows" in line)
        # (290 - 250) ms over 20,000 misses.
        self.assertTrue(line.startswith(f"| **damo** | 10 M rows, {beyond_memory.CACHED}, 2 cores"))
        self.assertIn("| 11.0 | 20 000 | 290.0 | 14.50 |", line)
        self.assertTrue(line.endswith("| 2.00 |"), line)

    def test_aims(self) -> None:
        found = {measure: rest for measure, *rest in aims(self.session)}
        zipf = f"Zipf keys, 10 M rows, {beyond_memory.CACHED}, 2 cores: "
        self.assertEqual(found[zipf + "core-us a miss beyond a step in memory"][1:], ["2.00", True])
        self.assertEqual(found[zipf + "steps/s of those before"][1:], ["4.00 x", True])
        cold = zipf.replace("keys,", "keys, cold,") + "misses, of fio's reads"
        # 11 steps/s x 20,000 misses of 250,000 reads/s.
        self.assertEqual(found[cold][1:], ["88.00 %", False])

    def test_a_page_cache_that_was_not_cold_is_told(self) -> None:
        for m in self.session.measurements:
            for figures in m.result.get("rounds", []):
                figures[beyond.READ] = 100
        found = [rest for measure, *rest in aims(self.session) if "cold" in measure]
        self.assertEqual(found, [[">= 90 %", "not cold: 100 bytes read a miss", None]])


class Scenario(unittest.TestCase):
    def test_a_system_whose_table_failed_is_absent_afterwards(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            session = Session(Path(folder), "", {}, {}, ["damo"], quick=True, rounds=1)
            session.say = lambda _: None
            with mock.patch.object(Beyond, "_fio"):
                Beyond(session, ROWS).run(list(beyond_memory.NAMES))
        self.assertTrue(session.measurements)
        self.assertFalse(any(m.ok for m in session.measurements))

    def test_without_fio_that_is_told(self) -> None:
        with mock.patch.object(disk.shutil, "which", lambda _: None):
            with self.assertRaisesRegex(Absent, "fio is not installed"):
                disk.random_read_rate(Path("/nowhere"), 1, 1, disk.DEPTHS)


if __name__ == "__main__":
    unittest.main()
