"""The program "dlrm" of worker.py: a step of a DLRM with 26 tables, some of whose features have
many ids a sample. The tables are damo's collection or layers, torch's, or FBGEMM's.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from layers import keys_in_memory, load_damo, open_storage
from measure import bytes_on_disk, wait_for_rest
from systems import (
    ADAGRAD_EPSILON,
    ADAGRAD_LEARNING_RATE,
    BETA1,
    BETA2,
    EPSILON,
    INITIAL_STDDEV,
    LEARNING_RATE,
)
from task import CHECKED_STEPS, Task, memory_from_here, progress
from workload import BATCH

COLLECTION, LAYERS = "damo, one collection", "damo, 26 layers"
TORCH, FBGEMM = "torch.nn.EmbeddingBag + SparseAdam", "FBGEMM, 26 tables"
DENSE = "the dense part alone"

NUMBERS = 13
# The ids a sample of each feature, on average. They are BATCH for SAMPLES.
SIZES = (1,) * 20 + (2, 4, 4, 6, 8, 8)
SAMPLES = BATCH // sum(SIZES)
NAMES = tuple(f"f{number}" for number in range(len(SIZES)))
# Ids of a table of the self-check. All of them are in every batch, so that optimizers that count
# steps of a row, or of a table, count alike.
CHECKED_IDS = 50
# SparseAdam adds epsilon before the bias correction, so that another one than a tiny epsilon would
# matter for small gradients.
CHECKED_EPSILON = 1e-14
# Of the largest change of a bag.
TOLERANCE = 1e-3
CHUNK = 1 << 17


class Batch:
    """Keys, one feature after another, in bags; numbers and labels."""

    def __init__(self, keys: np.ndarray, number: int, ids: int) -> None:
        rng = np.random.default_rng(number)
        self.keys = torch.from_numpy(keys % ids)
        self.numbers = torch.from_numpy(rng.standard_normal((SAMPLES, NUMBERS), np.float32))
        self.labels = torch.from_numpy((rng.random(SAMPLES) < 0.3).astype(np.float32))
        # For torch.nn.EmbeddingBag and damo: ids of shape (samples, 1), or ids and offsets.
        self.bags: dict[str, Any] = {}
        begins, first = [], 0
        for name, size in zip(NAMES, SIZES):
            count = SAMPLES * size
            part = self.keys[first : first + count]
            offsets = np.arange(SAMPLES)
            if size > 1:
                # Bags of all sizes, also empty ones.
                offsets = np.sort(rng.integers(0, count + 1, SAMPLES))
                offsets[0] = 0
            self.bags[name] = part.view(-1, 1) if size == 1 else (part, torch.from_numpy(offsets))
            begins.append(offsets + first)
            first += count
        # For FBGEMM: where the bags of all features begin in the keys, and their end.
        self.begins = torch.from_numpy(np.concatenate([*begins, [first]]))


class Layers(nn.Module):
    """A layer for each table, each called by itself."""

    def __init__(self, layers: dict[str, nn.Module], dim: int) -> None:
        super().__init__()
        self.layers, self.dims = nn.ModuleDict(layers), dict.fromkeys(layers, dim)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {
            name: self.layers[name](*(given if isinstance(given, tuple) else (given,)))
            for name, given in batch.bags.items()
        }


class Collection(nn.Module):
    """damo's collection of all tables."""

    def __init__(self, damo: Any, tables: list[Any]) -> None:
        super().__init__()
        configs = [
            damo.torch.TableConfig(name, rows=rows, pooling="sum")
            for name, rows in zip(NAMES, tables)
        ]
        self.tables = damo.torch.EmbeddingBagCollection(tables[0].storage, configs)
        self.dims = self.tables.dims

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self.tables(batch.bags)


