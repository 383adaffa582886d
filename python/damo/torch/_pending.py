"""Gradients of one layer that wait for an optimizer's step.

torch sees them as the anchor's gradient. Zeroing that gradient drops them. Scaling or clamping it
scales or clamps them.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from dataclasses import dataclass

import torch

from .. import _c_api
from .._embedding import Embedding
from .._errors import InvalidArgumentError
from ._parts import Pairs
from ._passes import call_last
from ._shown import Change, change, infinity, least, show


@dataclass
class Sums:
    """The sums of gradients by id: each id once, without padding."""

    ids: torch.Tensor
    """int64 of shape (n,)."""
    gradients: torch.Tensor
    """The sums, float32 of shape (n, dim)."""
    norm: float
    """The 2-norm of all sums together."""
    largest: float
    """The largest absolute value among them."""

    @property
    def seed(self) -> int:
        """A number that depends on the ids."""
        return (int(self.ids.sum()) * 0x9E3779B97F4A7C15 + self.ids.numel()) % 2**63

    @property
    def pairs(self) -> Pairs:
        return [(self.ids, self.gradients)]


def summed(rows: Embedding, pairs: Pairs) -> Sums:
    """The sums by id of all pairs, with which _parts.apply would step.

    Raises damo.InvalidArgumentError for gradients that it would refuse.
    """
    ids, gradients = pairs[0] if len(pairs) == 1 else (torch.cat(some) for some in zip(*pairs))
    keys = torch.empty_like(ids)
    sums = torch.empty_like(gradients)
    number, norm, largest = ctypes.c_size_t(), ctypes.c_double(), ctypes.c_double()
    _c_api.damo_embedding_sum_gradients(
        rows._use(),
        ids.data_ptr(),
        ids.numel(),
        gradients.data_ptr(),
        gradients.numel(),
        keys.data_ptr(),
        keys.numel(),
        sums.data_ptr(),
        sums.numel(),
        ctypes.byref(number),
        ctypes.byref(norm),
        ctypes.byref(largest),
    )
    return Sums(keys[: number.value], sums[: number.value], norm.value, largest.value)


def changed(rows: Embedding, pairs: Pairs, done: Change) -> Pairs:
    """pairs after the change done, which acts on the sums by id."""
    if done.bound != math.inf:
        pairs = summed(rows, pairs).pairs
    return [(ids, done.of(gradients)) for ids, gradients in pairs]


def _are_alone() -> bool:
    """Whether there is one rank only. Several must all scale the dense part by the same number."""
    distributed = torch.distributed
    return not (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


@dataclass
class Scaled:
    """Gradients for a step, which are still to be multiplied by a factor."""

    pairs: Pairs
    factor: float = 1.0


class Pending:
    """The waiting gradients of one layer.

    Its peers are the Pendings of all layers of one optimizer that are on the same group, itself
    included. Their gradients are applied in one step. Their anchors are shown shares, so that all
    anchors together have the norm of the whole.
    """

    def __init__(self, rows: Embedding) -> None:
        self.rows = rows
        self.peers: list[weakref.ref[Pending]] = []
        """Weak references, so that they do not keep the storage open."""
        self.lock = threading.RLock()
        """Shared with the peers."""
        self.anchor: torch.Tensor | None = None
        self._pairs: Pairs = []
        self._shown: torch.Tensor | None = None
        """A copy of the gradient that this gave to the anchor; None: no gradients wait."""
        self._shown_in: torch.Tensor | None = None
        """The tensor itself that this gave to the anchor."""
        self._factor = 1.0
        """What others have multiplied the gradients by since the last ones were added."""
        self.has_received = False
        """Whether a pass has added gradients since drop was called."""
        self._is_finite = True
        self._is_spoiled = False

    def add(self, anchor: torch.Tensor, pairs: Pairs) -> None:
        """Adds the gradients of a backward pass, as copies: torch may reuse its tensors."""
        with self.lock:
            self.notice()
            self.anchor, self._factor, self.has_received = anchor, 1.0, True
            pairs = [*self._pairs, *pairs]
            try:
                sums = summed(self.rows, pairs)
            except InvalidArgumentError:  # Not finite, or too large for a step.
                self._is_finite = False
                self._keep(pairs)
                self._set_shown(infinity(anchor))
                return
            if self.rows.duplicates == "mean":
                # The mean is over all occurrences, and more may come.
                self._keep(pairs)
            else:
                self._pairs = sums.pairs
            self._show(sums)

    def _keep(self, pairs: Pairs) -> None:
        self._pairs = [(ids.clone(), gradients.clone()) for ids, gradients in pairs]

    def _show(self, sums: Sums) -> None:
        if not _are_alone():
            self._set_shown(least(self._anchor()))
            # At the end of a pass DistributedDataParallel overwrites it with an average.
            call_last(self._show_again)
            return
        alive = (ref() for ref in self.peers)
        peers = [peer for peer in alive if peer is not None and peer is not self]
        for peer in peers:
            peer.notice()
        waiting = [self, *(peer for peer in peers if peer._pairs)]
        if waiting == [self] or not all(peer._is_finite for peer in waiting):
            shown = show(sums.gradients, self._anchor(), sums.norm, sums.largest, sums.seed)
            self._set_shown(shown)
            return
        # Each anchor is shown a share of the norm of the whole.
        squares = [summed(peer.rows, peer._pairs).norm ** 2 for peer in waiting]
        parts = sum(squares)
        sums = summed(self.rows, [pair for peer in waiting for pair in peer._pairs])
        for number, (peer, square) in enumerate(zip(waiting, squares)):
            share = (square / parts) ** 0.5 if parts else 1.0
            shown = show(None, peer._anchor(), sums.norm * share, sums.largest, sums.seed + number)
            peer._set_shown(shown)

    def _show_again(self) -> None:
        with self.lock:
            if self._shown is not None:
                self._set_shown(self._shown)

    def _anchor(self) -> torch.Tensor:
        assert self.anchor is not None
        return self.anchor

    def _set_shown(self, shown: torch.Tensor) -> None:
        self._shown, self._shown_in = shown.clone(), shown
        self._anchor().grad = shown

    def notice(self) -> None:
        """Does to the gradients what others did to the anchor's gradient since it was shown."""
        with self.lock:
            if self._shown is None:
                return
            seen = self._anchor().grad
            if seen is not None and self._is_as_shown(seen):
                return
            if seen is None or self._is_zeroed(seen):
                self._forget()
                return
            done = change(self._shown, seen)
            if done is None:
                self._is_spoiled = True
            elif done != Change():
                self._pairs = changed(self.rows, self._pairs, done)
                self._shown = seen.detach().clone()
                self._factor *= done.factor

    def _is_as_shown(self, seen: torch.Tensor) -> bool:
        """Whether seen is the tensor that this gave to the anchor, unchanged. Quick, and usual."""
        shown = self._shown
        assert shown is not None
        is_same = seen is self._shown_in
        has_kind = (seen.dtype, seen.device) == (shown.dtype, shown.device)
        return is_same and has_kind and torch.equal(seen, shown)

    def _is_zeroed(self, seen: torch.Tensor) -> bool:
        # Gradients that are zeros are shown as zeros, too, but in the tensor that this gave.
        assert self._shown is not None
        return not bool(seen.any()) and (seen is not self._shown_in or bool(self._shown.any()))

    def check(self) -> None:
        """Raises RuntimeError if the anchor's gradient was changed as rows' gradients cannot be."""
        with self.lock:
            self.notice()
            if self._shown is None and self.anchor is not None and self.anchor.grad is not None:
                self._is_spoiled = bool(self.anchor.grad.any())
            grad = None if self.anchor is None else self.anchor.grad
            # For gradients that are not finite, the step's own error names the key.
            if self._is_spoiled and (
                self._is_finite or grad is None or bool(grad.isfinite().all())
            ):
                raise RuntimeError(
                    f"damo.torch: the gradient of the anchor of {self.rows!r} was changed. It "
                    "stands for the gradients of rows: it may be multiplied by a number, clamped "
                    "(clip_grad_norm_, clip_grad_value_ and GradScaler do no more) and zeroed. "
                    "zero_grad drops it with the gradients"
                )

    @property
    def is_finite(self) -> bool:
        with self.lock:
            self.notice()
            return self._is_finite

    def for_step(self, scale: float, keeps: bool) -> Scaled:
        """The waiting gradients, for a step. keeps: they go on waiting; otherwise they are dropped.

        scale: what the loss was multiplied by, so that they are divided by it, unless GradScaler
        has divided the anchor's gradient already. Raises RuntimeError if they were clipped or
        scaled before that.
        """
        with self.lock:
            self.notice()
            is_divided = scale == 1.0 or abs(self._factor * scale - 1.0) < 1e-4
            if not is_divided and self._factor != 1.0:
                raise RuntimeError(
                    f"damo.torch: gradients of {self.rows!r} were clipped or scaled before a "
                    "GradScaler had divided them by its scale; call scaler.unscale_(optimizer) "
                    "first"
                )
            scaled = Scaled(self._pairs, 1.0 if is_divided else 1.0 / scale)
            if not keeps:
                self.drop()
        return scaled

    def put_back(self, scaled: Scaled) -> None:
        """Lets gradients that for_step has returned, and that were not applied, wait again."""
        if scaled.pairs:
            self.add(self._anchor(), scaled.pairs)

    def _forget(self) -> None:
        self._pairs = []
        self._shown, self._shown_in, self._factor = None, None, 1.0
        self._is_finite, self._is_spoiled = True, False

    def drop(self) -> None:
        """Drops all waiting gradients, and the anchor's."""
        with self.lock:
            self._forget()
            self.has_received = False
            if self.anchor is not None:
                self.anchor.grad = None
