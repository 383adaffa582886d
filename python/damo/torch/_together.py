"""Many features in one lookup and one node of torch's graph, whose backward hands over parts.

The features of a forward pass are entries. Each entry has the Gradients of a table, ids, and rows:
one an id, or one a bag. The rows are an output of the node, or some columns of its only output. Two
entries may have the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import torch
from torch.autograd.function import once_differentiable

from ._device import fetch, send
from ._gradients import Gradients
from ._parts import Bags, Call, Handed, Part, pairs_of
from ._passes import BackwardStep, passes


@dataclass(eq=False)
class Entry:
    """A feature in a node of torch's graph: its ids, and the rows that were read for them."""

    gradients: Gradients | None
    """Those of its table; None: the table is for serving."""
    ids: torch.Tensor
    bags: Bags | None
    """The bags that its rows were pooled in; None: it has a row an id."""
    rows: torch.Tensor | None
    """What was read: float32 in main memory. None once it is in torch's graph, where keeping an
    output would be a cycle."""
    dim: int
    device: torch.device
    dtype: torch.dtype
    is_trained: bool
    found: torch.Tensor | None = None
    """Which ids have a row that can be trained; None: all do."""
    versions: tuple[int, ...] = ()

    def sent(self) -> torch.Tensor:
        """Its rows on its device, in its dtype."""
        rows, self.rows = self.rows, None
        assert rows is not None
        return sent(rows, self.device, self.dtype)

    def present_versions(self) -> tuple[int, ...]:
        """Numbers that change when torch changes what was given for the feature."""
        bags = self.bags
        given = (self.ids,) if bags is None else (self.ids, bags.begins, bags.weights)
        return tuple(one._version for one in given if one is not None and not one.is_inference())


