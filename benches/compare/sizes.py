"""How large tables are, and the caches for them."""

from __future__ import annotations

GIB = 1 << 30
DIM = 16
# adam: weights and two moments.
FLOATS_A_WEIGHT = 3
# What a row of damo takes in memory beside its floats, generously.
BYTES_A_ROW = 64


def table_bytes(rows: int, dim: int = DIM) -> int:
    """The floats of a table: what `ten times the cache` is counted in."""
    return rows * dim * FLOATS_A_WEIGHT * 4


def large_cache(rows: int, dim: int = DIM) -> int:
    """A cache in which every row finds room, whatever a row needs beside its floats."""
    return 2 * table_bytes(rows, dim) + GIB
