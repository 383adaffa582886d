"""The drop-in classes Parameters, PyInitializer, PyOptimizer and PyFilter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np

from . import _arrays
from . import _dropin_rules as rules
from ._dropin_names import _group_first
from ._errors import InvalidArgumentError
from ._filter import Filter
from ._params import Params
from .initializers import Initializer
from .optimizers import Optimizer
from .schedulers import Scheduler

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Parameters:
    """A typed key/value bag, which configures the other classes."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._params = Params()

    def insert(self, key: str, value: bool | SupportsIndex | float | str) -> None:
        """Sets one value. A key that is set twice keeps the last value."""
        self._params.set(key, value)
        # Kept as Python's own types: nobody can change those, and the rules know one kind of float.
        if isinstance(value, (float, np.floating)):
            value = float(value)
        elif not isinstance(value, str):
            value = bool(value) if _arrays.is_bool(value) else _arrays.index(value, "value")
        self._values[key] = value

    def to_json(self) -> str:
        """The bag as a JSON object, keys sorted."""
        return self._params.to_json()

    def __repr__(self) -> str:
        return f"Parameters({self.to_json()})"


def _named(params: Any, what: str, kind: str) -> tuple[str, dict[str, Any]]:
    """The parameter "name", and a dict of the other parameters.

    what, kind: the bag and the kind of object, for the message. Raises InvalidArgumentError for a
    bag without a name.
    """
    rules._typed(params, Parameters, what)
    values = dict(params._values)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise InvalidArgumentError(
            f"damo: {what} needs the parameter 'name', a string that says which {kind} it is for; "
            f"it has {params.to_json()}"
        )
    return name, values


def _make(cls: Any, name: str, values: dict[str, Any], *more: Any) -> Any:
    # Not by keywords: a parameter may have the name of one of our arguments.
    made = cls.__new__(cls)
    made._open(name, values, *more)
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
    """An initializer. params has its "name" and its parameters (damo_initializer in damo.h)."""

    def __init__(self, params: Parameters | None = None) -> None:
        if params is None:
            params = _bag(rules._default("PyInitializer", "zeros"))
        name, values = _named(params, "params", "initializer")
        self._initializer: Initializer = rules._make(
            lambda initializer: _make(Initializer, name, initializer), initializer=values
        )

    def call(self, w: np.ndarray | Buffer) -> None:
        """Fills w with the first weights of one row, that of group 0 and key 0.

        w: contiguous writable float32 with one dimension or two.
        """
        row = _arrays.of_buffer(w)
        if getattr(row, "dtype", None) == np.float32 and row.ndim not in (1, 2):
            raise InvalidArgumentError(
                f"damo: w has shape {row.shape}; it must have one dimension or two"
            )
        _arrays.floats(row, "w", (getattr(row, "shape", ()),), writable=True)
        self._initializer.fill(np.asarray(row).reshape(-1))


class PyOptimizer:
    """An optimizer. op_params has its "name" and parameters (damo_optimizer in damo.h).

    scheduler_params: the "name" and parameters of a schedule (damo_scheduler in damo.h), or None.
    """

    def __init__(
        self, op_params: Parameters | None = None, scheduler_params: Parameters | None = None
    ) -> None:
        if op_params is None:
            op_params = _bag(rules._default("PyOptimizer", "sgd", gamma=1e-3))
        name, values = _named(op_params, "op_params", "optimizer")
        scheduler = None if scheduler_params is None else _scheduler(scheduler_params)
        self._optimizer: Optimizer = rules._make(
            lambda optimizer: _make(Optimizer, name, optimizer, scheduler),
            optimizer=values,
        )

    def call(
        self,
        w: np.ndarray | Buffer,
        gds: np.ndarray | Buffer,
        step: SupportsIndex = 0,
        *,
        global_step: SupportsIndex | None = None,
    ) -> None:
        """Applies one gradient to one row, in place.

        w: writable contiguous float32 of shape (row_len,): the weights, then the optimizer's state,
        which is zeros at first. gds: contiguous float32 of shape (dim,). step: the number of
        gradients that the row has had before.
        """
        row, gradients = _arrays.of_buffer(w), _arrays.of_buffer(gds)
        self._optimizer.apply(row, gradients, rules._step(step, global_step))


class PyFilter:
    """A counting Bloom filter.

    params: its parameters are path, capacity, count, fpr, reload and verify (damo_filter_new in
    damo.h). Without params it lets every key pass.
    """

    def __init__(self, params: Parameters | None = None) -> None:
        self._filter: Filter | None = None
        if params is None:
            rules._pass_all()
            return
        rules._typed(params, Parameters, "params")
        made = Filter.__new__(Filter)
        made._open(params._values)
        self._filter = made

    @overload
    def check(self, key: SupportsIndex) -> bool: ...
    @overload
    def check(self, group: SupportsIndex, key: SupportsIndex) -> bool: ...
    def check(self, *group_and_key: SupportsIndex, **named: SupportsIndex) -> bool:
        """check([group,] key): whether key was added often enough. group is 0 by default."""
        group, key = _group_first("PyFilter.check", ("group", "key"), group_and_key, named)
        number, key = _arrays.group(group), _arrays.key(key)
        return True if self._filter is None else self._filter._check_one(number, key)

    @overload
    def add(self, key: SupportsIndex, num: SupportsIndex) -> None: ...
    @overload
    def add(self, group: SupportsIndex, key: SupportsIndex, num: SupportsIndex) -> None: ...
    def add(self, *group_key_and_num: SupportsIndex, **named: SupportsIndex) -> None:
        """add([group,] key, num): adds num to the count of key. group is 0 by default."""
        names = ("group", "key", "num")
        group, key, num = _group_first("PyFilter.add", names, group_key_and_num, named)
        times = _arrays.integer(num, "num", 0, 2**32 - 1)
        number, key = _arrays.group(group), _arrays.key(key)
        if self._filter is not None:
            self._filter._add_one(number, key, times)
