"""Writes embedding_bags.json: what torch.nn.functional.embedding_bag makes of random bags.

    /usr/bin/python3 tests/golden/embedding_bags.py [NUMBER [FILE]]

NUMBER is how many cases (72), FILE where to (beside this script). It needs PyTorch, on a CPU. A
case has a table of rows, keys that are indexes in it, offsets, and gradients of the outputs; then
the outputs, and the gradients of the table and of the weights. Floats are multiples of 1/8, small
enough that columns have equal largest values.
"""

import json
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

ROWS = 7
DIMS = (1, 3, 4, 6, 16, 21)


def floats(chance, *shape):
    numbers = torch.tensor([chance.randint(-16, 16) for _ in range(shape[0] * shape[1])])
    return (numbers.float() / 8).reshape(shape)


def decimals(tensor):
    """float32 values as the shortest decimals that mean them."""
    return [float(f"{value:.9g}") for value in tensor.detach().flatten().tolist()]


def case(number):
    chance = random.Random(number)
    mode = ("sum", "mean", "max")[number % 3]
    has_last = bool(number // 3 % 2)
    padding = chance.randrange(ROWS) if number // 6 % 2 else None
    is_weighted = mode == "sum" and bool(number // 12 % 2)
    dim = DIMS[chance.randrange(len(DIMS))]
    sizes = [chance.choice((0, 1, 2, 3, 5)) for _ in range(chance.randrange(1, 6))]
    keys = [chance.randrange(ROWS) for _ in range(sum(sizes))]
    offsets = [sum(sizes[:bag]) for bag in range(len(sizes) + has_last)]
    table = floats(chance, ROWS, dim).requires_grad_()
    weights = floats(chance, len(keys), 1).reshape(-1).requires_grad_() if is_weighted else None
    outputs = F.embedding_bag(
        torch.tensor(keys, dtype=torch.int64),
        table,
        torch.tensor(offsets),
        mode=mode,
        per_sample_weights=weights,
        include_last_offset=has_last,
        padding_idx=padding,
    )
    gradients = floats(chance, len(sizes), dim)
    outputs.backward(gradients)
    found = {
        "pooling": mode,
        "has_last": has_last,
        "padding": padding,
        "dim": dim,
        "keys": keys,
        "offsets": offsets,
        "table": decimals(table),
        "gradients": decimals(gradients),
        "outputs": decimals(outputs),
        "table_gradients": decimals(table.grad),
    }
    if is_weighted:
        found |= {"weights": decimals(weights), "weight_gradients": decimals(weights.grad)}
    return found


number = int(sys.argv[1]) if sys.argv[1:] else 72
path = Path(sys.argv[2]) if sys.argv[2:] else Path(__file__).with_suffix(".json")
lines = ",\n".join(json.dumps(case(each)) for each in range(number))
path.write_text(f'{{"source": "torch {torch.__version__}", "cases": [\n{lines}\n]}}\n')
