"""Parts of a step: the gradients of a feature's rows or bags, and one transaction for many.

A collection hands over parts. They are stepped as they are, bags included, by a StepHandle. Knows
embeddings and tensors, but no layers and no passes.
"""

from __future__ import annotations

import re
import weakref
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping, Sequence, TypeVar, Union

import torch
from torch.nn import functional

from .. import _c_api
from .._choices import BagMode
from .._embedding import Embedding
from .._errors import Error, InvalidArgumentError
from .._handles import ForkSafeLock
from .._step_handle import Rows, StepHandle
from .._storage import Storage

Pair = tuple[torch.Tensor, torch.Tensor]
"""Ids, contiguous int64, and gradients, contiguous float32 of shape (ids.numel(), dim)."""

Pairs = list[Pair]


@dataclass(frozen=True)
class Bags:
    """The bags of ids, in main memory."""

    begins: torch.Tensor
    """Where each bag begins in the ids: int64 of shape (bags,)."""
    pooling: BagMode
    """"sum", "mean" or "max"."""
    weights: torch.Tensor | None = None
    """A factor for each id: contiguous float32. None: no factors."""

    def ends(self, ids: int) -> torch.Tensor:
        """Where each bag ends. ids: the number of ids."""
        return functional.pad(self.begins[1:], (0, min(1, self.begins.numel())), value=ids)

    def counts(self, ids: torch.Tensor, padding: int | None) -> torch.Tensor:
        """The number of ids in each bag that are not padding."""
        ends = self.ends(ids.numel())
        if padding is None:
            return ends - self.begins
        before = functional.pad((ids != padding).cumsum(0, dtype=torch.int64), (1, 0))
        return before[ends] - before[self.begins]


Options = Mapping[str, Union[float, str, None]]
"""Options of a StepHandle. An option that is None is left out."""


class StepPool:
    """StepHandles that wait to be used again. A copy, or what is pickled, is empty.

    options: those of the handles.
    """

    def __init__(self, options: Options | None = None) -> None:
        given = (options or {}).items()
        self.options = {name: value for name, value in given if value is not None}
        self._lock = ForkSafeLock()
        self._waiting: list[StepHandle] = []

    def take(self, storage: Storage) -> StepHandle:
        """A handle without parts. Raises damo.ClosedError for a closed storage."""
        with self._lock:
            handle = self._waiting.pop() if self._waiting else None
        if handle is None or handle.closed:
            return StepHandle(storage, **self.options)
        return handle

    def give(self, handle: StepHandle) -> None:
        """Lets a handle wait to be used again, unless it was closed. It keeps no rows open."""
        try:
            handle._clear()
        except Error:
            return
        with self._lock:
            self._waiting.append(handle)

    def __reduce__(self) -> Any:
        return StepPool, (self.options,)


def shared_pool(pools: Iterable[StepPool]) -> StepPool | None:
    """The pool for a transaction of collections that have these pools. None without any.

    Raises ValueError if their options differ.
    """
    shared = None
    for pool in pools:
        if shared is not None and shared.options != pool.options:
            raise ValueError(
                "damo.torch: collections of one storage are stepped together, and have different"
                f" options, {shared.options} and {pool.options}; give them the same"
            )
        shared = shared or pool
    return shared


class Call:
    """The lookup of one forward pass, whose parts its backward pass can step again."""

    def __init__(self, pool: StepPool, handle: StepHandle | None = None, parts: int = 0) -> None:
        self.pool, self.handle, self.parts = pool, handle, parts

    def release(self) -> None:
        """Gives the handle back. The parts are then added anew for a step."""
        handle, self.handle = self.handle, None
        if handle is not None:
            self.pool.give(handle)


@dataclass(eq=False)
class Part:
    """The ids of one feature, and what a backward pass gives for them: one part of a step."""

    rows: Embedding
    ids: torch.Tensor
    """Contiguous int64 of one dimension, in main memory."""
    gradient: torch.Tensor
    """float32 of shape (ids or bags, dim), in main memory. There may be gaps between its rows."""
    bags: Bags | None
    call: Call
    place: int
    """The number of this part in the handle of call."""

    def pair(self) -> Pair:
        """Its ids, and a gradient for each."""
        gradient, bags = self.gradient, self.bags
        if bags is None:
            return self.ids, gradient.contiguous()
        ids, padding = self.ids, self.rows.padding_key
        if bags.pooling == "mean":
            divisors = bags.counts(ids, padding).clamp(min=1)
            gradient = gradient / divisors.unsqueeze(1)
        sizes = bags.ends(ids.numel()) - bags.begins
        each = torch.repeat_interleave(gradient, sizes, dim=0)
        if bags.weights is not None:
            each *= bags.weights.unsqueeze(1)
        if padding is not None:
            # Padding has no gradient, whatever its weight is, even NaN.
            each.masked_fill_((ids == padding).unsqueeze(1), 0)
        return ids, each


Handed = Union[Pair, Part]
"""What a layer or a collection hands over in a backward pass."""


