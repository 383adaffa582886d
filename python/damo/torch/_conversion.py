"""The report of convert, for programs and for people.

Knows of layers only their names and numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


_SHOWN = 4
"""The number of layers that a remark names."""


@dataclass(frozen=True)
class Converted:
    """A layer of torch that a layer of damo has replaced."""

    name: str
    """Its path in the model; the first one if it is used at several places."""
    places: tuple[str, ...]
    """All its paths."""
    kind: str
    """"Embedding" or "EmbeddingBag"."""
    group: str
    """The name of its group in the storage."""
    ids: int
    """The number of rows that its weight had. Their ids are 0 to ids - 1."""
    dim: int
    bytes: int
    """The bytes of those rows with their optimizer state. A padding row is not stored."""
    initializer: str
    """The initializer for other ids, with its parameters."""
    is_frozen: bool
    kept_rows: bool
    """Whether the group's own rows were kept (exist_ok) instead of the weight's."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Left:
    """A layer that stayed as it was."""

    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Conversion:
    """What convert has done: the layers converted, and those left. str() makes a table of it."""

    layers: tuple[Converted, ...]
    left: tuple[Left, ...]

    @property
    def bytes(self) -> int:
        """The bytes of all rows with their optimizer state."""
        return sum(layer.bytes for layer in self.layers)

    def __str__(self) -> str:
        head = ("layer", "group", "ids", "dim", "bytes", "new rows")
        table = [
            (one.name, one.group, f"{one.ids:,}", str(one.dim), f"{one.bytes:,}", one.initializer)
            for one in self.layers
        ]
        widths = [max(len(row[column]) for row in (head, *table)) for column in range(len(head))]
        lines = [f"damo.torch.convert: {_count(len(self.layers), 'layer')} converted"]
        for row in (head, *table):
            cells = [
                cell.rjust(width) if column in (2, 3, 4) else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths))
            ]
            lines.append(("  " + "  ".join(cells)).rstrip())
        for remark, names in _by_remark(self.layers).items():
            lines.append(f"  {_listed(names)}: {remark}")
        lines += [f"left as it was: {one.name} ({one.kind}): {one.reason}" for one in self.left]
        lines.append("Optimizers made before this have the old weights: make them again.")
        return "\n".join(lines)


def _by_remark(layers: tuple[Converted, ...]) -> dict[str, list[str]]:
    """By remark, the names of the layers that have it."""
    by_remark: dict[str, list[str]] = {}
    for one in layers:
        for remark in _remarks(one):
            by_remark.setdefault(remark, []).append(one.name)
    return by_remark


def _listed(names: list[str]) -> str:
    """The first names, and the number of further ones."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _remarks(one: Converted) -> list[str]:
    """The remarks on a converted layer, which follow the table."""
    remarks = [f"used at {len(one.places)} places: {', '.join(one.places)}"] * (len(one.places) > 1)
    remarks += ["frozen, as its weight was"] * one.is_frozen
    remarks += ["the rows that were in the storage are kept, not the weight's"] * one.kept_rows
    return [*remarks, *one.notes]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
