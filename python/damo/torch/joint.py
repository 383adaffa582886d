"""One torch optimizer over both kinds of parameters: those of the dense part, and rows."""

from __future__ import annotations

import copy
import weakref
from typing import Any, Callable, Iterable, Iterator

import torch
from torch import nn

from ._row_groups import RowGroup, layers_of, release, row_groups, step_rows
from .embedding import Layer

_WHOSE = "rows have the weight_decay of their own optimizer, for instance damo.Adam(weight_decay=...)"


def dense_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """model.parameters() without what stands for rows: for an optimizer with weight_decay, or an L2 term."""
    anchors = {id(module.anchor) for module in model.modules() if isinstance(module, Layer)}
    return (parameter for parameter in model.parameters() if id(parameter) not in anchors)


class Optimizer(torch.optim.Optimizer):
    """A torch optimizer for the dense part and the rows of the layers in a model (or an iterable of layers), as one.

    dense may have been made of model.parameters(): what stands for rows is taken out of it. Rows are stepped by the damo
    optimizer that their layer was made with, once a step, by the sum of the gradients since zero_grad. As with any optimizer of
    torch, step leaves gradients as they are, and zero_grad of this or of the model drops them.

    param_groups has dense's groups, themselves, and then one for each damo.Embedding, whose "lr" is its optimizer's rate:
    schedules drive all of them. weight_decay in dense's groups is for their parameters. For rows it is a ValueError: they
    have the weight_decay of their own optimizer. Clipping and GradScaler (torch 2.3 or newer) see all gradients, since those of the
    layers' anchors have the norms of the rows'. state_dict has the form of torch's.
    """

    def __init__(self, dense: torch.optim.Optimizer, model: nn.Module | Iterable[Layer]) -> None:
        if not isinstance(dense, torch.optim.Optimizer) or isinstance(dense, Optimizer):
            raise TypeError(
                f"damo.torch: dense must be a torch.optim.Optimizer of the dense part, not {type(dense).__name__}"
            )
        layers = layers_of(model, "Optimizer")
        if any(group.get("maximize") for group in dense.param_groups):
            raise ValueError("damo.torch: maximize=True is not for rows, which go down; negate the loss")
        _take_out(dense, layers)
        self.dense = dense
        self._rows = row_groups(layers)
        groups = [
            {
                "params": group.anchors,
                "lr": group.rows.optimizer.learning_rate,
                "weight_decay": 0.0,
                "rows": group.rows.name if group.rows.name is not None else group.rows.group,
            }
            for group in self._rows
        ]
        self._row_groups: list[dict[str, Any]] = []
        self._is_made = False
        # OneCycleLR drives these in every group; those of rows are their optimizer's own.
        driven = {name: value for name, value in dense.defaults.items() if name in ("betas", "momentum")}
        super().__init__(groups, driven)
        self._is_made = True
        self.defaults = dict(dense.defaults)
        # Also when nobody refers to this any more: its layers would collect for ever, and not train.
        self._release = weakref.finalize(self, release, [one for group in self._rows for one in group.all])
        self._release.atexit = False
        for group in self._rows:
            group.collect()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """dense's, themselves, and those of rows."""
        return [*self.dense.param_groups, *self._row_groups] if self._is_made else self._row_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        if not self._is_made:
            self._row_groups = groups

    @property
    def state(self) -> Any:
        """dense's. That of rows is in their storage."""
        return self.dense.state

    @state.setter
    def state(self, state: Any) -> None:
        pass

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both, or of neither when gradients of rows are refused: ValueError for one that is not finite.

        With a closure dense calls it, LBFGS many times, and rows are stepped by the gradients of its last call.
        """
        self._check_groups()
        if closure is None:
            self._check()
            self._step_rows()
            return self.dense.step()

        def checked() -> Any:
            loss = closure()
            self._check()
            return loss

        loss = self.dense.step(checked)
        self._step_rows()
        return loss

    if not hasattr(torch.amp, "GradScaler"):
        # Before torch 2.3 a GradScaler does not look at gradients that are not on a GPU.
        _step_supports_amp_scaling = True
        _step = step

        def step(self, closure: Callable[[], Any] | None = None, *, grad_scaler: Any = None) -> Any:  # type: ignore[misc]
            if grad_scaler is not None:
                raise RuntimeError(
                    "damo.torch: before torch 2.3 a GradScaler cannot step a damo.torch.Optimizer; step the dense optimizer "
                    "and a damo.torch.SparseOptimizer(model) with it"
                )
            return self._step(closure)

    def _check_groups(self) -> None:
        for group, rows in zip(self._row_groups, self._rows):
            if group["weight_decay"]:
                raise ValueError(
                    f"damo.torch: the param_group of {rows.rows!r} has weight_decay {group['weight_decay']}; {_WHOSE}"
                )
        for group in self.param_groups:
            if group.get("maximize"):
                raise ValueError("damo.torch: maximize=True is not for rows, which go down; negate the loss")

    def _check(self) -> None:
        for rows in self._rows:
            rows.check_finite()

    def _step_rows(self) -> None:
        step_rows(self._rows, [group["lr"] for group in self._row_groups], keeps=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of rows, and those of the dense part, or zeroes them without set_to_none."""
        self.dense.zero_grad(set_to_none=set_to_none)
        for group in self._rows:
            group.drop()

    def add_param_group(self, param_group: Any) -> None:
        """Adds a group to dense. What a layer's rows are, is its storage's."""
        if not self._is_made:
            super().add_param_group(param_group)
            return
        self.dense.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """As torch's: dense's state, and param_groups in their order. Rows have theirs in the storage's checkpoints."""
        state = self.dense.state_dict()
        first = sum(len(group["params"]) for group in self.dense.param_groups)
        for group in self._row_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            numbers = list(range(first, first + len(group["params"])))
            state["param_groups"] = [*state["param_groups"], {**packed, "params": numbers}]
            first += len(numbers)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what state_dict gave. Raises ValueError, before anything changes, when it is of other groups."""
        groups = state_dict["param_groups"]
        rows = groups[len(self.dense.param_groups) :]
        names = [group.get("rows") for group in rows]
        expected = [group["rows"] for group in self._row_groups]
        if names != expected:
            raise ValueError(
                f"damo.torch: the state_dict has {len(groups)} param_groups, the last of them of the rows {names}; this optimizer "
                f"has {len(self.param_groups)}, the last of them of the rows {expected}"
            )
        self.dense.load_state_dict({**state_dict, "param_groups": groups[: len(self.dense.param_groups)]})
        for group, saved in zip(self._row_groups, rows):
            group.update({key: copy.deepcopy(value) for key, value in saved.items() if key != "params"})

    def __reduce__(self) -> str:
        raise TypeError("damo.torch: an Optimizer cannot be pickled or copied; its state_dict can")

    def close(self) -> None:
        """What is pending is dropped, and the layers apply their gradients in backward again, unless another one collects them."""
        self._release()


def _take_out(dense: torch.optim.Optimizer, layers: list[Layer]) -> None:
    """Takes what stands for rows out of dense's groups."""
    anchors = {id(layer.anchor) for layer in layers}
    held = [
        group for group in dense.param_groups if any(id(parameter) in anchors for parameter in group["params"])
    ]
    for group in held:
        if group.get("weight_decay"):
            raise ValueError(
                f"damo.torch: dense has layers of damo.torch in a group with weight_decay {group['weight_decay']}; {_WHOSE}. "
                "Make dense of damo.torch.dense_parameters(model)"
            )
    for group in held:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in anchors]
    for layer in layers:
        dense.state.pop(layer.anchor, None)
