"""The classes that existing stacks import from a SWIG-built damo, with the same signatures.

Arrays are NumPy's, or buffers such as array.array and memoryview. They are filled in place. Weights
and gradients are never converted or copied. A wrong dtype or a masked array is a TypeError. A wrong
shape or stride, or a read-only array, is a ValueError. Both messages say what is needed.

Some arguments that releases of damo-embedding took, and that new code should not use, are accepted
with a warning (_dropin_rules). New code uses damo.Storage, damo.Embedding and so on.
"""

from __future__ import annotations

import datetime
import json
import os
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from . import _arrays, _c_api
from . import _dropin_config as config
from . import _dropin_old_files as old_files
from . import _dropin_rules as rules
from . import _dropin_served as served
from ._choices import StatName
from ._dropin_kinds import Parameters, PyFilter, PyInitializer, PyOptimizer
from ._dropin_rules import write_as
from ._dropin_table import PyTable
from ._embedding import Embedding
from ._errors import InvalidArgumentError, NotFoundError
from ._params import Params
from ._storage import Storage

if TYPE_CHECKING:
    from typing_extensions import Buffer


class PyStorage:
    """A storage: a directory with rows, optimizer state, groups and steps.

    ttl: seconds, or a timedelta, rounded up. A row that was not updated for so long is gone; 0:
    rows never expire.
    """

    def __init__(
        self, data_dir: str | os.PathLike[str], ttl: SupportsIndex | datetime.timedelta = 0
    ) -> None:
        self._storage = Storage(data_dir, ttl=ttl)
        self._old_files = old_files._OldFiles(rules._warn)

    def dump(self, path: str | os.PathLike[str], condition: Parameters | None = None) -> None:
        """Writes the weights to the file path, for serving.

        condition: its parameters are format ("classic", see write_as), expire_days, min_count,
        group and the others of damo_storage_dump in damo.h.
        """
        if condition is not None:
            rules._typed(condition, Parameters, "condition")
        values = {} if condition is None else condition._values
        rules._dump(
            lambda revised: self._storage._dump(path, Params(revised)), values, NotFoundError
        )

    def checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Makes a checkpoint: a directory path-MILLISECONDS with everything.

        path becomes a link to it, and always leads to the latest one.
        """
        rules._checkpoint(self._checkpoint, path)

    def _checkpoint(self, path: str) -> None:
        self._storage.checkpoint(path)

    def flush(self) -> None:
        """Makes every call that returned before this one durable."""
        self._storage.flush()

    def stat(self, name: StatName) -> int:
        """One statistic, such as "rows_estimate". A ValueError for another name lists them."""
        return self._storage.stat(name)

    def load_from_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Replaces everything by the content of a checkpoint.

        path: a checkpoint, or a checkpoint file of damo-embedding, whose rows are imported instead.
        """
        if os.path.isfile(os.fspath(path)):
            groups = [entry["group"] for entry in self._storage.describe()["groups"]]
            self._old_files.load(os.fspath(path), groups, self._bring_in)
            return
        self._storage.load_from_checkpoint(os.path.realpath(path) if os.path.islink(path) else path)
        self._old_files.forget()

    def _bring_in(self, path: str, group: int | None) -> tuple[dict[str, Any], Exception | None]:
        """Imports rows. Returns the report, and the error if there was one."""
        try:
            return self._storage._import(path, {"group": group}), None
        except InvalidArgumentError as error:
            report = _c_api.json_text(_c_api.damo_storage_import_report, self._storage._use)
            return json.loads(report), error


def _keys(values: Any) -> np.ndarray:
    revised = rules._keys(values)
    return _arrays.strict_keys(values if revised is values else np.asarray(revised))


class PyEmbedding:
    """One group of a storage. It keeps the storage open.

    dim: the number of weights in a row. group: a number in 0..65535.
    """

    def __init__(
        self,
        storage: PyStorage,
        optimizer: PyOptimizer,
        initializer: PyInitializer,
        dim: SupportsIndex,
        group: SupportsIndex = 0,
    ) -> None:
        for value, cls, what in (
            (storage, PyStorage, "storage"),
            (optimizer, PyOptimizer, "optimizer"),
            (initializer, PyInitializer, "initializer"),
        ):
            rules._typed(value, cls, what)
        number = _arrays.group(group)
        storage._old_files.opening(number)
        self._embedding = Embedding(
            storage._storage,
            number,
            dim=dim,
            optimizer=optimizer._optimizer,
            initializer=initializer._initializer,
            duplicates=None,
            padding_key=None,
        )
        storage._old_files.opened(self._embedding.group, storage._bring_in)

    def lookup(self, keys: np.ndarray | Buffer, w: np.ndarray | Buffer) -> None:
        """Fills w with the weights of keys. A key without a row gets one.

        keys: int64 or uint64 of shape (n,). w: contiguous writable float32 of shape (n * dim,) or
        (n, dim).
        """
        keys = _keys(keys)
        w = _arrays.strict_rows(w, "w", keys.size, self._embedding.dim, writable=True)
        _c_api.damo_embedding_lookup(
            self._embedding._use(), _arrays.address(keys), keys.size, _arrays.address(w), w.size
        )

    def apply_gradients(self, keys: np.ndarray | Buffer, gds: np.ndarray | Buffer) -> None:
        """Steps the optimizer, once for each occurrence of a key.

        keys: as for lookup. gds: the gradients, contiguous float32 of shape (n * dim,) or (n, dim).
        """
        keys = _keys(keys)
        revised = rules._gradients(gds)
        gds = gds if revised is gds else np.asarray(revised)
        gds = _arrays.strict_rows(gds, "gds", keys.size, self._embedding.dim)
        _c_api.damo_embedding_apply_gradients(
            self._embedding._use(), _arrays.address(keys), keys.size, _arrays.address(gds), gds.size
        )

    def peek(self, keys: np.ndarray | Buffer, w: np.ndarray | Buffer) -> bytes:
        """As lookup, but makes no rows: a key without a row reads as zeros.

        Returns a byte for each key: 1 if it has a row, 0 if not.
        """
        keys = _keys(keys)
        w = _arrays.strict_rows(w, "w", keys.size, self._embedding.dim, writable=True)
        found = np.empty(keys.size, np.uint8)
        _c_api.damo_embedding_peek(
            self._embedding._use(),
            _arrays.address(keys),
            keys.size,
            _arrays.address(w),
            w.size,
            _arrays.address(found),
        )
        return found.tobytes()

    def step(self, keys: np.ndarray | Buffer, gds: np.ndarray | Buffer) -> None:
        """apply_gradients by the name that releases 1.1.0 to 1.1.3 also had for it."""
        rules._called_step()
        self.apply_gradients(keys, gds)


class PyDamo(served._Served):
    __doc__ = served._Served.__doc__
    _parts = (Parameters, PyStorage, PyOptimizer, PyInitializer, PyEmbedding)
    _read = staticmethod(config._configuration)
    _warn = staticmethod(rules._warn)
    _is_bool = staticmethod(rules._is_bool)


__all__ = [
    "Parameters",
    "PyDamo",
    "PyEmbedding",
    "PyFilter",
    "PyInitializer",
    "PyOptimizer",
    "PyStorage",
    "PyTable",
    "write_as",
]
