"""One group of a storage with its optimizer and initializer: what a trainer calls."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np

from . import _arrays, _c_api, _once, _tensors
from ._choices import Duplicates
from ._errors import InvalidArgumentError
from ._filter import Filter
from ._handles import Handle
from ._lookup import Lookup
from ._params import Params
from ._pin import Pin
from ._records import Record, Records
from .initializers import Initializer
from .optimizers import Optimizer

if TYPE_CHECKING:
    from ._storage import Storage


class GradientSums(NamedTuple):
    """What Embedding.sum_gradients returns for a batch."""

    keys: np.ndarray
    """int64 of shape (n,): each key once, in no particular order."""
    sums: np.ndarray
    """float32 of shape (n, dim): the sum, or mean, of each key's gradients."""
    norm: float
    """The 2-norm of all sums together."""
    largest: float
    """The largest absolute value among them."""


class Embedding(Handle):
    """Rows of weights by 64-bit keys. Storage.embedding makes it. Threads may share it.

    keys are an integer, or integers of any shape. int64 and uint64 arrays are used as they are (a
    uint64 keeps its bits). Other integers are converted; floats are a TypeError. Rows have the
    shape keys.shape + (dim,) and the dtype float32.

    PyTorch tensors on any device are taken, too: of any integer dtype for keys, and of any float
    dtype, converted to float32, for gradients, weights and rows. Results are NumPy arrays.

    Its attributes are storage, group (the number), name (None if the group has none), dim,
    optimizer, initializer, duplicates and padding_key.

    Any call can also raise damo.ClosedError, damo.ForkedError, damo.IoError and
    damo.CorruptionError.
    """

    def __init__(
        self,
        storage: "Storage",
        name_or_group: str | SupportsIndex,
        *,
        dim: SupportsIndex,
        optimizer: Optimizer,
        initializer: Initializer,
        duplicates: Duplicates | None,
        padding_key: SupportsIndex | None,
        **options: float | str | None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"damo: optimizer must be a damo.Optimizer, not {type(optimizer).__name__}"
            )
        if not isinstance(initializer, Initializer):
            raise TypeError(
                f"damo: initializer must be a damo.Initializer, not {type(initializer).__name__}"
            )
        self.storage = storage
        self._name = name_or_group if isinstance(name_or_group, str) else None
        group = (
            _c_api.GROUP_BY_NAME if isinstance(name_or_group, str) else _arrays.group(name_or_group)
        )
        self.dim = _arrays.integer(dim, "dim", 1, 262144)
        self.optimizer, self.initializer, self.duplicates = (
            optimizer,
            initializer,
            duplicates or "sequential",
        )
        self._row_len = optimizer.row_len(self.dim)
        self.padding_key = None if padding_key is None else _arrays.key(padding_key, "padding_key")
        # Limits and non_finite: what is handed over for different ones is not added up.
        self._conditions = {name: value for name, value in options.items() if value is not None}
        bag = Params(
            {
                "duplicates": duplicates,
                "padding_key": self.padding_key,
                "name": self._name,
                **self._conditions,
            }
        )
        super().__init__(
            _c_api.damo_embedding_new,
            _c_api.damo_embedding_free,
            storage._use(),
            optimizer._use(),
            initializer._use(),
            self.dim,
            group,
            bag._use(),
        )
        bag.close()
        self.group = _c_api.read(
            ctypes.c_uint32, lambda number: _c_api.damo_embedding_group(self._use(), number)
        )

    @property
    def name(self) -> str | None:
        """The group's name, or None."""
        # Looked up on first use: it takes a description of all groups.
        if self._name is None and not self.closed:
            names = self.storage.names.items()
            self._name = next((name for name, group in names if group == self.group), None)
        return self._name

    def __repr__(self) -> str:
        name = self.name
        called = f"{name!r} (group {self.group})" if name is not None else f"group {self.group}"
        closed = ", closed" if self.closed else ""
        return (
            f"<damo.Embedding {called} of {self.storage.path!r}, dim {self.dim},"
            f" {self.optimizer.name}{closed}>"
        )

    def _rows(self, keys: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        shape = (*keys.shape, self.dim)
        return (
            np.empty(shape, np.float32)
            if out is None
            else _arrays.floats(out, "out", (shape,), writable=True)
        )

    # ---- reading

    def lookup(
        self,
        keys: Any,
        *,
        occurrences: Any = None,
        out: np.ndarray | None = None,
        at_step: int | None = None,
    ) -> np.ndarray:
        """The weights of keys: float32 of shape keys.shape + (dim,).

        A key without a row gets one, with the initializer's weights. With a filter, only keys that
        it has counted often enough do; others read as the weights that they would get. With
        read_only none does.

        occurrences: integers of the shape of keys, 1 or more each: how often each key occurs. Give
        them if keys were made distinct, as keys_partition does. A filter and the statistics then
        count every occurrence.
        out: contiguous writable float32 of that shape, which is filled and returned. Raises
        TypeError or ValueError for wrong arrays.
        at_step: the step that the group must have. All rows are then of that step: calls that
        change the group wait, and so do other lookups with at_step. Raises StepMismatchError if the
        group has another step. None: any.
        """
        numbers = _arrays.keys(keys)
        weights = self._rows(numbers, out)
        if at_step is not None:
            if occurrences is not None:
                raise InvalidArgumentError(
                    "damo: both occurrences and at_step are given; leave one of them out"
                )
            _c_api.damo_embedding_lookup_at(
                self._use(),
                _once.step(at_step, "at_step"),
                _arrays.address(numbers),
                numbers.size,
                _arrays.address(weights),
                weights.size,
            )
            return weights
        if occurrences is not None:
            counts = _arrays.counts(occurrences, numbers.shape, "occurrences", 1)
            _c_api.damo_embedding_lookup_counted(
                self._use(),
                _arrays.address(numbers),
                numbers.size,
                _arrays.address(counts),
                counts.size,
                _arrays.address(weights),
                weights.size,
            )
            return weights
        _c_api.damo_embedding_lookup(
            self._use(),
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(weights),
            weights.size,
        )
        return weights

    __getitem__ = lookup

    def peek(self, keys: Any, *, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The weights of keys, and whether each key has a row (bool of shape keys.shape).

        Makes no row: a key without one reads as zeros. out: as for lookup.
        """
        numbers = _arrays.keys(keys)
        weights = self._rows(numbers, out)
        found = np.empty(numbers.shape, np.uint8)
        _c_api.damo_embedding_peek(
            self._use(),
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(weights),
            weights.size,
            _arrays.address(found),
        )
        return weights, found.view(np.bool_)

    def begin_lookup(self, keys: Any, *, out: np.ndarray | None = None) -> Lookup:
        """Reads the rows of keys as they are now, ahead of their lookup, and makes none.

        They are the Lookup's weights, and can be sent to a GPU. Lookup.finish() updates them to
        what lookup returns then, and says which it has written.

        out: as for lookup.
        """
        return Lookup(self, keys, out)

    def pin(self, keys: Any) -> Pin:
        """Copies the whole rows of keys, to be changed in the Pin and committed.

        For a program with an optimizer of its own: see damo.NoOptimizer. A filter counts the keys
        as in lookup.
        """
        return Pin(self, keys)

    def prefetch(self, keys: Any) -> None:
        """Brings the rows of keys into memory in the background, and returns at once.

        A hint, for the keys of the next batch. It makes no row and changes none.
        """
        numbers = _arrays.keys(keys)
        _c_api.damo_embedding_prefetch(self._use(), _arrays.address(numbers), numbers.size)

    def record(self, key: SupportsIndex) -> Record:
        """Everything stored of one row. Raises KeyError (damo.NotFoundError) if key has none."""
        number = _arrays.key(key)
        time, num = ctypes.c_int64(), ctypes.c_int64()
        data = np.empty(self._row_len, np.float32)
        _c_api.damo_embedding_record(
            self._use(),
            number,
            ctypes.byref(time),
            ctypes.byref(num),
            _arrays.address(data),
            data.size,
        )
        return Record(self.group, number, time.value, num.value, data[: self.dim], data[self.dim :])

    def sum_gradients(self, keys: Any, gradients: Any) -> GradientSums:
        """Sums gradients by key, as apply_gradients does before it steps. Makes and changes no row.

        gradients: as for apply_gradients, with the same errors. Returns each key except padding
        once, in no particular order, with the sum of its gradients, or their mean if duplicates is
        "mean". Nothing is clipped.

        It serves to add up batches, and to know the norm of a batch before its step. To clip: if
        norm > limit, sums *= limit / norm; then apply_gradients(keys, sums).
        """
        numbers = _arrays.keys(keys)
        gradients = _tensors.floats(gradients, "gradients")
        _arrays.floats(gradients, "gradients", ((*numbers.shape, self.dim),))
        # Unused room costs nothing: the system provides memory on the first write.
        summed_keys = np.empty(numbers.size, np.int64)
        sums = np.empty((numbers.size, self.dim), np.float32)
        summed, norm, largest = ctypes.c_size_t(), ctypes.c_double(), ctypes.c_double()
        _c_api.damo_embedding_sum_gradients(
            self._use(),
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(gradients),
            gradients.size,
            _arrays.address(summed_keys),
            summed_keys.size,
            _arrays.address(sums),
            sums.size,
            ctypes.byref(summed),
            ctypes.byref(norm),
            ctypes.byref(largest),
        )
        count = summed.value
        return GradientSums(summed_keys[:count], sums[:count], norm.value, largest.value)

    def __contains__(self, key: SupportsIndex) -> bool:
        return bool(self.peek(_arrays.key(key))[1])

    def __iter__(self) -> Records:
        """All rows of the group as they are now, as damo.Records, in order of the keys."""
        return self.storage._iterate(self.group)

    def __len__(self) -> int:
        """The number of rows, which it reads: slow for a large group."""
        return self.storage.row_count(self.group)

    def __bool__(self) -> bool:
        # Without this Python would call len(), which reads all rows.
        return True

    # ---- writing

    def apply_gradients(
        self,
        keys: Any,
        gradients: Any,
        *,
        once: _once.Once | None = None,
        expected_step: int | None = None,
    ) -> bool | None:
        """Steps the optimizer: applies gradients to the rows of keys.

        A key without a row gets one first. A key that is given twice is stepped as duplicates of
        Storage.embedding says. All rows and the group's step change together or not at all.

        gradients: contiguous float32 of shape keys.shape + (dim,).
        once: (client, sequence), two numbers from 0 to 2**64 - 1, for a caller that sends a call
        again until it has an answer. client is the caller's own number, and sequence rises over all
        of its calls. A call is not made if it is stored, or a later one of its client.
        expected_step: with once, the step that the group must have before the call. None: any.

        With once it returns whether the call was made now: False if it is stored, or was skipped.

        Raises ValueError, which names the key, for a gradient that is NaN, infinite or beyond 1e18
        in size, unless non_finite="skip" of Storage.embedding skips such a call;
        StepMismatchError if the call is not stored, and the group has another step.
        """
        numbers = _arrays.keys(keys)
        gradients = _tensors.floats(gradients, "gradients")
        _arrays.floats(gradients, "gradients", ((*numbers.shape, self.dim),))
        if once is not None:
            client, sequence = _once.numbers(once)
            expected = _once.step(expected_step, "expected_step")
            return _c_api.read(
                ctypes.c_bool,
                lambda applied: _c_api.damo_embedding_apply_gradients_once(
                    self._use(),
                    client,
                    sequence,
                    expected,
                    _arrays.address(numbers),
                    numbers.size,
                    _arrays.address(gradients),
                    gradients.size,
                    applied,
                ),
            )
        _once.needs_once(expected_step)
        _c_api.damo_embedding_apply_gradients(
            self._use(),
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(gradients),
            gradients.size,
        )
        return None

    def insert(self, keys: Any, weights: Any) -> None:
        """Stores weights as fresh rows, for pretrained tables. Rows that exist are replaced.

        weights: contiguous float32 of shape keys.shape + (dim,). Of a key that is given twice the
        last one counts. The optimizer's state begins anew: insert_records stores it, too. Raises
        ValueError for weights that are NaN or infinite, and for the padding key.
        """
        numbers = _arrays.keys(keys)
        weights = _tensors.floats(weights, "weights")
        _arrays.floats(weights, "weights", ((*numbers.shape, self.dim),))
        _c_api.damo_embedding_insert(
            self._use(),
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(weights),
            weights.size,
        )

    def insert_records(self, keys: Any, rows: Any, update_nums: Any = None) -> None:
        """Stores whole rows, weights and optimizer state, so that training goes on from them.

        rows: contiguous float32 of shape keys.shape + (row_len,), with weights and state as
        record(key) gives them. row_len is optimizer.row_len(dim). Rows that exist are replaced.
        update_nums: the number of gradients that each row has had, integers of the shape of keys;
        None: 0 for all.

        Raises as insert does.
        """
        numbers = _arrays.keys(keys)
        rows = _tensors.floats(rows, "rows")
        _arrays.floats(rows, "rows", ((*numbers.shape, self._row_len),))
        counts = np.empty(0, np.int64)
        if update_nums is not None:
            counts = _arrays.keys(update_nums)
            if counts.shape != numbers.shape:
                raise ValueError(
                    f"damo: update_nums has shape {counts.shape}; it must be that of keys,"
                    f" {numbers.shape}"
                )
        _c_api.damo_embedding_insert_records(
            self._use(),
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(rows),
            rows.size,
            _arrays.address(counts),
            counts.size,
        )

    def delete(self, keys: Any) -> None:
        """Deletes the rows of keys. A key without a row is no error."""
        numbers = _arrays.keys(keys)
        _c_api.damo_embedding_delete(self._use(), _arrays.address(numbers), numbers.size)

    def clear(self) -> None:
        """Removes all rows of the group at once and sets step to 0, for a new model.

        Every other call on the group happens wholly before or wholly after it. An iterator, dump or
        checkpoint that began before has the rows of its moment. A filter keeps its counts. An
        increment can only follow a dump that was made after the clear.
        """
        _c_api.damo_embedding_clear(self._use())

    def set_filter(self, filter: Filter | None) -> None:
        """Attaches a filter in place of the one that is attached; None attaches none.

        From then on, lookup counts the keys that it is given, and only keys that were counted often
        enough get rows. Gradients of other keys are dropped. Rows that exist stay. The attachment
        is not stored: attach the filter each time the group is opened.
        """
        if filter is not None and not isinstance(filter, Filter):
            raise TypeError(
                f"damo: filter must be a damo.Filter or None, not {type(filter).__name__}"
            )
        _c_api.damo_embedding_set_filter(self._use(), None if filter is None else filter._use())

    @property
    def step(self) -> int:
        """The group's global step: the number of apply_gradients calls so far, over all openings.

        It drives the scheduler, and can be set.
        """
        return _c_api.read(
            ctypes.c_int64, lambda step: _c_api.damo_embedding_step(self._use(), step)
        )

    @step.setter
    def step(self, step: int) -> None:
        number = _arrays.integer(step, "step", -(2**63), 2**63 - 1)
        _c_api.damo_embedding_set_step(self._use(), number)
