"""Reads the rows of all features of a collection: how, and into which memory."""

from __future__ import annotations

from typing import Sequence

import torch

from .._errors import InvalidArgumentError
from .._step_handle import Rows
from ._device import rows_for
from ._given import Given, Wanted
from ._parts import Bags, Call, StepPool, add, memory_of
from ._passes import is_under_way, passes
from ._pooling import pool, weigh
from ._ranks import warn_of_ranks
from ._readers import StorageReader, check_scaling
from ._tables import Table
from ._together import Entry, Lookup

_CPU = torch.device("cpu")


class Feature:
    """A feature of one forward pass: what is given for it, and its table."""

    def __init__(self, given: Given, table: Table, wanted: Wanted) -> None:
        self.given, self.pooling, self.dtype = given, wanted.pooling, wanted.dtype
        self.reader, self.anchor = table.reader, table.anchor
        self.training = table.training
        self.is_served = not isinstance(table.reader, StorageReader)
        self.is_trained = (
            torch.is_grad_enabled() and self.anchor.requires_grad and not self.is_served
        )
        self.is_late = False
        """Whether torch pools its rows, behind the node that reads them."""
        self.found: torch.Tensor | None = None

    def decide(self) -> None:
        """Sets is_late.

        torch pools if weights need a gradient, if gradients of ids without a row are dropped, and
        for "max", where it notes which row is the largest.
        """
        weights = self.given.weights
        needs = torch.is_grad_enabled() and weights is not None and weights.requires_grad
        trains = self.is_trained and (not self.training or self.pooling == "max")
        self.is_late = self.pooling is not None and (needs or trains)

    @property
    def bags(self) -> Bags | None:
        """The bags that are pooled as the rows are read."""
        given = self.given
        if self.pooling is None or self.is_late:
            return None
        assert given.begins is not None
        weights = given.weights
        if weights is not None:
            weights = weights.detach().to(_CPU, torch.float32).contiguous().resolve_neg()
        return Bags(given.begins, self.pooling, weights)

    @property
    def count(self) -> int:
        """The number of its rows."""
        return self.given.ids.numel() if self.is_late else _product(self.given.shape)

    def read(self, bags: Bags | None, out: torch.Tensor) -> None:
        """Reads its rows alone, and pools them by torch: for serving, and in special cases."""
        ids, reader = self.given.ids, self.reader
        if not isinstance(reader, StorageReader):
            rows, _ = reader.read(ids, self.training, self.anchor, _CPU)
        elif self.training:
            rows = reader._look_again(ids, _CPU)
        else:
            read = reader._look(ids, _CPU)
            rows, self.found = read.weights, read.found
        out.copy_(rows if bags is None else _pooled(rows, ids, bags, reader.padding_idx))

    def late(self, rows: torch.Tensor) -> torch.Tensor:
        """rows as they are, or their bags if torch pools them."""
        if not self.is_late:
            return rows
        given, padding = self.given, self.reader.padding_idx
        assert given.begins is not None and self.pooling is not None
        padded = None if padding is None else given.ids == padding
        weighted = weigh(rows, padded, given.weights)
        return pool(weighted, given.begins, padded, self.pooling).to(self.dtype)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _pooled(rows: torch.Tensor, ids: torch.Tensor, bags: Bags, padding: int | None) -> torch.Tensor:
    """What a StepHandle makes of rows, bit for bit: it adds them in order, then divides."""
    padded = None if padding is None else ids == padding
    if bags.pooling == "max":
        return pool(rows, bags.begins, padded, "max")
    summed = pool(weigh(rows, padded, bags.weights), bags.begins, padded, "sum")
    if bags.pooling == "mean":
        summed /= bags.counts(ids, padding).clamp(min=1).unsqueeze(1)
    return summed


