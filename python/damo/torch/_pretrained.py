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


class _Given(NamedTuple):
    """What the first argument says. None: it does not say."""

    weights: Any
    padding_idx: int | None = None
    freeze: bool | None = None
    mode: BagMode | None = None
    include_last_offset: bool | None = None


def _given(weights: Any, kind: type[nn.Module]) -> _Given:
    """The first argument of from_pretrained of a layer of this kind of torch.nn.

    Raises TypeError for another kind, ValueError for options of a module that damo does not have.
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
        return _Given(weight, weights.padding_idx, not weight.requires_grad, *more)
    if not isinstance(weights, (torch.Tensor, np.ndarray)):
        raise TypeError(
            "damo.torch: weights must be a torch.Tensor, a numpy.ndarray or a"
            f" torch.nn.{kind.__name__}, not {type(weights).__name__}"
        )
    return _Given(weights)


def _make(
    cls: Any,
    given: _Given,
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
    weights = given.weights
    check_fresh(fresh)
    check(weights)
    if freeze is None:
        freeze = True if given.freeze is None else given.freeze
    padding = (
        given.padding_idx
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
        optimizer = SGD()  # It has no state, and is not used.
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
        whose padding_idx and dtype are kept. ids: one integer for each row, all different; None is
        0, 1, 2 and so on. freeze: None freezes a tensor, as in torch, and a module if its
        weight is frozen. Rows that are not frozen need an optimizer. Other ids get rows as in any
        layer, and the group's rows of other ids stay, unless fresh=True empties it first.

        All weights are checked before the first one is stored. A large table is stored in batches.
        Raises TypeError for weights that are no floats and for a missing optimizer, ValueError for
        other shapes, numbers that are not finite float32, ids that repeat, a padding row that is
        not zeros, and a module with max_norm or scale_grad_by_freq.
        """
        given = _given(weights, nn.Embedding)
        return _make(
            cls,
            given,
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

        mode and include_last_offset: None is what a module has; for a tensor "mean" and False. The
        weights of padding_idx are not stored, and may be anything.
        """
        given = _given(weights, nn.EmbeddingBag)
        last = (
            include_last_offset
            if include_last_offset is not None
            else bool(given.include_last_offset)
        )
        return _make(
            cls,
            given,
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
            mode=mode or given.mode or "mean",
            include_last_offset=last,
            # Bags leave padding out, so its weights do not matter.
            is_kept=False,
        )
