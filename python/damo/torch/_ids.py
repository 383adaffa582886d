"""Checks of a layer's arguments before any row is made: ids, offsets and per_sample_weights.

Knows tensors, but no layers.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ._device import fetch
from ._tracers import not_compiled, refuse_tracers, refuse_stand_in

_CPU = torch.device("cpu")


def _check_tensor(given: torch.Tensor, what: str) -> None:
    """Raises TypeError for a nested or sparse tensor, ValueError for one on the device meta."""
    if getattr(given, "is_nested", False):
        raise TypeError(
            f"damo.torch: {what} is a nested tensor; give {what}.values() (to a bag, its offsets())"
        )
    if given.layout != torch.strided:
        raise TypeError(
            f"damo.torch: {what} must be a dense tensor, not {given.layout}; to_dense() makes one"
        )
    if given.device.type == "meta":
        raise ValueError(f"damo.torch: {what} is on the device meta, where tensors have no numbers")


def _integers_of(dtype: torch.dtype, what: str) -> str:
    """The end of an error about ids of another dtype, which says what to do."""
    if dtype.is_complex:
        return ""
    remedy = f"; {what}.long() makes integers of them"
    if not dtype.is_floating_point:
        return remedy
    digits = 1 - int(math.log2(torch.finfo(dtype).eps))
    return (
        f"{remedy}, and those above 2**{digits} are wrong by then: {str(dtype)[6:]} does not hold "
        "them. Keep ids in a tensor of their own from the start"
    )


def check_ids(ids: Any, what: str = "ids") -> None:
    """Raises TypeError for anything but a dense tensor of int64 or int32."""
    if not isinstance(ids, torch.Tensor):
        refuse_stand_in(ids)
        raise TypeError(
            f"damo.torch: {what} must be a torch.Tensor of int64, not {type(ids).__name__}"
        )
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(
            f"damo.torch: {what} must be a torch.Tensor of int64 (or int32), not {ids.dtype}"
            f"{_integers_of(ids.dtype, what)}"
        )
    _check_tensor(ids, what)


def _is_flat(ids: Any) -> bool:
    """Whether ids is what flat_ids would make of it, which is usual, and quick to test."""
    return (
        type(ids) is torch.Tensor
        and ids.dtype is torch.int64
        and ids.is_cpu
        and ids.layout is torch.strided
        and ids.dim() == 1
        and not ids.is_nested
        and ids.is_contiguous()
        and not ids.is_inference()
    )


# A compiler cannot trace the check for inference mode, and would not make the copy faster.
@not_compiled
def flat_ids(ids: torch.Tensor) -> torch.Tensor:
    """ids as a contiguous int64 vector in main memory. If they are one, they are not copied.

    Raises as check_ids and refuse_tracers do.
    """
    if _is_flat(ids):
        refuse_tracers(ids)
        # The caller may give its tensor another shape or other memory.
        return ids.detach()
    check_ids(ids)
    refuse_tracers(ids)
    flat = fetch(ids.detach().to(torch.int64).reshape(-1)).contiguous()
    # A tensor that was made in inference mode cannot be saved for a backward pass, but its copy
    # can.
    return flat.clone() if flat.is_inference() and not torch.is_inference_mode_enabled() else flat


def first_places(ids: torch.Tensor, offsets: Any, include_last_offset: bool) -> torch.Tensor:
    """Where each bag begins in the flat ids: int64 of shape (bags,), in main memory.

    Raises TypeError or ValueError unless each id is in exactly one bag.
    """
    check_ids(ids)
    if ids.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "damo.torch: offsets are for ids of one dimension; rows of two are bags already"
            )
        return torch.arange(ids.shape[0], dtype=torch.int64, device=_CPU) * ids.shape[1]
    if ids.dim() != 1 or offsets is None:
        shape = tuple(ids.shape)
        raise ValueError(
            f"damo.torch: ids has shape {shape}; (bags, size), or (n,) with offsets, is needed"
        )
    check_ids(offsets, "offsets")
    if offsets.dim() != 1:
        raise ValueError(
            f"damo.torch: offsets has shape {tuple(offsets.shape)}; one dimension is needed"
        )
    _check_device(offsets, "offsets", ids)
    places = offsets.detach().to(_CPU, torch.int64).contiguous()
    check_places(places, ids.numel(), include_last_offset)
    return places[:-1] if include_last_offset else places


def check_places(places: torch.Tensor, ids: int, include_last_offset: bool) -> None:
    """Raises ValueError unless places go from 0 to at most ids, never back, and leave no id over.

    ids: the number of ids.
    """
    if not places.numel():
        if include_last_offset:
            raise ValueError(
                "damo.torch: offsets is empty; with include_last_offset it has the last bag's end"
            )
        if ids:
            raise ValueError(f"damo.torch: offsets is empty, and the {ids} ids are in no bag")
        return
    # NumPy is quicker than torch for so few numbers.
    numbers = places.numpy()
    first, last = int(numbers[0]), int(numbers[-1])
    if first != 0 or last > ids or bool((numbers[1:] < numbers[:-1]).any()):
        raise ValueError(
            f"damo.torch: offsets must go from 0 to at most {ids}, the number of ids, never back"
        )
    if include_last_offset and last != ids:
        raise ValueError(
            f"damo.torch: offsets ends with {last}; with include_last_offset it must end with the "
            f"number of ids, {ids}"
        )


def check_weights(weights: Any, ids: torch.Tensor, dtype: torch.dtype) -> None:
    """Raises TypeError or ValueError unless weights have the layer's dtype and fit ids.

    They must have the shape and device of ids.
    """
    if not isinstance(weights, torch.Tensor) or weights.dtype != dtype:
        found = getattr(weights, "dtype", type(weights).__name__)
        needed = str(dtype).replace("torch.", "")
        raise TypeError(
            f"damo.torch: per_sample_weights must be a torch.Tensor of {needed}, not {found}"
        )
    _check_tensor(weights, "per_sample_weights")
    if weights.shape != ids.shape:
        raise ValueError(
            f"damo.torch: per_sample_weights has shape {tuple(weights.shape)}, and ids "
            f"{tuple(ids.shape)}"
        )
    _check_device(weights, "per_sample_weights", ids)


def _check_device(given: torch.Tensor, what: str, ids: torch.Tensor) -> None:
    if given.device != ids.device:
        raise ValueError(
            f"damo.torch: {what} is on the device {given.device}, and ids are on {ids.device}"
        )
