"""damo-embedding 1.1.12, the latest release of the earlier C++ implementation: class PyDamo, which
reads a JSON file.

Keys must be distinct, as in damo_embedding.py. Key 0 has no row there: it is the padding. Its user
gives it another key.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import numpy as np

import damo  # the package's module; systems/damo.py is another one

from systems import Setup, System
from systems.distinct import Coalescing

GROUP = 0
# The key that stands for key 0.
FOR_ZERO = np.iinfo(np.int64).max


class DamoEmbedding(Coalescing):
    def __init__(self, setup: Setup) -> None:
        adam = setup.adam
        self.notes = "damo-embedding " + version("damo-embedding")
        self._steps = 0
        initial = {"name": "random_normal", "mean": 0.0, "stddev": setup.initial_stddev}
        configuration = setup.directory / "configuration.json"
        configuration.write_text(
            json.dumps(
                {
                    "dir": str(setup.directory / "rows"),
                    "ttl": 0,
                    "embeddings": [
                        {
                            "group": GROUP,
                            "dim": setup.dim,
                            "initializer": initial if setup.initial_stddev else {"name": "zeros"},
                            "optimizer": {
                                "name": "adam",
                                "gamma": adam.learning_rate,
                                "beta1": adam.beta1,
                                "beta2": adam.beta2,
                                "epsilon": adam.epsilon,
                                "lambda": 0.0,
                            },
                        }
                    ],
                }
            )
        )
        self._table = damo.PyDamo(str(configuration))

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._table.pull(GROUP, without_zero(keys), weights.reshape(-1))

    def apply(self, keys: np.ndarray, gradients: np.ndarray) -> None:
        self._steps += 1
        self._table.push(self._steps, GROUP, without_zero(keys), gradients.reshape(-1))

    def close(self) -> None:
        del self._table


def without_zero(keys: np.ndarray) -> np.ndarray:
    return np.where(keys == 0, FOR_ZERO, keys)


def open(setup: Setup) -> System:
    return DamoEmbedding(setup)
