"""The directory of a checkpoint, which appears whole and is replaced whole.

    PATH/manifest.json       the TOKEN that is valid, and everything but tensors and rows
    PATH/TOKEN/tensors.pt    tensors of the dense part, of optimizers and so on, by number
    PATH/TOKEN/rows-0 ...    a checkpoint of each storage

A new checkpoint is made beside PATH, in `.NAME.damo-new.PID.N`. If nothing is at PATH, it is
renamed to PATH. Otherwise its TOKEN is moved into PATH, and a rename replaces manifest.json. What a
killed process has left is removed by the next save there.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._errors import (
    AlreadyExistsError,
    CorruptionError,
    InvalidArgumentError,
    NotFoundError,
    NotSupportedError,
)

_VERSION = 1
_MANIFEST = "manifest.json"
_TOKEN = "saved-"
_STORAGE = ".damo-lock"
"""A file in every directory of a storage."""
_count = itertools.count()

Manifest = dict[str, Any]


def place_of(path: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint, with symbolic links resolved. Raises TypeError for no path."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(
            f"damo.torch: path must be a str or os.PathLike, not {type(path).__name__}; the order"
            " is model, optimizer, path, and for load_checkpoint also path, model, optimizer"
        )
    return Path(os.path.realpath(os.fsdecode(path)))


def check_free(place: Path, overwrite: bool) -> None:
    """Raises AlreadyExistsError unless a checkpoint can be saved at place.

    There may be nothing, an empty folder or, with overwrite, a checkpoint. Raises
    InvalidArgumentError for a path within the directory of a storage or within a checkpoint.
    """
    for parent in place.parents:
        if (parent / _STORAGE).exists():
            raise InvalidArgumentError(
                f"damo.torch: {place} is in the directory of a storage, {parent}; a path outside "
                "of it is needed"
            )
        if parent.name.startswith(_TOKEN) and (parent.parent / _MANIFEST).is_file():
            raise InvalidArgumentError(
                f"damo.torch: {place} is in a checkpoint, {parent.parent}, and would go when that "
                "one is saved again; a path outside of it is needed"
            )
    if not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir())):
        return
    if not (place / _MANIFEST).is_file():
        raise AlreadyExistsError(
            f"damo.torch: {place} exists and is no checkpoint of damo.torch; another path is needed"
        )
    if not overwrite:
        raise AlreadyExistsError(f"damo.torch: {place} exists, and overwrite is False")


class Unfinished:
    """A checkpoint that is made beside its place.

    It is a context, which makes the folder, and at its end removes what was not moved to the place.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._prefix = f".{place.name}.damo-new."
        remove_stale(place.parent, self._prefix)
        self._token = _TOKEN + secrets.token_hex(8)
        self._made = place.with_name(f"{self._prefix}{os.getpid()}.{next(_count)}")
        self.folder = self._made / self._token
        """The folder for its files."""

    def __enter__(self) -> Unfinished:
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_exception: object) -> None:
        shutil.rmtree(self._made, ignore_errors=True)

    def publish(self, manifest: Manifest) -> None:
        """Writes the manifest, moves the checkpoint to its place, and syncs it to disk."""
        told = {"version": _VERSION, "folder": self._token, **manifest}
        write(self._made / _MANIFEST, json.dumps({**told, "crc32": _checksum(told)}).encode())
        sync(self.folder)
        sync(self._made)
        try:
            # This works if there is nothing, or an empty folder.
            os.rename(self._made, self.place)
        except OSError:
            if not (self.place / _MANIFEST).is_file():
                raise
            self._replace()
        sync(self.place.parent)

    def _replace(self) -> None:
        with _locked(self.place, fcntl.LOCK_EX):
            os.rename(self.folder, self.place / self._token)
            sync(self.place)
            # From this rename on, the new checkpoint is the valid one.
            os.rename(self._made / _MANIFEST, self.place / _MANIFEST)
            sync(self.place)
            for older in self.place.glob(f"{_TOKEN}*"):
                if older.name != self._token:
                    shutil.rmtree(older, ignore_errors=True)


@contextlib.contextmanager
def opened(place: Path) -> Iterator[tuple[Path, Manifest]]:
    """A context with the folder and the manifest of a checkpoint, which nobody replaces meanwhile.

    Raises NotFoundError if there is no checkpoint, CorruptionError for a damaged manifest, and
    NotSupportedError for one of another version.
    """
    if not (place / _MANIFEST).is_file():
        raise NotFoundError(f"damo.torch: {place} has no checkpoint of damo.torch")
    with _locked(place, fcntl.LOCK_SH):
        try:
            manifest = json.loads((place / _MANIFEST).read_bytes())
            told = {name: value for name, value in manifest.items() if name != "crc32"}
            version, checksum = manifest["version"], manifest["crc32"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptionError(f"damo.torch: {place / _MANIFEST} is damaged: {error}") from error
        if checksum != _checksum(told):
            raise CorruptionError(f"damo.torch: {place / _MANIFEST} is damaged")
        if version != _VERSION:
            raise NotSupportedError(
                f"damo.torch: {place} has version {version}; this package reads {_VERSION}"
            )
        # Only the name is used, so that no manifest leads to another directory.
        yield place / Path(manifest["folder"]).name, manifest


def _checksum(manifest: Manifest) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # Some file systems have no locks.
            fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes) -> None:
    """Makes a new file with data, and syncs it to disk."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Syncs the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(parent: Path, prefix: str) -> None:
    """Removes folders named prefix + PID + ... of processes that no longer run."""
    for left in parent.glob(f"{_escaped(prefix)}*"):
        pid = left.name[len(prefix) :].split(".")[0]
        if pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _escaped(text: str) -> str:
    """The pattern of glob that matches exactly text."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)