def group_of(rows: Embedding) -> tuple[Any, ...]:
    """Equal for embeddings whose gradients can be applied together."""
    conditions = tuple(sorted(rows._conditions.items()))
    return id(rows.storage), rows.group, rows.duplicates, rows.padding_key, conditions


def apply(rows: Embedding, pairs: Pairs) -> None:
    """One step with the gradients of all pairs. Raises as damo.Embedding.apply_gradients does."""
    ids, gradients = pairs[0] if len(pairs) == 1 else (torch.cat(some) for some in zip(*pairs))
    _c_api.damo_embedding_apply_gradients(
        rows._use(), ids.data_ptr(), ids.numel(), gradients.data_ptr(), gradients.numel()
    )


def pairs_of(handed: Sequence[Handed]) -> Pairs:
    """Pairs of ids and gradients."""
    return [one.pair() if isinstance(one, Part) else one for one in handed]


def gradients_of(handed: Sequence[Handed]) -> list[torch.Tensor]:
    return [one.gradient if isinstance(one, Part) else one[1] for one in handed]


def memory_of(rows: torch.Tensor) -> Rows:
    """Where the rows of a float32 matrix are. There may be gaps between them."""
    count, dim = rows.shape
    stride = rows.stride(0) if count > 1 else dim
    return rows.data_ptr(), (count - 1) * stride + dim if count else 0, stride


def add(handle: StepHandle, rows: Embedding, ids: torch.Tensor, bags: Bags | None) -> None:
    """Adds a part to a handle. Raises damo.InvalidArgumentError for bags that are none."""
    if bags is None:
        handle._add_keys(rows, ids.data_ptr(), ids.numel())
        return
    begins, weights = bags.begins, bags.weights
    handle._add_bags(
        rows,
        ids.data_ptr(),
        ids.numel(),
        begins.data_ptr(),
        begins.numel(),
        False,
        bags.pooling,
        None if weights is None else weights.data_ptr(),
    )


_Step = TypeVar("_Step")


def transactions(
    steps: Sequence[_Step], rows_of: Callable[[_Step], Embedding]
) -> list[list[_Step]]:
    """steps, grouped by transaction: one for each storage.

    Two embeddings of one group, with another padding, duplicates or limits, are in different ones.
    """
    made: dict[int, list[dict[int, _Step]]] = {}
    for step in steps:
        rows = rows_of(step)
        known = made.setdefault(id(rows.storage), [])
        free = next((one for one in known if rows.group not in one), None)
        if free is None:
            free = {}
            known.append(free)
        free[rows.group] = step
    return [list(one.values()) for known in made.values() for one in known]


_pools: weakref.WeakKeyDictionary[Embedding, StepPool] = weakref.WeakKeyDictionary()
"""The handles for layers that are in no collection, by the rows that come first in a step."""


def apply_together(
    groups: Sequence[tuple[Embedding, Sequence[Handed]]], pool: StepPool | None
) -> None:
    """One step of different groups of one storage, in one transaction.

    groups: embeddings, and what was handed over for their groups.
    pool: where the handle comes from, unless there is a Part: its call has one. None: all groups
    are those of single layers.

    Raises as damo.Embedding.apply_gradients does.
    """
    parts = [(rows, one) for rows, handed in groups for one in handed]
    calls = (one.call for _, one in parts if isinstance(one, Part))
    call = next(calls, None)
    if call is None and len(groups) == 1 and not (pool and pool.options):
        rows, pairs = groups[0]
        apply(rows, pairs_of(pairs))
        return
    if call is None:
        call = Call(pool or _pools.setdefault(groups[0][0], StepPool()))
    handle = call.handle
    if handle is not None and _are_all_of(parts, call):
        parts.sort(key=lambda part: getattr(part[1], "place"))
        try:
            _step(handle, parts)
        finally:
            call.release()
        return
    handle = call.pool.take(groups[0][0].storage)
    try:
        for rows, one in parts:
            ids, bags = (one.ids, one.bags) if isinstance(one, Part) else (one[0], None)
            add(handle, rows, ids, bags)
        _step(handle, parts)
    finally:
        call.pool.give(handle)


def _are_all_of(parts: Sequence[tuple[Embedding, Handed]], call: Call) -> bool:
    """Whether these are all parts of the call's handle."""
    places = {one.place for _, one in parts if isinstance(one, Part) and one.call is call}
    return len(parts) == call.parts == len(places)


def _step(handle: StepHandle, parts: Sequence[tuple[Embedding, Handed]]) -> None:
    memory = [memory_of(one) for one in gradients_of([handed for _, handed in parts])]
    try:
        handle._apply(memory)
    except InvalidArgumentError as error:
        found = re.search(r"\bgradients\[(\d+)\], row (\d+)", str(error))
        if found is None or int(found[1]) >= len(parts):
            raise
        rows, one = parts[int(found[1])]
        ids = one[0] if isinstance(one, tuple) else one.ids if one.bags is None else None
        of = f"bag {found[2]}" if ids is None else f"key {int(ids[int(found[2])])}"
        text = str(error).replace(found[0], f"the gradient of {of} of {rows!r}")
        raise InvalidArgumentError(text) from None
