"""What a collection is given for its features: checks before any row is made.

Knows tensors, but no layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, NamedTuple, Sequence

import torch

from .._choices import BagMode
from ._ids import check_weights, first_places, flat_ids
from ._jagged import is_jagged, is_keyed, of_keyed
from ._tracers import refuse_tracers

_PAIR = "(ids, offsets) or (ids, offsets, weights)"


@dataclass
class Given:
    """The ids of a feature, or its bags."""

    name: str
    ids: torch.Tensor
    """Contiguous int64 of one dimension, in main memory."""
    shape: tuple[int, ...]
    """The shape of the result without its last dimension."""
    device: torch.device
    """Where the ids were, and the result has to be."""
    begins: torch.Tensor | None = None
    """Where each bag begins: int64, in main memory. None: the ids are not in bags."""
    weights: torch.Tensor | None = None
    """A factor for each id, of one dimension, as it was given."""


class Wanted(NamedTuple):
    """A feature of a collection: its name, whether it has bags, and the dtype of its rows."""

    name: str
    pooling: BagMode | None
    dtype: torch.dtype


def read_given(
    features: Any, wanted: Sequence[Wanted], include_last_offset: bool, who: str
) -> list[Given]:
    """What is given for each feature, in the order of wanted.

    features: a dict by names, or an object like a KeyedJaggedTensor. who: the collection's class,
    for messages. Raises TypeError or ValueError, which name the feature.
    """
    if isinstance(features, Mapping):
        _check_names(features, wanted, who)
        return [_read(one, features[one.name], include_last_offset, who) for one in wanted]
    if not is_keyed(features):
        raise TypeError(
            f"damo.torch: {who} needs a dict by the names of features, or a KeyedJaggedTensor, not"
            f" {type(features).__name__}"
        )
    made = []
    for one, (flat, begins, weights) in zip(
        wanted, of_keyed(features, [one.name for one in wanted])
    ):
        made.append(_of_bags(one, flat, begins, weights, features.values().device, who))
    return made


def _check_names(features: Mapping[str, Any], wanted: Sequence[Wanted], who: str) -> None:
    if len(features) == len(wanted) and all(one.name in features for one in wanted):
        return
    names = [one.name for one in wanted]
    missing = [name for name in names if name not in features]
    unknown = [name for name in features if name not in names]
    found = f"no {missing[0]!r}" if missing else f"an unknown {unknown[0]!r}"
    raise ValueError(
        f"damo.torch: the dict has {found}; the features of this {who} are"
        f" {', '.join(map(repr, names))}"
    )


def _read(wanted: Wanted, value: Any, include_last_offset: bool, who: str) -> Given:
    try:
        if isinstance(value, torch.Tensor) or not is_jagged(value):
            read = _ids if wanted.pooling is None else _bags
            return read(wanted, value, include_last_offset, who)
        if is_keyed(value):
            raise TypeError(
                f"a {type(value).__name__} has several features; give it in place of the dict"
            )
        ((flat, begins, weights),) = of_keyed(value, [None])
        return _of_bags(wanted, flat, begins, weights, value.values().device, who)
    except (TypeError, ValueError) as error:
        text = str(error).replace("damo.torch: ", "", 1)
        raise type(error)(f"damo.torch: feature {wanted.name!r}: {text}") from None


def _ids(wanted: Wanted, ids: Any, _last: bool, who: str) -> Given:
    if isinstance(ids, (tuple, list)):
        raise TypeError(
            f"{who} has no pooling, and needs ids in one torch.Tensor, not a {type(ids).__name__};"
            " EmbeddingBagCollection pools (ids, offsets)"
        )
    return Given(wanted.name, flat_ids(ids), tuple(ids.shape), ids.device)


def _bags(wanted: Wanted, value: Any, last: bool, _who: str) -> Given:
    parts: Any = value if isinstance(value, (tuple, list)) else (value,)
    is_alone = parts is not value
    if not is_alone and not _are_bags(parts):
        kinds = ", ".join(type(one).__name__ for one in parts[:3])
        raise TypeError(
            f"a torch.Tensor of bags, or {_PAIR} of torch.Tensors, is needed, not a"
            f" {type(value).__name__} of {len(parts)} ({kinds})"
        )
    ids, offsets, weights = (*parts, None, None)[:3]
    if offsets is not None and ids.dim() != 1:
        raise ValueError(
            f"ids has shape {tuple(ids.shape)}; with offsets it must have one dimension"
        )
    refuse_tracers(ids, offsets, weights)
    begins = first_places(ids, offsets, last)
    if weights is not None:
        if wanted.pooling != "sum":
            raise ValueError(f"weights are for pooling 'sum', not {wanted.pooling!r}")
        check_weights(weights, ids, wanted.dtype)
        weights = weights.reshape(-1)
    shape = (begins.numel(),)
    return Given(wanted.name, flat_ids(ids), shape, ids.device, begins, weights)


def _are_bags(parts: Sequence[Any]) -> bool:
    """Whether these are ids and offsets, and perhaps weights. Bags of one size need no offsets."""
    if len(parts) not in (2, 3) or not isinstance(parts[0], torch.Tensor):
        return False
    has_none = parts[1] is None and len(parts) == 3 and parts[0].dim() == 2
    return has_none or isinstance(parts[1], torch.Tensor)


def _of_bags(
    wanted: Wanted,
    flat: torch.Tensor,
    begins: torch.Tensor,
    weights: torch.Tensor | None,
    device: torch.device,
    who: str,
) -> Given:
    """The bags of a jagged tensor; without pooling, its ids alone."""
    if wanted.pooling is None:
        if weights is not None:
            raise ValueError(
                f"damo.torch: feature {wanted.name!r} has weights, and {who} has no pooling"
            )
        return Given(wanted.name, flat, (flat.numel(),), device, begins)
    if weights is not None:
        if wanted.pooling != "sum":
            raise ValueError(
                f"damo.torch: feature {wanted.name!r} has weights, which are for pooling 'sum', not"
                f" {wanted.pooling!r}"
            )
        check_weights(weights, weights, wanted.dtype)
        if weights.shape != flat.shape:
            raise ValueError(
                f"damo.torch: feature {wanted.name!r} has {weights.numel()} weights for"
                f" {flat.numel()} ids"
            )
    return Given(wanted.name, flat, (begins.numel(),), device, begins, weights)


def check_matrix(given: Sequence[Given], poolings: Sequence[str | None]) -> int:
    """The number of rows of a matrix with all features. Raises ValueError if they differ."""
    for one, pooling in zip(given, poolings):
        if pooling is None and one.begins is not None:
            # Ids of a jagged tensor belong to a sample, which need not have exactly one.
            counts = one.begins.numel()
            expected = torch.arange(counts, dtype=torch.int64, device="cpu")
            if one.ids.numel() != counts or not torch.equal(one.begins, expected):
                raise ValueError(
                    f"damo.torch: feature {one.name!r} has {one.ids.numel()} ids for {counts}"
                    " samples, not one each, so its rows are not those of a matrix; take"
                    " output='dict', or pool them (EmbeddingBagCollection)"
                )
        if len(one.shape) != 1:
            raise ValueError(
                f"damo.torch: feature {one.name!r} has ids of shape {one.shape}; for"
                " output='tensor' it needs one id for each sample"
            )
        if one.shape != given[0].shape or one.device != given[0].device:
            raise ValueError(
                f"damo.torch: feature {one.name!r} has {one.shape[0]} rows on {one.device}, and"
                f" {given[0].name!r} has {given[0].shape[0]} on {given[0].device};"
                " output='tensor' needs the same for all"
            )
    return given[0].shape[0]
