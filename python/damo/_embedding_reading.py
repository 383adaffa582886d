"""Embedding.lookup, peek and the other calls that read rows, and sum_gradients."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from . import _arrays, _c_api, _once, _tensors
from ._embedding_handle import EmbeddingHandle
from ._errors import InvalidArgumentError
from ._records import Record


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


# Pickles name the class by its public place.
GradientSums.__module__ = "damo"


class EmbeddingReading(EmbeddingHandle):
    """The part of damo.Embedding that reads rows. lookup also makes those that are missing."""

    def _rows(self, keys: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        shape = (*keys.shape, self.dim)
        return (
            np.empty(shape, np.float32)
            if out is None
            else _arrays.floats(out, "out", (shape,), writable=True)
        )

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
        it has counted often enough get a row; others read as the weights that they would get. With
        read_only no key gets a row.

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
