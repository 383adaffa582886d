"""Exceptions: one class a status, each also the built-in exception that Python code would expect."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """What became of a call: damo_status of damo.h."""

    OK = 0
    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    ALREADY_EXISTS = 3
    BUSY = 4
    IO = 5
    CORRUPTION = 6
    NOT_SUPPORTED = 7
    POISONED = 8
    PANIC = 9
    FORKED = 10
    OUT_OF_MEMORY = 11
    EXITING = 12
    CANCELLED = 13


class Error(Exception):
    """A call that failed. str() is the library's message: the call, the argument, its value, what would be accepted.

    status is the number of damo_status; a number that this package does not know, from a newer library, stays an int.
    """

    status: int = Status.PANIC

    def __str__(self) -> str:
        # KeyError would show the message as a literal, OSError as a tuple.
        return str(self.args[0]) if self.args else ""


class InvalidArgumentError(Error, ValueError):
    """An argument, a parameter's name or a value is not acceptable; nothing was done."""

    status = Status.INVALID_ARGUMENT


class ClosedError(InvalidArgumentError):
    """An object is used after it was closed."""


class NotFoundError(Error, KeyError, FileNotFoundError):
    """What was asked for does not exist: a row, a group, a file."""

    status = Status.NOT_FOUND


class AlreadyExistsError(Error, FileExistsError, ValueError):
    """What was to be made exists already, and differs: a checkpoint's path, a group with another dim or optimizer."""

    status = Status.ALREADY_EXISTS


class BusyError(Error, OSError):
    """Another handle, here or in another process, holds the directory or the file."""

    status = Status.BUSY


class IoError(Error, OSError):
    """The operating system refused: a full disk, a missing permission, a failed read."""

    status = Status.IO


class CorruptionError(Error, OSError):
    """Stored bytes are not what damo wrote: damaged, truncated or foreign."""

    status = Status.CORRUPTION


class NotSupportedError(Error, NotImplementedError):
    """Not available in this version or for this kind of object."""

    status = Status.NOT_SUPPORTED


class PoisonedError(Error, RuntimeError):
    """An earlier panic left this group in doubt; it refuses writes until the storage is opened anew."""

    status = Status.POISONED


class PanicError(Error, RuntimeError):
    """A bug in damo."""

    status = Status.PANIC


class ForkedError(Error, RuntimeError):
    """The storage or filter belongs to the process that this one was forked from."""

    status = Status.FORKED


class OutOfMemoryError(Error, MemoryError):
    """There is no memory for what the call needs; nothing was done."""

    status = Status.OUT_OF_MEMORY


class ExitingError(Error, RuntimeError):
    """The process is ending."""

    status = Status.EXITING


class CancelledError(Error, RuntimeError):
    """The caller's progress function said so."""

    status = Status.CANCELLED


_CLASSES = {
    int(cls.status): cls
    for cls in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        BusyError,
        IoError,
        CorruptionError,
        NotSupportedError,
        PoisonedError,
        PanicError,
        ForkedError,
        OutOfMemoryError,
        ExitingError,
        CancelledError,
    )
}


def error_for(status: int, message: str) -> Error:
    """The exception for a failed call."""
    cls = _CLASSES.get(status)
    if cls is not None:
        return cls(message)
    error = Error(message)
    error.status = status
    return error
