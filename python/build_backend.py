"""Builds the wheel (PEP 517): `cargo build --release`, and a zip of the package.

The library lies beside the package's files, and the command-line tool is one of the wheel's
scripts.

The wheel works with every Python 3 (py3-none-<platform>): nothing is compiled against Python. It is
not built with maturin, whose only binding for a library without a Python interface is cffi's. That
puts generated code and a dependency on cffi into the wheel, and builds in a target directory with
flags of its own. A build without further packages also works without a network.

Cargo builds in the target directory of scripts/ and CMake ($CARGO_TARGET_DIR, or
~/.cache/damo/target), so that a machine compiles RocksDB once. The files are copied from there at
once, since another checkout may build in the same directory next.

If DAMO_LIBRARY is set, it names a library that is taken instead of building one. The tool then is
the one beside that library, or the one that DAMO_TOOL names.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
PROJECT = (HERE / "pyproject.toml").read_text(encoding="utf-8")


def _field(name: str) -> str:
    # Python 3.9 and 3.10 cannot read TOML.
    return re.search(rf'^{name} = "([^"]*)"', PROJECT, re.MULTILINE)[1]


NAME, VERSION = _field("name"), _field("version")
TOOL = "damo"


def _library_module():
    spec = importlib.util.spec_from_file_location("damo_library", HERE / "damo" / "_library.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _given() -> tuple[Path, Path]:
    """The library that DAMO_LIBRARY names, and the tool."""
    library = _library_module().find()
    named = os.environ.get("DAMO_TOOL")
    # The places of cargo's build, and of CMake's and of an installation.
    places = (
        [Path(named)] if named else [library.parent / TOOL, library.parent.parent / "bin" / TOOL]
    )
    tool = next((place for place in places if place.is_file()), None)
    if tool is None:
        listed = " or ".join(str(place) for place in places)
        raise SystemExit(
            f"damo: DAMO_LIBRARY is set, and the tool is not at {listed}; name it in DAMO_TOOL"
        )
    return library, tool


def _build() -> tuple[Path, Path]:
    """The paths of the library and the tool, which are built unless DAMO_LIBRARY is set."""
    library = _library_module()
    if os.environ.get("DAMO_LIBRARY"):
        return _given()
    if not (CHECKOUT / "Cargo.toml").is_file():
        raise SystemExit(
            f"damo: {CHECKOUT} has no Cargo.toml; the package is built from a checkout of damo"
        )
    cargo = shutil.which(
        "cargo",
        path=os.pathsep.join([os.environ.get("PATH", ""), str(Path.home() / ".cargo" / "bin")]),
    )
    if cargo is None:
        raise SystemExit("damo: cargo is missing; please install Rust (https://rustup.rs)")
    target = library.target_dir(CHECKOUT)
    _claim(target)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    # From the checkout, whose .cargo/config.toml has the flags that RocksDB was compiled with.
    subprocess.run(
        [cargo, "build", "--release", "--locked", "--lib", "--bins"],
        cwd=CHECKOUT,
        env=environment,
        check=True,
    )
    built = target / "release" / library.FILE_NAME
    if library.built_from(built) != CHECKOUT:
        raise SystemExit(
            f"damo: another checkout has built in {target} at the same time; run it again, or set"
            " CARGO_TARGET_DIR"
        )
    return built, target / "release" / TOOL


def _claim(target: Path) -> None:
    """Removes what another checkout has built in target, as scripts/claim_target_dir.cmake does."""
    stamp = target / ".damo-checkout"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == str(CHECKOUT):
        return
    for fingerprint in (target / "release" / ".fingerprint").glob("damo-*"):
        shutil.rmtree(fingerprint)
    target.mkdir(parents=True, exist_ok=True)
    stamp.write_text(str(CHECKOUT), encoding="utf-8")


def _stripped(built: Path, copy: Path) -> Path:
    """A copy without debug information, a quarter of the size; a plain copy without strip."""
    shutil.copyfile(built, copy)
    strip = shutil.which("strip")
    if strip is not None:
        subprocess.run([strip, "-x", str(copy)], check=False)
    return copy


def _tool(tool: Path, folder: Path) -> dict[str, bytes | Path]:
    """The tool as a script of the wheel: installers put it into the environment's bin."""
    return {f"{STEM}-{VERSION}.data/scripts/{TOOL}": _stripped(tool, folder / TOOL)}


