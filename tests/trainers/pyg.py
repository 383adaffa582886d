"""PyG: ComplEx over a graph whose nodes are ids, and whose relation is a click."""

from __future__ import annotations

import damo
import damo.torch
import torch
from checks import AUC, DIGITS, Check
from logs import TEST, TRAIN
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.nn import ComplEx

PACKAGE = "torch-geometric"


def triplets(log, part):
    """The first two fields are the nodes of an edge, and the third is its relation."""
    ids, clicks = log.parts[part]
    heads, tails, kinds = (torch.from_numpy(ids[:, field].copy()) for field in (0, 1, 2))
    return (heads, kinds, tails + log.sizes[0]), torch.from_numpy(clicks)


def train(log, storage, make_dense, rows, epochs):
    model = ComplEx(log.sizes[0] + log.sizes[1], log.sizes[2], 16, sparse=True)
    if storage:
        damo.torch.convert(model, storage, optimizer=rows)  # damo
    if storage:
        optimizer = damo.torch.SparseOptimizer(model)  # damo
    else:
        optimizer = make_dense(model.parameters())
    edges, clicks = triplets(log, TRAIN)
    for number in range(epochs):
        for batch in torch.randperm(len(clicks)).split(256):
            optimizer.zero_grad()
            found = model(*(part[batch] for part in edges))
            binary_cross_entropy_with_logits(found, clicks[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        return model.eval()(*triplets(log, TEST)[0]).numpy()


def adagrad(log, storage, folder):
    dense = lambda p: torch.optim.Adagrad(p, 0.1, initial_accumulator_value=1e-7)  # noqa: E731
    return train(log, storage, dense, damo.Adagrad(0.1, initial_accumulator_value=1e-7), 8)


def adam(log, storage, folder):
    dense = lambda p: torch.optim.SparseAdam(list(p), 0.01)  # noqa: E731
    return train(log, storage, dense, damo.Adam(0.01), 8)


CHECKS = [
    Check("ComplEx, Adagrad, sparse gradients", adagrad, DIGITS, (train,)),
    Check("ComplEx, SparseAdam and damo.Adam", adam, AUC, (train,)),
]
