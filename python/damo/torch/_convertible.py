"""The layers of a model that convert can replace, and the reasons why it cannot replace others.

Looks at the model, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterator

import torch
from torch import nn

# A given weight, since drawing one would advance torch's random generator.
_ONE = torch.zeros(1, 1, device="cpu")
_OWN = {name for kind in (nn.Embedding, nn.EmbeddingBag) for name in vars(kind(1, 1, _weight=_ONE))}
"""Attributes that every nn.Embedding or nn.EmbeddingBag has."""
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass
class Found:
    """An nn.Embedding or nn.EmbeddingBag, and whether it can be converted."""

    module: nn.Embedding | nn.EmbeddingBag
    places: list[str]
    """Its paths in the model: several if it is used at several places."""
    reason: str | None = None
    """Why it cannot be converted; None if it can."""
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.places[0]

    @property
    def kind(self) -> str:
        return type(self.module).__name__

    @property
    def extras(self) -> dict[str, Any]:
        """Attributes that others have set on the module."""
        return {name: value for name, value in vars(self.module).items() if name not in _OWN}


@dataclass
class Unseen:
    """A layer that torch does not see: in a plain attribute, or in a plain list or dict."""

    place: str
    module: nn.Module


def find(model: nn.Module) -> tuple[list[Found], list[Unseen]]:
    """All nn.Embedding and nn.EmbeddingBag of a model, and those that torch does not see.

    A layer in the first list that cannot be converted has the reason.
    """
    found: dict[int, Found] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            found.setdefault(id(module), Found(module, [])).places.append(name)
    plain = [held for name, module in model.named_modules() for held in _plain(name, module)]
    unseen: list[Unseen] = []
    for place, value in plain:
        if not isinstance(value, (nn.Embedding, nn.EmbeddingBag)):
            continue
        if id(value) not in found:
            unseen.append(Unseen(place, value))
        else:
            found[id(value)].reason = f"{place} refers to it, too, where torch does not see it"
    for one in found.values():
        one.reason = one.reason or _reason(one.module) or _tied(model, one)
        for place, value in plain:
            if value is one.module.weight:
                one.notes.append(
                    f"{place.partition('[')[0]} still has the old weight: nothing trains it now, "
                    "and a penalty on it does not act on the rows"
                )
    return list(found.values()), unseen


def _reason(module: nn.Embedding | nn.EmbeddingBag) -> str | None:
    """Why a layer cannot be converted, as far as the layer alone shows; None if it can."""
    weight, padding = module.weight, module.padding_idx
    if type(module) not in (nn.Embedding, nn.EmbeddingBag):
        base = "EmbeddingBag" if isinstance(module, nn.EmbeddingBag) else "Embedding"
        return f"it is a subclass of nn.{base}, whose own code would be lost"
    if "forward" in vars(module):
        return "its forward was replaced"
    if _has_hooks(module):
        return "it has hooks, which would be lost; add them afterwards, to damo's layer"
    if type(weight) is not nn.Parameter:
        return f"its weight is a {type(weight).__name__}; convert it before it is wrapped"
    if _has_hooks(weight):
        return "its weight has hooks, which would be lost"
    if module.max_norm is not None:
        return f"max_norm={module.max_norm}: damo rescales no row when it is read"
    if module.scale_grad_by_freq:
        return "scale_grad_by_freq=True: damo sums the gradients of an id that is there twice"
    if weight.device.type == "meta":
        return "its weight is on the device meta, where it has no numbers"
    if weight.dtype not in _DTYPES:
        return f"its weight is {weight.dtype}; damo has float32, float64, float16 and bfloat16"
    if not bool(weight.float().isfinite().all()):
        return "its weight has a NaN, an infinity, or a number that float32 cannot hold"
    if isinstance(module, nn.Embedding) and padding is not None and bool(weight[padding].any()):
        return (
            f"the row of padding_idx={padding} is not zeros, and damo reads it as zeros; zero it "
            f"first: with torch.no_grad(): layer.weight[{padding}] = 0"
        )
    return None


def _has_hooks(owner: nn.Module | torch.Tensor) -> bool:
    names = {*vars(owner), "_backward_hooks", "_post_accumulate_grad_hooks"}
    return any(name.endswith("_hooks") and getattr(owner, name, None) for name in names)


def _tied(model: nn.Module, one: Found) -> str | None:
    """Why a layer whose weight another module shares cannot be converted; None if none does."""
    weight = one.module.weight
    for name, module in model.named_modules():
        if module is one.module:
            continue
        tensors = {**module._parameters, **module._buffers}
        for own, tensor in tensors.items():
            if tensor is not None and _is_same(weight, tensor):
                place = f"{name}.{own}" if name else own
                return f"its weight is tied to {place}, which a layer of damo cannot be"
    return None


def _is_same(weight: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether both tensors begin at the same address."""
    if weight is other:
        return True
    if not weight.numel() or not other.numel() or weight.device != other.device:
        return False
    # A sparse tensor has no memory of its own.
    if other.layout != torch.strided:
        return False
    return _address(weight) == _address(other)


def _address(tensor: torch.Tensor) -> int:
    # Before torch 2.0 there is only storage(); since then it warns.
    untyped = getattr(tensor, "untyped_storage", None)
    return (untyped() if untyped is not None else tensor.storage()).data_ptr()


def _plain(name: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Modules and tensors in plain attributes of module, or in lists and dicts there."""
    seen: set[int] = set()

    def walk(place: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
        if isinstance(value, (nn.Module, torch.Tensor)):
            yield place, value
        elif depth and isinstance(value, (list, tuple, set, dict)) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                yield from walk(f"{place}[{key!r}]", item, depth - 1)

    for attribute, value in vars(module).items():
        if attribute not in ("_parameters", "_buffers", "_modules"):
            yield from walk(f"{name}.{attribute}" if name else attribute, value, 4)
