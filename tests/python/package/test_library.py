"""Which library is loaded, and which is refused."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

from damo import _library


class Library(unittest.TestCase):
    def import_with(self, library):
        environment = {**os.environ, "DAMO_LIBRARY": library}
        return subprocess.run(
            [sys.executable, "-c", "import damo"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        ).stderr

    def test_one_that_is_not_there(self):
        self.assertIn(
            "DAMO_LIBRARY names '/nowhere/libdamo.so', which is not a file",
            self.import_with("/nowhere/libdamo.so"),
        )

    def test_one_that_is_no_library(self):
        self.assertIn("could not be loaded", self.import_with(os.path.abspath(__file__)))

    def test_one_that_is_not_damo(self):
        import _ctypes

        error = self.import_with(_ctypes.__file__)
        self.assertIn("ImportError: damo: ", error)
        self.assertIn("is not a damo library", error)

    def test_of_this_checkout_only(self):
        """In a shared target directory, cargo's list of sources says which checkout built it."""
        with tempfile.TemporaryDirectory() as folder:
            checkout, other = (
                pathlib.Path(folder, "a checkout").resolve(),
                pathlib.Path(folder, "other").resolve(),
            )
            for place in (checkout, other):
                (place / "src").mkdir(parents=True)
                (place / "src/lib.rs").touch()
            target = pathlib.Path(folder, "target")
            (target / "release").mkdir(parents=True)
            library = target / "release" / _library.FILE_NAME
            environment = {"CARGO_TARGET_DIR": str(target)}
            with unittest.mock.patch.dict(os.environ, environment):
                self.assertEqual(_library._in_checkout(checkout), ([], []))
                library.touch()
                self.assertIn("nobody knows", _library._in_checkout(checkout)[1][0])
                for source in (checkout, other, checkout):
                    listed = " ".join(
                        str(source / name).replace(" ", "\\ ")
                        for name in ("build.rs", "src/lib.rs", "src/a.rs")
                    )
                    library.with_suffix(".d").write_text(f"{library}: {listed}\n", encoding="utf-8")
                    self.assertEqual(_library.built_from(library), source)
                    built, others = _library._in_checkout(checkout)
                    self.assertEqual(
                        (built, len(others)), ([library], 0) if source == checkout else ([], 1)
                    )
                    self.assertIn(str(other) if others else "", "".join(others))
                # What CMake has copied is this checkout's.
                copied = checkout / "build/lib" / _library.FILE_NAME
                copied.parent.mkdir(parents=True)
                copied.touch()
                self.assertEqual(_library._in_checkout(checkout)[0], [library, copied])

    def test_other_versions(self):
        path = pathlib.Path("libdamo.so")
        _library.refuse_mismatch(path, _library.ABI_VERSION, _library.VERSION)
        _library.refuse_mismatch(path, _library.ABI_VERSION, "0.99.0")
        for abi, version in (
            (_library.ABI_VERSION + 1, _library.VERSION),
            (_library.ABI_VERSION, "0.0.9"),
        ):
            with self.assertRaises(ImportError) as caught:
                _library.refuse_mismatch(path, abi, version)
            for word in (version, f"ABI version {abi}", "pip install ./python", "DAMO_LIBRARY"):
                self.assertIn(word, str(caught.exception))
