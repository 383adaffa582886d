"""What becomes of gradients: applied to rows, each group's in one step, when the backward pass that they come from ends.

Knows embeddings and tensors, and nothing of layers.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch

from .. import _c_api
from .._embedding import Embedding


def group_of(rows: Embedding) -> tuple[Any, ...]:
    """Equal for embeddings whose gradients can be applied together."""
    return id(rows.storage), rows.group, rows.duplicates, rows.padding_key


def apply(rows: Embedding, ids: torch.Tensor, gradients: torch.Tensor) -> None:
    """One step with gradients, contiguous float32 of shape (ids.numel(), dim)."""
    _c_api.damo_embedding_apply_gradients(
        rows._use(), ids.data_ptr(), ids.numel(), gradients.data_ptr(), gradients.numel()
    )


def is_finite(gradients: torch.Tensor) -> bool:
    """Whether all of them are. A sum is quick, and may overflow."""
    return bool(gradients.sum().isfinite()) or bool(gradients.isfinite().all())


class _Pass:
    """The gradients of one backward pass. When it ends they are applied, each group's in one step."""

    def __init__(self) -> None:
        self._taken: dict[tuple[Any, ...], list[tuple[Embedding, torch.Tensor, torch.Tensor]]] = {}

    def take(self, rows: Embedding, ids: torch.Tensor, gradients: torch.Tensor) -> None:
        self._taken.setdefault(group_of(rows), []).append((rows, ids, gradients))

    def end(self) -> None:
        # Those that will be refused first, so that they are before anything has changed.
        groups = sorted(self._taken.values(), key=lambda taken: all(is_finite(gradients) for _, _, gradients in taken))
        for taken in groups:
            rows, ids, gradients = taken[0]
            if len(taken) > 1:
                ids = torch.cat([ids for _, ids, _ in taken])
                gradients = torch.cat([gradients for _, _, gradients in taken])
            apply(rows, ids, gradients)


class Passes:
    """Backward passes that are under way. One that fails is forgotten, and its gradients with it, as torch forgets its own."""

    def __init__(self) -> None:
        # torch alone keeps a pass, as what it is to call at the end.
        self._passes: weakref.WeakValueDictionary[Any, _Pass] = weakref.WeakValueDictionary()

    def take(self, rows: Embedding, ids: torch.Tensor, gradients: torch.Tensor) -> None:
        number = _graph_task()
        current = self._passes.get(number)
        if current is None:
            current = self._passes[number] = _Pass()
            torch.autograd.Variable._execution_engine.queue_callback(current.end)
        current.take(rows, ids, gradients)


def _graph_task() -> Any:
    """Which backward pass this is called in; before torch 2.0 the thread tells."""
    number = getattr(torch._C, "_current_graph_task_id", None)
    return threading.get_ident() if number is None else number()


passes = Passes()
