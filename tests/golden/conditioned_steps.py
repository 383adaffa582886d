"""Writes conditioned_steps.json: what PyTorch's clipping and nn.Embedding(max_norm) make of steps.

    /usr/bin/python3 tests/golden/conditioned_steps.py

It needs PyTorch, on a CPU. A case has a table of rows, limits, and steps of SGD. A step has keys,
some of them twice, the rows that were read, and their gradients. At the end come the rows that a
last lookup of all keys reads.
"""

import json
import random
from pathlib import Path

import torch
from torch import nn

ROWS = 9
STEPS = 4
RATE = 0.5
LIMITS = (
    {},
    {"clip_value": 0.75},
    {"clip_row_norm": 1.25},
    {"clip_norm": 2.0},
    {"clip_value": 1.0, "clip_row_norm": 1.5, "clip_norm": 2.5},
    {"max_norm": 0.9},
    {"max_norm": 1.75, "clip_value": 0.5},
)


def floats(chance, *shape):
    numbers = torch.tensor([chance.randint(-16, 16) for _ in range(shape[0] * shape[1])])
    return (numbers.float() / 8).reshape(shape)


def decimals(tensor):
    """float32 values as the shortest decimals that mean them."""
    return [float(f"{value:.9g}") for value in tensor.detach().flatten().tolist()]


def clip_rows(gradient, limit):
    """Clips each row as a parameter of its own."""
    for row in gradient:
        parameter = nn.Parameter(torch.zeros_like(row))
        parameter.grad = row
        nn.utils.clip_grad_norm_([parameter], limit)


def step(chance, layer, optimizer, limits):
    keys = [chance.randrange(ROWS) for _ in range(chance.randrange(1, 7))]
    gradients = floats(chance, len(keys), layer.embedding_dim)
    rows = layer(torch.tensor(keys))
    optimizer.zero_grad()
    rows.backward(gradients)
    if "clip_value" in limits:
        nn.utils.clip_grad_value_([layer.weight], limits["clip_value"])
    if "clip_row_norm" in limits:
        clip_rows(layer.weight.grad, limits["clip_row_norm"])
    if "clip_norm" in limits:
        nn.utils.clip_grad_norm_([layer.weight], limits["clip_norm"])
    optimizer.step()
    return {"keys": keys, "rows": decimals(rows), "gradients": decimals(gradients)}


def case(number):
    chance = random.Random(number)
    limits, dim = LIMITS[number % len(LIMITS)], (1, 3, 8, 17)[number // len(LIMITS)]
    first = floats(chance, ROWS, dim)
    layer = nn.Embedding(ROWS, dim, max_norm=limits.get("max_norm"), _weight=first.clone())
    optimizer = torch.optim.SGD(layer.parameters(), lr=RATE)
    # damo stores inserted rows as they are. A lookup brings torch's within max_norm.
    layer(torch.arange(ROWS))
    first = decimals(layer.weight)
    steps = [step(chance, layer, optimizer, limits) for _ in range(STEPS)]
    last = decimals(layer(torch.arange(ROWS)))
    return {"dim": dim, "limits": limits, "first": first, "steps": steps, "last": last}


def main():
    cases = [case(number) for number in range(4 * len(LIMITS))]
    lines = ",\n".join(json.dumps(case) for case in cases)
    path = Path(__file__).with_name("conditioned_steps.json")
    path.write_text(f'{{"rate": {RATE}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
