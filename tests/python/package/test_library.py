"""Which library is loaded, and which is refused."""

import os
import pathlib
import subprocess
import sys
import unittest

from damo import _library


class Library(unittest.TestCase):
    def import_with(self, library):
        environment = {**os.environ, "DAMO_LIBRARY": library}
        return subprocess.run(
            [sys.executable, "-c", "import damo"], env=environment, capture_output=True, text=True, timeout=60
        ).stderr

    def test_one_that_is_not_there(self):
        self.assertIn(
            "DAMO_LIBRARY names '/nowhere/libdamo.so', which is not a file", self.import_with("/nowhere/libdamo.so")
        )

    def test_one_that_is_no_library(self):
        self.assertIn("could not be loaded", self.import_with(os.path.abspath(__file__)))

    def test_one_that_is_not_damo(self):
        import _ctypes

        error = self.import_with(_ctypes.__file__)
        self.assertIn("ImportError: damo: ", error)
        self.assertIn("is not a damo library", error)

    def test_other_versions(self):
        path = pathlib.Path("libdamo.so")
        _library.refuse_mismatch(path, _library.ABI_VERSION, _library.VERSION)
        _library.refuse_mismatch(path, _library.ABI_VERSION, "0.99.0")
        for abi, version in ((_library.ABI_VERSION + 1, _library.VERSION), (_library.ABI_VERSION, "0.0.9")):
            with self.assertRaises(ImportError) as caught:
                _library.refuse_mismatch(path, abi, version)
            for word in (version, f"ABI version {abi}", "pip install ./python", "DAMO_LIBRARY"):
                self.assertIn(word, str(caught.exception))
