"""Objects like TorchRec's KeyedJaggedTensor and JaggedTensor. TorchRec itself is not needed.

A keyed one has keys(), values(), stride(), offsets() or lengths(), and perhaps weights_or_none().
The values are those of all bags of the first key, then those of the second, and so on.
"""

from __future__ import annotations

from typing import Any, Sequence

import torch

from ._ids import check_ids, check_places, flat_ids

Jagged = tuple[torch.Tensor, torch.Tensor, "torch.Tensor | None"]
"""Flat ids and where bags begin in them, in main memory, and weights as they were given."""


def is_jagged(value: Any) -> bool:
    """Whether it has the methods of a JaggedTensor."""
    return _has(value, "values") and (_has(value, "offsets") or _has(value, "lengths"))


def is_keyed(value: Any) -> bool:
    """Whether it has the methods of a KeyedJaggedTensor."""
    return is_jagged(value) and _has(value, "keys") and _has(value, "stride")


def _has(value: Any, name: str) -> bool:
    return callable(getattr(value, name, None))


def of_keyed(jagged: Any, names: Sequence[str | None]) -> list[Jagged]:
    """The bags of each of names. Other keys are left out. [None]: of a tensor without keys.

    Raises ValueError for a name that is no key, for another stride of some keys, and for
    inverse_indices, which would have to be applied to the result.
    """
    has_keys = list(names) != [None]
    keys = list(jagged.keys()) if has_keys else [None]
    for name in names:
        if keys.count(name) != 1:
            found = "twice" if name in keys else "not"
            raise ValueError(
                f"damo.torch: the feature {name!r} is {found} among the keys of the"
                f" {type(jagged).__name__}, {', '.join(map(repr, keys))}"
            )
    _refuse_variants(jagged)
    values = jagged.values()
    check_ids(values, "values()")
    offsets = _offsets(jagged)
    samples = int(jagged.stride()) if has_keys else max(offsets.numel() - 1, 0)
    if offsets.numel() != len(keys) * samples + 1:
        raise ValueError(
            f"damo.torch: a {type(jagged).__name__} of {len(keys)} keys and a stride of {samples}"
            f" has {len(keys) * samples + 1} offsets, not {offsets.numel()}"
        )
    flat = flat_ids(values)
    check_places(offsets, flat.numel(), True)
    weights = getattr(jagged, "weights_or_none", lambda: None)()
    made: list[Jagged] = []
    for name in names:
        first = keys.index(name) * samples
        begin, end = int(offsets[first]), int(offsets[first + samples])
        given = None if weights is None else weights[begin:end]
        made.append((flat[begin:end], offsets[first : first + samples] - begin, given))
    return made


def _refuse_variants(jagged: Any) -> None:
    inverse = getattr(jagged, "inverse_indices_or_none", lambda: None)()
    if inverse is None and not _has(jagged, "inverse_indices"):
        inverse = getattr(jagged, "inverse_indices", None)
    if inverse is not None:
        raise ValueError(
            f"damo.torch: this {type(jagged).__name__} has inverse_indices, which are not applied"
            " here; give one without, or apply them to ids and offsets first"
        )
    varies = getattr(jagged, "variable_stride_per_key", lambda: False)()
    if varies:
        raise ValueError(
            f"damo.torch: this {type(jagged).__name__} has a stride for each key"
            " (variable_stride_per_key); one stride for all keys is needed"
        )


def _offsets(jagged: Any) -> torch.Tensor:
    """Where bags begin, and the end of the last one: int64 in main memory."""
    if _has(jagged, "offsets"):
        offsets = jagged.offsets()
        check_ids(offsets, "offsets()")
        return offsets.detach().to("cpu", torch.int64).contiguous().reshape(-1)
    lengths = jagged.lengths()
    check_ids(lengths, "lengths()")
    counts = lengths.detach().to("cpu", torch.int64).reshape(-1)
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))
