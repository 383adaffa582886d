"""Embedding.apply_gradients, insert and the other calls that change rows."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from . import _arrays, _c_api, _once, _tensors
from ._embedding_handle import EmbeddingHandle


class EmbeddingWriting(EmbeddingHandle):
    """The part of damo.Embedding that changes rows."""

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
        of its calls. A call is not made if it, or a later one of its client, is stored.
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

        weights: contiguous float32 of shape keys.shape + (dim,). If a key is given twice, its
        last weights count. The optimizer's state begins anew; insert_records stores the state, too.
        Raises ValueError for weights that are NaN or infinite, and for the padding key.
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
