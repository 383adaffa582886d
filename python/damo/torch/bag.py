"""EmbeddingBag: the sum, mean or max of the rows of each bag."""

from __future__ import annotations

from typing import SupportsIndex

import torch

from .._choices import BagMode
from .._embedding import Embedding as Rows
from .._filter import Filter
from .._storage import Storage
from ..initializers import Initializer
from ..optimizers import Optimizer
from ._ids import check_weights, first_places
from ._names import names_arguments
from ._pooling import pool, weigh
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
        # flat is int64, which holds any padding_idx; int32 may not.
        padded = None if self.padding_idx is None else flat == self.padding_idx
        weighted = weigh(rows, padded, per_sample_weights)
        if ids.dim() == 2 and self.mode == "sum":
            return weighted.view(*ids.shape, self.embedding_dim).sum(1).to(rows.dtype)
        return pool(weighted, begins, padded, self.mode).to(rows.dtype)
