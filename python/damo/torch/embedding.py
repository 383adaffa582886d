"""Layers with rows in a storage: Embedding and EmbeddingBag, as torch.nn's, without a number of embeddings."""

from __future__ import annotations

import warnings
from typing import Any, SupportsIndex

import torch
from torch import nn
from torch.nn import functional

from .._arrays import key
from .._choices import BagMode
from .._embedding import Embedding as Rows
from .._filter import Filter
from .._storage import Storage
from ..initializers import Initializer
from ..optimizers import Optimizer
from ._readers import StorageReader, TableReader


def _open(
    storage_or_embedding: Storage | Rows,
    name_or_group: str | SupportsIndex | None,
    dim: SupportsIndex | None,
    optimizer: Optimizer | None,
    initializer: Initializer | None,
    padding_idx: SupportsIndex | None,
    filter: Filter | None,
) -> Rows:
    if isinstance(storage_or_embedding, Storage):
        if name_or_group is None or dim is None or optimizer is None:
            raise TypeError("damo.torch: with a storage, name_or_group, dim and optimizer are needed, too")
        return storage_or_embedding.embedding(
            name_or_group,
            dim=dim,
            optimizer=optimizer,
            initializer=initializer,
            duplicates="sum",
            padding_key=padding_idx,
            filter=filter,
        )
    if not isinstance(storage_or_embedding, Rows):
        raise TypeError(
            f"damo.torch: a damo.Storage or damo.Embedding is needed, not {type(storage_or_embedding).__name__}"
        )
    if any(value is not None for value in (name_or_group, dim, optimizer, initializer, filter)):
        raise TypeError("damo.torch: a damo.Embedding has its group, dim, optimizer, initializer and filter already")
    rows = storage_or_embedding
    if rows.duplicates == "sequential":
        raise ValueError(
            "damo.torch: this damo.Embedding steps once for every occurrence of a key (duplicates='sequential'), and "
            "torch sums their gradients; open it with duplicates='sum' (or 'mean')"
        )
    if padding_idx is not None and rows.padding_key != key(padding_idx, "padding_idx"):
        raise ValueError(
            f"damo.torch: padding_idx is {padding_idx}, and the damo.Embedding was opened with padding_key "
            f"{rows.padding_key}; give padding_key={padding_idx} to storage.embedding"
        )
    return rows


def check_ids(ids: Any, what: str = "ids") -> None:
    """TypeError for anything but integers of 64 or 32 bits."""
    if not isinstance(ids, torch.Tensor):
        raise TypeError(f"damo.torch: {what} must be a torch.Tensor of int64, not {type(ids).__name__}")
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"damo.torch: {what} must be a torch.Tensor of int64 (or int32), not {ids.dtype}")


def check_offsets(offsets: Any, ids: int, include_last_offset: bool) -> None:
    """Where bags begin in so many ids: from 0, never going back."""
    check_ids(offsets, "offsets")
    if offsets.dim() != 1:
        raise ValueError(f"damo.torch: offsets has shape {tuple(offsets.shape)}; one dimension is needed")
    places = offsets.tolist() if offsets.numel() <= 1 else [int(offsets[0]), int(offsets[-1])]
    if (places and (places[0] != 0 or places[-1] > ids)) or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError(f"damo.torch: offsets must go from 0 to at most {ids}, the number of ids, and never back")
    if include_last_offset and not places:
        raise ValueError("damo.torch: offsets is empty; with include_last_offset it has the end of the last bag")


def flat_ids(ids: torch.Tensor) -> torch.Tensor:
    """ids as a contiguous int64 vector in main memory, without a copy where it is one."""
    check_ids(ids)
    return ids.detach().to(torch.int64).reshape(-1).cpu().contiguous()


