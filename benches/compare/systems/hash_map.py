"""Rows in a std::unordered_map, as alphaFM has them."""

from __future__ import annotations

from systems import Setup, System
from systems.plain import Plain


class HashMap(Plain):
    kind = "hash map"


def open(setup: Setup) -> System:
    return HashMap(setup)
