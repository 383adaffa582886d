"""convert: replaces nn.Embedding and nn.EmbeddingBag in a model by damo's layers."""

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
class _Step:
    """A layer to convert, what to make of it, and what was made."""

    found: Found
    group: str
    optimizer: Optimizer
    initializer: Initializer
    has_rows: bool = False
    """Whether its group was in the storage before, with rows."""
    layer: Layer | None = None

    @property
    def keys(self) -> torch.Tensor:
        """The ids that get rows: all but padding, which has none."""
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
    """Replaces nn.Embedding and nn.EmbeddingBag in model by damo's layers, and says what it did.

    The n rows of a weight become the rows of ids 0 to n - 1. Other ids get rows from now on, too.
    padding_idx, mode, include_last_offset, dtype, requires_grad and train or eval mode stay. Print
    the result: it has a line for each layer, and the reason for each that was left as it was.

    rule: which layers; None is all. A path in the model ("user", "tower.user"; a module's path is
    all layers in it), a pattern ("*_emb"), several of them, the least number of ids, or a function
    of path and layer. A path or pattern that fits nothing is a ValueError, and so is a layer given
    by its whole path that cannot be converted.
    optimizer, initializer: one for all, or a function of path and layer. Without an initializer the
    rows of new ids are drawn from a distribution like that of the weights: uniform, normal or
    constant.
    prefix: put before the path of a layer, makes the name of its group; for several models in one
    storage.
    fresh: empties groups that exist first. exist_ok: keeps the rows of groups that have some, and
    does not store those weights, so that a script that runs again goes on. Without either, a group
    that has rows is a damo.AlreadyExistsError.

    Layers in plain lists and dicts are not converted, since torch does not find them. Those that a
    module refers to are reported. After an error the model is as it was, and so is the storage,
    except that new groups without rows may be left, and that fresh may have emptied groups.
    Optimizers hold weights, so make them afterwards. Convert before DistributedDataParallel.

    Raises TypeError for arguments of other types, ValueError also if no layer can be converted, and
    damo.NotSupportedError for a storage that is open with read_only.
    """
    check(model, storage, optimizer, initializer)
    if fresh and exist_ok:
        raise ValueError(
            "damo.torch: fresh empties groups, and exist_ok keeps them; give one of them"
        )
    steps, left = _plan(model, rule, optimizer, initializer, prefix)
    _look_at_groups(storage, steps, fresh or exist_ok)
    try:
        layers = [_layer(storage, step) for step in steps]
        for step, layer in zip(steps, layers):
            if not (exist_ok and step.has_rows):
                is_bag = isinstance(step.found.module, nn.EmbeddingBag)
                store(layer.rows, step.found.module.weight, None, not is_bag, fresh)
        groups = {group["group"]: group for group in storage.describe()["groups"]}
        done = tuple(
            _described(step, groups[layer.rows.group], exist_ok and step.has_rows)
            for step, layer in zip(steps, layers)
        )
        slots = [
            (*_slot(model, place), layer)
            for step, layer in zip(steps, layers)
            for place in step.found.places
        ]
    except BaseException:
        _undo(steps, exist_ok)
        raise
    for siblings, name, layer in slots:
        siblings[name] = layer
    return Conversion(done, left)


def _plan(
    model: nn.Module, rule: Rule | None, optimizer: Any, initializer: Any, prefix: str
) -> tuple[list[_Step], tuple[Left, ...]]:
    """The layers to convert, and those to leave. Raises ValueError if there are none to convert."""
    found, unseen = find(model)
    chosen, named = choose(rule, found)
    left = [Left(one.place, type(one.module).__name__, _UNSEEN) for one in unseen]
    steps: list[_Step] = []
    for one in found:
        if one.name not in chosen:
            left.append(Left(one.name, one.kind, "the rule leaves it out"))
        elif one.reason is not None:
            if one.name in named:
                raise ValueError(f"damo.torch: {one.name} cannot be converted: {one.reason}")
            left.append(Left(one.name, one.kind, one.reason))
        else:
            steps.append(_step(one, optimizer, initializer, prefix))
    if not steps:
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
    return steps, tuple(left)


