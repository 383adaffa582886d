"""Runs python/README's programs for Lightning and Ray Train."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import unittest

# Before the others: without torch it skips this file.
from support import Case  # isort: skip

README = pathlib.Path(__file__).resolve().parents[3] / "python" / "README.md"


class Examples(Case):
    def program(self, name):
        """A program of the page prints what the page says."""
        block = rf"```python {name}\n(.*?)```\n```text\n(.*?)```"
        return re.search(block, README.read_text(), re.DOTALL).groups()

    def assert_prints(self, name, **environment):
        program, expected = self.program(name)
        # Lightning and Ray warn about themselves.
        command = [sys.executable, "-W", "ignore", "-c", program]
        options = {"cwd": self.folder, "env": {**os.environ, **environment}, "timeout": 600}
        ended = subprocess.run(command, capture_output=True, text=True, **options)
        self.assertEqual(ended.returncode, 0, ended.stderr[-4000:])
        self.assertTrue(ended.stdout.endswith(expected), ended.stdout[-2000:])

    @unittest.skipIf(importlib.util.find_spec("lightning") is None, "Lightning is not installed")
    def test_lightning(self):
        self.assert_prints("lightning")

    @unittest.skipIf(importlib.util.find_spec("ray") is None, "Ray is not installed")
    def test_ray(self):
        quiet = {"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": self.folder}
        self.assert_prints("ray", **quiet)
