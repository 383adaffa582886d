"""Tables ten times the cache (disk-uniform, disk-zipf), and growing ones (growth)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from disk import DEPTHS, random_read_rate
from session import Absent, Session
from sizes import DIM, GIB, large_cache, table_bytes


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
                session.directory,
                max(table_bytes(rows), GIB),
                min(10, session.seconds(10)),
                DEPTHS[:1],
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
        train = {"program": "train", "seconds": seconds, "batches": batches, "first_pass": 5}
        for peer, options in (("damo_embedding", {"coalesce": True}), ("damo_embedding_1_1", {})):
            earlier_implementation(session, peer, {**base, "options": options}, train)
    shutil.rmtree(table, ignore_errors=True)


def earlier_implementation(
    session: Session, peer: str, base: dict[str, Any], train: dict[str, Any]
) -> None:
    """It gets the same table, made by its own means."""
    need = 4 * base["table_bytes"]
    files = {
        "directory": str(session.directory / "peer"),
        "saved": str(session.directory / "peer.npz"),
    }
    built = session.measure(
        "build",
        peer,
        f"{base['rows'] / 1e6:g} M rows",
        {**base, **files, "program": "build"},
        disk_bytes=need,
        keep=True,
    )
    if built is not None and built.ok:
        task = {**base, **files, **train}
        session.measure("disk-zipf", peer, "summed before", task, disk_bytes=need)
    shutil.rmtree(session.directory / "peer", ignore_errors=True)


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
