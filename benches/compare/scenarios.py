"""The scenarios: which tasks are run on which systems. small_calls.py has one more.

Each function adds its Measurements to the session.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import small_calls
from disk import random_read_rate
from measure import available_memory
from session import Absent, Session
from sizes import BYTES_A_ROW, DIM, GIB, large_cache, table_bytes

REFERENCE_IDS = 10_000_000
REFERENCE_BATCHES = 40

PEERS = ("torch_sparse_adam", "torch_newest", "fbgemm", "tfra", "damo_embedding")
# FBGEMM has no adam on the processor. damo is measured with the optimizers that it has.
ADAGRADS = ("rowwise_adagrad", "adagrad")


def beside_fbgemm(durabilities: tuple[str, ...], cache: int) -> list[tuple[str, str, dict]]:
    """FBGEMM's optimizers, on damo and on FBGEMM: systems, variants and options."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for optimizer in ADAGRADS:
        for durability in durabilities:
            options = {"durability": durability, "cache_bytes": cache, "optimizer": optimizer}
            found.append(("damo", f"{durability}, {optimizer}", options))
        found.append(("fbgemm", optimizer, {"optimizer": optimizer}))
    return found


def full_table(session: Session) -> None:
    """A full table in memory, and batches that no run has seen before: what training looks like."""
    sizes = (200_000,) if session.quick else (6_000_000, 50_000_000)
    for number, rows in enumerate(sizes):
        scenario = "table" if number == 0 else f"table-{rows // 1_000_000}M"
        if rows > session.max_rows:
            break
        need = rows * BYTES_A_ROW + table_bytes(rows)
        base = {
            "program": "train",
            "ids": rows,
            "rows": rows,
            "fill": True,
            "dim": DIM,
            "first_pass": 5 if session.quick else 20,
            "seconds": session.seconds(20),
        }
        variants: list[tuple[str, str, dict[str, Any]]] = [
            ("damo", durability, {"durability": durability, "cache_bytes": large_cache(rows)})
            for durability in ("checkpoint", "process")
        ]
        variants += [("torch_sparse_adam", "", {}), ("torch_newest", "", {}), ("tfra", "", {})]
        variants += beside_fbgemm(("checkpoint", "process"), large_cache(rows))
        for system, variant, options in variants:
            if available_memory() < 1.25 * need:
                reason = f"needs {1.25 * need / 1e9:.0f} GB of free memory"
                session.absent(scenario, system, variant, reason)
                continue
            batches = session.zipf_batches(rows, 60 if session.quick else 1500)
            session.measure(
                scenario,
                system,
                variant,
                {**base, "batches": batches, "options": options},
                disk_bytes=4 * table_bytes(rows),
            )


def reference(session: Session) -> None:
    """SPEC's reference workload with everything resident, on every system."""
    count = 10 if session.quick else REFERENCE_BATCHES
    base = {
        "program": "train",
        "ids": REFERENCE_IDS,
        "dim": DIM,
        "first_pass": count,
        "cycle": count,
        "seconds": session.seconds(30),
        "batches": session.zipf_batches(REFERENCE_IDS, REFERENCE_BATCHES),
    }
    variants = [
        ("damo", "checkpoint", {"durability": "checkpoint", "cache_bytes": 4 * GIB}),
        ("torch_sparse_adam", "", {}),
        ("torch_newest", "", {}),
        ("tfra", "", {}),
        ("damo_embedding", "summed before", {"coalesce": True}),
        *beside_fbgemm(("checkpoint",), 4 * GIB),
    ]
    for system, variant, options in variants:
        session.measure(
            "reference", system, variant, {**base, "options": options}, disk_bytes=8 * GIB
        )
    if not session.quick:
        # A batch as it is has thousands of gradients of a frequent key. damo_embedding keeps a
        # record for each, and reads all of them for each occurrence of the key: a few steps take
        # minutes.
        session.measure(
            "reference",
            "damo_embedding",
            "as it is",
            {**base, "first_pass": 2, "min_steps": 2, "seconds": 1, "options": {"coalesce": False}},
            disk_bytes=8 * GIB,
            limit=180,
        )


