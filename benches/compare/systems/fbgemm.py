"""FBGEMM's table-batched embedding on the processor, with its row-wise Adagrad or Adagrad.

The table is an array of all ids, made before the first step. The optimizer's step is part of the
backward pass; the gradients of a key that is given twice are summed. There is no adam for the
processor.
"""

from __future__ import annotations

import os
from importlib.metadata import version

import numpy as np
import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
    ComputeDevice,
    SplitTableBatchedEmbeddingBagsCodegen,
)

from systems import Setup, System

OPTIMIZERS = {
    "adagrad": EmbOptimType.EXACT_ADAGRAD,
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
}


class Fbgemm(System):
    """Options: optimizer, threads (as many as cores that the process may use)."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.options.get("threads", len(os.sched_getaffinity(0))))
        torch.manual_seed(0)
        self.optimizer = setup.optimizer
        parameters = setup.optimizer_parameters
        self._embedding = SplitTableBatchedEmbeddingBagsCodegen(
            [(setup.ids, setup.dim, EmbeddingLocation.HOST, ComputeDevice.CPU)],
            optimizer=OPTIMIZERS[setup.optimizer],
            learning_rate=parameters["learning_rate"],
            eps=parameters["epsilon"],
            pooling_mode=PoolingMode.SUM,
        )
        self._weights = self._embedding.split_embedding_weights()[0]
        with torch.no_grad():
            self._weights.normal_(std=setup.initial_stddev)
        # Each key is a bag of its own, so the sum of a bag is a row.
        self._offsets = torch.arange(0)
        self.notes = (
            f"fbgemm-gpu-cpu {version('fbgemm-gpu-cpu')}, torch {torch.__version__},"
            f" {torch.get_num_threads()} threads"
        )

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        # The rows stay a tensor, as in training; nothing is copied to weights.
        with torch.no_grad():
            self._forward(torch.from_numpy(keys))

    def initial(self, keys: np.ndarray, weights: np.ndarray) -> None:
        weights[:] = self._weights[torch.from_numpy(keys)].detach().numpy()

    current = initial

    def fill(self, keys: np.ndarray, weights: np.ndarray) -> None:
        """All rows exist."""

    def step(self, timer, keys: np.ndarray, weights: np.ndarray, gradients: np.ndarray) -> None:
        timer.call("lookup", self._forward, torch.from_numpy(keys))
        timer.call("apply", self._output.backward, torch.from_numpy(gradients))

    def _forward(self, keys: torch.Tensor) -> None:
        if self._offsets.numel() != keys.numel() + 1:
            self._offsets = torch.arange(keys.numel() + 1)
        self._output = self._embedding(keys, self._offsets)


def open(setup: Setup) -> System:
    return Fbgemm(setup)