def sent(rows: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """rows on device, in dtype."""
    if device.type == "cuda":
        rows = send(rows, device)
    return rows.to(device=device, dtype=dtype)


class Lookup:
    """What one forward pass has read."""

    def __init__(
        self,
        entries: Sequence[Entry],
        matrix: torch.Tensor | None,
        call: Call,
        step: BackwardStep | None,
    ) -> None:
        """matrix: the rows of all entries side by side, if they are one output."""
        self.entries, self.call, self.step = entries, call, step
        self._matrix, self.is_matrix = matrix, matrix is not None
        known = [one.gradients for one in entries if one.is_trained and one.gradients is not None]
        self.tables: list[Gradients] = list({id(one): one for one in known}.values())
        self.nodes: list[Any] = []
        self._last: list[int] = []
        self._spent: set[int] = set()
        self._is_freed = False

    def outputs(self) -> tuple[torch.Tensor, ...]:
        """The rows as the forward pass returns them. To be called once."""
        matrix, self._matrix = self._matrix, None
        if matrix is None:
            return tuple(entry.sent() for entry in self.entries)
        for entry in self.entries:
            entry.rows = None
        first = self.entries[0]
        return (sent(matrix, first.device, first.dtype),)

    def in_graph(self, anchors: dict[int, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """outputs() in torch's graph, so that their gradients arrive in the tables' Gradients.

        anchors: those of the tables, by the id() of their Gradients.
        """
        given = [anchors[id(table)] for table in self.tables]
        for table, anchor in zip(self.tables, given):
            table.watch(anchor)
        self.nodes = [table.node for table in self.tables]
        for entry in self.entries:
            entry.versions = entry.present_versions()
        found = _Lookup.apply(self, *given)
        return found if isinstance(found, tuple) else (found,)

    def spend(self, ctx: Any, given: list[int]) -> None:
        """Notes a backward pass over these entries. Raises RuntimeError for one that is freed.

        With several outputs, passes over different ones are several passes over this node. torch
        frees the node in the first pass that does not retain the graph. Separate layers would lose
        only that pass's outputs. So the other outputs can still be used here, each in one pass:
        torch does not tell whether that one retains the graph.
        """
        try:
            _ = ctx.saved_tensors
        except RuntimeError as error:
            # torch's error for a node that is freed; others are the checkpoints'.
            if "second time" not in str(error) and "been freed" not in str(error):
                raise
            if not self._is_freed:
                self._is_freed = True
                self._spent.update(self._last)
            if self._spent.intersection(given):
                raise
            self._spent.update(given)
        self._last = given

    def hand_over(self, gradients: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
        """Hands the gradients of entries to the backward pass. Returns those of the anchors."""
        handed: dict[int, list[Handed]] = {id(table): [] for table in self.tables}
        for place, (entry, gradient) in enumerate(zip(self.entries, gradients)):
            if gradient is None or entry.gradients is None or not entry.is_trained:
                continue
            if entry.present_versions() != entry.versions:
                raise RuntimeError(
                    "damo.torch: ids, offsets or weights were modified by an inplace operation"
                    " between forward and backward"
                )
            part: Handed = Part(
                entry.gradients.rows, entry.ids, gradient, entry.bags, self.call, place
            )
            if entry.found is not None:
                part = entry.ids[entry.found], gradient[entry.found].contiguous()
            handed[id(entry.gradients)].append(part)
        return [
            self._hand_over(table, node, handed[id(table)])
            for table, node in zip(self.tables, self.nodes)
        ]

    def _hand_over(self, table: Gradients, node: Any, handed: list[Handed]) -> torch.Tensor | None:
        if not handed:
            return None
        try:
            is_accumulated = torch._C._will_engine_execute_node(node)
        except RuntimeError:  # torch.autograd.grad asks for the gradient of the anchor.
            return table.show(pairs_of(handed))
        if not is_accumulated:
            return None
        backward = passes.current(self.step)
        for one in handed:
            backward.hand_over(id(table), one)
        # None leaves the anchor's gradient as it is. torch calls hooks only with a tensor.
        return table.show([]) if table.has_other_hooks() else None


_MARK = torch.zeros(0, device="cpu")
"""Saved only so that torch tells whether the graph was freed."""


class _Lookup(torch.autograd.Function):
    """The rows of a Lookup, in torch's graph."""

    @staticmethod
    def forward(ctx: Any, lookup: Lookup, *_anchors: torch.Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(_MARK)
        ctx.lookup = lookup
        outputs = lookup.outputs()
        if lookup.is_matrix:
            return outputs[0]
        frozen = [output for output, entry in zip(outputs, lookup.entries) if not entry.is_trained]
        ctx.mark_non_differentiable(*frozen)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # See _gradients._Lookup.
        run = _hand_over_once if torch.is_grad_enabled() else _hand_over
        return run(ctx, *gradients)


def _hand_over(ctx: Any, *gradients: torch.Tensor | None) -> Any:
    lookup: Lookup = ctx.lookup
    entries = lookup.entries
    if not lookup.is_matrix:
        lookup.spend(ctx, [at for at, one in enumerate(gradients) if one is not None])
        each = [None if one is None else _plain(one) for one in gradients]
    else:
        lookup.spend(ctx, [0])
        whole, begin, each = gradients[0], 0, []
        whole = None if whole is None else _plain(whole)
        for entry in entries:
            end = begin + entry.dim
            each.append(None if whole is None else whole[:, begin:end])
            begin = end
    return (None, *lookup.hand_over(each))


_hand_over_once = once_differentiable(_hand_over)


def _plain(gradient: torch.Tensor) -> torch.Tensor:
    """A gradient as contiguous float32 in main memory."""
    try:
        gradient.data_ptr()
    except RuntimeError:
        raise RuntimeError(
            "damo.torch: rows have no batched gradients (is_grads_batched, vmap)"
        ) from None
    if (
        gradient.dtype is torch.float32
        and gradient.is_cpu
        and gradient.is_contiguous()
        and not gradient.is_neg()
    ):
        return gradient
    return fetch(gradient.to(torch.float32).resolve_neg().contiguous())
