"""Optimizer: one torch optimizer for dense parameters and rows."""

from __future__ import annotations

import copy
import weakref
from typing import Any, Callable, Iterable, Iterator

import torch
from torch import nn

from ._row_groups import RowGroup, layers_of, release, row_groups, step_rows
from .embedding import Layer

_WHOSE = (
    "rows have the weight_decay of their own optimizer, for instance damo.Adam(weight_decay=...)"
)
_MAXIMIZE = "damo.torch: maximize=True is not for rows, which go down; negate the loss"


def dense_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """model.parameters() without the anchors.

    Use it for an optimizer with weight_decay, or for an L2 term.
    """
    anchors = {id(module.anchor) for module in model.modules() if isinstance(module, Layer)}
    return (parameter for parameter in model.parameters() if id(parameter) not in anchors)


class Optimizer(torch.optim.Optimizer):
    """One torch optimizer for the dense part of a model and the rows of its layers.

    dense: a torch optimizer of the dense part. If it was made of model.parameters(), the anchors
    are removed from it.
    model: a model, or an iterable of layers and collections.

    Each step steps the rows once, by the damo optimizer of their layer, with the sum of the
    gradients since zero_grad. As with any torch optimizer, step leaves gradients as they are, and
    zero_grad, of this or of the model, drops them.

    param_groups has dense's groups (the same dicts), and then one for each group of rows. Its "lr"
    is the learning rate of the rows, so schedules drive all of them. weight_decay in dense's groups
    is for their parameters. In a group of rows it is a ValueError, since rows have the weight_decay
    of their own optimizer. Clipping and GradScaler (torch 2.3 or newer) see all gradients, since
    the anchors' gradients have the norms of the rows'. state_dict has the form of torch's.

    Raises TypeError unless dense is a torch optimizer, ValueError for a model without layers, for
    layers that were loaded for serving, for maximize=True, and for a group of dense that has both
    weight_decay and anchors.
    """

    def __init__(
        self, dense: torch.optim.Optimizer, model: nn.Module | Iterable[nn.Module]
    ) -> None:
        if not isinstance(dense, torch.optim.Optimizer) or isinstance(dense, Optimizer):
            raise TypeError(
                "damo.torch: dense must be a torch.optim.Optimizer of the dense part, not "
                f"{type(dense).__name__}"
            )
        layers = layers_of(model, "Optimizer")
        if any(group.get("maximize") for group in dense.param_groups):
            raise ValueError(_MAXIMIZE)
        _remove_anchors(dense, layers)
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
        # OneCycleLR sets these in every group. Rows do not read them: their optimizer has its own.
        driven = {
            name: value for name, value in dense.defaults.items() if name in ("betas", "momentum")
        }
        super().__init__(groups, driven)
        self._is_made = True
        self.defaults = dict(dense.defaults)
        # Also released as garbage: otherwise its layers would collect for ever, and not train.
        gradients = [one for group in self._rows for one in group.all]
        self._release = weakref.finalize(self, release, gradients)
        self._release.atexit = False
        for group in self._rows:
            group.collect()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """dense's groups (the same dicts), and after them those of rows."""
        return [*self.dense.param_groups, *self._row_groups] if self._is_made else self._row_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        if not self._is_made:
            self._row_groups = groups

    @property
    def state(self) -> Any:
        """dense's state. The state of rows is in their storage."""
        return self.dense.state

    @state.setter
    def state(self, state: Any) -> None:
        pass

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of dense parameters and rows. Returns what dense.step returns.

        closure: dense calls it, LBFGS several times. Rows are stepped with the gradients of its
        last call.

        Raises ValueError, which names the key, for gradients of rows that are not finite, and
        RuntimeError for an anchor's gradient that was changed in a way that rows' gradients cannot
        be. Neither part has changed then, except that dense has moved if that is found in a later
        call of closure. With non_finite="skip" of the rows, or of their collection, such gradients
        raise nothing. Neither part changes, and None is returned; with a closure the dense part is
        stepped, and the rows alone are skipped.
        """
        self._check_groups()
        if closure is None:
            if not self._check():
                return None
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
        # Before torch 2.3 a GradScaler looks only at gradients on GPUs.
        _step_supports_amp_scaling = True
        _step = step

        def step(  # type: ignore[misc]
            self, closure: Callable[[], Any] | None = None, *, grad_scaler: Any = None
        ) -> Any:
            if grad_scaler is not None:
                raise RuntimeError(
                    "damo.torch: before torch 2.3 a GradScaler cannot step a damo.torch.Optimizer; "
                    "step the dense optimizer and a damo.torch.SparseOptimizer(model) with it"
                )
            return self._step(closure)

    def _check_groups(self) -> None:
        for group, rows in zip(self._row_groups, self._rows):
            if group["weight_decay"]:
                raise ValueError(
                    f"damo.torch: the param_group of {rows.rows!r} has weight_decay "
                    f"{group['weight_decay']}; {_WHOSE}"
                )
        for group in self.param_groups:
            if group.get("maximize"):
                raise ValueError(_MAXIMIZE)

    def _check(self) -> bool:
        """Whether all gradients of rows are finite. If not, raises ValueError unless rows skip."""
        checks = [rows.check_finite() for rows in self._rows]
        return all(checks)

    def _step_rows(self) -> None:
        step_rows(self._rows, [group["lr"] for group in self._row_groups], keeps=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients. set_to_none=False zeroes those of the dense part instead."""
        self.dense.zero_grad(set_to_none=set_to_none)
        for group in self._rows:
            group.drop()

    def add_param_group(self, param_group: Any) -> None:
        """Adds a group to dense. Groups of rows are fixed: those of the layers it was made of."""
        if not self._is_made:
            super().add_param_group(param_group)
            return
        self.dense.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The state in torch's form: dense's state, and all param_groups in their order.

        The state of rows is in their storage and its checkpoints.
        """
        state = self.dense.state_dict()
        first = sum(len(group["params"]) for group in self.dense.param_groups)
        for group in self._row_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            numbers = list(range(first, first + len(group["params"])))
            state["param_groups"] = [*state["param_groups"], {**packed, "params": numbers}]
            first += len(numbers)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what state_dict returned.

        Raises ValueError, before anything changes, if it has other groups of rows.
        """
        groups = state_dict["param_groups"]
        rows = groups[len(self.dense.param_groups) :]
        names = [group.get("rows") for group in rows]
        expected = [group["rows"] for group in self._row_groups]
        if names != expected:
            raise ValueError(
                f"damo.torch: the state_dict has {len(groups)} param_groups, the last of them of "
                f"the rows {names}; this optimizer has {len(self.param_groups)}, the last of them "
                f"of the rows {expected}"
            )
        dense_groups = groups[: len(self.dense.param_groups)]
        self.dense.load_state_dict({**state_dict, "param_groups": dense_groups})
        for group, saved in zip(self._row_groups, rows):
            group.update(
                {key: copy.deepcopy(value) for key, value in saved.items() if key != "params"}
            )

    def __reduce__(self) -> str:
        raise TypeError("damo.torch: an Optimizer cannot be pickled or copied; its state_dict can")

    def close(self) -> None:
        """Stops collecting gradients, and drops those that wait.

        Afterwards the layers apply gradients in backward, unless another optimizer collects them.
        """
        self._release()


def _remove_anchors(dense: torch.optim.Optimizer, layers: list[Layer]) -> None:
    """Removes the anchors from dense's groups.

    Raises ValueError if a group with anchors has weight_decay.
    """
    anchors = {id(layer.anchor) for layer in layers}
    held = [
        group
        for group in dense.param_groups
        if any(id(parameter) in anchors for parameter in group["params"])
    ]
    for group in held:
        if group.get("weight_decay"):
            raise ValueError(
                "damo.torch: dense has layers of damo.torch in a group with weight_decay "
                f"{group['weight_decay']}; {_WHOSE}. Make dense of "
                "damo.torch.dense_parameters(model)"
            )
    for group in held:
        group["params"] = [one for one in group["params"] if id(one) not in anchors]
    for layer in layers:
        dense.state.pop(layer.anchor, None)
