"""The scenarios "beyond-...": tables ten times the cache, of 10 and 100 million rows, on 2 cores
and on all. The systems are damo, an earlier libdamo, LMDB with NumPy, and damo-embedding 1.1.

Each system makes a table in each round of beyond-build. The other scenarios go on with the last
one. Runs take turns: turns.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cores import cpus, plural
from disk import DEPTHS, random_read_rate
from measure import available_memory
from native import build
from session import Absent, Session
from sizes import DIM, GIB, large_cache, table_bytes
from systems import numpy_adam
from turns import Figures, Run, in_turns
from variants import LMDB_CACHED, LMDB_TRANSACTIONS

BUILD, ZIPF, COLD = "beyond-build", "beyond-zipf", "beyond-cold"
UNIFORM, NEW, CALLS, FILES = "beyond-uniform", "beyond-new", "beyond-calls", "beyond-files"
NAMES = (BUILD, ZIPF, NEW, CALLS, FILES, UNIFORM, COLD)
CALL_SIZES = (8, 39, 96, 256)
DAMO = ("damo", "damo_before")
PEERS = ("lmdb_numpy", "damo_embedding_1_1")
CACHED, IN_MEMORY = "checkpoint, cache 1/10", "checkpoint, in memory"
SUMMED_BEFORE = "summed before"
# Where the page cache is to be cold, a process has so much beside its cache: Python, the batches,
# and a little page cache. LMDB's transactions have their changed pages in memory, and a key in
# Python's dictionary takes so many bytes.
COLD_BYTES, TRANSACTION_BYTES, DICTIONARY_BYTES = 320 << 20, 128 << 20, 200
HUNDRED_MILLION = 100_000_000


def scenario(session: Session, names: list[str]) -> None:
    for rows in session.beyond_rows:
        try:
            Beyond(session, rows).run(names)
        except Absent as reason:
            session.absent(BUILD, "damo", millions(rows), str(reason))
    if not session.quick and HUNDRED_MILLION not in session.beyond_rows:
        need = Beyond(session, HUNDRED_MILLION).disk_bytes("damo")
        session.absent(
            BUILD,
            "damo",
            millions(HUNDRED_MILLION),
            "left out: --hundred-million adds it. It takes an hour or more, and up to"
            f" {need / 1e9:.0f} GB of disk for each system",
        )


def millions(rows: int) -> str:
    return f"{rows / 1e6:g} M rows"


def figures(result: dict[str, Any]) -> Figures:
    return result["figures"]


class Beyond:
    """All scenarios of one size of table."""

    def __init__(self, session: Session, rows: int) -> None:
        self._session, self._rows = session, rows
        self._cache = table_bytes(rows) // 10
        self._cpus = cpus()
        counts = session.cores_given or [2, len(self._cpus)]
        self._cores = sorted({min(count, len(self._cpus)) for count in counts})

    def run(self, names: list[str]) -> None:
        parts: dict[str, Callable[[], None]] = {
            ZIPF: self._zipf,
            NEW: self._new_keys,
            CALLS: self._calls,
            FILES: self._files,
            # These limit memory, which may end a system.
            UNIFORM: self._uniform,
            COLD: self._cold,
        }
        try:
            self._build(BUILD in names)
            for name, part in parts.items():
                if name in names:
                    part()
        finally:
            for system in (*DAMO, *PEERS):
                shutil.rmtree(self._directory(system), ignore_errors=True)

    def disk_bytes(self, system: str) -> int:
        """What a table may take while it is made. A merge writes rows anew before it removes them;
        a B+ tree that is filled in any order is two thirds full.
        """
        return int((1.6 if system in DAMO else 2) * table_bytes(self._rows)) + GIB

    def _directory(self, system: str) -> Path:
        return self._session.directory / f"beyond-{system}"

    def _made(self, system: str) -> bool:
        saved = self._directory(system).with_suffix(".npz")
        return saved.exists() and self._directory(system).exists()

    def _task(self, system: str, cores: int, options: dict[str, Any]) -> dict[str, Any]:
        directory = self._directory(system)
        cache = options.get("cache_bytes", options.get("cache_rows", 0) * table_bytes(1))
        return {
            "ids": self._rows,
            "rows": self._rows,
            "dim": DIM,
            # New keys lie between those that are there, as hashes do.
            "mixed": True,
            "directory": str(directory),
            "saved": str(directory.with_suffix(".npz")),
            "cpus": self._cpus[:cores],
            "options": options,
            "cache_bytes": cache,
            "warm_up": 2 if self._session.quick else 120,
        }

    def _variants(self) -> list[tuple[str, str, dict[str, Any]]]:
        """A cache of a tenth of the table, where a system has a cache."""
        cached = {"durability": "checkpoint", "cache_bytes": self._cache}
        found: list[tuple[str, str, dict[str, Any]]] = [(damo, CACHED, cached) for damo in DAMO]
        found.append(("lmdb_numpy", LMDB_CACHED[0], self._lmdb(10)))
        found.append(("damo_embedding_1_1", SUMMED_BEFORE, {}))
        return found

    def _lmdb(self, share: int) -> dict[str, Any]:
        """Rows in memory, in as many bytes as damo's cache has; the dictionary comes on top."""
        cache_rows = table_bytes(self._rows) // share // (4 * numpy_adam.width(DIM))
        return {**LMDB_CACHED[1], "cache_rows": cache_rows}

    def _in_turns(
        self,
        name: str,
        variants: list[tuple[str, str, dict[str, Any]]],
        more: dict[str, Any],
        cores: list[int] | None = None,
        rounds: int | None = None,
        **run: Any,
    ) -> None:
        session, runs = self._session, []
        for count in cores or self._cores:
            for system, variant, options in variants:
                if system not in session.systems:
                    continue
                title = f"{millions(self._rows)}, {variant}, {plural(count)}"
                if name != BUILD and not self._made(system):
                    reason = "its table could not be made, or an earlier run on it failed"
                    session.absent(name, system, title, reason)
                    continue
                if options.get("cache_bytes", 0) > available_memory():
                    need = options["cache_bytes"] / 1e9
                    session.absent(name, system, title, f"needs {need:.0f} GB of free memory")
                    continue
                task = {**self._task(system, count, options), "series": variant, **more}
                if task.get("page_cache") == "cold":
                    task["memory_bytes"] = self._cold_bytes(task)
                if variant == IN_MEMORY:
                    task |= {"in_memory": True, "fills_cache": False}
                    task["warm_up"] = session.seconds(5, quick=1)
                need = self.disk_bytes(system) if name == BUILD else GIB
                runs.append(Run(system, title, task, need, keep=True, **run))
        if runs:
            in_turns(session, name, runs, rounds or session.rounds, figures)

    def _cold_bytes(self, task: dict[str, Any]) -> int:
        """The memory limit of the cgroup where the page cache is to be cold."""
        hot = task["options"].get("cache_rows", 0)
        of_lmdb = TRANSACTION_BYTES + hot * DICTIONARY_BYTES if hot else 0
        return COLD_BYTES + task["cache_bytes"] * 5 // 4 + of_lmdb

    def _build(self, compared: bool) -> None:
        """Builds in several rounds only if builds are compared, and take minutes, not hours."""
        in_minutes = self._rows < HUNDRED_MILLION
        cores = self._cores if compared else self._cores[-1:]
        rounds = self._session.rounds if compared and in_minutes else 1
        limit = 1800 if in_minutes else 4 * 3600
        task = {"program": "beyond_build"}
        self._in_turns(BUILD, self._variants(), task, cores, rounds, fresh=True, limit=limit)

    def _steps(self, **more: Any) -> dict[str, Any]:
        batches = self._session.zipf_batches(self._rows, 60 if self._session.quick else 1500)
        seconds = self._session.seconds(10, quick=1)
        return {"program": "beyond_steps", "batches": batches, "seconds": seconds, **more}

    def _zipf(self) -> None:
        variants = self._variants()
        for damo in DAMO:
            process = {"durability": "process", "cache_bytes": self._cache}
            large = {"durability": "checkpoint", "cache_bytes": large_cache(self._rows)}
            variants.append((damo, "process, cache 1/10", process))
            variants.append((damo, IN_MEMORY, large))
        variants.append(("lmdb_numpy", *LMDB_TRANSACTIONS))
        self._in_turns(ZIPF, variants, self._steps(page_cache="warm"))

    def _cold(self) -> None:
        self._fio(COLD)
        self._in_turns(COLD, self._variants(), self._steps(page_cache="cold"))

    def _fio(self, name: str) -> None:
        session = self._session
        seconds = session.seconds(5, quick=1)
        # Past the page cache the size hardly matters.
        size = min(max(table_bytes(self._rows), GIB), 8 * GIB) if not session.quick else GIB // 4
        variant = f"{millions(self._rows)}, best depth"
        if session.find(COLD, "fio", variant):
            return
        try:
            depths = DEPTHS[:2] if session.quick else DEPTHS
            fio = random_read_rate(session.directory, size, seconds, depths)
            session.record(COLD, "fio", variant, {"fio": fio})
        except Absent as reason:
            session.absent(name, "fio", variant, str(reason))

    def _uniform(self) -> None:
        self._fio(UNIFORM)
        task = {
            "program": "beyond_lookups",
            "seconds": self._session.seconds(5, quick=1),
            "warm_up": self._session.seconds(30, quick=1),
        }
        for page_cache in ("warm", "cold"):
            # A call of as many uniform keys takes damo-embedding many seconds.
            variants = [
                (system, f"{variant}, page cache {page_cache}", options)
                for system, variant, options in self._variants()
                if system != "damo_embedding_1_1"
            ]
            self._in_turns(UNIFORM, variants, {**task, "page_cache": page_cache})

    def _new_keys(self) -> None:
        task = {
            "program": "beyond_lookups",
            "seconds": self._session.seconds(3, quick=1),
            "new_keys": True,
            "page_cache": "warm",
            "warm_up": self._session.seconds(5, quick=1),
        }
        # damo-embedding makes a row for each key that it looks up.
        variants = [v for v in self._variants() if v[0] != "damo_embedding_1_1"]
        self._in_turns(NEW, variants, task, self._cores[-1:])

    def _calls(self) -> None:
        session, fifth = self._session, 2 * self._cache
        options = {"durability": "checkpoint", "cache_bytes": fifth, "threads": 1}
        variants = [(damo, "checkpoint, cache 1/5", options) for damo in DAMO]
        variants.append(("lmdb_numpy", LMDB_CACHED[0], self._lmdb(5)))
        task = self._steps(page_cache="warm", program="beyond_calls", sizes=CALL_SIZES)
        task["stretch"] = 10 if session.quick else 80
        try:
            library, task["compiled"] = build(session.directory)
        except RuntimeError as reason:
            session.absent(CALLS, "damo", millions(self._rows), str(reason))
            return
        self._in_turns(CALLS, variants, {**task, "native": str(library)}, self._cores[-1:])

    def _files(self) -> None:
        """With a cache of 1 GiB, or half of a smaller table; then closing with all rows dirty."""
        cache = min(GIB, table_bytes(self._rows) // 2)
        scratch = str(self._session.directory / "scratch")
        task = {"program": "beyond_files", "scratch": scratch}
        all_rows = {"close_only": True, "fills_cache": False}
        for variant, more, cache_bytes in (
            ("half of the cache dirty", {}, cache),
            ("all rows dirty", all_rows, large_cache(self._rows)),
        ):
            options = {"durability": "checkpoint", "cache_bytes": cache_bytes}
            variants = [(damo, variant, options) for damo in DAMO]
            self._in_turns(FILES, variants, {**task, **more}, self._cores[-1:])
        shutil.rmtree(scratch, ignore_errors=True)
