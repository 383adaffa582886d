"""Uniform rows from ChaCha's definition (Bernstein 2008, with 8 rounds), without damo's code.

ChaCha's key is the row's identity: int64 seed, "damo row", int64 key, "v1", uint16 group, "....".
"""

from struct import pack, unpack

import numpy as np


def quarter_round(x, a, b, c, d):
    for target, source, shifted, distance in [
        (a, b, d, 16),
        (c, d, b, 12),
        (a, b, d, 8),
        (c, d, b, 7),
    ]:
        x[target] = (x[target] + x[source]) & 0xFFFFFFFF
        word = x[shifted] ^ x[target]
        x[shifted] = ((word << distance) | (word >> (32 - distance))) & 0xFFFFFFFF


def block(key, counter):
    """16 words: 64-bit block counter, 64-bit nonce of zeros."""
    state = list(unpack("<4I", b"expand 32-byte k")) + list(unpack("<8I", key)) + [counter, 0, 0, 0]
    x = list(state)
    for _ in range(4):
        for i in range(4):
            quarter_round(x, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter_round(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(a + b) & 0xFFFFFFFF for a, b in zip(x, state)]


def uniform_row(seed, group, key, dim, low, high):
    """low (1 - u) + high u in float32, u the upper 24 bits of each word over 2^24."""
    identity = pack("<q8sq2sH4s", seed, b"damo row", key, b"v1", group, b"....")
    low, high, one = np.float32(low), np.float32(high), np.float32(1)
    row = []
    for index in range(dim):
        word = block(identity, index // 16)[index % 16]
        u = np.float32((word >> 8) * 2.0**-24)
        row.append(low * (one - u) + high * u)
    return row
