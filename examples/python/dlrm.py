"""DLRM (Naumov et al. 2019): products of all pairs of embeddings between two perceptrons.

The net does not know where its rows are: it is given a module that pools them, such as
damo.torch.EmbeddingBagCollection.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def perceptron(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them."""
    layers: list[nn.Module] = []
    for size, following in zip(sizes, sizes[1:]):
        layers += [nn.Linear(size, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class DLRM(nn.Module):
    """The net for samples with some numbers, and a bag of ids for each feature.

    tables: a module that makes a dict of the bags' vectors, and whose dims has the dim of each
    feature by its name. A vector that is shorter than dim goes through a linear layer, so that
    features with few ids can have short rows.
    """

    def __init__(
        self,
        tables: nn.Module,
        numbers: int,
        dim: int = 16,
        bottom: tuple[int, ...] = (32,),
        top: tuple[int, ...] = (64, 32),
    ) -> None:
        super().__init__()
        self.tables = tables
        dims: dict[str, int] = tables.dims
        self.longer = nn.ModuleDict(
            {name: nn.Linear(short, dim, bias=False) for name, short in dims.items() if short < dim}
        )
        self.bottom = nn.Sequential(perceptron((numbers, *bottom, dim)), nn.ReLU())
        # Each pair once.
        left, right = torch.tril_indices(len(dims) + 1, len(dims) + 1, -1)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.top = perceptron((dim + len(left), *top, 1))

    def forward(self, numbers: torch.Tensor, bags: Any) -> torch.Tensor:
        """The log-odds of a click, float32 of shape (samples,).

        numbers: float32 of shape (samples, numbers). bags: what tables takes.
        """
        first = self.bottom(numbers)
        vectors = [first]
        for name, vector in self.tables(bags).items():
            vectors.append(self.longer[name](vector) if name in self.longer else vector)
        each = torch.stack(vectors, 1)
        products = torch.bmm(each, each.transpose(1, 2))[:, self.left, self.right]
        return self.top(torch.cat([first, products], 1)).squeeze(1)

    def dense_parameters(self) -> list[nn.Parameter]:
        """The parameters for a torch optimizer, without those of the tables."""
        parts = (self.longer, self.bottom, self.top)
        return [parameter for part in parts for parameter in part.parameters()]
