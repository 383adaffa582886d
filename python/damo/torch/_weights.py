"""The first weights of rows: their checks, their ids, and storing them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .. import _tensors
from .._arrays import keys
from .._embedding import Embedding as Rows

_BATCH_BYTES = 1 << 24


def check(weights: Any) -> None:
    """Raises TypeError unless weights are floats, ValueError unless their shape is (rows, dim)."""
    is_float = (
        weights.dtype.is_floating_point
        if isinstance(weights, torch.Tensor)
        else weights.dtype.kind == "f"
    )
    if not is_float:
        raise TypeError(f"damo.torch: weights must be floats, not {weights.dtype}")
    if len(weights.shape) != 2 or not weights.shape[1]:
        raise ValueError(
            f"damo.torch: weights has shape {tuple(weights.shape)}; (rows, dim) is needed"
        )


def _batch(weights: Any, begin: int, end: int) -> np.ndarray:
    """Rows begin to end (exclusive) as contiguous float32 in main memory.

    Raises ValueError for a number that is not finite.
    """
    part = weights[begin:end]
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(_tensors.floats(part, "weights"), np.float32)
    if not np.isfinite(floats).all():
        row, column = (int(place[0]) for place in np.nonzero(~np.isfinite(floats)))
        raise ValueError(
            f"damo.torch: weights has {floats[row, column]} in row {begin + row}, column {column};"
            " finite float32 is needed"
        )
    return floats


def ids_of(ids: Any, rows: int, padding_idx: int | None) -> np.ndarray | None:
    """ids as int64 of shape (rows,). None stays None, and means 0, 1, 2 and so on.

    Raises TypeError for ids that are no integers, ValueError for another shape, for an id that
    occurs twice, and, if ids is None, for a padding_idx that is none of them.
    """
    if ids is not None:
        numbers = keys(ids)
        if numbers.shape != (rows,):
            raise ValueError(
                f"damo.torch: ids has shape {numbers.shape}; weights has {rows} rows, which need an"
                " id each"
            )
        if len(np.unique(numbers)) < rows:
            raise ValueError("damo.torch: there is an id twice among ids; each row needs its own")
        return numbers
    if padding_idx is not None and not 0 <= padding_idx < rows:
        raise ValueError(
            f"damo.torch: padding_idx is {padding_idx}, and the rows of weights have the ids"
            f" 0..{rows - 1}. It is an id here, and does not count from the end: {rows - 1} is the"
            f" last row. With ids=range({rows}) it may be any id"
        )
    return None


def store(rows: Rows, weights: Any, ids: np.ndarray | None, is_kept: bool, fresh: bool) -> None:
    """Inserts weights of shape (n, dim), except those of the padding id, which has no row.

    Everything is checked before anything changes. is_kept: raises ValueError unless the padding
    id's weights are zeros, since torch would return them as they are. fresh: empties the group
    first.
    """
    count, dim = weights.shape
    size = max(1, _BATCH_BYTES // (4 * dim))
    begins = range(0, count, size)
    padding = rows.padding_key

    def numbers(begin: int) -> np.ndarray:
        end = min(begin + size, count)
        return np.arange(begin, end, dtype=np.int64) if ids is None else ids[begin:end]

    for is_checked in (False, True):
        if is_checked and fresh:
            rows.clear()
        for begin in begins:
            floats, these = _batch(weights, begin, begin + size), numbers(begin)
            kept = these != padding if padding is not None else None
            if kept is not None and not kept.all():
                if is_kept and floats[~kept].any():
                    raise ValueError(
                        f"damo.torch: the row of padding_idx {padding} is not zeros, which torch"
                        " would return as it is and a storage has as zeros; set it to zeros, or"
                        " leave padding_idx out"
                    )
                floats, these = floats[kept], these[kept]
            if is_checked:
                rows.insert(these, floats)
