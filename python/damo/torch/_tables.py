"""The tables of a collection: how they are described, and the layers that have their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Sequence, SupportsIndex

import torch
from torch import nn

from .._arrays import group as number
from .._choices import BagMode
from .._embedding import Embedding as Rows
from .._filter import Filter
from .._storage import Storage
from ..initializers import Initializer
from ..optimizers import Optimizer
from ._torchrec import names_table_arguments
from .embedding import Layer


@dataclass
class TableConfig:
    """A table of EmbeddingCollection or EmbeddingBagCollection.

    name: what state_dict and summary call it. It has no dots.
    dim, optimizer, initializer, padding_idx, filter: as for damo.torch.Embedding.
    features: the names of the features that read it; None: one, of the table's name.
    pooling: "sum", "mean" or "max", in an EmbeddingBagCollection; None: "mean" there.
    group: the name or number of its group in the storage; None: its name.
    rows: a damo.Embedding in place of dim, optimizer, initializer, filter and group.
    """

    name: str
    dim: SupportsIndex | None = None
    optimizer: Optimizer | None = None
    features: Sequence[str] | None = None
    initializer: Initializer | None = None
    pooling: BagMode | None = None
    padding_idx: SupportsIndex | None = None
    filter: Filter | None = None
    group: str | SupportsIndex | None = None
    rows: Rows | None = None


TableConfig.__init__ = names_table_arguments(TableConfig.__init__)  # type: ignore[method-assign]


class Table(Layer):
    """The rows of one table of a collection, which reads them."""

    def forward(self, *_given: Any) -> torch.Tensor:
        raise TypeError(
            "damo.torch: a table of a collection is read by its collection: collection(features)."
            " table.rows.lookup(ids) and peek(ids) read rows, too"
        )


def check_configs(
    tables: Any, has_pooling: bool
) -> tuple[list[TableConfig], list[tuple[str, str, BagMode | None]]]:
    """The configs, and for each feature its name, its table's name and its pooling.

    Raises TypeError or ValueError before any group is opened.
    """
    if isinstance(tables, TableConfig) or not isinstance(tables, Iterable):
        raise TypeError(
            "damo.torch: tables must be a list of damo.torch.TableConfig, not"
            f" {type(tables).__name__}"
        )
    configs = list(tables)
    names: set[str] = set()
    features: list[tuple[str, str, BagMode | None]] = []
    for config in configs:
        if not isinstance(config, TableConfig):
            raise TypeError(
                "damo.torch: each of tables must be a damo.torch.TableConfig, not"
                f" {type(config).__name__}"
            )
        _check_name(config.name, names)
        pooling = _pooling(config, has_pooling)
        for feature in _features(config):
            if any(feature == known for known, _, _ in features):
                raise ValueError(
                    f"damo.torch: the feature {feature!r} is there twice; features of a collection"
                    " need names of their own"
                )
            features.append((feature, config.name, pooling))
    if not configs:
        raise ValueError("damo.torch: tables is empty; a collection needs one table at least")
    return configs, features


def _check_name(name: Any, names: set[str]) -> None:
    if not isinstance(name, str):
        raise TypeError(f"damo.torch: a table's name must be a string, not {type(name).__name__}")
    if not name or "." in name or hasattr(nn.ModuleDict, name):
        raise ValueError(
            f"damo.torch: {name!r} cannot be the name of a table, since torch has modules by these"
            " names: no dots, not empty, and no method of torch.nn.ModuleDict; its group may have"
            " any name (group=)"
        )
    if name in names:
        raise ValueError(f"damo.torch: there are two tables named {name!r}")
    names.add(name)


def _pooling(config: TableConfig, has_pooling: bool) -> BagMode | None:
    if config.pooling not in (None, "sum", "mean", "max"):
        raise ValueError(
            f"damo.torch: pooling of table {config.name!r} is {config.pooling!r}; it must be 'sum',"
            " 'mean' or 'max'"
        )
    if has_pooling:
        return config.pooling or "mean"
    if config.pooling is not None:
        raise ValueError(
            f"damo.torch: table {config.name!r} has pooling {config.pooling!r}, and an"
            " EmbeddingCollection pools nothing; EmbeddingBagCollection does"
        )
    return None


def _features(config: TableConfig) -> list[str]:
    if config.features is None:
        return [config.name]
    if isinstance(config.features, str) or not isinstance(config.features, Iterable):
        raise TypeError(
            f"damo.torch: features of table {config.name!r} must be a list of names, not"
            f" {config.features!r:.80}"
        )
    found = list(config.features)
    for feature in found:
        if not isinstance(feature, str):
            raise TypeError(
                f"damo.torch: the features of table {config.name!r} must be strings, not"
                f" {type(feature).__name__}"
            )
    if not found:
        raise ValueError(f"damo.torch: table {config.name!r} has no features; it needs one")
    return found


def open_tables(
    storage: Storage, configs: Sequence[TableConfig], dtype: torch.dtype | None
) -> dict[str, Table]:
    """The tables by their names. Raises TypeError or ValueError, and empties no group.

    Two tables of one group are refused before a group is opened, so that no new one is left. Only
    a number that a new name gets is not known before.
    """
    named = storage.names
    known: dict[int | str, str] = {}
    for config in configs:
        group = _group_of(storage, config, named)
        if group is not None:
            _check_group(config.name, group, known)
    made: dict[str, Table] = {}
    opened: dict[int | str, str] = {}
    for config in configs:
        made[config.name] = table = _open(storage, config, dtype)
        _check_group(config.name, table.rows.group, opened)
    return made


def _group_of(storage: Storage, config: TableConfig, named: dict[str, int]) -> int | str | None:
    """The number of a table's group, or its name if it is new. None if it will be refused.

    named: the numbers of the groups that have names.
    """
    if config.rows is not None:
        is_here = isinstance(config.rows, Rows) and config.rows.storage is storage
        return config.rows.group if is_here else None
    group = config.name if config.group is None else config.group
    if isinstance(group, str):
        return named.get(group, group)
    try:
        return number(group)
    except (TypeError, ValueError):
        return None


def _check_group(name: str, group: int | str, known: dict[int | str, str]) -> None:
    """Raises ValueError if a table of known, by their groups, has the group of the table name."""
    other = known.setdefault(group, name)
    if other != name:
        raise ValueError(
            f"damo.torch: the tables {other!r} and {name!r} have the same group,"
            f" {group!r}; one table may have several features (features=[...])"
        )


def _open(storage: Storage, config: TableConfig, dtype: torch.dtype | None) -> Table:
    options: dict[str, Any] = {
        "optimizer": config.optimizer,
        "initializer": config.initializer,
        "padding_idx": config.padding_idx,
        "filter": config.filter,
        "dtype": dtype,
    }
    try:
        if config.rows is not None:
            if isinstance(config.rows, Rows) and config.rows.storage is not storage:
                raise ValueError(
                    f"damo.torch: its rows are in {config.rows.storage!r}, and the collection's in"
                    f" {storage!r}"
                )
            return Table(config.rows, config.group, config.dim, **options)
        group = config.name if config.group is None else config.group
        return Table(storage, group, config.dim, **options)
    except (TypeError, ValueError) as error:
        text = str(error).replace("damo.torch: ", "", 1)
        raise type(error)(f"damo.torch: table {config.name!r}: {text}") from None
