"""Text input: lines, fields and numbers, with errors that say where ("train.csv:17: ...").

Everything is bytes, since a token is whatever bytes a log has. These are text_file.hpp and
delimited_file.hpp of examples/cpp in Python, to the text of each error. tests/logs/cases.txt holds
the two together.
"""

from __future__ import annotations

import os
import re
from typing import Iterator, NoReturn, Optional

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# The first bytes of files that are not text.
NOT_TEXT = (
    (b"\x1f\x8b", "is gzip-compressed; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "is zstd-compressed; decompress it first"),
    (b"\xfd7zXZ", "is xz-compressed; decompress it first"),
    (b"BZh", "is bzip2-compressed; decompress it first"),
    (b"\x04\x22\x4d\x18", "is lz4-compressed; decompress it first"),
    (b"PK\x03\x04", "is a zip archive; unpack it first"),
    (b"\xff\xfe", "is UTF-16 or UTF-32 text; convert it to UTF-8 first"),
    (b"\xfe\xff", "is UTF-16 or UTF-32 text; convert it to UTF-8 first"),
)

INTEGER = re.compile(rb"-?[0-9]+")
NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
PROPERLY_QUOTED = "quoted from end to end, with quotes inside doubled"
# A quoted field, and what follows its closing quote.
QUOTED = re.compile(rb'"(?:[^"]|"")*"(?!")')


class InputError(Exception):
    """An input of the user is wrong: a path, or a line of a file. The program ends with code 2."""


class TextFile:
    """A text file read line by line.

    A byte-order mark and Windows line ends are removed, and blank lines are skipped. Compressed
    files and UTF-16 are recognised by their first bytes, not by the file's name, and are an error.
    A line must not have NUL bytes or carriage returns inside. The file is read once, from front to
    back, so a pipe (`train_deepfm.py <(zcat log.gz)`) works as well as a file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.line = b""
        self.number = 0
        if os.path.isdir(self.path):
            raise InputError(f"{self.path}: is a directory")
        try:
            self._file = open(self.path, "rb")
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from None

    def __enter__(self) -> TextFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def next(self) -> bool:
        """Steps to the next line; false at the end of the file."""
        while True:
            try:
                line = self._file.readline()
            except OSError:
                raise InputError(f"{self.path}: cannot be read beyond line {self.number}") from None
            if not line:
                return False
            self.number += 1
            if self.number == 1:
                line = self._first(line)
            self.line = line.rstrip(b"\r\n")
            if b"\0" in self.line:
                self.fail("has a NUL byte; text in UTF-8 was expected")
            if b"\r" in self.line:
                self.fail("has a carriage return inside; lines should end with LF or CR LF")
            if self.line.strip(b" \t"):
                return True

    def _first(self, line: bytes) -> bytes:
        for start, problem in NOT_TEXT:
            if line.startswith(start):
                raise InputError(f"{self.path}: {problem}")
        return line[len(BYTE_ORDER_MARK) :] if line.startswith(BYTE_ORDER_MARK) else line

    def fail(self, problem: str) -> NoReturn:
        raise InputError(f"{self.path}:{self.number}: {problem}")


class DelimitedFile:
    """Text under a header that names the columns. Every line after it has a field for each column.

    A field may be quoted: "68fd1e64" and 68fd1e64 are the same token. Between commas, quoted text
    may hold commas; quotes inside it are doubled. Tabs always separate, since titles in
    tab-separated logs hold quotes of their own. A quoted field ends in the line where it starts.
    """

    def __init__(self, file: TextFile, delimiter: bytes, *, types: bool = False) -> None:
        """file: at the header. types: whether columns are name:type, of which the name is kept."""
        self.file = file
        self.names: list[bytes] = []
        self._delimiter = delimiter
        self._fields = self._split()
        names = [self.field(place) for place in range(len(self._fields))]
        self.names = [name.split(b":")[0] for name in names] if types else names
        for place, name in enumerate(self.names):
            earlier = self.names.index(name)
            if earlier < place:
                self.fail_field(place, f"another name: column {earlier + 1} has it", header=True)

    def rows(self) -> Iterator[None]:
        """Goes from row to row. field() then returns fields of the present row."""
        any_row = False
        while self.file.next():
            any_row = True
            self._fields = self._split()
            if len(self._fields) != len(self.names):
                self.file.fail(f"has {len(self._fields)} fields, the header has {len(self.names)}")
            yield
        if not any_row:
            raise InputError(f"{self.file.path}: has a header but no samples")

    def field(self, place: int) -> bytes:
        """A field of this row without its quotes."""
        raw = self._fields[place]
        if not raw.startswith(b'"'):
            return raw
        if not QUOTED.fullmatch(raw):
            self.fail_field(place, PROPERLY_QUOTED, header=not self.names)
        return raw[1:-1].replace(b'""', b'"')

    def fail_field(self, place: int, expected: str, *, header: bool = False) -> NoReturn:
        name = f"column {place + 1}" if header else os.fsdecode(self.names[place])
        self.file.fail(f"{name} {quoted(self._fields[place])} should be {expected}")

    def _split(self) -> list[bytes]:
        line = self.file.line
        if self._delimiter != b"," or b'"' not in line:
            return line.split(self._delimiter)
        fields: list[bytes] = []
        start = 0
        while True:
            if line.startswith(b'"', start):
                found = QUOTED.match(line, start)
                end = found.end() if found else start
                if not found or (end < len(line) and not line.startswith(self._delimiter, end)):
                    self.file.fail(
                        f"column {len(fields) + 1} {quoted(line[start:])} should be"
                        f" {PROPERLY_QUOTED}"
                    )
            else:
                end = line.find(self._delimiter, start)
                end = len(line) if end < 0 else end
            fields.append(line[start:end])
            if end == len(line):
                return fields
            start = end + 1


def parse_int(text: bytes) -> Optional[int]:
    """An integer of 64 bits: the whole text, in digits."""
    if not INTEGER.fullmatch(text):
        return None
    # int() refuses thousands of digits, with an error of its own.
    digits = text.lstrip(b"-").lstrip(b"0") or b"0"
    number = int(digits) if len(digits) <= 19 else 1 << 64
    number = -number if text.startswith(b"-") else number
    return number if -(2**63) <= number < 2**63 else None


def parse_number(text: bytes) -> Optional[float]:
    """A finite number: the whole text. "inf", "nan", "0x1" and "1_000" are none."""
    if not NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if abs(number) != float("inf") else None


def quoted(text: bytes) -> str:
    """'text' for an error message: shortened, and with '?' for unprintable bytes."""
    shown = "".join(chr(byte) if 0x20 <= byte <= 0x7E else "?" for byte in text[:40])
    return f"'{shown}...'" if len(text) > 40 else f"'{shown}'"
