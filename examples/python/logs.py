"""Click and rating logs as arrays: one 64-bit id for each field of a sample, and a label.

An id is a hash of the field's name and the value's text, so there is no vocabulary to build, store or look up.
"""

from __future__ import annotations

import csv
import hashlib
import math
from pathlib import Path
from typing import Callable, Iterable, NamedTuple

import numpy as np

MISSING = "missing"


class Log(NamedTuple):
    ids: np.ndarray
    """int64 of shape (samples, fields)."""
    labels: np.ndarray
    """float32 of shape (samples,): 1 or 0."""

    def __len__(self) -> int:
        return len(self.labels)


class _Ids:
    """feature id of (field, text), remembered, because hashing takes most of the time of reading."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}

    def __call__(self, field: str, text: str) -> int:
        key = (field, text)
        found = self._known.get(key)
        if found is None:
            digest = hashlib.blake2b(f"{field}={text}".encode(), digest_size=8).digest()
            found = self._known[key] = int.from_bytes(digest, "little", signed=True)
        return found


def _bucket(text: str) -> str:
    """Counts in steps that grow: floor(log(x)^2), as the winners of the Criteo contest did."""
    if not text:
        return MISSING
    number = int(text)
    return str(int(math.log(number) ** 2)) if number > 2 else f"small {number}"


def _criteo(path: Path, ids: _Ids) -> Iterable[tuple[list[int], float]]:
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows)
        for row in rows:
            named = dict(zip(header, row))
            keys = [ids(name, _bucket(named[name])) for name in header if name.startswith("I") and name != "Id"]
            keys += [ids(name, named[name] or MISSING) for name in header if name.startswith("C")]
            yield keys, float(named["Label"])


def _libfm(path: Path, ids: _Ids) -> Iterable[tuple[list[int], float]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            label, *features = line.split()
            yield [ids("feature", feature.split(":")[0]) for feature in features], float(float(label) > 0)


def _table(path: Path) -> dict[str, dict[str, str]]:
    """A tab-separated file whose header has name:type, by its first column; nothing when it is not there."""
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = [column.split(":")[0] for column in next(rows)]
        return {row[0]: dict(zip(header, row)) for row in rows}


def _movielens(path: Path, ids: _Ids) -> Iterable[tuple[list[int], float]]:
    users, items = _table(path.with_suffix(".user")), _table(path.with_suffix(".item"))
    with open(path, encoding="utf-8") as file:
        rows = csv.reader(file, delimiter="\t")
        next(rows)
        # In order of time, so that the last fifth is the future.
        for user, item, rating, _time in sorted(rows, key=lambda row: float(row[3])):
            about, film = users.get(user, {}), items.get(item, {})
            keys = [ids("user", user), ids("item", item)]
            keys += [ids(field, about.get(field, MISSING)) for field in ("age", "gender", "occupation")]
            keys += [ids("year", film.get("release_year", MISSING)), ids("class", film.get("class", MISSING))]
            yield keys, float(float(rating) >= 4)


READERS: dict[str, Callable[[Path, _Ids], Iterable[tuple[list[int], float]]]] = {
    ".csv": _criteo,
    ".libfm": _libfm,
    ".inter": _movielens,
}


def read(path: Path, ids: _Ids) -> Log:
    reader = READERS.get(path.suffix)
    if reader is None:
        raise SystemExit(f"{path}: the format is told by the name's end, one of {', '.join(READERS)}")
    keys, labels = zip(*reader(path, ids))
    return Log(np.array(keys, np.int64), np.array(labels, np.float32))


def read_split(train: Path, test: Path | None) -> tuple[Log, Log]:
    """Both logs; without a test file the last fifth of the training file is it."""
    ids = _Ids()
    log = read(train, ids)
    if test is not None:
        held_out = read(test, ids)
        if 0 < held_out.labels.mean() < 1:
            return log, held_out
        print(
            f"{test} has labels of one kind only, so nothing can be measured on it: the last fifth of {train} is the test"
        )
    cut = len(log) * 4 // 5
    return Log(log.ids[:cut], log.labels[:cut]), Log(log.ids[cut:], log.labels[cut:])


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve: how often a clicked sample scores above another; ties count half."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    clicked = labels > 0.5
    positives, negatives = clicked.sum(), (~clicked).sum()
    return float((ranks[clicked].sum() - positives * (positives + 1) / 2) / (positives * negatives))
