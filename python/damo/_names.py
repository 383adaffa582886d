"""Names of groups: which number each has, and the identity of the checkpoint a storage goes on from.

The C interface has no place for it yet, so it is a small JSON file beside the storage's own. Everything else goes through
load and save, so that only this file changes when it has one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from ._errors import CorruptionError

FILE_NAME = "names.json"


@dataclass
class Names:
    """names: the group of each name; checkpoint: the identity of the checkpoint that this is, or goes on from."""

    groups: dict[str, int] = field(default_factory=dict)
    checkpoint: str | None = None


def load(directory: str | os.PathLike[str]) -> Names:
    """What is stored, or nothing when there is no file (a storage that no name was used with)."""
    path = Path(directory) / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Names()
    try:
        stored = json.loads(text)
        groups = {str(name): int(group) for name, group in stored["groups"].items()}
        return Names(groups, stored.get("checkpoint"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptionError(
            f"damo: {path} is damaged ({error}); put it back from a checkpoint, or remove it and use group numbers"
        ) from error


def save(directory: str | os.PathLike[str], names: Names) -> None:
    """Replaces what is stored, as a whole or not at all."""
    path = Path(directory) / FILE_NAME
    temporary = path.with_name(f"{FILE_NAME}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(
            {"version": 1, "groups": names.groups, "checkpoint": names.checkpoint}, file, indent=1, sort_keys=True
        )
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory_handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(directory_handle)
    finally:
        os.close(directory_handle)
