"""Keys of strings, the same in every language: damo_key_hash of damo.h."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import numpy as np

from . import _arrays, _c_api
from ._errors import InvalidArgumentError


def key_hash(text: str | bytes) -> int:
    """The key of a string, a signed 64-bit number: XXH64 with seed 0 of its bytes.

    A str is hashed as UTF-8. Raises TypeError for anything but a str or bytes, ValueError for a str
    that UTF-8 cannot hold.
    """
    data = _bytes(text)
    key = ctypes.c_int64()
    _c_api.damo_key_hash(data, len(data), ctypes.byref(key))
    return key.value


def key_hashes(texts: Iterable[str | bytes]) -> np.ndarray:
    """The keys of many strings, in order: int64 of shape (n,).

    Raises as key_hash does, and TypeError for a single string.
    """
    if isinstance(texts, (str, bytes, bytearray, memoryview)):
        # A single string would be taken for its characters.
        raise TypeError(
            f"damo: texts is a {type(texts).__name__}; give a list of strings, or call key_hash"
        )
    pieces = [_bytes(text) for text in texts]
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.uint64)
    data = b"".join(pieces)
    keys = np.empty(len(pieces), np.int64)
    _c_api.damo_key_hash_batch(
        data, len(data), _arrays.address(ends), ends.size, _arrays.address(keys), keys.size
    )
    return keys


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, str):
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise InvalidArgumentError(
                f"damo: the string {text!r:.80} cannot be written as UTF-8"
            ) from None
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    raise TypeError(f"damo: a str or bytes is needed, not {type(text).__name__}")
