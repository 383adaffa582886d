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
_PROBES = [2.0**-power for power in range(10, 30)]


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
    """A tensor like an anchor for gradients of this 2-norm and largest absolute value: they themselves, with zeros
    beside them, where they are given and fit.

    Otherwise it has these norms. If more than 4,000 numbers would have to be the largest, they are larger. seed: of
    the ids, so that gradients of other ids are not a multiple of these.
    """
    draw = torch.Generator(device="cpu").manual_seed(seed)
    shown = torch.zeros(_ROOM, dtype=torch.float32, device="cpu")
    if gradients is not None and gradients.numel() <= _ROOM:
        shown[: gradients.numel()] = gradients.reshape(-1)
    else:
        room = _ROOM - len(_PROBES)
        largest = max(min(largest, norm), norm / math.sqrt(room))
        # Small ones tell by what was multiplied when others were clamped.
        probes = torch.tensor(_PROBES, dtype=torch.float64, device="cpu") * largest
        rest = max(norm * norm - largest * largest - float(probes.square().sum()), 0.0)
        shown.fill_(math.sqrt(rest / (room - 1)))
        shown[0], shown[room:] = largest, probes.float()
        shown *= torch.randint(2, (_ROOM,), generator=draw, device="cpu") * 2.0 - 1.0
    shown = shown[torch.randperm(_ROOM, generator=draw, device="cpu")]
    if like.dtype == torch.float16:
        # The rows' gradients fit, and their sums and norms need not.
        limit = torch.finfo(like.dtype).max
        shown = shown.clamp(-limit, limit)
    return shown.to(device=like.device, dtype=like.dtype).view(SHAPE)


def infinity(like: torch.Tensor) -> torch.Tensor:
    """For gradients that are not finite. A finite number tells zeroing from replacing infinities."""
    shown = torch.zeros(SHAPE, dtype=like.dtype, device=like.device)
    shown[0, 0], shown[0, 1] = math.inf, 1.0
    return shown


def least(like: torch.Tensor) -> torch.Tensor:
    """Where other ranks have the same dense part: so little that all find the same norm of it."""
    value = 1e-2 if like.dtype == torch.float16 else 2.0**-100
    return torch.full(SHAPE, value, dtype=like.dtype, device=like.device)


def change(shown: torch.Tensor, seen: torch.Tensor, rounded: float = 0.0) -> Change | None:
    """What has made seen of shown; None when it is nothing that can be done to rows.

    rounded: the largest number that both were rounded with, if larger than theirs.
    """
    if seen.shape != shown.shape or seen.layout != torch.strided:
        return None
    before, after = (some.detach().reshape(-1).to(device="cpu", dtype=torch.float64) for some in (shown, seen))
    if torch.equal(before, after):
        return Change()
    if not bool(after.isfinite().all()) or not bool(before.isfinite().all()):
        return None
    # Rounded once for each time that somebody has changed it.
    kind = torch.finfo(shown.dtype)
    tolerance = (8 if kind.bits >= 32 else 2) * kind.eps
    least = max(tolerance * rounded, 4 * kind.tiny * kind.eps)
    factor = _factor(before, after)
    if _are_close(after, before * factor, tolerance, least):
        return Change(factor)
    bound = float(after.abs().max())
    inside = after.abs() < bound * (1 - tolerance) - least
    factor = _factor(before[inside], after[inside])
    return Change(factor, bound) if _are_close(after, (before * factor).clamp(-bound, bound), tolerance, least) else None


def _factor(before: torch.Tensor, after: torch.Tensor) -> float:
    squares = float(before.dot(before))
    return float(after.dot(before)) / squares if squares else 1.0


def _are_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float, least: float) -> bool:
    return bool((found - expected).abs().max() <= max(tolerance * float(expected.abs().max()), least))
