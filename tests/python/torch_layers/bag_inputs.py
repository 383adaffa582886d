"""Random inputs of bags: tables, and features that have bags of ids of theirs.

An input can be given to damo.Step, to an EmbeddingBagCollection, and to torch.nn.EmbeddingBag.
"""

from dataclasses import dataclass
from typing import Any, Optional

# Before the others: without torch it skips the file that imports this.
from support import torch  # isort: skip
from collection_support import Jagged
from random_inputs import IDS, PADDINGS, WITHOUT_ROWS

import damo
import damo.torch

nn = torch.nn
DIMS = (1, 3, 4, 17)
ALL_IDS = IDS + WITHOUT_ROWS
NAMES = ("user", "item", "tags", "words", "query", "title")


class Groups:
    """A group for each padding and dim that was asked for. They step by the gradient itself."""

    def __init__(self, storage):
        self.storage = storage
        self._rows = {}

    def rows(self, padding, dim):
        if (padding, dim) not in self._rows:
            self._rows[padding, dim] = self.storage.embedding(
                f"{padding} {dim}",
                dim=dim,
                optimizer=damo.SGD(lr=1.0),
                initializer=damo.Zeros(),
                padding_key=padding,
            )
        return self._rows[padding, dim]


@dataclass(repr=False)
class Table:
    """A group, its weights (IDS, then WITHOUT_ROWS, which are zeros), and torch's table."""

    name: str
    rows: Any
    mode: str
    padding: Optional[int]
    weight: torch.Tensor
    is_frozen: bool

    def __repr__(self):
        return f"{self.name} ({self.mode}, padding {self.padding}, dim {self.rows.dim})"

    def reset(self):
        kept = [place for place, number in enumerate(IDS) if number != self.padding]
        self.rows.insert([IDS[place] for place in kept], self.weight[kept].numpy())
        self.rows.delete(WITHOUT_ROWS)

    def as_torch(self):
        place = None if self.padding is None else IDS.index(self.padding)
        return nn.EmbeddingBag.from_pretrained(
            self.weight.double(), freeze=False, mode=self.mode, padding_idx=place
        )


@dataclass(repr=False)
class Bags:
    """The bags of a feature."""

    name: str
    table: Table
    sizes: list
    ids: torch.Tensor
    places: torch.Tensor
    """Where torch's table has the ids."""
    offsets: Optional[torch.Tensor]
    """None: ids have two dimensions."""
    weights: Optional[torch.Tensor]
    gradient: torch.Tensor
    """Of the bags."""

    def __repr__(self):
        return f"{self.name} of {self.table}"

    def flat(self, include_last_offset):
        """Ids, offsets and perhaps weights, for a Step."""
        offsets = self.offsets
        if offsets is None:
            ends = torch.tensor([0, *self.sizes]).cumsum(0)
            offsets = ends if include_last_offset else ends[:-1]
        parts = [self.ids.reshape(-1), offsets]
        if self.weights is not None:
            parts.append(self.weights.detach().reshape(-1).contiguous())
        return tuple(part.numpy() for part in parts)

    def given(self):
        """What a collection takes."""
        if self.weights is not None:
            return self.ids, self.offsets, self.weights
        return self.ids if self.offsets is None else (self.ids, self.offsets)


