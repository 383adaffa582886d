"""What callers that divide keys over storages, or make keys distinct, do with arrays.

The functions are damo_key_shard, damo_keys_partition, damo_rows_gather and damo_gradients_sum of
damo.h. They need no storage, and work on the caller's thread; other Python threads run meanwhile.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from . import _arrays, _c_api, _tensors
from ._errors import InvalidArgumentError
from ._strided import check, rows_of


class KeysPartition(NamedTuple):
    """What keys_partition returns for a batch."""

    keys: np.ndarray
    """int64 of shape (n,): each key once, by shard; within a shard as they first occur."""
    starts: np.ndarray
    """int64 of shape (shards + 1,): those of shard s are keys[starts[s] : starts[s + 1]]."""
    positions: np.ndarray
    """uint32 of the batch's shape: the index in keys of each key of the batch.

    For PyTorch's own operations, .astype(numpy.int64) makes a copy that it takes."""
    occurrences: np.ndarray
    """uint32 of shape (n,): how often each of keys occurs in the batch."""


def key_shard(key: SupportsIndex, shards: SupportsIndex) -> int:
    """Which of so many shards owns a key: 0 to shards - 1, the same in every language and release.

    docs/formats.md has the formula. Raises ValueError for shards that are not 1 to 65536.
    """
    shard = ctypes.c_uint32()
    _c_api.damo_key_shard(_arrays.key(key), _shards(shards), ctypes.byref(shard))
    return shard.value


def key_shards(keys: Any, shards: SupportsIndex) -> np.ndarray:
    """The shards that own keys, as key_shard: uint32 of the shape of keys."""
    numbers = _arrays.keys(keys)
    owners = np.empty(numbers.shape, np.uint32)
    _c_api.damo_key_shard_batch(
        _arrays.address(numbers),
        numbers.size,
        _shards(shards),
        _arrays.address(owners),
        owners.size,
    )
    return owners


def keys_partition(keys: Any, shards: SupportsIndex = 1) -> KeysPartition:
    """Makes the keys of a batch distinct, and groups them by the shards that own them.

    keys: as for Embedding.lookup. A shard is sent its part of the distinct keys, and answers with a
    row for each. rows_gather makes a row for each key of these, by the positions; gradients_sum
    makes the gradients of the distinct keys. The same keys give the same result.
    """
    numbers = _arrays.keys(keys)
    count = _shards(shards)
    # Unused room costs nothing: the system provides memory on the first write.
    distinct = np.empty(numbers.size, np.int64)
    # A number of shards that is too large is refused before anything is written.
    starts = np.empty(min(count, 65536) + 1, np.uint64)
    positions = np.empty(numbers.shape, np.uint32)
    occurrences = np.empty(numbers.size, np.uint32)
    _c_api.damo_keys_partition(
        _arrays.address(numbers),
        numbers.size,
        count,
        _arrays.address(distinct),
        distinct.size,
        _arrays.address(starts),
        starts.size,
        _arrays.address(positions),
        positions.size,
        _arrays.address(occurrences),
        occurrences.size,
    )
    # NumPy makes floats of uint64 and Python's integers.
    begins = starts.view(np.int64)
    return KeysPartition(distinct[: begins[-1]], begins, positions, occurrences[: begins[-1]])


def rows_gather(rows: Any, positions: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """The row at each position: rows[positions], float32 of shape positions.shape + (dim,).

    rows: float32 of shape (n, dim). It may be some columns of a C-contiguous matrix, and so may
    out, which gets the rows and is returned. Raises ValueError for a position that is no row's,
    naming its index and value; nothing is written then.
    """
    given = _matrix(_tensors.floats(rows, "rows"), "rows")
    where = _arrays.positions(positions)
    dim = given.shape[1]
    if out is None:
        out = np.empty((*where.shape, dim), np.float32)
    check(out, "out", (*where.shape, dim), writable=True)
    _c_api.damo_rows_gather(
        *rows_of(given, "rows", dim),
        dim,
        _arrays.address(where),
        where.size,
        *rows_of(out, "out", dim),
    )
    return out


def gradients_sum(
    gradients: Any,
    positions: Any,
    count: SupportsIndex,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The sums of the gradients at each position: float32 of shape (count, dim).

    gradients: float32 of shape positions.shape + (dim,). A sum adds its gradients in their order,
    as apply_gradients adds those of a key that occurs several times; one without gradients is
    zeros. With keys_partition, count is len(partition.keys). gradients may be some columns of a
    C-contiguous matrix, and so may out, which gets the sums and is returned. Raises ValueError for
    a position that is not below count, naming its index and value; nothing is written then.
    """
    where = _arrays.positions(positions)
    given = _tensors.floats(gradients, "gradients")
    dim = given.shape[-1] if isinstance(given, np.ndarray) and given.ndim > 0 else 0
    check(given, "gradients", (*where.shape, dim), writable=False)
    number = _arrays.integer(count, "count", 0, 2**32)
    if out is None:
        out = np.empty((number, dim), np.float32)
    check(out, "out", (number, dim), writable=True)
    _c_api.damo_gradients_sum(
        *rows_of(given, "gradients", dim),
        dim,
        _arrays.address(where),
        where.size,
        *rows_of(out, "out", dim),
    )
    return out


def _shards(value: SupportsIndex) -> int:
    return _arrays.integer(value, "shards", 0, 2**32 - 1)


def _matrix(array: Any, what: str) -> np.ndarray:
    """Checks that an array of floats has two dimensions."""
    shape = array.shape if isinstance(array, np.ndarray) else ()
    if isinstance(array, np.ndarray) and len(shape) != 2:
        raise InvalidArgumentError(f"damo: {what} has shape {shape}; it must be (n, dim)")
    check(array, what, shape, writable=False)
    return array
