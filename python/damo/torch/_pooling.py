"""Pooling of rows by torch: the sum, mean or max of each bag's rows. Knows tensors only."""

from __future__ import annotations

import torch
from torch.nn import functional

from .._choices import BagMode


def weigh(
    rows: torch.Tensor, padded: torch.Tensor | None, weights: torch.Tensor | None
) -> torch.Tensor:
    """rows in the dtype that bags are summed in, times weights if they are given.

    Rows of 16 bits are summed in float32, as torch does on GPUs. padded: which rows are padding,
    in main memory; None: none.
    """
    summed = rows if rows.dtype == torch.float64 else rows.float()
    if weights is None:
        return summed
    weights = weights.reshape(-1)
    if padded is not None:
        # Padding is left out whatever its weight is, even NaN.
        weights = weights.masked_fill(padded.to(weights.device), 0)
    return summed * weights.to(summed.dtype).unsqueeze(-1)


def pool(
    rows: torch.Tensor, begins: torch.Tensor, padded: torch.Tensor | None, mode: BagMode
) -> torch.Tensor:
    """The sum, mean or max of each bag's rows that are not padding.

    begins: where each bag begins. padded: which rows are padding; None: none. Both are in main
    memory.
    """
    if padded is not None and bool(padded.any()):
        kept = ~padded
        # The number of kept rows before each row, and before the end.
        before = functional.pad(kept.cumsum(0, dtype=torch.int64), (1, 0))
        begins = before[begins]
        places = kept.nonzero().squeeze(1)
    else:
        places = torch.arange(rows.shape[0], dtype=torch.int64, device="cpu")
    if not places.numel() or not begins.numel():
        # Zeros that depend on no row, and still have a gradient function.
        return rows.new_zeros((begins.numel(), rows.shape[1])) + rows[:0].sum()
    # The rows of this call are the table, and the places of the kept ones are the ids.
    return functional.embedding_bag(places.to(rows.device), rows, begins.to(rows.device), mode=mode)
