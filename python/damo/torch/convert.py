"""convert, which replaces nn.Embedding and nn.EmbeddingBag in a model by damo's layers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import nn

from .._errors import AlreadyExistsError, Error, NotSupportedError
from .._storage import Storage
from ..initializers import Initializer, Normal
from ..optimizers import Optimizer
from ._conversion import Conversion, Converted, Left
from ._convert_rule import Rule, check, choose
from ._convertible import Found, find
from ._first_weights import initializer_like
from ._weights import store
from .bag import EmbeddingBag
from .embedding import Embedding, Layer

_UNSEEN = "torch does not see it there; nn.ModuleList and nn.ModuleDict make it seen"


@dataclass
class _Replacement:
    """A layer to replace, the options of damo's layer, and that layer once it is made."""

    found: Found
    group: str
    optimizer: Optimizer
    initializer: Initializer
    has_rows: bool = False
    """Whether its group was in the storage already, with rows."""
    layer: Layer | None = None

    @property
    def keys(self) -> torch.Tensor:
        """The ids that get rows: all but padding_idx."""
        module = self.found.module
        keys = torch.arange(module.num_embeddings, dtype=torch.int64, device="cpu")
        return keys if module.padding_idx is None else keys[keys != module.padding_idx]


def convert(
    model: nn.Module,
    storage: Storage,
    rule: Rule | None = None,
    *,
    optimizer: Optimizer | Callable[[str, nn.Module], Optimizer],
    initializer: Initializer | Callable[[str, nn.Module], Initializer] | None = None,
    prefix: str = "",
    fresh: bool = False,
    exist_ok: bool = False,
) -> Conversion:
    """Replaces nn.Embedding and nn.EmbeddingBag in model by damo's layers, and returns a report.

    The n rows of a weight become the rows of ids 0 to n - 1. From now on other ids get rows, too.
    padding_idx, mode, include_last_offset, dtype, requires_grad and train or eval mode stay. Print
    the report: it has a line for each layer, and the reason for each that was left as it was.

    rule: which layers to replace; None: all. A path in the model ("user", "tower.user"; a module's
    path stands for all layers in it), a pattern ("*_emb"), several of them, the least number of
    ids, or a function of path and layer. A path or pattern that fits nothing is a ValueError, and
    so is the whole path of a layer that cannot be converted.
    optimizer, initializer: one for all, or a function of path and layer. Without an initializer,
    rows of new ids are drawn from a distribution like that of the weights: uniform, normal or
    constant.
    prefix: the name of a layer's group is prefix and the layer's path. Use it for several models in
    one storage.
    fresh: True first empties groups that exist.
    exist_ok: True keeps the rows of groups that have some, and does not store those weights, so
    that a script can run again and go on. If both are False, a group that has rows is a
    damo.AlreadyExistsError.

    Layers in plain lists and dicts are not converted, since torch does not find them. Those that a
    module refers to are reported. Optimizers hold weights, so make them afterwards. Convert before
    DistributedDataParallel wraps the model.

    Raises TypeError for arguments of other types, ValueError also if no layer can be converted, and
    damo.NotSupportedError for a storage that is open with read_only. After an error the model is as
    it was, and so is the storage, except that new groups without rows may be left, and that fresh
    may have emptied groups.
    """
    check(model, storage, optimizer, initializer)
    if fresh and exist_ok:
        raise ValueError(
            "damo.torch: fresh empties groups, and exist_ok keeps them; give one of them"
        )
    replacements, left = _plan(model, rule, optimizer, initializer, prefix)
    _look_at_groups(storage, replacements, fresh or exist_ok)
    try:
        layers = [_layer(storage, one) for one in replacements]
        for one, layer in zip(replacements, layers):
            if not (exist_ok and one.has_rows):
                is_bag = isinstance(one.found.module, nn.EmbeddingBag)
                store(layer.rows, one.found.module.weight, None, not is_bag, fresh)
        groups = {group["group"]: group for group in storage.describe()["groups"]}
        done = tuple(
            _described(one, groups[layer.rows.group], exist_ok and one.has_rows)
            for one, layer in zip(replacements, layers)
        )
        slots = [
            (*_slot(model, place), layer)
            for one, layer in zip(replacements, layers)
            for place in one.found.places
        ]
    except BaseException:
        _undo(replacements, exist_ok)
        raise
    for siblings, name, layer in slots:
        siblings[name] = layer
    return Conversion(done, left)


def _plan(
    model: nn.Module, rule: Rule | None, optimizer: Any, initializer: Any, prefix: str
) -> tuple[list[_Replacement], tuple[Left, ...]]:
    """The layers to replace, and those to leave. Raises ValueError if none can be replaced."""
    found, unseen = find(model)
    chosen, named = choose(rule, found)
    left = [Left(one.place, type(one.module).__name__, _UNSEEN) for one in unseen]
    replacements: list[_Replacement] = []
    for one in found:
        if one.name not in chosen:
            left.append(Left(one.name, one.kind, "the rule leaves it out"))
        elif one.reason is not None:
            if one.name in named:
                raise ValueError(f"damo.torch: {one.name} cannot be converted: {one.reason}")
            left.append(Left(one.name, one.kind, one.reason))
        else:
            replacements.append(_replacement(one, optimizer, initializer, prefix))
    if not replacements:
        why = "".join(f"\n  {one.name}: {one.reason}" for one in left)
        if not why and (already := sum(isinstance(one, Layer) for one in model.modules())):
            why = f"; it has {already} of damo's layers already"
        raise ValueError(
            "damo.torch: no nn.Embedding or nn.EmbeddingBag of the model can be converted"
            + (
                why
                or "; layers in plain lists and dicts are not found, as torch does not find them"
            )
        )
    return replacements, tuple(left)


