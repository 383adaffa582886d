"""The way of the gradients of a layer's rows.

They go into a step at the end of the backward pass, or wait for an optimizer that collects them.

For torch they are the gradient of the layer's anchor, a parameter of fixed shape that is zero. damo
takes them when torch accumulates the anchor's gradient. That is exactly when torch would change the
.grad of a weight. So torch.autograd.grad, and backward(inputs=...) with other tensors, change
nothing.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .._embedding import Embedding
from .._errors import InvalidArgumentError
from ._parts import Pairs, StepPool, pairs_of
from ._passes import BackwardPass, BackwardStep, passes
from ._pending import Pending, changed, summed
from ._shown import Change, change, infinity, show


@dataclass
class Read:
    """The rows that were read for ids."""

    weights: torch.Tensor
    """float32 of shape (ids.numel(), dim), in main memory."""
    found: torch.Tensor | None = None
    """bool of shape (ids.numel(),): which ids have a row that can be trained. None: all do."""
    sent: torch.Tensor | None = None
    """weights on another device, if they have been sent there."""


class Gradients:
    """Receives the gradients of one layer's rows, and passes them on."""

    def __init__(self, rows: Embedding) -> None:
        self.rows = rows
        self.collectors = 0
        """The number of optimizers that collect them."""
        self.pending = Pending(rows)
        self.pool: StepPool | None = None
        """The pool of the collection that this is a table of; None for a single layer."""
        self._anchor: torch.Tensor | None = None
        self._hook: Any = None
        self._kind: Any = None
        self._of: torch.Tensor | None = None
        self._version = 0
        self._looking_up = threading.Lock()
        self.node: Any = None
        """torch's AccumulateGrad node of the anchor."""

    @property
    def are_collected(self) -> bool:
        return self.collectors > 0

    def attach(self, anchor: torch.Tensor) -> None:
        """Makes anchor the parameter that stands for the rows.

        To be called before others add hooks to anchor: torch calls hooks in the order of adding.
        """
        ours = weakref.ref(self)
        if self._hook is not None:
            self._hook.remove()
        self._anchor, self._version = anchor, -1
        if self.pending.anchor is None:
            self.pending.anchor = anchor
        self._hook = anchor.register_hook(lambda gradient: _before(ours(), gradient))

    def watch(self, anchor: torch.Tensor) -> None:
        """Makes torch call accumulate when it accumulates the anchor's gradient; zeroes the anchor.

        Raises RuntimeError for an anchor that is no parameter, as in functional_call.
        """
        if not isinstance(anchor, torch.nn.Parameter):
            raise RuntimeError(
                f"damo.torch: functional_call cannot give other rows to a layer of {self.rows!r}: "
                "they are in a storage; leave its anchor out, or detach it"
            )
        if anchor is not self._anchor:
            self.attach(anchor)
        if not self._has_node_of(anchor):
            # One thread at a time, and the others find the node there. torch holds a lock during
            # the look-up and may wait for the interpreter, which another thread that looks up the
            # node may hold while it waits for the lock.
            with self._looking_up:
                if not self._has_node_of(anchor):
                    self._look_up_node(anchor)
        # An optimizer may have moved it, or an initializer filled it.
        if anchor._version != self._version:
            anchor.data.zero_()
            self._version = anchor._version

    def _has_node_of(self, anchor: torch.Tensor) -> bool:
        """Whether node is the anchor's: torch makes another one for another dtype or device."""
        return anchor is self._of and self._kind == _kind_of(anchor)

    def _look_up_node(self, anchor: torch.Tensor) -> None:
        node = anchor.expand_as(anchor).grad_fn.next_functions[0][0]
        if node is not self.node:
            self.node = node
            ours = weakref.ref(self)
            node.register_hook(lambda *_: _accumulated(ours()))
        self._of, self._kind = anchor, _kind_of(anchor)

    def has_other_hooks(self) -> bool:
        """Whether the anchor has hooks of others, before or after its gradient is accumulated."""
        anchor = self._anchor
        others = len(getattr(anchor, "_backward_hooks", None) or ()) - 1
        return others > 0 or bool(getattr(anchor, "_post_accumulate_grad_hooks", None))

    def show(self, pairs: Pairs) -> torch.Tensor:
        """The tensor, like the anchor, that stands for the gradients of pairs (see _shown)."""
        assert self._anchor is not None
        if not pairs:
            return torch.zeros_like(self._anchor)
        try:
            sums = summed(self.rows, pairs)
        except InvalidArgumentError:
            return infinity(self._anchor)
        return show(sums.gradients, self._anchor, sums.norm, sums.largest, sums.seed)

    def before(self, gradient: torch.Tensor) -> torch.Tensor | None:
        """Adds to the anchor's gradient, for other hooks, what stands for the rows' gradients.

        Returns None, which leaves it as it is, if there are no other hooks or no gradients of rows.
        """
        assert self._anchor is not None
        if not self.has_other_hooks():
            return None
        running = passes.of(id(self))
        pairs = pairs_of([some for one in running for some in one.peek(id(self))])
        if not pairs:
            return None
        shown, before = self.show(pairs), self._anchor.grad
        kept = None if before is None else before.detach().clone()
        running[0].put_shown(id(self), kept, shown.clone())
        return gradient + shown

    def accumulate(self, backward: BackwardPass) -> None:
        """Passes the gradients of a backward pass on, to its step or to the optimizer.

        They are complete, since torch has accumulated the anchor's gradient.
        """
        anchor = self._anchor
        assert anchor is not None
        handed, shown = backward.pop(id(self)), backward.pop_shown(id(self))
        if not anchor.requires_grad:  # It was frozen after the forward pass.
            return
        if shown is not None:
            done = self._changed_by_hooks(anchor, *shown)
            handed = [*changed(self.rows, pairs_of(handed), done)]
        if not self.are_collected:
            anchor.grad = None
            backward.step.add(self.rows, handed, self.pool)
        elif handed:
            self.pending.add(anchor, pairs_of(handed))

    def _changed_by_hooks(
        self, anchor: torch.Tensor, before: torch.Tensor | None, shown: torch.Tensor
    ) -> Change:
        """How hooks have changed shown.

        torch has added shown to anchor.grad, which was before. This sets it back to before. Raises
        RuntimeError for a change that cannot be made to rows' gradients.
        """
        after, anchor.grad = anchor.grad, before
        if after is None:  # An optimizer that steps in a hook has dropped it.
            return Change(0.0 if self.are_collected else 1.0)
        if not bool(shown.isfinite().all()):  # The step will refuse these gradients.
            return Change()
        added, rounded = after.detach(), 0.0
        if before is not None:
            added, rounded = added - before, float(before.abs().max())
        done = change(shown, added, rounded)
        if done is None:
            raise RuntimeError(
                f"damo.torch: a hook has changed the gradient of the anchor of {self.rows!r}. It "
                "stands for the gradients of rows, and may be multiplied by a number or clamped"
            )
        return done


