"""The ways to keep a table that are tried: a system, how it is set up, how it saves, and what its
documents promise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Steps between two saves, where a way saves.
EACH = 100
# About a fifth of what the rows of the usual table take in damo's memory, so that rows are written
# back all the time.
SMALL_CACHE = 2 << 20
# A step is too small to be worth sharing; on a busy machine a second thread makes it many times
# slower.
TORCH = {"threads": 1}


@dataclass(frozen=True)
class Way:
    name: str
    # A module of benches/compare/systems.
    system: str
    label: str
    setting: str
    # What its documents promise for a process that is killed.
    promise: str
    options: dict[str, Any] = field(default_factory=dict)
    # How the worker saves (worker.py), and after how many steps; None: a step is kept by its own
    # call.
    saving: str | None = None
    each: int = 0

    @property
    def interpreter(self) -> str:
        """Under which name benches/peers.sh tells the Python that has the system's packages."""
        return self.system


WAYS = (
    Way(
        "damo-process",
        "damo",
        "**damo**",
        "durability process (the default)",
        "every step whose call returned, whole",
        {"durability": "process"},
    ),
    Way(
        "damo-power",
        "damo",
        "**damo**",
        "durability power",
        "the same, and when the machine loses power",
        {"durability": "power"},
    ),
    Way(
        "damo-process-disk",
        "damo",
        "**damo**",
        "durability process, a cache smaller than the table",
        "every step whose call returned, whole",
        {"durability": "process", "cache_bytes": SMALL_CACHE},
    ),
    Way(
        "damo-flush",
        "damo",
        "**damo**",
        f"durability checkpoint, flush each {EACH} steps",
        "steps up to the last flush; of later ones each row has some",
        {"durability": "checkpoint"},
        "flush",
        EACH,
    ),
    Way(
        "damo-flush-disk",
        "damo",
        "**damo**",
        "the same, a cache smaller than the table",
        "the same",
        {"durability": "checkpoint", "cache_bytes": SMALL_CACHE},
        "flush",
        EACH,
    ),
    Way(
        "damo-checkpoint",
        "damo",
        "**damo**",
        f"durability checkpoint, a checkpoint each {EACH} steps",
        "the last checkpoint, whole",
        {"durability": "checkpoint"},
        "numbered",
        EACH,
    ),
    Way(
        "damo-embedding-1.0",
        "damo_embedding",
        "damo-embedding 1.0.6",
        "as it is",
        "nothing is said",
    ),
    Way(
        "damo-embedding-1.0-checkpoint",
        "damo_embedding",
        "damo-embedding 1.0.6",
        f"checkpoint and rename, each {EACH} steps, loaded into a new table",
        "by the rename: the last checkpoint, whole",
        {},
        "finished",
        EACH,
    ),
    Way(
        "damo-embedding-1.1",
        "damo_embedding_1_1",
        "damo-embedding 1.1.12",
        "as it is",
        "nothing is said",
    ),
    Way(
        "torch-overwrite",
        "torch_sparse_adam",
        "PyTorch SparseAdam",
        f"torch.save over the last, each {EACH} steps",
        "nothing is said",
        TORCH,
        "overwrite",
        EACH,
    ),
    Way(
        "torch-rename",
        "torch_sparse_adam",
        "PyTorch SparseAdam",
        f"torch.save and rename, each {EACH} steps",
        "by the rename: the last checkpoint, whole",
        TORCH,
        "rename",
        EACH,
    ),
    Way(
        "torch-rename-1",
        "torch_sparse_adam",
        "PyTorch SparseAdam",
        "torch.save and rename, each step",
        "by the rename: the last checkpoint, whole",
        TORCH,
        "rename",
        1,
    ),
    Way(
        "tfra",
        "tfra",
        "TFRA dynamic embedding",
        f"tf.train.CheckpointManager, each {EACH} steps",
        "nothing is said",
        {},
        "overwrite",
        EACH,
    ),
    Way(
        "tfra-1",
        "tfra",
        "TFRA dynamic embedding",
        "tf.train.CheckpointManager, each step",
        "nothing is said",
        {},
        "overwrite",
        1,
    ),
    Way(
        "lmdb",
        "lmdb_numpy",
        "LMDB and NumPy",
        "the default, a transaction a step",
        "every transaction, and when the machine loses power",
    ),
    Way(
        "lmdb-nosync",
        "lmdb_numpy",
        "LMDB and NumPy",
        "sync=False",
        "every transaction; a system crash may lose or damage",
        {"sync": False},
    ),
    Way(
        "lmdb-writemap",
        "lmdb_numpy",
        "LMDB and NumPy",
        "writemap=True, map_async=True",
        "every transaction; a system crash may lose or damage",
        {"writemap": True, "map_async": True},
    ),
    Way(
        "sqlite",
        "sqlite_numpy",
        "SQLite and NumPy",
        "the default, a transaction a step",
        "every transaction, and when the machine loses power",
    ),
    Way(
        "sqlite-wal",
        "sqlite_numpy",
        "SQLite and NumPy",
        "WAL, synchronous=NORMAL",
        "every transaction; losing power may lose the latest",
        {"journal_mode": "wal", "synchronous": "normal"},
    ),
)


def named(names: list[str]) -> list[Way]:
    """The ways with these names; no names: all. A system's name stands for all of its ways."""
    if not names:
        return list(WAYS)
    chosen = [way for way in WAYS if way.name in names or way.system in names]
    known = {way.name for way in WAYS} | {way.system for way in WAYS}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no '{name}'; known are {', '.join(sorted(known))}")
    return chosen
