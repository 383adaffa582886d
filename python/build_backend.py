"""Builds the wheel (PEP 517): `cargo build --release`, and a zip of the package with the library beside its files.

The wheel works with every Python 3 (py3-none-<platform>): nothing is compiled against Python. maturin has no kind of
binding for a library without a Python interface but cffi's, which puts generated code and a dependency on cffi into the wheel
and builds in a target directory of its own flags; and a build that needs no package works without a network.

Cargo builds where scripts/ and CMake have it build ($CARGO_TARGET_DIR, or ~/.cache/damo/target), so that RocksDB is compiled once
a machine. DAMO_LIBRARY, when it is set, names a library that is taken instead of building one.
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
    # Python 3.9 and 3.10 have no reader of TOML.
    return re.search(rf'^{name} = "([^"]*)"', PROJECT, re.MULTILINE)[1]


NAME, VERSION = _field("name"), _field("version")


def _library_module():
    spec = importlib.util.spec_from_file_location("damo_library", HERE / "damo" / "_library.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build_library() -> Path:
    library = _library_module()
    if os.environ.get("DAMO_LIBRARY"):
        return library.find()
    if not (CHECKOUT / "Cargo.toml").is_file():
        raise SystemExit(f"damo: {CHECKOUT} has no Cargo.toml; the package is built from a checkout of damo")
    cargo = shutil.which(
        "cargo", path=os.pathsep.join([os.environ.get("PATH", ""), str(Path.home() / ".cargo" / "bin")])
    )
    if cargo is None:
        raise SystemExit("damo: cargo is missing; please install Rust (https://rustup.rs)")
    target = library.target_dir(CHECKOUT)
    _claim(target)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    # From the checkout, whose .cargo/config.toml has the flags that RocksDB was compiled with.
    subprocess.run([cargo, "build", "--release", "--locked", "--lib"], cwd=CHECKOUT, env=environment, check=True)
    return target / "release" / library.FILE_NAME


def _claim(target: Path) -> None:
    """As scripts/claim_target_dir.cmake: what another checkout has built there is not this one's."""
    stamp = target / ".damo-checkout"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == str(CHECKOUT):
        return
    for fingerprint in (target / "release" / ".fingerprint").glob("damo-*"):
        shutil.rmtree(fingerprint)
    target.mkdir(parents=True, exist_ok=True)
    stamp.write_text(str(CHECKOUT), encoding="utf-8")


def _stripped(library: Path, folder: Path) -> Path:
    """A copy without debug information: a quarter of the size. As it is where there is no strip."""
    # Under the name that the package looks for, whatever DAMO_LIBRARY's file is called.
    copy = folder / _library_module().FILE_NAME
    shutil.copyfile(library, copy)
    strip = shutil.which("strip")
    if strip is not None:
        subprocess.run([strip, "-x", str(copy)], check=False)
    return copy


def _metadata() -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {VERSION}", f"Summary: {_field('description')}"]
    lines += ["License: MIT OR Apache-2.0", f"Requires-Python: {_field('requires-python')}", "Requires-Dist: numpy"]
    lines += ["Provides-Extra: torch", 'Requires-Dist: torch>=1.13; extra == "torch"']
    lines += ["Description-Content-Type: text/markdown", "", (HERE / "README.md").read_text(encoding="utf-8")]
    return "\n".join(lines) + "\n"


INFO = f"{NAME}-{VERSION}.dist-info"


def _info(tag: str) -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {
        f"{INFO}/METADATA": _metadata().encode(),
        f"{INFO}/WHEEL": f"Wheel-Version: 1.0\nGenerator: damo\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        if (CHECKOUT / licence).is_file():
            files[f"{INFO}/{licence}"] = CHECKOUT / licence
    return files


def _write_wheel(directory: str, tag: str, files: dict[str, bytes | Path]) -> str:
    files = {**files, **_info(tag)}
    name = f"{NAME}-{VERSION}-{tag}.whl"
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
    """Readable by everybody, and the same whenever it is built."""
    entry = zipfile.ZipInfo(path)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _tag() -> str:
    return "py3-none-" + re.sub(r"[-.]", "_", sysconfig.get_platform())


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    """Without it an installer would build the library to learn the package's name."""
    folder = Path(metadata_directory) / INFO
    folder.mkdir()
    for path, content in _info(_tag()).items():
        (folder / Path(path).name).write_bytes(content.read_bytes() if isinstance(content, Path) else content)
    return INFO


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Package and library."""
    library = _build_library()
    package = HERE / "damo"
    files: dict[str, bytes | Path] = {
        path.relative_to(HERE).as_posix(): path
        for path in package.rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    with tempfile.TemporaryDirectory() as folder:
        stripped = _stripped(library, Path(folder))
        files[f"damo/{stripped.name}"] = stripped
        return _write_wheel(wheel_directory, _tag(), files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """A pointer to this folder; the library is found in cargo's target directory."""
    _build_library()
    return _write_wheel(wheel_directory, _tag(), {f"{NAME}.pth": f"{HERE}\n".encode()})


def build_sdist(sdist_directory, config_settings=None):
    """There is none: the library's sources are the checkout's."""
    raise SystemExit("damo: source distributions are not made; build a wheel from a checkout: pip wheel ./python")
