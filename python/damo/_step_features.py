"""The features of a Step: their names and embeddings, and checks of what is given for them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence, get_args

import numpy as np

from . import _arrays, _tensors
from ._choices import BagMode
from ._embedding import Embedding
from ._errors import Error, InvalidArgumentError, StepMismatchError

if TYPE_CHECKING:
    from ._storage import Storage

Shape = tuple[int, ...]

_ARRAYS = {
    "outputs": "out",
    "gradients": "gradients",
    "steps": "at_step",
    "expected": "expected_step",
}
_PART = re.compile(
    r"\bpart (?P<part>\d+)(?= has pooling\b)|"
    r"\b(?P<array>outputs|gradients|steps|expected)\[(?P<number>\d+)\]"
    r"(?P<len>_len\b)?"
)
# Errors that name parts and arguments. The messages of others may name files.
_OF_ARGUMENTS = (InvalidArgumentError, StepMismatchError)
_LENGTH = re.compile(r"\b(keys|offsets|outputs|gradients)_len\b")


@dataclass(frozen=True)
class Feature:
    """A feature, its embedding, and the columns that it has in a matrix."""

    name: str
    embedding: Embedding
    pooling: BagMode | None
    begin: int

    @property
    def columns(self) -> slice:
        return slice(self.begin, self.begin + self.embedding.dim)

    def __str__(self) -> str:
        return f"feature {self.name!r}"


def checked(
    storage: Storage,
    features: Mapping[str, Embedding],
    pooling: Mapping[str, BagMode | None] | None,
) -> tuple[Feature, ...]:
    """The features of a Step. Raises TypeError or ValueError for wrong ones."""
    if not isinstance(features, Mapping):
        raise TypeError(
            "damo: features must be a dict of embeddings by names, not"
            f" {type(features).__name__}"
        )
    if not features:
        raise InvalidArgumentError("damo: features is empty; a Step needs one at least")
    if not isinstance(pooling, Mapping) and pooling is not None:
        raise TypeError(
            f"damo: pooling must be a dict by the names of features, not {pooling!r:.80}"
        )
    pooled = {} if pooling is None else pooling
    for name, kind in pooled.items():
        if name not in features:
            raise InvalidArgumentError(
                f"damo: pooling has {name!r}, which is no feature; the features are"
                f" {', '.join(map(repr, features))}"
            )
        if kind is not None and kind not in get_args(BagMode):
            raise InvalidArgumentError(
                f"damo: pooling of feature {name!r} is {kind!r:.80}; it must be 'sum', 'mean',"
                " 'max' or None"
            )
    made: list[Feature] = []
    of_group: dict[int, Feature] = {}
    for name, embedding in features.items():
        if not isinstance(name, str):
            raise TypeError(f"damo: the name of a feature must be a string, not {name!r:.80}")
        if not isinstance(embedding, Embedding):
            raise TypeError(
                f"damo: feature {name!r} must be a damo.Embedding, not"
                f" {type(embedding).__name__}"
            )
        if embedding.storage is not storage:
            raise InvalidArgumentError(
                f"damo: feature {name!r} is an embedding of {embedding.storage!r}, and this Step"
                f" is of {storage!r}"
            )
        begin = made[-1].columns.stop if made else 0
        made.append(Feature(name, embedding, pooled.get(name), begin))
        other = of_group.setdefault(embedding.group, made[-1])
        if other.embedding is not embedding:
            raise InvalidArgumentError(
                f"damo: {other} and feature {name!r} are two embeddings of group"
                f" {embedding.group}; give both the same one"
            )
    return tuple(made)


def check_names(given: Any, what: str, features: Sequence[Feature]) -> None:
    """Raises TypeError for anything but a dict, ValueError unless it has exactly these features."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"damo: {what} must be a dict by the names of features, not {type(given).__name__}"
        )
    if len(given) == len(features) and all(one.name in given for one in features):
        return
    names = [one.name for one in features]
    missing = [repr(name) for name in names if name not in given]
    unknown = [repr(name) for name in given if name not in names]
    raise InvalidArgumentError(
        f"damo: {what} has {f'no {missing[0]}' if missing else f'an unknown {unknown[0]}'};"
        f" the features of this Step are {', '.join(map(repr, names))}"
    )


