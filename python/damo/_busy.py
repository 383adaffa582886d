"""Who in this process has a directory or a file open, and what a BusyError says about it.

A notebook is the usual case: a cell that opens a storage runs again while the first one is open.
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import Any

from ._errors import BusyError
from ._handles import ForkSafeLock, Handle

_lock = ForkSafeLock()
# Of each handle its real path, and the line that opened it.
_opened: weakref.WeakKeyDictionary[Handle, tuple[str, str]] = weakref.WeakKeyDictionary()


def _caller() -> str:
    """The line of the user's that is being run: the innermost one outside this package."""
    frame: Any = sys._getframe(1)
    ours = __name__.split(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == ours:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def note(handle: Handle, path: str) -> None:
    """Remembers where a handle was opened, for as long as it is there."""
    with _lock:
        _opened[handle] = (os.path.realpath(path), _caller())


def open_handles() -> list[Handle]:
    """What was noted and is not closed, in order of opening."""
    with _lock:
        return [handle for handle in list(_opened) if not handle.closed]


def with_remedy(error: BusyError, path: str, remedy: str, elsewhere: str) -> BusyError:
    """The error with what has the path open here, and the remedy.

    elsewhere: the remedy if it is another process.
    """
    real = os.path.realpath(path)
    with _lock:
        here = [
            (handle, at)
            for handle, (other, at) in list(_opened.items())
            if other == real and not handle.closed
        ]
    if here:
        handle, at = here[0]
        return BusyError(f"{error}. It is {handle!r}, opened in {at}; {remedy}")
    return BusyError(f"{error}. {elsewhere if 'another process' in str(error) else remedy}")
