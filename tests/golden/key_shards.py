"""Writes key_shards.txt, the shards of keys: lines of key, number of shards, shard.

It follows the text of docs/formats.md, not the Rust code. Its XXH64 is that of xxHash's
specification, and gives what Spark's documentation says of xxhash64('ABC').
"""

import pathlib

MASK = 2**64 - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotated(x, bits):
    return (x << bits | x >> 64 - bits) & MASK


def xxh64(data, seed):
    """XXH64 of fewer than 32 bytes."""
    h = (seed + P5 + len(data)) & MASK
    while len(data) >= 8:
        lane = rotated(int.from_bytes(data[:8], "little") * P2 & MASK, 31) * P1 & MASK
        h = (rotated(h ^ lane, 27) * P1 + P4) & MASK
        data = data[8:]
    if len(data) >= 4:
        h = (rotated(h ^ int.from_bytes(data[:4], "little") * P1 & MASK, 23) * P2 + P3) & MASK
        data = data[4:]
    for byte in data:
        h = rotated(h ^ byte * P5 & MASK, 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


def shard(key, shards):
    h = xxh64(key.to_bytes(8, "little", signed=True), seed=42)
    return (h >> 32) * shards >> 32


assert xxh64(b"ABC", 42) == 4105715581806190027
assert xxh64(b"", 0) == 0xEF46DB3751D8E999

lines = []
for key in (0, 1, 2, 3, 42, -1, 123456789, 10**15, 26 << 56, -(2**63), 2**63 - 1):
    for shards in (1, 2, 3, 8, 10, 64, 1000, 65536):
        lines.append(f"{key} {shards} {shard(key, shards)}\n")
pathlib.Path(__file__).with_suffix(".txt").write_text("".join(lines))
