"""Which handle of this process has a directory or file open, for the message of a BusyError.

The usual case is a notebook: a cell that opens a storage runs again while the first one is open.
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import Any

from ._errors import BusyError
from ._handles import ForkSafeLock, Handle

_lock = ForkSafeLock()
# For each handle: its real path, and the line that opened it.
_opened: weakref.WeakKeyDictionary[Handle, tuple[str, str]] = weakref.WeakKeyDictionary()


def _caller() -> str:
    """The user's line that is running: the innermost one outside this package."""
    frame: Any = sys._getframe(1)
    ours = __name__.split(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == ours:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def note(handle: Handle, path: str) -> None:
    """Remembers where a handle was opened, for as long as the handle exists."""
    with _lock:
        _opened[handle] = (os.path.realpath(path), _caller())


def open_handles() -> list[Handle]:
    """The noted handles that are not closed, in order of opening."""
    with _lock:
        return [handle for handle in list(_opened) if not handle.closed]


def with_remedy(error: BusyError, path: str, remedy: str, elsewhere: str) -> BusyError:
    """The error with the handle that has path open here, the line that opened it, and a remedy.

    elsewhere: the remedy if another process has path open.
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
