"""States for files, as JSON and a list of tensors that the JSON refers to by number.

So torch.load reads only a list of tensors, which weights_only accepts in every version of torch
(torch 1.13 does not accept floats). Saving refuses what neither JSON nor tensors hold.
"""

from __future__ import annotations

import inspect
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .._errors import CorruptionError

_TAG = "__damo__"


class Encoder:
    """Turns values into JSON, and collects their tensors in its attribute tensors."""

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []

    def encode(self, value: Any, where: str, functions: bool = False) -> Any:
        """value in JSON. Raises TypeError for what cannot be saved; where is its name there.

        functions: True leaves out functions in dicts. The state of an object may have some, and the
        object that the state is loaded into keeps its own.
        """
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, torch.Tensor):
            return self._tensor("tensor", value.detach())
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            return self.encode(value.item(), where)
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            kind = {"dtype": value.dtype.str, "shape": list(value.shape)}
            return self._tensor("array", _bytes(value.tobytes()), **kind)
        if type(value) in (bytes, bytearray):
            return self._tensor("bytes", _bytes(bytes(value)))
        if isinstance(value, complex):
            return _tagged("complex", [value.real, value.imag])
        if isinstance(value, (torch.dtype, torch.device)):
            return _tagged("torch", str(value))
        if isinstance(value, Mapping):
            return self._mapping(value, where, functions)
        for sequence in (list, tuple, set, frozenset):
            if isinstance(value, sequence):
                parts = [
                    self.encode(one, f"{where}[{at}]", functions) for at, one in enumerate(value)
                ]
                return parts if sequence is list else _tagged(sequence.__name__, parts)
        raise TypeError(
            f"damo.torch: {where} is a {type(value).__name__}, which cannot be saved; tensors, "
            "numbers, strings, bytes, None, arrays, and lists, tuples, sets and dicts of them can, "
            "and objects with state_dict and load_state_dict"
        )

    def _mapping(self, value: Mapping[Any, Any], where: str, functions: bool) -> Any:
        pairs = [
            [self.encode(key, where), self.encode(each, f"{where}[{key!r}]", functions)]
            for key, each in value.items()
            if not (functions and _is_function(each))
        ]
        if isinstance(value, Counter):
            return _tagged("Counter", pairs)
        if all(isinstance(key, str) and key != _TAG for key in value):
            return dict(pairs)
        return _tagged("dict", pairs)

    def state_dict(self, state: Mapping[str, Any], where: str) -> Any:
        """A module's state_dict in JSON, with the versions of its submodules (its _metadata)."""
        versions = getattr(state, "_metadata", None)
        pairs = [[name, self.encode(value, f"{where}[{name!r}]")] for name, value in state.items()]
        return _tagged("module", pairs, versions=self.encode(versions, f"{where}._metadata"))

    def _tensor(self, tag: str, tensor: torch.Tensor, **more: Any) -> Any:
        self.tensors.append(tensor)
        return _tagged(tag, len(self.tensors) - 1, **more)


def _is_function(value: Any) -> bool:
    return inspect.isroutine(value) or (callable(value) and not hasattr(value, "state_dict"))


def _bytes(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _tagged(tag: str, value: Any, **more: Any) -> dict[str, Any]:
    return {_TAG: tag, "value": value, **more}


def decode(value: Any, tensors: list[torch.Tensor]) -> Any:
    """The value that an Encoder was given. Raises CorruptionError for a value of another kind."""
    if isinstance(value, list):
        return [decode(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    tag, inner = value.get(_TAG), value.get("value")
    if tag is None:
        return {name: decode(each, tensors) for name, each in value.items()}
    if tag in ("tensor", "array", "bytes"):
        return _decode_tensor(value, tensors[value["value"]])
    if tag == "torch":
        text = str(inner)
        return getattr(torch, text[6:]) if text.startswith("torch.") else torch.device(text)
    parts = [decode(each, tensors) for each in inner or ()]
    if tag == "module":
        state: OrderedDict[str, Any] = OrderedDict(parts)
        versions = decode(value["versions"], tensors)
        if versions is not None:
            state._metadata = OrderedDict(versions)  # type: ignore[attr-defined]
        return state
    if tag == "complex":
        return complex(*parts)
    if tag == "Counter":
        return Counter(dict(parts))
    kinds = {"dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset}
    if tag in kinds:
        return kinds[tag](parts)
    raise CorruptionError(f"damo.torch: the checkpoint has a value of the unknown kind {tag!r}")


def _decode_tensor(value: dict[str, Any], tensor: torch.Tensor) -> Any:
    if value[_TAG] == "tensor":
        return tensor
    data = tensor.numpy().tobytes()
    if value[_TAG] == "bytes":
        return data
    return np.frombuffer(data, np.dtype(value["dtype"])).reshape(value["shape"]).copy()
