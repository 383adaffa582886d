"""Trains DLRM on a click log with every embedding in damo, and serves it from a dump.

    python3 examples/python/train_dlrm.py criteo.train.csv criteo.test.csv
    python3 examples/python/train_dlrm.py ml-100k.inter   # tests on the last fifth, in time

Of a Criteo log the 26 C columns have an id each, and the 13 counts are numbers, and also one
feature with many ids: a bag. Of MovieLens the bag has the film's genres. The tables .user and .item
are read from beside the log. examples/README.md says what is read and what is refused.

All features are one damo.torch.EmbeddingBagCollection: a forward pass is one lookup, and a backward
pass steps all tables in one transaction.

It writes to --out: the storage, a checkpoint after each epoch, curve.png, and serving/, the model
for serving. --resume goes on after the last checkpoint, also if the run was killed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Iterable, Iterator

import numpy as np
import torch
from torch.nn import functional

import damo
import damo.torch
from columns import KINDS, Columns, read
from dlrm import DLRM
from logs import auc
from runs import Run, begin, read_logs, serve, shown

DIM = 16
# Features with few ids need fewer weights an id.
SHORT_DIMS = {
    **dict.fromkeys(("C6", "C9", "C14", "C17", "C20", "C22", "C23", "C25"), 8),
    **dict.fromkeys(("age", "occupation", "year", "genres"), 8),
    "gender": 4,
}
OPTIMIZERS = {
    "adagrad": damo.Adagrad,
    "rowwise_adagrad": damo.RowwiseAdagrad,
    "adam": damo.Adam,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("test", nargs="?")
    parser.add_argument(
        "--format", choices=KINDS, help="of both logs; told from their first lines when not given"
    )
    parser.add_argument("--out", type=Path, default=Path("dlrm-out"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adagrad", help="of the rows")
    parser.add_argument("--lr", type=float, default=5e-3, help="of the rows")
    parser.add_argument(
        "--dense-lr", type=float, default=1e-3, help="of the dense part, which has Adam"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache-bytes", type=int, default=256 << 20)
    parser.add_argument(
        "--resume", action="store_true", help="go on after the last checkpoint in --out"
    )
    return parser.parse_args()


def on_damo(storage: damo.Storage, log: Columns, options: argparse.Namespace) -> DLRM:
    torch.manual_seed(options.seed)
    optimizer = OPTIMIZERS[options.optimizer](lr=options.lr)
    tables = [
        damo.torch.TableConfig(
            name,
            SHORT_DIMS.get(name, DIM),
            optimizer,
            initializer=damo.Uniform(-0.05, 0.05, seed=options.seed),
            # The sum of a bag with one id is its row.
            pooling="mean" if name == log.names[-1] else "sum",
        )
        for name in log.names
    ]
    collection = damo.torch.EmbeddingBagCollection(storage, tables, include_last_offset=True)
    return DLRM(collection, log.numbers.shape[1], DIM)


def bags_of(log: Columns) -> dict[str, Any]:
    """What the collection takes: ids of shape (samples, 1), and (ids, offsets) of the bags."""
    ids = torch.from_numpy(log.ids)
    bags: dict[str, Any] = {name: ids[:, [at]] for at, name in enumerate(log.names[:-1])}
    bags[log.names[-1]] = torch.from_numpy(log.bags), torch.from_numpy(log.begins)
    return bags


class Batches:
    """Batches in an order that depends only on seed and epoch, so that a run can be resumed."""

    def __init__(self, log: Columns, size: int, epoch: int, seed: int) -> None:
        order = torch.randperm(
            len(log), generator=torch.Generator().manual_seed(seed * 1000 + epoch)
        )
        self._log, self._places = log, order.split(size)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, dict[str, Any], torch.Tensor]]:
        for places in self._places:
            batch = self._log.take(places.numpy())
            yield torch.from_numpy(batch.numbers), bags_of(batch), torch.from_numpy(batch.labels)


def train_epoch(
    model: DLRM, adam: torch.optim.Optimizer, batches: Iterable, title: str
) -> tuple[float, float]:
    """One epoch. Returns the mean loss and the samples per second."""
    model.train()
    total, samples, started = 0.0, 0, time.perf_counter()
    for numbers, bags, labels in shown(batches, title):
        adam.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(model(numbers, bags), labels)
        loss.backward()  # The rows have had their steps now.
        adam.step()
        total, samples = total + loss.item() * len(labels), samples + len(labels)
    return total / samples, samples / (time.perf_counter() - started)


@torch.no_grad()
def scores(model: torch.nn.Module, log: Columns, size: int = 8192) -> np.ndarray:
    model.eval()
    found = []
    for begin in range(0, len(log), size):
        part = log.part(slice(begin, begin + size))
        found.append(torch.sigmoid(model(torch.from_numpy(part.numbers), bags_of(part))))
    return torch.cat(found).numpy()


def main() -> None:
    options = arguments()
    train, test = read_logs("train_dlrm", options, read)
    print(
        f"{len(train)} samples to train on, {len(test)} to test, {train.numbers.shape[1]} numbers,"
        f" {train.ids.shape[1]} features with one id, and {train.names[-1]} with"
        f" {len(train.bags) / len(train):.1f} on average"
    )
    begin(options, test.labels)

    with damo.Storage(options.out / "table", cache_bytes=options.cache_bytes) as storage:
        model = on_damo(storage, train, options)
        adam = torch.optim.Adam(model.dense_parameters(), lr=options.dense_lr)
        run = Run(options, model, adam)
        for epoch in run.epochs():
            batches = Batches(train, options.batch, epoch, options.seed)
            ahead = damo.torch.Prefetch(batches, lambda batch: [(model.tables, batch[1])])
            loss, rate = train_epoch(model, adam, ahead, f"epoch {epoch}/{options.epochs}")
            run.end_epoch(epoch, loss, auc(test.labels, scores(model, test)), rate)
        expected = scores(model, test)
        run.end()
        ids = sum(len(table.rows) for table in model.tables.tables.values())
        rows = f"{ids} ids in {len(train.names)} tables"

    # The storage is closed. The rest is what a server does.
    if not serve(options.out / "serving", rows, lambda served: scores(served, test), expected):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
