"""Click and rating logs as DLRM wants them: numbers, features with one id, and one with many.

An id is a hash of the feature's name and the value's text, as in logs.py.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Callable, NamedTuple, Optional

import numpy as np

from log_formats import Feature, LogFile
from logs import MISSING, Ids, about, bucket
from text_file import InputError, parse_number

# The numbers of a sample, its ids, and the ids in its bag.
Parts = tuple["list[float]", "list[int]", "list[int]"]


class Columns(NamedTuple):
    names: tuple[str, ...]
    """The names of the features with one id, and then the name of the one with a bag."""
    labels: np.ndarray
    """float32 of shape (samples,): 1 or 0."""
    numbers: np.ndarray
    """float32 of shape (samples, numbers)."""
    ids: np.ndarray
    """int64 of shape (samples, features): one id each."""
    bags: np.ndarray
    """int64: the ids of all samples' bags, one bag after another."""
    begins: np.ndarray
    """int64 of shape (samples + 1,): where each bag begins in bags, and the end of the last."""

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: slice) -> Columns:
        return self.take(np.arange(len(self))[chosen])

    def take(self, places: np.ndarray) -> Columns:
        """The samples at these places, in this order."""
        first = self.begins[places]
        sizes = self.begins[places + 1] - first
        begins = np.concatenate([[0], np.cumsum(sizes)])
        in_bags = np.arange(begins[-1]) + np.repeat(first - begins[:-1], sizes)
        return Columns(
            self.names,
            self.labels[places],
            self.numbers[places],
            self.ids[places],
            self.bags[in_bags],
            begins,
        )


class Criteo:
    """The C columns have one id each. The I columns are numbers, and ids in the bag, too."""

    def __init__(self, path: str, ids: Ids, first: list[Feature]) -> None:
        tokens = [name for name, _, _ in first if name.startswith("C")]
        if not 0 < len(tokens) < len(first):
            raise InputError(
                f"{path}: has {len(first) - len(tokens)} I columns and {len(tokens)} C columns;"
                " one of each is needed at least"
            )
        self.names = (*tokens, "counts")
        self._ids = ids

    def __call__(self, features: list[Feature]) -> Parts:
        parts: Parts = [], [], []
        numbers, ids, bag = parts
        for name, said, _ in features:
            if isinstance(said, bytes):
                ids.append(self._ids(name, said or MISSING))
            else:
                numbers.append(math.log1p(max(said or 0, 0)))
                if said is not None:
                    bag.append(self._ids(name, bucket(said)))
        return parts


class MovieLens:
    """The user and the film, with their features in the files .user and .item beside the log.

    The bag has the film's genres. The numbers are the user's age and the film's year.
    """

    names = ("user", "item", "age", "gender", "occupation", "year", "genres")

    def __init__(self, path: str, ids: Ids, _first: list[Feature]) -> None:
        user_fields, item_fields = ("age", "gender", "occupation"), ("release_year", "class")
        self._users = about(Path(path), ".user", b"user_id", user_fields)
        self._items = about(Path(path), ".item", b"item_id", item_fields)
        self._ids = ids

    def __call__(self, features: list[Feature]) -> Parts:
        (_, user, _), (_, item, _) = features
        age, gender, occupation = self._users.get(user, [MISSING] * 3)
        year, genres = self._items.get(item, [MISSING, b""])
        said = user, item, age, gender, occupation, year
        numbers = [_scaled(age, 0, 100), _scaled(year, 1900, 100)]
        words = [] if genres == MISSING else genres.split()
        bag = [self._ids("genres", word) for word in words]
        return numbers, [self._ids(*pair) for pair in zip(self.names, said)], bag


def _scaled(text: bytes, least: float, span: float) -> float:
    """A number from 0 to about 1; 0 for what is none."""
    number = parse_number(text)
    return 0.0 if number is None else (number - least) / span


KINDS = {"criteo": Criteo, "movielens": MovieLens}


def read(file: LogFile, ids: Ids) -> Columns:
    """The samples of a log. Raises InputError for one that cannot be read."""
    labels, numbers, keys, bags = [], [], [], []
    encode: Optional[Callable[[list[Feature]], Parts]] = None
    names: tuple[str, ...] = ()
    for sample in file.samples():
        if encode is None:
            if file.format not in KINDS:
                raise InputError(
                    f"{file.path}: is {file.format}, whose features have no columns; DLRM needs a"
                    " criteo or movielens log"
                )
            encode = KINDS[file.format](file.path, ids, sample.features)
            names = encode.names
        for parts, part in zip((numbers, keys, bags), encode(sample.features)):
            parts.append(part)
        labels.append(sample.clicked)
    begins = np.cumsum([0, *map(len, bags)])
    return Columns(
        names,
        np.array(labels, np.float32),
        np.array(numbers, np.float32),
        np.array(keys, np.int64),
        np.array([key for bag in bags for key in bag], np.int64),
        begins.astype(np.int64),
    )