def sustained(session: Session) -> None:
    """The reference workload with every call safe against a crash, long enough to show a stall."""
    base = {
        "program": "train",
        "ids": REFERENCE_IDS,
        "dim": DIM,
        "first_pass": REFERENCE_BATCHES,
        "cycle": REFERENCE_BATCHES,
        "batches": session.zipf_batches(REFERENCE_IDS, REFERENCE_BATCHES),
    }
    if session.quick:
        base |= {"first_pass": 5, "cycle": 5}
    for durability, seconds in (
        ("process", session.seconds(120)),
        ("power", min(10, session.seconds(10))),
    ):
        options = {"durability": durability, "cache_bytes": 4 * GIB}
        session.measure(
            "sustained",
            "damo",
            durability,
            {**base, "seconds": seconds, "options": options},
            disk_bytes=16 * GIB,
        )


def resident(session: Session) -> None:
    """Lookup and apply_gradients alone, uniform over a million rows that are all in memory."""
    rows = 200_000 if session.quick else 1_000_000
    base = {"ids": rows, "rows": rows, "dim": DIM, "batch": 100_000, "seconds": session.seconds(8)}
    cache = {"cache_bytes": large_cache(rows)}
    options_of = {
        "damo": {**cache, "durability": "checkpoint"},
        "fbgemm": {"optimizer": "rowwise_adagrad"},
    }
    for system in ("damo", *PEERS):
        session.measure(
            "resident-lookup",
            system,
            "",
            {**base, "program": "lookup", "cold": False, "options": options_of.get(system, {})},
            disk_bytes=2 * GIB,
        )
    for durability in ("checkpoint", "process"):
        for duplicates in ("sequential", "sum"):
            options = {**cache, "durability": durability, "duplicates": duplicates}
            session.measure(
                "resident-adam",
                "damo",
                f"{durability}, {duplicates}",
                {**base, "program": "apply", "options": options},
                disk_bytes=8 * GIB,
            )


def larger_than_cache(session: Session, only: Callable[[str], bool]) -> None:
    """A table ten times the cache: built once, then each run on a copy of it."""
    rows = session.table_rows
    cache = table_bytes(rows) // 10
    need = 4 * table_bytes(rows)
    table = session.directory / "table"
    built = session.measure(
        "build",
        "damo",
        f"{rows / 1e6:g} M rows",
        {
            "program": "build",
            "ids": rows,
            "rows": rows,
            "dim": DIM,
            "saved": str(session.directory / "table.npz"),
            "options": {"durability": "checkpoint", "cache_bytes": 4 * cache},
            "directory": str(table),
        },
        disk_bytes=need,
        keep=True,
    )
    base = {
        "ids": rows,
        "rows": rows,
        "dim": DIM,
        "table_bytes": table_bytes(rows),
        "table_rows": rows,
        "saved": str(session.directory / "table.npz"),
    }

    def run(scenario: str, variant: str, task: dict[str, Any]) -> None:
        if "damo" not in session.systems:
            return
        if built is None or not built.ok:
            session.absent(scenario, "damo", variant, "the table could not be built")
            return
        if not session.has_space(need):
            session.absent(scenario, "damo", variant, f"needs up to {need / 1e9:.0f} GB of disk")
            return
        copy = session.directory / "copy"
        shutil.copytree(table, copy)
        session.measure(
            scenario, "damo", variant, {**base, **task, "directory": str(copy)}, disk_bytes=0
        )

    if only("disk-uniform"):
        try:
            fio = random_read_rate(
                session.directory, max(table_bytes(rows), GIB), min(10, session.seconds(10))
            )
            session.record("disk-uniform", "fio", "4 KiB, direct, depth 32", {"fio": fio})
        except Absent as reason:
            session.absent("disk-uniform", "fio", "4 KiB, direct, depth 32", str(reason))
        run(
            "disk-uniform",
            "lookup",
            {
                "program": "lookup",
                "cold": True,
                "batch": 26 * 4096,
                "seconds": session.seconds(20),
                "options": {"durability": "checkpoint", "cache_bytes": cache},
            },
        )
    if only("disk-zipf"):
        seconds = session.seconds(40)
        batches = session.zipf_batches(rows, 60 if session.quick else 1500)
        for durability in ("checkpoint", "process"):
            for name, size in (("cache 1/10", cache), ("in memory", large_cache(rows))):
                for prefetch in (False, True):
                    if prefetch and name == "in memory":
                        continue
                    run(
                        "disk-zipf",
                        f"{durability}, {name}" + (", prefetch" if prefetch else ""),
                        {
                            "program": "train",
                            "seconds": seconds,
                            "batches": batches,
                            "prefetch": prefetch,
                            "first_pass": 5 if session.quick else 40,
                            "options": {"durability": durability, "cache_bytes": size},
                        },
                    )
        # The earlier implementation gets the same table, made by its own means.
        peer = {
            **base,
            "directory": str(session.directory / "peer"),
            "options": {"coalesce": True},
            "saved": str(session.directory / "peer.npz"),
        }
        built_peer = session.measure(
            "build",
            "damo_embedding",
            f"{rows / 1e6:g} M rows",
            {**peer, "program": "build"},
            disk_bytes=need,
            keep=True,
        )
        if built_peer is not None and built_peer.ok:
            session.measure(
                "disk-zipf",
                "damo_embedding",
                "summed before",
                {
                    **peer,
                    "program": "train",
                    "seconds": seconds,
                    "batches": batches,
                    "first_pass": 5,
                },
                disk_bytes=need,
            )
        shutil.rmtree(session.directory / "peer", ignore_errors=True)
    shutil.rmtree(table, ignore_errors=True)


