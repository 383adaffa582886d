"""Guesses the initializer that the weights of a table came from, for rows of new ids.

Knows numbers, but no layers.
"""

from __future__ import annotations

import torch

from ..initializers import Constant, Initializer, Normal, Uniform, Zeros

_ENOUGH = 1 << 20
"""The number of weights that are looked at at most: enough to tell distributions apart."""
_FEW = 100
"""Fewer weights than this show the width of a distribution, but not its shape."""
_FLAT = 2.2
"""A kurtosis between that of a uniform distribution, 1.8, and of a normal one, 3."""


def initializer_like(weights: torch.Tensor, rows: torch.Tensor) -> Initializer:
    """The initializer that rows of weights seem to come from.

    weights: a tensor of floats of shape (n, dim). rows: the indexes of the rows to look at, int64.

    Weights that are all equal give Constant (or Zeros), a flat distribution gives Uniform, and any
    other gives Normal. No weights at all give torch.nn.Embedding's own, Normal(0, 1).
    """
    values = _sample(weights, rows)
    if not values.numel():
        return Normal()
    low, high = float(values.min()), float(values.max())
    if low == high:
        return Constant(low) if low else Zeros()
    mean, stddev = float(values.mean()), float(values.std(unbiased=False))
    count = values.numel()
    if count >= _FEW and float(((values - mean) / stddev).pow(4).mean()) < _FLAT:
        return _uniform(low, high, stddev, count)
    # Parameters within four standard errors of 0 and 1 are taken to be 0 and 1.
    chance = 4 * stddev / count**0.5
    mean = 0.0 if abs(mean) < chance else _short(mean)
    return Normal(mean, 1.0 if abs(stddev - 1) < chance else _short(stddev))


def _uniform(low: float, high: float, stddev: float, count: int) -> Initializer:
    # The largest of count draws is about width / count below the bound.
    if abs(low + high) < 8 * (high - low) / count:
        bound = _short(max(-low, high))
        return Uniform(-bound, bound)
    return Uniform(_short(low), _short(high))


def _short(number: float) -> float:
    """number rounded to three digits, since a sample does not tell more."""
    return float(f"{number:.3g}")


def _sample(weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Up to _ENOUGH weights of these rows, spread over the table, as float64."""
    most = max(_ENOUGH // max(weights.shape[1], 1), 1)
    some = rows[:: max(-(-rows.numel() // most), 1)].to(weights.device)
    return weights.detach()[some].to("cpu", torch.float64).reshape(-1)