def checked_occurrences(given: Any, features: Sequence[Feature]) -> Mapping[str, Any]:
    """given, or an empty dict for None. Raises TypeError if it is no dict.

    Raises ValueError for a name of no feature, and for a feature with a pooling.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(
            "damo: occurrences must be a dict by the names of features, not"
            f" {type(given).__name__}"
        )
    names = [one.name for one in features if one.pooling is None]
    for name in given:
        if name not in names:
            raise InvalidArgumentError(
                f"damo: occurrences has {name!r}; the features of this Step without a pooling are"
                f" {', '.join(map(repr, names)) or 'none'}"
            )
    return given


def _is_array(value: Any) -> bool:
    """Whether it is an array or a tensor with a dimension."""
    return (isinstance(value, np.ndarray) or _tensors.is_tensor(value)) and value.ndim > 0


def refuse_bags(given: Any, feature: Feature) -> None:
    """Raises TypeError for a pair of arrays: it would be read as one array of keys."""
    if isinstance(given, (tuple, list)) and any(_is_array(one) for one in given):
        raise TypeError(
            f"damo: {feature} has no pooling, and needs keys in one array; there are"
            f" {len(given)} objects, some of them arrays. For (keys, offsets) give it a pooling"
        )


def bags_of(given: Any, feature: Feature) -> Sequence[Any]:
    """Keys, offsets and weights (or None) of a feature with pooling."""
    is_list = isinstance(given, list) and all(one is None or _is_array(one) for one in given)
    if not (isinstance(given, tuple) or is_list) or len(given) not in (2, 3):
        raise TypeError(
            f"damo: {feature} has pooling {feature.pooling!r}, and needs a tuple (keys, offsets) or"
            f" (keys, offsets, weights), not {type(given).__name__}"
            f"{f' of {len(given)}' if isinstance(given, (tuple, list)) else ''}"
        )
    return (*given, None)[:3]


def flat(values: Any, what: str) -> np.ndarray:
    """Integers of one dimension. Raises TypeError or ValueError for anything else."""
    array = _arrays.keys(values, what)
    if array.ndim != 1:
        raise InvalidArgumentError(
            f"damo: {what} has shape {array.shape}; it must have one dimension"
        )
    return array


def with_message(error: Error, message: str) -> Error:
    """An error of the same kind with another message."""
    made = type(error)(message)
    made.status = error.status
    return made


def in_words(error: Error, features: Sequence[Feature] = ()) -> str:
    """A message of the library in words of Python: features in place of the numbers of parts."""
    if not isinstance(error, _OF_ARGUMENTS):
        return str(error)

    def named(found: re.Match[str]) -> str:
        array, number = found["array"], int(found["part"] or found["number"])
        if number >= len(features):
            return found[0]
        if array is None:
            return str(features[number])
        text = f"{_ARRAYS[array]} of {features[number]}"
        return f"the number of floats in {text}" if found["len"] else text

    return _LENGTH.sub(r"len(\1)", _PART.sub(named, str(error)))


@contextmanager
def naming(feature: Feature) -> Iterator[None]:
    """A context in which errors of the library also name the feature."""
    try:
        yield
    except Error as error:
        raise with_message(error, f"damo: {feature}: {in_words(error)}") from None


@contextmanager
def naming_parts(features: Sequence[Feature]) -> Iterator[None]:
    """A context in which errors of the library name features, not the numbers of parts."""
    try:
        yield
    except Error as error:
        raise with_message(error, in_words(error, features)) from None