def _metadata() -> str:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {VERSION}",
        f"Summary: {_field('description')}",
    ]
    lines += [
        "License: MIT OR Apache-2.0",
        f"Requires-Python: {_field('requires-python')}",
        "Requires-Dist: numpy",
    ]
    lines += ["Provides-Extra: torch", 'Requires-Dist: torch>=1.13; extra == "torch"']
    lines += [
        "Description-Content-Type: text/markdown",
        "",
        (HERE / "README.md").read_text(encoding="utf-8"),
    ]
    return "\n".join(lines) + "\n"


# The name as wheels and their folders spell it.
STEM = re.sub(r"[-_.]+", "_", NAME).lower()
INFO = f"{STEM}-{VERSION}.dist-info"


def _info(tag: str) -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {
        f"{INFO}/METADATA": _metadata().encode(),
        f"{INFO}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: damo\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
        ),
    }
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        if (CHECKOUT / licence).is_file():
            files[f"{INFO}/{licence}"] = CHECKOUT / licence
    return files


def _write_wheel(directory: str, tag: str, files: dict[str, bytes | Path]) -> str:
    files = {**files, **_info(tag)}
    name = f"{STEM}-{VERSION}-{tag}.whl"
    record = []
    with zipfile.ZipFile(Path(directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in sorted(files.items()):
            data = content.read_bytes() if isinstance(content, Path) else content
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}")
            wheel.writestr(_entry(path), data)
        record.append(f"{INFO}/RECORD,,")
        wheel.writestr(_entry(f"{INFO}/RECORD"), "\n".join(record) + "\n")
    return name


def _entry(path: str) -> zipfile.ZipInfo:
    """Writes the zip: readable by everybody, programs executable, and the same at every build."""
    entry = zipfile.ZipInfo(path)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (0o100755 if ".data/scripts/" in path else 0o100644) << 16
    return entry


def _tag() -> str:
    return "py3-none-" + re.sub(r"[-.]", "_", sysconfig.get_platform())


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    """Without it an installer would build the library to learn the package's name."""
    folder = Path(metadata_directory) / INFO
    folder.mkdir()
    for path, content in _info(_tag()).items():
        (folder / Path(path).name).write_bytes(
            content.read_bytes() if isinstance(content, Path) else content
        )
    return INFO


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Package, library and tool."""
    library, tool = _build()
    package = HERE / "damo"
    files: dict[str, bytes | Path] = {
        path.relative_to(HERE).as_posix(): path
        for path in package.rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    with tempfile.TemporaryDirectory() as folder:
        # The name that the package looks for, whatever DAMO_LIBRARY's file is called.
        name = _library_module().FILE_NAME
        files[f"damo/{name}"] = _stripped(library, Path(folder) / name)
        files.update(_tool(tool, Path(folder)))
        return _write_wheel(wheel_directory, _tag(), files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """A pointer to this folder, the tool, and beside the package's files a copy of the library.

    In the target directory the next build of any checkout would replace it.
    """
    library, tool = _build()
    with tempfile.TemporaryDirectory() as folder:
        name = _library_module().FILE_NAME
        new = _stripped(library, HERE / "damo" / f".{name}.{os.getpid()}.new")
        # A process that has loaded the library before keeps it.
        os.replace(new, HERE / "damo" / name)
        files = {f"{STEM}.pth": f"{HERE}\n".encode(), **_tool(tool, Path(folder))}
        return _write_wheel(wheel_directory, _tag(), files)


def build_sdist(sdist_directory, config_settings=None):
    """There is none: the library's sources are the checkout's."""
    raise SystemExit(
        "damo: source distributions are not made; build a wheel from a checkout: pip wheel ./python"
    )
