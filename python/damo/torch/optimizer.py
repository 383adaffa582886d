"""Steps at a moment of the trainer's choice, instead of in backward: for accumulation, scaled losses and torch's schedules."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator

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
        groups = [
            {"params": [reader.marker for reader in same], "lr": same[0].rows.optimizer.learning_rate}
            for same in self._readers
        ]
        super().__init__(groups, {})
        for reader in readers:
            reader.deferred = True

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
            is_infinite = scaled and any(reader.has_infinite for reader in self._all_readers())
            return self._step(closure, float(grad_scaler.get_scale()) if scaled else 1.0, is_infinite)

    def _step(self, closure: Callable[[], Any] | None, scale: float, is_infinite: bool) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, readers in zip(self.param_groups, self._readers if not is_infinite else ()):
            # Pairs of a reader, one after the other; all are divided by the scale that torch's parameters are divided by.
            pending = [
                (ids, gradients if factor == 1.0 else gradients * factor)
                for reader in readers
                for factor in (reader.factor / scale,)
                for ids, gradients in reader.pending
            ]
            if not pending:
                continue
            rows = readers[0].rows
            if group["lr"] != rows.optimizer.learning_rate:
                rows.optimizer.learning_rate = group["lr"]
            apply(rows, torch.cat([ids for ids, _ in pending]), torch.cat([gradients for _, gradients in pending]))
            for reader in readers:
                reader.drop()
        self._drop()
        return loss

    def _all_readers(self) -> Iterator[StorageReader]:
        return (reader for readers in self._readers for reader in readers)

    def _drop(self) -> None:
        for reader in self._all_readers():
            reader.drop()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops what was collected since the last step."""
        self._drop()

    def close(self) -> None:
        """From now on the layers apply their gradients in backward again."""
        self._drop()
        for reader in self._all_readers():
            reader.deferred = False
