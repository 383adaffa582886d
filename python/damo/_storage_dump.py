"""Storage.dump: the weights of all rows, or of some, in a file for serving."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Callable, NamedTuple, SupportsIndex

from . import _c_api
from ._choices import DumpFormat, ValueType
from ._handles import is_exiting
from ._params import Params
from ._storage_handle import StorageHandle


class DumpResult(NamedTuple):
    """What Storage.dump has written."""

    number: int
    """The sequence number of the last call in the dump: give it to the next increment as since."""
    rows: int
    """The number of rows in the file."""
    removed: int
    """The number of keys that an increment removes."""


# Pickles name the class by its public place.
DumpResult.__module__ = "damo"


class StorageDump(StorageHandle):
    """The part of damo.Storage that writes dumps."""

    def dump(
        self,
        path: str | os.PathLike[str],
        *,
        format: DumpFormat = "table",
        group: SupportsIndex | str | None = None,
        expire_days: float | None = None,
        min_count: SupportsIndex | None = None,
        value_type: ValueType | None = None,
        since: SupportsIndex | None = None,
        header_groups: SupportsIndex | None = None,
        progress: Callable[[int, int], Any] | None = None,
    ) -> DumpResult:
        """Writes the weights of all rows, as they are at one moment, to a file for serving.

        path: the file. It is replaced if it exists, once the new one is whole.
        format: "table" for damo.Table. Other readers parse "classic" (the default in C) and
        "counted" (as damo-embedding from 1.0.6 on wrote it).
        group: only this group, a number or name; None: all groups.
        expire_days: leaves out rows that were not updated for so many days.
        min_count: leaves out rows that were updated fewer times.
        value_type: of a table: "float32" (the default), "float16" or "int8".
        since: the number of an earlier dump. The table is then an increment to it, and damo.merge
        adds it.
        header_groups: of a classic dump: the number of groups that its header has place for (256).
        progress: called from time to time as progress(rows, rows_estimate), with the rows done and
        an estimate of all. Returning False ends the dump with damo.CancelledError, and an exception
        ends it with that exception.

        Raises damo.NotFoundError for a group that does not exist and for a since that is not known
        (any more), damo.BusyError if path is being written, ValueError, damo.IoError. After an
        error the file is as it was.
        """
        values = {
            "format": format,
            "group": None if group is None else self._group(group),
            "expire_days": expire_days,
            "min_count": min_count,
            "value_type": value_type,
            "since": since,
            "header_groups": header_groups,
        }
        return self._dump(path, Params(values), progress)

    def _dump(
        self,
        path: str | os.PathLike[str],
        condition: Params | None,
        progress: Callable[[int, int], Any] | None = None,
    ) -> DumpResult:
        c_path = _c_api.path(path, "path")
        raised: list[BaseException] = []

        def told(_user: int, rows: int, estimate: int) -> bool:
            try:
                # The dump ends when the interpreter exits: its thread could not return to C later.
                return not is_exiting() and (
                    progress is None or progress(rows, estimate) is not False
                )
            except BaseException as error:  # It must not go through C.
                raised.append(error)
                return False

        callback = _c_api.PROGRESS() if progress is None else _c_api.PROGRESS(told)
        results = [ctypes.c_uint64() for _ in range(3)]
        pointers = [ctypes.byref(result) for result in results]
        try:
            _c_api.damo_storage_dump_with_progress(
                self._use(),
                c_path,
                None if condition is None else condition._use(),
                callback,
                None,
                *pointers,
            )
        except Exception:
            if raised:
                raise raised[0] from None
            raise
        return DumpResult(*(result.value for result in results))
