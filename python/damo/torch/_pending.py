"""Gradients of one layer that wait for an optimizer's step, and what torch sees of them: the anchor's gradient.

Whatever zeroes that gradient drops them, and whatever scales or clamps it does so to them.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import torch

from .._embedding import Embedding
from ._passes import Pairs, is_finite
from ._shown import Change, change, norms, show


def summed(rows: Embedding, pairs: Pairs) -> Pairs:
    """One pair with each id once and what its gradients come to, without padding."""
    ids, gradients = (torch.cat(some) for some in zip(*pairs))
    if rows.padding_key is not None:
        kept = ids != rows.padding_key
        ids, gradients = ids[kept], gradients[kept]
    unique, places = ids.unique(return_inverse=True)
    sums = torch.zeros((unique.numel(), rows.dim), dtype=torch.float32, device="cpu").index_add_(0, places, gradients)
    if rows.duplicates == "mean":
        sums /= places.bincount(minlength=unique.numel()).unsqueeze(1)
    return [(unique, sums)]


def changed(rows: Embedding, pairs: Pairs, done: Change) -> Pairs:
    """The gradients of pairs with done to what they come to."""
    if done.bound != math.inf:
        pairs = summed(rows, pairs)
    return [(ids, done.of(gradients)) for ids, gradients in pairs]


def _are_alone() -> bool:
    """Whether no other rank has the dense part: all must scale it by the same number."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


@dataclass
class Given:
    """Gradients for a step."""

    pairs: Pairs
    factor: float = 1.0
    """What they are to be multiplied with."""


class Pending:
    """Of one layer. peers are those of all layers on its group that one optimizer has: their gradients are one step's."""

    def __init__(self, rows: Embedding) -> None:
        self.rows = rows
        self.peers: list[Pending] = [self]
        self.lock = threading.RLock()
        """Shared with the peers."""
        self.anchor: torch.Tensor | None = None
        self._pairs: Pairs = []
        self._shown: torch.Tensor | None = None
        """A copy of what torch was shown, and the tensor that it was shown in."""
        self._shown_in: torch.Tensor | None = None
        self._factor = 1.0
        """What they were multiplied with since the last were taken."""
        self._is_finite = True
        self._is_spoiled = False

    def take(self, anchor: torch.Tensor, pairs: Pairs) -> None:
        """Adds the gradients of a backward pass. Copies: the tensors are torch's, and may be reused after it."""
        with self.lock:
            self.notice()
            self.anchor, self._factor = anchor, 1.0
            self._is_finite = self._is_finite and all(is_finite(gradients) for _, gradients in pairs)
            self._pairs += pairs
            if self.rows.duplicates == "mean":
                # The mean is of all occurrences, which are not over.
                self._pairs = [(ids.clone(), gradients.clone()) for ids, gradients in self._pairs]
            else:
                self._pairs = summed(self.rows, self._pairs)
            self._show()

    def _show(self) -> None:
        waiting = [peer for peer in self.peers if peer._pairs]
        totals = [summed(peer.rows, peer._pairs) for peer in waiting] if self._sums_again() else [self._pairs]
        shares = [1.0]
        if len(waiting) > 1:
            # All together have the norm of the whole.
            squares = [norms(total[0][1])[0] ** 2 for total in totals]
            whole = sum(squares)
            shares = [(square / whole) ** 0.5 if whole else 1.0 for square in squares]
            pairs = [pair for peer in waiting for pair in peer._pairs]
            totals = [summed(self.rows, pairs)] * len(waiting)
        for peer, total, share in zip(waiting, totals, shares):
            gradients = total[0][1]
            if not _are_alone():
                gradients = torch.zeros_like(gradients)
            peer._set_shown(show(gradients, peer._anchor(), share))

    def _sums_again(self) -> bool:
        return self.rows.duplicates == "mean" or sum(bool(peer._pairs) for peer in self.peers) > 1

    def _anchor(self) -> torch.Tensor:
        assert self.anchor is not None
        return self.anchor

    def _set_shown(self, shown: torch.Tensor) -> None:
        self._shown, self._shown_in = shown.clone(), shown
        self._anchor().grad = shown

    def notice(self) -> None:
        """Does to the gradients what was done to the anchor's since they were shown."""
        with self.lock:
            if self._shown is None:
                return
            seen = self._anchor().grad
            if seen is None or _are_alone() and self._is_zeroed(seen):
                self._forget()
                return
            done = change(self._shown, seen)
            if done is None:
                self._is_spoiled = True
            elif done != Change():
                self._pairs = changed(self.rows, self._pairs, done)
                self._shown = seen.detach().clone()
                self._factor *= done.factor

    def _is_zeroed(self, seen: torch.Tensor) -> bool:
        # A gradient of zeros is shown as zeros, in a tensor of ours.
        assert self._shown is not None
        return not bool(seen.any()) and (seen is not self._shown_in or bool(self._shown.any()))

    def check(self) -> None:
        """Raises RuntimeError when something was done to the anchor's gradient that cannot be done to rows."""
        with self.lock:
            self.notice()
            if self._is_spoiled and self._is_finite:
                raise RuntimeError(
                    f"damo.torch: the gradient of the anchor of {self.rows!r} was changed. It stands for the gradients of rows: "
                    "it may be multiplied by a number, clamped (clip_grad_norm_, clip_grad_value_, GradScaler do so) and "
                    "zeroed. zero_grad drops it with the gradients"
                )

    @property
    def is_finite(self) -> bool:
        with self.lock:
            self.notice()
            return self._is_finite

    def give(self, scale: float, keeps: bool) -> Given:
        """What is pending, which is not any more unless keeps. scale: what the loss was multiplied with.

        An optimizer that has the anchors, too, may have divided by it already.
        """
        with self.lock:
            self.notice()
            is_divided = scale == 1.0 or self._factor * scale <= 1.001
            given = Given(self._pairs, 1.0 if is_divided else 1.0 / scale)
            if not keeps:
                self.drop()
        return given

    def take_back(self, given: Given) -> None:
        """What was given and not applied."""
        if given.pairs:
            self.take(self._anchor(), given.pairs)

    def _forget(self) -> None:
        self._pairs = []
        self._shown, self._shown_in, self._factor = None, None, 1.0
        self._is_finite, self._is_spoiled = True, False

    def drop(self) -> None:
        """Nothing is pending any more."""
        with self.lock:
            self._forget()
            if self.anchor is not None:
                self.anchor.grad = None
