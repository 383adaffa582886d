"""The wheel: it has the library, works with any Python 3, and its package finds it without help."""

import importlib.util
import os
import subprocess
import sys
import zipfile

from damo import _c_api
from support import CHECKOUT, Case


class Wheel(Case):
    def test_has_package_and_library(self):
        spec = importlib.util.spec_from_file_location("build_backend", CHECKOUT / "python" / "build_backend.py")
        backend = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(backend)
        before = os.environ.get("DAMO_LIBRARY")
        # The one that is being tested, instead of another run of cargo.
        os.environ["DAMO_LIBRARY"] = str(_c_api.library_path)
        try:
            name = backend.build_wheel(self.folder)
        finally:
            os.environ.pop("DAMO_LIBRARY") if before is None else os.environ.update(DAMO_LIBRARY=before)
        self.assertRegex(name, r"^damo-[0-9.]+-py3-none-[a-z0-9_]+\.whl$")
        with zipfile.ZipFile(self.path(name)) as wheel:
            files = set(wheel.namelist())
            wheel.extractall(self.path("site"))
        for path in (CHECKOUT / "python" / "damo").rglob("*.py"):
            self.assertIn(path.relative_to(CHECKOUT / "python").as_posix(), files)
        self.assertIn("damo/py.typed", files)
        self.assertIn("damo-0.1.0.dist-info/RECORD", files)
        clean = {name: value for name, value in os.environ.items() if name not in ("DAMO_LIBRARY", "PYTHONPATH")}
        found = subprocess.run(
            [sys.executable, "-c", "import damo._c_api as c; print(c.library_path)"],
            env={**clean, "PYTHONPATH": self.path("site")},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(
            found.stdout.strip(), os.path.realpath(self.path(f"site/damo/{_c_api._library.FILE_NAME}")), found.stderr
        )
