"""Bags of parameters, which configure optimizers, initializers, schedulers, storages and dumps."""

from __future__ import annotations

from typing import Any, Mapping, SupportsIndex

import numpy as np

from . import _arrays, _c_api
from ._handles import Handle


class Params(Handle):
    """A bag for one call.

    values: integers of any kind, float, bool or str, also NumPy's. None is left out.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(_c_api.damo_params_new, _c_api.damo_params_free)
        for key, value in (values or {}).items():
            if value is not None:
                self.set(key, value)

    def set(self, key: str, value: bool | SupportsIndex | float | str) -> None:
        """Sets one value. Raises TypeError for another type than these four."""
        name = _c_api.text(key, "a parameter's key")
        what = f"parameter {key!r}"
        if isinstance(value, (bool, np.bool_)):
            _c_api.damo_params_set_bool(self._use(), name, bool(value))
        elif isinstance(value, str):
            _c_api.damo_params_set_str(self._use(), name, _c_api.text(value, what))
        elif isinstance(value, (float, np.floating)):
            _c_api.damo_params_set_float(self._use(), name, float(value))
        else:
            try:
                number = _arrays.integer(value, what, -(2**63), 2**63 - 1)
            except TypeError:
                raise TypeError(
                    f"damo: {what} must be an int, a float, a bool or a string, not"
                    f" {type(value).__name__}"
                ) from None
            _c_api.damo_params_set_int(self._use(), name, number)

    def to_json(self) -> str:
        """The bag as a JSON object, keys sorted."""
        return _c_api.json_text(_c_api.damo_params_to_json, self._use)
