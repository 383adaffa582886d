"""Steps at a moment of the trainer's choice, instead of in backward: for accumulation, scaled losses and torch's schedules."""

from __future__ import annotations

from typing import Any, Callable, Iterable

import torch
from torch import nn

from ._readers import StorageReader, apply
from .embedding import Layer


class SparseOptimizer(torch.optim.Optimizer):
    """Collects the gradients of the layers in a model (or an iterable of layers) until step, which applies their sums.

    Several backward calls before a step accumulate, as with torch's optimizers, and a group that is used twice in a model
    gets one step. zero_grad drops what was collected. param_groups has one group for each damo.Embedding, whose "lr" is its
    optimizer's rate, so torch.optim.lr_scheduler can drive it. GradScaler.step(sparse) divides by the scale, and skips the step
    when a gradient is not finite. Layers apply their gradients in backward as long as there is no SparseOptimizer for them.
    """

    _step_supports_amp_scaling = True

    def __init__(self, model: nn.Module | Iterable[Layer]) -> None:
        modules = model.modules() if isinstance(model, nn.Module) else model
        all_readers = [module.reader for module in modules if isinstance(module, Layer)]
        readers = [reader for reader in all_readers if isinstance(reader, StorageReader)]
        if not readers or len(readers) < len(all_readers):
            raise ValueError("damo.torch: SparseOptimizer needs a model with damo.torch layers that have a storage")
        by_rows: dict[int, list[StorageReader]] = {}
        for reader in readers:
            same = by_rows.setdefault(id(reader.rows), [])
            if reader not in same:
                same.append(reader)
        # One for each of param_groups, in its order.
        self._readers = list(by_rows.values())
        # torch wants a tensor in each group; it has no elements, and never a gradient.
        groups = [
            {"params": [torch.zeros(0, requires_grad=True)], "lr": same[0].rows.optimizer.learning_rate}
            for same in self._readers
        ]
        super().__init__(groups, {})
        for reader in readers:
            reader.deferred = True

    def step(self, closure: Callable[[], Any] | None = None, *, grad_scaler: Any = None) -> Any:
        """One step of each group's optimizer with the sum of what was collected; a group without any is not stepped."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        scale = 1.0 if grad_scaler is None else float(grad_scaler.get_scale())
        gathered = []
        for group, readers in zip(self.param_groups, self._readers):
            pending = [pair for reader in readers for pair in reader.pending]
            if not pending:
                continue
            ids = torch.cat([ids for ids, _ in pending])
            gradients = torch.cat([gradients for _, gradients in pending])
            if grad_scaler is not None:
                gradients = gradients / scale
                if not bool(torch.isfinite(gradients).all()):
                    self._drop()
                    return loss
            gathered.append((group, readers, ids, gradients))
        for group, readers, ids, gradients in gathered:
            rows = readers[0].rows
            if group["lr"] != rows.optimizer.learning_rate:
                rows.optimizer.learning_rate = group["lr"]
            apply(rows, ids, gradients)
        self._drop()
        return loss

    def _drop(self) -> None:
        for readers in self._readers:
            for reader in readers:
                reader.pending.clear()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops what was collected since the last step."""
        self._drop()

    def close(self) -> None:
        """From now on the layers apply their gradients in backward again."""
        self._drop()
        for readers in self._readers:
            for reader in readers:
                reader.deferred = False
