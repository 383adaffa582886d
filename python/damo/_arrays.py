"""Checks of arrays and numbers before their addresses go to C.

An array that C writes to is always the caller's own, never a copy.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from . import _tensors
from ._errors import InvalidArgumentError


def address(array: np.ndarray) -> int:
    """Where the elements of a contiguous array begin."""
    return array.__array_interface__["data"][0]


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} with shape {value.shape}"
    return f"{type(value).__name__}"


def of_buffer(value: Any) -> Any:
    """An array over the memory of a buffer, such as array.array or memoryview.

    Returns any other value as it is.
    """
    if isinstance(value, np.ndarray):
        return value
    try:
        view = memoryview(value)
        # The two that NumPy has no dtype for.
        if view.format in ("n", "N"):
            view = view.cast("B").cast("q" if view.format == "n" else "Q")
        return np.asarray(view)
    except (TypeError, ValueError, BufferError):
        return value


def _refuse_mask(values: Any, what: str, remedy: str) -> None:
    """Raises TypeError for a masked array, also within sequences: masked values would be used."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"damo: {what} is a masked array; give {remedy}")
    if isinstance(values, (list, tuple)):
        for value in values:
            if isinstance(value, (list, tuple, np.ma.MaskedArray)):
                _refuse_mask(value, what, remedy)


def is_bool(value: Any) -> bool:
    """Whether it is True or False of any library: they have an __index__, but are no numbers."""
    if isinstance(value, (bool, np.bool_)):
        return True
    if type(value) is int or isinstance(value, np.generic):
        return False
    return str(getattr(value, "dtype", "")).endswith("bool")


def index(value: Any, what: str) -> int:
    """value as an int. Any integer will do: int, NumPy's, whatever has __index__.

    Raises TypeError for anything else: a bool, Decimal, Fraction, complex, any float, a masked
    value.
    """
    if not is_bool(value) and not isinstance(value, np.ma.MaskedArray):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(
        f"damo: {what} must be an integer, not {_describe(value)} ({value!r:.80})"
    ) from None


def integer(value: Any, what: str, low: int, high: int) -> int:
    """value as an int in low..high. ctypes itself would silently cut off the upper bits.

    Raises TypeError for anything but an integer, ValueError for one out of range.
    """
    number = index(value, what)
    if not low <= number <= high:
        raise InvalidArgumentError(f"damo: {what} is {number}; it must be in {low}..{high}")
    return number


def real(value: Any, what: str) -> float:
    """value, a float or an integer of any kind, as a float.

    Raises TypeError for anything else: a bool, Decimal, complex, str.
    """
    if isinstance(value, (float, np.floating)):
        return float(value)
    try:
        return float(index(value, what))
    except TypeError:
        raise TypeError(
            f"damo: {what} must be a number, not {_describe(value)} ({value!r:.80})"
        ) from None
    except OverflowError:
        raise InvalidArgumentError(f"damo: {what} is {value}; it must be a float") from None


def key(value: Any, what: str = "key") -> int:
    """A key as a signed 64-bit number. An unsigned key keeps its bits."""
    number = integer(value, what, -(2**63), 2**64 - 1)
    return number - 2**64 if number >= 2**63 else number


def group(value: Any) -> int:
    """A group's number."""
    return integer(value, "group", 0, 65535)


def _has_bool(values: Any) -> bool:
    """Whether a sequence contains a bool. Beside integers NumPy makes an integer of it."""
    if isinstance(values, (list, tuple)):
        return any(_has_bool(value) for value in values)
    return is_bool(values)


def _integers(values: Any, what: str) -> np.ndarray:
    """values as an array of an integer dtype, or of Python ints if no dtype holds all of them."""
    values = _tensors.integers(values, what)
    name = what.rpartition(": ")[2]
    _refuse_mask(values, what, f"its {name} that are not masked ({name}.compressed())")
    array = np.asarray(values)
    if array.dtype.kind in "iu" and not isinstance(values, np.ndarray) and _has_bool(values):
        raise TypeError(f"damo: {what} must be integers, and there is a bool among them")
    if array.dtype.kind == "O" or (
        array.dtype.kind == "f" and not isinstance(values, (np.ndarray, np.generic))
    ):
        # NumPy makes floats or objects of numbers that do not fit into one kind of integer.
        items = np.asarray(values, dtype=object)
        return np.array([index(item, f"one of {what}") for item in items.flat], object).reshape(
            items.shape
        )
    if array.dtype.kind not in "iu" and (array.size or isinstance(values, np.ndarray)):
        raise TypeError(
            f"damo: {what} must be integers of 64 bits (numpy.int64), not {_describe(array)}"
        )
    return array


