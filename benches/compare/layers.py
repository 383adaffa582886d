"""The program "layers" of worker.py: damo.torch.Embedding beside the calls that it makes."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from measure import bytes_on_disk
from selfcheck import SelfCheck
from systems import INITIAL_STDDEV, LEARNING_RATE, System
from task import Task, memory_from_here, progress, rare_keys
from workload import BATCH, FIELDS, SAMPLES, Batches

GRADIENT = 1e-3
# What is timed. The first two are what the others are compared with.
CALLS, SMALL_CALLS = "the two calls", f"2 x {FIELDS} calls of {SAMPLES:,} keys"
BETWEEN = "the two calls, an operation of PyTorch's between them"
LAYER, LAYERS = "one layer", f"{FIELDS} layers"
SHARES = ((LAYER, CALLS), (BETWEEN, CALLS), (LAYERS, CALLS), (LAYERS, SMALL_CALLS))

Step = Callable[[np.ndarray], object]


def load_damo(task: Task) -> Any:
    """The checkout's package, with the library that is compared."""
    os.environ["DAMO_LIBRARY"] = task["options"]["library"]
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
    import damo.torch

    return damo


def open_storage(task: Task, damo: Any) -> Any:
    Path(task["directory"]).mkdir(parents=True, exist_ok=True)
    return damo.Storage(
        task["directory"],
        durability=task["options"]["durability"],
        cache_bytes=task["options"]["cache_bytes"],
    )


def keys_in_memory(task: Task) -> list[np.ndarray]:
    batches = Batches(Path(task["batches"]), task["mixed"])
    return [batches[i] for i in range(batches.count)]


class OfRows(System):
    """What a self-check asks, about a damo.Embedding."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def lookup(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self._rows.lookup(keys, out=weights)


def layers(task: Task, report: dict[str, Any]) -> None:
    """Steps of each kind a second, and the layers' share of the calls' rate. The kinds take turns
    within the process.
    """
    damo = load_damo(task)
    import torch

    batches = keys_in_memory(task)
    memory_from_here(report)
    lent = damo.torch.use_torch_threads(task["lent"])
    if task["lent"] and not lent:
        report["absent"] = "PyTorch's threads cannot be lent: they are not OpenMP's"
        return
    report["notes"] = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    storage = open_storage(task, damo)
    steps, check = kinds(task, damo, storage)
    # The first pass makes the rows, and the check follows the layer.
    for keys in batches:
        for step in steps.values():
            step(keys)
        check.applied(keys, np.full((keys.size, task["dim"]), GRADIENT, np.float32))
        progress(task, 0, 0)
    report["self_check"] = check.compare()

    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(task["slices"]):
        for name, step in steps.items():
            rates[name].append(rate(step, batches, task["seconds"]))
    report["figures"] = {name: statistics.median(found) for name, found in rates.items()}
    for of, base in SHARES:
        shares = [ours / calls for ours, calls in zip(rates[of], rates[base])]
        report["figures"][share(of, base)] = statistics.median(shares)
    before = time.perf_counter()
    storage.close()
    report["close_seconds"] = time.perf_counter() - before
    report["disk_bytes"] = bytes_on_disk(Path(task["directory"]))


def share(of: str, base: str) -> str:
    return f"{of} ÷ {base}"


def rate(
    step: Step,
    batches: list[np.ndarray],
    seconds: float,
    finish: Callable[[], object] = lambda: None,
) -> float:
    """Steps a second, without a pause between them. finish waits for what they have begun."""
    finish()
    done, before = 0, time.perf_counter()
    while time.perf_counter() - before < seconds or done == 0:
        step(batches[done % len(batches)])
        done += 1
    finish()
    return done / (time.perf_counter() - before)


def kinds(task: Task, damo: Any, storage: Any) -> tuple[dict[str, Step], SelfCheck]:
    """A step of each kind, on rows of its own, and a check that follows the one layer."""
    import torch

    dim, adam = task["dim"], damo.Adam(lr=LEARNING_RATE)
    weights = np.empty((BATCH, dim), np.float32)
    gradients = np.full_like(weights, GRADIENT)
    like = torch.from_numpy(weights)
    first = {"optimizer": adam, "initializer": damo.Normal(stddev=INITIAL_STDDEV)}

    def rows(name: str) -> Any:
        return storage.embedding(name, dim=dim, duplicates="sum", **first)

    bare, between = rows("bare"), rows("between")
    small = [rows(f"small {field}") for field in range(FIELDS)]
    layer = damo.torch.Embedding(storage, "layer", dim, **first)
    many = [damo.torch.Embedding(storage, f"layer {i}", dim, **first) for i in range(FIELDS)]

    def calls(keys: np.ndarray) -> None:
        bare.lookup(keys, out=weights)
        bare.apply_gradients(keys, gradients)

    def calls_between(keys: np.ndarray) -> None:
        between.lookup(keys, out=weights)
        between.apply_gradients(keys, torch.full_like(like, GRADIENT).numpy())

    def small_calls(keys: np.ndarray) -> None:
        columns = np.ascontiguousarray(keys.reshape(SAMPLES, FIELDS).T)
        for column, table in zip(columns, small):
            table.lookup(column, out=weights[:SAMPLES])
        for column, table in zip(columns, small):
            table.apply_gradients(column, gradients[:SAMPLES])

    def one_layer(keys: np.ndarray) -> None:
        found = layer(torch.from_numpy(keys).reshape(SAMPLES, FIELDS))
        found.backward(torch.full_like(found, GRADIENT))

    def many_layers(keys: np.ndarray) -> None:
        ids = torch.from_numpy(keys).reshape(SAMPLES, FIELDS)
        found = torch.cat([layer(ids[:, field]) for field, layer in enumerate(many)], 1)
        found.backward(torch.full_like(found, GRADIENT))

    steps = {
        CALLS: calls,
        BETWEEN: calls_between,
        LAYER: one_layer,
        SMALL_CALLS: small_calls,
        LAYERS: many_layers,
    }
    return steps, SelfCheck(OfRows(layer.rows), rare_keys(task), dim)
