"""Storage.checkpoint and load_from_checkpoint: everything that is stored, at one moment."""

from __future__ import annotations

import json
import os

from . import _c_api
from ._storage_handle import StorageHandle


class StorageCheckpoint(StorageHandle):
    """The part of damo.Storage that makes and loads checkpoints."""

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
