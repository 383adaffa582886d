"""Handles of the library.

Each is freed once, never while a call uses it, and before the interpreter exits.

Only the interpreter's reference counts decide when a handle is freed. An object (`Handle`) refers
to an owner, and so does each call under way, through its arguments. When the last reference goes,
the interpreter frees the handle without running Python code. A count kept by Python code could be
wrong after a KeyboardInterrupt between two of its steps. For the same reason owners are passed to
calls as `self._use()` in the argument list: a traceback would keep a variable alive.

In a forked child freeing is safe. Calls on a storage or a filter return FORKED there.
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

# How long the interpreter's exit waits for calls of daemon threads. A storage that is still open
# after that is as safe as after a crash.
_EXIT_SECONDS = 10.0


class ForkSafeLock:
    """A reentrant lock that is free in a forked child, where the thread that held it is missing."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def take(self) -> bool:
        """Acquires the lock, unless another thread has it. Returns whether it did."""
        return self._lock.acquire(blocking=False)

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
    """A weak reference to an owner, whose callback is a _free function of the library.

    When the owner is gone, the interpreter calls it with the reference, which ctypes passes as the
    address: see _as_parameter_.
    """

    __slots__ = ("_as_parameter_", "handle")
    _as_parameter_: ctypes.c_void_p
    handle: weakref.ref[Handle]


# One for each owner. Those whose owner is gone are removed when there are many.
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
    """The number of handles that are not freed yet."""
    return sum(free() is not None for free in list(_live))


def is_exiting() -> bool:
    """Whether the interpreter is about to end."""
    return _is_exiting


class Handle:
    """An object that owns a handle: close(), the garbage collector or the exit frees it.

    new, free: functions of _c_api. arguments: those of new. is_written: whether new has one more
    argument, the last, to which it writes the handle; else it returns the handle. Raises the error
    of new, and ClosedError while the interpreter exits.
    """

    _owner: _Owner | None = None

    def __init__(
        self,
        new: Callable[..., Any],
        free: Callable[..., Any],
        *arguments: Any,
        is_written: bool = False,
    ) -> None:
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
            if is_written:
                new(*arguments, ctypes.byref(address))
            else:
                # One call of the interpreter, so that no KeyboardInterrupt can come between the
                # handle and its owner.
                deque(map(setattr, (address,), ("value",), starmap(new, (arguments,))), maxlen=0)
            if not address.value:
                raise _c_api.last_error()
        except BaseException:
            self._owner = None
            raise
        finally:
            del arguments

    def _use(self) -> _Owner:
        """The owner, for the argument list of a call. Raises ClosedError after close."""
        if self._owner is None:
            raise ClosedError(f"damo: this {type(self).__name__} is closed")
        return self._owner

    def close(self) -> None:
        """Frees what the object holds. Afterwards its methods raise ClosedError.

        What calls of other threads use is freed when the last of them returns. Closing again does
        nothing.
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
    # Calls of the parent's threads never end in this process, so nothing waits for them.
    _inherited.append(_live)
    _live = set()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
