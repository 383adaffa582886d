"""Calls that may be sent again: their client and sequence, and the steps that they expect."""

from __future__ import annotations

import ctypes
from typing import Any, Mapping, Sequence, Union

from . import _arrays
from ._errors import InvalidArgumentError

ANY_STEP = 2**63 - 1
"""DAMO_ANY_STEP of damo.h."""

Once = tuple[int, int]
"""The client and the sequence of a call."""

Steps = Union[int, Mapping[str, "int | None"], None]
"""The step that all features are expected at, or one for each of some features."""


def numbers(once: Any) -> Once:
    """once as two numbers. Raises TypeError or ValueError for anything but (client, sequence)."""
    if not isinstance(once, tuple) or len(once) != 2:
        raise TypeError(f"damo: once must be a tuple (client, sequence), not {once!r:.80}")
    client, sequence = once
    most = 2**64 - 1
    return (
        _arrays.integer(client, "the client of once", 0, most),
        _arrays.integer(sequence, "the sequence of once", 0, most),
    )


def step(value: int | None, what: str) -> int:
    """An expected step for C. value None: any."""
    return ANY_STEP if value is None else _arrays.integer(value, what, 0, ANY_STEP - 1)


def steps(values: Any, what: str, features: Sequence[str]) -> Any:
    """The expected steps of features, for C. values None: any, and the result is None.

    Raises ValueError for a name that is no feature.
    """
    if values is None:
        return None
    if isinstance(values, Mapping):
        for name in values:
            if name not in features:
                known = ", ".join(map(repr, features))
                raise InvalidArgumentError(
                    f"damo: {what} has {name!r}, which is no feature; the features are {known}"
                )
        wanted = [step(values.get(name), f"{what}[{name!r}]") for name in features]
    else:
        wanted = [step(values, what)] * len(features)
    return (ctypes.c_int64 * len(wanted))(*wanted)


def needs_once(expected: Any) -> None:
    """Raises ValueError for an expected step of a call without once."""
    if expected is not None:
        raise InvalidArgumentError(
            "damo: expected_step is given without once; give once=(client, sequence), too"
        )
