"""The formats of logs: libFM text, the Criteo CSV, MovieLens as RecBole's `.inter`.

examples/README.md says what the readers take. They are those of examples/cpp in Python, to the text
of each error. tests/logs/cases.txt holds the two together.
"""

from __future__ import annotations

import re
from typing import Callable, Generator, Iterator, NamedTuple, NoReturn, Optional, Union

from text_file import DelimitedFile, InputError, TextFile, parse_int, parse_number, quoted

# A feature has three parts: the column's name ("" in libFM text, which has none); the value in the
# line, which is an id or a count (None: not known), or a token's bytes; and the factor x_i.
Feature = tuple[str, Union[int, bytes, None], float]


class Sample(NamedTuple):
    line: int
    clicked: bool
    features: list[Feature]


# Yields the samples in the order in which they happened, and returns the columns that became
# features (none for libFM text, which has no columns).
Samples = Generator[Sample, None, "list[str]"]

WORDS = re.compile(rb"[^ \t]+")
CRITEO_COLUMN = re.compile(rb"([IC])(0|[1-9][0-9]{0,7})")
MOVIELENS_COLUMNS = (b"user_id", b"item_id", b"rating", b"timestamp")
CLICKED_FROM = 4.0
MOST_STARS = 5.0
FLOAT32_MAX = float.fromhex("0x1.fffffep127")
NO_COMMENTS = "; comments are not read: remove them"


def _libfm(file: TextFile) -> Samples:
    """One sample a line, `label id:value id:value ...`. The label is 1 for a click, or -1 or 0."""
    known: dict[bytes, Feature] = {}  # Words repeat, and parsing them is most of the work.
    not_clicked: Optional[float] = None
    any_feature = False
    more = True
    while more:
        label, *words = WORDS.findall(file.line)
        number = parse_number(label)
        if number not in (1, 0, -1):
            comment = NO_COMMENTS if label.startswith(b"#") else ""
            file.fail(f"label {quoted(label)} should be 1, or -1 or 0{comment}")
        if number != 1:
            # A log uses either 0 or -1 for no click. One with both has three classes, or samples
            # without a label.
            if not_clicked not in (None, number):
                other = "-1" if number == 0 else "0"
                file.fail(
                    f"label {quoted(label)} should be 1 or {other}, as the lines above have it for"
                    " no click"
                )
            not_clicked = number
        features = []
        for place, word in enumerate(words):
            feature = known.get(word)
            if feature is None:
                feature = known[word] = _libfm_feature(file, place + 1, word)
            features.append(feature)
        any_feature = any_feature or bool(features)
        yield Sample(file.number, number == 1, features)
        more = file.next()
    if not any_feature:
        raise InputError(f"{file.path}: no sample has a feature")
    return []


def _libfm_feature(file: TextFile, place: int, word: bytes) -> Feature:
    def fail(expected: str) -> NoReturn:
        file.fail(f"feature {place} {quoted(word)} should be ID:VALUE{expected}")

    if b"#" in word:
        fail(NO_COMMENTS)
    if word.startswith(b"qid:"):
        fail("; a qid is for rankings, not for clicks: remove it")
    if word.count(b":") > 1:
        fail(", not the FIELD:ID:VALUE of libFFM")
    text, colon, value_text = word.partition(b":")
    number = parse_int(text)
    if not colon or number is None or word.startswith(b"-"):
        fail(" with an ID from 0 to 9223372036854775807")
    value = parse_number(value_text)
    if value is None or abs(value) > FLOAT32_MAX:
        fail(" with a number as VALUE that fits into a float32")
    return "", number, value


def _criteo(file: TextFile) -> Samples:
    """`Id,Label,I1..I13,C1..C26`: I columns are counts, C columns are tokens.

    Columns are found by name. They may be in any order, and may be a subset.
    """
    table = DelimitedFile(file, b",")
    label_place = None
    columns = []
    for place, name in enumerate(table.names):
        found = CRITEO_COLUMN.fullmatch(name)
        if name == b"Label":
            label_place = place
        elif found:
            # I1, I2, ..., C1, C2, ..., wherever they are in the line.
            columns.append((found[1] == b"C", int(found[2]), name.decode(), place))
        elif name != b"Id":
            table.fail_field(place, "Id, Label, I1, I2, ... or C1, C2, ...", header=True)
    if label_place is None:
        file.fail("the header has no column Label")
    if not columns:
        file.fail("the header has no column I1, I2, ... or C1, C2, ...")
    columns.sort()

    for _ in table.rows():
        label = table.field(label_place)
        if label not in (b"0", b"1"):
            table.fail_field(label_place, "0 or 1")
        features: list[Feature] = []
        for is_token, _number, name, place in columns:
            field = table.field(place)
            if is_token:
                features.append((name, field, 1.0))
                continue
            count = parse_int(field)
            if count is None and field:
                table.fail_field(
                    place, "empty or an integer from -9223372036854775808 to 9223372036854775807"
                )
            features.append((name, count, 1.0))
        yield Sample(file.number, label == b"1", features)
    return [name for _, _, name, _ in columns]


