"""Saves and loads as one: a model's dense part, its rows, optimizers and further objects."""

from __future__ import annotations

import inspect
import os
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn

from .._errors import CorruptionError, NotFoundError
from ._folder import Manifest, Unfinished, check_free, opened, place_of, sync
from ._layers import check_rows, check_writable, describe, layers_of, match, steps_of, storages_of
from ._plain import Encoder, decode
from ._restore import Restore

_TENSORS = "tensors.pt"


def save_checkpoint(
    model: nn.Module,
    optimizer: Any,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = True,
    **more: Any,
) -> None:
    """Saves model, optimizer and the rows of all layers to the directory path.

    optimizer: one, a list of them, or None.
    overwrite: True replaces a checkpoint at path, once the new one is whole and on disk. False
    makes it a FileExistsError. Anything else at path is one anyway, except an empty directory.
    more: further objects and values, by name. Of an object with state_dict and load_state_dict (a
    schedule, a GradScaler) the state is saved. Values may be numbers, strings, bytes, tensors,
    arrays, None, and lists, tuples, sets and dicts of them; load_checkpoint returns them.

    The directory appears when it is whole. Its rows are hard links (Storage.checkpoint). Gradients
    that wait for a step are not saved. Do not train meanwhile: if rows have had a step when
    everything is written, a RuntimeError is raised and nothing is saved.

    Raises TypeError for what cannot be saved, ValueError for a model that was loaded for serving
    and for a path within a storage's directory or another checkpoint, damo.IoError, and OSError.
    """
    layers = layers_of(model)
    place = place_of(path)
    check_free(place, overwrite)
    steps = steps_of(layers)
    encoder = Encoder()
    states = {
        "optimizers": [
            encoder.encode(each.state_dict(), f"optimizer[{at}]", functions=True)
            for at, each in enumerate(_optimizers(optimizer))
        ],
        "more": {name: _encode_more(encoder, name, value) for name, value in more.items()},
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    with Unfinished(place) as new:
        storages = storages_of(layers)
        for number, storage in enumerate(storages):
            storage.checkpoint(_rows(new.folder, number))
        states["model"] = encoder.state_dict(model.state_dict(), "model")
        manifest: Manifest = {
            "states": states,
            "tensors": _write(new.folder / _TENSORS, encoder.tensors),
            "storages": [describe(layers, storage) for storage in storages],
        }
        if steps_of(layers) != steps:
            raise RuntimeError(
                "damo.torch: rows were trained while they were saved; nothing is saved"
            )
        new.publish(manifest)


@overload
def load_checkpoint(
    path: str | os.PathLike[str], model: nn.Module, optimizer: Any = None, **more: Any
) -> dict[str, Any]: ...


@overload
def load_checkpoint(
    path: nn.Module, model: Any, optimizer: str | os.PathLike[str], **more: Any
) -> dict[str, Any]: ...


def load_checkpoint(path: Any, model: Any, optimizer: Any = None, **more: Any) -> dict[str, Any]:
    """Loads what save_checkpoint saved, all of it or nothing. Returns a dict of values by name.

    path, model and optimizer may also be given in save_checkpoint's order: model, optimizer, path.

    optimizer: as many as were saved, in the same order, or None, which loads none of them. The
    learning rates of rows are loaded together with the optimizers, or if no optimizer was saved.
    more: an object with load_state_dict gets the state that was saved by this name. Any other value
    is a default, which is returned if the checkpoint has no value by this name. A saved state is
    returned as it is if no object is given for it.

    Everything in a storage of the model is replaced, also groups that the model does not use
    (Storage.load_from_checkpoint). Embeddings, layers and prefetching that are open go on with the
    loaded rows. The checkpoint stays as it is, and can be loaded any number of times. Do not train
    meanwhile.

    Checksums, layers and storages are checked before anything changes. If something fails later,
    the model, optimizers, objects and rows become what they were. If that fails, too, a
    RuntimeError names those that are in doubt.

    Raises FileNotFoundError if there is no checkpoint, or it has no state by a name;
    damo.CorruptionError; damo.torch.StateError if the layers do not fit; ValueError for another
    number of optimizers; what load_state_dict of model, optimizers and objects raises;
    damo.BusyError while an iterator or a dump of a storage is under way; and damo.NotSupportedError
    for a storage that is open with read_only.
    """
    if isinstance(path, nn.Module):
        path, model, optimizer = optimizer, path, model
    layers = layers_of(model)
    with opened(place_of(path)) as (folder, manifest):
        storages = match(layers, manifest["storages"])
        tensors = _read(folder / _TENSORS, manifest["tensors"])
        states = decode(manifest["states"], tensors)
        optimizers = [] if optimizer is None else _optimizers(optimizer)
        if optimizers and len(optimizers) != len(states["optimizers"]):
            raise ValueError(
                f"damo.torch: the checkpoint has {len(states['optimizers'])} optimizers, and "
                f"{len(optimizers)} are given"
            )
        objects = {name: value for name, value in more.items() if _has_state(value)}
        _check_more(states["more"], objects)
        for number, storage in enumerate(storages):
            check_writable(storage)
            check_rows(_rows(folder, number), manifest["storages"][number])
        with Restore() as restore:
            restore.model(model, states["model"])
            for at, each in enumerate(optimizers):
                restore.state(f"optimizer[{at}]", each, states["optimizers"][at])
            for name, each in objects.items():
                restore.state(name, each, states["more"][name]["state"])
            if optimizers or not states["optimizers"]:
                for part in manifest["storages"]:
                    for name, entry in part["layers"].items():
                        restore.learning_rate(layers[name].rows, entry["learning_rate"])
            for number, storage in enumerate(storages):
                is_last = number == len(storages) - 1
                restore.rows(storage, _rows(folder, number), is_last)
    values = {name: next(iter(entry.values())) for name, entry in states["more"].items()}
    return {
        **{name: value for name, value in more.items() if name not in objects},
        **{name: value for name, value in values.items() if name not in objects},
    }


def rows_in_checkpoint(path: str | os.PathLike[str]) -> list[str]:
    """The directories with the rows of a checkpoint, one for each storage.

    They are in the order of the model's layers. Each is a checkpoint of Storage: read it with
    damo.Storage(directory, read_only=True). To train on it, copy it with Storage.checkpoint first,
    since load_checkpoint refuses a checkpoint whose rows were trained.

    Raises FileNotFoundError if there is no checkpoint, and damo.CorruptionError.
    """
    with opened(place_of(path)) as (folder, manifest):
        return [str(_rows(folder, number)) for number in range(len(manifest["storages"]))]


def _rows(folder: Path, number: int) -> Path:
    return folder / f"rows-{number}"


def _has_state(value: Any) -> bool:
    return callable(getattr(value, "state_dict", None)) and callable(
        getattr(value, "load_state_dict", None)
    )


def _optimizers(given: Any) -> list[Any]:
    found = [] if given is None else list(given) if isinstance(given, Sequence) else [given]
    for each in found:
        if not _has_state(each):
            raise TypeError(
                "damo.torch: optimizer must be an optimizer, a list of them or None, not "
                f"{type(each).__name__}; what else is to be saved is given by name"
            )
    return found


def _encode_more(encoder: Encoder, name: str, value: Any) -> dict[str, Any]:
    if not _has_state(value):
        return {"value": encoder.encode(value, name)}
    state = value.state_dict()
    if isinstance(value, nn.Module):
        return {"state": encoder.state_dict(state, name)}
    return {"state": encoder.encode(state, name, functions=True)}


def _check_more(saved: dict[str, Any], objects: dict[str, Any]) -> None:
    for name in objects:
        if "state" not in saved.get(name, ()):
            has = ", ".join(f"{known!r}" for known, entry in saved.items() if "state" in entry)
            raise NotFoundError(
                f"damo.torch: the checkpoint has no state for {name!r}; it has {has or 'none'}"
            )


def _write(path: Path, tensors: list[torch.Tensor]) -> dict[str, int]:
    """Writes the file, and syncs it to disk. Returns its size in bytes and its checksum."""
    with open(path, "x+b") as file:
        torch.save(tensors, file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        told = {"bytes": os.fstat(file.fileno()).st_size, "crc32": _checksum(file)}
    sync(path.parent)
    return told


def _checksum(file: Any) -> int:
    checksum = 0
    while data := file.read(1 << 20):
        checksum = zlib.crc32(data, checksum)
    return checksum


def _read(path: Path, told: dict[str, int]) -> list[torch.Tensor]:
    options: dict[str, Any] = {}
    if "weights_only" in inspect.signature(torch.load).parameters:
        options["weights_only"] = True
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != told["bytes"] or _checksum(file) != told["crc32"]:
            raise CorruptionError(f"damo.torch: {path} is damaged")
        file.seek(0)
        try:
            tensors: list[torch.Tensor] = torch.load(file, map_location="cpu", **options)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CorruptionError(f"damo.torch: {path} is damaged: {error}") from error
    return tensors