def _step(found: Found, optimizer: Any, initializer: Any, prefix: str) -> _Step:
    name, module = found.name, found.module
    if not isinstance(optimizer, Optimizer):
        optimizer = optimizer(name, module)
    if initializer is None:
        step = _Step(found, prefix + name, optimizer, Normal())
        step.initializer = initializer_like(module.weight, step.keys)
        return step
    if not isinstance(initializer, Initializer):
        initializer = initializer(name, module)
    return _Step(found, prefix + name, optimizer, initializer)


def _look_at_groups(storage: Storage, steps: list[_Step], may_exist: bool) -> None:
    """Raises for groups that cannot be used, before anything has changed."""
    described = storage.describe()
    if described["read_only"]:
        raise NotSupportedError(f"damo.torch: {storage.path} is open read_only; rows need another")
    groups = {group["name"]: group for group in described["groups"]}
    for step in steps:
        if len(step.group.encode()) > 255 or not step.group.isprintable():
            raise ValueError(
                f"damo.torch: {step.group!r} cannot be the name of a group, which has at most 255 "
                "bytes and no control characters"
            )
        there = groups.get(step.group)
        if there is None:
            continue
        dim, kind = step.found.module.embedding_dim, step.optimizer.name
        if (there["dim"], there["optimizer"]["name"]) != (dim, kind):
            raise AlreadyExistsError(
                f"damo.torch: the storage has a group {step.group!r} with dim {there['dim']} and "
                f"{there['optimizer']['name']}, and {step.found.name} needs dim {dim} and {kind}; "
                "a group keeps both, also when fresh empties it: give a prefix, or another storage"
            )
        records = storage._iterate(there["group"])
        step.has_rows = next(records, None) is not None
        records.close()
        if step.has_rows and not may_exist:
            raise AlreadyExistsError(
                f"damo.torch: the storage has a group {step.group!r} with rows already; give "
                "exist_ok=True to go on with them, fresh=True to begin anew, or a prefix"
            )


def _layer(storage: Storage, step: _Step) -> Layer:
    """damo's layer, with the options and attributes of torch's, on its group."""
    module = step.found.module
    options: dict[str, Any] = {
        "optimizer": step.optimizer,
        "initializer": step.initializer,
        "padding_idx": module.padding_idx,
        "dtype": module.weight.dtype,
        "num_embeddings": module.num_embeddings,
    }
    if isinstance(module, nn.EmbeddingBag):
        options.update(mode=module.mode, include_last_offset=module.include_last_offset)
        step.layer = EmbeddingBag(storage, step.group, module.embedding_dim, **options)
    else:
        step.layer = Embedding(storage, step.group, module.embedding_dim, **options)
    for name, value in step.found.extras.items():
        if not hasattr(step.layer, name):
            setattr(step.layer, name, value)
    return step.layer.requires_grad_(module.weight.requires_grad).train(module.training)


def _undo(steps: list[_Step], exist_ok: bool) -> None:
    """Deletes the rows that were stored, and closes the embeddings."""
    for step in steps:
        if step.layer is None:
            continue
        # An error here must not hide the one that is being raised.
        with contextlib.suppress(Error):
            if not (exist_ok and step.has_rows):
                step.layer.rows.delete(step.keys.numpy())
            step.layer.rows.close()


def _slot(model: nn.Module, place: str) -> tuple[dict[str, Any], str]:
    """The children of a module's parent, and the module's name among them."""
    parent, _, name = place.rpartition(".")
    return model.get_submodule(parent)._modules, name


def _described(step: _Step, group: dict[str, Any], kept_rows: bool) -> Converted:
    """The report of a step. group: the entry of its group in Storage.describe."""
    found, module = step.found, step.found.module
    notes = list(found.notes)
    if module.weight.dtype == torch.float64:
        notes.append("its weights are float32 in the storage, rounded from float64")
    params = group["initializer"]["params"].items()
    shown = ", ".join(f"{name}={value:g}" for name, value in params if name != "seed")
    return Converted(
        name=found.name,
        places=tuple(found.places),
        kind=found.kind,
        group=step.group,
        ids=module.num_embeddings,
        dim=module.embedding_dim,
        bytes=step.keys.numel() * group["row_len"] * 4,
        initializer=f"{group['initializer']['name']}({shown})",
        is_frozen=not module.weight.requires_grad,
        kept_rows=kept_rows,
        notes=tuple(notes),
    )
