"""Checks of the arguments of convert, and the layers that a rule chooses.

Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Callable, Union

from torch import nn

from .._storage import Storage
from ..initializers import Initializer
from ..optimizers import Optimizer
from ._convertible import Found

Rule = Union[str, int, Iterable[str], Callable[[str, nn.Module], bool]]
"""Paths and patterns, the least number of ids, or a function of path and layer."""
_KINDS = "rule must be paths, a number of ids or a function"


def check(model: Any, storage: Any, optimizer: Any, initializer: Any) -> None:
    """Raises TypeError for arguments of other types.

    Raises ValueError for a model that is itself a layer, or is wrapped by DistributedDataParallel.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"damo.torch: model must be a torch.nn.Module, not {type(model).__name__}")
    if not isinstance(storage, Storage):
        raise TypeError(f"damo.torch: storage must be a damo.Storage, not {type(storage).__name__}")
    for what, kind, given in (
        ("optimizer", Optimizer, optimizer),
        ("initializer", Initializer, initializer),
    ):
        if given is None and kind is Initializer:
            continue
        if isinstance(given, type) or not (isinstance(given, kind) or callable(given)):
            needed = f"a damo.{kind.__name__} or a function of path and layer"
            found = given.__name__ if isinstance(given, type) else type(given).__name__
            raise TypeError(f"damo.torch: {what} must be {needed}, not {found}")
    if isinstance(model, (nn.Embedding, nn.EmbeddingBag)):
        raise ValueError(
            "damo.torch: the model is itself the layer, and has no place to put another in; "
            "damo.torch.Embedding.from_pretrained makes one of it"
        )
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise ValueError("damo.torch: convert the model before DistributedDataParallel wraps it")


def choose(rule: Rule | None, found: list[Found]) -> tuple[set[str], set[str]]:
    """The names of the layers that rule chooses, and of those that it gives by their whole path.

    Raises ValueError for a path or pattern that fits nothing, TypeError for a rule of another type.
    """
    if rule is None:
        return {one.name for one in found}, set()
    is_number = isinstance(rule, int) and not isinstance(rule, bool)
    if not (is_number or callable(rule) or isinstance(rule, Iterable)):
        raise TypeError(f"damo.torch: {_KINDS}, not {type(rule).__name__}")
    if isinstance(rule, int):
        return {one.name for one in found if one.module.num_embeddings >= rule}, set()
    if callable(rule):
        return {one.name for one in found if rule(one.name, one.module)}, set()
    chosen: set[str] = set()
    named: set[str] = set()
    for pattern in (rule,) if isinstance(rule, str) else rule:
        if not isinstance(pattern, str):
            raise TypeError(f"damo.torch: {_KINDS}, not {type(pattern).__name__}")
        exact = {one.name for one in found if pattern in one.places}
        fitting = {one.name for one in found if any(_fits(at, pattern) for at in one.places)}
        if not fitting:
            names = ", ".join(one.name for one in found) or "none"
            raise ValueError(f"damo.torch: rule {pattern!r} fits no layer; there are: {names}")
        chosen |= fitting
        named |= exact
    return chosen, named


def _fits(place: str, pattern: str) -> bool:
    """Whether pattern is the path place, fits it, or is the path of a module around it."""
    return place.startswith(f"{pattern}.") or fnmatchcase(place, pattern)
