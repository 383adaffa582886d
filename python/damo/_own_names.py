"""Names of methods that a class has from its parts, such as Storage from StorageDump.

Python's own errors and tracebacks name a method by the class that defines it. A user knows the
public class only.
"""

from __future__ import annotations

import types
from typing import TypeVar

_Class = TypeVar("_Class", bound=type)


def with_own_names(of: _Class) -> _Class:
    """A decorator of a class: the methods of its parts, each a part of this class only, are named
    as its own."""
    for part in of.__mro__[1:]:
        if part.__module__.startswith(of.__module__ + "_"):
            for name, value in vars(part).items():
                if isinstance(value, types.FunctionType):
                    value.__qualname__ = f"{of.__qualname__}.{name}"
    return of
