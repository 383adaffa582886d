"""Trains DeepFM on a click log with every embedding in damo, and serves it from a dump.

    python3 examples/python/train_deepfm.py frappe.train.libfm frappe.test.libfm
    python3 examples/python/train_deepfm.py criteo.train.csv criteo.test.csv --epochs 3
    python3 examples/python/train_deepfm.py ml-100k.inter   # tests on the last fifth, in time

The first line of a log shows its format. examples/README.md says what is read and what is refused.

It writes to --out: the storage, a checkpoint after each epoch, curve.png, and serving/, the model
for serving. --resume goes on after the last checkpoint, also if the run was killed.

--compare also trains the same net, from the same first weights, on torch.nn.Embedding with torch's
optimizer for sparse gradients. With --optimizer adagrad both do the same. With adam they differ in
the step count of the bias correction: damo counts the steps of each row, SparseAdam those of the
table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Optional

import numpy as np
import torch
from torch.nn import functional

import damo
import damo.torch
from deepfm import DeepFM
from log_formats import FORMATS
from logs import Log, auc
from runs import Run, begin, epoch_line, read_logs, serve, shown

# The optimizer of rows on damo, and that of torch.nn.Embedding(sparse=True) for --compare.
OPTIMIZERS = {
    "adam": (
        lambda lr: damo.Adam(lr=lr),
        lambda weights, lr: torch.optim.SparseAdam(weights, lr=lr),
    ),
    "adagrad": (
        lambda lr: damo.Adagrad(lr=10 * lr),
        lambda weights, lr: torch.optim.Adagrad(weights, lr=10 * lr),
    ),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("test", nargs="?")
    parser.add_argument(
        "--format", choices=FORMATS, help="of both logs; told from their first lines when not given"
    )
    parser.add_argument("--out", type=Path, default=Path("deepfm-out"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        default="adam",
        help="of the rows; the dense part has Adam",
    )
    parser.add_argument(
        "--lr",
        type=float,
        default=2e-3,
        help="of rows and dense part; adagrad's rows take ten times this",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache-bytes", type=int, default=256 << 20)
    parser.add_argument(
        "--resume", action="store_true", help="go on after the last checkpoint in --out"
    )
    parser.add_argument(
        "--compare", action="store_true", help="train the same net on torch.nn.Embedding, too"
    )
    return parser.parse_args()


def on_damo(storage: damo.Storage, fields: int, options: argparse.Namespace) -> DeepFM:
    torch.manual_seed(options.seed)
    optimizer = OPTIMIZERS[options.optimizer][0](options.lr)
    linear = damo.torch.Embedding(
        storage, "linear", 1, optimizer=optimizer, initializer=damo.Zeros()
    )
    normal = damo.Normal(stddev=0.01, seed=options.seed)
    factors = damo.torch.Embedding(
        storage, "factors", options.dim, optimizer=optimizer, initializer=normal
    )
    return DeepFM(linear, factors, fields)


def on_torch(known: np.ndarray, fields: int, options: argparse.Namespace) -> DeepFM:
    """The net on torch.nn.Embedding, with the first weights of the net on damo.

    Row i + 1 is that of the id known[i], and row 0 is zeros.
    """
    with tempfile.TemporaryDirectory() as folder, damo.Storage(folder) as storage:
        rows = on_damo(storage, fields, options).factors.rows.lookup(known)
    weights = torch.cat([torch.zeros(1, options.dim), torch.from_numpy(rows)])
    torch.manual_seed(options.seed)
    linear = torch.nn.Embedding.from_pretrained(
        torch.zeros(len(weights), 1), freeze=False, sparse=True
    )
    factors = torch.nn.Embedding.from_pretrained(weights, freeze=False, sparse=True)
    return DeepFM(linear, factors, fields)


def batches(log: Log, size: int, epoch: int, seed: int) -> torch.utils.data.DataLoader:
    """Batches in an order that depends only on seed and epoch, so that a run can be resumed."""
    arrays = (log.ids, log.labels) if log.values is None else (log.ids, log.labels, log.values)
    data = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays))
    order = torch.Generator().manual_seed(seed * 1000 + epoch)
    return torch.utils.data.DataLoader(data, batch_size=size, shuffle=True, generator=order)


def train_epoch(model: DeepFM, optimizers: list, loader, title: str) -> tuple[float, float]:
    """One epoch. Returns the mean loss and the samples per second."""
    model.train()
    total, samples, started = 0.0, 0, time.perf_counter()
    for ids, labels, *values in shown(loader, title):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(model(ids, *values), labels)
        loss.backward()  # The rows have had their steps now.
        for optimizer in optimizers:
            optimizer.step()
        total, samples = total + loss.item() * len(labels), samples + len(labels)
    return total / samples, samples / (time.perf_counter() - started)


@torch.no_grad()
def scores(model: torch.nn.Module, log: Log, size: int = 8192) -> np.ndarray:
    model.eval()
    arrays = (log.ids,) if log.values is None else (log.ids, log.values)
    parts = zip(*(torch.from_numpy(array).split(size) for array in arrays))
    return torch.cat([torch.sigmoid(model(*part)) for part in parts]).numpy()


def compare(train: Log, test: Log, options: argparse.Namespace) -> Optional[float]:
    """Trains the same net on torch.nn.Embedding, and returns its AUC.

    That layer needs a vocabulary, so ids that only the test has are row 0.
    """
    known = np.unique(train.ids)
    place = np.searchsorted(known, test.ids).clip(max=len(known) - 1)
    seen = Log(np.searchsorted(known, train.ids) + 1, train.labels, train.values)
    held_out = Log(np.where(known[place] == test.ids, place + 1, 0), test.labels, test.values)
    model = on_torch(known, train.ids.shape[1], options)
    sparse = OPTIMIZERS[options.optimizer][1](
        [model.linear.weight, model.factors.weight], options.lr
    )
    optimizers = [torch.optim.Adam(model.dense_parameters(), lr=options.lr), sparse]
    for epoch in range(1, options.epochs + 1):
        loss, rate = train_epoch(
            model, optimizers, batches(seen, options.batch, epoch, options.seed), f"torch {epoch}"
        )
        found = auc(test.labels, scores(model, held_out))
        print(f"torch.nn.Embedding  {epoch_line(epoch, options.epochs, loss, found, rate)}")
    return found


def main() -> None:
    options = arguments()
    train, test = read_logs("train_deepfm", options)
    fields = train.ids.shape[1]
    print(f"{len(train)} samples to train on, {len(test)} to test, {fields} fields")
    begin(options, test.labels)

    with damo.Storage(options.out / "table", cache_bytes=options.cache_bytes) as storage:
        model = on_damo(storage, fields, options)
        adam = torch.optim.Adam(model.dense_parameters(), lr=options.lr)
        run = Run(options, model, adam)
        for epoch in run.epochs():
            loader = batches(train, options.batch, epoch, options.seed)
            ahead = damo.torch.Prefetch(
                loader, lambda batch: [(model.linear, batch[0]), (model.factors, batch[0])]
            )
            loss, rate = train_epoch(model, [adam], ahead, f"epoch {epoch}/{options.epochs}")
            run.end_epoch(epoch, loss, auc(test.labels, scores(model, test)), rate)
        expected = scores(model, test)
        run.end()
        rows = f"{len(model.factors.rows)} ids"

    # The storage is closed. The rest is what a server does.
    is_equal = serve(options.out / "serving", rows, lambda served: scores(served, test), expected)
    if options.compare:
        ours, theirs = run.curve[-1]["auc"], compare(train, test, options)
        difference = "undefined (one label only)" if ours is None else f"{ours - theirs:+.4f}"
        print(f"test AUC on damo minus on torch.nn.Embedding: {difference}")
    if not is_equal:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