def _kind_of(anchor: torch.Tensor) -> tuple[torch.dtype, torch.device, int]:
    return anchor.dtype, anchor.device, anchor.data_ptr()


def _before(gradients: Gradients | None, gradient: torch.Tensor | None) -> torch.Tensor | None:
    return None if gradients is None or gradient is None else gradients.before(gradient)


def _accumulated(gradients: Gradients | None) -> None:
    if gradients is not None:
        for backward in passes.of(id(gradients)):
            gradients.accumulate(backward)


class _Lookup(torch.autograd.Function):
    """The rows of ids, in torch's graph. backward hands their gradients to the BackwardPass."""

    @staticmethod
    def forward(
        ctx: Any,
        _anchor: torch.Tensor,
        ids: torch.Tensor,
        gradients: Gradients,
        read: Read,
        step: BackwardStep | None,
    ) -> torch.Tensor:
        # Saved only so that torch raises if the graph was freed. ctx.ids is used instead, since
        # hooks on saved tensors may return anything.
        ctx.save_for_backward(ids)
        ctx.ids, ctx.version = ids, ids._version
        ctx.gradients, ctx.node = gradients, gradients.node
        ctx.found, ctx.step = read.found, step
        return read.weights

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, None, None, None]:
        # once_differentiable refuses a second derivative, but costs microseconds. A second
        # derivative needs create_graph, and only then are gradients enabled here.
        run = _hand_over_once if torch.is_grad_enabled() else _hand_over
        return run(ctx, gradient)


def _hand_over(
    ctx: Any, gradient: torch.Tensor
) -> tuple[torch.Tensor | None, None, None, None, None]:
    """Hands gradient to the BackwardPass. Returns the gradients of _Lookup.forward's arguments."""
    _ = ctx.saved_tensors
    ids, gradients = ctx.ids, ctx.gradients
    if ids._version != ctx.version:
        raise RuntimeError(
            "damo.torch: ids were modified by an inplace operation between forward and backward"
        )
    try:
        gradient.data_ptr()
    except RuntimeError:
        raise RuntimeError(
            "damo.torch: rows have no batched gradients (is_grads_batched, vmap)"
        ) from None
    is_plain = gradient.dtype is torch.float32 and gradient.is_contiguous()
    if not is_plain or gradient.is_neg():
        gradient = gradient.to(torch.float32).resolve_neg().contiguous()
    if ctx.found is not None:
        ids, gradient = ids[ctx.found], gradient[ctx.found]
    try:
        is_accumulated = torch._C._will_engine_execute_node(ctx.node)
    except RuntimeError:  # torch.autograd.grad asks for the gradient of the anchor.
        return gradients.show([(ids, gradient)]), None, None, None, None
    if not is_accumulated:
        return None, None, None, None, None
    passes.current(ctx.step).hand_over(id(gradients), (ids, gradient))
    # None leaves the anchor's gradient as it is. torch calls hooks only with a tensor.
    shown = gradients.show([]) if gradients.has_other_hooks() else None
    return shown, None, None, None, None


_hand_over_once = once_differentiable(_hand_over)


def lookup(
    gradients: Gradients,
    anchor: torch.Tensor,
    ids: torch.Tensor,
    read: Read,
    step: BackwardStep | None,
) -> torch.Tensor:
    """read.weights, in torch's graph, so that their gradients arrive in gradients.

    step: the step of the backward pass that this is called in, as torch's checkpoint does; or None.
    """
    gradients.watch(anchor)
    return _Lookup.apply(anchor, ids, gradients, read, step)
