"""StepHandle: a damo_step that takes addresses. damo.Step and damo.torch are built on it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Callable, Sequence

from . import _c_api
from ._handles import Handle
from ._once import Once
from ._params import Params

if TYPE_CHECKING:
    from ._embedding import Embedding
    from ._storage import Storage

Rows = tuple[int, int, int]
"""Rows of floats in memory: their address, the number of floats, and the stride in floats."""


class StepHandle(Handle):
    """A damo_step of damo.h: parts, which are read and stepped together.

    Parts are numbered from 0 in the order of adding. Their keys are copied. Memory at addresses
    must stay as it is during the call.
    """

    def __init__(self, storage: Storage, **options: float | str | None) -> None:
        self.storage = storage
        # The structures for a call, and the array that has them. They are used again.
        self._fields: list[_c_api.Rows] = []
        self._array: Any = None
        bag = Params(options)
        super().__init__(_c_api.damo_step_new, _c_api.damo_step_free, storage._use(), bag._use())
        storage._adopt(self)

    def _clear(self) -> None:
        _c_api.damo_step_clear(self._use())

    def _add_keys(self, embedding: Embedding, keys: int, size: int) -> None:
        """Adds a part with a row a key."""
        _c_api.damo_step_add_keys(self._use(), embedding._use(), keys, size)

    def _add_counted(self, embedding: Embedding, keys: int, size: int, occurrences: int) -> None:
        """As _add_keys, with how often each key occurs."""
        _c_api.damo_step_add_keys_counted(
            self._use(), embedding._use(), keys, size, occurrences, size
        )

    def _add_bags(
        self,
        embedding: Embedding,
        keys: int,
        size: int,
        offsets: int,
        offsets_len: int,
        has_last_offset: bool,
        pooling: str,
        weights: int | None,
    ) -> None:
        """Adds a part with a row a bag. weights: of size floats, or None."""
        _c_api.damo_step_add_bags(
            self._use(),
            embedding._use(),
            keys,
            size,
            offsets,
            offsets_len,
            has_last_offset,
            pooling.encode(),
            weights,
        )

    def _look_up(self, outputs: Sequence[Rows]) -> None:
        """Reads the rows of all parts into outputs, one for each part, and makes missing rows."""
        self._call(_c_api.damo_step_lookup, outputs)

    def _look_up_at(self, outputs: Sequence[Rows], steps: Any) -> None:
        """As _look_up, at these steps, one for each part."""
        self._call(
            lambda handle, rows, count: _c_api.damo_step_lookup_at(handle, steps, rows, count),
            outputs,
        )

    def _look(self, outputs: Sequence[Rows]) -> None:
        """As _look_up, but makes no row: a key without one reads as zeros."""
        self._call(_c_api.damo_step_peek, outputs)

    def _norm(self) -> float:
        """The norm of the latest gradients, with the option clip_norm."""
        return _c_api.read(
            ctypes.c_double, lambda norm: _c_api.damo_step_gradient_norm(self._use(), norm)
        )

    def _was_skipped(self) -> bool:
        """Whether the latest gradients were skipped."""
        return bool(
            _c_api.read(ctypes.c_uint8, lambda out: _c_api.damo_step_skipped(self._use(), out))
        )

    def _apply(self, gradients: Sequence[Rows]) -> None:
        """Steps the rows of all parts with the gradients of their outputs, in one transaction."""
        self._call(_c_api.damo_step_apply_gradients, gradients)

    def _apply_once(self, gradients: Sequence[Rows], once: Once, expected: Any) -> bool:
        """As _apply, unless the call is stored. Returns whether it was made now."""
        applied = ctypes.c_bool()
        self._call(
            lambda handle, rows, count: _c_api.damo_step_apply_gradients_once(
                handle, *once, expected, rows, count, ctypes.byref(applied)
            ),
            gradients,
        )
        return applied.value

    def _call(self, function: Callable[..., None], rows: Sequence[Rows]) -> None:
        if len(rows) > len(self._fields):
            self._array = (_c_api.Rows * len(rows))()
            self._fields = list(self._array)
        for field, (address, length, stride) in zip(self._fields, rows):
            field.floats, field.floats_len, field.stride = address, length, stride
        function(self._use(), self._array, len(rows))