def keys(values: Any, what: str = "keys") -> np.ndarray:
    """Keys of any shape as a C-contiguous int64 array. Unsigned keys keep their bits.

    int64 and uint64 arrays that are contiguous and aligned are not copied. Other integers and
    sequences are converted. PyTorch tensors may be on any device. Raises TypeError for anything but
    integers.
    """
    array = _integers(values, what)
    if array.dtype == np.int64 or array.dtype == np.uint64:
        return np.require(array, requirements=["C", "A"]).view(np.int64).reshape(array.shape)
    if array.dtype.kind not in "iu":
        return np.array([key(number, "a key") for number in array.flat], np.int64).reshape(
            array.shape
        )
    converted = array.astype(np.int64 if array.dtype.kind == "i" else np.uint64)
    return np.ascontiguousarray(converted).view(np.int64).reshape(array.shape)


def positions(values: Any) -> np.ndarray:
    """Positions of any shape as a C-contiguous uint32 array.

    Raises TypeError for anything but integers, ValueError for one that has no 32 bits.
    """
    array = _integers(values, "positions")
    if array.dtype != np.uint32 and array.size:
        wrong = np.flatnonzero((array < 0) | (array > 2**32 - 1))
        if wrong.size:
            raise InvalidArgumentError(
                f"damo: positions[{wrong[0]}] is {array.flat[wrong[0]]}; a number from 0 to"
                f" {2**32 - 1} is needed"
            )
    return np.require(array, np.uint32, ["C", "A"]).reshape(array.shape)


def counts(values: Any, shape: tuple[int, ...], what: str, least: int) -> np.ndarray:
    """Numbers from least to 2^32 - 1 as a C-contiguous uint32 array. shape is that of keys."""
    array = _integers(values, what)
    if array.shape != shape:
        raise InvalidArgumentError(
            f"damo: {what} has shape {array.shape}; it must be that of keys, {shape}"
        )
    if array.size and not least <= int(array.min()) <= int(array.max()) < 2**32:
        raise InvalidArgumentError(
            f"damo: {what} has {array.min()} to {array.max()}; each must be in"
            f" {least}..{2**32 - 1}"
        )
    return np.ascontiguousarray(array, np.uint32)


def floats(
    array: Any, what: str, shapes: tuple[tuple[int, ...], ...], *, writable: bool = False
) -> np.ndarray:
    """Checks an array, and returns it: float32, C-contiguous, aligned, and of one of the shapes.

    writable: whether the array will be written to. Raises TypeError for another type or dtype.
    Raises ValueError for another shape, gaps between elements, and a read-only array if writable.
    """
    if not isinstance(array, np.ndarray):
        hint = f"; {what}.numpy() shares its memory" if _tensors.is_tensor(array) else ""
        raise TypeError(
            f"damo: {what} must be a numpy.ndarray of float32, not {_describe(array)}{hint}"
        )
    _refuse_mask(array, what, f"{what}.data, or what {what}.filled makes of it")
    if array.dtype != np.float32:
        raise TypeError(
            f"damo: {what} must have dtype float32, not {array.dtype}; it is not converted silently"
        )
    if array.shape not in shapes:
        wanted = " or ".join(str(shape) for shape in shapes)
        raise InvalidArgumentError(f"damo: {what} has shape {array.shape}; it must be {wanted}")
    if not array.flags.c_contiguous:
        raise InvalidArgumentError(
            f"damo: {what} has strides {array.strides}; it must be C-contiguous"
            " (numpy.ascontiguousarray makes a copy)"
        )
    if not array.flags.aligned:
        raise InvalidArgumentError(f"damo: {what} is not aligned to 4 bytes; a copy of it is")
    if writable and not array.flags.writeable:
        raise InvalidArgumentError(
            f"damo: {what} is read-only; it is written to in place and must be writable"
        )
    return array


def strict_keys(array: Any) -> np.ndarray:
    """Checks keys of the drop-in classes: a one-dimensional contiguous int64 or uint64 array.

    Returns array itself, or of a buffer an array over its memory. Nothing is copied.
    """
    array = of_buffer(array)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"damo: keys must be a numpy.ndarray of int64, not {_describe(array)}")
    if array.dtype != np.int64 and array.dtype != np.uint64:
        raise TypeError(
            f"damo: keys must have dtype int64 (or uint64), not {array.dtype}; they are not"
            " converted silently"
        )
    if array.ndim != 1:
        raise InvalidArgumentError(
            f"damo: keys has shape {array.shape}; it must have one dimension"
        )
    if not array.flags.c_contiguous:
        raise InvalidArgumentError(
            f"damo: keys has strides {array.strides}; it must be contiguous"
            " (numpy.ascontiguousarray makes a copy)"
        )
    if not array.flags.aligned:
        raise InvalidArgumentError("damo: keys is not aligned to 8 bytes; a copy of it is")
    return array


def strict_rows(
    array: Any, what: str, rows: int, dim: int, *, writable: bool = False
) -> np.ndarray:
    """Checks weights or gradients of the drop-in classes: rows x dim floats, flat or as a matrix.

    Returns array itself, or of a buffer an array over its memory. Nothing is copied.
    """
    return floats(of_buffer(array), what, ((rows * dim,), (rows, dim)), writable=writable)
