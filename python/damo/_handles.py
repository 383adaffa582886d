"""Handles of the library: freed once, never while a call uses them, and all of them before the interpreter exits.

Who owns a handle is a reference count and nothing else. An object (`Handle`) refers to an owner, and so does each call that is
under way, through its arguments; when the last of them lets go, the interpreter frees the handle, without running Python
code. A count that Python code kept could be left wrong by a KeyboardInterrupt between any two steps. Owners are therefore
handed to calls as `self._use()` in the argument list, and are not kept in variables, which tracebacks would keep alive.
In a forked child freeing is safe, and the calls themselves say FORKED.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
import weakref
from collections import deque
from itertools import starmap
from typing import Any, Callable

from . import _c_api, _copies
from ._errors import ClosedError

# How long the interpreter's exit waits for calls of daemon threads. A storage that is not closed then is as safe as a
# crash leaves it.
_EXIT_SECONDS = 10.0


class ForkSafeLock:
    """A lock that a thread may take again, and that is free in a forked child: whoever held it does not exist there."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_exception: object) -> None:
        self._lock.release()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


class _Owner:
    """Keeps a handle alive. As an argument of a call it is the handle's address."""

    __slots__ = ("__weakref__", "_as_parameter_")
    _as_parameter_: ctypes.c_void_p


class _Free(weakref.ref):  # type: ignore[type-arg]
    """Calls a function of the library with the address once the owner is gone: the callback is the function itself."""

    __slots__ = ("_as_parameter_", "handle")
    _as_parameter_: ctypes.c_void_p
    handle: weakref.ref[Handle]


# Of every owner. Those that are gone are swept out when there are many.
_live: set[_Free] = set()
_sweep_at = 256
_inherited: list[set[_Free]] = []
_is_exiting = False


def _register(free: _Free) -> None:
    global _sweep_at
    if len(_live) >= _sweep_at:
        _live.difference_update([other for other in list(_live) if other() is None])
        _sweep_at = max(256, 2 * len(_live))
    _live.add(free)


def live() -> int:
    """How many handles there are."""
    return sum(free() is not None for free in list(_live))


def is_exiting() -> bool:
    """Whether the interpreter is about to end."""
    return _is_exiting


class Handle:
    """An object that owns a handle: close() frees it, the garbage collector and the interpreter's exit do, too."""

    _owner: _Owner | None = None

    def __init__(self, new: Callable[..., Any], free: Callable[..., Any], *arguments: Any) -> None:
        if _is_exiting:
            raise ClosedError(
                f"damo: no {type(self).__name__} can be made while the interpreter exits"
            )
        address = ctypes.c_void_p()
        owner = _Owner()
        owner._as_parameter_ = address
        freeing = _Free(owner, free)
        freeing._as_parameter_ = address
        freeing.handle = weakref.ref(self)
        _register(freeing)
        self._owner = owner
        del owner
        try:
            # In one call of the interpreter, so that nothing can come between the handle and its owner.
            deque(map(setattr, (address,), ("value",), starmap(new, (arguments,))), maxlen=0)
            if not address.value:
                raise _c_api.last_error()
        except BaseException:
            self._owner = None
            raise
        finally:
            del arguments

    def _use(self) -> _Owner:
        """For the argument list of a call. ClosedError after close."""
        if self._owner is None:
            raise ClosedError(f"damo: this {type(self).__name__} is closed")
        return self._owner

    def close(self) -> None:
        """Frees what the object holds. Its methods raise ClosedError afterwards; closing again is a no-op.

        What other threads' calls use is freed when the last of them returns.
        """
        self._owner = None

    @property
    def closed(self) -> bool:
        """Whether close was called."""
        return self._owner is None

    def __reduce__(self) -> str:
        raise _copies.refusal(type(self).__name__)


@atexit.register
def _close_all() -> None:
    global _is_exiting
    _is_exiting = True
    deadline = time.monotonic() + _EXIT_SECONDS
    while True:
        for free in list(_live):
            handle = free.handle()
            if handle is not None:
                Handle.close(handle)
        if not live() or time.monotonic() > deadline:
            return
        time.sleep(0.001)


def _after_fork_in_child() -> None:
    global _live
    for lock in list(_locks):
        lock._lock = threading.RLock()
    # Calls that threads of the parent were in never end here, and are not waited for.
    _inherited.append(_live)
    _live = set()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
