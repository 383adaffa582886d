"""Loading that is undone if it fails: earlier states are put back, in reverse order."""

from __future__ import annotations

import copy
import itertools
import os
import shutil
from pathlib import Path
from typing import Any, Callable

import torch
from torch import nn

from .._embedding import Embedding
from .._storage import Storage
from ._folder import remove_stale
from ._state import rows_of_any_moment

_count = itertools.count()


class Restore:
    """A context in which states are loaded. If an exception leaves it, all become what they were.

    Raises RuntimeError, which names what is in doubt, if that fails, too.
    """

    def __init__(self) -> None:
        self._undo: list[tuple[str, Callable[[], Any]]] = []
        self._copies: list[Path] = []

    def __enter__(self) -> Restore:
        return self

    def __exit__(self, _kind: Any, error: BaseException | None, _traceback: Any) -> None:
        try:
            if error is not None:
                self._put_back(error)
        finally:
            for copied in self._copies:
                shutil.rmtree(copied, ignore_errors=True)

    def _put_back(self, error: BaseException) -> None:
        failed = []
        for what, undo in reversed(self._undo):
            try:
                undo()
            except Exception as another:
                failed.append(f"{what} ({another})")
        if failed:
            raise RuntimeError(
                f"damo.torch: loading failed ({error}), and what was there before could not be put "
                f"back everywhere. In doubt are: {'; '.join(failed)}. The rest is as it was. Load "
                "a checkpoint before training goes on"
            ) from error

    def model(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Loads the dense part, whatever the moment of the rows: they are loaded later."""
        before = model.state_dict()
        for name, value in before.items():
            is_tensor = isinstance(value, torch.Tensor)
            before[name] = (
                value.detach().to("cpu", copy=True) if is_tensor else copy.deepcopy(value)
            )
        self._undo.append(("the model", lambda: _load_dense(model, before)))
        _load_dense(model, state)

    def state(self, what: str, thing: Any, state: Any) -> None:
        """Loads the state of an optimizer or of another object. what: its name, for messages."""
        before = copy.deepcopy(thing.state_dict())
        self._undo.append((what, lambda: thing.load_state_dict(before)))
        thing.load_state_dict(state)

    def learning_rate(self, rows: Embedding, rate: float) -> None:
        """Sets the learning rate of rows' optimizer."""
        before = rows.optimizer.learning_rate

        def undo() -> None:
            rows.optimizer.learning_rate = before

        self._undo.append((f"the learning rate of {rows!r}", undo))
        rows.optimizer.learning_rate = rate

    def rows(self, storage: Storage, folder: Path, is_last: bool) -> None:
        """Loads the rows of a storage from folder. If this itself fails, they are what they were.

        is_last: whether nothing that can fail follows. If so, no copy is kept to put back.
        """
        if is_last:
            storage.load_from_checkpoint(folder)
            return
        place = Path(storage.path)
        prefix = f".{place.name}.damo-before."
        remove_stale(place.parent, prefix)
        before = place.with_name(f"{prefix}{os.getpid()}.{next(_count)}")
        self._copies.append(before)
        storage.checkpoint(before)
        self._undo.append((f"the rows of {storage!r}", lambda: None))
        storage.load_from_checkpoint(folder)
        self._undo[-1] = (f"the rows of {storage!r}", lambda: storage.load_from_checkpoint(before))


def _load_dense(model: nn.Module, state: Any) -> None:
    with rows_of_any_moment():
        model.load_state_dict(state)
