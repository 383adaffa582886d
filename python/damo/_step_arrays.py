"""The arrays of a Step: results and gradients, as one array a feature or as one matrix."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from . import _strided, _tensors
from ._errors import InvalidArgumentError
from ._step_features import Feature, Shape, check_names
from ._step_handle import Rows


def rows_of(
    arrays: Any,
    what: str,
    features: Sequence[Feature],
    shapes: Sequence[Shape],
    *,
    writable: bool,
) -> tuple[list[Rows], list[Any]]:
    """The memory of each feature's rows in a dict of arrays, or in a matrix of all.

    Also returns the arrays that own this memory. Keep them until the end of the call.
    """
    if isinstance(arrays, Mapping):
        check_names(arrays, what, features)
        rows, kept = [], []
        for one, shape in zip(features, shapes):
            called, width = f"{one}: {what}", one.embedding.dim
            array = arrays[one.name]
            if not writable:
                array = _tensors.floats(array, called)
            _strided.check(array, called, (*shape, width), writable=writable)
            rows.append(_strided.rows_of(array, called, width))
            kept.append(array)
        return rows, kept
    dim = features[-1].columns.stop
    batch = _batch(what, features, shapes)
    _strided.check(arrays, what, (batch, dim), writable=writable)
    address, _, stride = _strided.rows_of(arrays, what, dim)
    rows = []
    for one in features:
        length = (batch - 1) * stride + one.embedding.dim if batch else 0
        rows.append((address + one.begin * arrays.itemsize, length, stride))
    return rows, [arrays]


def _batch(what: str, features: Sequence[Feature], shapes: Sequence[Shape]) -> int:
    """The number of rows of a matrix with all features. Raises ValueError if they differ."""
    first = features[0]
    for one, shape in zip(features, shapes):
        if len(shape) != 1:
            raise InvalidArgumentError(
                f"damo: {what} is one matrix, and {one} has keys of shape {shape}; (batch,) is"
                f" needed, or a dict as {what}"
            )
        if shape != shapes[0]:
            raise InvalidArgumentError(
                f"damo: {what} is one matrix, and {one} has {shape[0]} rows, {first}"
                f" {shapes[0][0]}; all features need the same number, or a dict as {what}"
            )
    return shapes[0][0]
