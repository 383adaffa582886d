"""Adam in NumPy, for stores that keep bytes and know no optimizer.

A row is 3 dim + 1 floats: weights, first moments, second moments, and the number of its updates,
which the bias corrections count by, as damo's do. A row that is not there is all zeros.
"""

from __future__ import annotations

import numpy as np

from systems import Adam


def width(dim: int) -> int:
    return 3 * dim + 1


def step(rows: np.ndarray, gradients: np.ndarray, adam: Adam) -> None:
    """One step of each of the rows, in place."""
    dim = gradients.shape[1]
    weights, first, second = (rows[:, i * dim : (i + 1) * dim] for i in range(3))
    updates = rows[:, 3 * dim :]
    updates += 1
    first *= np.float32(adam.beta1)
    first += np.float32(1 - adam.beta1) * gradients
    second *= np.float32(adam.beta2)
    second += np.float32(1 - adam.beta2) * gradients * gradients
    corrected = first / (1 - np.float32(adam.beta1) ** updates)
    root = np.sqrt(second / (1 - np.float32(adam.beta2) ** updates))
    weights -= np.float32(adam.learning_rate) * corrected / (root + np.float32(adam.epsilon))
