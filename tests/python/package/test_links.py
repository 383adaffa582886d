"""Links between the Markdown pages lead to files and headings that exist."""

import re
import subprocess

from support import CHECKOUT, Case


def headings(text):
    """What a page's headings are linked by."""
    found = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


def without_code(text):
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


class Links(Case):
    def test_every_link(self):
        listed = subprocess.run(
            ["git", "ls-files", "*.md"], cwd=CHECKOUT, capture_output=True, text=True
        )
        if listed.returncode != 0:
            self.skipTest(f"the pages are not known: {listed.stderr.strip()}")
        checked = 0
        for page in (CHECKOUT / name for name in listed.stdout.splitlines()):
            for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
                if "://" in target:
                    continue
                path, _, heading = target.partition("#")
                found = page.parent / path if path else page
                with self.subTest(page=page.name, link=target):
                    self.assertTrue(found.exists(), "leads nowhere")
                    if heading:
                        self.assertIn(heading, headings(found.read_text("utf-8")))
                checked += 1
        self.assertGreater(checked, 50)
