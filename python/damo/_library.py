"""Finds libdamo and loads it. Knows files and versions, but no functions: those are in _c_api.

It looks, in this order, for

1. the file that the environment variable DAMO_LIBRARY names;
2. a file beside this one, where a wheel puts it;
3. in a checkout, the newest of build/lib (CMake's), target (cargo's own) and the target directory
   that scripts/ use. There a library that another checkout built is not taken: cargo's list of
   sources beside the library tells them apart.

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
    """The target directory that scripts/ and CMake give to cargo."""
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
    """The checkout that cargo built a library from; None if that cannot be told.

    library: a file in cargo's target directory.
    """
    try:
        listed = library.with_suffix(".d").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    for source in re.split(r"(?<!\\)\s", listed):
        if source.endswith(f"{os.sep}src{os.sep}lib.rs"):
            return Path(source.replace("\\ ", " ")).parents[1].resolve()
    return None


def _in_checkout(checkout: Path) -> tuple[list[Path], list[str]]:
    """Libraries that were built from this checkout, and descriptions of those that were not."""
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
    """The library's path. Raises ImportError, which lists the places, if there is none."""
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
    """Loads the library at path. It is a CDLL, not a PyDLL: the GIL is released during calls.

    Raises ImportError if it cannot be loaded, is not damo, or has another ABI version or an older
    version than this package needs.
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
    """Raises ImportError unless a library of this ABI version and version fits this package."""
    if abi == ABI_VERSION and _numbers(version) >= _numbers(VERSION):
        return
    raise ImportError(
        f"damo: {path} is damo {version} with ABI version {abi}, and this package needs ABI version"
        f" {ABI_VERSION} and damo {VERSION} or later. Install package and library from the same"
        " checkout ('pip install ./python'), or let the environment variable DAMO_LIBRARY name the"
        " library that belongs to this package"
    )


def address(file: str | None, function: str) -> int | None:
    """The address of a function of a loaded library, or of those that it was linked with.

    file: None is what every library of the process sees first. Returns None if the library is not
    loaded, or there is no such function.
    """
    try:
        loaded = ctypes.CDLL(file, mode=os.RTLD_NOW | (os.RTLD_NOLOAD if file else 0))
        return ctypes.cast(getattr(loaded, function), ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
