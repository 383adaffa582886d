"""Click and rating logs as arrays: one 64-bit id for each field of a sample, and a label.

An id is a hash of the field's name and the value's text, so there is no vocabulary to build, store
or look up.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from log_formats import Feature, LogFile, Sample, check_alike
from text_file import DelimitedFile, InputError, TextFile

MISSING = b"missing"


class Log(NamedTuple):
    ids: np.ndarray
    """int64 of shape (samples, fields)."""
    labels: np.ndarray
    """float32 of shape (samples,): 1 or 0."""
    values: Optional[np.ndarray] = None
    """float32 of the shape of ids: the factor of each id's row; None: all are 1."""

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: slice) -> Log:
        return Log(
            self.ids[chosen],
            self.labels[chosen],
            None if self.values is None else self.values[chosen],
        )


class Ids:
    """The id of (field, text), remembered, since hashing takes most of the time of reading."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], int] = {}

    def __call__(self, field: str, text: bytes) -> int:
        key = (field, text)
        found = self._known.get(key)
        if found is None:
            digest = hashlib.blake2b(field.encode() + b"=" + text, digest_size=8).digest()
            found = self._known[key] = int.from_bytes(digest, "little", signed=True)
        return found


def bucket(count: Optional[int]) -> bytes:
    """A count in growing steps: floor(log(x)^2), as the winners of the Criteo contest did."""
    if count is None:
        return MISSING
    return b"%d" % (math.log(count) ** 2) if count > 2 else b"small %d" % count


def about(log: Path, suffix: str, key: bytes, fields: tuple[str, ...]) -> dict[bytes, list[bytes]]:
    """Features of users or items by key, from a table beside the log; empty without that table."""
    path = log.with_suffix(suffix)
    if path == log or not path.is_file():
        return {}
    known: dict[bytes, list[bytes]] = {}
    with TextFile(path) as file:
        if not file.next():
            raise InputError(f"{path}: is empty")
        table = DelimitedFile(file, b"\t", types=True)
        if key not in table.names:
            file.fail(f"the header has no column {key.decode()}")
        key_place = table.names.index(key)
        places = [
            table.names.index(name.encode()) if name.encode() in table.names else None
            for name in fields
        ]
        for _ in table.rows():
            if known.setdefault(table.field(key_place), row := []) is not row:
                table.fail_field(key_place, "there once")
            row += [MISSING if place is None else table.field(place) for place in places]
    return known


def _libfm_ids(_path: str, ids: Ids) -> Callable[[list[Feature]], list[int]]:
    return lambda features: [ids("feature", b"%d" % number) for _, number, _ in features]


def _criteo_ids(_path: str, ids: Ids) -> Callable[[list[Feature]], list[int]]:
    return lambda features: [
        ids(name, (said or MISSING) if isinstance(said, bytes) else bucket(said))
        for name, said, _ in features
    ]


def _movielens_ids(path: str, ids: Ids) -> Callable[[list[Feature]], list[int]]:
    """The user and the film, with their features in the files .user and .item beside the log."""
    user_fields, item_fields = ("age", "gender", "occupation"), ("release_year", "class")
    users = about(Path(path), ".user", b"user_id", user_fields)
    items = about(Path(path), ".item", b"item_id", item_fields)

    def encode(features: list[Feature]) -> list[int]:
        (_, user, _), (_, item, _) = features
        pairs = [("user", user), ("item", item)]
        pairs += zip(user_fields, users.get(user, [MISSING] * 3))
        pairs += zip(("year", "class"), items.get(item, [MISSING] * 2))
        return [ids(*pair) for pair in pairs]

    return encode


ENCODERS = {"libfm": _libfm_ids, "criteo": _criteo_ids, "movielens": _movielens_ids}


Reader = Callable[[LogFile, Ids], Any]


def _check_fields(path: str, sample: Sample, first: Sample) -> None:
    if len(sample.features) != len(first.features):
        raise InputError(
            f"{path}:{sample.line}: has {len(sample.features)} features, line {first.line} has "
            f"{len(first.features)}; DeepFM needs the same number in all"
        )


def read(file: LogFile, ids: Ids) -> Log:
    keys, labels, values = [], [], []
    first = encode = None
    for sample in file.samples():
        if encode is None:
            first, encode = sample, ENCODERS[file.format](file.path, ids)
        _check_fields(file.path, sample, first)
        keys.append(encode(sample.features))
        labels.append(sample.clicked)
        values.append([value for _, _, value in sample.features])
    multiplied = np.array(values, np.float32)
    plain = (multiplied == 1).all()
    return Log(
        np.array(keys, np.int64), np.array(labels, np.float32), None if plain else multiplied
    )


def read_split(
    train: str, test: Optional[str], format: Optional[str] = None, read: Reader = read
) -> tuple[Any, Any]:
    """The training and the test log. Without a test file, the test is the last fifth of train.

    read: makes arrays of a file, a Log or something with labels, ids, part and len().
    """
    ids = Ids()
    train_file = LogFile(str(train), format)
    log = read(train_file, ids)
    if test is not None:
        test_file = LogFile(str(test), format)
        held_out = read(test_file, ids)
        check_alike(train_file, test_file)
        if held_out.ids.shape[1] != log.ids.shape[1]:
            raise InputError(
                f"{test}: has {held_out.ids.shape[1]} features in each sample, {train} has"
                f" {log.ids.shape[1]}"
            )
        if 0 < held_out.labels.mean() < 1:
            return log, held_out
        print(
            f"{test} has labels of one kind only, so nothing can be measured on it: the last fifth"
            f" of {train} is the test"
        )
    if len(log) < 2:
        raise InputError(f"{train}: one sample cannot be both trained on and held out")
    cut = len(log) * 4 // 5
    return log.part(slice(0, cut)), log.part(slice(cut, None))


def auc(labels: np.ndarray, scores: np.ndarray) -> Optional[float]:
    """The area under the ROC curve: the share of pairs whose clicked sample scores higher.

    Pairs have one clicked and one other sample, and ties count half. None: the labels are all
    alike, so that there is no pair.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    clicked = labels > 0.5
    positives, negatives = clicked.sum(), (~clicked).sum()
    if positives == 0 or negatives == 0:
        return None
    return float((ranks[clicked].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def show_auc(found: Optional[float]) -> str:
    return "undefined (one label only)" if found is None else f"{found:.4f}"
