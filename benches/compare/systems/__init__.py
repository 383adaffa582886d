"""The systems that are compared. All have the same interface for worker.py.

A system is imported only in the process that measures it.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LEARNING_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
ADAGRAD_LEARNING_RATE, ADAGRAD_EPSILON = 1e-2, 1e-8
INITIAL_STDDEV = 0.01


@dataclass(frozen=True)
class Adam:
    """The optimizer's parameters."""

    learning_rate: float = LEARNING_RATE
    beta1: float = BETA1
    beta2: float = BETA2
    epsilon: float = EPSILON


@dataclass
class Setup:
    """How to open a system. Its rows start normally distributed around 0, or as zeros when the
    deviation is 0. The option optimizer is "adam" (the default), "adagrad" or "rowwise_adagrad", as
    far as the system has it.
    """

    directory: Path
    dim: int = 16
    ids: int = 10_000_000
    options: dict[str, Any] = field(default_factory=dict)
    adam: Adam = Adam()
    initial_stddev: float = INITIAL_STDDEV

    @property
    def optimizer(self) -> str:
        return self.options.get("optimizer", "adam")

    @property
    def optimizer_parameters(self) -> dict[str, float]:
        if self.optimizer == "adam":
            return asdict(self.adam)
        return {"learning_rate": ADAGRAD_LEARNING_RATE, "epsilon": ADAGRAD_EPSILON}


class System:
    """A table of embeddings with an optimizer.

    weights and gradients are float32 of shape (rows, dim), keys are int64, and all are
    C-contiguous.
    """

    optimizer = "adam"
    # Whether adam's bias correction counts the updates of a "row" or of the whole table ("global").
    adam_step = "row"
    # Whether adam adds epsilon to the root of the bias-"corrected" second moment (Kingma and Ba,
    # algorithm 1), or of the "raw" one (the faster form in their section 2). They differ for small
    # gradients in early steps.
    adam_epsilon = "corrected"
    # How a key that is given twice in a batch is stepped: "sum" (once) or "sequential" (twice).
    duplicates = "sum"
    # Whether threads that step a row at the same moment may lose an update.
    loses_updates = False
    # Steps of the whole table before the first one that is measured.
    adam_steps_before = 0
    notes = ""

    def __init__(self, setup: Setup) -> None:
        raise NotImplementedError

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        raise NotImplementedError

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        raise NotImplementedError

    def step(
        self, timer: Any, keys: np.ndarray, weights: np.ndarray, gradients: np.ndarray
    ) -> None:
        """One training step, each call of the library timed."""
        timer.call("lookup", self.lookup, keys, weights)
        timer.call("apply", self.apply, keys, gradients)

    def initial(self, keys: np.ndarray, weights: np.ndarray) -> None:
        """Fills weights with what these rows start from, for the self-check."""
        self.lookup(keys, weights)

    def current(self, keys: np.ndarray, weights: np.ndarray) -> None:
        """Fills weights with what these rows are now, for the self-check."""
        self.lookup(keys, weights)

    def peek(self, keys: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Looks up without making rows. Returns which keys have one."""
        raise NotImplementedError

    def fill(self, keys: np.ndarray, weights: np.ndarray) -> None:
        """Makes these rows, with any weights."""
        self.lookup(keys, weights)

    def prefetch(self, keys: np.ndarray) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        """Brings everything to disk, where there is such a thing."""

    def save(self, path: Path) -> None:
        """Writes everything that training goes on from, where the system has a call for that."""
        raise NotImplementedError

    def restore(self, path: Path) -> None:
        """Goes on from what save wrote."""
        raise NotImplementedError

    def dump(self, file: Path, format: str) -> None:
        """Writes the weights of all rows for serving."""
        raise NotImplementedError

    def compact(self) -> bool:
        """Compacts what is on disk; False when there is no such call."""
        return False

    def statistics(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        """Releases everything."""


def open_system(name: str, setup: Setup) -> System:
    return importlib.import_module(f"systems.{name}").open(setup)
