"""docs/tutorial.md: its code runs, in order, and prints what it shows."""

import contextlib
import importlib.util
import io
import os
import re

from support import CHECKOUT, Case

BLOCK = re.compile(
    r"^```python( torch)?\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


class Tutorial(Case):
    def test_every_block_prints_what_is_shown(self):
        text = (CHECKOUT / "docs" / "tutorial.md").read_text(encoding="utf-8")
        blocks = BLOCK.findall(text)
        self.assertEqual(len(blocks), text.count("```python"))
        has_torch = importlib.util.find_spec("torch") is not None
        names, before = {"__name__": "tutorial"}, os.getcwd()
        os.chdir(self.folder)
        try:
            for number, (needs_torch, code, expected) in enumerate(blocks):
                if needs_torch and not has_torch:
                    continue
                printed = io.StringIO()
                with self.subTest(block=number, code=code), contextlib.redirect_stdout(printed):
                    exec(compile(code, f"tutorial, block {number}", "exec"), names)
                self.assertEqual(printed.getvalue(), expected, code)
        finally:
            os.chdir(before)
            names.clear()
