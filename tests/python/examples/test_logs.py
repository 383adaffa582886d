"""The readers of examples/python against tests/logs/cases.txt.

The C++ readers are tested with the same cases. Further tests are of what only Python has: the
arrays of DeepFM, and the tables .user and .item beside an .inter.
"""

import contextlib
import io
import os
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

import numpy as np

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(CHECKOUT / "examples" / "python"))

import logs  # noqa: E402
from log_formats import LogFile, check_alike  # noqa: E402
from text_file import InputError  # noqa: E402

CASES = CHECKOUT / "tests" / "logs" / "cases.txt"
DATA = pathlib.Path(os.environ.get("DAMO_TEST_DATA") or CHECKOUT.parent / "shared" / "data")
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)")
ESCAPED = {b"t": b"\t", b"r": b"\r", b"n": b"\n", b"\\": b"\\"}


def unescaped(text):
    return ESCAPE.sub(
        lambda found: ESCAPED.get(found[1]) or bytes.fromhex(found[1][1:].decode()), text
    )


def input_line(text):
    """A line of input ends with LF, unless a backslash ends it."""
    opened = text.endswith(b"\\") and not text.endswith(b"\\\\")
    return unescaped(text[:-1]) if opened else unescaped(text) + b"\n"


def read_cases():
    cases = []
    for line in CASES.read_bytes().split(b"\n"):
        if not line or line.startswith(b"#"):
            continue
        key, _, value = line.partition(b": ")
        key = key.decode().rstrip(":")
        if key == "case":
            cases.append({"case": value.decode(), "file": "case.log", "input": b"", "expected": []})
        elif key in ("file", "format"):
            cases[-1][key] = value.decode()
        elif key in ("input", "held-out"):
            cases[-1][key] = cases[-1].get(key, b"") + input_line(value)
        elif key in ("sample", "error"):
            cases[-1]["expected"].append(line.decode())
        else:
            raise ValueError(f"cases.txt: what is this: {line}")
    return cases


def shown(feature):
    column, said, value = feature
    if isinstance(said, bytes):
        text = "".join(chr(b) if 0x20 < b <= 0x7E and b != 0x5C else f"\\x{b:02x}" for b in said)
        return f"{column}={text}"
    if column:
        return f"{column}={'' if said is None else said}"
    return f"{said}:{float(np.float32(value)):.9g}"


