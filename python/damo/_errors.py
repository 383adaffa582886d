"""Exceptions: one class for each status, which is also the built-in exception that fits."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """The result of a call: damo_status of damo.h."""

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
    STEP_MISMATCH = 14


class Error(Exception):
    """A call that failed.

    str() is the library's message: the call, the argument, its value, and what is accepted. status
    is a Status, or an int that a newer library returned and this package does not know.
    """

    status: int = Status.PANIC

    def __str__(self) -> str:
        # KeyError would show the message as a literal, OSError as a tuple.
        return str(self.args[0]) if self.args else ""


class InvalidArgumentError(Error, ValueError):
    """An argument, a parameter's name or a value is not accepted. Nothing was done."""

    status = Status.INVALID_ARGUMENT


class ClosedError(InvalidArgumentError):
    """An object was used after it was closed."""


class NotFoundError(Error, KeyError, FileNotFoundError):
    """A row, a group or a file does not exist."""

    status = Status.NOT_FOUND


class AlreadyExistsError(Error, FileExistsError, ValueError):
    """A checkpoint's path exists already, or a group exists with another dim, optimizer or name."""

    status = Status.ALREADY_EXISTS


class BusyError(Error, OSError):
    """Another handle, here or in another process, has the directory or file open."""

    status = Status.BUSY


class IoError(Error, OSError):
    """The operating system refused: a full disk, a missing permission, a failed read."""

    status = Status.IO


class CorruptionError(Error, OSError):
    """Stored bytes are not what damo wrote: they are damaged, truncated or foreign."""

    status = Status.CORRUPTION


class NotSupportedError(Error, NotImplementedError):
    """Not available in this version or for this kind of object."""

    status = Status.NOT_SUPPORTED


class PoisonedError(Error, RuntimeError):
    """An earlier panic left a group in doubt. It refuses writes until the storage is reopened."""

    status = Status.POISONED


class PanicError(Error, RuntimeError):
    """A bug in damo."""

    status = Status.PANIC


class ForkedError(Error, RuntimeError):
    """The storage or filter belongs to the process that this one was forked from."""

    status = Status.FORKED


class OutOfMemoryError(Error, MemoryError):
    """There is not enough memory for the call. Nothing was done."""

    status = Status.OUT_OF_MEMORY


class ExitingError(Error, RuntimeError):
    """The process is ending."""

    status = Status.EXITING


class CancelledError(Error, RuntimeError):
    """The caller's progress function ended the call."""

    status = Status.CANCELLED


class StepMismatchError(Error, RuntimeError):
    """A group's step is not the one that the call expects. Nothing was done."""

    status = Status.STEP_MISMATCH


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
        StepMismatchError,
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
