"""Keys and gradients: the same for every system, a function of the seed alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SAMPLES, FIELDS = 4096, 26
BATCH = SAMPLES * FIELDS
ZIPF_EXPONENT = 1.05

# A prime above any number of ids used here: multiplying by it, modulo that number, permutes ids.
SCATTER = 2_654_435_761
GRADIENT_POOL = 4


def scatter(ranks: np.ndarray, ids: int) -> np.ndarray:
    """Permutes 0..ids-1, so that frequent ids are not neighbours."""
    return ((ranks.astype(np.uint64) * np.uint64(SCATTER)) % np.uint64(ids)).astype(np.int64)


def mix(dense: np.ndarray) -> np.ndarray:
    """Spreads ids over all of int64, one to one (the finalizer of splitmix64)."""
    x = dense.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).view(np.int64)


def zipf_cdf(ids: int) -> np.ndarray:
    """P(rank <= i) for ranks 0..ids-1, in float64."""
    cdf = np.arange(1, ids + 1, dtype=np.float64)
    np.power(cdf, -ZIPF_EXPONENT, out=cdf)
    np.cumsum(cdf, out=cdf)
    cdf /= cdf[-1]
    return cdf


def write_zipf_batches(
    path: Path, ids: int, batches: int, seed: int, cdf: np.ndarray | None = None
) -> None:
    """Writes batches of dense, scattered ids, as uint32.

    They are drawn by inverting the distribution function.
    """
    cdf = zipf_cdf(ids) if cdf is None else cdf
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        for _ in range(batches):
            uniform = rng.random(BATCH)
            # Sorted queries walk through the table instead of jumping about. Their order is
            # restored.
            order = np.argsort(uniform)
            ranks = np.empty(BATCH, np.int64)
            ranks[order] = np.searchsorted(cdf, uniform[order], side="right")
            scatter(np.minimum(ranks, ids - 1), ids).astype(np.uint32).tofile(file)


class Batches:
    """Reads such a file a batch at a time, and starts over at its end.

    So the file does not count as the reader's memory.
    """

    def __init__(self, path: Path, mixed: bool) -> None:
        self._file = path.open("rb", buffering=0)
        self._mixed = mixed
        self.count = path.stat().st_size // (4 * BATCH)

    def __getitem__(self, index: int) -> np.ndarray:
        self._file.seek(index % self.count * 4 * BATCH)
        dense = np.frombuffer(self._file.read(4 * BATCH), np.uint32).astype(np.int64)
        return mix(dense) if self._mixed else dense


def gradient_pool(dim: int, rows: int = BATCH, seed: int = 7) -> list[np.ndarray]:
    """Batch i takes the gradients of pool[i % len(pool)]: large pools would only fill memory."""
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal((rows, dim), dtype=np.float32) * np.float32(0.01)
        for _ in range(GRADIENT_POOL)
    ]
