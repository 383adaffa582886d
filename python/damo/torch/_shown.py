"""What torch sees in place of the gradients of rows: a tensor of fixed shape with the same norms.

Clipping and unscaling multiply or clamp that tensor. damo then does the same to the gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

SHAPE = (64, 64)
"""Of every anchor. Two dimensions for initializers; 4,096 numbers for the ratio of two norms."""
_ROOM = SHAPE[0] * SHAPE[1]
_PROBES = [2.0**-power for power in range(10, 30)]
"""Parts of the largest value. A clamp leaves the small ones, which then tell the factor."""
_DRAW = torch.Generator(device="cpu").manual_seed(1)
_SIGNS = torch.randint(2, (_ROOM,), generator=_DRAW, device="cpu") * 2.0 - 1.0
"""In no order, so that a tensor that is rolled on is not a multiple of what it was."""


@dataclass(frozen=True)
class Change:
    """What was done to gradients: multiplied by factor, then clamped to [-bound, bound]."""

    factor: float = 1.0
    bound: float = math.inf

    def of(self, gradients: torch.Tensor) -> torch.Tensor:
        if self.factor != 1.0:
            gradients = gradients * self.factor
        return gradients if self.bound == math.inf else gradients.clamp(-self.bound, self.bound)


def show(
    gradients: torch.Tensor | None, like: torch.Tensor, norm: float, largest: float, seed: int = 0
) -> torch.Tensor:
    """A tensor like an anchor that stands for gradients of this 2-norm and largest absolute value.

    gradients: if they are given and fit, the tensor has them, from any place on, and zeros.
    Otherwise it has numbers with these two norms. If norm is more than 63.8 times largest (4,076 numbers cannot
    have that), its largest is larger. seed: depends on the ids, so that the tensor for other ids is
    not a multiple of this one.
    """
    shown = torch.zeros(_ROOM, dtype=torch.float32, device="cpu")
    if gradients is not None and gradients.numel() <= _ROOM:
        shown[: gradients.numel()] = gradients.reshape(-1)
    else:
        room = _ROOM - len(_PROBES)
        largest = max(min(largest, norm), norm / math.sqrt(room))
        # See _PROBES.
        probes = torch.tensor(_PROBES, dtype=torch.float64, device="cpu") * largest
        rest = max(norm * norm - largest * largest - float(probes.square().sum()), 0.0)
        shown.fill_(math.sqrt(rest / (room - 1)))
        shown[0], shown[room:] = largest, probes.float()
        shown *= _SIGNS
    shown = shown.roll((seed >> 32) % _ROOM)
    if like.dtype == torch.float16:
        # Each gradient fits into float16; sums and norms may not.
        limit = torch.finfo(like.dtype).max
        shown = shown.clamp(-limit, limit)
    return shown.to(device=like.device, dtype=like.dtype).view(SHAPE)


def infinity(like: torch.Tensor) -> torch.Tensor:
    """Stands for gradients that are not finite.

    Its finite number shows whether it was zeroed, or only its infinity was replaced.
    """
    shown = torch.zeros(SHAPE, dtype=like.dtype, device=like.device)
    shown[0, 0], shown[0, 1] = math.inf, 1.0
    return shown


def least(like: torch.Tensor) -> torch.Tensor:
    """Stands for gradients in a group of ranks: small, and equal on all, so that norms agree."""
    value = 1e-2 if like.dtype == torch.float16 else 2.0**-100
    return torch.full(SHAPE, value, dtype=like.dtype, device=like.device)


def change(shown: torch.Tensor, seen: torch.Tensor, rounded: float = 0.0) -> Change | None:
    """How shown was changed into seen; None if not as rows' gradients can be changed.

    rounded: the largest number in a sum that seen was computed from, for its rounding error.
    """
    if seen.shape != shown.shape or seen.layout != torch.strided:
        return None
    before, after = (
        some.detach().reshape(-1).to(device="cpu", dtype=torch.float64) for some in (shown, seen)
    )
    if torch.equal(before, after):
        return Change()
    if not bool(after.isfinite().all()) or not bool(before.isfinite().all()):
        return None
    # Each change rounds once.
    kind = torch.finfo(shown.dtype)
    tolerance = (8 if kind.bits >= 32 else 2) * kind.eps
    least = max(tolerance * rounded, 4 * kind.tiny * kind.eps)
    factor = _factor(before, after)
    if _are_close(after, before * factor, tolerance, least):
        return Change(factor)
    bound = float(after.abs().max())
    inside = after.abs() < bound * (1 - tolerance) - least
    factor = _factor(before[inside], after[inside])
    clamped = (before * factor).clamp(-bound, bound)
    return Change(factor, bound) if _are_close(after, clamped, tolerance, least) else None


def _factor(before: torch.Tensor, after: torch.Tensor) -> float:
    squares = float(before.dot(before))
    return float(after.dot(before)) / squares if squares else 1.0


def _are_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float, least: float) -> bool:
    apart = (found - expected).abs().max()
    return bool(apart <= max(tolerance * float(expected.abs().max()), least))
