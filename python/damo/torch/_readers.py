"""Where a layer's rows come from: a group of an open storage, or a table for serving. Flat ids in, rows out.

Knows tensors and addresses, and nothing of layers: what a bag is, is embedding.py's.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Any, Callable

import torch
from torch.autograd.function import once_differentiable

from .. import _c_api
from .._copies import refusal_of_model
from .._embedding import Embedding
from .._table import Table
from ._passes import is_finite, passes


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


def refuse_tracing() -> None:
    """A trace would have the numbers of this call for ever."""
    if torch.jit.is_tracing():
        raise RuntimeError("damo.torch: torch.jit.trace cannot record a layer whose rows are in a storage or a table")


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


@dataclass
class Pending:
    """Gradients that wait for a SparseOptimizer."""

    pairs: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    """Ids, and gradients of shape (ids.numel(), dim)."""
    factor: float = 1.0
    """What they are to be multiplied with: 1, or less after GradScaler.unscale_."""
    has_infinite: bool = False


class StorageReader:
    """Rows of a group. Gradients are applied in backward, or kept for a SparseOptimizer."""

    def __init__(self, rows: Embedding) -> None:
        self.rows = rows
        self.dim = rows.dim
        self.padding_idx = rows.padding_key
        self.collectors = 0
        """SparseOptimizers that collect its gradients."""
        self.pending = Pending()
        self.marker = torch.zeros(1, dtype=torch.float32, device="cpu")
        """What a SparseOptimizer shows to torch in place of the rows. Its gradient stands for those that are pending: none, 1, or
        infinity when one of them is not finite; a GradScaler looks at it, and unscales it."""
        self._lock = threading.Lock()

    @_not_compiled
    def read(self, ids: torch.Tensor, training: bool, anchor: torch.Tensor) -> torch.Tensor:
        """float32 of shape (ids.numel(), dim), which has gradients where anchor has. ids: contiguous int64 in main memory.

        Creates nothing unless training.
        """
        refuse_tracing()
        if not training:
            out = torch.empty((ids.numel(), self.dim), dtype=torch.float32, device="cpu")
            _c_api.damo_embedding_peek(self.rows._use(), ids.data_ptr(), ids.numel(), out.data_ptr(), out.numel(), None)
            return out
        if torch.is_grad_enabled() and anchor.requires_grad:
            check_scaling(self.collectors == 0)
        return _Lookup.apply(anchor, ids, self)

    def _lookup(self, ids: torch.Tensor) -> torch.Tensor:
        out = torch.empty((ids.numel(), self.dim), dtype=torch.float32, device="cpu")
        _c_api.damo_embedding_lookup(self.rows._use(), ids.data_ptr(), ids.numel(), out.data_ptr(), out.numel())
        return out

    def _take(self, ids: torch.Tensor, gradients: torch.Tensor) -> None:
        if not self.collectors:
            passes.take(self.rows, ids, gradients)
            return
        finite = is_finite(gradients)
        # Copies: the tensors are torch's, and may be reused after backward.
        pair = ids.clone(), gradients.clone()
        with self._lock:
            self.pending.pairs.append(pair)
            if self.marker.grad is None or not finite:
                self.marker.grad = torch.full((1,), 1.0 if finite else math.inf, dtype=torch.float32, device="cpu")

    def give(self) -> Pending:
        """What is pending, which is not any more."""
        with self._lock:
            given, self.pending = self.pending, Pending()
            if self.marker.grad is not None:
                given.has_infinite = self.has_infinite
                given.factor = 1.0 if given.has_infinite else float(self.marker.grad)
            self.marker.grad = None
        return given

    def take_back(self, given: Pending) -> None:
        """What was given and not applied."""
        with self._lock:
            if given.pairs:
                self.pending.pairs = given.pairs + self.pending.pairs
                self.marker.grad = torch.full(
                    (1,), math.inf if given.has_infinite else given.factor, dtype=torch.float32, device="cpu"
                )

    @property
    def has_infinite(self) -> bool:
        """Whether a gradient that is pending is not finite."""
        return self.marker.grad is not None and not bool(self.marker.grad.isfinite())

    def __reduce__(self) -> str:
        raise refusal_of_model(self.rows.storage.path)

    def prefetch(self, ids: torch.Tensor) -> None:
        _c_api.damo_embedding_prefetch(self.rows._use(), ids.data_ptr(), ids.numel())

    def __repr__(self) -> str:
        return repr(self.rows)


class TableReader:
    """Rows of a table that was made for serving, which load_for_serving opens.

    A copy has the same file open.
    """

    def __init__(self, file: str, group: int, dim: int, padding_idx: int | None) -> None:
        self.file, self.group, self.dim, self.padding_idx = file, group, dim, padding_idx
        self.table: Table | None = None

    @_not_compiled
    def read(self, ids: torch.Tensor, training: bool, anchor: torch.Tensor) -> torch.Tensor:
        refuse_tracing()
        if self.table is None:
            raise RuntimeError("damo.torch: this model was saved for serving; open it with damo.torch.load_for_serving")
        if training:
            raise RuntimeError("damo.torch: this model is for serving, its rows are read-only; call model.eval()")
        out = torch.empty((ids.numel(), self.dim), dtype=torch.float32, device="cpu")
        _c_api.damo_table_lookup(self.table._use(), self.group, ids.data_ptr(), ids.numel(), out.data_ptr(), out.numel(), None)
        if self.padding_idx is not None:
            # A row of it there may be, from an embedding that was opened without padding.
            out[ids == self.padding_idx] = 0
        return out

    def prefetch(self, ids: torch.Tensor) -> None:
        pass

    def __repr__(self) -> str:
        return f"<table {self.file!r}, group {self.group}, dim {self.dim}>"
