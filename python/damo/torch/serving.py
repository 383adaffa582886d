"""A model for serving: its dense part and serving tables, without a storage.

PATH/model.pt        the modules, pickled; their layers know their group and table
PATH/0.table ...     a table for each storage
PATH/manifest.json   the version, and the names of the tables
"""

from __future__ import annotations

import copy
import inspect
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._choices import ValueType
from .._errors import AlreadyExistsError, CorruptionError, NotSupportedError
from .._table import Table
from ._readers import StorageReader, TableReader
from .embedding import Layer

_VERSION = 1


def _for_serving(model: nn.Module, layers: list[Layer], files: dict[int, str]) -> nn.Module:
    """A copy of the whole model, whose layers read tables. files: the table of each id(storage)."""
    # copy.deepcopy takes the entry in memo for an object instead of a copy.
    memo: dict[int, Any] = {}
    for layer in layers:
        rows = layer.rows
        memo[id(layer.reader)] = TableReader(
            files[id(rows.storage)], rows.group, rows.dim, rows.padding_key
        )
    return copy.deepcopy(model, memo).eval()


def save_for_serving(
    model: nn.Module, path: str | os.PathLike[str], *, value_type: ValueType = "float32"
) -> None:
    """Writes model, as it is, to the directory path, which must not exist.

    value_type: "float32" tables give exactly the scores of model.eval(). "float16" and "int8" make
    smaller tables with rounded weights.

    The directory appears when it is whole. Do not train meanwhile, so that rows and dense part are
    of one moment. Raises FileExistsError, ValueError for a model without layers of damo.torch, and
    damo.IoError.
    """
    place = Path(os.fsdecode(path))
    if place.exists():
        raise AlreadyExistsError(
            f"damo.torch: {place} exists; a path that does not exist yet is needed"
        )
    layers = [module for module in model.modules() if isinstance(module, Layer)]
    if not layers or not all(isinstance(layer.reader, StorageReader) for layer in layers):
        raise ValueError("damo.torch: the model has no damo.torch layers with a storage")
    storages = {id(layer.rows.storage): layer.rows.storage for layer in layers}
    files = {number: f"{index}.table" for index, number in enumerate(storages)}
    served = _for_serving(model, layers, files)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.damo-new")
    temporary.mkdir(parents=True)
    try:
        for number, storage in storages.items():
            storage.dump(temporary / files[number], format="table", value_type=value_type)
        torch.save(served, temporary / "model.pt")
        manifest = {"version": _VERSION, "tables": sorted(files.values())}
        (temporary / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        os.rename(temporary, place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load_for_serving(path: str | os.PathLike[str]) -> nn.Module:
    """The model that save_for_serving wrote to path, in eval mode, without a storage.

    Its tables are mapped into memory, which processes share. model.pt is a pickle: load only what
    you trust, where the model's classes can be imported.

    Raises FileNotFoundError, damo.CorruptionError, and damo.NotSupportedError for a directory of
    another version.
    """
    place = Path(os.fsdecode(path))
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        version, files = manifest["version"], manifest["tables"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"damo.torch: {place / 'manifest.json'} is damaged: {error}"
        ) from error
    if version != _VERSION:
        raise NotSupportedError(
            f"damo.torch: {place} has version {version}, and this package reads {_VERSION}"
        )
    tables = {file: Table(place / file) for file in files}
    # It is a pickle of whole modules, which newer versions of torch refuse by default.
    options = (
        {"weights_only": False}
        if "weights_only" in inspect.signature(torch.load).parameters
        else {}
    )
    try:
        model = torch.load(place / "model.pt", map_location="cpu", **options)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CorruptionError(f"damo.torch: {place / 'model.pt'} is damaged: {error}") from error
    for module in model.modules():
        if isinstance(module, Layer) and isinstance(module.reader, TableReader):
            module.reader.table = tables[module.reader.file]
    return model.eval()
