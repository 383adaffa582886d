"""Measures PyTorch's layer against bare calls, and a DeepFM step against torch.nn.Embedding.

    DAMO_LIBRARY=... python3 benches/python/layer.py [--steps 40] [--ids 10000000] [--skip-torch]

It runs the reference workload: batches of 4096 x 26 keys drawn Zipf(1.05) over 10 million ids, dim
16, adam, duplicates "sum". Both sides of a comparison run on the same batches, one step of each in
turn, so that a busy machine slows both.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "python"), str(CHECKOUT / "examples" / "python")]

import numpy as np
import torch

import damo
import damo.torch
from deepfm import DeepFM

SAMPLES, FIELDS, DIM = 4096, 26, 16


def draw(ids, count, seed=1):
    """Zipf(1.05) by inversion of the distribution's sums; ranks are spread over the ids."""
    sums = np.cumsum(np.arange(1, ids + 1, dtype=np.float64) ** -1.05)
    generator = np.random.default_rng(seed)
    spread = generator.permutation(ids)
    return [
        spread[np.searchsorted(sums, generator.random((SAMPLES, FIELDS)) * sums[-1])]
        for _ in range(count)
    ]


def report(title, first, second, names):
    a, b = np.median(first), np.median(second)
    print(
        f"{title}: {names[0]} {a * 1e3:.1f} ms, {names[1]} {b * 1e3:.1f} ms, median of {len(first)}"
        f" steps: {b / a:.2f} x",
        flush=True,
    )


def timed(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def bare_and_layer(folder, batches):
    """Lookup and apply_gradients by bare calls, and forward and backward of the layer.

    Each side has a table of its own.
    """
    tables = []
    for name in ("bare", "layer"):
        storage = damo.Storage(f"{folder}/{name}", durability="checkpoint")
        tables.append(storage.embedding("f", dim=DIM, optimizer=damo.Adam(), duplicates="sum"))
    bare, layer = tables[0], damo.torch.Embedding(tables[1])
    rng = np.random.default_rng(2)
    gradients = rng.normal(size=(SAMPLES, FIELDS, DIM)).astype(np.float32)
    upstream = torch.from_numpy(gradients)
    weights = np.empty_like(gradients)
    found = [[], []]

    def calls(keys):
        bare.lookup(keys, out=weights)
        bare.apply_gradients(keys, gradients)

    for keys in batches:
        ids = torch.from_numpy(keys)
        found[0].append(timed(lambda: calls(keys)))
        found[1].append(timed(lambda: layer(ids).backward(upstream)))
    # The first steps make most of the rows.
    report("lookup and step", found[0][5:], found[1][5:], ("bare calls", "damo.torch.Embedding"))
    for table in tables:
        table.storage.close()


def deepfm_steps(folder, batches, ids):
    labels = torch.from_numpy((np.random.default_rng(3).random(SAMPLES) < 0.3).astype(np.float32))
    storage = damo.Storage(f"{folder}/deepfm")
    adam = damo.Adam()
    ours = DeepFM(
        damo.torch.Embedding(storage, "linear", 1, optimizer=adam, initializer=damo.Zeros()),
        damo.torch.Embedding(storage, "factors", DIM, optimizer=adam),
        FIELDS,
    )
    theirs = DeepFM(
        torch.nn.Embedding(ids, 1, sparse=True), torch.nn.Embedding(ids, DIM, sparse=True), FIELDS
    )
    sparse = torch.optim.SparseAdam([theirs.linear.weight, theirs.factors.weight])
    optimizers = {m: [torch.optim.Adam(m.dense_parameters())] for m in (ours, theirs)}
    optimizers[theirs].append(sparse)

    def step(model, keys):
        for optimizer in optimizers[model]:
            optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(keys), labels).backward()
        for optimizer in optimizers[model]:
            optimizer.step()

    found = [[], []]
    for keys in batches:
        tensor = torch.from_numpy(keys)
        for times, model in zip(found, (ours, theirs)):
            times.append(timed(lambda: step(model, tensor)))
    report(
        "DeepFM step",
        found[0][5:],
        found[1][5:],
        ("damo, durability process", "torch.nn.Embedding, SparseAdam"),
    )
    storage.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--skip-torch", action="store_true")
    options = parser.parse_args()
    batches = draw(options.ids, options.steps)
    folder = tempfile.mkdtemp(prefix="damo-bench-")
    try:
        bare_and_layer(folder, batches)
        if not options.skip_torch:
            deepfm_steps(folder, batches, options.ids)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
