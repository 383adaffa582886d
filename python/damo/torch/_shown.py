"""The tensor that torch sees in place of the gradients of rows, of fixed shape with the same norms.

Clipping and unscaling multiply or clamp that tensor. damo finds out how, and does the same to the
gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

SHAPE = (64, 64)
"""The shape of every anchor: two dimensions for initializers, and 4,096 numbers for two norms."""
_ROOM = SHAPE[0] * SHAPE[1]
_PROBES = [2.0**-power for power in range(10, 30)]
"""Fractions of the largest value. A clamp leaves the small ones, which then show the factor."""
_DRAW = torch.Generator(device="cpu").manual_seed(1)
_SIGNS = torch.randint(2, (_ROOM,), generator=_DRAW, device="cpu") * 2.0 - 1.0
"""Irregular signs, so that a rolled tensor is not a multiple of what it was."""


@dataclass(frozen=True)
class Change:
    """A change of gradients: they are multiplied by factor, then clamped to [-bound, bound]."""

    factor: float = 1.0
    bound: float = math.inf

    def of(self, gradients: torch.Tensor) -> torch.Tensor:
        if self.factor != 1.0:
            gradients = gradients * self.factor
        return gradients if self.bound == math.inf else gradients.clamp(-self.bound, self.bound)


def show(
    gradients: torch.Tensor | None, like: torch.Tensor, norm: float, largest: float, seed: int = 0
) -> torch.Tensor:
    """A tensor of shape SHAPE that stands for gradients of this 2-norm and largest absolute value.

    gradients: if they are given and have at most 4,096 numbers, the tensor has them, rolled, and
    zeros. Otherwise it has other numbers with these two norms. Its 4,076 main numbers cannot have a
    norm of more than 63.8 times the largest; beyond that ratio its largest value is larger.
    like: the anchor, for device and dtype.
    seed: depends on the ids, so that the tensor for other ids is not a multiple of this one.
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
        # Each gradient fits into float16, but sums and norms may not.
        limit = torch.finfo(like.dtype).max
        shown = shown.clamp(-limit, limit)
    return shown.to(device=like.device, dtype=like.dtype).view(SHAPE)


def infinity(like: torch.Tensor) -> torch.Tensor:
    """A tensor that stands for gradients that are not finite.

    Its finite number shows whether the tensor was zeroed, or only its infinity was replaced.
    """
    shown = torch.zeros(SHAPE, dtype=like.dtype, device=like.device)
    shown[0, 0], shown[0, 1] = math.inf, 1.0
    return shown


def least(like: torch.Tensor) -> torch.Tensor:
    """A tensor that stands for gradients if there are several ranks.

    It is small, and equal on all ranks, so that their norms agree.
    """
    value = 1e-2 if like.dtype == torch.float16 else 2.0**-100
    return torch.full(SHAPE, value, dtype=like.dtype, device=like.device)


def change(shown: torch.Tensor, seen: torch.Tensor, rounded: float = 0.0) -> Change | None:
    """The change that made seen of shown; None if rows' gradients cannot be changed like that.

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
