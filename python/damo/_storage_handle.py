"""StorageHandle: opening and closing a storage, and the groups that it has."""

from __future__ import annotations

import datetime
import json
import os
import weakref
from typing import Any, SupportsIndex

from . import _arrays, _busy, _c_api
from ._errors import BusyError, InvalidArgumentError, NotFoundError
from ._handles import ForkSafeLock, Handle
from ._params import Params

_REMEDY = (
    "close that one before the directory is opened again: call its close(), use it in a with-block,"
    " or `del` every name that refers to it, a PyStorage's embeddings too. A notebook's cell has"
    " to, before it runs again. damo.open_storages() lists what is open, also what has lost its"
    " name: `for storage in damo.open_storages(): storage.close()`"
)
_ELSEWHERE = "Close it there, or look at it with read_only=True"


def _seconds(ttl: SupportsIndex | datetime.timedelta) -> int:
    if isinstance(ttl, datetime.timedelta):
        if ttl < datetime.timedelta(0):
            raise InvalidArgumentError(f"damo: ttl is {ttl!r}; it must not be negative")
        # Rounded up, since 0 would mean "never".
        ttl = -(-ttl // datetime.timedelta(seconds=1))
    return _arrays.integer(ttl, "ttl", 0, 2**63 - 1)


class StorageHandle(Handle):
    """A damo_storage of damo.h, which is open. damo.Storage is built on it.

    path, ttl: as for damo.Storage. options: the other options of damo.Storage, by name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        ttl: SupportsIndex | datetime.timedelta,
        options: dict[str, Any],
    ) -> None:
        self.path = os.path.abspath(os.fsdecode(os.fspath(path)))
        c_path = _c_api.path(path, "path")
        bag = Params(options)
        self._children: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._lock = ForkSafeLock()
        try:
            super().__init__(
                _c_api.damo_storage_new, _c_api.damo_storage_free, c_path, _seconds(ttl), bag._use()
            )
        except BusyError as error:
            if options["read_only"]:
                # Another process makes or changes it. The message says what to do.
                raise
            raise _busy.with_remedy(error, self.path, _REMEDY, _ELSEWHERE) from None
        bag.close()
        _busy.note(self, self.path)

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

    def describe(self) -> dict[str, Any]:
        """Everything the storage holds except its rows, as a dict.

        It has dir, read_only, checkpoint (the id), and groups, a list of dicts with group (the
        number), name, dim, row_len, step, optimizer, initializer, scheduler, max_norm and clients.
        damo_storage_describe in damo.h explains them.
        """
        return json.loads(_c_api.json_text(_c_api.damo_storage_describe, self._use))

    @property
    def names(self) -> dict[str, int]:
        """The number of each group that has a name."""
        return {
            group["name"]: group["group"]
            for group in self.describe()["groups"]
            if group["name"] is not None
        }

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
