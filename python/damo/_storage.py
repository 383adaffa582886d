"""A directory that holds everything: rows, optimizer state, groups, steps."""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import weakref
from typing import Any, Callable, NamedTuple, SupportsIndex, get_args

from . import _arrays, _busy, _c_api
from ._choices import DumpFormat, Duplicates, Durability, ImportFormat, StatName, ValueType
from ._embedding import Embedding
from ._errors import BusyError, InvalidArgumentError, NotFoundError
from ._filter import Filter
from ._handles import ForkSafeLock, Handle, is_exiting
from ._params import Params
from ._records import Records
from .initializers import Initializer, Normal
from .optimizers import Optimizer

STATS: tuple[StatName, ...] = get_args(StatName)
"""Names of statistics; damo_storage_stat in damo.h says what they are."""


class DumpResult(NamedTuple):
    """What a dump has done."""

    number: int
    """What the next increment has as since."""
    rows: int
    """Rows in the file."""
    removed: int
    """Keys that an increment says are gone."""


_REMEDY = (
    "close that one before the directory is opened again: call its close(), use it in a with-block,"
    " or `del` every name that refers to it, a PyStorage's embeddings too. A notebook's cell has"
    " to, before it runs again. damo.open_storages() lists what is open, also what has lost its"
    " name: `for storage in damo.open_storages(): storage.close()`"
)
_ELSEWHERE = "Close it there, or look at it with read_only=True"


def open_storages() -> list[Storage]:
    """The storages that this process has open, in order of opening: what a BusyError is about, whatever its name is."""
    return [handle for handle in _busy.open_handles() if isinstance(handle, Storage)]


