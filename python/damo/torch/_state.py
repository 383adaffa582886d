"""The state_dict of a layer: it says which rows it was saved with, and at which moment.

load_state_dict compares that with the rows that are there. The rows themselves are in the storage,
which has checkpoints of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from ._moments import State, decode, differences, encode, probe
from ._readers import StorageReader, TableReader

_VERSION = 2
_KEY = "_extra_state"

_SHOWN = 5
"""The number of layers whose reasons an error gives."""
_any_moment: ContextVar[bool] = ContextVar("damo.torch: rows of any moment", default=False)


class StateError(ValueError, RuntimeError):
    """A state_dict or checkpoint is of other rows than the model's, or of another moment of them.

    It is raised before anything in the model has changed, except if a hook renames the keys of the
    state_dict while it is loaded: the message says so.
    """

    __module__ = "damo.torch"


@contextmanager
def rows_of_any_moment() -> Iterator[None]:
    """A context in which load_state_dict loads the dense part, whatever the moment of the rows.

    Rows of another group, dim or optimizer are still a StateError.
    """
    token = _any_moment.set(True)
    try:
        yield
    finally:
        _any_moment.reset(token)


class RowsState(nn.Module):
    """The methods of a layer that state_dict and load_state_dict call."""

    reader: StorageReader | TableReader
    anchor: nn.Parameter

    def get_extra_state(self) -> torch.Tensor:
        """Which rows these are and at which moment, as a uint8 tensor. state_dict calls this."""
        mine = self._identity()
        if isinstance(self.reader, StorageReader):
            mine["probes"] = probe(self.reader.rows, self.reader.read_last)
        return encode(mine)

    def set_extra_state(self, state: Any) -> None:
        """Raises StateError unless the rows are those of a state_dict. load_state_dict calls this.

        It changes nothing. load_state_dict has compared all layers of a model before it calls this,
        except those whose keys a hook of torch renames.
        """
        if found := self._compare(state):
            raise _error([found], "other modules may have been loaded before")

    def _identity(self) -> State:
        if not isinstance(self.reader, StorageReader):
            return {"version": _VERSION, "group": self.reader.group, "dim": self.reader.dim}
        rows = self.reader.rows
        return {
            "version": _VERSION,
            "name": rows.name,
            "group": rows.group,
            "dim": rows.dim,
            "optimizer": rows.optimizer.name,
            "step": rows.step,
            "checkpoint": rows.storage.checkpoint_id,
            "storage": rows.storage.path,
        }

    def _compare(self, given: Any) -> str | None:
        """Why a state does not fit these rows; None if it does."""
        # In version 1 a state was a dict.
        state = decode(given) if isinstance(given, torch.Tensor) else given
        if state is None and isinstance(given, torch.Tensor) and _any_moment.get():
            return None
        if (
            not isinstance(state, Mapping)
            or state.get("version") not in (1, _VERSION)
            or not {"group", "dim"} <= set(state)
        ):
            shown = (
                f"a tensor of {given.dtype}, shape {tuple(given.shape)}"
                if isinstance(given, torch.Tensor)
                else repr(given)
            )
            return (
                f"{self.reader!r}: the state is neither the tensor that state_dict has of this "
                f"layer, nor a dict with group, dim and version 1; "
                f"it may have been changed: {shown}"
            )
        mine = self._identity()
        both_named = state.get("name") is not None and mine.get("name") is not None
        for field in ("name" if both_named else "group", "dim", "optimizer"):
            if field in state and field in mine and state[field] != mine[field]:
                return (
                    f"{self.reader!r}: the state is of rows with {field} {state[field]!r}, and "
                    f"these have {mine[field]!r}"
                )
        if _any_moment.get() or not isinstance(self.reader, StorageReader):
            return None
        found = differences(dict(state), mine, self.reader.rows)
        return None if found is None else f"{self.reader!r}: {found}"

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        # The anchor is always zero, and state_dicts of earlier versions lack it.
        super()._load_from_state_dict(
            {**state_dict, prefix + "anchor": self.anchor}, prefix, *arguments
        )


def _error(found: list[str], done: str) -> StateError:
    if len(found) > _SHOWN:
        names = ", ".join(line.partition(":")[0] for line in found[_SHOWN:])
        found = [*found[:_SHOWN], f"and {len(found) - _SHOWN} more layers: {names}"]
    return StateError(
        "damo.torch: the rows are not those of this state_dict, or of another moment, and "
        f"{done}:\n  "
        + "\n  ".join(found)
        + "\nLoad the rows of that moment first: damo.torch.load_checkpoint loads rows and "
        "dense part, storage.load_from_checkpoint the rows. To load the dense part only: "
        "with damo.torch.rows_of_any_moment(): model.load_state_dict(...)"
    )


def check_state_dict(model: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """Raises one StateError that names all layers whose rows the state_dict does not fit.

    It also names layers for which the state_dict has the weight of a torch.nn.Embedding.
    """
    wrong = []
    for name, layer in model.named_modules():
        if not isinstance(layer, RowsState):
            continue
        prefix = f"{name}." if name else ""
        found = layer._compare(state_dict[prefix + _KEY]) if prefix + _KEY in state_dict else None
        if found is None and prefix + "weight" in state_dict and not _any_moment.get():
            found = (
                f"{layer.reader!r}: the state_dict has {prefix}weight, of a torch.nn.Embedding. "
                "Rows do not come with a state_dict: store it with "
                "layer.rows.insert(range(len(weight)), weight), or load it into the "
                "torch.nn.Embedding and damo.torch.convert the model"
            )
        if found is not None:
            wrong.append(f"{name or type(model).__name__}: {found}")
    if wrong:
        raise _error(wrong, "nothing was loaded")


# torch calls set_extra_state too late: it has copied parameters of other modules by then. So
# load_state_dict is replaced by a function that compares all layers first. If this module is
# reloaded, the new replacement calls torch's own function, not the old replacement.
_load_state_dict = getattr(nn.Module.load_state_dict, "_damo_calls", nn.Module.load_state_dict)


@functools.wraps(_load_state_dict)
def _checked_load_state_dict(
    self: nn.Module, state_dict: Mapping[str, Any], *arguments: Any, **options: Any
) -> Any:
    # torch itself refuses anything but a Mapping.
    if isinstance(state_dict, Mapping):
        check_state_dict(self, state_dict)
    return _load_state_dict(self, state_dict, *arguments, **options)


setattr(_checked_load_state_dict, "_damo_calls", _load_state_dict)
setattr(nn.Module, "load_state_dict", _checked_load_state_dict)
