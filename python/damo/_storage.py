"""Storage: a directory with rows, optimizer state, groups and steps.

This file has its embeddings, its steps and its rows. StorageHandle opens and closes it. Its dumps,
checkpoints, imports and statistics have a file each: _storage_dump and so on.
"""

from __future__ import annotations

import ctypes
import datetime
import os
from typing import Mapping, SupportsIndex

from . import _arrays, _busy, _c_api
from ._choices import AutoOrOff, BagMode, Duplicates, Durability, NonFinite
from ._embedding import Embedding
from ._filter import Filter
from ._own_names import with_own_names
from ._records import Records
from ._step import Step
from ._storage_checkpoint import StorageCheckpoint
from ._storage_dump import StorageDump
from ._storage_import import StorageImport
from ._storage_stats import StorageStats
from .initializers import Initializer, Normal
from .optimizers import Optimizer


def open_storages() -> list[Storage]:
    """The storages that this process has open, in order of opening.

    It finds a storage that causes a BusyError, even one that no name refers to any more.
    """
    return [handle for handle in _busy.open_handles() if isinstance(handle, Storage)]


@with_own_names
class Storage(StorageDump, StorageCheckpoint, StorageImport, StorageStats):
    """A storage: the directory path with rows, optimizer state, groups and steps.

    Opening makes the directory if there is none. It is a context manager, and close() also closes
    its embeddings. Threads may share it. None for an option is the library's default (in brackets).

    ttl: seconds, or a timedelta, rounded up to seconds. A row that was not updated for so long is
    gone; 0: rows never expire.
    cache_bytes: memory for rows, indexes and filters, taken as rows come (a quarter of the memory
    that the process may have: docs/parameters.md; stat("cache_bytes") tells).
    durability: what survives. "process": every call that returned, whatever kills the process (the
    default). "power": also if the machine loses power. "checkpoint": only what flush, checkpoint or
    close has written; the fastest.
    threads: how many share the work of a large call (the number of cores).
    readers: how many threads read rows from disk for a call at most, 1..1024 (64). A process with
    several storages may give each 64 divided by their number. With 1 each call reads for itself.
    mapped_reads: "auto" reads rows from mapped files where the page cache has them (the default);
    "off" reads them by system calls.
    io_uring: "auto" reads what is not in the page cache by io_uring, where the system allows that
    (the default); "off" never uses it.
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
        mapped_reads: AutoOrOff | None = None,
        io_uring: AutoOrOff | None = None,
        read_only: bool = False,
    ) -> None:
        options = {
            "cache_bytes": cache_bytes,
            "durability": durability,
            "threads": threads,
            "readers": readers,
            "mapped_reads": mapped_reads,
            "io_uring": io_uring,
            "read_only": read_only,
        }
        super().__init__(path, ttl, options)

    def __repr__(self) -> str:
        return f"<damo.Storage {self.path!r}{', closed' if self.closed else ''}>"

    def __enter__(self) -> "Storage":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # ---- groups

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

    def _set_clock(self, time_ms: int) -> None:
        """Sets the clock that rows expire by, for tests: damo_test_set_clock."""
        _c_api.damo_test_set_clock(self._use(), time_ms)
