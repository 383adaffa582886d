"""Optimizers: how a gradient changes a row.

A row is its weights, followed by the optimizer's state. All arithmetic is float32. Bias corrections
use the row's own update count, not the group's step. src/optimizer has the formula of each.

lr is the learning rate. The property learning_rate reads and sets it at run time, for instance from
torch's schedulers. It is not stored with the table. scheduler is one of damo.schedulers, driven by
the group's global step.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Mapping, SupportsIndex

import numpy as np

from . import _arrays, _c_api
from ._choices import OptimizerName, OptimizerParams
from ._handles import Handle
from ._keywords import Named
from ._params import Params
from .schedulers import Scheduler

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Optimizer(Named, Handle):
    """An optimizer by its name in the library, with the parameters of damo_optimizer in damo.h.

    The classes below are the same with names and parameters for Python. scheduler: a
    damo.Scheduler, or None for a constant rate. Raises ValueError for an unknown name, or a
    parameter that is unknown or out of range.
    """

    def __init__(
        self,
        name: OptimizerName,
        *,
        scheduler: Scheduler | None = None,
        **params: Unpack[OptimizerParams],
    ) -> None:
        self._open(name, params, scheduler)

    def _open(self, name: str, params: Mapping[str, Any], scheduler: Scheduler | None) -> None:
        if scheduler is not None and not isinstance(scheduler, Scheduler):
            raise TypeError(
                f"damo: scheduler must be a damo.Scheduler, not {type(scheduler).__name__}"
            )
        self.name = name
        bag = Params(params)
        c_name = _c_api.text(name, "name")
        super().__init__(
            _c_api.damo_optimizer_new,
            _c_api.damo_optimizer_free,
            c_name,
            bag._use(),
            None if scheduler is None else scheduler._use(),
        )
        bag.close()

    @property
    def learning_rate(self) -> float:
        """The rate before any schedule. Setting it holds for calls that start from then on."""
        return _c_api.read(
            ctypes.c_double, lambda rate: _c_api.damo_optimizer_learning_rate(self._use(), rate)
        )

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        _c_api.damo_optimizer_set_learning_rate(self._use(), _arrays.real(rate, "learning_rate"))

    def row_len(self, dim: SupportsIndex) -> int:
        """The number of floats in a row of dim weights: the weights and the optimizer's state."""
        number = _arrays.integer(dim, "dim", 0, 2**63 - 1)
        return _c_api.read(
            ctypes.c_size_t,
            lambda length: _c_api.damo_optimizer_row_len(self._use(), number, length),
        )

    def apply(self, row: np.ndarray, gradients: np.ndarray, step: SupportsIndex = 0) -> None:
        """Applies one gradient, in place, to one row that the caller keeps.

        row: writable contiguous float32 of shape (row_len(dim),): the weights, then the state. The
        state of a fresh row is zeros, except for initial_accumulator_value.
        gradients: contiguous float32 of shape (dim,).
        step: the number of gradients that the row has had before. It is also the scheduler's step.

        Raises ValueError, and leaves the row unchanged, for shapes that do not fit together and for
        a gradient that is NaN, infinite or beyond 1e18 in size.
        """
        _arrays.floats(gradients, "gradients", ((getattr(gradients, "size", 0),),))
        _arrays.floats(row, "row", ((getattr(row, "size", 0),),), writable=True)
        number = _arrays.integer(step, "step", -(2**63), 2**63 - 1)
        _c_api.damo_optimizer_apply(
            self._use(),
            _arrays.address(row),
            row.size,
            _arrays.address(gradients),
            gradients.size,
            number,
        )


def _with_initial(params: OptimizerParams, value: float) -> OptimizerParams:
    """params with initial_accumulator_value, unless it is 0: a group stores what it is given."""
    if value:
        params["initial_accumulator_value"] = value
    return params


def _pair(betas: Any) -> tuple[float, float]:
    """beta1 and beta2. Raises TypeError for anything but a tuple or list of two."""
    if isinstance(betas, (tuple, list)) and len(betas) == 2:
        return betas[0], betas[1]
    raise TypeError(f"damo: betas must be two numbers, such as (0.9, 0.999), not {betas!r:.80}")


class SGD(Optimizer):
    """torch.optim.SGD without momentum. weight_decay is L2 in the gradient. No state."""

    def __init__(
        self, lr: float = 1e-3, *, weight_decay: float = 0.0, scheduler: Scheduler | None = None
    ) -> None:
        params: OptimizerParams = {"gamma": lr, "lambda": weight_decay}
        super().__init__("sgd", scheduler=scheduler, **params)


