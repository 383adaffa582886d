"""from_pretrained: layers whose first rows are the weights of a tensor, an array or a module."""

from __future__ import annotations

from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import torch
from torch import nn

from .._arrays import integer
from .._choices import BagMode
from .._embedding import Embedding as Rows
from .._filter import Filter
from .._storage import Storage
from ..initializers import Initializer
from ..optimizers import SGD, Optimizer
from ._names import check_fresh, names_arguments
from ._weights import check, ids_of, store


class _Source(NamedTuple):
    """The weights that from_pretrained was given, and the options of their module, if it is one."""

    weights: Any
    padding_idx: int | None = None
    freeze: bool | None = None
    mode: BagMode | None = None
    include_last_offset: bool | None = None


def _source(weights: Any, kind: type[nn.Module]) -> _Source:
    """The first argument of from_pretrained: a tensor, an array, or a module of this kind.

    Raises TypeError for anything else, ValueError for a module with options that damo lacks.
    """
    if isinstance(weights, (nn.Embedding, nn.EmbeddingBag)):
        name = f"this torch.nn.{kind.__name__}"
        if not isinstance(weights, kind):
            raise TypeError(
                f"damo.torch: a torch.nn.{kind.__name__} is needed, not {type(weights).__name__};"
                " give its weight if only that is meant"
            )
        for wrong in ("max_norm", "scale_grad_by_freq"):
            if getattr(weights, wrong):
                raise ValueError(
                    f"damo.torch: {name} has {wrong}={getattr(weights, wrong)}, which rows in a"
                    " storage do not have; give its weight to do without it"
                )
        weight = weights.weight
        more = (
            (weights.mode, weights.include_last_offset)
            if isinstance(weights, nn.EmbeddingBag)
            else ()
        )
        return _Source(weight, weights.padding_idx, not weight.requires_grad, *more)
    if not isinstance(weights, (torch.Tensor, np.ndarray)):
        raise TypeError(
            "damo.torch: weights must be a torch.Tensor, a numpy.ndarray or a"
            f" torch.nn.{kind.__name__}, not {type(weights).__name__}"
        )
    return _Source(weights)


def _make(
    cls: Any,
    source: _Source,
    storage_or_embedding: Storage | Rows,
    name_or_group: str | SupportsIndex | None,
    *,
    ids: Any,
    freeze: bool | None,
    padding_idx: SupportsIndex | None,
    optimizer: Optimizer | None,
    dtype: torch.dtype | None,
    is_kept: bool,
    fresh: bool,
    **options: Any,
) -> Any:
    """A layer of class cls whose first rows are the weights of source.

    is_kept: raises ValueError unless the padding row is zeros.
    """
    weights = source.weights
    check_fresh(fresh)
    check(weights)
    if freeze is None:
        freeze = True if source.freeze is None else source.freeze
    padding = (
        source.padding_idx
        if padding_idx is None
        else integer(padding_idx, "padding_idx", -(2**63), 2**63 - 1)
    )
    numbers = ids_of(ids, weights.shape[0], padding)
    opened = storage_or_embedding if isinstance(storage_or_embedding, Rows) else None
    if opened is not None and opened.dim != weights.shape[1]:
        raise ValueError(
            f"damo.torch: weights has rows of {weights.shape[1]}, and the damo.Embedding has dim"
            f" {opened.dim}"
        )
    if opened is None and optimizer is None:
        if not freeze:
            raise TypeError(
                "damo.torch: rows that are trained need an optimizer; give"
                " optimizer=damo.Adam(lr=...), or freeze=True"
            )
        optimizer = SGD()  # Frozen rows do not use it, and it has no state to store.
    if (
        dtype is None
        and isinstance(weights, torch.Tensor)
        and weights.dtype in (torch.float64, torch.float16, torch.bfloat16)
    ):
        dtype = weights.dtype
    elif dtype is None:
        dtype = torch.float32
    layer = cls(
        storage_or_embedding,
        name_or_group,
        weights.shape[1] if opened is None else None,
        optimizer=optimizer,
        padding_idx=padding,
        dtype=dtype,
        num_embeddings=weights.shape[0],
        **options,
    )
    store(layer.rows, weights, numbers, is_kept, fresh)
    return layer.requires_grad_(not freeze)


class FromPretrained:
    """from_pretrained of Embedding."""

    @classmethod
    @names_arguments
    def from_pretrained(
        cls,
        weights: Any,
        storage_or_embedding: Storage | Rows,
        name_or_group: str | SupportsIndex | None = None,
        *,
        ids: Any = None,
        freeze: bool | None = None,
        padding_idx: SupportsIndex | None = None,
        optimizer: Optimizer | None = None,
        initializer: Initializer | None = None,
        filter: Filter | None = None,
        dtype: torch.dtype | None = None,
        fresh: bool = False,
    ) -> Any:
        """A layer whose first rows are weights.

        weights: floats of shape (rows, dim), in a tensor or an array, or a torch.nn.Embedding,
        whose padding_idx and dtype are kept.
        ids: integers of shape (rows,), all different; None: 0, 1, 2 and so on.
        freeze: True freezes the rows. None freezes those of a tensor or array, as torch does, and
        those of a module if its weight is frozen. Rows that are not frozen need an optimizer.
        fresh: True empties the group first. Otherwise its rows of other ids stay.

        The other arguments are those of Embedding. Ids that are not in ids get rows as in any
        layer. All weights are checked before the first one is stored. A large table is stored in
        batches.

        Raises TypeError for weights that are no floats and for a missing optimizer, ValueError for
        another shape, numbers that are not finite in float32, ids that repeat, a padding row that
        is not zeros, and a module with max_norm or scale_grad_by_freq.
        """
        source = _source(weights, nn.Embedding)
        return _make(
            cls,
            source,
            storage_or_embedding,
            name_or_group,
            ids=ids,
            freeze=freeze,
            padding_idx=padding_idx,
            optimizer=optimizer,
            initializer=initializer,
            filter=filter,
            dtype=dtype,
            fresh=fresh,
            is_kept=True,
        )


class BagFromPretrained:
    """from_pretrained of EmbeddingBag."""

    @classmethod
    @names_arguments
    def from_pretrained(
        cls,
        weights: Any,
        storage_or_embedding: Storage | Rows,
        name_or_group: str | SupportsIndex | None = None,
        *,
        ids: Any = None,
        freeze: bool | None = None,
        padding_idx: SupportsIndex | None = None,
        optimizer: Optimizer | None = None,
        initializer: Initializer | None = None,
        filter: Filter | None = None,
        mode: BagMode | None = None,
        include_last_offset: bool | None = None,
        dtype: torch.dtype | None = None,
        fresh: bool = False,
    ) -> Any:
        """As Embedding.from_pretrained, for a tensor, an array or a torch.nn.EmbeddingBag.

        mode, include_last_offset: None: those of the module, or "mean" and False for a tensor or
        array. The weights of padding_idx are not stored, and may be anything finite.
        """
        source = _source(weights, nn.EmbeddingBag)
        last = (
            include_last_offset
            if include_last_offset is not None
            else bool(source.include_last_offset)
        )
        return _make(
            cls,
            source,
            storage_or_embedding,
            name_or_group,
            ids=ids,
            freeze=freeze,
            padding_idx=padding_idx,
            optimizer=optimizer,
            initializer=initializer,
            filter=filter,
            dtype=dtype,
            fresh=fresh,
            mode=mode or source.mode or "mean",
            include_last_offset=last,
            # Bags skip padding, so its weights do not matter.
            is_kept=False,
        )
