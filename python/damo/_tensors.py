"""Makes NumPy arrays of PyTorch tensors, wherever keys or floats are taken.

Tensors may be on any device. Integers keep their dtype. Floats of any dtype become float32, and
leave torch's graph. This module does not import torch: if the program has not, nothing is a tensor.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ._errors import InvalidArgumentError


def is_tensor(value: Any) -> bool:
    """Whether value is a torch.Tensor or of a subclass, such as a parameter."""
    kind = getattr(sys.modules.get("torch"), "Tensor", None)
    return isinstance(kind, type) and isinstance(value, kind)


def _check(tensor: Any, what: str) -> None:
    if getattr(tensor, "is_nested", False):
        raise TypeError(f"damo: {what} is a nested tensor; its values() are a dense one")
    if str(tensor.layout) != "torch.strided":
        raise TypeError(
            f"damo: {what} must be a dense tensor, not {tensor.layout}; to_dense() makes one"
        )
    if tensor.device.type == "meta":
        raise InvalidArgumentError(
            f"damo: {what} is a tensor on the device meta, which has no numbers"
        )


def _array(tensor: Any, what: str) -> np.ndarray:
    """The array that shares the memory of a dense tensor, or of a contiguous copy.

    Raises TypeError for a tensor without memory of its own, or one that is being traced.
    """
    try:
        return tensor.contiguous().numpy()
    except (RuntimeError, TypeError, NotImplementedError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TypeError(
            f"damo: the numbers of {what}, a {type(tensor).__name__} of {tensor.dtype}, cannot be"
            f" read: {reason}"
        ) from None


def integers(value: Any, what: str) -> Any:
    """The array of a tensor of integers, or value itself if it is no tensor.

    Raises TypeError for a tensor of another dtype, and for a nested or sparse one;
    InvalidArgumentError for one on the device meta.
    """
    if not is_tensor(value):
        return value
    if value.dtype.is_floating_point or value.dtype.is_complex or str(value.dtype) == "torch.bool":
        hint = f"; {what}.long() makes integers of them" if value.dtype.is_floating_point else ""
        raise TypeError(
            f"damo: {what} must be integers of 64 bits (torch.int64), not a tensor of"
            f" {value.dtype}{hint}"
        )
    _check(value, what)
    return _array(value.detach().cpu(), what)


def floats(value: Any, what: str) -> Any:
    """The contiguous float32 array of a tensor of floats, or value itself if it is no tensor.

    Raises TypeError for a tensor of another dtype, and for a nested or sparse one;
    InvalidArgumentError for one on the device meta.
    """
    if not is_tensor(value):
        return value
    if not value.dtype.is_floating_point:
        raise TypeError(f"damo: {what} must be a tensor of floats, not {value.dtype}")
    _check(value, what)
    return _array(value.detach().cpu().to(sys.modules["torch"].float32), what)
