"""The one file with foreign calls says what damo.h says."""

import ctypes
import re
import unittest

import damo
from damo import _c_api, _library, _storage_stats
from support import CHECKOUT

HEADER = (CHECKOUT / "include" / "damo.h").read_text(encoding="utf-8")
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
FUNCTIONS = (
    CODE[CODE.index('extern "C" {') :]
    .replace('extern "C" {', "")
    .replace("#endif // __cplusplus", ";")
)


class Declarations(unittest.TestCase):
    def test_every_function_is_declared_as_in_the_header(self):
        header, ours = _c_api.parse(FUNCTIONS), _c_api.parse(_c_api.DECLARATIONS)
        self.assertGreater(len(header), 60)
        self.assertEqual(ours, header)

    def test_a_changed_parameter_is_noticed(self):
        changed = FUNCTIONS.replace("size_t keys_len", "uint32_t keys_len", 1)
        self.assertNotEqual(_c_api.parse(_c_api.DECLARATIONS), _c_api.parse(changed))

    def test_statuses(self):
        listed = {
            name: int(number) for name, number in re.findall(r"DAMO_STATUS_(\w+) = (\d+)", CODE)
        }
        self.assertEqual({status.name: int(status) for status in damo.Status}, listed)
        for status in damo.Status:
            self.assertEqual(_c_api.damo_status_name(status).decode(), status.name)
            if status:
                self.assertIs(_c_api.error_for(status, "x").status, status)

    def test_numbers(self):
        self.assertEqual(
            _library.ABI_VERSION, int(re.search(r"#define DAMO_ABI_VERSION (\d+)", CODE)[1])
        )
        self.assertIn(f"#define DAMO_ALL_GROUPS {2**32 - 1}", CODE)
        self.assertEqual(_c_api.ALL_GROUPS, 2**32 - 1)

    def test_rows(self):
        declared = re.search(r"typedef struct \{([^{}]*)\} damo_rows;", CODE)[1]
        fields = [name for name, *_ in _c_api.Rows._fields_]
        self.assertEqual(fields, re.findall(r"(\w+);", declared))
        self.assertEqual(ctypes.sizeof(_c_api.Rows), 3 * ctypes.sizeof(ctypes.c_void_p))

    def test_statistics(self):
        text = HEADER[HEADER.index("Writes one statistic to *value.") :]
        text = text[: text.index("Errors:")]
        self.assertEqual(
            list(_storage_stats.STATS), re.findall(r"^ \*     (\w+)(?:  +\S|$)", text, re.MULTILINE)
        )

    def test_versions_are_one(self):
        for path in ("Cargo.toml", "python/pyproject.toml"):
            version = re.search(
                r'^version = "(.*)"', (CHECKOUT / path).read_text(encoding="utf-8"), re.MULTILINE
            )[1]
            self.assertEqual(damo.__version__, version, path)

    def test_foreign_calls_are_in_one_file(self):
        for path in (CHECKOUT / "python" / "damo").rglob("*.py"):
            if path.name not in ("_c_api.py", "_library.py"):
                self.assertNotIn("CDLL", path.read_text(encoding="utf-8"), path)
