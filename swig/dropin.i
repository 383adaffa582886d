// What releases of damo-embedding took and new code should not rely on: accepted with a warning, in
// Python, by classes that replace those above. The rules are the package's: dropin_config.i,
// dropin_old_files.i, dropin_rules.i and dropin_served.i are links to its files.

%include "dropin_rules.i"
%include "dropin_old_files.i"
%include "dropin_config.i"
%include "dropin_served.i"

%pythoncode %{
import datetime as _datetime
import json as _json

_Initializer, _Optimizer, _Filter = PyInitializer, PyOptimizer, PyFilter
_Storage, _Embedding = PyStorage, PyEmbedding


def _bag(values):
    made = Parameters()
    for key, value in values.items():
        made.insert(key, value)
    return made


def _values(params):
    return _json.loads(params.to_json())


class PyInitializer(_Initializer):
    __doc__ = _Initializer.__doc__

    def __init__(self, params=None):
        init = super().__init__
        if params is None:
            params = _bag(_default("PyInitializer", "zeros"))
        _typed(params, Parameters, "params")
        _make(lambda initializer: init(_bag(initializer)), initializer=_values(params))


class PyOptimizer(_Optimizer):
    __doc__ = _Optimizer.__doc__

    def __init__(self, op_params=None, scheduler_params=None):
        init = super().__init__
        if op_params is None:
            op_params = _bag(_default("PyOptimizer", "sgd", gamma=1e-3))
        _typed(op_params, Parameters, "op_params")
        if scheduler_params is not None:
            _typed(scheduler_params, Parameters, "scheduler_params")
        schedule = None if scheduler_params is None else _schedule(_values(scheduler_params))

        def build(optimizer, scheduler):
            init(_bag(optimizer), None if scheduler is None else _bag(scheduler))

        _make(build, optimizer=_values(op_params), scheduler=schedule)

    def call(self, w, gds, step=0, *, global_step=None):
        """call(w, gds, step=0): steps one row that the caller keeps, in place."""
        return super().call(w, gds, _step(step, global_step))


def _in_range(names, values):
    """The checks of group, key and num where no filter makes them."""
    ranges = {"group": (0, 65535), "key": (-(2**63), 2**64 - 1), "num": (0, 2**32 - 1)}
    for name, value in zip(names, values):
        low, high = ranges[name]
        if _is_bool(value) or not hasattr(value, "__index__"):
            raise TypeError(f"damo: {name} is a {type(value).__name__}; an integer is needed")
        if not low <= value.__index__() <= high:
            raise ValueError(
                f"damo: {name} is {value}; an integer from {low} to {high} is needed"
            )


class PyFilter(_Filter):
    __doc__ = _Filter.__doc__

    def __init__(self, params=None):
        self._passes_all = params is None
        if self._passes_all:
            _pass_all()
        else:
            _typed(params, Parameters, "params")
            super().__init__(params)

    def check(self, *group_and_key, **named):
        """check([group,] key) -> bool: whether key was added as often as count says."""
        if self._passes_all:
            names = ("group", "key")
            _in_range(names, _group_first("PyFilter.check", names, group_and_key, named))
            return True
        return super().check(*group_and_key, **named)

    def add(self, *group_key_and_num, **named):
        """add([group,] key, num): adds num to how often key was seen."""
        if self._passes_all:
            names = ("group", "key", "num")
            _in_range(names, _group_first("PyFilter.add", names, group_key_and_num, named))
        else:
            super().add(*group_key_and_num, **named)


class PyStorage(_Storage):
    __doc__ = _Storage.__doc__

    def __init__(self, data_dir, ttl=0):
        if isinstance(ttl, _datetime.timedelta):
            # Rounds away from 0, which means never: a fraction of a second becomes one second, and
            # a negative one is refused.
            second = _datetime.timedelta(seconds=1)
            ttl = ttl // second if ttl < 0 * second else -(-ttl // second)
        super().__init__(data_dir, ttl)
        self._old_files = _OldFiles(_warn)

    def dump(self, path, condition=None):
        """dump(path[, condition]): writes the weights of all rows, as they are at one moment, to a
        file for serving. condition: format ("classic", see write_as), expire_days, min_count,
        group, and what else damo_storage_dump takes."""
        if condition is not None:
            _typed(condition, Parameters, "condition")
        write = super().dump
        values = {} if condition is None else _values(condition)
        _dump(lambda revised: write(path, _bag(revised)), values, NotFoundError)

    def checkpoint(self, path):
        """checkpoint(path): makes a directory path-MILLISECONDS with everything, and path a link to
        it: the latest, if there are several."""
        _checkpoint(self._checkpoint, path)

    def _checkpoint(self, path):
        super().checkpoint(path)

    def load_from_checkpoint(self, path):
        """load_from_checkpoint(path): replaces everything by what the checkpoint has. If it is
        refused, nothing changes. A file of damo-embedding is imported instead."""
        if os.path.isfile(os.fspath(path)):
            groups = [entry["group"] for entry in _json.loads(self._describe())["groups"]]
            self._old_files.load(os.fsdecode(path), groups, self._bring_in)
            return
        super().load_from_checkpoint(os.path.realpath(path) if os.path.islink(path) else path)
        self._old_files.forget()

    def _bring_in(self, path, group):
        """The report of an import, and the error that it ended with."""
        error = None
        try:
            self._import(path, _bag({} if group is None else {"group": group}))
        except InvalidArgumentError as caught:
            error = caught
        return _json.loads(self._import_report()), error


class PyEmbedding(_Embedding):
    __doc__ = _Embedding.__doc__

    def __init__(self, storage, optimizer, initializer, dim, group=0):
        _typed(storage, PyStorage, "storage")
        _typed(optimizer, PyOptimizer, "optimizer")
        _typed(initializer, PyInitializer, "initializer")
        if hasattr(group, "__index__") and not _is_bool(group):
            storage._old_files.opening(group.__index__())
        super().__init__(storage, optimizer, initializer, dim, group)
        storage._old_files.opened(group.__index__(), storage._bring_in)

    def lookup(self, keys, w):
        """lookup(keys, w): fills w, of len(keys) * dim float32 or (len(keys), dim), with the rows
        of keys, in their order. A key that is seen for the first time gets a row. Other threads run
        meanwhile."""
        return super().lookup(_keys(keys), w)

    def peek(self, keys, w):
        """peek(keys, w) -> bytes: as lookup, but makes no rows. A key without one reads as zeros,
        and is a 0 in what is returned, which has a byte a key."""
        return super().peek(_keys(keys), w)

    def apply_gradients(self, keys, gds):
        """apply_gradients(keys, gds): steps the optimizer with gds, shaped as lookup's w. A key
        that is given twice is stepped twice. All rows change or none does: a gradient that is NaN
        or infinite is a ValueError. Other threads run meanwhile."""
        return super().apply_gradients(_keys(keys), _gradients(gds))

    def step(self, keys, gds):
        """step(keys, gds): apply_gradients, as 1.1.0 to 1.1.3 also called it."""
        _called_step()
        return self.apply_gradients(keys, gds)


class PyDamo(_Served):
    __doc__ = _Served.__doc__
    _parts = (Parameters, PyStorage, PyOptimizer, PyInitializer, PyEmbedding)
    _read = staticmethod(_configuration)
    _warn = staticmethod(_warn)
    _is_bool = staticmethod(_is_bool)

%}
