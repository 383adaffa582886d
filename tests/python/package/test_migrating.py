"""The Python blocks of docs/migrating.md run, one after the other, on files that a wheel wrote."""

import contextlib
import io
import os
import re
import shutil
import warnings

from support import CHECKOUT, Case


class Migrating(Case):
    def test_the_blocks_run(self):
        text = (CHECKOUT / "docs" / "migrating.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        self.assertEqual(len(blocks), 4)
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        for release in ("1.0.6", "1.1.12"):
            folder = self.path(release)
            os.makedirs(folder)
            fixtures = CHECKOUT / "tests" / "import" / "fixtures" / release
            shutil.copy(fixtures / "sgd1.checkpoint", os.path.join(folder, "model-1700000000000"))
            shutil.copy(fixtures / "sgd1.dump", os.path.join(folder, "old.dump"))
            os.chdir(folder)
            names, said = {}, io.StringIO()
            with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(said):
                warnings.simplefilter("always")
                for block in blocks:
                    exec(compile(block, "docs/migrating.md", "exec"), names)
            self.assertEqual(said.getvalue(), "5 rows are equal\n")
            self.assertEqual(["damo import" in str(warning.message) for warning in caught], [True])
            old = names["read"](str(CHECKOUT / "tests/import/fixtures/1.0.5/sgd1.dump"), 1024)
            self.assertEqual(old.keys(), names["old"].keys())
            names.clear()