def _movielens(file: TextFile) -> Samples:
    """Tab-separated under a header of `name:type`. 4 or 5 stars count as a click.

    The samples come in order of time, whatever the order of the lines.
    """
    table = DelimitedFile(file, b"\t", types=True)
    for wanted in MOVIELENS_COLUMNS:
        if wanted not in table.names:
            file.fail(
                f"the header has no column {wanted.decode()}"
                "; it should have user_id, item_id, rating and timestamp, separated by tabs"
            )
    user, item, rating, timestamp = (table.names.index(wanted) for wanted in MOVIELENS_COLUMNS)
    events = []
    for _ in table.rows():
        for place in (user, item):
            if not table.field(place):
                table.fail_field(place, "an id, not empty")
        stars = parse_number(table.field(rating))
        if stars is None or not 0 <= stars <= MOST_STARS:
            table.fail_field(rating, "a number from 0 to 5")
        time = parse_number(table.field(timestamp))
        if time is None:
            table.fail_field(timestamp, "a number")
        features: list[Feature] = [
            ("user_id", table.field(user), 1.0),
            ("item_id", table.field(item), 1.0),
        ]
        events.append((time, Sample(file.number, stars >= CLICKED_FROM, features)))
    # A stable sort: a user rates several films in the same second, and only the file has their
    # order.
    events.sort(key=lambda event: event[0])
    yield from (sample for _, sample in events)
    return ["user_id", "item_id"]


def _looks_like_movielens(line: bytes) -> bool:
    return b"\t" in line and any(name in line for name in MOVIELENS_COLUMNS)


def _looks_like_criteo(line: bytes) -> bool:
    return any(name in (b"Label", b'"Label"') for name in line.split(b","))


def _looks_like_libfm(line: bytes) -> bool:
    label, *features = WORDS.findall(line)
    if label.startswith(b"#"):
        return True  # An SVMlight file that starts with a comment.
    if not features:
        return parse_number(label) is not None
    return b":" not in label and b":" in features[0]


class Format(NamedTuple):
    looks_like: Callable[[bytes], bool]
    read: Callable[[TextFile], Samples]


FORMATS = {
    "movielens": Format(_looks_like_movielens, _movielens),
    "criteo": Format(_looks_like_criteo, _criteo),
    "libfm": Format(_looks_like_libfm, _libfm),
}
"""In the order in which a first line is tried. The content decides, not the file's name."""


class LogFile:
    """A log on disk. Once samples() has read it, it has its format and columns."""

    def __init__(self, path: str, format: Optional[str] = None) -> None:
        """format: a name in FORMATS; None: the first line decides."""
        self.path = path
        self.format = format
        self.columns: list[str] = []

    def samples(self) -> Iterator[Sample]:
        """Yields the samples. Raises InputError at the first bad line: half a log trains badly."""
        with TextFile(self.path) as file:
            if not file.next():
                raise InputError(f"{self.path}: is empty")
            if self.format is None:
                self.format = _detect(file)
            self.columns = yield from FORMATS[self.format].read(file)


def _detect(file: TextFile) -> str:
    for name, format in FORMATS.items():
        if format.looks_like(file.line):
            return name
    file.fail(
        f"line {quoted(file.line)} should be LABEL ID:VALUE ... (libfm), a header Id,Label,I1,..."
        " (criteo), or a header with user_id, item_id, rating and timestamp between tabs"
        " (movielens)"
    )


def check_alike(train: LogFile, test: LogFile) -> None:
    """Raises InputError if a model with train's columns cannot be measured on test's."""
    if train.format != test.format:
        raise InputError(
            f"{test.path}: is {test.format}, and should be {train.format} as {train.path} is"
        )
    for column in train.columns:
        if column not in test.columns:
            raise InputError(f"{test.path}: has no column {column}, which {train.path} has")
    for column in test.columns:
        if column not in train.columns:
            raise InputError(
                f"{test.path}: has a column {column}, which {train.path} does not have"
            )
