"""The scenarios: which tasks are run on which systems. Those of large tables, of few keys, and of
many cores or callers are in files of their own.

Each function adds its Measurements to the session.
"""

from __future__ import annotations

from typing import Any

import beyond_memory
import cores
import dlrm_steps
import large_tables
import many_callers
import small_calls
import torch_layers
from measure import available_memory
from session import Session
from sizes import BYTES_A_ROW, DIM, GIB, large_cache, table_bytes
from variants import (
    LMDB_CACHED,
    LMDB_TRANSACTIONS,
    PEERS,
    REFERENCE_BATCHES,
    REFERENCE_IDS,
    beside_fbgemm,
)


# More than the batches of the reference workload have.
REFERENCE_ROWS = 2_000_000


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
        variants += [("lmdb_numpy", *LMDB_TRANSACTIONS)]
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
        ("damo_embedding_1_1", "summed before", {}),
        ("lmdb_numpy", LMDB_CACHED[0], {**LMDB_CACHED[1], "cache_rows": REFERENCE_ROWS}),
        ("lmdb_numpy", *LMDB_TRANSACTIONS),
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
        "lmdb_numpy": {**LMDB_CACHED[1], "cache_rows": rows},
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


# Names for --only. disk-uniform and disk-zipf share a table.
NAMES = (
    "table",
    "reference",
    "sustained",
    "resident",
    "calls",
    "cores",
    "callers",
    "layers",
    "dlrm",
    "gpu",
    "disk-uniform",
    "disk-zipf",
    "growth",
)
# These are run only if they are named, or all of them by BEYOND.
LONG = beyond_memory.NAMES
BEYOND = "beyond"


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
    if "cores" in names:
        cores.scenario(session)
    if "callers" in names:
        many_callers.scenario(session)
    if "layers" in names:
        torch_layers.layers(session)
    if "dlrm" in names:
        dlrm_steps.scenario(session)
    if "gpu" in names:
        torch_layers.on_gpu(session)
    if "disk-uniform" in names or "disk-zipf" in names:
        large_tables.larger_than_cache(session, lambda name: name in names)
    if "growth" in names:
        large_tables.growth(session)
    if any(name in names for name in beyond_memory.NAMES):
        beyond_memory.scenario(session, names)
