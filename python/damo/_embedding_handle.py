"""EmbeddingHandle: opening a group, and what it was opened with."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, SupportsIndex

from . import _arrays, _c_api
from ._choices import Duplicates
from ._handles import Handle
from ._params import Params
from .initializers import Initializer
from .optimizers import Optimizer

if TYPE_CHECKING:
    from ._storage import Storage


class EmbeddingHandle(Handle):
    """A damo_embedding of damo.h, which is open. damo.Embedding is built on it.

    name_or_group and all after it: as for Storage.embedding. duplicates None is "sequential".
    """

    def __init__(
        self,
        storage: "Storage",
        name_or_group: str | SupportsIndex,
        *,
        dim: SupportsIndex,
        optimizer: Optimizer,
        initializer: Initializer,
        duplicates: Duplicates | None,
        padding_key: SupportsIndex | None,
        **options: float | str | None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"damo: optimizer must be a damo.Optimizer, not {type(optimizer).__name__}"
            )
        if not isinstance(initializer, Initializer):
            raise TypeError(
                f"damo: initializer must be a damo.Initializer, not {type(initializer).__name__}"
            )
        self.storage = storage
        self._name = name_or_group if isinstance(name_or_group, str) else None
        group = (
            _c_api.GROUP_BY_NAME if isinstance(name_or_group, str) else _arrays.group(name_or_group)
        )
        self.dim = _arrays.integer(dim, "dim", 1, 262144)
        self.optimizer, self.initializer, self.duplicates = (
            optimizer,
            initializer,
            duplicates or "sequential",
        )
        self._row_len = optimizer.row_len(self.dim)
        self.padding_key = None if padding_key is None else _arrays.key(padding_key, "padding_key")
        # Limits and non_finite: what is handed over for different ones is not added up.
        self._conditions = {name: value for name, value in options.items() if value is not None}
        bag = Params(
            {
                "duplicates": duplicates,
                "padding_key": self.padding_key,
                "name": self._name,
                **self._conditions,
            }
        )
        super().__init__(
            _c_api.damo_embedding_new,
            _c_api.damo_embedding_free,
            storage._use(),
            optimizer._use(),
            initializer._use(),
            self.dim,
            group,
            bag._use(),
        )
        bag.close()
        self.group = _c_api.read(
            ctypes.c_uint32, lambda number: _c_api.damo_embedding_group(self._use(), number)
        )

    @property
    def name(self) -> str | None:
        """The group's name, or None."""
        # Looked up on first use: it takes a description of all groups.
        if self._name is None and not self.closed:
            names = self.storage.names.items()
            self._name = next((name for name, group in names if group == self.group), None)
        return self._name

    def __repr__(self) -> str:
        name = self.name
        called = f"{name!r} (group {self.group})" if name is not None else f"group {self.group}"
        closed = ", closed" if self.closed else ""
        return (
            f"<damo.Embedding {called} of {self.storage.path!r}, dim {self.dim},"
            f" {self.optimizer.name}{closed}>"
        )
