"""Memory for rows, which the C library keeps from one step to the next.

Knows tensors, but no storages.
"""

from __future__ import annotations

import numpy as np
import torch

_LARGE_BYTES = 64 << 10
"""Less memory than this is never mapped for itself."""

_MOST_BYTES = (32 << 20) - (64 << 10)
"""glibc learns from blocks of up to 32 MiB, header and whole pages included. This is below."""

_is_kept = False


def _keep_memory() -> None:
    """Makes glibc keep up to 64 MiB of freed memory, and map blocks above 32 MiB only.

    glibc learns from the largest mapped block that a program has freed. It maps no smaller block
    any more, and keeps twice as much freed memory. Until then the tensors of each step go back to
    the system, and cost a page fault for every 4 KiB in the next step. This frees such a block,
    and no byte of it is touched. A program that sets glibc's thresholds itself keeps its own,
    since glibc does not learn then. Other allocators have no such rule.
    """
    global _is_kept
    _is_kept = True
    try:
        np.empty(_MOST_BYTES, np.uint8)
    except MemoryError:  # Under a limit on the address space everything goes on as before.
        pass


def empty_rows(ids: int, dim: int) -> torch.Tensor:
    """float32 of shape (ids, dim) in main memory, not initialized."""
    if not _is_kept and ids * dim * 4 >= _LARGE_BYTES:
        _keep_memory()
    return torch.empty((ids, dim), dtype=torch.float32, device="cpu")
