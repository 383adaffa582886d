"""The wheel: it has the library, works with any Python 3, and its package finds it without help."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import damo
from damo import _c_api
from support import CHECKOUT, Case


def load_backend(checkout=CHECKOUT):
    spec = importlib.util.spec_from_file_location(
        "build_backend", checkout / "python" / "build_backend.py"
    )
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    return backend


def tool_beside(library):
    """The tool that was built with a library, by cargo or by CMake."""
    places = [library.parent / "damo", library.parent.parent / "bin" / "damo"]
    return next((place for place in places if place.is_file()), None)


TOOL = tool_beside(_c_api.library_path)


@unittest.skipIf(
    TOOL is None, f"there is no tool beside {_c_api.library_path}: no wheel can be made of the two"
)
class Wheel(Case):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="damo-wheel-")
        cls.addClassCleanup(scratch.cleanup)
        cls.wheel = os.path.join(scratch.name, cls.built(load_backend().build_wheel, scratch.name))

    @staticmethod
    def built(build, *folder, **environment):
        """The result of build, with the library under test instead of another run of cargo."""
        before = dict(os.environ)
        os.environ.update({"DAMO_LIBRARY": str(_c_api.library_path), **environment})
        try:
            return build(*folder)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def run_clean(self, *command, path=""):
        clean = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DAMO_LIBRARY", "PYTHONPATH")
        }
        return subprocess.run(
            command,
            env={**clean, "PYTHONPATH": path},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def test_has_the_tool(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            entry = wheel.getinfo(f"damo_tables-{damo.__version__}.data/scripts/damo")
            self.assertEqual(entry.external_attr >> 16 & 0o777, 0o755)
            wheel.extract(entry, self.folder)
        tool = pathlib.Path(self.path(entry.filename))
        tool.chmod(0o755)
        self.assertEqual(self.run_clean(tool, "--version").stdout, f"damo {damo.__version__}\n")
        # The same program as cargo's, but for what strip takes away.
        self.assertEqual(
            self.run_clean(tool, "--help").stdout, self.run_clean(TOOL, "--help").stdout
        )
        if shutil.which("strip"):
            stripped = shutil.copyfile(TOOL, self.path("stripped"))
            subprocess.run(["strip", "-x", stripped], check=True)
            self.assertEqual(pathlib.Path(stripped).read_bytes(), tool.read_bytes())

    def test_installed_by_pip(self):
        if self.run_clean(sys.executable, "-m", "pip", "--version").returncode:
            self.skipTest("pip is not installed for this interpreter: an installation is not tried")
        options = [
            "--no-deps",
            "--no-index",
            "--quiet",
            "--disable-pip-version-check",
            "--ignore-installed",
            "--no-compile",
        ]
        done = self.run_clean(
            sys.executable,
            "-m",
            "pip",
            "install",
            *options,
            "--prefix",
            self.path("prefix"),
            self.wheel,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        (tool,) = pathlib.Path(self.path("prefix")).rglob("bin/damo")
        self.assertEqual(self.run_clean(tool, "--version").stdout, f"damo {damo.__version__}\n")
        (site,) = {
            path.parent.parent
            for path in pathlib.Path(self.path("prefix")).rglob("damo/__init__.py")
        }
        made = self.run_clean(
            sys.executable,
            "-c",
            "import damo\nwith damo.Storage('table') as s:\n"
            " s.embedding('user', dim=2, optimizer=damo.SGD()).lookup([1, 2])\nprint(damo.about())",
            path=str(site),
        )
        self.assertIn(f"damo-tables {damo.__version__}", made.stdout, made.stderr)
        self.assertIn(f"library  {site}", made.stdout)
        self.assertIn(
            '"name":"user"',
            self.run_clean(tool, "groups", "table", "--json", "--count").stdout.replace(" ", ""),
        )

    def test_a_tool_is_needed(self):
        with self.assertRaisesRegex(SystemExit, "DAMO_TOOL"):
            self.built(load_backend().build_wheel, self.folder, DAMO_TOOL=self.path("nowhere"))
        given = self.built(load_backend()._given, DAMO_TOOL=str(TOOL))
        self.assertEqual(given, (_c_api.library_path, TOOL))

    def test_editable_keeps_a_copy(self):
        """What another checkout builds, where this one was built, changes nothing."""
        checkout = pathlib.Path(self.path("checkout"))
        shutil.copytree(
            CHECKOUT / "python",
            checkout / "python",
            ignore=shutil.ignore_patterns("libdamo*", "__pycache__"),
        )
        shutil.copyfile(CHECKOUT / "Cargo.toml", checkout / "Cargo.toml")
        target = pathlib.Path(self.path("target/release"))
        target.mkdir(parents=True)
        shared = target / _c_api._library.FILE_NAME
        shutil.copyfile(_c_api.library_path, shared)
        shutil.copyfile(TOOL, target / "damo")
        name = self.built(
            load_backend(checkout).build_editable, self.folder, DAMO_LIBRARY=str(shared)
        )
        with zipfile.ZipFile(self.path(name)) as wheel:
            self.assertEqual(wheel.read("damo_tables.pth").decode(), f"{checkout / 'python'}\n")
            self.assertIn(f"damo_tables-{damo.__version__}.data/scripts/damo", wheel.namelist())
        copy = checkout / "python" / "damo" / shared.name
        before = copy.read_bytes()
        where = ["-c", "import damo._c_api as c; print(c.library_path)"]
        # In place, as a file is written by who does not rename; and gone.
        for change in (lambda: shared.write_bytes(b"another checkout's"), shared.unlink):
            change()
            os.environ["CARGO_TARGET_DIR"], kept = self.path("target"), os.environ.get(
                "CARGO_TARGET_DIR"
            )
            self.addCleanup(
                lambda: (
                    os.environ.pop("CARGO_TARGET_DIR", None)
                    if kept is None
                    else os.environ.update(CARGO_TARGET_DIR=kept)
                )
            )
            found = self.run_clean(sys.executable, *where, path=str(checkout / "python"))
            self.assertEqual(found.stdout.strip(), str(copy.resolve()), found.stderr)
            self.assertEqual(copy.read_bytes(), before)
        self.assertEqual([path.name for path in copy.parent.glob(".libdamo*")], [])

    def test_has_package_and_library(self):
        self.assertRegex(
            os.path.basename(self.wheel), r"^damo_tables-[0-9.]+-py3-none-[a-z0-9_]+\.whl$"
        )
        with zipfile.ZipFile(self.wheel) as wheel:
            files = set(wheel.namelist())
            metadata = wheel.read("damo_tables-0.1.0.dist-info/METADATA").decode()
            wheel.extractall(self.path("site"))
        self.assertIn("\nName: damo-tables\n", metadata)
        for path in (CHECKOUT / "python" / "damo").rglob("*.py"):
            self.assertIn(path.relative_to(CHECKOUT / "python").as_posix(), files)
        self.assertIn("damo/py.typed", files)
        self.assertIn("damo_tables-0.1.0.dist-info/RECORD", files)
        found = self.run_clean(
            sys.executable,
            "-c",
            "import damo._c_api as c; print(c.library_path)",
            path=self.path("site"),
        )
        self.assertEqual(
            found.stdout.strip(),
            os.path.realpath(self.path(f"site/damo/{_c_api._library.FILE_NAME}")),
            found.stderr,
        )
