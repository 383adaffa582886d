"""Which damo it is, beside other distributions with a module of that name."""

import os
import pathlib
import shutil
import subprocess
import sys
import warnings

import damo
from damo import _c_api
from support import CHECKOUT, Case


class About(Case):
    def distribution(self, folder, name, version, *files):
        """What an installer leaves of a distribution."""
        site = pathlib.Path(self.path(folder))
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files), encoding="utf-8")
        for file in files:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).touch()

    def package(self, folder):
        """This package as if it were installed there, last."""
        shutil.copytree(
            CHECKOUT / "python" / "damo",
            self.path(f"{folder}/damo"),
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("libdamo*"),
        )

    def python(self, *arguments, path="site", warned=()):
        folders = [self.path(folder) for folder in path.split(os.pathsep)]
        environment = {
            **os.environ,
            "DAMO_LIBRARY": str(_c_api.library_path),
            "PYTHONPATH": os.pathsep.join(folders),
        }
        ended = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual("RuntimeWarning" in ended.stderr, bool(warned), ended.stderr)
        for words in warned:
            self.assertIn(words, ended.stderr)
        return ended.stdout

    def test_says_what_it_is(self):
        text = damo.about()
        for words in (
            f"damo-tables {damo.__version__}",
            str(CHECKOUT / "python" / "damo"),
            str(_c_api.library_path),
            "command",
        ):
            self.assertIn(words, text)
        self.assertIn("damo-tables", damo.__doc__.splitlines()[0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertEqual(
                self.python("-m", "damo", path="x" + os.pathsep + str(CHECKOUT / "python")),
                text + "\n",
            )

    def test_beside_the_damo_of_the_registry(self):
        """Its files are in the same folder, and an installer replaces what is there."""
        self.distribution("site", "damo", "3.4.3", "damo/__init__.py", "damo/damo.py")
        self.package("site")
        self.distribution("site", "damo-tables", damo.__version__, "damo/__init__.py")
        warned = (
            f"this is damo-tables {damo.__version__}",
            "the distribution damo 3.4.3",
            self.path("site/damo/__init__.py"),
        )
        warned += ("replaced files", "`pip uninstall damo`", "--force-reinstall damo-tables")
        out = self.python("-c", "import damo; print(damo.Storage.__name__)", warned=warned)
        self.assertEqual(out, "Storage\n")
        # It was installed last: the import has nothing, and the package's own files still say why.
        pathlib.Path(self.path("site/damo/__init__.py")).write_bytes(b"")
        out = self.python("-m", "damo")
        for words in (
            "damo-tables",
            "__init__.py is another distribution's",
            "--force-reinstall damo-tables",
            "damo 3.4.3",
        ):
            self.assertIn(words, out)

    def test_beside_damo_embedding(self):
        """Its module is a file beside the package's folder, which comes first."""
        self.distribution(
            "site",
            "damo-embedding",
            "1.1.12",
            "damo.cpython-311-x86_64-linux-gnu.so",
            "damo_embedding/__init__.py",
        )
        self.package("site")
        warned = ("damo-embedding 1.1.12", "is hidden by this package", "environments of their own")
        self.python("-c", "import damo; damo.Storage", warned=warned)

    def test_elsewhere_on_the_path(self):
        self.distribution("other", "damo_embedding", "1.0.6", "damo.py", "_damo.so")
        self.package("site")
        warned = ("damo_embedding 1.0.6", self.path("other/damo.py"), "sys.path decides")
        out = self.python(
            "-c",
            "import damo; print(damo.about())",
            path="site" + os.pathsep + "other",
            warned=warned,
        )
        self.assertIn("beside   damo_embedding 1.0.6", out)

    def test_of_nobody_known(self):
        """The import looks for those that are known; about() looks at all."""
        self.distribution("site", "somebody-s", "2.0", "damo/__init__.py")
        self.distribution("site", "damonic", "1.0", "damonic/__init__.py", "damo_extra/damo.py")
        self.package("site")
        out = self.python("-c", "import damo; print(damo.about())")
        self.assertIn("beside   somebody-s 2.0", out)
        self.assertNotIn("damonic", out)

    def test_without_a_module_of_the_name(self):
        self.distribution("site", "damo", "0.0.1", "../../bin/damo", "damon/__init__.py")
        self.distribution("site", "damo-tables", damo.__version__, "damo/__init__.py")
        self.package("site")
        self.assertNotIn("beside", self.python("-c", "import damo; print(damo.about())"))