def growth(session: Session) -> None:
    """Tables of 1 to 100 million rows under the same cache, and rows of 8 to 128 weights."""
    seconds = session.seconds(15)
    cache = 2 * GIB
    for rows in (1, 3, 10, 30, 100):
        rows *= 1_000_000
        if rows > session.max_rows:
            break
        directory, saved = str(session.directory / "growth"), str(session.directory / "growth.npz")
        base = {
            "ids": rows,
            "rows": rows,
            "table_rows": rows,
            "dim": DIM,
            "directory": directory,
            "saved": saved,
            "options": {"durability": "process", "cache_bytes": cache},
        }
        built = session.measure(
            "growth-build",
            "damo",
            f"{rows / 1e6:g} M rows",
            {**base, "program": "build"},
            disk_bytes=4 * table_bytes(rows),
            keep=True,
        )
        if built is not None and built.ok:
            batches = session.zipf_batches(rows, 60 if session.quick else 400)
            session.measure(
                "growth-rows",
                "damo",
                f"{rows / 1e6:g} M rows",
                {
                    **base,
                    "program": "train",
                    "first_pass": 10,
                    "seconds": seconds,
                    "batches": batches,
                },
                disk_bytes=table_bytes(rows),
            )
            session.forget_batches(batches)
        shutil.rmtree(directory, ignore_errors=True)
        if built is None or not built.ok:
            break
    rows = 1_000_000
    for dim in (8, 16, 32, 64, 128):
        session.measure(
            "growth-dim",
            "damo",
            f"dim {dim}",
            {
                "program": "train",
                "ids": rows,
                "dim": dim,
                "first_pass": 5 if session.quick else 40,
                "seconds": min(seconds, 8),
                "batches": session.zipf_batches(rows, 60 if session.quick else 400),
                "options": {"durability": "process", "cache_bytes": large_cache(rows, dim)},
            },
            disk_bytes=10 * table_bytes(rows, dim),
        )


# Names for --only. disk-uniform and disk-zipf share a table.
NAMES = (
    "table",
    "reference",
    "sustained",
    "resident",
    "calls",
    "disk-uniform",
    "disk-zipf",
    "growth",
)


def run(session: Session, names: list[str]) -> None:
    if "table" in names:
        full_table(session)
    if "reference" in names:
        reference(session)
    if "sustained" in names:
        sustained(session)
    if "resident" in names:
        resident(session)
    if "calls" in names:
        small_calls.scenario(session)
    if "disk-uniform" in names or "disk-zipf" in names:
        larger_than_cache(session, lambda name: name in names)
    if "growth" in names:
        growth(session)
