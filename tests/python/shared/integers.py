"""Integers of any kind, and what is none, for the tests of all suites."""

from decimal import Decimal
from fractions import Fraction

import numpy as np


class Index:
    """An integer of nobody's."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class Two(int):
    """An integer of a class of its own."""


TWOS = [
    2,
    Two(2),
    Index(2),
    np.array(2),
    np.array(2, np.uint8),
    *(
        np.dtype(name).type(2)
        for name in ("int8", "uint8", "int16", "uint32", "int64", "uint64")
    ),
]

BOOLS = [True, False, np.bool_(True)]
FLOATS = [2.0, np.float32(2), np.float64(2)]
# Neither integers nor bools nor floats nor strings.
OTHERS = [
    Decimal(2),
    Fraction(2),
    2 + 0j,
    np.complex64(2),
    b"2",
    np.timedelta64(2, "s"),
    Index("2"),
    np.array(True),
    np.array(2.0),
    np.ma.array(2),
    np.ma.array(2, mask=True),
]
NO_INTEGERS = BOOLS + FLOATS + OTHERS
