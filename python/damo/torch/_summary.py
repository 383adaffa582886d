"""A table of a model's layers with their rows and bytes, which no list of parameters shows."""

from __future__ import annotations

import torch
from torch import nn

from ._readers import StorageReader, TableReader
from .embedding import Layer

_HEAD = ("layer", "kind", "group", "dim", "rows", "bytes a row", "bytes")


def _line(name: str, layer: Layer, count: bool) -> tuple[str, ...]:
    reader = layer.reader
    rows: int | None = None
    if isinstance(reader, StorageReader):
        group = str(reader.rows.group) if reader.rows.name is None else repr(reader.rows.name)
        # The optimizer's state is stored with the weights.
        row_bytes = 4 * reader.rows.optimizer.row_len(reader.dim)
        rows = len(reader.rows) if count else None
    else:
        group, row_bytes = str(reader.group), 4 * reader.dim
        rows = reader.table.rows(reader.group) if reader.table is not None else None
    counted = (
        ("?", f"{row_bytes:,}", "?")
        if rows is None
        else (f"{rows:,}", f"{row_bytes:,}", f"{rows * row_bytes:,}")
    )
    return (name or "(the model)", type(layer).__name__, group, str(reader.dim), *counted)


def summary(model: nn.Module, *, count: bool = True) -> str:
    """A table of the damo.torch layers of a model: group, dim, rows, bytes a row, and bytes.

    Bytes are those of weights and optimizer state, or in a table for serving of weights as float32.
    Below are a line for each storage, with its bytes in memory and on disk, and one with the number
    of dense parameters.

    count: True counts the rows, which reads every row of a group and is slow for a large one. False
    shows ? instead, and for the storage RocksDB's estimate, which covers all groups and some
    deleted rows.
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, Layer)]
    lines = [_HEAD, *(_line(name, layer, count) for name, layer in layers)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    ]
    storages = {
        id(layer.rows.storage): layer.rows.storage
        for _, layer in layers
        if isinstance(layer.reader, StorageReader)
    }
    for storage in storages.values():
        memory, disk = storage.stat("bytes_in_memory"), storage.stat("bytes_on_disk")
        rows = "" if count else f"about {storage.stat('rows_estimate'):,} rows, "
        text.append(
            f"storage {storage.path}: {rows}{memory:,} bytes in memory, {disk:,} on disk"
        )
    files = {layer.reader.file for _, layer in layers if isinstance(layer.reader, TableReader)}
    text.extend(f"table {file}" for file in sorted(files))
    # Anchors stand for rows, so they are no dense parameters.
    anchors = {id(layer.anchor) for _, layer in layers}
    dense = [one for one in model.parameters() if id(one) not in anchors]
    numbers = sum(one.numel() for one in dense if not torch.nn.parameter.is_lazy(one))
    text.append(f"dense parameters: {numbers:,}")
    return "\n".join(text)
