"""Rows in one array, found by their index, as libffm and word2vec have them."""

from __future__ import annotations

from systems import Setup, System
from systems.plain import Plain


class PlainArray(Plain):
    kind = "array"


def open(setup: Setup) -> System:
    return PlainArray(setup)
