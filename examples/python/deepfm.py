"""DeepFM (Guo et al. 2017): a factorization machine and a perceptron on the same embeddings.

The net does not know where its rows are: it is given two layers, of damo.torch or of torch.nn.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import nn


class DeepFM(nn.Module):
    """The net for samples with one id for each of fields.

    linear: a layer with one weight for each id. factors: a layer with dim weights for each id.
    """

    def __init__(
        self, linear: nn.Module, factors: nn.Module, fields: int, hidden: tuple[int, ...] = (64, 32)
    ) -> None:
        super().__init__()
        self.linear, self.factors = linear, factors
        self.bias = nn.Parameter(torch.zeros(()))
        sizes = [fields * factors.embedding_dim, *hidden]
        layers: list[nn.Module] = []
        for size, following in zip(sizes, sizes[1:]):
            layers += [nn.Linear(size, following), nn.ReLU()]
        self.perceptron = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, ids: torch.Tensor, values: Optional[torch.Tensor] = None) -> torch.Tensor:
        """The log-odds of a click, float32 of shape (samples,).

        ids: int64 of shape (samples, fields). values: factors of the rows, of the shape of ids;
        None: all are 1.
        """
        linear, factors = self.linear(ids), self.factors(ids)
        if values is not None:
            linear, factors = linear * values.unsqueeze(-1), factors * values.unsqueeze(-1)
        linear = linear.sum((1, 2))
        # The products of all pairs: half of (sum^2 - sum of squares).
        pairs = 0.5 * (factors.sum(1).square() - factors.square().sum(1)).sum(1)
        return self.bias + linear + pairs + self.perceptron(factors.flatten(1)).squeeze(1)

    def dense_parameters(self) -> list[nn.Parameter]:
        """The parameters for a torch optimizer, without those of the two layers."""
        return [self.bias, *self.perceptron.parameters()]
