"""Handles of the library: freed once, never while a call uses them, and all of them before the interpreter exits.

A handle that is closed while other threads are in calls is freed when the last of these returns. In a forked child
freeing is safe, and the calls themselves say FORKED.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Callable

from ._errors import ClosedError

# How long the interpreter's exit waits for calls of daemon threads. A storage that is not closed then is as safe as a
# crash leaves it.
_EXIT_SECONDS = 10.0

# Strong: a handle leaves when it is freed. In order of creation; exit goes backwards, though any order would do.
_live: dict[int, "RawHandle"] = {}


class ForkSafeLock:
    """A lock that is free in a forked child: a thread that held it in the parent does not exist there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_exception: object) -> None:
        self._lock.release()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


class RawHandle:
    """The address of a handle, with a count of the calls that use it. A context manager that gives the address."""

    __slots__ = ("_address", "_closing", "_free", "_lock", "_users", "_what")

    def __init__(self, address: int, free: Callable[[int], None], what: str) -> None:
        self._address = address
        self._free = free
        self._what = what
        self._users = 0
        self._closing = False
        self._lock = threading.Lock()
        _live[id(self)] = self

    def __enter__(self) -> int:
        with self._lock:
            if self._closing:
                raise ClosedError(f"damo: this {self._what} is closed")
            self._users += 1
        return self._address

    def __exit__(self, *_exception: object) -> None:
        with self._lock:
            self._users -= 1
            last = self._closing and self._users == 0
        if last:
            self._release()

    def close(self) -> None:
        """Frees the handle, or has the last call that uses it do so. Again is a no-op."""
        with self._lock:
            first = not self._closing
            self._closing = True
            unused = self._users == 0
        if first and unused:
            self._release()

    def _release(self) -> None:
        self._free(self._address)
        _live.pop(id(self), None)

    @property
    def closed(self) -> bool:
        return self._closing

    def _after_fork(self) -> None:
        # Another thread of the parent may have held the lock, and does not exist here.
        self._lock = threading.Lock()


class Handle:
    """An object that owns a handle: close() frees it, the garbage collector and the interpreter's exit do, too."""

    def __init__(self, address: int, free: Callable[[int], None]) -> None:
        self._handle = RawHandle(address, free, type(self).__name__)
        finalizer = weakref.finalize(self, self._handle.close)
        finalizer.atexit = False  # _close_all does it, and waits for calls that other threads are in.

    def close(self) -> None:
        """Frees what the object holds. Its methods raise ClosedError afterwards; closing again is a no-op."""
        self._handle.close()

    @property
    def closed(self) -> bool:
        """Whether close was called."""
        return self._handle.closed

    def __reduce__(self) -> str:
        raise TypeError(
            f"damo: {type(self).__name__} objects cannot be pickled or copied: they belong to the process that opened them. "
            "Keep them in the main process (DataLoader workers must not hold a model or a storage), or open a damo.Table"
        )


@atexit.register
def _close_all() -> None:
    for handle in reversed(list(_live.values())):
        handle.close()
    deadline = time.monotonic() + _EXIT_SECONDS
    while _live and time.monotonic() < deadline:
        time.sleep(0.001)


def _after_fork_in_child() -> None:
    for lock in list(_locks):
        lock._lock = threading.Lock()
    for handle in list(_live.values()):
        handle._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
