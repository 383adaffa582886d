"""Rows: a callback that saves rows with Lightning's checkpoints. Use it beside ModelCheckpoint.

    trainer = Trainer(callbacks=[damo.torch.lightning.Rows(), ModelCheckpoint(monitor="loss")])

Lightning must be installed (lightning, or pytorch_lightning). It is tested with 2.6.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from ._layers import check_rows, check_writable, describe, layers_of, match, storages_of
from ._restore import Restore

_KEY = "damo_rows"


def _imported() -> Any:
    """Lightning's package: the one that the program has imported, or else one that is installed."""
    names = ["lightning.pytorch", "pytorch_lightning"]
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise ImportError("damo.torch.lightning needs Lightning: pip install lightning")


_lightning = _imported()
_CheckpointIO: Any = import_module(f"{_lightning.__name__}.plugins.io").CheckpointIO
_Torch: Any = import_module(f"{_lightning.__name__}.plugins.io").TorchCheckpointIO


class Rows(_lightning.Callback):  # type: ignore[misc, name-defined]
    """Saves the rows of a model with each checkpoint of Lightning, and loads them with it.

    The rows are in the folder `NAME.ckpt.rows` beside `NAME.ckpt`, as hard links, and are removed
    with it. So dense part and rows are of one moment in the best, last and top-k checkpoints of
    ModelCheckpoint, in `ckpt_path` of fit, validate, test and predict, and in lr_find. Loading
    replaces all rows of the model's storages. Checkpoints must be in a local directory: a path with
    `://` is a ValueError.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Lightning calls this before it loads a checkpoint."""
        inner = trainer.strategy.checkpoint_io
        if isinstance(inner, _RowsIO):
            inner.model = pl_module
        else:
            trainer.strategy.checkpoint_io = _RowsIO(inner, pl_module)


def load_rows(path: str | os.PathLike[str], model: nn.Module) -> None:
    """Loads the rows of a checkpoint file of Lightning, but not its dense part.

    It is for use without a Trainer: load the rows first, and then the state_dict.

    Raises FileNotFoundError if the file was saved without the callback Rows, damo.torch.StateError
    if the layers do not fit, and damo.BusyError and other damo.Errors as damo.torch.load_checkpoint
    does.
    """
    place = Path(os.path.realpath(path))
    checkpoint = _Torch().load_checkpoint(place, map_location="cpu")
    if _KEY not in checkpoint:
        raise FileNotFoundError(f"damo.torch: {place} was saved without damo.torch.lightning.Rows")
    _load(place, checkpoint[_KEY], model)


def _folder(path: Any) -> Path:
    if "://" in str(path):
        raise ValueError(f"damo.torch: rows need a local directory, and the checkpoint is {path}")
    place = Path(path)
    return place.with_name(f"{place.name}.rows")


def _load(path: Any, saved: dict[str, Any], model: nn.Module) -> None:
    folder = _folder(os.path.realpath(path)) / saved["folder"]
    storages = match(layers_of(model), saved["storages"])
    for number, storage in enumerate(storages):
        check_writable(storage)
        check_rows(folder / f"rows-{number}", saved["storages"][number])
    with Restore() as restore:
        for number, storage in enumerate(storages):
            restore.rows(storage, folder / f"rows-{number}", number == len(storages) - 1)


class _RowsIO(_CheckpointIO):  # type: ignore[misc, valid-type]
    """A CheckpointIO around another one, which also saves and loads rows."""

    def __init__(self, inner: Any, model: nn.Module) -> None:
        self.inner, self.model = inner, model
        self._last: dict[str, str] = {}
        """By path, the name of the folder that was made last."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, *arguments: Any, **options: Any
    ) -> None:
        layers = layers_of(self.model)
        storages = storages_of(layers)
        folder = _folder(path)
        # Each save has a folder of its own: until it is replaced, the old checkpoint names the old
        # one.
        token = folder / secrets.token_hex(8)
        token.mkdir(parents=True)
        for number, storage in enumerate(storages):
            storage.checkpoint(token / f"rows-{number}")
        saved = [describe(layers, storage) for storage in storages]
        told = {**checkpoint, _KEY: {"folder": token.name, "storages": saved}}
        self.inner.save_checkpoint(told, path, *arguments, **options)
        # Another CheckpointIO may write in a thread, so the rows of the checkpoint before stay,
        # too.
        kept = {token.name, self._last.get(str(path)) if type(self.inner) is not _Torch else None}
        for older in folder.iterdir():
            if older.name not in kept:
                shutil.rmtree(older, ignore_errors=True)
        self._last[str(path)] = token.name

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> Any:
        checkpoint = self.inner.load_checkpoint(path, *arguments, **options)
        if _KEY in checkpoint:
            _load(path, checkpoint[_KEY], self.model)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        self.inner.remove_checkpoint(path)
        shutil.rmtree(_folder(path), ignore_errors=True)

    def teardown(self) -> None:
        self.inner.teardown()
