"""The parts of a Step: what each of its features is given, checked and handed to the library."""

from __future__ import annotations

from typing import Any, Sequence

from . import _arrays, _tensors
from ._errors import InvalidArgumentError
from ._step_features import (
    Feature,
    Shape,
    bags_of,
    check_names,
    checked_occurrences,
    flat,
    naming,
    refuse_bags,
)
from ._step_handle import StepHandle


def replace(
    handle: StepHandle,
    features: Sequence[Feature],
    given: Any,
    occurrences: Any,
    has_last_offset: bool,
) -> list[Shape]:
    """Replaces all parts of a step by those of features. Returns the shapes of their keys or bags.

    given: the keys, or keys and offsets, of each feature by its name. occurrences: None, or a dict.
    """
    check_names(given, "features", features)
    counted = checked_occurrences(occurrences, features)
    handle._clear()
    return [
        _add_bags(handle, one, one.pooling, given[one.name], has_last_offset)
        if one.pooling is not None
        else _add_keys(handle, one, given[one.name], counted.get(one.name))
        for one in features
    ]


def _add_keys(handle: StepHandle, feature: Feature, given: Any, occurrences: Any) -> Shape:
    refuse_bags(given, feature)
    keys = _arrays.keys(given, f"{feature}: keys")
    counts = None
    if occurrences is not None:
        counts = _arrays.counts(occurrences, keys.shape, f"{feature}: occurrences", 1)
    with naming(feature):
        if counts is None:
            handle._add_keys(feature.embedding, _arrays.address(keys), keys.size)
        else:
            handle._add_counted(
                feature.embedding, _arrays.address(keys), keys.size, _arrays.address(counts)
            )
    return keys.shape


def _add_bags(
    handle: StepHandle, feature: Feature, pooling: str, given: Any, has_last_offset: bool
) -> Shape:
    given_keys, given_offsets, given_weights = bags_of(given, feature)
    keys = flat(given_keys, f"{feature}: keys")
    offsets = flat(given_offsets, f"{feature}: offsets")
    weights = None
    if given_weights is not None:
        if pooling != "sum":
            raise InvalidArgumentError(
                f"damo: {feature} has pooling {pooling!r}, and weights are for 'sum'"
            )
        what = f"{feature}: weights"
        weights = _arrays.floats(_tensors.floats(given_weights, what), what, (keys.shape,))
    with naming(feature):
        handle._add_bags(
            feature.embedding,
            _arrays.address(keys),
            keys.size,
            _arrays.address(offsets),
            offsets.size,
            has_last_offset,
            pooling,
            None if weights is None else _arrays.address(weights),
        )
    return (max(offsets.size - has_last_offset, 0),)
