"""Collection, the base class of EmbeddingCollection and EmbeddingBagCollection."""

from __future__ import annotations

from typing import Any, Iterable, Literal, Sequence

import torch
from torch import nn

from .._storage import Storage
from ._given import Wanted, check_matrix, read_given
from ._names import check_fresh
from ._parts import Options, StepPool
from ._readers import StorageReader
from ._reading import Feature, read
from ._tables import Table, TableConfig, check_configs, open_tables
from ._tracers import not_compiled, refusal

Output = Literal["dict", "tensor"]


class Collection(nn.Module):
    """Tables and the features that read them."""

    _has_pooling = False

    def __init__(
        self,
        storage: Storage,
        tables: Iterable[TableConfig],
        *,
        output: Output,
        include_last_offset: bool,
        dtype: torch.dtype | None,
        fresh: bool,
        options: Options,
    ) -> None:
        super().__init__()
        check_fresh(fresh)
        if not isinstance(storage, Storage):
            raise TypeError(
                f"damo.torch: storage must be a damo.Storage, not {type(storage).__name__}"
            )
        if output not in ("dict", "tensor"):
            raise ValueError(f"damo.torch: output is {output!r}; it must be 'dict' or 'tensor'")
        configs, self._places = check_configs(tables, self._has_pooling)
        self.output: Output = output
        self.include_last_offset = include_last_offset
        self._steps = StepPool(options)
        if self._steps.options:
            # Wrong options are refused before a group is opened.
            self._steps.give(self._steps.take(storage))
        self.tables = nn.ModuleDict(open_tables(storage, configs, dtype))
        for table in self.tables.values():
            if isinstance(table.reader, StorageReader):
                table.reader.gradients.pool = self._steps
        # Empties groups only after every check has passed.
        if fresh:
            self.reset_parameters()

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in the order of the tables."""
        return tuple(name for name, _, _ in self._places)

    @property
    def dims(self) -> dict[str, int]:
        """The dim of each feature."""
        return {name: self._table(table).embedding_dim for name, table, _ in self._places}

    def reset_parameters(self) -> None:
        """Empties the groups of all tables, for all their users."""
        for table in self.tables.values():
            table.reset_parameters()

    def extra_repr(self) -> str:
        named = (f"{name} of {table}" if name != table else name for name, table, _ in self._places)
        options = (f"; {name}={value!r}" for name, value in self._steps.options.items())
        return f"features={', '.join(named)}; output={self.output!r}{''.join(options)}"

    def __prepare_scriptable__(self) -> Any:
        # torch.jit.script calls this for every module in a model.
        raise refusal("torch.jit.script")

    def prefetch(self, features: Any) -> None:
        """Brings the rows of features, as forward takes them, into memory in the background.

        Returns at once, and makes no row.
        """
        for feature in self._read_given(features):
            feature.reader.prefetch(feature.given.ids)

    def _table(self, name: str) -> Table:
        table = self.tables[name]
        assert isinstance(table, Table)
        return table

    def _read_given(self, features: Any) -> list[Feature]:
        """The features with what is given for them."""
        tables = [self._table(table) for _, table, _ in self._places]
        wanted = [
            Wanted(name, pooling, table._dtype())
            for (name, _, pooling), table in zip(self._places, tables)
        ]
        given = read_given(features, wanted, self.include_last_offset, type(self).__name__)
        return [Feature(*each) for each in zip(given, tables, wanted)]

    # The checks read the values of offsets, which would break a compiled graph anyway.
    @not_compiled
    def _run(self, features: Any) -> dict[str, torch.Tensor] | torch.Tensor:
        """The rows or bags of features. All checks come before the read, which makes rows."""
        each = self._read_given(features)
        is_matrix = self.output == "tensor"
        if is_matrix:
            check_matrix([one.given for one in each], [one.pooling for one in each])
            _check_dtypes(each)
        rows, is_whole = read(each, self._steps, is_matrix)
        if is_whole:
            return rows[0]
        pooled = [one.late(found) for one, found in zip(each, rows)]
        if is_matrix:
            return torch.cat(pooled, 1)
        return {one.given.name: _shaped(found, one.given.shape) for one, found in zip(each, pooled)}


def _shaped(rows: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return rows if len(shape) == 1 else rows.view(*shape, rows.shape[-1])


def _check_dtypes(features: Sequence[Feature]) -> None:
    dtypes = {feature.dtype for feature in features}
    if len(dtypes) > 1:
        raise TypeError(
            "damo.torch: output='tensor' needs one dtype for all tables, and they have"
            f" {', '.join(sorted(map(str, dtypes)))}"
        )