def read(
    features: Sequence[Feature], steps: StepPool, is_matrix: bool
) -> tuple[Sequence[torch.Tensor], bool]:
    """The rows of each feature, in torch's graph if its table is trained.

    Returns a tensor a feature, with a row an id or a bag (Feature.late makes bags), and False. If
    is_matrix, and nothing is late, it returns one tensor with all of them side by side, and True.

    In train mode ids without a row get one. In a forward pass that a backward pass recomputes, they
    read as their first weights. In eval mode they read as zeros. Each table has its own mode.
    """
    training = any(feature.training for feature in features)
    trained = [feature for feature in features if feature.is_trained]
    if training or trained:
        warn_of_ranks()
    step = None
    are_collected = all(_are_collected(feature) for feature in trained)
    if trained:
        step = passes.step()
        check_scaling(not are_collected)
    for feature in features:
        feature.decide()
    is_matrix = is_matrix and not any(feature.is_late for feature in features)
    outputs, matrix = _memory(features, is_matrix)
    bags = [feature.bags for feature in features]
    call = Call(steps)
    is_again = training and (step is not None or (not trained and is_under_way()))
    # Those in eval mode come first: if they are refused, no row was made.
    for mode in (False, True):
        wanted = [each for each in zip(features, bags, outputs) if each[0].training is mode]
        looks = not mode and any(feature.is_trained for feature, _, _ in wanted)
        if looks or (mode and is_again) or features[0].is_served:
            for feature, these, out in wanted:
                feature.read(these, out)
        elif wanted:
            _read_all(wanted, call, mode)
            if len(wanted) < len(features):
                call.release()
    entries = [
        Entry(
            feature.reader.gradients if isinstance(feature.reader, StorageReader) else None,
            feature.given.ids,
            these,
            out,
            feature.reader.dim,
            feature.given.device,
            # Rows are pooled in float32, and rounded afterwards.
            torch.float32 if feature.is_late else feature.dtype,
            feature.is_trained,
            feature.found,
        )
        for feature, these, out in zip(features, bags, outputs)
    ]
    lookup = Lookup(entries, matrix, call, step)
    if not trained or are_collected:
        call.release()
    if not trained:
        return lookup.outputs(), is_matrix
    anchors = {}
    for feature in trained:
        assert isinstance(feature.reader, StorageReader)
        feature.reader.read_last = feature.given.ids
        anchors[id(feature.reader.gradients)] = feature.anchor
    return lookup.in_graph(anchors), is_matrix


def _are_collected(feature: Feature) -> bool:
    reader = feature.reader
    return isinstance(reader, StorageReader) and reader.gradients.are_collected


def _memory(
    features: Sequence[Feature], is_matrix: bool
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Where the rows of each feature go: float32 in main memory. Also the matrix of all."""
    dims = [feature.reader.dim for feature in features]
    if not is_matrix:
        made = [
            rows_for(feature.given.device, feature.count, dim)
            for feature, dim in zip(features, dims)
        ]
        return made, None
    first = features[0]
    matrix = rows_for(first.given.device, first.count, sum(dims))
    return list(matrix.split(dims, 1)), matrix


def _read_all(
    wanted: Sequence[tuple[Feature, Bags | None, torch.Tensor]], call: Call, training: bool
) -> None:
    """Reads features in one call. call keeps the handle, for their backward pass."""
    readers = [one.reader for one, _, _ in wanted if isinstance(one.reader, StorageReader)]
    handle = call.pool.take(readers[0].rows.storage)
    call.handle, call.parts = handle, len(wanted)
    memory: list[Rows] = []
    try:
        for (feature, these, out), reader in zip(wanted, readers):
            try:
                add(handle, reader.rows, feature.given.ids, these)
            except InvalidArgumentError as error:
                name = feature.given.name
                raise type(error)(f"damo.torch: feature {name!r}: {error}") from None
            memory.append(memory_of(out))
        (handle._look_up if training else handle._look)(memory)
    except BaseException:
        call.release()
        raise