def _seconds(ttl: SupportsIndex | datetime.timedelta) -> int:
    if isinstance(ttl, datetime.timedelta):
        if ttl < datetime.timedelta(0):
            raise InvalidArgumentError(f"damo: ttl is {ttl!r}; it must not be negative")
        # Rounded up: a fraction of a second is not "never", which 0 is.
        ttl = -(-ttl // datetime.timedelta(seconds=1))
    return _arrays.integer(ttl, "ttl", 0, 2**63 - 1)


class Storage(Handle):
    """Opens the directory path, creating it when it is not there. A context manager; close() closes its embeddings, too.

    ttl: seconds (or a timedelta, rounded up to seconds) after which a row that was not updated is gone; 0 is never. cache_bytes: memory for rows
    and indexes (1 GiB). durability: "process" (a call that returned survives whatever kills the process), "power" (and the
    machine losing power), "checkpoint" (only what flush, checkpoint or close has written; the fastest). threads: that share
    the work of a call (the number of cores). read_only: nothing in the directory changes; it may be another process's, a
    checkpoint, or one that cannot be written, and what changes rows raises damo.NotSupportedError. None is the library's
    default.

    Raises damo.BusyError when another handle or process has it open (open_storages lists those of this one), ValueError, damo.CorruptionError, damo.IoError,
    damo.ForkedError in a process that was forked after its parent had opened a storage.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ttl: SupportsIndex | datetime.timedelta = 0,
        cache_bytes: SupportsIndex | None = None,
        durability: Durability | None = None,
        threads: SupportsIndex | None = None,
        read_only: bool = False,
    ) -> None:
        self.path = os.path.abspath(os.fsdecode(os.fspath(path)))
        c_path = _c_api.path(path, "path")
        bag = Params(
            {
                "cache_bytes": cache_bytes,
                "durability": durability,
                "threads": threads,
                "read_only": read_only,
            }
        )
        self._children: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._lock = ForkSafeLock()
        try:
            super().__init__(
                _c_api.damo_storage_new, _c_api.damo_storage_free, c_path, _seconds(ttl), bag._use()
            )
        except BusyError as error:
            if read_only:
                # Another process makes or changes it; the message says what to do.
                raise
            raise _busy.with_remedy(error, self.path, _REMEDY, _ELSEWHERE) from None
        bag.close()
        _busy.note(self, self.path)

    def __repr__(self) -> str:
        return f"<damo.Storage {self.path!r}{', closed' if self.closed else ''}>"

    def __enter__(self) -> "Storage":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Writes what has changed and lets go of the directory; its embeddings and iterators are closed, too.

        What other threads' calls use is closed when the last of them returns. Closing again is a no-op.
        """
        with self._lock:
            super().close()
            children = list(self._children)
        for child in children:
            child.close()

    def _adopt(self, child: Handle) -> None:
        """Has close() close it, too."""
        with self._lock:
            if not self.closed:
                self._children.add(child)
                return
        child.close()
        self._use()

    # ---- groups

    def describe(self) -> dict[str, Any]:
        """What is stored but for the rows: dir, checkpoint, and groups with their name, dim, step, optimizer and so on.

        damo_storage_describe in damo.h says what each is.
        """
        return json.loads(_c_api.json_text(_c_api.damo_storage_describe, self._use))

    @property
    def names(self) -> dict[str, int]:
        """The groups that have names."""
        return {
            group["name"]: group["group"]
            for group in self.describe()["groups"]
            if group["name"] is not None
        }

    def embedding(
        self,
        name_or_group: str | SupportsIndex,
        *,
        dim: SupportsIndex,
        optimizer: Optimizer,
        initializer: Initializer | None = None,
        duplicates: Duplicates = "sum",
        padding_key: SupportsIndex | None = None,
        filter: Filter | None = None,
        fresh: bool = False,
    ) -> Embedding:
        """Opens a group by its name or number (name_or_group, a str or 0..65535), registering it when it is new. A new name gets the
        lowest free number.

        Names are stored and part of checkpoints, also of those that C makes. A group keeps its dim and its optimizer's kind for good: others are a damo.AlreadyExistsError (a ValueError).
        initializer: None is Normal(stddev=0.01). duplicates: what apply_gradients does with a key that is given twice: "sum"
        (as PyTorch does) or "mean" of its gradients in one step, or "sequential", one step each. (In C and for the drop-in classes
        "sequential" is the default.) padding_key reads as zeros and its gradients are dropped. filter: which keys get rows.
        fresh: True empties the group (Embedding.clear), for all its users. Otherwise a group that
        exists keeps its rows.
        """
        if not isinstance(fresh, bool):
            raise TypeError(f"damo: fresh must be True or False, not {fresh!r:.80}")
        if filter is not None and not isinstance(filter, Filter):
            raise TypeError(
                f"damo: filter must be a damo.Filter or None, not {type(filter).__name__}"
            )
        chosen = Normal(stddev=0.01) if initializer is None else initializer
        opened = Embedding(
            self,
            name_or_group,
            dim=dim,
            optimizer=optimizer,
            initializer=chosen,
            duplicates=duplicates,
            padding_key=padding_key,
        )
        self._adopt(opened)
        if filter is not None:
            opened.set_filter(filter)
        if fresh:
            opened.clear()
        return opened

    def _group(self, name_or_group: str | SupportsIndex) -> int:
        if not isinstance(name_or_group, str):
            return _arrays.group(name_or_group)
        names = self.names
        try:
            return names[name_or_group]
        except KeyError:
            known = ", ".join(repr(name) for name in names) or "none"
            raise NotFoundError(
                f"damo: no group of {self.path} is called {name_or_group!r}; there are {known}"
            ) from None

    # ---- everything that is stored

    def _iterate(self, group: int) -> Records:
        records = Records(self, group)
        self._adopt(records)
        return records

    def __iter__(self) -> Records:
        """All records (damo.Record) of all groups as they are now, in order of group and key."""
        return self._iterate(_c_api.ALL_GROUPS)

    def row_count(self, group: SupportsIndex | str | None = None) -> int:
        """How many rows a group (None: all) has now. Reads them all; stats()["rows_estimate"] is quick."""
        which = _c_api.ALL_GROUPS if group is None else self._group(group)
        return _c_api.read(
            ctypes.c_uint64, lambda rows: _c_api.damo_storage_row_count(self._use(), which, rows)
        )

    def stats(self) -> dict[str, int]:
        """All statistics: see damo_storage_stat in damo.h."""
        return {name: self.stat(name) for name in STATS}

    def stat(self, name: StatName) -> int:
        """One statistic. ValueError for an unknown name, listing the known ones."""
        c_name = _c_api.text(name, "name")
        return _c_api.read(
            ctypes.c_uint64, lambda value: _c_api.damo_storage_stat(self._use(), c_name, value)
        )

    def flush(self) -> None:
        """Returns once every change so far is on disk, whatever the durability."""
        _c_api.damo_storage_flush(self._use())

    def compact(self) -> None:
        """Merges everything on disk into one sorted run. Nobody needs to; it is done in parts by itself."""
        _c_api.damo_storage_compact(self._use())

    def verify(self) -> int:
        """Reads everything and compares checksums; the number of rows. damo.CorruptionError naming what is damaged."""
        return _c_api.read(
            ctypes.c_uint64, lambda rows: _c_api.damo_storage_verify(self._use(), rows)
        )

    def checkpoint(self, path: str | os.PathLike[str]) -> str:
        """Makes path, which must not exist, a directory with everything as it is at one moment; its checkpoint_id.

        Hard links: as quick for a large table as for a small one. FileExistsError, damo.IoError;
        damo.BusyError with read_only, when another process has the storage open with durability
        "checkpoint".
        """
        c_path = _c_api.path(path, "path")
        _c_api.damo_storage_checkpoint(self._use(), c_path)
        try:
            with open(os.path.join(os.fsdecode(path), "checkpoint.json"), encoding="utf-8") as file:
                return json.load(file)["id"]
        except FileNotFoundError:
            # Opened as a storage by somebody already.
            return self.describe()["checkpoint"]

    @property
    def checkpoint_id(self) -> str | None:
        """What the checkpoint is known by that was made or loaded last, or that this storage was opened from."""
        return self.describe()["checkpoint"]

    def load_from_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Replaces everything that is stored by what the checkpoint has; embeddings that are open go on with it.

        FileNotFoundError, damo.CorruptionError, damo.BusyError while a dump or an iterator is under way, damo.AlreadyExistsError
        when a group that is open has another dim, optimizer or name there; what was stored is as it was then.
        """
        c_path = _c_api.path(path, "path")
        _c_api.damo_storage_load_from_checkpoint(self._use(), c_path)

    def import_file(
        self,
        path: str | os.PathLike[str],
        *,
        format: ImportFormat = "auto",
        group: int | str | None = None,
        header_groups: int | None = None,
    ) -> dict[str, Any]:
        """Brings in the rows of a checkpoint or dump that the earlier C++ implementation wrote; what became of its records.

        Its groups must have been opened here once, with the dim and optimizer that they had. The result has records, imported,
        without_state, format, order, and refused, a list of reasons with counts (damo_storage_import_report in damo.h): a
        record that does not fit is left out, which is an error only when none fits. A dump has weights only.

        format: "auto", "checkpoint", "classic" or "counted" (dumps). group: only this one. header_groups: the width of a
        classic dump's header. FileNotFoundError, damo.CorruptionError for a file that is not whole or has no sound record,
        ValueError when no record fits the groups, or none is of the one that was asked for.
        """
        values = {
            "format": format,
            "group": None if group is None else self._group(group),
            "header_groups": header_groups,
        }
        return self._import(path, values)

    def _import(self, path: str | os.PathLike[str], values: dict[str, Any]) -> dict[str, Any]:
        c_path, options = _c_api.path(path, "path"), Params(values)
        with self._lock:
            _c_api.damo_storage_import_with(self._use(), c_path, options._use(), None, None)
            return json.loads(_c_api.json_text(_c_api.damo_storage_import_report, self._use))

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

        format: "table", for damo.Table, or "classic" (the default in C) or "counted" (as damo-embedding from 1.0.6 on wrote
        it), which other readers parse. group: only this one.
        expire_days, min_count: leave out rows not updated for so many days, or fewer times. table only: value_type ("float32",
        "float16", "int8") and since, the number of an earlier dump, for an increment (damo.merge). classic only:
        header_groups (256). progress(rows, rows_estimate) is called now and then; an exception in it, or False, ends the dump.
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
                # While the interpreter exits the dump ends: afterwards its thread could not come back from here.
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

    def _set_clock(self, time_ms: int) -> None:
        """For tests of rows that expire: damo_test_set_clock."""
        _c_api.damo_test_set_clock(self._use(), time_ms)
