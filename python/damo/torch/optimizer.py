"""Steps at a moment of the trainer's choice, instead of in backward: for accumulation, scaled losses and torch's schedules."""

from __future__ import annotations

import weakref
from typing import Any, Callable, Iterable

import torch
from torch import nn

from ._row_groups import layers_of, release, row_groups, step_rows
from .embedding import Layer


class SparseOptimizer(torch.optim.Optimizer):
    """Collects the gradients of the layers in a model (or an iterable of layers) until step, which applies their sums.

    Several backward calls before a step accumulate, as with torch's optimizers, and a group that is used twice in a model
    gets one step. zero_grad, of this and of the model, drops what was collected; step does so, too. param_groups has one group
    for each damo.Embedding, whose "lr" is its optimizer's rate, so torch.optim.lr_scheduler can drive it. Its parameters are the
    layers' anchors, whose gradients have the norms of the rows'. GradScaler.step(sparse) divides by the scale, and skips the step
    when a gradient is not finite. Layers apply their gradients in backward as long as there is no optimizer for them.
    """

    _step_supports_amp_scaling = True

    def __init__(self, model: nn.Module | Iterable[Layer]) -> None:
        # One for each of param_groups, in its order.
        self._groups = row_groups(layers_of(model, "SparseOptimizer"))
        groups = [
            {"params": group.anchors, "lr": group.rows.optimizer.learning_rate, "weight_decay": 0.0}
            for group in self._groups
        ]
        self._is_made = False
        # OneCycleLR drives betas; those of rows are their optimizer's own.
        super().__init__(groups, {"betas": (0.9, 0.999)})
        self._is_made = True
        # Also when nobody refers to this any more: its layers would collect for ever, and not train.
        self._release = weakref.finalize(self, release, [one for group in self._groups for one in group.all])
        self._release.atexit = False
        for group in self._groups:
            group.collect()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each group's optimizer with the sum of what was collected; a group without any is not stepped."""
        # Set by a GradScaler that is stepping this; the scale is None after its unscale_.
        scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        return self._step(closure, 1.0 if scale is None else float(scale), found_inf is not None and bool(found_inf))

    if not hasattr(torch.amp, "GradScaler"):
        # Before torch 2.3 a GradScaler gives itself, and does not look at anything that is not on a GPU.
        def step(  # type: ignore[misc]
            self, closure: Callable[[], Any] | None = None, *, grad_scaler: Any = None
        ) -> Any:
            scaled = grad_scaler is not None
            is_infinite = scaled and not all(group.is_finite for group in self._groups)
            return self._step(closure, float(grad_scaler.get_scale()) if scaled else 1.0, is_infinite)

    def _step(self, closure: Callable[[], Any] | None, scale: float, is_infinite: bool) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if is_infinite:
            self.zero_grad()
        else:
            step_rows(self._groups, [group["lr"] for group in self.param_groups], scale)
        return loss

    def add_param_group(self, param_group: Any) -> None:
        """Refused: what a layer's rows are, is its storage's."""
        if self._is_made:
            raise TypeError("damo.torch: a SparseOptimizer has the layers that it was made of; make another one")
        super().add_param_group(param_group)

    def __reduce__(self) -> str:
        raise TypeError("damo.torch: a SparseOptimizer cannot be pickled or copied; its state_dict can")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops what was collected since the last step."""
        for group in self._groups:
            group.drop()

    def close(self) -> None:
        """What is pending is dropped, and the layers apply their gradients in backward again, unless another one collects them."""
        self._release()
