"""The classes that existing stacks import from a SWIG-built damo: same names, same signatures, arrays filled in place.

Weights and gradients are never converted or copied: a wrong dtype is a TypeError, a wrong shape, stride or a read-only
array a ValueError, and both say what is wanted. What releases of damo-embedding took and new code should not rely on is
accepted with a warning (_dropin_rules). New code has damo.Storage and its company.
"""

from __future__ import annotations

import json
import os
from typing import Any, SupportsIndex, overload

import numpy as np

from . import _arrays, _c_api
from . import _dropin_rules as rules
from . import _dropin_served as served
from ._dropin_names import _group_first
from ._embedding import Embedding
from ._dropin_rules import write_as
from ._errors import InvalidArgumentError, NotFoundError
from ._filter import Filter
from ._params import Params
from ._storage import Storage
from .initializers import Initializer
from .optimizers import Optimizer
from .schedulers import Scheduler


class Parameters:
    """A typed key/value bag."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._params = Params()

    def insert(self, key: str, value: bool | SupportsIndex | float | str) -> None:
        """Sets one value; a key that is set twice keeps the last."""
        self._params.set(key, value)
        self._values[key] = value

    def to_json(self) -> str:
        """The bag as a JSON object, keys sorted."""
        return self._params.to_json()

    def __repr__(self) -> str:
        return f"Parameters({self.to_json()})"


def _named(params: Any, what: str, kind: str) -> tuple[str, dict[str, Any]]:
    """The parameter "name", which says what is to be made, and the others."""
    if not isinstance(params, Parameters):
        raise TypeError(f"damo: {what} must be a damo.Parameters, not {type(params).__name__}")
    values = dict(params._values)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise InvalidArgumentError(
            f"damo: {what} needs the parameter 'name', a string that says which {kind} it is for; it has {params.to_json()}"
        )
    return name, values


def _make(cls: Any, name: str, values: dict[str, Any], **more: Any) -> Any:
    # A parameter may be called as an argument of ours, and is the library's to judge then.
    made = cls.__new__(cls)
    clash = {"self", "name", *more} & set(values)
    if clash:
        raise InvalidArgumentError(f"damo: {sorted(clash)[0]!r} is not a parameter of {name!r}")
    made.__init__(name, **values, **more)
    return made


def _bag(values: dict[str, Any]) -> Parameters:
    made = Parameters()
    for key, value in values.items():
        made.insert(key, value)
    return made


def _scheduler(params: Parameters) -> Scheduler | None:
    name, values = _named(params, "scheduler_params", "scheduler")
    revised = rules._schedule(dict(values, name=name))
    if revised is None:
        return None
    name = revised.pop("name")
    return rules._make(lambda scheduler: _make(Scheduler, name, scheduler), scheduler=revised)


class PyInitializer:
    """An initializer; params has its "name" and its parameters."""

    def __init__(self, params: Parameters | None = None) -> None:
        if params is None:
            params = _bag(rules._default("PyInitializer", "zeros"))
        name, values = _named(params, "params", "initializer")
        self._initializer: Initializer = rules._make(
            lambda initializer: _make(Initializer, name, initializer), initializer=values
        )

    def call(self, w: np.ndarray) -> None:
        """Fills w, contiguous writable float32, as the row of group 0 and key 0."""
        if isinstance(w, np.ndarray) and w.ndim != 1 and w.flags.c_contiguous:
            _arrays.floats(w, "w", (w.shape,), writable=True)
            w = w.reshape(-1)
        self._initializer.fill(w)


class PyOptimizer:
    """An optimizer; op_params has its "name" and its parameters, scheduler_params those of a schedule."""

    def __init__(self, op_params: Parameters | None = None, scheduler_params: Parameters | None = None) -> None:
        if op_params is None:
            op_params = _bag(rules._default("PyOptimizer", "sgd", gamma=1e-3))
        name, values = _named(op_params, "op_params", "optimizer")
        scheduler = None if scheduler_params is None else _scheduler(scheduler_params)
        self._optimizer: Optimizer = rules._make(
            lambda optimizer: _make(Optimizer, name, optimizer, scheduler=scheduler), optimizer=values
        )

    def call(
        self, w: np.ndarray, gds: np.ndarray, step: SupportsIndex = 0, *, global_step: SupportsIndex | None = None
    ) -> None:
        """Applies gds to w, in place: the weights and, after them, the optimizer's state, zeros at first."""
        self._optimizer.apply(w, gds, rules._step(step, global_step))


class PyFilter:
    """A counting Bloom filter; params: path, capacity, count, fpr, reload. Without params it lets every key pass."""

    def __init__(self, params: Parameters | None = None) -> None:
        if params is not None and not isinstance(params, Parameters):
            raise TypeError(f"damo: params must be a damo.Parameters, not {type(params).__name__}")
        self._filter: Filter | None = None
        if params is None:
            rules._pass_all()
            return
        made = Filter.__new__(Filter)
        made._open(params._values)
        self._filter = made

    @overload
    def check(self, key: SupportsIndex) -> bool: ...
    @overload
    def check(self, group: SupportsIndex, key: SupportsIndex) -> bool: ...
    def check(self, *group_and_key: SupportsIndex, **named: SupportsIndex) -> bool:
        """check([group,] key): whether the key was added often enough. Group 0 when it is left out."""
        group, key = _group_first("PyFilter.check", ("group", "key"), group_and_key, named)
        number, key = _arrays.group(group), _arrays.key(key)
        return True if self._filter is None else self._filter._check_one(number, key)

    @overload
    def add(self, key: SupportsIndex, num: SupportsIndex) -> None: ...
    @overload
    def add(self, group: SupportsIndex, key: SupportsIndex, num: SupportsIndex) -> None: ...
    def add(self, *group_key_and_num: SupportsIndex, **named: SupportsIndex) -> None:
        """add([group,] key, num): adds num to how often the key has been seen. Group 0 when it is left out."""
        names = ("group", "key", "num")
        group, key, num = _group_first("PyFilter.add", names, group_key_and_num, named)
        times = _arrays.integer(num, "num", 0, 2**32 - 1)
        number, key = _arrays.group(group), _arrays.key(key)
        if self._filter is not None:
            self._filter._add_one(number, key, times)


