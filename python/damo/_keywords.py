"""Errors for keyword arguments with names of other libraries, which give damo's name."""

from __future__ import annotations

import difflib
import functools
import inspect
from typing import Any, Callable, TypeVar

# For each name of another library the names here, the likeliest first. The error gives the first
# one that the function has.
_MEANT = {
    "learning_rate": ("lr",),
    "rate": ("lr", "decay_rate"),
    "gamma": ("decay_rate", "lr"),
    "alpha": ("lr",),
    "eta": ("lr",),
    "epsilon": ("eps",),
    "beta1": ("betas", "beta"),
    "beta2": ("betas", "beta"),
    "beta_1": ("betas", "beta"),
    "beta_2": ("betas", "beta"),
    "betas": ("beta",),
    "lambda": ("weight_decay", "lambda2"),
    "lambd": ("weight_decay", "lambda2"),
    "lambda_": ("weight_decay", "lambda2"),
    "l1": ("lambda1",),
    "l2": ("weight_decay", "lambda2"),
    "weight_decay": ("lambda2",),
    "l1_regularization_strength": ("lambda1",),
    "l2_regularization_strength": ("lambda2",),
    "initial_accumulator": ("initial_accumulator_value",),
    "lr_scheduler": ("scheduler",),
    "schedule": ("scheduler",),
    "std": ("stddev",),
    "sigma": ("stddev",),
    "scale": ("stddev",),
    "loc": ("mean",),
    "mu": ("mean",),
    "a": ("min",),
    "low": ("min",),
    "minval": ("min",),
    "b": ("max",),
    "high": ("max",),
    "maxval": ("max",),
    "val": ("value",),
    "fill_value": ("value",),
    "generator": ("seed",),
    "step_size": ("decay_steps",),
    "T_max": ("decay_steps",),
    "total_iters": ("decay_steps",),
    "eta_min": ("end_learning_rate", "alpha"),
    "warmup": ("warmup_steps",),
}
# Names in other libraries of what is not supported here, and what to do instead.
_MISSING = {
    "momentum": (
        "no optimizer here has momentum alone; damo.Adam and damo.Lion keep an average of gradients"
    ),
    "nesterov": (
        "no optimizer here has momentum alone; damo.Adam and damo.Lion keep an average of gradients"
    ),
    "dampening": (
        "no optimizer here has momentum alone; damo.Adam and damo.Lion keep an average of gradients"
    ),
    "amsgrad": "damo.AMSGrad is Adam with it",
    "decoupled_weight_decay": "damo.AdamW is Adam with it",
    "maximize": "negate the loss",
    "params": (
        "an optimizer is given to storage.embedding(..., optimizer=), and has no list of parameters"
    ),
    "foreach": "it is about how torch computes; leave it out",
    "fused": "it is about how torch computes; leave it out",
    "capturable": "it is about how torch computes; leave it out",
    "differentiable": "it is about how torch computes; leave it out",
}

F = TypeVar("F", bound=Callable[..., Any])


def _hint(name: str, known: list[str]) -> str:
    meant = next((one for one in _MEANT.get(name, ()) if one in known), None)
    if meant is None:
        meant = next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.75)), None)
    if meant is not None:
        return f"it is called {meant} here"
    return _MISSING.get(name, f"its arguments are {', '.join(known) or 'none'}")


def named(function: F) -> F:
    """The method function, with a TypeError for an unknown keyword that gives the right one."""
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return function
    known = [one.name for one in parameters][1:]

    @functools.wraps(function)
    def checked(self: Any, *arguments: Any, **options: Any) -> Any:
        for name in options:
            if name not in known:
                raise TypeError(
                    f"damo: {type(self).__name__} has no argument {name!r}: {_hint(name, known)}"
                )
        return function(self, *arguments, **options)

    return checked  # type: ignore[return-value]


class Named:
    """A base class whose subclasses' constructors give the right keyword (see named)."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = named(cls.__dict__["__init__"])  # type: ignore[method-assign]