class Fbgemm(nn.Module):
    """FBGEMM's tables in one, with row-wise Adagrad in the backward pass."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        super().__init__()
        from fbgemm_gpu.split_embedding_configs import EmbOptimType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import (
            EmbeddingLocation,
            PoolingMode,
        )
        from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
            ComputeDevice,
            SplitTableBatchedEmbeddingBagsCodegen,
        )

        where = EmbeddingLocation.HOST, ComputeDevice.CPU
        self.tables = SplitTableBatchedEmbeddingBagsCodegen(
            [(*table.shape, *where) for table in weights],
            optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
            learning_rate=ADAGRAD_LEARNING_RATE,
            eps=ADAGRAD_EPSILON,
            pooling_mode=PoolingMode.SUM,
        )
        for table, weight in zip(self.tables.split_embedding_weights(), weights):
            table.data.copy_(weight)
        self.dims = dict.fromkeys(NAMES, weights[0].shape[1])

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        rows = self.tables(batch.keys, batch.begins)
        return dict(zip(NAMES, rows.split(list(self.dims.values()), 1)))


class NoTables(nn.Module):
    """Rows that are there already: what is left is the dense part."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dims = dict.fromkeys(NAMES, dim)
        self._rows = {name: torch.randn(SAMPLES, dim, requires_grad=True) for name in NAMES}

    def forward(self, _batch: Batch) -> dict[str, torch.Tensor]:
        return self._rows


