"""A storage: a directory with rows, optimizer state, groups and steps."""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import weakref
from typing import Any, Callable, Mapping, NamedTuple, SupportsIndex, get_args

from . import _arrays, _busy, _c_api
from ._choices import (
    BagMode,
    DumpFormat,
    Duplicates,
    Durability,
    ImportFormat,
    NonFinite,
    StatName,
    ValueType,
)
from ._embedding import Embedding
from ._errors import BusyError, InvalidArgumentError, NotFoundError
from ._filter import Filter
from ._handles import ForkSafeLock, Handle, is_exiting
from ._params import Params
from ._records import Records
from ._step import Step
from .initializers import Initializer, Normal
from .optimizers import Optimizer

STATS: tuple[StatName, ...] = get_args(StatName)
"""Names of statistics. damo_storage_stat in damo.h explains them."""


class DumpResult(NamedTuple):
    """What Storage.dump has written."""

    number: int
    """The sequence number of the last call in the dump: give it to the next increment as since."""
    rows: int
    """The number of rows in the file."""
    removed: int
    """The number of keys that an increment removes."""


_REMEDY = (
    "close that one before the directory is opened again: call its close(), use it in a with-block,"
    " or `del` every name that refers to it, a PyStorage's embeddings too. A notebook's cell has"
    " to, before it runs again. damo.open_storages() lists what is open, also what has lost its"
    " name: `for storage in damo.open_storages(): storage.close()`"
)
_ELSEWHERE = "Close it there, or look at it with read_only=True"


def open_storages() -> list[Storage]:
    """The storages that this process has open, in order of opening.

    It finds a storage that causes a BusyError, even one that no name refers to any more.
    """
    return [handle for handle in _busy.open_handles() if isinstance(handle, Storage)]


