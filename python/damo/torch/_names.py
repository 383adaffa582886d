"""The names of torch.nn.Embedding. Each works, or its error says what to use instead.

Knows torch, and about layers only that they have `rows`.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Mapping, SupportsIndex, TypeVar

import torch
from torch import nn

from .._arrays import integer
from ._tracers import refusal

_INSERT = (
    "layer.rows.insert(ids, weights) stores weights, and from_pretrained makes a layer of them"
)

_READS = {
    "weight": (
        "has no weight: a storage has its rows, as many as there are ids. layer.rows.peek(ids) and"
        f" layer.rows.lookup(ids) read them, and {_INSERT}. First weights are the initializer's."
        " Weights cannot be tied to another module"
    ),
    "num_embeddings": (
        "has no num_embeddings: ids are any 64-bit integers. len(layer.rows) counts the rows that"
        " there are. The argument num_embeddings= is what this attribute shows, if other code"
        " reads it"
    ),
    "rows": (
        "was loaded for serving and has no storage; its rows are in a table, and cannot be changed"
    ),
}
_SERVED_WEIGHT = (
    "was loaded for serving: its rows are in a table, which layer(ids) reads and nothing changes"
)

# Attributes that cannot be set, and what to do instead.
_SETS = {
    "weight": (
        f"has no weight to set: its rows are in a storage. {_INSERT}. Weights cannot be tied to"
        " another module"
    ),
    "embedding_dim": (
        "has the embedding_dim of its group, for good; another one needs another group"
    ),
    "padding_idx": "has the padding_idx that it was made with; give padding_idx to the constructor",
    "max_norm": (
        "has no max_norm: rows are not rescaled when they are read. storage.embedding(...,"
        " max_norm=) rescales them after each step, and weight_decay keeps them small"
    ),
    "norm_type": "has no max_norm, so that norm_type has no meaning",
    "scale_grad_by_freq": (
        "does not scale gradients by frequency; duplicates='mean' of storage.embedding divides by"
        " occurrences"
    ),
    "sparse": (
        "has gradients for the rows of the batch alone, always, and no gradient tensor that could"
        " be sparse or dense"
    ),
    "rows": "has the rows that it was made of; make another layer",
}

# Arguments of torch's constructors, and what to do instead.
_ARGUMENTS = {
    "embedding_dim": "the number of weights a row is called dim",
    "max_norm": (
        "rows are not rescaled when they are read; storage.embedding(..., max_norm=), whose result"
        " is given to the layer, rescales them after each step, and weight_decay keeps them small"
    ),
    "norm_type": "there is no max_norm",
    "scale_grad_by_freq": (
        "storage.embedding(..., duplicates='mean') divides by occurrences in the batch"
    ),
    "sparse": "gradients are for the rows of the batch alone, always",
    "device": "rows are in the storage, and a forward pass returns them on the device of the ids",
    "_weight": "from_pretrained(weights, storage, name) makes a layer of weights",
    "weight": "from_pretrained(weights, storage, name) makes a layer of weights",
    "_freeze": "requires_grad_(False) freezes the rows of a layer",
    "freeze": "requires_grad_(False) freezes the rows of a layer",
    "lr": "the rate is the optimizer's: optimizer=damo.Adam(lr=...)",
    "weight_decay": "it is the optimizer's: optimizer=damo.Adam(weight_decay=...)",
    "name": "the group's name is called name_or_group",
    "group": "the group's number is called name_or_group",
    "storage": "it is called storage_or_embedding",
    "padding_key": "it is called padding_idx here",
    "duplicates": (
        "gradients of an id that is there twice are summed; a damo.Embedding of storage.embedding"
        " has another choice"
    ),
}

F = TypeVar("F", bound=Callable[..., Any])


def names_arguments(function: F, others: Mapping[str, str] = _ARGUMENTS) -> F:
    """Makes function raise a TypeError for torch's arguments, which says what to do instead.

    others: the arguments, and for each what to do.
    """
    parameters = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(self: Any, *arguments: Any, **options: Any) -> Any:
        for name in options:
            if name in others and name not in parameters:
                kind = (self if isinstance(self, type) else type(self)).__name__
                raise TypeError(f"damo.torch: {kind} has no argument {name!r}: {others[name]}")
        return function(self, *arguments, **options)

    return checked  # type: ignore[return-value]


def check_fresh(fresh: Any) -> None:
    """Raises TypeError unless fresh is a bool: "no" would be true, and would empty a group."""
    if not isinstance(fresh, bool):
        raise TypeError(f"damo.torch: fresh must be True or False, not {fresh!r:.80}")


def begin(layer: "TorchNames", fresh: bool, num_embeddings: SupportsIndex | None) -> None:
    """Ends the construction of a layer. Call it last, since fresh empties the group.

    Raises TypeError or ValueError for a num_embeddings that is no integer in 0..2**64.
    """
    check_fresh(fresh)
    if num_embeddings is not None:
        layer.num_embeddings = integer(num_embeddings, "num_embeddings", 0, 2**64)
    if fresh:
        layer.rows.clear()


class TorchNames(nn.Module):
    """A module with the names of torch.nn.Embedding. Names without a meaning here are errors."""

    sparse = property(
        lambda _self: False, doc="False: the parameter has no gradient that could be sparse."
    )
    max_norm = property(lambda _self: None, doc="None: rows are not rescaled when they are read.")
    norm_type = property(
        lambda _self: 2.0, doc="torch's default; without max_norm it means nothing."
    )
    scale_grad_by_freq = property(
        lambda _self: False, doc="False: gradients are not divided by occurrences."
    )

    def reset_parameters(self) -> None:
        """Empties the layer's group, for all its users. Ids get new rows when they are seen."""
        self.rows.clear()

    def __prepare_scriptable__(self) -> Any:
        # torch.jit.script calls this for every module in a model.
        raise refusal("torch.jit.script")

    def _refuse(self, name: str, messages: dict[str, str]) -> AttributeError:
        message = (
            _SERVED_WEIGHT if name == "weight" and not hasattr(self, "rows") else messages[name]
        )
        return AttributeError(f"damo.torch: {type(self).__name__} {message}")

    # Called for a missing attribute, and when a property raises AttributeError.
    def __getattr__(self, name: str) -> Any:
        if name in _READS and "reader" in self.__dict__:
            raise self._refuse(name, _READS)
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETS:
            # Code that copies all attributes sets the value that the layer has already: no change.
            if (
                isinstance(value, (type(None), bool, int, float))
                and hasattr(self, name)
                and value == getattr(self, name)
            ):
                return
            raise self._refuse(name, _SETS)
        super().__setattr__(name, value)

    def _check_name(self, name: str) -> None:
        if name in _SETS:
            raise self._refuse(name, _SETS)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        self._check_name(name)
        super().register_parameter(name, param)

    def register_buffer(
        self, name: str, tensor: torch.Tensor | None, persistent: bool = True
    ) -> None:
        self._check_name(name)
        super().register_buffer(name, tensor, persistent=persistent)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        self._check_name(name)
        super().add_module(name, module)
