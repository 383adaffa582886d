"""Finds libdamo and loads it. Knows files and versions; which functions there are is _c_api's.

Looked for, in this order:

1. the file that the environment variable DAMO_LIBRARY names;
2. beside this file, where the wheel has it;
3. in a checkout, the newest in build/lib (CMake's), in target (cargo's own) and in the target
   directory that scripts/ use. What another checkout has built there is not taken: cargo's list of
   sources, beside the library, says whose it is.

An editable install (`pip install -e`) puts a copy beside this file, which no later build changes.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

VERSION = "0.1.0"
"""The version of this package, and of the library that it was written for."""

ABI_VERSION = 1
"""DAMO_ABI_VERSION of the damo.h that this package was written for."""

FILE_NAME = "libdamo.dylib" if sys.platform == "darwin" else "libdamo.so"


def target_dir(checkout: Path) -> Path:
    """Where scripts/ and CMake have cargo build for this user."""
    chosen = os.environ.get("CARGO_TARGET_DIR")
    if chosen:
        return checkout / chosen
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "damo" / "target"


def _checkout() -> Path | None:
    checkout = Path(__file__).resolve().parents[2]
    try:
        is_ours = 'name = "damo"' in (checkout / "Cargo.toml").read_text(encoding="utf-8")
    except OSError:
        return None
    return checkout if is_ours else None


def built_from(library: Path) -> Path | None:
    """The checkout that cargo built a library of its target directory from; None when that cannot be told."""
    try:
        listed = library.with_suffix(".d").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    for source in re.split(r"(?<!\\)\s", listed):
        if source.endswith(f"{os.sep}src{os.sep}lib.rs"):
            return Path(source.replace("\\ ", " ")).parents[1].resolve()
    return None


def _in_checkout(checkout: Path) -> tuple[list[Path], list[str]]:
    """What was built of this checkout, and what was found and is another's."""
    built, others = [], []
    for folder in (checkout / "target", target_dir(checkout)):
        library = folder / "release" / FILE_NAME
        source = built_from(library) if library.is_file() else None
        if source == checkout:
            built.append(library)
        elif library.is_file():
            others.append(
                f"{library}, which was built"
                f" {f'from {source}' if source else 'from nobody knows where'}"
            )
    library = checkout / "build" / "lib" / FILE_NAME
    return built + [library] * library.is_file(), others


def find() -> Path:
    """The library's path.

    Raises ImportError, which says where it was looked for, when there is none.
    """
    named = os.environ.get("DAMO_LIBRARY")
    if named:
        path = Path(named)
        if not path.is_file():
            raise ImportError(
                f"damo: the environment variable DAMO_LIBRARY names {named!r}, which is not a file"
            )
        return path
    beside = Path(__file__).resolve().parent / FILE_NAME
    if beside.is_file():
        return beside
    places = [str(beside)]
    checkout = _checkout()
    if checkout is not None:
        built, others = _in_checkout(checkout)
        if built:
            return max(built, key=lambda path: path.stat().st_mtime)
        folders = (checkout / "build" / "lib", checkout / "target", target_dir(checkout))
        places += [f"in {folder}" for folder in folders] + [
            f"and did not take {other}" for other in others
        ]
    raise ImportError(
        f"damo: {FILE_NAME} was not found; looked for {', '.join(places)}. Install the package with"
        " 'pip install ./python' from a checkout, build the library with 'cargo build --release',"
        " or name it in the environment variable DAMO_LIBRARY"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split("."))


def load(path: Path) -> ctypes.CDLL:
    """Loads the library at path. CDLL, not PyDLL: the GIL is released while a call runs.

    Raises ImportError when it cannot be loaded, is no damo, or has another interface than this package was written for.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ImportError(f"damo: {path} could not be loaded: {error}") from error
    try:
        library.damo_abi_version.restype = ctypes.c_uint32
        library.damo_version.restype = ctypes.c_char_p
        abi, version = library.damo_abi_version(), library.damo_version().decode()
    except AttributeError as error:
        raise ImportError(f"damo: {path} is not a damo library: {error}") from error
    refuse_mismatch(path, abi, version)
    return library


def refuse_mismatch(path: Path, abi: int, version: str) -> None:
    """Raises ImportError unless a library with these versions has what this package calls."""
    if abi == ABI_VERSION and _numbers(version) >= _numbers(VERSION):
        return
    raise ImportError(
        f"damo: {path} is damo {version} with ABI version {abi}, and this package needs ABI version"
        f" {ABI_VERSION} and damo {VERSION} or later. Install package and library from the same"
        " checkout ('pip install ./python'), or let the environment variable DAMO_LIBRARY name the"
        " library that belongs to this package"
    )
