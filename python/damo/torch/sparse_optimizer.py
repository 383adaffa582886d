"""SparseOptimizer: steps rows when the trainer calls step, and not in backward.

It serves gradient accumulation, scaled losses and torch's schedules.
"""

from __future__ import annotations

import weakref
from typing import Any, Callable, Iterable

import torch
from torch import nn

from ._row_groups import layers_of, release, row_groups, step_rows
from .embedding import Layer


class SparseOptimizer(torch.optim.Optimizer):
    """A torch optimizer for the rows of a model alone: step applies the gradients that wait.

    model: a model, or an iterable of layers and collections.

    Gradients of several backward calls before a step add up, and a group that several layers use
    gets one step. step drops the gradients that it has applied. zero_grad, of this or of the model,
    drops them, too.

    param_groups has one group for each group of rows. Its "lr" is the learning rate of the rows, so
    torch.optim.lr_scheduler can drive it. Its parameters are the layers' anchors, whose gradients
    have the norms of the rows'. GradScaler.step(sparse) divides by the scale, and skips the step if
    a gradient is not finite.

    Raises ValueError for a model without layers, or with one that was loaded for serving.
    """

    _step_supports_amp_scaling = True

    def __init__(self, model: nn.Module | Iterable[nn.Module]) -> None:
        # One for each group in param_groups, in the same order.
        self._groups = row_groups(layers_of(model, "SparseOptimizer"))
        groups = [
            {"params": group.anchors, "lr": group.rows.optimizer.learning_rate, "weight_decay": 0.0}
            for group in self._groups
        ]
        self._is_made = False
        # OneCycleLR needs betas. Rows do not read them: their optimizer has its own.
        super().__init__(groups, {"betas": (0.9, 0.999)})
        self._is_made = True
        # Also released as garbage: otherwise its layers would collect for ever, and not train.
        gradients = [one for group in self._groups for one in group.all]
        self._release = weakref.finalize(self, release, gradients)
        self._release.atexit = False
        for group in self._groups:
            group.collect()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each group that has gradients, with their sum.

        Raises ValueError, which names the key, for gradients that are not finite. These, and those
        of groups that were not stepped yet, go on waiting.
        """
        # A GradScaler sets these while it steps this. The scale is None after its unscale_.
        scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        is_infinite = found_inf is not None and bool(found_inf)
        return self._step(closure, 1.0 if scale is None else float(scale), is_infinite)

    if not hasattr(torch.amp, "GradScaler"):
        # Before torch 2.3 a GradScaler passes itself as grad_scaler, and looks only at gradients on
        # GPUs.
        def step(  # type: ignore[misc]
            self, closure: Callable[[], Any] | None = None, *, grad_scaler: Any = None
        ) -> Any:
            scaled = grad_scaler is not None
            is_infinite = scaled and not all(group.is_finite for group in self._groups)
            scale = float(grad_scaler.get_scale()) if scaled else 1.0
            return self._step(closure, scale, is_infinite)

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
        """Raises TypeError: the groups are fixed, those of the layers it was made of."""
        if self._is_made:
            raise TypeError(
                "damo.torch: a SparseOptimizer has the layers that it was made of; make another one"
            )
        super().add_param_group(param_group)

    def __reduce__(self) -> str:
        raise TypeError(
            "damo.torch: a SparseOptimizer cannot be pickled or copied; its state_dict can"
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients that wait."""
        for group in self._groups:
            group.drop()

    def close(self) -> None:
        """Stops collecting gradients, and drops those that wait.

        Afterwards the layers apply gradients in backward, unless another optimizer collects them.
        """
        self._release()