class Scratch(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="damo-logs-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def write(self, name, content):
        (self.folder / name).write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
        return str(self.folder / name)


class Cases(Scratch):
    def outcome(self, case):
        path, held_out = self.write(case["file"], case["input"]), self.write(
            "held-out", case.get("held-out", b"")
        )
        files = [LogFile(path, case.get("format"))]
        if "held-out" in case:
            files.append(LogFile(held_out, case.get("format")))
        try:
            samples = [sample for file in files for sample in file.samples()]
            check_alike(files[0], files[-1])
        except InputError as error:
            return ["error: " + str(error).replace(held_out, "HELD-OUT").replace(path, "FILE")]
        return [
            " ".join([f"sample: {sample.clicked:d}", *map(shown, sample.features)])
            for sample in samples
        ]

    def test_each(self):
        cases = read_cases()
        self.assertGreater(len(cases), 0)
        for case in cases:
            with self.subTest(case["case"]):
                self.assertNotEqual(case["expected"], [])
                self.assertEqual(self.outcome(case), case["expected"])

    def test_what_is_no_file(self):
        with self.assertRaisesRegex(InputError, "absent: No such file or directory$"):
            list(LogFile(str(self.folder / "absent")).samples())
        with self.assertRaisesRegex(InputError, ": is a directory$"):
            list(LogFile(str(self.folder)).samples())


class Arrays(Scratch):
    def read(self, *contents, **options):
        names = [self.write(f"log-{index}", content) for index, content in enumerate(contents)]
        return logs.read_split(*names, *[None] * (2 - len(names)), **options)

    def refused(self, *contents):
        with self.assertRaises(InputError) as raised:
            self.read(*contents)
        return str(raised.exception).replace(str(self.folder) + "/", "")

    def test_values_multiply(self):
        train, test = self.read("1 5:0.5 7:2\n0 5:1 7:0\n", "1 5:1 7:1\n0 5:1 7:1\n")
        self.assertEqual(train.values.tolist(), [[0.5, 2], [1, 0]])
        self.assertIsNone(test.values)
        self.assertEqual(train.ids.tolist(), test.ids.tolist())

    def test_an_id_is_a_number_and_not_its_text(self):
        train, _ = self.read("1 5:1\n0 005:1.0\n", "1 5:1\n0 5:1\n")
        self.assertEqual(train.ids[0], train.ids[1])

    def test_samples_of_another_length(self):
        expected = "log-0:3: has 1 features, line 1 has 2; DeepFM needs the same number in all"
        self.assertEqual(self.refused("1 5:1 7:1\n\n0 5:1\n"), expected)
        expected = "log-0:2: has 3 features, line 1 has 2; DeepFM needs the same number in all"
        self.assertEqual(self.refused("1 5:1 7:1\n0 5:1 7:1 9:1\n"), expected)
        expected = "log-0:2: has 0 features, line 1 has 1; DeepFM needs the same number in all"
        self.assertEqual(self.refused("1 5:1\n0\n"), expected)
        expected = "log-1: has 1 features in each sample, "
        self.assertIn(expected, self.refused("1 5:1 7:1\n0 5:1 7:1\n", "1 5:1\n"))

    def test_one_sample(self):
        self.assertEqual(
            self.refused("1 5:1\n"), "log-0: one sample cannot be both trained on and held out"
        )

    def test_one_label_only(self):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            _, test = self.read("1 5:1\n" * 10, "0 5:1\n" * 3)
        self.assertIn("log-1 has labels of one kind only", printed.getvalue())
        for labels in (test.labels, 1 - test.labels):
            self.assertIsNone(logs.auc(labels, np.linspace(0, 1, len(labels))))
        self.assertEqual(logs.show_auc(None), "undefined (one label only)")

    def test_one_label_elsewhere(self):
        """In all of a log, in its last fifth, and in both logs: the AUC is undefined, not NaN."""
        for contents in (
            ["1 5:1\n" * 10],
            ["-1 5:1\n1 6:1\n" * 4 + "-1 5:1\n" * 8],
            ["0 5:1\n" * 10, "0 6:1\n" * 5],
            ["1 5:1\n" * 10, "1 6:1\n" * 5],
        ):
            with contextlib.redirect_stdout(io.StringIO()):
                _, test = self.read(*contents)
            with self.subTest(contents):
                self.assertIsNone(logs.auc(test.labels, np.linspace(0, 1, len(test.labels))))

    def test_auc(self):
        self.assertEqual(logs.auc(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.3, 0.2])), 0.75)

    def inter(self, **tables):
        for suffix, content in tables.items():
            self.write(f"log.{suffix}", content)
        path = self.write("log.inter", INTER + "a\tx\t5\t1\nb\ty\t1\t2\nc\tx\t1\t3\n")
        train, test = logs.read_split(path, None)
        return np.concatenate([train.ids, test.ids]).tolist()

    def test_tables_beside_a_log(self):
        alone = self.inter()
        users = (
            "gender:token\tuser_id:token\tage:token\toccupation:token\n"
            "M\ta\t24\tartist\nF\tb\t24\tnone\n"
        )
        with_users = self.inter(user="\ufeff" + users.replace("\n", "\r\n") + "\r\n")
        self.assertEqual(with_users[2], alone[2])  # who is not in the table
        self.assertEqual([with_users[0][2], with_users[0][5:]], [with_users[1][2], alone[0][5:]])
        self.assertNotEqual(with_users[0][3], with_users[1][3])
        quoted = users.replace("\ta\t", '\t"a"\t').replace("artist", '"artist"')
        self.assertEqual(self.inter(user=quoted), with_users)

    def test_tables_that_are_wrong(self):
        for table, expected in (
            ("user_id:token\tage:token\na\n", "log.user:2: has 1 fields, the header has 2"),
            (
                "user_id:token\tage:token\na\t1\na\t2\n",
                "log.user:3: user_id 'a' should be there once",
            ),
            ("uid:token\tage:token\na\t1\n", "log.user:1: the header has no column user_id"),
            (b"\x1f\x8b\x08", "log.user: is gzip-compressed; decompress it first"),
            ("", "log.user: is empty"),
        ):
            with self.subTest(expected), self.assertRaises(InputError) as raised:
                self.inter(user=table)
            self.assertTrue(str(raised.exception).endswith(expected), raised.exception)


class RealLogs(Scratch):
    """Real logs, and the same with another outside."""

    def test_outsides(self):
        for name in ("criteo.train.csv", "frappe.test.libfm", "ml-100k.inter"):
            path = DATA / name
            if not path.is_file():
                self.skipTest(f"{path} is absent; DAMO_TEST_DATA can name the folder that has it")
            lines = path.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")[:1000]
            plain = self.write("plain", b"\n".join(lines))
            expected = [sample._replace(line=0) for sample in LogFile(plain).samples()]
            outsides = {
                "byte-order mark": b"\xef\xbb\xbf" + b"\n".join(lines),
                "CR LF": b"\r\n".join(lines) + b"\r\n",
                "blank lines": b"\n\n \t\n".join([b"", *lines, b""]),
            }
            if name != "frappe.test.libfm":
                delimiter = b"," if name.endswith(".csv") else b"\t"
                quoted = [
                    b'"' + line.replace(delimiter, b'"' + delimiter + b'"') + b'"' for line in lines
                ]
                outsides["quoted"] = b"\n".join(quoted)
            for outside, content in outsides.items():
                with self.subTest(name=name, outside=outside):
                    found = LogFile(self.write("changed", content)).samples()
                    self.assertEqual([sample._replace(line=0) for sample in found], expected)


if __name__ == "__main__":
    unittest.main()
