"""What several scenarios share: the reference workload, the peers, and FBGEMM's optimizers."""

from __future__ import annotations

from typing import Any

REFERENCE_IDS = 10_000_000
REFERENCE_BATCHES = 40

PEERS = (
    "torch_sparse_adam",
    "torch_newest",
    "fbgemm",
    "tfra",
    "damo_embedding",
    "damo_embedding_1_1",
    "lmdb_numpy",
)
# The offload onto LMDB: its variants' names and options, but for how many rows it has in memory.
LMDB_TRANSACTIONS = ("a transaction a step", {"sync": False})
LMDB_CACHED = ("rows in memory", {"sync": False})
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
