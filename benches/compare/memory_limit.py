"""Limits the memory of a process and of the page cache that it fills, by a control group."""

from __future__ import annotations

import os
import time
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
# The file with the limit, by the version of control groups.
LIMITS = {1: "memory.limit_in_bytes", 2: "memory.max"}


class MemoryLimit:
    """A control group while the context lasts; nothing if no limit is given. `told` says whether it
    was made, or else why not.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit, self._folder = limit, None
        self.told = "no limit was asked for"

    def __enter__(self) -> MemoryLimit:
        if self._limit is not None:
            self.told = "no control group for memory was found"
            for parent, version in parents():
                try:
                    self._make(parent / f"damo-compare-{os.getpid()}", version)
                    break
                except OSError as error:
                    self.told = f"no control group: {error}"
        return self

    def _make(self, folder: Path, version: int) -> None:
        folder.mkdir()
        try:
            (folder / LIMITS[version]).write_text(str(self._limit))
        except OSError:
            folder.rmdir()
            raise
        self._folder = folder
        self.told = f"{self._limit} bytes, control groups {version}"

    def join(self) -> None:
        """Puts the calling process into the group."""
        if self._folder is not None:
            (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def __exit__(self, *_: object) -> None:
        # The kernel needs a moment after the last process has ended.
        for _attempt in range(20 if self._folder else 0):
            try:
                self._folder.rmdir()
                return
            except OSError:
                time.sleep(0.05)


def parents() -> list[tuple[Path, int]]:
    """The folders in which a group can perhaps be made, and the version of each."""
    found = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found.append((MOUNT / "memory" / path.lstrip("/"), 1))
        elif not controllers:
            found += [(MOUNT / path.lstrip("/"), 2), (MOUNT, 2)]
    return [(folder, version) for folder, version in found if folder.is_dir()]
