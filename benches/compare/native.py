"""Builds and loads native/calls.cpp, which makes calls from threads of its own."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from ctypes import POINTER, c_bool, c_char_p, c_double, c_int32, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from systems import Setup

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parents[1] / "include"
# What such trainers are compiled with. damo's library brings its own code for each processor.
FLAGS = "-std=c++17 -O3 -march=native -fno-math-errno -fno-trapping-math -shared -fPIC -pthread"


def build(directory: Path) -> tuple[Path, str]:
    """Compiles with $CXX, or else c++. Returns the library and how it was compiled; raises
    RuntimeError with the compiler's first complaint.
    """
    library = directory / "calls.so"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    command = [*compiler, *FLAGS.split(), "-I", str(INCLUDE), str(HERE / "native" / "calls.cpp")]
    try:
        done = subprocess.run([*command, "-o", str(library)], capture_output=True, text=True)
    except OSError as error:
        raise RuntimeError(f"the C++ compiler {compiler[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if "error" in line]
        first = (complaints or done.stderr.splitlines() or ["no message"])[0]
        raise RuntimeError(f"{compiler[0]} cannot compile native/calls.cpp: {first}")
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout
    return library, f"{version.splitlines()[0]}, {FLAGS}"


class Parameters(ctypes.Structure):
    _fields_ = [(name, c_double) for name in ("learning_rate", "beta1", "beta2", "epsilon")]


class Functions(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("lookup", "apply_gradients", "last_error_message")]


class Samples(ctypes.Structure):
    _fields_ = [
        ("keys", c_void_p),
        ("keys_len", c_uint64),
        ("gradients", c_void_p),
        ("dim", c_uint64),
        ("keys_a_call", c_uint64),
        ("threads", c_uint64),
        ("work", c_int32),
        ("seconds", c_double),
        ("calls", c_uint64),
    ]


class Cost(ctypes.Structure):
    """Microseconds a call, the calls of all threads counted: on the clock, and processor time of
    the calling threads.
    """

    _fields_ = [("on_the_clock", c_double), ("of_the_callers", c_double)]


# As in drive.hpp.
WORK = ("lookup", "apply", "both")
ROWS = (c_void_p, c_void_p, c_size_t, c_void_p)
PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "error": (c_char_p, ()),
    "damo": (c_void_p, (c_void_p, POINTER(Functions), c_size_t)),
    "plain": (c_void_p, (c_char_p, c_char_p, c_size_t, c_size_t, POINTER(Parameters))),
    "free": (None, (c_void_p,)),
    "insert": (c_bool, ROWS),
    "lookup": (c_bool, ROWS),
    "apply": (c_bool, ROWS),
    "run": (c_bool, (POINTER(c_void_p), c_size_t, POINTER(Samples), POINTER(Cost))),
}


class Native:
    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(library, f"calls_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def check(self, result: Any) -> Any:
        if not result:
            raise RuntimeError(self.error().decode())
        return result

    def damo_table(self, library: Any, embedding: int, dim: int) -> Table:
        """Calls of a loaded libdamo on an embedding, which must outlive the table."""
        wanted = (library.embedding_lookup, library.embedding_apply_gradients)
        addresses = [
            ctypes.cast(function, c_void_p) for function in (*wanted, library.last_error_message)
        ]
        return Table(self, self.damo(embedding, Functions(*addresses), dim), dim)

    def plain_table(self, kind: str, setup: Setup) -> Table:
        """A table of setup.ids rows of zeros. A hash map has only rows that were inserted."""
        parameters = Parameters(**setup.optimizer_parameters)
        kind, rule = kind.encode(), setup.optimizer.encode()
        return Table(self, self.plain(kind, rule, setup.ids, setup.dim, parameters), setup.dim)


class Table:
    def __init__(self, native: Native, handle: int | None, dim: int) -> None:
        self.native, self.handle, self._dim = native, native.check(handle), dim

    def insert(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._call(self.native.insert, keys, weights)

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._call(self.native.lookup, keys, weights)

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        self._call(self.native.apply, keys, gradients)

    def _call(self, function: Any, keys: np.ndarray, floats: np.ndarray) -> None:
        if floats.shape != (keys.size, self._dim) or not floats.flags.c_contiguous:
            raise ValueError(f"{keys.size} keys need {keys.size} x {self._dim} floats in a row")
        self.native.check(function(self.handle, keys.ctypes.data, keys.size, floats.ctypes.data))

    def run(
        self,
        keys: np.ndarray,
        gradients: np.ndarray,
        threads: int,
        work: str,
        seconds: float = 0.0,
        calls: int = 0,
    ) -> Cost:
        """Calls of gradients.shape[0] keys by each thread, for so long or so many."""
        return run([self], keys, gradients, threads, work, seconds, calls)

    def free(self) -> None:
        self.native.free(self.handle)


def run(
    tables: list[Table],
    keys: np.ndarray,
    gradients: np.ndarray,
    threads: int,
    work: str,
    seconds: float = 0.0,
    calls: int = 0,
) -> Cost:
    """As Table.run. With several tables each thread calls its own."""
    native, (keys_a_call, dim) = tables[0].native, gradients.shape
    samples = Samples(
        keys.ctypes.data,
        keys.size,
        gradients.ctypes.data,
        dim,
        keys_a_call,
        threads,
        WORK.index(work),
        seconds,
        calls,
    )
    handles, cost = (c_void_p * len(tables))(*(table.handle for table in tables)), Cost()
    native.check(native.run(handles, len(tables), samples, ctypes.byref(cost)))
    return cost
