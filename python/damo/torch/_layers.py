"""The layers of a model and the storages of their rows, as a checkpoint's manifest lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from .._errors import BusyError, Error, NotSupportedError
from .._storage import Storage
from ._readers import StorageReader
from ._state import RowsState, StateError
from .embedding import Layer

_IDENTITY = ("name", "group", "dim", "optimizer")


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """The layers of a model by their paths, as in state_dict.

    Raises TypeError for anything but a model, ValueError if a layer was loaded for serving.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"damo.torch: model must be a torch.nn.Module, not {type(model).__name__}")
    found = {name: module for name, module in model.named_modules() if isinstance(module, Layer)}
    for name, layer in found.items():
        if not isinstance(layer.reader, StorageReader):
            raise ValueError(
                f"damo.torch: the layer {name!r} was loaded for serving, without a storage"
            )
    return found


def storages_of(layers: dict[str, Layer]) -> list[Storage]:
    """The storages of the layers, each once, in the order of the layers."""
    return list({id(layer.rows.storage): layer.rows.storage for layer in layers.values()}.values())


def steps_of(layers: dict[str, Layer]) -> dict[str, int]:
    """The global step of each layer's group."""
    return {name: layer.rows.step for name, layer in layers.items()}


def describe(layers: dict[str, Layer], storage: Storage) -> dict[str, Any]:
    """The entry of a storage in a manifest, with those of layers that are in it."""
    described = {}
    for name, layer in layers.items():
        if layer.rows.storage is storage:
            known = RowsState._identity(layer)
            described[name] = {field: known[field] for field in (*_IDENTITY, "step")}
            described[name]["learning_rate"] = layer.rows.optimizer.learning_rate
    return {"checkpoint": storage.checkpoint_id, "path": storage.path, "layers": described}


def match(layers: dict[str, Layer], saved: list[dict[str, Any]]) -> list[Storage]:
    """The storages of the model, in the order of the saved ones.

    saved: the entries of a manifest. Raises StateError unless the layers are the same, and are
    distributed among storages in the same way.
    """
    known = {name: entry for part in saved for name, entry in part["layers"].items()}
    wrong = [f"{name}: the model has no such layer" for name in known if name not in layers]
    wrong += [f"{name}: the checkpoint has no such layer" for name in layers if name not in known]
    for name, entry in known.items():
        if name in layers:
            mine = RowsState._identity(layers[name])
            both_named = entry["name"] is not None and mine["name"] is not None
            for field in ("name" if both_named else "group", "dim", "optimizer"):
                if entry[field] != mine[field]:
                    wrong.append(f"{name}: {field} was {entry[field]!r}, and is {mine[field]!r}")
    _raise(wrong)
    matched = []
    for part in saved:
        own = storages_of({name: layers[name] for name in part["layers"]})
        if len(own) > 1:
            wrong.append(
                f"{', '.join(part['layers'])}: they were in one storage, and are in {len(own)}"
            )
        matched.append(own[0])
    if len(set(map(id, matched))) < len(matched):
        wrong.append("layers that were in several storages are in one")
    _raise(wrong)
    return matched


def _raise(wrong: list[str]) -> None:
    if wrong:
        raise StateError(
            "damo.torch: the checkpoint does not fit this model, and nothing was loaded:\n  "
            + "\n  ".join(wrong)
        )


def check_rows(folder: Path, saved: dict[str, Any]) -> None:
    """Compares the rows in folder with the manifest's entry of their storage. Changes nothing.

    Raises StateError if they were trained since, BusyError if folder is open as a storage, and
    another damo.Error if folder cannot be read.
    """
    try:
        with Storage(folder, read_only=True, cache_bytes=1 << 24) as rows:
            found = rows.describe()
    except Error as error:
        raise type(error)(f"damo.torch: the checkpoint's rows in {folder}: {error}") from error
    if found["read_only"]["is_open_elsewhere"]:
        raise BusyError(f"damo.torch: {folder} is open as a storage; close it before it is loaded")
    steps = {group["group"]: group["step"] for group in found["groups"]}
    wrong = [
        f"{name}: the checkpoint was saved at step {entry['step']}, and its rows in {folder} are "
        f"at {steps.get(entry['group'])}: it was opened as a storage and trained"
        for name, entry in saved["layers"].items()
        if steps.get(entry["group"]) != entry["step"]
    ]
    if found["checkpoint"] != saved["checkpoint"]:
        wrong.append(
            f"{folder} is of the checkpoint {found['checkpoint']}, not {saved['checkpoint']}"
        )
    _raise(wrong)


def check_writable(storage: Storage) -> None:
    """Raises NotSupportedError for a storage that is open with read_only."""
    if storage.describe()["read_only"] is not None:
        raise NotSupportedError(
            f"damo.torch: {storage.path} is open with read_only, so no rows can be loaded into it"
        )
