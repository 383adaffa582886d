"""Where a layer's rows come from: a group of an open storage, or a table for serving. Flat ids in, rows out.

Knows tensors and addresses, and nothing of layers: what a bag is, is embedding.py's.
"""

from __future__ import annotations

import math
from typing import Any, Callable

import torch
from torch.autograd.function import once_differentiable

from .. import _c_api
from .._embedding import Embedding
from .._table import Table


def _not_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile breaks the graph here and calls the function as it is: it is foreign code with effects."""
    compiler = getattr(torch, "compiler", None)
    disable = getattr(compiler, "disable", None)
    return function if disable is None else disable(function)


def _is_autocast_to_half() -> bool:
    if not hasattr(torch, "get_autocast_dtype"):  # Before torch 2.4 only GPUs have float16.
        return torch.is_autocast_enabled() and torch.get_autocast_gpu_dtype() == torch.float16
    devices = ("cpu", "cuda", "xpu", "mps")
    return any(torch.is_autocast_enabled(on) and torch.get_autocast_dtype(on) == torch.float16 for on in devices)


def check_scaling(applies_in_backward: bool) -> None:
    """Scaled gradients that are applied in backward would be steps of the wrong size, without a word."""
    if applies_in_backward and _is_autocast_to_half():
        raise RuntimeError(
            "damo.torch: under autocast to float16 losses are scaled, and gradients would be applied scaled. Make a "
            "damo.torch.SparseOptimizer(model) and step it with the GradScaler (scaler.step(sparse)), or use bfloat16"
        )


class _Lookup(torch.autograd.Function):
    """Rows of ids; backward hands their gradients to the reader. anchor is there to have a gradient asked for."""

    @staticmethod
    def forward(ctx: Any, _anchor: torch.Tensor, ids: torch.Tensor, reader: "StorageReader") -> torch.Tensor:
        ctx.save_for_backward(ids)  # So that torch says when ids was changed in place in between.
        ctx.reader = reader
        return reader._lookup(ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: torch.Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        ctx.reader._take(ids, gradients.to(torch.float32).contiguous())
        return None, None, None


class StorageReader:
    """Rows of a group. Gradients are applied in backward, or kept for a SparseOptimizer."""

    def __init__(self, rows: Embedding) -> None:
        self.rows = rows
        self.dim = rows.dim
        self.padding_idx = rows.padding_key
        self.deferred = False
        self.pending: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.marker = torch.zeros(1)
        """What a SparseOptimizer shows to torch in place of the rows. Its gradient stands for those that are pending: none, 1, or
        infinity when one of them is not finite; a GradScaler looks at it, and unscales it."""
        self._anchor = torch.zeros((), requires_grad=True)

    @_not_compiled
    def read(self, ids: torch.Tensor, training: bool) -> torch.Tensor:
        """float32 of shape (ids.numel(), dim). ids: contiguous int64 in main memory. Creates nothing unless training."""
        if not training:
            out = torch.empty((ids.numel(), self.dim), dtype=torch.float32)
            _c_api.damo_embedding_peek(self.rows._use(), ids.data_ptr(), ids.numel(), out.data_ptr(), out.numel(), None)
            return out
        if torch.is_grad_enabled():
            check_scaling(not self.deferred)
        return _Lookup.apply(self._anchor, ids, self)

    def _lookup(self, ids: torch.Tensor) -> torch.Tensor:
        out = torch.empty((ids.numel(), self.dim), dtype=torch.float32)
        _c_api.damo_embedding_lookup(self.rows._use(), ids.data_ptr(), ids.numel(), out.data_ptr(), out.numel())
        return out

    def _take(self, ids: torch.Tensor, gradients: torch.Tensor) -> None:
        if self.deferred:
            # Copies: the tensors are torch's, and may be reused after backward.
            self.pending.append((ids.clone(), gradients.clone()))
            is_finite = bool(gradients.sum().isfinite()) or bool(gradients.isfinite().all())
            if self.marker.grad is None or not is_finite:
                self.marker.grad = torch.full((1,), 1.0 if is_finite else math.inf)
        else:
            apply(self.rows, ids, gradients)

    @property
    def has_infinite(self) -> bool:
        """Whether a gradient that is pending is not finite."""
        return self.marker.grad is not None and not bool(self.marker.grad.isfinite())

    @property
    def factor(self) -> float:
        """What pending gradients are to be multiplied with: 1, or less after GradScaler.unscale_."""
        return 1.0 if self.marker.grad is None or self.has_infinite else float(self.marker.grad)

    def drop(self) -> None:
        """Forgets the gradients that are pending."""
        self.pending.clear()
        self.marker.grad = None

    def prefetch(self, ids: torch.Tensor) -> None:
        _c_api.damo_embedding_prefetch(self.rows._use(), ids.data_ptr(), ids.numel())

    def __repr__(self) -> str:
        return repr(self.rows)


def apply(rows: Embedding, ids: torch.Tensor, gradients: torch.Tensor) -> None:
    """One step with gradients, contiguous float32 of shape (ids.numel(), dim)."""
    _c_api.damo_embedding_apply_gradients(
        rows._use(), ids.data_ptr(), ids.numel(), gradients.data_ptr(), gradients.numel()
    )


class TableReader:
    """Rows of a table that was made for serving. Pickled without the table, which load_for_serving opens."""

    deferred = False

    def __init__(self, file: str, group: int, dim: int, padding_idx: int | None) -> None:
        self.file, self.group, self.dim, self.padding_idx = file, group, dim, padding_idx
        self.table: Table | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "table": None}

    @_not_compiled
    def read(self, ids: torch.Tensor, training: bool) -> torch.Tensor:
        if self.table is None:
            raise RuntimeError("damo.torch: this model was saved for serving; open it with damo.torch.load_for_serving")
        if training:
            raise RuntimeError("damo.torch: this model is for serving, its rows are read-only; call model.eval()")
        out = torch.empty((ids.numel(), self.dim), dtype=torch.float32)
        _c_api.damo_table_lookup(self.table._use(), self.group, ids.data_ptr(), ids.numel(), out.data_ptr(), out.numel(), None)
        return out

    def prefetch(self, ids: torch.Tensor) -> None:
        pass

    def __repr__(self) -> str:
        return f"<table {self.file!r}, group {self.group}, dim {self.dim}>"
