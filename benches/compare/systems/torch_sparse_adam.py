"""PyTorch: nn.Embedding(sparse=True) with SparseAdam, on the CPU.

The table is an array of all ids, made before the first step. SparseAdam sums the gradients of a key
that is given twice, updates the moments of touched rows only, and counts steps for the whole table.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from systems import Setup, System


class TorchSparseAdam(System):
    """Options: threads (as many as cores that the process may use)."""

    adam_step = "global"
    adam_epsilon = "raw"

    def __init__(self, setup: Setup) -> None:
        # Some builds start with one thread.
        torch.set_num_threads(setup.options.get("threads", len(os.sched_getaffinity(0))))
        torch.manual_seed(0)
        self._embedding = torch.nn.Embedding(setup.ids, setup.dim, sparse=True)
        torch.nn.init.normal_(self._embedding.weight, std=setup.initial_stddev)
        self._optimizer = torch.optim.SparseAdam(
            self._embedding.parameters(),
            lr=setup.adam.learning_rate,
            betas=(setup.adam.beta1, setup.adam.beta2),
            eps=setup.adam.epsilon,
        )
        self.notes = f"torch {torch.__version__}, {torch.get_num_threads()} threads"

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        # The rows stay a tensor, as in training; nothing is copied to weights.
        with torch.no_grad():
            self._embedding(torch.from_numpy(keys))

    def initial(self, keys: np.ndarray, weights: np.ndarray) -> None:
        with torch.no_grad():
            weights[:] = self._embedding(torch.from_numpy(keys)).numpy()

    current = initial

    def save(self, path: Path) -> None:
        torch.save(
            {"embedding": self._embedding.state_dict(), "optimizer": self._optimizer.state_dict()},
            path,
        )

    def restore(self, path: Path) -> None:
        saved = torch.load(path)
        self._embedding.load_state_dict(saved["embedding"])
        self._optimizer.load_state_dict(saved["optimizer"])

    def step(self, timer, keys: np.ndarray, weights: np.ndarray, gradients: np.ndarray) -> None:
        timer.call("lookup", self._forward, torch.from_numpy(keys))
        timer.call("apply", self._backward, torch.from_numpy(gradients))

    def _forward(self, keys: torch.Tensor) -> None:
        self._output = self._embedding(keys)

    def _backward(self, gradients: torch.Tensor) -> None:
        self._output.backward(gradients)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def open(setup: Setup) -> System:
    return TorchSparseAdam(setup)
