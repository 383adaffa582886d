"""An initializer for new rows that are to look like the rows of a table that is there.

Knows numbers, and nothing of layers.
"""

from __future__ import annotations

import torch

from ..initializers import Constant, Initializer, Normal, Uniform, Zeros

_ENOUGH = 1 << 20
"""So many weights tell a distribution from another; more are not looked at."""
_FEW = 100
"""With fewer than this the shape of a distribution cannot be told, only its width."""
_FLAT = 2.2
"""Kurtosis: 1.8 is that of a uniform distribution, 3 that of a normal one."""


def initializer_like(weights: torch.Tensor, rows: torch.Tensor) -> Initializer:
    """The initializer that these rows of weights, of shape (n, dim), seem to come from.

    Weights that are all equal give Constant (or Zeros), a flat distribution gives Uniform, any
    other Normal. torch.nn.Embedding's own, Normal(0, 1), is what no weights at all give.
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
    # What differs from 0 and 1 by chance is 0 and 1: four standard errors.
    chance = 4 * stddev / count**0.5
    mean = 0.0 if abs(mean) < chance else _short(mean)
    return Normal(mean, 1.0 if abs(stddev - 1) < chance else _short(stddev))


def _uniform(low: float, high: float, stddev: float, count: int) -> Initializer:
    # Of count draws the largest is about the width / count below the bound.
    if abs(low + high) < 8 * (high - low) / count:
        bound = _short(max(-low, high))
        return Uniform(-bound, bound)
    return Uniform(_short(low), _short(high))


def _short(number: float) -> float:
    """Three digits: there are not more in a sample."""
    return float(f"{number:.3g}")


def _sample(weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Up to _ENOUGH of their weights, from all over the table, as float64."""
    most = max(_ENOUGH // max(weights.shape[1], 1), 1)
    some = rows[:: max(-(-rows.numel() // most), 1)].to(weights.device)
    return weights.detach()[some].to("cpu", torch.float64).reshape(-1)
