"""Lookup: a lookup in two halves, for a program that knows its next batch."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _arrays, _c_api
from ._handles import Handle

if TYPE_CHECKING:
    from ._embedding import Embedding


class Lookup(Handle):
    """A lookup that has been begun. Embedding.begin_lookup makes it.

    weights: float32 of shape keys.shape + (dim,). They are the rows as they were when the lookup
    was begun, with zeros for a key without a row. finish() makes them what Embedding.lookup
    returns. Leave them as they are until then.
    """

    def __init__(self, embedding: Embedding, keys: Any, out: np.ndarray | None) -> None:
        numbers = _arrays.keys(keys)
        self.weights = embedding._rows(numbers, out)
        self._embedding, self._keys = embedding, numbers.size
        super().__init__(
            _c_api.damo_embedding_begin_lookup,
            _c_api.damo_lookup_free,
            embedding._use(),
            _arrays.address(numbers),
            numbers.size,
            _arrays.address(self.weights),
            self.weights.size,
        )

    def finish(self) -> np.ndarray:
        """Updates weights to what Embedding.lookup returns now, and makes missing rows.

        Returns the positions of the keys whose weights it has written: ascending int64, of keys
        as a flat array. Training is bit for bit what it is with lookup at this place.

        Raises damo.InvalidArgumentError if it is finished already. Otherwise as Embedding.lookup,
        which can then be called instead.
        """
        positions = np.empty(self._keys, np.int64)
        changed = ctypes.c_size_t()
        _c_api.damo_embedding_finish_lookup(
            self._embedding._use(),
            self._use(),
            _arrays.address(self.weights),
            self.weights.size,
            _arrays.address(positions),
            positions.size,
            ctypes.byref(changed),
        )
        return positions[: changed.value]