def _replacement(found: Found, optimizer: Any, initializer: Any, prefix: str) -> _Replacement:
    name, module = found.name, found.module
    if not isinstance(optimizer, Optimizer):
        optimizer = optimizer(name, module)
    if initializer is None:
        made = _Replacement(found, prefix + name, optimizer, Normal())
        made.initializer = initializer_like(module.weight, made.keys)
        return made
    if not isinstance(initializer, Initializer):
        initializer = initializer(name, module)
    return _Replacement(found, prefix + name, optimizer, initializer)


def _look_at_groups(storage: Storage, replacements: list[_Replacement], may_exist: bool) -> None:
    """Sets has_rows, and raises for groups that cannot be used, before anything has changed.

    may_exist: whether groups with rows can be used.
    """
    described = storage.describe()
    if described["read_only"]:
        raise NotSupportedError(f"damo.torch: {storage.path} is open read_only; rows need another")
    groups = {group["name"]: group for group in described["groups"]}
    for one in replacements:
        if len(one.group.encode()) > 255 or not one.group.isprintable():
            raise ValueError(
                f"damo.torch: {one.group!r} cannot be the name of a group, which has at most 255 "
                "bytes and no control characters"
            )
        there = groups.get(one.group)
        if there is None:
            continue
        dim, kind = one.found.module.embedding_dim, one.optimizer.name
        if (there["dim"], there["optimizer"]["name"]) != (dim, kind):
            raise AlreadyExistsError(
                f"damo.torch: the storage has a group {one.group!r} with dim {there['dim']} and "
                f"{there['optimizer']['name']}, and {one.found.name} needs dim {dim} and {kind}; "
                "a group keeps both, also when fresh empties it: give a prefix, or another storage"
            )
        records = storage._iterate(there["group"])
        one.has_rows = next(records, None) is not None
        records.close()
        if one.has_rows and not may_exist:
            raise AlreadyExistsError(
                f"damo.torch: the storage has a group {one.group!r} with rows already; give "
                "exist_ok=True to go on with them, fresh=True to begin anew, or a prefix"
            )


def _layer(storage: Storage, replacement: _Replacement) -> Layer:
    """Makes damo's layer on its group, with the options and attributes of torch's layer."""
    module = replacement.found.module
    options: dict[str, Any] = {
        "optimizer": replacement.optimizer,
        "initializer": replacement.initializer,
        "padding_idx": module.padding_idx,
        "dtype": module.weight.dtype,
        "num_embeddings": module.num_embeddings,
    }
    if isinstance(module, nn.EmbeddingBag):
        options.update(mode=module.mode, include_last_offset=module.include_last_offset)
        replacement.layer = EmbeddingBag(
            storage, replacement.group, module.embedding_dim, **options
        )
    else:
        replacement.layer = Embedding(storage, replacement.group, module.embedding_dim, **options)
    for name, value in replacement.found.extras.items():
        if not hasattr(replacement.layer, name):
            setattr(replacement.layer, name, value)
    return replacement.layer.requires_grad_(module.weight.requires_grad).train(module.training)


def _undo(replacements: list[_Replacement], exist_ok: bool) -> None:
    """Deletes the rows that were stored, and closes the embeddings that were opened."""
    for one in replacements:
        if one.layer is None:
            continue
        # An error here must not hide the one that is raised.
        with contextlib.suppress(Error):
            if not (exist_ok and one.has_rows):
                one.layer.rows.delete(one.keys.numpy())
            one.layer.rows.close()


def _slot(model: nn.Module, place: str) -> tuple[dict[str, Any], str]:
    """The dict of the children of a module's parent, and the module's name in it."""
    parent, _, name = place.rpartition(".")
    return model.get_submodule(parent)._modules, name


def _described(replacement: _Replacement, group: dict[str, Any], kept_rows: bool) -> Converted:
    """The report of a replacement. group: the entry of its group in Storage.describe."""
    found, module = replacement.found, replacement.found.module
    notes = list(found.notes)
    if module.weight.dtype == torch.float64:
        notes.append("its weights are float32 in the storage, rounded from float64")
    params = group["initializer"]["params"].items()
    shown = ", ".join(f"{name}={value:g}" for name, value in params if name != "seed")
    return Converted(
        name=found.name,
        places=tuple(found.places),
        kind=found.kind,
        group=replacement.group,
        ids=module.num_embeddings,
        dim=module.embedding_dim,
        bytes=replacement.keys.numel() * group["row_len"] * 4,
        initializer=f"{group['initializer']['name']}({shown})",
        is_frozen=not module.weight.requires_grad,
        kept_rows=kept_rows,
        notes=tuple(notes),
    )
