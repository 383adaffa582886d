"""Groups of rows as an optimizer has them: layers whose gradients are collected for one step."""

from __future__ import annotations

import weakref
from typing import Any, Iterable

import torch
from torch import nn

from .._embedding import Embedding as Rows
from ._gradients import Gradients
from ._parts import Pairs, StepPool, apply_together, group_of, shared_pool, transactions
from ._passes import rank
from ._pending import Scaled
from ._readers import StorageReader
from .embedding import Layer


class RowGroup:
    """The layers of a model whose rows are in the same group."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.rows: Rows = layers[0].rows
        readers = [layer.reader for layer in layers]
        self.all: list[Gradients] = [
            reader.gradients for reader in readers if isinstance(reader, StorageReader)
        ]
        pools = [gradients.pool for gradients in self.all if gradients.pool is not None]
        self.pool = shared_pool(pools)

    def collect(self) -> None:
        """Makes the layers keep their gradients for a step instead of applying them in backward."""
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
        """Raises RuntimeError if an anchor, or its gradient, was changed as rows cannot be."""
        for layer, gradients in zip(self.layers, self.all):
            pending = gradients.pending
            if pending.has_received and layer.anchor is not pending.anchor:
                raise RuntimeError(
                    f"damo.torch: the anchor of {self.rows!r} is another parameter than in the "
                    "forward pass, as fully_shard makes it, so that zero_grad and clipping would "
                    "not reach its rows. Shard without it: ignored_params={layer.anchor, ...}; or "
                    "call optimizer.zero_grad() after replacing parameters"
                )
            pending.check()

    def check_finite(self) -> bool:
        """As check, and raises ValueError for gradients that are not finite, naming the key.

        Returns False if there are such gradients, and steps with them are skipped.
        """
        self.check()
        if self.is_finite:
            return True
        # The step's own error names the key. It comes before anything has changed.
        self.step(self.rows.optimizer.learning_rate, self.for_step(1.0, keeps=True))
        return False

    def for_step(self, scale: float, keeps: bool) -> list[Scaled]:
        """The waiting gradients of each layer, as Pending.for_step gives them."""
        return [gradients.pending.for_step(scale, keeps) for gradients in self.all]

    def put_back(self, scaled: list[Scaled]) -> None:
        """Lets gradients that for_step has returned, and that were not applied, wait again."""
        for gradients, one in zip(self.all, scaled):
            gradients.pending.put_back(one)

    def step(self, rate: float, scaled: list[Scaled]) -> None:
        """One step with these gradients, or none if there are none. rate: the learning rate."""
        pairs = self.pairs(rate, scaled)
        if pairs:
            apply_together([(self.rows, pairs)], self.pool)

    def pairs(self, rate: float, scaled: list[Scaled]) -> Pairs:
        """The ids and gradients for a step. Sets the learning rate if there are some."""
        pairs = [
            (ids, sums if one.factor == 1.0 else sums * one.factor)
            for one in scaled
            for ids, sums in one.pairs
        ]
        if pairs and rate != self.rows.optimizer.learning_rate:
            self.rows.optimizer.learning_rate = rate
        return pairs

    def drop(self) -> None:
        for gradients in self.all:
            gradients.pending.drop()


def step_rows(
    groups: list[RowGroup], rates: list[float], scale: float = 1.0, keeps: bool = False
) -> None:
    """One step of each group with its waiting gradients, at its rate.

    Groups of a storage are stepped in one transaction. If a group has two embeddings, with another
    padding, duplicates or limits, the second one is in a transaction of its own.

    scale, keeps: as for Pending.for_step. If a group fails, its gradients wait for another step, as
    do those of the groups after it. The groups before it have had their step, and their gradients
    are dropped.
    """
    for group in groups:
        group.check()
        group.rows._use()  # Raises for a closed storage before another one changes.
    steps = [(group, rate, group.for_step(scale, keeps)) for group, rate in zip(groups, rates)]
    units = transactions(steps, lambda step: step[0].rows)
    for unit in units:
        _pool(unit)  # Raises for different options before anything changes.
    if len(units) > 1:
        units.sort(key=_rank)
    done: list[RowGroup] = []
    while units:
        unit = units.pop(0)
        try:
            _step(unit)
        except Exception:
            for group, _, scaled in (
                () if keeps else [*unit, *(one for more in units for one in more)]
            ):
                group.put_back(scaled)
            # So that another step does not apply these twice.
            for group in done:
                group.drop()
            raise
        done.extend(group for group, _, _ in unit)


_Step = tuple[RowGroup, float, "list[Scaled]"]


def _rank(unit: list[_Step]) -> int:
    ranks = (rank(sums) for _, _, scaled in unit for one in scaled for _, sums in one.pairs)
    return min(ranks, default=2)


def _step(unit: list[_Step]) -> None:
    given = [(group.rows, group.pairs(rate, scaled)) for group, rate, scaled in unit]
    given = [(rows, pairs) for rows, pairs in given if pairs]
    if given:
        apply_together(given, _pool(unit))


def _pool(unit: list[_Step]) -> StepPool | None:
    """The pool of a transaction: that of its collections; None without any."""
    return shared_pool(group.pool for group, _, _ in unit if group.pool is not None)


def release(all: list[Gradients]) -> None:
    """Ends collecting. Drops waiting gradients, unless another optimizer collects them, too."""
    for gradients in all:
        gradients.collectors -= 1
        if not gradients.collectors:
            gradients.pending.drop()
            gradients.pending.peers = []


def layers_of(model: nn.Module | Iterable[nn.Module], who: str) -> list[Layer]:
    """The layers of a model, or of an iterable. who: the caller's name, for the message.

    Raises ValueError if there are none, or one was loaded for serving.
    """
    given = [model] if isinstance(model, nn.Module) else list(model)
    modules = (module for one in given if isinstance(one, nn.Module) for module in one.modules())
    layers = [module for module in modules if isinstance(module, Layer)]
    if not layers or not all(isinstance(layer.reader, StorageReader) for layer in layers):
        raise ValueError(
            f"damo.torch: {who} needs a model with damo.torch layers that have a storage"
        )
    return layers


def row_groups(layers: list[Layer]) -> list[RowGroup]:
    """One RowGroup for each group of rows, in the order of the layers."""
    by_group: dict[tuple[Any, ...], list[Layer]] = {}
    for layer in layers:
        same = by_group.setdefault(group_of(layer.rows), [])
        if layer not in same:
            same.append(layer)
    return [RowGroup(same) for same in by_group.values()]