class FTRL(Optimizer):
    """FTRL-Proximal (McMahan et al. 2013, algorithm 1). State: 2 floats a weight.

    lr is its alpha, and lambda1 and lambda2 are L1 and L2. A weight is a function of its gradients
    alone: the initial value no longer counts from the first gradient on.
    """

    def __init__(
        self,
        lr: float = 5e-3,
        *,
        beta: float = 0.0,
        lambda1: float = 0.0,
        lambda2: float = 0.0,
        initial_accumulator_value: float = 0.0,
        scheduler: Scheduler | None = None,
    ) -> None:
        params: OptimizerParams = {
            "alpha": lr,
            "beta": beta,
            "lambda1": lambda1,
            "lambda2": lambda2,
        }
        super().__init__(
            "ftrl", scheduler=scheduler, **_with_initial(params, initial_accumulator_value)
        )


class Adagrad(Optimizer):
    """torch.optim.Adagrad (Duchi, Hazan and Singer 2011). State: 1 float a weight."""

    def __init__(
        self,
        lr: float = 1e-2,
        *,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        eps: float = 1e-10,
        initial_accumulator_value: float = 0.0,
        scheduler: Scheduler | None = None,
    ) -> None:
        params: OptimizerParams = {
            "gamma": lr,
            "lambda": weight_decay,
            "eta": lr_decay,
            "epsilon": eps,
        }
        super().__init__(
            "adagrad", scheduler=scheduler, **_with_initial(params, initial_accumulator_value)
        )


class RowwiseAdagrad(Optimizer):
    """Row-wise Adagrad (FBGEMM's EXACT_ROWWISE_ADAGRAD; Mudigere et al. 2022).

    It sums the mean of g^2 over the row. State: 1 float a row.
    """

    def __init__(
        self,
        lr: float = 1e-2,
        *,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
        initial_accumulator_value: float = 0.0,
        scheduler: Scheduler | None = None,
    ) -> None:
        params: OptimizerParams = {"gamma": lr, "lambda": weight_decay, "epsilon": eps}
        super().__init__(
            "rowwise_adagrad",
            scheduler=scheduler,
            **_with_initial(params, initial_accumulator_value),
        )


class _AdamLike(Optimizer):
    _name: OptimizerName
    _weight_decay = 0.0

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        decay = self._weight_decay if weight_decay is None else weight_decay
        beta1, beta2 = _pair(betas)
        params: OptimizerParams = {"gamma": lr, "beta1": beta1, "beta2": beta2, "lambda": decay}
        params["epsilon"] = eps
        super().__init__(self._name, scheduler=scheduler, **params)


class Adam(_AdamLike):
    """torch.optim.Adam (Kingma and Ba 2015). State: 2 floats a weight.

    weight_decay (0) is L2 in the gradient.
    """

    _name = "adam"


class AMSGrad(_AdamLike):
    """torch.optim.Adam(amsgrad=True). State: 3 floats a weight."""

    _name = "amsgrad"


class AdamW(_AdamLike):
    """torch.optim.AdamW (Loshchilov and Hutter 2019). State: 2 floats a weight.

    weight_decay (1e-2) acts on the weight, not through the gradient.
    """

    _name = "adamw"
    _weight_decay = 1e-2


class Lion(Optimizer):
    """Lion (Chen et al. 2023, algorithm 2), with sign(0) = 0. State: 1 float a weight.

    weight_decay acts on the weight, not through the gradient.
    """

    def __init__(
        self,
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        *,
        weight_decay: float = 1e-2,
        scheduler: Scheduler | None = None,
    ) -> None:
        beta1, beta2 = _pair(betas)
        params: OptimizerParams = {"eta": lr, "beta1": beta1, "beta2": beta2}
        params["lambda"] = weight_decay
        super().__init__("lion", scheduler=scheduler, **params)


class NoOptimizer(Optimizer):
    """No optimizer: the trainer has its own, and changes rows itself (Embedding.pin).

    state: floats beside the weights of a row. They begin with initial_accumulator_value.
    apply_gradients raises ValueError. A group keeps its state for good.
    """

    def __init__(
        self, state: SupportsIndex = 0, *, initial_accumulator_value: float = 0.0
    ) -> None:
        params = _with_initial({"state": state}, initial_accumulator_value)
        super().__init__("none", **params)
