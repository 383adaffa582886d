"""Pin: rows that the program changes itself, and commits."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _arrays, _c_api
from ._choices import Conflicts
from ._handles import Handle

if TYPE_CHECKING:
    from ._embedding import Embedding


class Pin(Handle):
    """Whole rows, for a program with an optimizer of its own. Embedding.pin makes it.

    keys: the distinct keys, in the order in which they were given first.
    rows: float32 of shape (keys.size, row_len): each key's weights, then the optimizer's state.
    weights, state: the two parts of rows. Change them in place, as with pin.weights -= step, and
    call commit.
    is_new: bool, a key each: True if commit makes its row. Until then it has the floats that the
    row begins with.
    positions: where in rows the row of each given key is, with the shape of the given keys.

    Nothing is made and nothing is locked before commit. A pin that is not committed has changed
    nothing. For one thread at a time. Closing the storage closes it, too.
    """

    def __init__(self, embedding: Embedding, keys: Any) -> None:
        numbers = _arrays.keys(keys)
        flat = numbers.reshape(-1)
        addresses = np.empty(flat.size, np.uintp)
        created = np.empty(flat.size, np.uint8)
        super().__init__(
            _c_api.damo_rows_pin,
            _c_api.damo_pin_free,
            embedding._use(),
            _arrays.address(flat),
            flat.size,
            _arrays.address(addresses),
            _arrays.address(created),
            is_written=True,
        )
        row_bytes = 4 * embedding._row_len
        self._first = int(addresses.min()) if flat.size else 0
        positions = (addresses - np.uintp(self._first)).astype(np.int64) // row_bytes
        _, first = np.unique(positions, return_index=True)
        self._keys = flat[first]
        self.is_new = created[first].view(np.bool_)
        self.positions = positions.reshape(numbers.shape)
        # What the library has memory for, whatever becomes of the array.
        self._shape = (first.size, embedding._row_len)
        self._rows = np.empty(self._shape, np.float32)
        # As in commit.
        owner = self._use()
        try:
            ctypes.memmove(_arrays.address(self._rows), self._first, self._rows.nbytes)
        finally:
            del owner
        self._dim = embedding.dim
        embedding.storage._adopt(self)

    @property
    def keys(self) -> np.ndarray:
        """The distinct keys."""
        return self._keys

    @property
    def rows(self) -> np.ndarray:
        """A row a key: change it in place."""
        return self._rows

    @rows.setter
    def rows(self, value: np.ndarray) -> None:
        _check_same(value, self.rows, "rows")

    @property
    def weights(self) -> np.ndarray:
        """The weights in rows."""
        return self._rows[:, : self._dim]

    @weights.setter
    def weights(self, value: np.ndarray) -> None:
        _check_same(value, self.weights, "weights")

    @property
    def state(self) -> np.ndarray:
        """The optimizer's state in rows."""
        return self._rows[:, self._dim :]

    @state.setter
    def state(self, value: np.ndarray) -> None:
        _check_same(value, self.state, "state")

    def commit(self, conflicts: Conflicts = "add") -> None:
        """Changes the rows in the storage as rows was changed: all of them, or none. Then closes.

        conflicts: what becomes of rows that were changed since by others. With "add" each float
        gets what was added to it here, so no change is lost. With "refuse" raises BusyError: pin
        the rows again.

        The padding key, and keys that a filter does not admit, are left out. Each row counts an
        update. The step stays. Raises ValueError for rows with NaN or infinite floats. After an
        error nothing has changed, and the pin can be committed again. Only with durability "power"
        an OSError may leave it open whether the commit is on disk.
        """
        rows = _arrays.floats(self._rows, "rows", (self._shape,))
        word = _c_api.text(conflicts, "conflicts")
        # Keeps the pin's memory alive if another thread closes it meanwhile.
        owner = self._use()
        try:
            ctypes.memmove(self._first, _arrays.address(rows), rows.nbytes)
            _c_api.damo_pin_commit(owner, word)
        finally:
            del owner
        self.close()


def _check_same(value: Any, present: np.ndarray, name: str) -> None:
    """Raises AttributeError unless value is the array that is there already.

    Python assigns that one after pin.weights -= step.
    """
    if isinstance(value, np.ndarray):
        if value.__array_interface__ == present.__array_interface__:
            return
        given = f"another array of {value.dtype} with shape {value.shape}"
    else:
        given = type(value).__name__
    raise AttributeError(
        f"damo: {name} of a Pin cannot become {given}; write to it in place: pin.{name}[:] = ..."
    )
