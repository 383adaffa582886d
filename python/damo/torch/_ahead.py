"""Rows that are read ahead of the forward pass that uses them, and sent to a GPU meanwhile.

A thread begins the lookup of a batch, and sends its rows on a stream of its own. The forward pass
finishes the lookup, and sends only the rows that have changed since. Knows embeddings and tensors,
but no layers.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from .._embedding import Embedding
from .._errors import Error
from .._handles import ForkSafeLock
from .._lookup import Lookup
from . import _device
from ._ids import flat_ids

_threads: dict[int, ThreadPoolExecutor] = {}
_lock = ForkSafeLock()


def _background() -> ThreadPoolExecutor:
    """The thread that reads ahead. A forked child has none of its parent's, and gets its own."""
    with _lock:
        if os.getpid() not in _threads:
            _threads[os.getpid()] = ThreadPoolExecutor(1, thread_name_prefix="damo-ahead")
        return _threads[os.getpid()]


def _version_of(ids: torch.Tensor) -> int | None:
    """A number that changes with the content of ids. None: it has none, in inference mode."""
    return None if ids.is_inference() else ids._version


class RowsAhead:
    """The rows of a batch's ids on their way to a device."""

    def __init__(self, rows: Embedding, ids: torch.Tensor, device: torch.device) -> None:
        self.device = device
        self._rows, self._size = rows, ids.numel()
        self._given: torch.Tensor | None = ids
        self._version = _version_of(ids)
        # Earlier work on the device may still have to write ids.
        self._is_given = _device.Ready(ids.device)
        self._flat: Future[torch.Tensor | None] = Future()
        self._begun: Future[_Begun | None] = _background().submit(self._begin)

    def _begin(self) -> _Begun | None:
        """On the thread that reads ahead. None after an error: forward reads the rows itself."""
        try:
            with _device.beside(self.device):
                assert self._given is not None
                self._is_given.wait()
                # A copy: the program may use the memory of ids again.
                flat = flat_ids(self._given).clone()
                self._flat.set_result(flat)
                weights = _device.rows_for(self.device, flat.numel(), self._rows.dim)
                lookup = self._rows.begin_lookup(flat.numpy(), out=weights.numpy())
                sent = _device.begin_send(weights, self.device)
                return _Begun(lookup, weights, sent, _device.Ready(self.device))
        except (Error, RuntimeError, MemoryError, TypeError, ValueError):
            return None
        finally:
            if not self._flat.done():
                self._flat.set_result(None)

    def flat(self, ids: torch.Tensor) -> torch.Tensor | None:
        """What flat_ids(ids) returns, if ids are those that were given. None otherwise."""
        # In main memory, NumPy may have changed them.
        if ids.device.type == "cpu" or ids is not self._given:
            return None
        is_same = self._version is not None and self._version == _version_of(ids)
        return self._flat.result() if is_same else None

    def is_of(self, flat: torch.Tensor, device: torch.device) -> bool:
        """Whether these are the rows of flat ids on device."""
        if device != self.device or flat.numel() != self._size:
            return False
        own = self._flat.result()
        return own is not None and (flat is own or torch.equal(flat, own))

    def finish(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The rows as a lookup returns them now, in main memory and on the device.

        None if they could not be read ahead. Raises as damo.Embedding.lookup does.
        """
        begun = self._begun.result()
        if begun is None:
            return None
        # Prefetch may keep this for longer than the step needs the rows.
        self._begun, self._given = Future(), None
        changed = torch.from_numpy(begun.lookup.finish())
        begun.lookup.close()
        sent = _device.take(begun.sent, begun.is_sent)
        _device.replace_rows(sent, begun.weights, changed)
        return begun.weights, sent


@dataclass
class _Begun:
    """A lookup that has been begun, and whose rows are being sent."""

    lookup: Lookup
    weights: torch.Tensor
    sent: torch.Tensor
    is_sent: _device.Ready


class Ahead:
    """The rows that are on their way for one layer."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._coming: list[RowsAhead] = []

    def add(self, coming: RowsAhead) -> None:
        with self._lock:
            self._coming.append(coming)

    def drop(self, coming: RowsAhead) -> None:
        """Drops rows that nobody has taken."""
        with self._lock:
            if coming in self._coming:
                self._coming.remove(coming)

    def flat(self, ids: torch.Tensor) -> torch.Tensor | None:
        """What flat_ids(ids) returns, if the rows of ids are coming. None otherwise."""
        if not self._coming:
            return None
        with self._lock:
            coming = list(self._coming)
        found = (one.flat(ids) for one in coming)
        return next((flat for flat in found if flat is not None), None)

    def take(self, flat: torch.Tensor, device: torch.device) -> RowsAhead | None:
        """The rows of flat ids on device, if they are coming. They are given once."""
        if not self._coming:
            return None
        with self._lock:
            coming = list(self._coming)
        for one in coming:
            if one.is_of(flat, device):
                with self._lock:
                    if one in self._coming:  # No other thread has taken it.
                        self._coming.remove(one)
                        return one
        return None


def can_be_sent(rows: Embedding, ids: torch.Tensor, device: torch.device) -> bool:
    """Whether reading the rows of ids ahead is of use: they go through pinned memory to a GPU."""
    return _device.is_far(device, ids.numel() * rows.dim * 4)
