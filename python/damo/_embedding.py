"""Embedding: one group of a storage with its optimizer and initializer, which a trainer calls.

Its calls that read rows are in _embedding_reading, those that change rows in _embedding_writing.
EmbeddingHandle opens the group.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from . import _arrays, _c_api
from ._embedding_reading import EmbeddingReading
from ._embedding_writing import EmbeddingWriting
from ._filter import Filter
from ._lookup import Lookup
from ._own_names import with_own_names
from ._pin import Pin
from ._records import Records


@with_own_names
class Embedding(EmbeddingReading, EmbeddingWriting):
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

    def __iter__(self) -> Records:
        """All rows of the group as they are now, as damo.Records, in order of the keys."""
        return self.storage._iterate(self.group)

    def __len__(self) -> int:
        """The number of rows, which it reads: slow for a large group."""
        return self.storage.row_count(self.group)

    def __bool__(self) -> bool:
        # Without this Python would call len(), which reads all rows.
        return True

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

        Calls that were skipped or were stored already do not count. The step drives the scheduler,
        and can be set.
        """
        return _c_api.read(
            ctypes.c_int64, lambda step: _c_api.damo_embedding_step(self._use(), step)
        )

    @step.setter
    def step(self, step: int) -> None:
        number = _arrays.integer(step, "step", -(2**63), 2**63 - 1)
        _c_api.damo_embedding_set_step(self._use(), number)
