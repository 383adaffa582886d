"""EmbeddingCollection and EmbeddingBagCollection: many features, read and stepped together."""

from __future__ import annotations

from typing import Any, Iterable

import torch

from .._choices import NonFinite
from .._storage import Storage
from ._collection import Collection, Output
from ._tables import TableConfig
from ._torchrec import names_collection_arguments


class EmbeddingCollection(Collection):
    """Tables in a storage, and features that read their rows: one lookup and one step for all.

    It is as a dict of damo.torch.Embedding layers, one for each table, but all features of a
    forward pass are read in one call, are one node of torch's graph, and in the fused mode are
    stepped in one transaction. Optimizers, clipping, checkpoints and serving see each table as a
    layer: tables["user"] has an anchor, rows and a mode (train or eval).

    If backward passes over single outputs come one after another, the graph of a forward pass can
    be retained until the first one that frees it. After that each other output has one pass left,
    even with retain_graph=True, where torch.nn's layers would allow more.

    storage: the damo.Storage of all tables.
    tables: a list of damo.torch.TableConfig. Several features may read one table.
    output: "dict", a tensor for each feature by its name; "tensor", one matrix
    (batch, sum of dims) with the features side by side, in the order of the tables.
    dtype, fresh: as for damo.torch.Embedding, for all tables. fresh empties groups once everything
    is checked.
    clip_value, clip_row_norm, clip_norm, non_finite: as for Storage.step, for every step in which
    the collection takes part: at the end of a backward pass, or that of an optimizer. clip_norm
    limits the norm over all rows of the step; dense parameters have no part in it, unlike in
    torch's clip_grad_norm_. Collections of one storage need the same options.

    Raises TypeError or ValueError, which name the table, for wrong arguments, and what
    Storage.embedding raises. Names, features, pooling and groups that two tables have are checked
    before a group is opened. If a later table is refused, new groups without rows may be left.
    """

    @names_collection_arguments
    def __init__(
        self,
        storage: Storage,
        tables: Iterable[TableConfig],
        *,
        output: Output = "dict",
        dtype: torch.dtype | None = None,
        fresh: bool = False,
        clip_value: float | None = None,
        clip_row_norm: float | None = None,
        clip_norm: float | None = None,
        non_finite: NonFinite | None = None,
    ) -> None:
        super().__init__(
            storage,
            tables,
            output=output,
            include_last_offset=False,
            dtype=dtype,
            fresh=fresh,
            options={
                "clip_value": clip_value,
                "clip_row_norm": clip_row_norm,
                "clip_norm": clip_norm,
                "non_finite": non_finite,
            },
        )

    def forward(self, features: Any) -> Any:
        """The rows of all features, on the devices of their ids.

        features: a dict of ids by the names of features, int64 or int32 of any shape: the results
        have the shape ids.shape + (dim,). Or an object like TorchRec's KeyedJaggedTensor, whose
        other keys are left out: the results have a row for each of its values. For output "tensor"
        each feature needs one id for each sample.

        Raises TypeError or ValueError, which name the feature, before a row is made.
        """
        return self._run(features)


class EmbeddingBagCollection(Collection):
    """As EmbeddingCollection, but each feature's rows are pooled in bags, as by EmbeddingBag.

    The tables' configs have the pooling: "sum", "mean" (the default) or "max". A bag without ids is
    zeros, and padding_idx is left out of bags. Every id must be in a bag.

    include_last_offset: whether offsets also have the number of ids at their end, as in
    torch.nn.EmbeddingBag.
    The other arguments are those of EmbeddingCollection.
    """

    _has_pooling = True

    @names_collection_arguments
    def __init__(
        self,
        storage: Storage,
        tables: Iterable[TableConfig],
        *,
        output: Output = "dict",
        include_last_offset: bool = False,
        dtype: torch.dtype | None = None,
        fresh: bool = False,
        clip_value: float | None = None,
        clip_row_norm: float | None = None,
        clip_norm: float | None = None,
        non_finite: NonFinite | None = None,
    ) -> None:
        super().__init__(
            storage,
            tables,
            output=output,
            include_last_offset=include_last_offset,
            dtype=dtype,
            fresh=fresh,
            options={
                "clip_value": clip_value,
                "clip_row_norm": clip_row_norm,
                "clip_norm": clip_norm,
                "non_finite": non_finite,
            },
        )

    def forward(self, features: Any) -> Any:
        """The bags of all features, (bags, dim) each, on the devices of their ids.

        features: a dict by the names of features. Each has ids of shape (bags, size), or a tuple
        (ids, offsets) as EmbeddingBag takes them, or, with pooling "sum", (ids, offsets, weights)
        (with ids of shape (bags, size) offsets is None), or an object like TorchRec's JaggedTensor.
        In place of the dict it may be an object like a KeyedJaggedTensor, whose other keys are left
        out, and whose weights are used if it has some.
        For output "tensor" all features need the same number of bags.

        Raises TypeError or ValueError, which name the feature, before a row is made.
        """
        return self._run(features)
