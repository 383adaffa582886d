"""Rows of floats in arrays, which may have gaps between them: columns of a matrix, for instance."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _arrays
from ._errors import InvalidArgumentError


def check(array: Any, what: str, shape: tuple[int, ...], *, writable: bool) -> None:
    """Checks rows of floats: those of a matrix may have gaps between them."""
    has_gaps = (
        isinstance(array, np.ndarray)
        and array.ndim == 2
        and array.shape[1] > 0
        and (array.shape[1] == 1 or array.strides[1] == array.itemsize)
    )
    if has_gaps and array.shape == shape:
        # One row is contiguous, and like the others in all that is checked.
        array, shape = array[:1], array[:1].shape
    _arrays.floats(array, what, (shape,), writable=writable)


def rows_of(array: np.ndarray, what: str, dim: int) -> tuple[int, int, int]:
    """Address, length and stride of rows that check has passed, in floats."""
    count = array.size // dim if dim else 0
    stride = dim
    if array.ndim == 2 and count > 1:
        stride, rest = divmod(array.strides[0], array.itemsize)
        if rest or stride < dim:
            raise InvalidArgumentError(
                f"damo: {what} has strides {array.strides}; rows must follow one another without"
                " overlapping, at whole floats (numpy.ascontiguousarray makes a copy)"
            )
    return _arrays.address(array), (count - 1) * stride + dim if count else 0, stride
