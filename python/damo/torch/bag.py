"""EmbeddingBag: the sum, mean or max of the rows of each bag."""

from __future__ import annotations

from typing import SupportsIndex

import torch
from torch.nn import functional

from .._choices import BagMode
from .._embedding import Embedding as Rows
from .._filter import Filter
from .._storage import Storage
from ..initializers import Initializer
from ..optimizers import Optimizer
from ._ids import check_weights, first_places
from ._names import names_arguments
from ._pretrained import BagFromPretrained
from ._tracers import not_compiled, refuse_tracers
from .embedding import Layer


class EmbeddingBag(BagFromPretrained, Layer):
    """As torch.nn.EmbeddingBag, with rows in a storage: each bag's sum, mean or max of its rows.

    A bag without ids is zeros, and padding_idx is left out of bags. Every id must be in a bag:
    offsets begin at 0, never go back, and with include_last_offset end with the number of ids.
    Other offsets are a ValueError, before a row is made.

    mode: "sum", "mean" or "max"; another one is a ValueError. The other arguments are those of
    Embedding.
    """

    @names_arguments
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
        dtype: torch.dtype | None = None,
        fresh: bool = False,
        num_embeddings: SupportsIndex | None = None,
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
            dtype=dtype,
            fresh=fresh,
            num_embeddings=num_embeddings,
        )
        self.mode, self.include_last_offset = mode, include_last_offset

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"

    def forward(
        self,
        ids: torch.Tensor,
        offsets: torch.Tensor | None = None,
        per_sample_weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The sum, mean or max of each bag: (bags, embedding_dim) in the layer's dtype.

        ids: int64 or int32, of shape (bags, size), or (n,) with offsets.
        offsets: int64 or int32 of shape (bags,), where each bag begins in ids; with
        include_last_offset of shape (bags + 1,).
        per_sample_weights: a factor for each id, of the layer's dtype; only for mode "sum".

        The result is on the device of ids. Raises TypeError for another dtype, ValueError for
        another shape or device and for offsets that leave an id in no bag, before a row is made.
        """
        return self._bags(ids, offsets, per_sample_weights)

    # The check reads the values of offsets, which would break a compiled graph anyway.
    @not_compiled
    def _bags(
        self,
        ids: torch.Tensor,
        offsets: torch.Tensor | None,
        per_sample_weights: torch.Tensor | None,
    ) -> torch.Tensor:
        # All checks come before the read, which makes rows.
        refuse_tracers(ids, offsets, per_sample_weights)
        begins = first_places(ids, offsets, self.include_last_offset)
        if per_sample_weights is not None:
            if self.mode != "sum":
                raise ValueError(
                    f"damo.torch: per_sample_weights are for mode 'sum', not {self.mode!r}"
                )
            check_weights(per_sample_weights, ids, self._dtype())
        flat = self.reader.flat(ids)
        rows = self._read(flat, ids.device)
        # Rows of 16 bits are summed in float32, as torch does on GPUs.
        summed = rows if rows.dtype == torch.float64 else rows.float()
        # flat is int64, which holds any padding_idx; int32 may not.
        padded = None if self.padding_idx is None else flat == self.padding_idx
        if per_sample_weights is not None:
            weights = per_sample_weights.reshape(-1)
            if padded is not None:
                # Padding is left out whatever its weight is, even NaN.
                weights = weights.masked_fill(padded.to(ids.device), 0)
            summed = summed * weights.to(summed.dtype).unsqueeze(-1)
        if ids.dim() == 2 and self.mode == "sum":
            return summed.view(*ids.shape, self.embedding_dim).sum(1).to(rows.dtype)
        return _pool(summed, begins, padded, self.mode).to(rows.dtype)


def _pool(
    rows: torch.Tensor, begins: torch.Tensor, padded: torch.Tensor | None, mode: BagMode
) -> torch.Tensor:
    """The sum, mean or max of each bag's rows that are not padding.

    begins: where each bag begins. padded: which rows are padding; None: none. Both are in main
    memory.
    """
    if padded is not None and bool(padded.any()):
        kept = ~padded
        # The number of kept rows before each row, and before the end.
        before = functional.pad(kept.cumsum(0, dtype=torch.int64), (1, 0))
        begins = before[begins]
        places = kept.nonzero().squeeze(1)
    else:
        places = torch.arange(rows.shape[0], dtype=torch.int64, device="cpu")
    if not places.numel() or not begins.numel():
        # Zeros that depend on no row, and still have a gradient function.
        return rows.new_zeros((begins.numel(), rows.shape[1])) + rows[:0].sum()
    # The rows of this call are the table, and the places of the kept ones are the ids.
    return functional.embedding_bag(
        places.to(rows.device), rows, begins.to(rows.device), mode=mode
    )
