"""Steps at a moment of the trainer's choice, instead of in backward: for accumulation, scaled losses and torch's schedules."""

from __future__ import annotations

import weakref
from typing import Any, Callable, Iterable, Iterator

import torch
from torch import nn

from .._embedding import Embedding as Rows
from ._passes import apply, group_of
from ._readers import Pending, StorageReader
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
        by_group: dict[tuple[Any, ...], list[StorageReader]] = {}
        for reader in readers:
            same = by_group.setdefault(group_of(reader.rows), [])
            if reader not in same:
                same.append(reader)
        # One for each of param_groups, in its order.
        self._readers = list(by_group.values())
        groups = [
            {"params": [reader.marker for reader in same], "lr": same[0].rows.optimizer.learning_rate}
            for same in self._readers
        ]
        self._is_made = False
        super().__init__(groups, {})
        self._is_made = True
        # Also when nobody refers to this any more: its layers would collect for ever, and not train.
        self._release = weakref.finalize(self, _release, list(self._all_readers()))
        self._release.atexit = False
        for reader in self._all_readers():
            reader.collectors += 1

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
        steps = [
            (group, readers, [reader.give() for reader in readers])
            for group, readers in zip(self.param_groups, self._readers)
        ]
        if is_infinite:
            return loss
        # Those that will be refused first, so that they are before anything has changed.
        steps.sort(key=lambda step: not any(given.has_infinite for given in step[2]))
        while steps:
            group, readers, given = steps.pop(0)
            try:
                self._apply(group["lr"], readers[0].rows, given, scale)
            except Exception:
                # As it was, for zero_grad, or for another step once the reason is gone.
                for _, readers, given in [(group, readers, given), *steps]:
                    for reader, pending in zip(readers, given):
                        reader.take_back(pending)
                raise
        return loss

    @staticmethod
    def _apply(rate: float, rows: Rows, given: list[Pending], scale: float) -> None:
        # Divided by the scale that torch's parameters are divided by.
        pairs = [
            (ids, gradients if pending.factor == scale else gradients * (pending.factor / scale))
            for pending in given
            for ids, gradients in pending.pairs
        ]
        if not pairs:
            return
        if rate != rows.optimizer.learning_rate:
            rows.optimizer.learning_rate = rate
        apply(rows, torch.cat([ids for ids, _ in pairs]), torch.cat([gradients for _, gradients in pairs]))

    def add_param_group(self, param_group: Any) -> None:
        """Refused: what a layer's rows are, is its storage's."""
        if self._is_made:
            raise TypeError("damo.torch: a SparseOptimizer has the layers that it was made of; make another one")
        super().add_param_group(param_group)

    def __reduce__(self) -> str:
        raise TypeError("damo.torch: a SparseOptimizer cannot be pickled or copied; its state_dict can")

    def _all_readers(self) -> Iterator[StorageReader]:
        return (reader for readers in self._readers for reader in readers)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops what was collected since the last step."""
        for reader in self._all_readers():
            reader.give()

    def close(self) -> None:
        """What is pending is dropped, and the layers apply their gradients in backward again, unless another one collects them."""
        self._release()


def _release(readers: list[StorageReader]) -> None:
    for reader in readers:
        reader.collectors -= 1
        if not reader.collectors:
            reader.give()
