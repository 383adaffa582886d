"""Initializers: the first weights of a row, a pure function of (seed, group, key).

They do not depend on the batch, the order of calls, the thread or the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, SupportsIndex

import numpy as np

from . import _arrays, _c_api
from ._choices import InitializerName, InitializerParams
from ._handles import Handle
from ._keywords import Named
from ._params import Params

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Initializer(Named, Handle):
    """An initializer by its name in the library, with the parameters of damo_initializer in damo.h.

    The classes below are the same with names and parameters for Python. Raises ValueError for an
    unknown name, or a parameter that is unknown or out of range.
    """

    def __init__(self, name: InitializerName, **params: Unpack[InitializerParams]) -> None:
        self._open(name, params)

    def _open(self, name: str, params: Mapping[str, Any]) -> None:
        self.name = name
        bag = Params(params)
        c_name = _c_api.text(name, "name")
        super().__init__(
            _c_api.damo_initializer_new, _c_api.damo_initializer_free, c_name, bag._use()
        )
        bag.close()

    def weights(
        self, key: SupportsIndex, dim: SupportsIndex, *, group: SupportsIndex = 0
    ) -> np.ndarray:
        """The first weights of the row (group, key): float32 of shape (dim,)."""
        row = np.empty(_arrays.integer(dim, "dim", 0, 2**40), np.float32)
        self.fill(row, key=key, group=group)
        return row

    def fill(
        self, weights: np.ndarray, *, key: SupportsIndex = 0, group: SupportsIndex = 0
    ) -> None:
        """Writes the first weights of the row (group, key) into weights.

        weights: writable contiguous float32 of shape (dim,); otherwise TypeError or ValueError.
        """
        _arrays.floats(weights, "weights", ((getattr(weights, "size", 0),),), writable=True)
        number, which = _arrays.key(key), _arrays.group(group)
        _c_api.damo_initializer_fill(
            self._use(), which, number, _arrays.address(weights), weights.size
        )


class Zeros(Initializer):
    """All weights are 0."""

    def __init__(self) -> None:
        super().__init__("zeros")


class Ones(Initializer):
    """All weights are 1."""

    def __init__(self) -> None:
        super().__init__("ones")


class Constant(Initializer):
    """All weights are value."""

    def __init__(self, value: float) -> None:
        super().__init__("constant", value=value)


class Uniform(Initializer):
    """Uniform in [min, max)."""

    def __init__(self, min: float = -1.0, max: float = 1.0, *, seed: SupportsIndex = 0) -> None:
        super().__init__("random_uniform", min=min, max=max, seed=seed)


class Normal(Initializer):
    """Normal with this mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 1.0, *, seed: SupportsIndex = 0) -> None:
        super().__init__("random_normal", mean=mean, stddev=stddev, seed=seed)


class TruncatedNormal(Initializer):
    """Normal with this mean and standard deviation, redrawn beyond 2 standard deviations."""

    def __init__(self, mean: float = 0.0, stddev: float = 1.0, *, seed: SupportsIndex = 0) -> None:
        super().__init__("truncate_normal", mean=mean, stddev=stddev, seed=seed)


class XavierUniform(Initializer):
    """Uniform within sqrt(3 / dim) (Glorot and Bengio 2010, with dim as both fans)."""

    def __init__(self, *, seed: SupportsIndex = 0) -> None:
        super().__init__("xavier_uniform", seed=seed)
