"""Where the gradients of a layer's rows go: into a step at the end of a backward pass, or to an optimizer that collects them.

torch knows them as those of the layer's anchor, a parameter of fixed shape that is zero. What happens to rows happens when
torch accumulates the anchor's gradient, and so exactly when it would change the .grad of a weight: torch.autograd.grad and
backward(inputs=...) of something else change nothing.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .._embedding import Embedding
from .._errors import InvalidArgumentError
from ._passes import Pairs, Step, Task, passes
from ._pending import Pending, changed, summed
from ._shown import Change, change, infinity, show


@dataclass
class Read:
    """What was read, float32 of shape (ids.numel(), dim)."""

    weights: torch.Tensor
    found: torch.Tensor | None = None
    """Which ids have a row: without one there is nothing to train. None: all."""


class Gradients:
    """Those of one layer."""

    def __init__(self, rows: Embedding) -> None:
        self.rows = rows
        self.collectors = 0
        """Optimizers that collect them."""
        self.pending = Pending(rows)
        self._anchor: torch.Tensor | None = None
        self._hook: Any = None
        self._version = 0
        self.node: Any = None
        """torch's, that accumulates the anchor's gradient."""

    @property
    def are_collected(self) -> bool:
        return self.collectors > 0

    def attach(self, anchor: torch.Tensor) -> None:
        """Makes anchor the parameter that stands for the rows. First of all, since hooks are called in their order."""
        ours = weakref.ref(self)
        if self._hook is not None:
            self._hook.remove()
        self._anchor, self._version, self.pending.anchor = anchor, -1, anchor if self.pending.anchor is None else self.pending.anchor
        self._hook = anchor.register_hook(lambda gradient: _before(ours(), gradient))

    def watch(self, anchor: torch.Tensor) -> None:
        """Has torch call this when it accumulates the anchor's gradient. The anchor is zero afterwards."""
        if not isinstance(anchor, torch.nn.Parameter):
            raise RuntimeError(
                f"damo.torch: functional_call cannot give other rows to a layer of {self.rows!r}: they are in a storage; "
                "leave its anchor out, or detach it"
            )
        if anchor is not self._anchor:
            self.attach(anchor)
        # Another dtype or device makes another node.
        node = anchor.expand_as(anchor).grad_fn.next_functions[0][0]
        if node is not self.node:
            self.node = node
            ours = weakref.ref(self)
            node.register_hook(lambda *_: _accumulated(ours()))
        # An optimizer may have moved it, or an initializer filled it.
        if anchor._version != self._version:
            anchor.data.zero_()
            self._version = anchor._version

    def has_other_hooks(self) -> bool:
        """Whether somebody else looks at the anchor's gradient on its way, or is called when it is there."""
        anchor = self._anchor
        others = len(getattr(anchor, "_backward_hooks", None) or ()) - 1
        return others > 0 or bool(getattr(anchor, "_post_accumulate_grad_hooks", None))

    def show(self, pairs: Pairs) -> torch.Tensor:
        """What stands for the gradients of rows."""
        assert self._anchor is not None
        if not pairs:
            return torch.zeros_like(self._anchor)
        try:
            sums = summed(self.rows, pairs)
        except InvalidArgumentError:
            return infinity(self._anchor)
        return show(sums.gradients, self._anchor, sums.norm, sums.largest, sums.seed)

    def before(self, gradient: torch.Tensor) -> torch.Tensor | None:
        """Shows hooks what stands for the gradients of rows, in place of gradient."""
        assert self._anchor is not None
        if not self.has_other_hooks():
            return None
        tasks = passes.of(id(self))
        pairs = [pair for task in tasks for pair in task.peek(id(self))]
        if not pairs:
            return None
        shown, before = self.show(pairs), self._anchor.grad
        tasks[0].put_shown(id(self), None if before is None else before.detach().clone(), shown.clone())
        return gradient + shown

    def accumulate(self, task: Task) -> None:
        """torch has accumulated the anchor's gradient: what the pass has handed over is whole."""
        anchor = self._anchor
        assert anchor is not None
        pairs, shown = task.take(id(self)), task.take_shown(id(self))
        if not anchor.requires_grad:  # Frozen since the forward pass.
            return
        if shown is not None:
            pairs = changed(self.rows, pairs, self._changed_by_hooks(anchor, *shown))
        if not self.are_collected:
            anchor.grad = None
            task.step.take(self.rows, pairs)
        elif pairs:
            self.pending.take(anchor, pairs)

    def _changed_by_hooks(self, anchor: torch.Tensor, before: torch.Tensor | None, shown: torch.Tensor) -> Change:
        """What hooks have done to what they were shown, which torch has added to what was there before."""
        after, anchor.grad = anchor.grad, before
        if after is None:  # An optimizer that steps in a hook has zeroed it.
            return Change(0.0 if self.are_collected else 1.0)
        if not bool(shown.isfinite().all()):  # Refused where it is applied.
            return Change()
        added, rounded = after.detach(), 0.0
        if before is not None:
            added, rounded = added - before, float(before.abs().max())
        done = change(shown, added, rounded)
        if done is None:
            raise RuntimeError(
                f"damo.torch: a hook has changed the gradient of the anchor of {self.rows!r}. It stands for the gradients of "
                "rows, and may be multiplied by a number or clamped"
            )
        return done


def _before(gradients: Gradients | None, gradient: torch.Tensor | None) -> torch.Tensor | None:
    return None if gradients is None or gradient is None else gradients.before(gradient)


def _accumulated(gradients: Gradients | None) -> None:
    if gradients is not None:
        for task in passes.of(id(gradients)):
            gradients.accumulate(task)


class _Lookup(torch.autograd.Function):
    """Rows of ids; backward hands their gradients over."""

    @staticmethod
    def forward(
        ctx: Any, _anchor: torch.Tensor, ids: torch.Tensor, gradients: Gradients, read: Read, step: Step | None
    ) -> torch.Tensor:
        # So that torch says when its graph is gone. Hooks may give back anything for what is saved.
        ctx.save_for_backward(ids)
        ctx.ids, ctx.version = ids, ids._version
        ctx.gradients, ctx.found, ctx.step, ctx.node = gradients, read.found, step, gradients.node
        return read.weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None, None]:
        _ = ctx.saved_tensors
        ids, gradients = ctx.ids, ctx.gradients
        if ids._version != ctx.version:
            raise RuntimeError("damo.torch: ids were modified by an inplace operation between forward and backward")
        try:
            gradient.data_ptr()
        except RuntimeError:
            raise RuntimeError("damo.torch: rows have no batched gradients (is_grads_batched, vmap)") from None
        gradient = gradient.to(torch.float32).contiguous()
        if ctx.found is not None:
            ids, gradient = ids[ctx.found], gradient[ctx.found]
        try:
            is_accumulated = torch._C._will_engine_execute_node(ctx.node)
        except RuntimeError:  # torch.autograd.grad asks for the gradient of the anchor.
            return gradients.show([(ids, gradient)]), None, None, None, None
        if not is_accumulated:
            return None, None, None, None, None
        passes.task(ctx.step).hand_over(id(gradients), ids, gradient)
        # Without a gradient torch leaves the anchor's as it is.
        return gradients.show([]) if gradients.has_other_hooks() else None, None, None, None, None


def lookup(gradients: Gradients, anchor: torch.Tensor, ids: torch.Tensor, read: Read, step: Step | None) -> torch.Tensor:
    """What was read for ids, with its gradients. step is of the backward pass that this is called in, if any."""
    gradients.watch(anchor)
    return _Lookup.apply(anchor, ids, gradients, read, step)