class Layer(nn.Module):
    """What both layers have: where rows come from, and what a state_dict says about them."""

    def __init__(
        self,
        storage_or_embedding: Storage | Rows,
        name_or_group: str | SupportsIndex | None = None,
        dim: SupportsIndex | None = None,
        *,
        optimizer: Optimizer | None = None,
        initializer: Initializer | None = None,
        padding_idx: SupportsIndex | None = None,
        filter: Filter | None = None,
    ) -> None:
        super().__init__()
        rows = _open(storage_or_embedding, name_or_group, dim, optimizer, initializer, padding_idx, filter)
        self.reader: StorageReader | TableReader = StorageReader(rows)
        # No element and no gradient: it is there for requires_grad_ of this module and of those that it is in.
        self.anchor = nn.Parameter(torch.zeros(0))

    @property
    def embedding_dim(self) -> int:
        """The number of weights a row."""
        return self.reader.dim

    @property
    def padding_idx(self) -> int | None:
        """The id that reads as zeros and whose gradients are dropped."""
        return self.reader.padding_idx

    @property
    def rows(self) -> Rows:
        """The damo.Embedding. TypeError for a layer that was loaded for serving."""
        if not isinstance(self.reader, StorageReader):
            raise TypeError("damo.torch: this layer was loaded for serving and has no storage")
        return self.reader.rows

    def prefetch(self, ids: torch.Tensor) -> None:
        """Brings the rows of ids, of any shape, into memory in the background; creates none."""
        self.reader.prefetch(flat_ids(ids))

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.reader!r}{padding}"

    def _read(self, ids: torch.Tensor) -> torch.Tensor:
        return self.reader.read(flat_ids(ids), self.training, self.anchor)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.pop(prefix + "anchor", None)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        super()._load_from_state_dict({**state_dict, prefix + "anchor": self.anchor}, prefix, *arguments)

    # A state_dict has where the rows are and which state they are in: the storage has its own checkpoints.

    def get_extra_state(self) -> dict[str, Any]:
        if not isinstance(self.reader, StorageReader):
            return {"version": 1, "group": self.reader.group, "dim": self.reader.dim}
        rows = self.reader.rows
        return {
            "version": 1,
            "storage": rows.storage.path,
            "group": rows.group,
            "name": rows.name,
            "dim": rows.dim,
            "optimizer": rows.optimizer.name,
            "step": rows.step,
            "checkpoint": rows.storage.checkpoint_id,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        mine = self.get_extra_state()
        if not isinstance(state, dict) or state.get("version") != 1 or not {"group", "dim"} <= set(state):
            raise ValueError(f"damo.torch: a state_dict of this layer has group, dim and version 1 in it, and not {state!r}")
        both_named = state.get("name") is not None and mine.get("name") is not None
        for field in ("name" if both_named else "group", "dim", "optimizer"):
            if field in state and field in mine and state[field] != mine[field]:
                raise ValueError(
                    f"damo.torch: the state_dict is of rows with {field} {state[field]!r}, and these have {mine[field]!r}"
                )
        for field in ("checkpoint", "step"):
            if field in state and field in mine and state[field] != mine[field]:
                warnings.warn(
                    f"damo.torch: the state_dict was saved with the rows at step {state.get('step')} (checkpoint "
                    f"{state.get('checkpoint')}), and {self.reader!r} is at step {mine['step']} (checkpoint "
                    f"{mine['checkpoint']}); to continue from one moment, call storage.load_from_checkpoint first",
                    stacklevel=2,
                )
                return


class Embedding(Layer):
    """As torch.nn.Embedding with rows in a storage: ids are any int64 numbers, and rows are made when first seen.

    Made of a storage, a group's name or number, dim and an optimizer (initializer, padding_idx, filter as in
    Storage.embedding), or of a damo.Embedding with duplicates "sum" or "mean". In training mode backward applies gradients,
    coalesced, or keeps them for a SparseOptimizer; the only parameter, without elements, is what requires_grad_(False) freezes. In eval mode ids without a row read as zeros, and
    nothing is created. padding_idx is an id itself, -1 too.
    """

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: int64 (or int32) of any shape; float32 of shape ids.shape + (embedding_dim,), on the device of ids."""
        rows = self._read(ids)
        return rows.to(ids.device).view(*ids.shape, self.embedding_dim)


class EmbeddingBag(Layer):
    """As torch.nn.EmbeddingBag: the sum, mean or max of the rows of each bag. padding_idx is left out of bags."""

    def __init__(
        self,
        storage_or_embedding: Storage | Rows,
        name_or_group: str | SupportsIndex | None = None,
        dim: SupportsIndex | None = None,
        *,
        optimizer: Optimizer | None = None,
        initializer: Initializer | None = None,
        padding_idx: SupportsIndex | None = None,
        filter: Filter | None = None,
        mode: BagMode = "mean",
        include_last_offset: bool = False,
    ) -> None:
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"damo.torch: mode is {mode!r}; it must be 'sum', 'mean' or 'max'")
        super().__init__(
            storage_or_embedding,
            name_or_group,
            dim,
            optimizer=optimizer,
            initializer=initializer,
            padding_idx=padding_idx,
            filter=filter,
        )
        self.mode, self.include_last_offset = mode, include_last_offset

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"

    def forward(
        self, ids: torch.Tensor, offsets: torch.Tensor | None = None, per_sample_weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """ids: (bags, size), or (n,) with offsets, where each bag begins. float32 of shape (bags, embedding_dim).

        per_sample_weights: a factor for each id, of its shape; mode "sum" only.
        """
        self._check(ids, offsets, per_sample_weights)
        rows = self._read(ids).to(ids.device)
        if ids.dim() == 2 and self.mode == "sum":
            bags = rows.view(*ids.shape, self.embedding_dim)
            return (bags if per_sample_weights is None else self._weighted(bags, ids, per_sample_weights)).sum(1)
        return self._pool(rows, ids, offsets, per_sample_weights)

    def _check(
        self, ids: torch.Tensor, offsets: torch.Tensor | None, per_sample_weights: torch.Tensor | None
    ) -> None:
        """Before rows are made."""
        check_ids(ids)
        if ids.dim() == 2 and offsets is not None:
            raise ValueError("damo.torch: offsets are for ids of one dimension; rows of two are bags already")
        if ids.dim() not in (1, 2) or (ids.dim() == 1 and offsets is None):
            raise ValueError(
                f"damo.torch: ids has shape {tuple(ids.shape)}; (bags, size), or (n,) with offsets, is needed"
            )
        if offsets is not None:
            check_offsets(offsets, ids.numel(), self.include_last_offset)
        if per_sample_weights is None:
            return
        if self.mode != "sum":
            raise ValueError(f"damo.torch: per_sample_weights are for mode 'sum', not {self.mode!r}")
        if not isinstance(per_sample_weights, torch.Tensor) or per_sample_weights.dtype != torch.float32:
            found = getattr(per_sample_weights, "dtype", type(per_sample_weights).__name__)
            raise TypeError(f"damo.torch: per_sample_weights must be a torch.Tensor of float32, not {found}")
        if per_sample_weights.shape != ids.shape:
            raise ValueError(
                f"damo.torch: per_sample_weights has shape {tuple(per_sample_weights.shape)} and ids {tuple(ids.shape)}"
            )

    def _weighted(self, rows: torch.Tensor, ids: torch.Tensor, per_sample_weights: torch.Tensor) -> torch.Tensor:
        """rows, of shape ids.shape + (embedding_dim,), times their weights; padding is left out, whatever its weight."""
        if self.padding_idx is not None:
            per_sample_weights = per_sample_weights.masked_fill(ids == self.padding_idx, 0)
        return rows * per_sample_weights.unsqueeze(-1)

    def _pool(
        self,
        rows: torch.Tensor,
        ids: torch.Tensor,
        offsets: torch.Tensor | None,
        per_sample_weights: torch.Tensor | None,
    ) -> torch.Tensor:
        if rows.shape[0] == 0:
            empty = (len(offsets) - self.include_last_offset) if offsets is not None else ids.shape[0]
            return rows.new_zeros((empty, self.embedding_dim)) + rows.sum()
        if per_sample_weights is not None and offsets is not None and not rows.requires_grad:
            # torch 1.13 asserts that rows have gradients where their weights have.
            ends = offsets[1:] if self.include_last_offset else torch.cat([offsets[1:], offsets.new_tensor([len(rows)])])
            counts = ends - offsets[: len(ends)]
            bags = torch.repeat_interleave(torch.arange(len(ends), device=ids.device), counts.to(torch.int64))
            weighted = self._weighted(rows, ids, per_sample_weights)[: len(bags)]
            return rows.new_zeros((len(ends), self.embedding_dim)).index_add(0, bags, weighted)
        # The rows of this call are the table, and each position its own row.
        places = torch.arange(rows.shape[0], device=ids.device)
        padding = None
        if self.padding_idx is not None:
            padded = ids.reshape(-1) == self.padding_idx
            if bool(padded.any()):
                padding = int(padded.nonzero()[0])
                places = places.masked_fill(padded, padding)
        return functional.embedding_bag(
            places.view(ids.shape),
            rows,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=padding,
        )