def _seconds(ttl: SupportsIndex | datetime.timedelta) -> int:
    if isinstance(ttl, datetime.timedelta):
        if ttl < datetime.timedelta(0):
            raise InvalidArgumentError(f"damo: ttl is {ttl!r}; it must not be negative")
        # Rounded up, since 0 would mean "never".
        ttl = -(-ttl // datetime.timedelta(seconds=1))
    return _arrays.integer(ttl, "ttl", 0, 2**63 - 1)


class Storage(Handle):
    """A storage: the directory path with rows, optimizer state, groups and steps.

    Opening makes the directory if there is none. It is a context manager, and close() also closes
    its embeddings. Threads may share it. None for an option is the library's default (in brackets).

    ttl: seconds, or a timedelta, rounded up to seconds. A row that was not updated for so long is
    gone; 0: rows never expire.
    cache_bytes: memory for rows and RocksDB's indexes and filters (1 GiB).
    durability: what survives. "process": every call that returned, whatever kills the process (the
    default). "power": also if the machine loses power. "checkpoint": only what flush, checkpoint or
    close has written; the fastest.
    threads: how many share the work of a large call (the number of cores).
    readers: how many threads read rows from disk at most, 1..1024 (64). A process with several
    storages may give each 64 divided by their number. With 1 each call reads for itself.
    read_only: True changes nothing in the directory, which may be open in another process, a
    checkpoint, or without write permission. Calls that change rows raise damo.NotSupportedError.

    Raises damo.BusyError if another handle, here (open_storages lists them) or in another process,
    has the directory open; ValueError for a wrong option or a directory of something else;
    damo.NotFoundError if there is no storage and read_only is True; damo.CorruptionError,
    damo.IoError; damo.ForkedError in a process that was forked after its parent had opened a
    storage.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ttl: SupportsIndex | datetime.timedelta = 0,
        cache_bytes: SupportsIndex | None = None,
        durability: Durability | None = None,
        threads: SupportsIndex | None = None,
        readers: SupportsIndex | None = None,
        read_only: bool = False,
    ) -> None:
        self.path = os.path.abspath(os.fsdecode(os.fspath(path)))
        c_path = _c_api.path(path, "path")
        bag = Params(
            {
                "cache_bytes": cache_bytes,
                "durability": durability,
                "threads": threads,
                "readers": readers,
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
                # Another process makes or changes it. The message says what to do.
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
        """Writes what has changed, closes embeddings and iterators, and releases the directory.

        What calls of other threads use is closed when the last of them returns. Closing again does
        nothing.
        """
        with self._lock:
            super().close()
            children = list(self._children)
        for child in children:
            child.close()

    def _adopt(self, child: Handle) -> None:
        """Makes close() close child, too."""
        with self._lock:
            if not self.closed:
                self._children.add(child)
                return
        child.close()
        self._use()

    # ---- groups

    def describe(self) -> dict[str, Any]:
        """Everything the storage holds except its rows, as a dict.

        It has dir, read_only, checkpoint (the id), and groups, a list with the number, name, dim,
        row_len, step, optimizer, initializer, scheduler, max_norm and clients of each.
        damo_storage_describe in damo.h explains them.
        """
        return json.loads(_c_api.json_text(_c_api.damo_storage_describe, self._use))

    def forget_client(self, client: int) -> bool:
        """Forgets a client of Embedding.apply_gradients and Step.apply_gradients, in all groups.

        Its next call counts as its first one, whatever its sequence. No call of it may be under
        way. Returns whether a group knew it.

        client: the number that it has given itself, from 0 to 2**64 - 1.
        """
        number = _arrays.integer(client, "client", 0, 2**64 - 1)
        return _c_api.read(
            ctypes.c_bool,
            lambda known: _c_api.damo_storage_forget_client(self._use(), number, known),
        )

    @property
    def names(self) -> dict[str, int]:
        """The number of each group that has a name."""
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
        clip_value: float | None = None,
        clip_row_norm: float | None = None,
        clip_norm: float | None = None,
        max_norm: float | None = None,
        non_finite: NonFinite | None = None,
    ) -> Embedding:
        """Opens a group, and registers it if it is new.

        name_or_group: a name, or a number in 0..65535. A new name gets the lowest free number.
        Names are stored, and are part of checkpoints.
        dim: the number of weights in a row, 1..262144.
        optimizer, initializer: those of this opening. None is Normal(stddev=0.01) as initializer.
        duplicates: what apply_gradients does with a key that is given twice. "sum" or "mean": one
        step with the sum (as PyTorch does) or mean of its gradients. "sequential": one step for
        each occurrence, in order; this is the default in C and of the drop-in classes.
        padding_key: a key that reads as zeros, never has a row, and whose gradients are dropped.
        filter: decides which keys get rows (Embedding.set_filter); None: all do.
        fresh: True empties the group (Embedding.clear), for all its users. Otherwise a group that
        exists keeps its rows.
        clip_value, clip_row_norm, clip_norm: limits of the gradients of a call, applied in this
        order once those of a key were merged; None: no limit. They are for each float, for the
        2-norm of each key, and for the 2-norm of all keys of the call together.
        max_norm: the largest 2-norm of a row's weights, which are scaled when the row is made and
        after each step; None: no limit. Rows that are inserted, imported or committed from a Pin
        are scaled by their next step. It is refused with damo.NoOptimizer, which takes no steps.
        non_finite: what a call does with gradients that are NaN, infinite or beyond 1e18. "refuse":
        it raises ValueError (the default). "skip": it changes nothing, not even the step, and
        stat("steps_skipped") rises.

        A group keeps its dim and its optimizer's name for good: another one is a
        damo.AlreadyExistsError (also a ValueError). Raises TypeError or ValueError for a wrong
        argument, and with read_only damo.NotFoundError for a group that does not exist.
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
            clip_value=clip_value,
            clip_row_norm=clip_row_norm,
            clip_norm=clip_norm,
            max_norm=max_norm,
            non_finite=non_finite,
        )
        self._adopt(opened)
        if filter is not None:
            opened.set_filter(filter)
        if fresh:
            opened.clear()
        return opened

    def step(
        self,
        features: Mapping[str, Embedding],
        *,
        pooling: Mapping[str, BagMode | None] | None = None,
        include_last_offset: bool = False,
        clip_value: float | None = None,
        clip_row_norm: float | None = None,
        clip_norm: float | None = None,
        non_finite: NonFinite | None = None,
    ) -> Step:
        """A Step: several embeddings of this storage that are read and stepped together.

        features: a dict of embeddings by the names of features, in the order of their columns in a
        matrix. Two features may have the same embedding.
        pooling: "sum", "mean" or "max" by the names of features whose results are one row a bag.
        Other features have a row a key. padding_key is left out of bags.
        include_last_offset: whether offsets also have the number of keys at their end.
        clip_value, clip_row_norm, clip_norm: limits of gradients, applied in this order once those
        of a key were added up, and each embedding's own limits were applied; None: no limit. They
        are for each float, for the 2-norm of each key, and for the 2-norm of all keys of all
        features together, which gradient_norm then has.
        non_finite: what a step does with gradients that are NaN, infinite or beyond 1e18. "skip":
        it changes nothing, and skipped is True. "refuse": it raises ValueError. None: it skips if
        all embeddings with such gradients have "skip", and otherwise raises.

        Raises TypeError or ValueError for a wrong argument, and for two embeddings of one group.
        """
        return Step(
            self,
            features,
            pooling,
            include_last_offset,
            clip_value=clip_value,
            clip_row_norm=clip_row_norm,
            clip_norm=clip_norm,
            non_finite=non_finite,
        )

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
        """All rows of all groups as they are now, as damo.Records, in order of group and key."""
        return self._iterate(_c_api.ALL_GROUPS)

    def row_count(self, group: SupportsIndex | str | None = None) -> int:
        """The number of rows of group (a number or name; None: of all groups), which it reads.

        stat("rows_estimate") is quick. Raises damo.NotFoundError for a group that does not exist.
        """
        which = _c_api.ALL_GROUPS if group is None else self._group(group)
        return _c_api.read(
            ctypes.c_uint64, lambda rows: _c_api.damo_storage_row_count(self._use(), which, rows)
        )

    def stats(self) -> dict[str, int]:
        """All statistics by name: see damo_storage_stat in damo.h."""
        return {name: self.stat(name) for name in STATS}

    def stat(self, name: StatName) -> int:
        """One statistic. An unknown name is a ValueError, which lists the known ones."""
        c_name = _c_api.text(name, "name")
        return _c_api.read(
            ctypes.c_uint64, lambda value: _c_api.damo_storage_stat(self._use(), c_name, value)
        )

    def flush(self) -> None:
        """Makes every call that returned before this one durable, whatever the durability.

        Raises damo.IoError if the disk refuses. Then nothing stored before is lost.
        """
        _c_api.damo_storage_flush(self._use())

    def compact(self) -> None:
        """Writes what has changed, and merges everything on disk into one sorted run.

        Nobody needs to call it: the storage merges in parts by itself.
        """
        _c_api.damo_storage_compact(self._use())

    def verify(self) -> int:
        """Reads everything that is stored, checks every checksum, and returns the number of rows.

        Raises damo.CorruptionError, which names the file or row that is damaged.
        """
        return _c_api.read(
            ctypes.c_uint64, lambda rows: _c_api.damo_storage_verify(self._use(), rows)
        )

    def checkpoint(self, path: str | os.PathLike[str]) -> str:
        """Makes a checkpoint: the directory path with everything as it is at one moment.

        path must not exist, and its parent must. Returns the checkpoint id. Files of rows are hard
        links, so a large table takes no longer than a small one.

        Raises FileExistsError, damo.IoError, and with read_only damo.BusyError if another handle
        had the storage open with durability "checkpoint".
        """
        c_path = _c_api.path(path, "path")
        _c_api.damo_storage_checkpoint(self._use(), c_path)
        try:
            with open(os.path.join(os.fsdecode(path), "checkpoint.json"), encoding="utf-8") as file:
                return json.load(file)["id"]
        except FileNotFoundError:
            # Somebody has opened it as a storage already.
            return self.describe()["checkpoint"]

    @property
    def checkpoint_id(self) -> str | None:
        """The id of the checkpoint last made, loaded, or opened as this storage; None: no such."""
        return self.describe()["checkpoint"]

    def load_from_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Replaces everything that is stored by the content of a checkpoint.

        path: a checkpoint, or the directory of a closed storage. It stays as it is. Embeddings that
        are open go on with the checkpoint's groups.

        Raises FileNotFoundError, damo.CorruptionError, damo.BusyError while a dump or an iterator
        is under way, and damo.AlreadyExistsError if a group that is open has another dim, optimizer
        or name there. After an error everything is as it was, unless the message says that the
        storage must be opened again.
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
        """Imports the rows of a checkpoint or dump that damo-embedding wrote.

        Its groups must have been opened here once, with the dim and optimizer that they had there.
        A record that does not fit is left out. A dump has weights only.

        format: "auto" (what the file looks like), "checkpoint", or "classic" or "counted" for a
        dump.
        group: only the records of this group, a number or name; None: of all.
        header_groups: the width of a classic dump's header; None: whichever adds up.

        Returns a report (damo_storage_import_report in damo.h): the numbers records, imported and
        without_state; format and order; and refused, a list of reasons with their counts.

        Raises FileNotFoundError, damo.CorruptionError for a file that is not whole or has no sound
        record, and ValueError if no record fits the groups or none is of group.
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

        path: the file. It is replaced if it exists, once the new one is whole.
        format: "table" for damo.Table. Other readers parse "classic" (the default in C) and
        "counted" (as damo-embedding from 1.0.6 on wrote it).
        group: only this group, a number or name; None: all groups.
        expire_days: leaves out rows that were not updated for so many days.
        min_count: leaves out rows that were updated fewer times.
        value_type: of a table: "float32" (the default), "float16" or "int8".
        since: makes a table an increment to an earlier dump, whose number it is; damo.merge adds
        it.
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

    def _set_clock(self, time_ms: int) -> None:
        """Sets the clock that rows expire by, for tests: damo_test_set_clock."""
        _c_api.damo_test_set_clock(self._use(), time_ms)