class PyStorage:
    """A directory with everything; a row that was not updated for ttl seconds is gone (0: never)."""

    def __init__(self, data_dir: str | os.PathLike[str], ttl: SupportsIndex = 0) -> None:
        self._storage = Storage(data_dir, ttl=ttl)
        self._old_files = rules._OldFiles()

    def dump(self, path: str | os.PathLike[str], condition: Parameters | None = None) -> None:
        """Writes the weights for serving; condition: format ("classic", see write_as), expire_days, min_count, group, ..."""
        if condition is not None and not isinstance(condition, Parameters):
            raise TypeError(f"damo: condition must be a damo.Parameters, not {type(condition).__name__}")
        values = {} if condition is None else condition._values
        rules._dump(lambda revised: self._storage._dump(path, Params(revised)), values, NotFoundError)

    def checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Makes a directory path-MILLISECONDS with everything, and path a link to it: the latest, if there are several."""
        rules._checkpoint(self._checkpoint, path)

    def _checkpoint(self, path: str) -> None:
        self._storage.checkpoint(path)

    def load_from_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Replaces everything by what the checkpoint has. A file of damo-embedding is imported instead."""
        if os.path.isfile(os.fspath(path)):
            groups = [entry["group"] for entry in self._storage.describe()["groups"]]
            self._old_files.load(os.fspath(path), groups, self._bring_in)
            return
        self._storage.load_from_checkpoint(os.path.realpath(path) if os.path.islink(path) else path)
        self._old_files.forget()

    def _bring_in(self, path: str, group: int | None) -> tuple[dict[str, Any], Exception | None]:
        """The report of an import, and the error that it ended with."""
        try:
            return self._storage._import(path, {"group": group}), None
        except InvalidArgumentError as error:
            report = _c_api.json_text(_c_api.damo_storage_import_report, self._storage._use)
            return json.loads(report), error


def _keys(values: Any) -> np.ndarray:
    revised = rules._keys(values)
    return _arrays.strict_keys(values if revised is values else np.asarray(revised))


class PyEmbedding:
    """One group of a storage; the storage stays open as long as one of its embeddings is there."""

    def __init__(
        self, storage: PyStorage, optimizer: PyOptimizer, initializer: PyInitializer, dim: SupportsIndex, group: SupportsIndex = 0
    ) -> None:
        for value, cls, what in (
            (storage, PyStorage, "storage"),
            (optimizer, PyOptimizer, "optimizer"),
            (initializer, PyInitializer, "initializer"),
        ):
            if not isinstance(value, cls):
                raise TypeError(f"damo: {what} must be a damo.{cls.__name__}, not {type(value).__name__}")
        self._embedding = Embedding(
            storage._storage,
            _arrays.group(group),
            dim=dim,
            optimizer=optimizer._optimizer,
            initializer=initializer._initializer,
            duplicates=None,
            padding_key=None,
        )
        storage._old_files.opened(self._embedding.group, storage._bring_in)

    def lookup(self, keys: np.ndarray, w: np.ndarray) -> None:
        """Fills w, contiguous writable float32 of shape (n * dim,) or (n, dim). keys: int64 or uint64 of shape (n,)."""
        keys = _keys(keys)
        _arrays.strict_rows(w, "w", keys.size, self._embedding.dim, writable=True)
        _c_api.damo_embedding_lookup(self._embedding._use(), _arrays.address(keys), keys.size, _arrays.address(w), w.size)

    def apply_gradients(self, keys: np.ndarray, gds: np.ndarray) -> None:
        """Steps the optimizer, once for each occurrence of a key. gds: contiguous float32, (n * dim,) or (n, dim)."""
        keys = _keys(keys)
        _arrays.strict_rows(gds, "gds", keys.size, self._embedding.dim)
        _c_api.damo_embedding_apply_gradients(
            self._embedding._use(), _arrays.address(keys), keys.size, _arrays.address(gds), gds.size
        )

    def _known(self, keys: np.ndarray, scratch: np.ndarray) -> np.ndarray:
        """A byte for each key: whether it has a row. scratch: float32, dim for each key."""
        return self._embedding.peek(keys, out=scratch.reshape(keys.size, -1) if keys.size else None)[1]

    def step(self, keys: np.ndarray, gds: np.ndarray) -> None:
        """apply_gradients, as 1.1.0 to 1.1.3 also called it."""
        rules._called_step()
        self.apply_gradients(keys, gds)


class PyDamo(served._Served):
    __doc__ = served._Served.__doc__
    _parts = (Parameters, PyStorage, PyOptimizer, PyInitializer, PyEmbedding)
    _warn = staticmethod(rules._warn)


__all__ = [
    "Parameters",
    "PyDamo",
    "PyEmbedding",
    "PyFilter",
    "PyInitializer",
    "PyOptimizer",
    "PyStorage",
    "write_as",
]