class Model:
    """The DLRM of examples/python on some tables. Adam steps the dense part."""

    def __init__(self, tables: nn.Module, optimizers: tuple[Any, ...] = ()) -> None:
        from dlrm import DLRM

        torch.manual_seed(1)
        self._net = DLRM(tables, NUMBERS)
        dense = torch.optim.Adam(self._net.dense_parameters(), lr=LEARNING_RATE)
        self._optimizers = (dense, *optimizers)

    @torch.no_grad()
    def rows(self, batch: Batch) -> torch.Tensor:
        """The bags of all features, side by side."""
        return torch.cat([bags.clone() for bags in self._net.tables(batch).values()], 1)

    def step(self, batch: Batch) -> torch.Tensor:
        """Returns the loss before the step."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        logits = self._net(batch.numbers, batch)
        loss = functional.binary_cross_entropy_with_logits(logits, batch.labels)
        loss.backward()
        for optimizer in self._optimizers:
            optimizer.step()
        return loss.detach()


def models(task: Task, damo: Any, storage: Any, ids: int, epsilon: float) -> dict[str, Model]:
    """The models of a comparison, all with the same first weights. All rows are made.

    epsilon: of adam.
    """
    torch.manual_seed(2)
    weights = [torch.randn(ids, task["dim"]) * INITIAL_STDDEV for _ in NAMES]
    is_adam = task["beside"] == "torch"
    optimizer = (
        damo.Adam(lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=epsilon)
        if is_adam
        else damo.RowwiseAdagrad(lr=ADAGRAD_LEARNING_RATE, eps=ADAGRAD_EPSILON)
    )

    def rows(kind: str) -> list[Any]:
        made = []
        for name, table in zip(NAMES, weights):
            embedding = storage.embedding(
                f"{kind} {name} of {ids}", dim=task["dim"], optimizer=optimizer, duplicates="sum"
            )
            for begin in range(0, ids, CHUNK):
                part = table[begin : begin + CHUNK]
                embedding.insert(np.arange(begin, begin + len(part)), part.numpy())
            made.append(embedding)
        return made

    found = {COLLECTION: Model(Collection(damo, rows("collection")))}
    if not is_adam:
        return {**found, FBGEMM: Model(Fbgemm(weights))}
    layers = [damo.torch.EmbeddingBag(each, mode="sum") for each in rows("layer")]
    found[LAYERS] = Model(Layers(dict(zip(NAMES, layers)), task["dim"]))
    bags = [
        nn.EmbeddingBag.from_pretrained(table, freeze=False, mode="sum", sparse=True)
        for table in weights
    ]
    sparse_adam = torch.optim.SparseAdam(
        [bag.weight for bag in bags], lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=epsilon
    )
    found[TORCH] = Model(Layers(dict(zip(NAMES, bags)), task["dim"]), (sparse_adam,))
    return found


def checked(made: dict[str, Model], batches: list[np.ndarray]) -> dict[str, Any]:
    """Whether all models have learnt the same rows in some steps."""
    given = [Batch(keys, number, CHECKED_IDS) for number, keys in enumerate(batches)]
    given = given[:CHECKED_STEPS]
    first = {name: model.rows(given[0]) for name, model in made.items()}
    losses = {name: [float(model.step(batch)) for batch in given] for name, model in made.items()}
    last = {name: model.rows(given[0]) for name, model in made.items()}
    # Of the largest change.
    change = float((last[COLLECTION] - first[COLLECTION]).abs().max())
    error = max(float((rows - last[COLLECTION]).abs().max()) for rows in last.values()) / change
    same_start = all(torch.equal(rows, first[COLLECTION]) for rows in first.values())
    return {
        "rows": CHECKED_IDS * len(NAMES),
        "row_steps": CHECKED_IDS * len(NAMES) * len(given),
        "losses": losses,
        "error": error,
        "passed": same_start and error <= TOLERANCE,
    }


@dataclass
class Slice:
    steps: int
    rate: float
    """Steps a second."""
    cpu_ms: float
    """Milliseconds of processor time a step, on all cores together."""


def slice_of(
    step: Callable[[Batch], object], batches: list[Batch], first: int, seconds: float
) -> Slice:
    """Steps for some seconds. Batches go on from the first."""
    done, before, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - before < seconds or done == 0:
        step(batches[(first + done) % len(batches)])
        done += 1
    wall = time.perf_counter() - before
    return Slice(done, done / wall, 1e3 * (time.process_time() - cpu) / done)


def dlrm(task: Task, report: dict[str, Any]) -> None:
    """Steps of each kind a second. The kinds take turns within the process; every second slice goes
    backwards.
    """
    sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "python"))
    damo = load_damo(task)
    keys = keys_in_memory(task)
    report["notes"] = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    ids = task["ids"]
    batches = [Batch(each, number, ids) for number, each in enumerate(keys)]
    memory_from_here(report)
    storage = open_storage(task, damo)
    small = models(task, damo, storage, CHECKED_IDS, CHECKED_EPSILON)
    report["self_check"] = checked(small, keys)
    made = models(task, damo, storage, ids, EPSILON)
    made[DENSE] = Model(NoTables(task["dim"]))
    storage.flush()
    report["at_rest_after_seconds"] = wait_for_rest(120)
    steps = dict.fromkeys(made, 0)
    slices: dict[str, list[Slice]] = {name: [] for name in made}
    for number in range(task["slices"] + 1):
        order = list(made.items())
        for name, model in order if number % 2 else reversed(order):
            found = slice_of(model.step, batches, steps[name], task["seconds"])
            steps[name] += found.steps
            # The first slice warms up.
            if number:
                slices[name].append(found)
        progress(task, number, 0)
    report["steps"], report["batches"] = steps, len(batches)
    report["slices"] = {name: list(map(asdict, found)) for name, found in slices.items()}
    report["figures"] = {
        name: statistics.median(one.rate for one in found) for name, found in slices.items()
    }
    for name, theirs in slices.items():
        pairs = list(zip(slices[COLLECTION], theirs))
        report["figures"][share(name)] = statistics.median(a.rate / b.rate for a, b in pairs)
        report["figures"][cpu_share(name)] = statistics.median(
            b.cpu_ms / a.cpu_ms for a, b in pairs
        )
    before = time.perf_counter()
    storage.close()
    report["close_seconds"] = time.perf_counter() - before
    report["disk_bytes"] = bytes_on_disk(Path(task["directory"]))


def share(name: str) -> str:
    """The name of the figure that says how many times as fast the collection is."""
    return f"{COLLECTION} ÷ {name}"


def cpu_share(name: str) -> str:
    """As share, in steps for each second of processor time."""
    return f"{share(name)}, processor time"
