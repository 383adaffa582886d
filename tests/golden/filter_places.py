"""Writes filter_places.txt, the places of keys in a filter.

It follows the text of docs/formats.md, not the Rust code.
"""

import pathlib

MASK = 2**64 - 1


def mix13(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def fmix(x):
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCD & MASK
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return x ^ x >> 33


def place(group, key, blocks):
    b = mix13(group + 0x9E3779B97F4A7C15 & MASK)
    c = fmix(group + 0xC2B2AE3D27D4EB4F & MASK)
    block = mix13((key & MASK) ^ b) * blocks >> 64
    x = fmix((key & MASK) ^ c)
    y = mix13(x + 0x9E3779B97F4A7C15 & MASK)
    return block, x.to_bytes(8, "little") + y.to_bytes(8, "little")


lines = []
for group in (0, 1, 258, 65535):
    for key in (0, 1, -1, 123456789, -(2**63), 2**63 - 1):
        for blocks in (1, 1000, 18_243_117):
            block, counters = place(group, key, blocks)
            lines.append(f"{group} {key} {blocks} {block} {counters.hex()}\n")
pathlib.Path(__file__).with_suffix(".txt").write_text("".join(lines))
