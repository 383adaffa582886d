"""damo's C ABI: the prototypes of include/damo.h that are used here."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    c_bool,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)

KEYS = (c_void_p, c_size_t)
FLOATS = (c_void_p, c_size_t)

# name: (result, arguments)
PROTOTYPES: dict[str, tuple[object, tuple[object, ...]]] = {
    "damo_version": (c_char_p, ()),
    "damo_last_error_message": (c_char_p, ()),
    "damo_params_new": (c_void_p, ()),
    "damo_params_set_int": (c_int, (c_void_p, c_char_p, c_int64)),
    "damo_params_set_float": (c_int, (c_void_p, c_char_p, c_double)),
    "damo_params_set_bool": (c_int, (c_void_p, c_char_p, c_bool)),
    "damo_params_set_str": (c_int, (c_void_p, c_char_p, c_char_p)),
    "damo_params_free": (None, (c_void_p,)),
    "damo_initializer_new": (c_void_p, (c_char_p, c_void_p)),
    "damo_initializer_free": (None, (c_void_p,)),
    "damo_optimizer_new": (c_void_p, (c_char_p, c_void_p, c_void_p)),
    "damo_optimizer_free": (None, (c_void_p,)),
    "damo_storage_new": (c_void_p, (c_char_p, c_int64, c_void_p)),
    "damo_storage_flush": (c_int, (c_void_p,)),
    "damo_storage_stat": (c_int, (c_void_p, c_char_p, POINTER(c_uint64))),
    "damo_storage_checkpoint": (c_int, (c_void_p, c_char_p)),
    "damo_storage_load_from_checkpoint": (c_int, (c_void_p, c_char_p)),
    "damo_storage_dump": (c_int, (c_void_p, c_char_p, c_void_p)),
    "damo_storage_free": (None, (c_void_p,)),
    "damo_embedding_new": (c_void_p, (c_void_p, c_void_p, c_void_p, c_size_t, c_uint32, c_void_p)),
    "damo_embedding_lookup": (c_int, (c_void_p, *KEYS, *FLOATS)),
    "damo_embedding_peek": (c_int, (c_void_p, *KEYS, *FLOATS, c_void_p)),
    "damo_embedding_apply_gradients": (c_int, (c_void_p, *KEYS, *FLOATS)),
    "damo_embedding_free": (None, (c_void_p,)),
}

# Functions of later versions: used when the library has them.
OPTIONAL: dict[str, tuple[object, tuple[object, ...]]] = {
    "damo_embedding_prefetch": (c_int, (c_void_p, *KEYS)),
    "damo_storage_compact": (c_int, (c_void_p,)),
}


class Library:
    """The loaded library; optional functions are attributes that are None when it lacks them."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in {**PROTOTYPES, **OPTIONAL}.items():
            function = getattr(library, name, None)
            if function is None and name in PROTOTYPES:
                raise RuntimeError(f"{path} has no function {name}")
            if function is not None:
                function.restype, function.argtypes = result, arguments
            setattr(self, name.removeprefix("damo_"), function)

    def message(self) -> str:
        return self.last_error_message().decode()

    def check(self, result: int | None) -> int:
        """For calls that return a status."""
        if result != 0:
            raise RuntimeError(self.message())
        return 0

    def handle(self, result: int | None) -> int:
        """For calls that return a handle."""
        if not result:
            raise RuntimeError(self.message())
        return result

    def params(self, values: dict[str, object]) -> int:
        """A bag with these values; the caller frees it."""
        bag = self.handle(self.params_new())
        for key, value in values.items():
            if isinstance(value, bool):
                setter = self.params_set_bool
            elif isinstance(value, int):
                setter = self.params_set_int
            elif isinstance(value, float):
                setter = self.params_set_float
            else:
                setter, value = self.params_set_str, str(value).encode()
            self.check(setter(bag, key.encode(), value))
        return bag
