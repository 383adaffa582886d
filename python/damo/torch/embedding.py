"""Embedding, as torch.nn.Embedding but for any ids, and Layer, the base class of both layers."""

from __future__ import annotations

from typing import Any, SupportsIndex

import torch
from torch import nn

from .._arrays import key
from .._embedding import Embedding as Rows
from .._filter import Filter
from .._storage import Storage
from ..initializers import Initializer
from ..optimizers import Optimizer
from ._device import send
from ._ids import flat_ids
from ._names import TorchNames, begin, names_arguments
from ._pretrained import FromPretrained
from ._readers import StorageReader, TableReader
from ._shown import SHAPE
from ._state import RowsState


def _open(
    storage_or_embedding: Storage | Rows,
    name_or_group: str | SupportsIndex | None,
    dim: SupportsIndex | None,
    optimizer: Optimizer | None,
    initializer: Initializer | None,
    padding_idx: SupportsIndex | None,
    filter: Filter | None,
) -> Rows:
    """The rows of a layer with these arguments. Raises TypeError or ValueError for wrong ones."""
    if isinstance(storage_or_embedding, Storage):
        if name_or_group is None or dim is None or optimizer is None:
            raise TypeError(
                "damo.torch: with a storage, name_or_group, dim and optimizer are needed, too"
            )
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
            "damo.torch: a damo.Storage or damo.Embedding is needed, not "
            f"{type(storage_or_embedding).__name__}"
        )
    if any(value is not None for value in (name_or_group, dim, optimizer, initializer, filter)):
        raise TypeError(
            "damo.torch: a damo.Embedding has its group, dim, optimizer, initializer and filter "
            "already"
        )
    rows = storage_or_embedding
    if rows.duplicates == "sequential":
        raise ValueError(
            "damo.torch: this damo.Embedding steps once for every occurrence of a key "
            "(duplicates='sequential'), and torch sums their gradients; open it with "
            "duplicates='sum' (or 'mean')"
        )
    if padding_idx is not None and rows.padding_key != key(padding_idx, "padding_idx"):
        raise ValueError(
            f"damo.torch: padding_idx is {padding_idx}, and the damo.Embedding was opened with "
            f"padding_key {rows.padding_key}; give padding_key={padding_idx} to storage.embedding"
        )
    return rows


def _checked(dtype: torch.dtype) -> torch.dtype:
    """dtype, if a layer can return rows in it; otherwise raises TypeError."""
    if dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise TypeError(
            f"damo.torch: rows cannot be {dtype}; they are float32, float64, float16 or bfloat16"
        )
    return dtype


class Layer(TorchNames, RowsState):
    """The base class of both layers, which reads rows."""

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
        dtype: torch.dtype | None = None,
        fresh: bool = False,
        num_embeddings: SupportsIndex | None = None,
    ) -> None:
        super().__init__()
        dtype = _checked(torch.get_default_dtype() if dtype is None else dtype)
        rows = _open(
            storage_or_embedding, name_or_group, dim, optimizer, initializer, padding_idx, filter
        )
        reader = StorageReader(rows)
        self.reader: StorageReader | TableReader = reader
        # The anchor stands for the rows: its requires_grad freezes them, its gradient has the norms
        # of theirs, and its dtype is the layer's. Its values are zeros, and mean nothing.
        self.anchor = nn.Parameter(torch.zeros(SHAPE, dtype=dtype, device="cpu"))
        reader.gradients.attach(self.anchor)
        begin(self, fresh, num_embeddings)

    @property
    def embedding_dim(self) -> int:
        """The number of weights in a row."""
        return self.reader.dim

    @property
    def padding_idx(self) -> int | None:
        """The id that reads as zeros and whose gradients are dropped; None: no id does."""
        return self.reader.padding_idx

    @property
    def rows(self) -> Rows:
        """The layer's damo.Embedding. AttributeError for a layer that was loaded for serving."""
        if not isinstance(self.reader, StorageReader):
            raise AttributeError("rows")  # TorchNames says why.
        return self.reader.rows

    def prefetch(self, ids: torch.Tensor) -> None:
        """Brings the rows of ids, int64 or int32 of any shape, into memory in the background.

        Returns at once, and makes no row.
        """
        self.reader.prefetch(flat_ids(ids))

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.reader!r}{padding}"

    def _dtype(self) -> torch.dtype:
        """The dtype of the rows that forward returns. Raises TypeError if it is not supported."""
        return _checked(self.anchor.dtype)

    def _read(self, ids: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The rows of flat ids in the layer's dtype on device."""
        anchor = self.anchor
        dtype = _checked(anchor.dtype)
        rows, sent = self.reader.read(ids, self.training, anchor, device)
        if dtype is torch.float32 and device.type == "cpu":
            return rows
        if device.type == "cuda":
            rows = send(rows, device, sent)
            return rows if dtype is torch.float32 else rows.to(dtype)
        return rows.to(device=device, dtype=dtype)


class Embedding(FromPretrained, Layer):
    """As torch.nn.Embedding, with rows in a storage: ids are any int64 numbers.

    An id gets a row when it is first seen in train mode. In eval mode no row is made, and an id
    without a row reads as zeros. Rows are stepped by damo.torch.Optimizer or SparseOptimizer, or
    without either in backward. The only parameter, anchor, stands for them: requires_grad_(False)
    freezes them.

    Rows outlive the layer. A layer on a group that has rows, in a second run for instance, starts
    with them as they are.

    storage_or_embedding: a Storage, with name_or_group, dim and optimizer (and initializer,
    padding_idx and filter, as in Storage.embedding); or a damo.Embedding with duplicates "sum" or
    "mean", which has all of these.
    padding_idx: an id of any value that reads as zeros and whose gradients are dropped.
    dtype: the dtype of returned rows: float32, float64, float16 or bfloat16. None: torch's default
    when the layer is made. double() and the like change it. The storage keeps float32.
    fresh: True empties the group when the layer is made, for all its users. reset_parameters() does
    so later.
    num_embeddings: the value of the attribute, for code that reads it. It limits nothing.

    Raises TypeError for arguments of other types, ValueError for a damo.Embedding with duplicates
    "sequential" or another padding_key, and what Storage.embedding raises.
    """

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows of ids: ids.shape + (embedding_dim,) in the layer's dtype, on the device of ids.

        ids: int64 (or int32) of any shape. Raises TypeError for another dtype, and for a sparse or
        nested tensor.
        """
        flat = self.reader.flat(ids)
        rows = self._read(flat, ids.device)
        return rows if ids.dim() == 1 else rows.view(*ids.shape, self.embedding_dim)
