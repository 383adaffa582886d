"""What torch sees in place of the gradients of rows: a tensor of fixed shape with the same norms.

Whoever clips or unscales gradients multiplies or clamps it. What was done to it is done to the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

SHAPE = (64, 64)
"""Of every anchor: two dimensions, for initializers, and room for a ratio of norms."""
_ROOM = SHAPE[0] * SHAPE[1]


@dataclass(frozen=True)
class Change:
    """What was done to gradients: multiplied by factor, then clamped to [-bound, bound]."""

    factor: float = 1.0
    bound: float = math.inf

    def of(self, gradients: torch.Tensor) -> torch.Tensor:
        if self.factor != 1.0:
            gradients = gradients * self.factor
        return gradients if self.bound == math.inf else gradients.clamp(-self.bound, self.bound)


def norms(gradients: torch.Tensor) -> tuple[float, float]:
    """The 2-norm and the largest absolute value."""
    if not gradients.numel():
        return 0.0, 0.0
    largest = float(gradients.abs().max())
    # Of what fits into float32 after all, whatever its scale.
    scaled = largest if 0 < largest < math.inf else 1.0
    return scaled * float(torch.linalg.vector_norm(gradients / scaled)), largest


def show(gradients: torch.Tensor, like: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """A tensor like an anchor for summed gradients: they themselves, with zeros behind them, where they fit.

    Otherwise it has their 2-norm, and their largest absolute value unless more than 4,096 would have to have it: then a larger
    one. share is the part of the 2-norm that is to be shown.
    """
    shown = torch.zeros(_ROOM, dtype=torch.float32, device="cpu")
    if share == 1.0 and gradients.numel() <= _ROOM:
        shown[: gradients.numel()] = gradients.reshape(-1)
    else:
        norm, largest = norms(gradients)
        norm *= share
        largest = max(min(largest, norm), norm / math.sqrt(_ROOM - 1))
        # A small one tells by what was multiplied when others were clamped.
        small = largest / 1024
        shown.fill_(math.sqrt(max(norm * norm - largest * largest - small * small, 0.0) / (_ROOM - 2)))
        shown[0], shown[-1] = largest, small
    # What is not finite is an infinity for whoever looks for one.
    if not bool(shown.isfinite().all()):
        shown.fill_(0.0)[0] = math.inf
    elif like.dtype == torch.float16:
        # The rows' gradients fit, and their sums and norms need not.
        limit = torch.finfo(like.dtype).max
        shown = shown.clamp(-limit, limit)
    return shown.to(device=like.device, dtype=like.dtype).view(SHAPE)


def change(shown: torch.Tensor, seen: torch.Tensor) -> Change | None:
    """What has made seen of shown; None when it is nothing that can be done to rows."""
    if seen.shape != shown.shape or seen.layout != torch.strided:
        return None
    before, after = (some.detach().reshape(-1).to(device="cpu", dtype=torch.float64) for some in (shown, seen))
    if torch.equal(before, after):
        return Change()
    if not bool(after.isfinite().all()) or not bool(before.isfinite().all()):
        return None
    # Rounded once for each time that somebody has changed it.
    tolerance = 8 * torch.finfo(shown.dtype).eps
    factor = _factor(before, after)
    if _are_close(after, before * factor, tolerance):
        return Change(factor)
    bound = float(after.abs().max())
    inside = after.abs() < bound * (1 - tolerance)
    factor = _factor(before[inside], after[inside])
    return Change(factor, bound) if _are_close(after, (before * factor).clamp(-bound, bound), tolerance) else None


def _factor(before: torch.Tensor, after: torch.Tensor) -> float:
    squares = float(before.dot(before))
    return float(after.dot(before)) / squares if squares else 1.0


def _are_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())
