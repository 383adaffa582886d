"""Learning-rate schedules, driven by the group's global step.

The formulas and names are TensorFlow's (tf.compat.v1.train). All take warmup_steps: the rate rises
linearly from 0 over that many steps, and the decay starts after them. In the formulas, rate is the
optimizer's learning rate and step counts from there.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Mapping, SupportsIndex

from . import _arrays, _c_api
from ._choices import SchedulerName, SchedulerParams
from ._handles import Handle
from ._keywords import Named
from ._params import Params

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Scheduler(Named, Handle):
    """A schedule by its name in the library, with the parameters of damo_scheduler in damo.h.

    The classes below are the same with names and parameters for Python. Raises ValueError for an
    unknown name, or a parameter that is missing, unknown or out of range.
    """

    def __init__(self, name: SchedulerName, **params: Unpack[SchedulerParams]) -> None:
        self._open(name, params)

    def _open(self, name: str, params: Mapping[str, Any]) -> None:
        bag = Params(params)
        c_name = _c_api.text(name, "name")
        super().__init__(_c_api.damo_scheduler_new, _c_api.damo_scheduler_free, c_name, bag._use())
        bag.close()

    def rate(self, learning_rate: float, step: SupportsIndex) -> float:
        """The rate at step (>= 0) for the base rate learning_rate (>= 0).

        Raises ValueError if one is out of range.
        """
        number = _arrays.integer(step, "step", -(2**63), 2**63 - 1)
        base = _arrays.real(learning_rate, "learning_rate")
        return _c_api.read(
            ctypes.c_double,
            lambda rate: _c_api.damo_scheduler_rate(self._use(), base, number, rate),
        )


class ExponentialDecay(Scheduler):
    """rate * decay_rate ^ (step / decay_steps). staircase: True rounds the exponent down."""

    def __init__(
        self,
        decay_steps: SupportsIndex,
        decay_rate: float,
        *,
        staircase: bool = False,
        warmup_steps: SupportsIndex = 0,
    ) -> None:
        super().__init__(
            "exponential_decay",
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
            warmup_steps=warmup_steps,
        )


class NaturalExpDecay(Scheduler):
    """rate * exp(-decay_rate * step / decay_steps). staircase: True rounds the quotient down."""

    def __init__(
        self,
        decay_steps: SupportsIndex,
        decay_rate: float,
        *,
        staircase: bool = False,
        warmup_steps: SupportsIndex = 0,
    ) -> None:
        super().__init__(
            "natural_exp_decay",
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
            warmup_steps=warmup_steps,
        )


class InverseTimeDecay(Scheduler):
    """rate / (1 + decay_rate * step / decay_steps). staircase: True rounds the quotient down."""

    def __init__(
        self,
        decay_steps: SupportsIndex,
        decay_rate: float,
        *,
        staircase: bool = False,
        warmup_steps: SupportsIndex = 0,
    ) -> None:
        super().__init__(
            "inverse_time_decay",
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
            warmup_steps=warmup_steps,
        )


class PolynomialDecay(Scheduler):
    """From rate to end_learning_rate over decay_steps, as (1 - step / decay_steps) ^ power.

    cycle: True makes the rate rise again after each period of decay_steps.
    """

    def __init__(
        self,
        decay_steps: SupportsIndex,
        *,
        end_learning_rate: float = 1e-4,
        power: float = 1.0,
        cycle: bool = False,
        warmup_steps: SupportsIndex = 0,
    ) -> None:
        super().__init__(
            "polynomial_decay",
            decay_steps=decay_steps,
            end_learning_rate=end_learning_rate,
            power=power,
            cycle=cycle,
            warmup_steps=warmup_steps,
        )


class CosineDecay(Scheduler):
    """Half a cosine from rate to alpha * rate over decay_steps (Loshchilov and Hutter 2017)."""

    def __init__(
        self, decay_steps: SupportsIndex, *, alpha: float = 0.0, warmup_steps: SupportsIndex = 0
    ) -> None:
        super().__init__(
            "cosine_decay", decay_steps=decay_steps, alpha=alpha, warmup_steps=warmup_steps
        )


class LinearCosineDecay(Scheduler):
    """A cosine times a line, from about rate to beta * rate over decay_steps (Bello et al. 2017).

    rate * ((alpha + 1 - done) * cosine + beta), where done is min(step, decay_steps) / decay_steps
    and cosine is (1 + cos(2 pi * num_periods * done)) / 2.
    """

    def __init__(
        self,
        decay_steps: SupportsIndex,
        *,
        num_periods: float = 0.5,
        alpha: float = 0.0,
        beta: float = 1e-3,
        warmup_steps: SupportsIndex = 0,
    ) -> None:
        super().__init__(
            "linear_cosine_decay",
            decay_steps=decay_steps,
            num_periods=num_periods,
            alpha=alpha,
            beta=beta,
            warmup_steps=warmup_steps,
        )
