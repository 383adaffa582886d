"""Which damo this is: two other projects have a module of the same name.

`damo` on the package registry is a tool for DAMON, and damo-embedding has a module damo, too. If
one of them is installed beside this package, files of either can replace the other's. This module
imports the rest of the package only on demand: `python -m damo` works even if another distribution
has replaced __init__.py.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Iterator, NamedTuple

DISTRIBUTION = "damo-tables"
SUMMARY = "sparse embedding tables larger than memory"
OTHERS = ("damo", "damo-embedding")
"""Distributions that are known to have a module damo. Reading all that are installed is slow."""
HERE = Path(__file__).resolve().parent


class Other(NamedTuple):
    """Another distribution that has a module damo."""

    name: str
    version: str
    file: Path
    """One of its files that make the module."""

    def __str__(self) -> str:
        if self.file.parent == HERE:
            what = "whichever was installed last has replaced files of the other"
        elif self.file.parent == HERE.parent:
            what = "it is hidden by this package"
        else:
            what = "the order of sys.path decides which one an import gets"
        return f"{self.name} {self.version}, whose module damo is {self.file}: {what}"


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _module_file(distribution: metadata.Distribution) -> Path | None:
    for file in distribution.files or ():
        is_module = (
            len(file.parts) == 1
            and file.name.split(".")[0] == "damo"
            and file.suffix in (".py", ".so", ".pyd")
        )
        if is_module or (len(file.parts) == 2 and file.parts[0] == "damo" and file.suffix == ".py"):
            return Path(str(distribution.locate_file(file))).resolve()
    return None


def _named(names: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    for name in names:
        try:
            yield metadata.distribution(name)
        except metadata.PackageNotFoundError:
            pass


def others(every: bool = False) -> list[Other]:
    """Other distributions with a module damo, among OTHERS; every: among all that are installed."""
    found: dict[str, Other] = {}
    for distribution in metadata.distributions() if every else _named(OTHERS):
        name = distribution.metadata["Name"] or ""
        file = None if _normal(name) in ("", DISTRIBUTION) else _module_file(distribution)
        if file is not None:
            found.setdefault(_normal(name), Other(name, distribution.version, file))
    return list(found.values())


def warn_of_others(version: str) -> None:
    """Warns if a known distribution with a module damo is installed, too. Called at the import.

    It is a RuntimeWarning, since Python does not show an ImportWarning by default.
    """
    for other in others():
        warnings.warn(
            f"damo: this is {DISTRIBUTION} {version} ({SUMMARY}), from {HERE}. There is also the"
            f" distribution {other}. Keep the two in environments of their own: `pip uninstall"
            f" {other.name}`, then `pip install --force-reinstall {DISTRIBUTION}`, since"
            " uninstalling one can remove files of the other",
            RuntimeWarning,
            stacklevel=3,
        )


def about() -> str:
    """Which damo this is, as text.

    It has the versions, the paths of module, library and command, and other distributions with a
    module damo.
    """
    import damo

    if Path(damo.__file__ or "").resolve().parent != HERE:
        return f"damo is not {DISTRIBUTION} but {damo!r}; {DISTRIBUTION}'s is {HERE}"
    lines = [f"{DISTRIBUTION}: {SUMMARY}", f"module   {HERE}"]
    if hasattr(damo, "library_version"):
        from . import _c_api, _library

        lines[0] = f"{DISTRIBUTION} {damo.__version__}: {SUMMARY}"
        lines.append(
            f"library  {_c_api.library_path}, {damo.library_version()}, ABI version"
            f" {_library.ABI_VERSION}"
        )
    else:
        lines.append(
            "Its __init__.py is another distribution's. `pip install --force-reinstall"
            f" {DISTRIBUTION}` puts it back"
        )
    folders = [str(Path(sys.executable).parent), str(Path(sys.prefix) / "bin")]
    command = next(
        (found for found in (shutil.which("damo", path=folder) for folder in folders) if found),
        None,
    )
    lines.append(f"command  {command or shutil.which('damo') or 'not installed'}")
    lines += [f"beside   {other}" for other in others(every=True)]
    return "\n".join(lines)
