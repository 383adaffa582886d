"""The program "gpu" of worker.py: a model whose dense part is on a GPU and whose rows are in damo,
beside the same model with all rows on the GPU.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from layers import GRADIENT, OfRows, Step, keys_in_memory, load_damo, open_storage, rate
from measure import bytes_on_disk
from selfcheck import SelfCheck
from systems import INITIAL_STDDEV, LEARNING_RATE
from task import CHECKED_STEPS, Task, memory_from_here, progress, rare_keys
from workload import FIELDS, SAMPLES

# What is timed.
DAMO_GPU_IDS, DAMO_CPU_IDS = "damo, ids on the GPU", "damo, ids in memory"
ALL_GPU, DENSE = "torch.nn.Embedding + SparseAdam, all on the GPU", "the dense part alone"
ROWS = "damo's rows alone, one layer"


def gpu(task: Task, report: dict[str, Any]) -> None:
    """Steps of each kind a second. The kinds take turns within the process."""
    damo = load_damo(task)
    import torch

    device = task["device"]
    if device == "cuda" and not torch.cuda.is_available():
        report["absent"] = (
            f"no GPU: torch {torch.__version__} says that torch.cuda.is_available() is False"
        )
        return
    name = torch.cuda.get_device_name() if device == "cuda" else device
    report["notes"] = f"torch {torch.__version__}, {name}, {torch.get_num_threads()} threads"
    batches = keys_in_memory(task)
    memory_from_here(report)
    storage = open_storage(task, damo)
    model = Model(task, damo, storage)
    steps = model.steps()
    check = SelfCheck(OfRows(model.layer.rows), rare_keys(task), task["dim"])
    for keys in batches[:CHECKED_STEPS]:
        check.applied(keys, model.checked_step(keys))
    report["self_check"] = check.compare()
    for keys in batches:
        for step in steps.values():
            step(keys)
        progress(task, 0, 0)

    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(task["slices"]):
        for name, step in steps.items():
            rates[name].append(rate(step, batches, task["seconds"], finish))
    report["figures"] = {name: statistics.median(found) for name, found in rates.items()}
    before = time.perf_counter()
    storage.close()
    report["close_seconds"] = time.perf_counter() - before
    report["disk_bytes"] = bytes_on_disk(Path(task["directory"]))


class Model:
    """Three linear layers on the device, whose input are the rows of a sample."""

    def __init__(self, task: Task, damo: Any, storage: Any) -> None:
        import torch

        self._device, self._dim, dim = task["device"], task["dim"], task["dim"]
        torch.manual_seed(0)
        self._labels = (torch.rand(SAMPLES, 1) < 0.3).float().to(self._device)
        self._loss = torch.nn.BCEWithLogitsLoss()
        self._dense = torch.nn.Sequential(
            torch.nn.Linear(FIELDS * dim, 1024),
            torch.nn.ReLU(),
            torch.nn.Linear(1024, 512),
            torch.nn.ReLU(),
            torch.nn.Linear(512, 1),
        ).to(self._device)
        self._input = torch.randn(SAMPLES, FIELDS * dim, device=self._device)
        self._adam = torch.optim.Adam(self._dense.parameters(), LEARNING_RATE)
        self.layer = damo.torch.Embedding(
            storage,
            "rows",
            dim,
            optimizer=damo.Adam(lr=LEARNING_RATE),
            initializer=damo.Normal(stddev=INITIAL_STDDEV),
        )
        self._table = torch.nn.Embedding(task["ids"], dim, sparse=True, device=self._device)
        self._sparse_adam = torch.optim.SparseAdam(self._table.parameters(), LEARNING_RATE)

    def steps(self) -> dict[str, Step]:
        return {
            DAMO_GPU_IDS: lambda keys: self._damo_step(self._ids(keys).to(self._device)),
            DAMO_CPU_IDS: lambda keys: self._damo_step(self._ids(keys)),
            ALL_GPU: self._all_on_device,
            DENSE: lambda _: self._train(self._input),
            ROWS: self._rows_alone,
        }

    def checked_step(self, keys: np.ndarray) -> np.ndarray:
        """A step of damo's rows, and the gradients that they got."""
        found = self.layer(self._ids(keys))
        found.retain_grad()
        self._train(found.to(self._device).reshape(SAMPLES, -1))
        return found.grad.reshape(keys.size, self._dim).numpy()

    @staticmethod
    def _ids(keys: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(keys).reshape(SAMPLES, FIELDS)

    def _damo_step(self, ids: Any) -> None:
        self._train(self.layer(ids).to(self._device).reshape(SAMPLES, -1))

    def _all_on_device(self, keys: np.ndarray) -> None:
        self._sparse_adam.zero_grad(set_to_none=True)
        self._train(self._table(self._ids(keys).to(self._device)).reshape(SAMPLES, -1))
        self._sparse_adam.step()

    def _rows_alone(self, keys: np.ndarray) -> None:
        import torch

        found = self.layer(self._ids(keys))
        found.backward(torch.full_like(found, GRADIENT))

    def _train(self, rows: Any) -> None:
        """Forward, backward, and a step of the dense part."""
        self._adam.zero_grad(set_to_none=True)
        self._loss(self._dense(rows), self._labels).backward()
        self._adam.step()
