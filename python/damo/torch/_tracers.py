"""Refuses tracers, which record or transform a model instead of running it, before a row is made.

Rows come from a storage, which no graph contains. A recorded graph would return the rows of this
call for ever, or uninitialised memory. Knows tensors and modes of torch, but no layers.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch
from torch.utils import _python_dispatch

_BEHIND = "call rows = layer(ids) outside of it, and give it the part of the model that takes rows"
_SERVING = "To serve a model, damo.torch.save_for_serving(model, path)"

# By class name, since versions of torch have the classes in different places.
_MODES = {
    "ProxyTorchDispatchMode": "make_fx (and torch.export, which uses it)",
    "FakeTensorMode": "FakeTensorMode (and torch.export, which uses it)",
    "FunctionalTensorMode": "a functionalized trace",
}
_HAS_STACK = hasattr(_python_dispatch, "_get_current_dispatch_mode_stack")  # From torch 2.0 on.
_BEFORE_DISPATCH = getattr(torch._ops, "_len_torch_dispatch_stack_pre_dispatch", None)
_ARE_TRANSFORMS_ACTIVE = getattr(torch._C, "_are_functorch_transforms_active", None)
_TENSORS = {
    "FakeTensor": "FakeTensorMode (and torch.export, which uses it)",
    "FunctionalTensor": "a functionalized trace",
    "BatchedTensor": "torch.func.vmap",
    "Proxy": "torch.fx.symbolic_trace",
}


def not_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: torch.compile breaks the graph at the function, and calls it as it is.

    With fullgraph=True, and in torch.export(strict=True), torch's error gives the reason.
    """
    compiler = getattr(torch, "compiler", None)
    disable = getattr(compiler, "disable", None)
    if disable is None:
        return function
    disabled = _disabled(function, disable)
    is_compiling = getattr(compiler, "is_compiling", None)
    if is_compiling is None or _torch_version() < (2, 5):
        # Older compilers may run what they do not compile under their own tracing.
        return disabled

    @functools.wraps(function)
    def either(*arguments: Any, **named: Any) -> Any:
        # A call through torch's wrapper costs 10 microseconds.
        return (disabled if is_compiling() else function)(*arguments, **named)

    # The compiler counts how often it compiles a code object: each function has its own.
    named_alone: Any = either
    code = named_alone.__code__
    named_alone.__code__ = code.replace(co_name=function.__name__)
    return either


def _torch_version() -> tuple[int, ...]:
    return tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])


def _disabled(function: Callable[..., Any], disable: Any) -> Callable[..., Any]:
    reason = (
        "damo.torch: rows come from a storage, which no graph has. Compile without fullgraph=True."
        f" To export, {_BEHIND}. {_SERVING}"
    )
    try:
        return disable(function, reason=reason)
    except TypeError:  # Before torch 2.7.
        return disable(function)


def refusal(tracer: str) -> RuntimeError:
    """The error for a layer that tracer is about to record."""
    return RuntimeError(
        f"damo.torch: {tracer} cannot record a layer whose rows are in a storage or a table;"
        f" {_BEHIND}. {_SERVING}"
    )


def refuse_tracers(*given: Any) -> None:
    """Raises RuntimeError if this call, or one of the given tensors, is recorded or transformed."""
    if torch.jit.is_tracing():
        raise refusal("torch.jit.trace (and torch.onnx.export, which uses it)")
    for tensor in given:
        # Nearly always it is a plain tensor, and this test is quick.
        if type(tensor) is not torch.Tensor:
            refuse_stand_in(tensor)
    mode = _mode()
    if mode is not None:
        raise refusal(mode)
    if _in_transform():
        raise RuntimeError(
            "damo.torch: torch.func's transforms (vmap, grad, jvp, jacrev, functionalize and the"
            f" like) cannot run a layer whose rows are in a storage or a table; {_BEHIND}"
        )


def _named(value: Any, names: dict[str, str]) -> str | None:
    """The entry in names for the class of value, or else for the first of its bases with one."""
    return next((names[cls.__name__] for cls in type(value).__mro__ if cls.__name__ in names), None)


def refuse_stand_in(tensor: Any) -> None:
    """Raises RuntimeError for a tracer's stand-in, TypeError for a tensor without memory."""
    tracer = _named(tensor, _TENSORS)
    if tracer is not None:
        raise refusal(tracer)
    if (
        not isinstance(tensor, torch.Tensor)
        or not tensor.numel()
        or isinstance(tensor, torch.nn.Parameter)
    ):
        return
    try:
        address = tensor.data_ptr()
    except RuntimeError:
        address = 0
    # Without memory there is nothing to read: DTensor, MaskedTensor and other wrappers.
    if not address and tensor.layout == torch.strided and tensor.device.type != "meta":
        raise TypeError(
            f"damo.torch: a {type(tensor).__name__} is no plain torch.Tensor, and its numbers"
            " cannot be read; give the tensor that it wraps (of a DTensor, to_local() or"
            " full_tensor())"
        )


def _mode() -> str | None:
    """The name of what records this call, for a message; None if nothing does."""
    if not _HAS_STACK:
        modes = [
            torch._C._get_dispatch_stack_at(at)
            for at in range(torch._C._len_torch_dispatch_stack())
        ]
    else:
        modes = (
            _python_dispatch._get_current_dispatch_mode_stack()
            if _python_dispatch._len_torch_dispatch_stack()
            else []
        )
    if _BEFORE_DISPATCH is not None and _BEFORE_DISPATCH():
        return _MODES["ProxyTorchDispatchMode"]
    return next(filter(None, (_named(mode, _MODES) for mode in modes)), None)


def _in_transform() -> bool:
    """Whether a transform of torch.func, or of functorch before torch 2.0, is under way."""
    if _ARE_TRANSFORMS_ACTIVE is not None:
        return _ARE_TRANSFORMS_ACTIVE()
    functorch = getattr(torch._C, "_functorch", None)
    peek = getattr(functorch, "peek_interpreter_stack", None)
    return peek is not None and peek() is not None