class Input:
    """Tables and features, and how they are given."""

    def __init__(self, draw, groups, is_wrong=False):
        self.draw, self.groups = draw, groups
        self.training, self.has_last = draw.random() < 0.7, draw.random() < 0.5
        self.is_keyed, self.is_matrix = draw.random() < 0.2, draw.random() < 0.4
        self.has_rows = self.training and not is_wrong
        self._count = draw.choice((0, 1, 2, 3, 6)) if self.is_keyed or self.is_matrix else None
        kinds = draw.sample([(padding, dim) for padding in PADDINGS for dim in DIMS], 3)
        modes = draw.choices(("sum", "mean", "max"), k=3)
        # Weights of a keyed tensor are for all features.
        is_weighted = self.is_keyed and draw.random() < 0.4
        if is_weighted:
            modes = ["sum"] * 3
        self.tables = []
        for number in range(draw.randint(1, 3)):
            padding, dim = kinds[number]
            weight = draw.floats((len(ALL_IDS), dim), 0.5)
            weight[len(IDS) :] = 0
            if padding is not None:
                weight[IDS.index(padding)] = 0
            rows = groups.rows(padding, dim)
            is_frozen = draw.random() < 0.1
            self.tables.append(
                Table(f"table{number}", rows, modes[number], padding, weight, is_frozen)
            )
        shared = [table for table in self.tables for _ in range(draw.choice((1, 1, 2)))]
        key_type = draw.dtype_of_ids()
        self.features = [
            self._bags(name, table, key_type if self.is_keyed else None, is_weighted)
            for name, table in zip(NAMES, shared)
        ]
        self.reset()

    def _bags(self, name, table, key_type, is_weighted):
        draw = self.draw
        offsets = None
        if draw.random() < 0.7 or self.is_keyed:
            sizes = draw.sizes()
            if self._count is not None:
                sizes = (sizes * 6 + [0] * 6)[: self._count]
            shape = [sum(sizes)]
            kind = draw.dtype_of_ids()
            offsets = draw.layout(torch.tensor(draw.offsets(sizes, self.has_last), dtype=kind))
        else:
            size, count = draw.randrange(6), draw.randrange(5)
            sizes = [size] * (count if self._count is None else self._count)
            shape = [len(sizes), size]
        ids, places = draw.ids(shape, key_type or draw.dtype_of_ids(), self.has_rows)
        weights = None
        if is_weighted or (not self.is_keyed and table.mode == "sum" and draw.random() < 0.5):
            weights = draw.floats(shape, 1)
            if table.padding is not None and draw.random() < 0.2:
                weights[ids.long() == table.padding] = float("nan")
            weights = draw.layout(weights).requires_grad_(draw.random() < 0.7 and not self.is_keyed)
        # Small, so that float32 rounds sums of many by less than 1e-6.
        gradient = draw.floats((len(sizes), table.rows.dim), 0.25)
        return Bags(name, table, sizes, ids, places, offsets, weights, gradient)

    def reset(self):
        for table in self.tables:
            table.reset()

    def stored(self, table):
        return torch.from_numpy(table.rows.peek(ALL_IDS)[0])

    def collection(self):
        configs = [
            damo.torch.TableConfig(
                table.name,
                rows=table.rows,
                features=[one.name for one in self.features if one.table is table],
                pooling=table.mode,
            )
            for table in self.tables
        ]
        made = damo.torch.EmbeddingBagCollection(
            self.groups.storage,
            configs,
            include_last_offset=self.has_last,
            output="tensor" if self.is_matrix else "dict",
        ).train(self.training)
        for table in self.tables:
            made.tables[table.name].requires_grad_(not table.is_frozen)
        return made

    def given(self):
        """What the collection takes."""
        if not self.is_keyed:
            return {one.name: one.given() for one in self.features}
        keys = [one.name for one in reversed(self.features)]
        bags = list(reversed(self.features))
        weights = [one.weights for one in bags]
        return Jagged(
            keys,
            torch.cat([one.ids for one in bags]),
            torch.tensor([size for one in bags for size in one.sizes], dtype=torch.int64),
            None if weights[0] is None else torch.cat(weights),
        )

    def step(self):
        """A Step of the features."""
        return self.groups.storage.step(
            {one.name: one.table.rows for one in self.features},
            pooling={one.name: one.table.mode for one in self.features},
            include_last_offset=self.has_last,
        )

    def flat(self):
        """What the Step takes."""
        return {one.name: one.flat(self.has_last) for one in self.features}


def wrong(given):
    """What is wrong, the words of the error, and features to be replaced (None: left out)."""
    draw = given.draw
    one = draw.choice(given.features)
    keys, offsets, *_ = one.flat(given.has_last)
    weights = draw.floats((len(keys),), 1).numpy()
    kind, name = draw.randrange(7), repr(one.name)
    if kind == 0:
        found = draw.wrong_offsets(one.sizes, given.has_last)
        if found is None:
            return None, [], {}
        changed = torch.tensor(found, dtype=torch.int64).numpy()
        return "offsets", [name, "offsets"], {one.name: (keys, changed)}
    if kind == 1:
        if one.table.mode == "sum":
            more = torch.cat([torch.from_numpy(weights), torch.ones(1)]).numpy()
            return "too many weights", [name, "weights"], {one.name: (keys, offsets, more)}
        said = [name, "weights", one.table.mode]
        return "weights for mean or max", said, {one.name: (keys, offsets, weights)}
    if kind == 2:
        return "ids of floats", [name, "float"], {one.name: (weights, offsets)}
    if kind == 3:
        return "offsets of floats", [name, "float"], {one.name: (keys, offsets.astype("float32"))}
    if kind == 4:
        return "a missing feature", [name], {one.name: None}
    if kind == 5:
        return "an unknown feature", ["'more'", name], {"more": (keys, offsets)}
    if len(keys) < 2:
        return None, [], {}
    shaped = keys[: len(keys) // 2 * 2].reshape(2, -1)
    return "ids of two dimensions and offsets", [name, "shape"], {one.name: (shaped, offsets)}
