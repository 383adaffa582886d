"""A group of rows as an optimizer has it: the layers on it, whose gradients are collected and make one step."""

from __future__ import annotations

import weakref
from typing import Any, Iterable

import torch
from torch import nn

from .._embedding import Embedding as Rows
from ._gradients import Gradients
from ._passes import apply, group_of, is_finite
from ._pending import Given
from ._readers import StorageReader
from .embedding import Layer


class RowGroup:
    """The layers of a model that have one group's rows."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.rows: Rows = layers[0].rows
        readers = [layer.reader for layer in layers]
        self.all: list[Gradients] = [reader.gradients for reader in readers if isinstance(reader, StorageReader)]

    def collect(self) -> None:
        """From now on gradients wait."""
        peers = [weakref.ref(gradients.pending) for gradients in self.all]
        for gradients in self.all:
            gradients.collectors += 1
            gradients.pending.peers, gradients.pending.lock = peers, self.all[0].pending.lock

    @property
    def anchors(self) -> list[torch.Tensor]:
        return [layer.anchor for layer in self.layers]

    @property
    def is_finite(self) -> bool:
        return all(gradients.pending.is_finite for gradients in self.all)

    def check(self) -> None:
        """Raises RuntimeError when the anchors, or their gradients, were changed in a way that rows' cannot be."""
        for layer, gradients in zip(self.layers, self.all):
            pending = gradients.pending
            if pending.has_taken and layer.anchor is not pending.anchor:
                raise RuntimeError(
                    f"damo.torch: the anchor of {self.rows!r} is another parameter than in the forward pass, as "
                    "fully_shard makes it, so that zero_grad and clipping would not reach its rows. Shard without it: "
                    "ignored_params={layer.anchor, ...}; or call optimizer.zero_grad() after replacing parameters"
                )
            pending.check()

    def check_finite(self) -> None:
        """As check, and ValueError, which names the key, for gradients that are not finite."""
        self.check()
        if not self.is_finite:
            # The rows' own refusal names the key. It comes before anything changes.
            self.step(self.rows.optimizer.learning_rate, self.give(1.0, keeps=True))

    def give(self, scale: float, keeps: bool) -> list[Given]:
        """What waits, and with keeps goes on waiting. scale: what the loss was multiplied with."""
        return [gradients.pending.give(scale, keeps) for gradients in self.all]

    def take_back(self, given: list[Given]) -> None:
        """What was given and not applied waits again."""
        for gradients, some in zip(self.all, given):
            gradients.pending.take_back(some)

    def step(self, rate: float, given: list[Given]) -> None:
        """One step with what was given, none without any."""
        pairs = [
            (ids, sums if some.factor == 1.0 else sums * some.factor) for some in given for ids, sums in some.pairs
        ]
        if not pairs:
            return
        if rate != self.rows.optimizer.learning_rate:
            self.rows.optimizer.learning_rate = rate
        apply(self.rows, pairs)

    def drop(self) -> None:
        for gradients in self.all:
            gradients.pending.drop()


def step_rows(groups: list[RowGroup], rates: list[float], scale: float = 1.0, keeps: bool = False) -> None:
    """A step of each group with what waits, which with keeps goes on waiting.

    What a group refuses is as it was for another step, and so is what comes after it.
    """
    for group in groups:
        group.check()
        group.rows._use()  # An error of a storage that is closed, before another one has changed.
    steps = [(group, rate, group.give(scale, keeps)) for group, rate in zip(groups, rates)]
    # Those that will be refused first, so that they are before anything has changed.
    steps.sort(key=lambda step: all(is_finite(sums) for some in step[2] for _, sums in some.pairs))
    done: list[RowGroup] = []
    while steps:
        group, rate, given = steps.pop(0)
        try:
            group.step(rate, given)
        except Exception:
            for group, _, given in () if keeps else [(group, rate, given), *steps]:
                group.take_back(given)
            # Another try is for the others alone.
            for group in done:
                group.drop()
            raise
        done.append(group)


def release(all: list[Gradients]) -> None:
    """Ends collecting."""
    for gradients in all:
        gradients.collectors -= 1
        if not gradients.collectors:
            gradients.pending.drop()
            gradients.pending.peers = []


def layers_of(model: nn.Module | Iterable[Layer], who: str) -> list[Layer]:
    """The layers of a model. Raises ValueError when there are none, or some without a storage."""
    modules = model.modules() if isinstance(model, nn.Module) else model
    layers = [module for module in modules if isinstance(module, Layer)]
    if not layers or not all(isinstance(layer.reader, StorageReader) for layer in layers):
        raise ValueError(f"damo.torch: {who} needs a model with damo.torch layers that have a storage")
    return layers


def row_groups(layers: list[Layer]) -> list[RowGroup]:
    """One for each group of rows, in the order of the layers."""
    by_group: dict[tuple[Any, ...], list[Layer]] = {}
    for layer in layers:
        same = by_group.setdefault(group_of(layer.rows), [])
        if layer not in same:
            same.append(layer)
    return [RowGroup(same) for same in by_group.values()]
