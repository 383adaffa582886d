"""Runs one program on torch's embedding and on damo's, and compares the scores."""

from __future__ import annotations

import contextlib
import inspect
import io
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator

import damo
import numpy as np
import torch
from logs import TEST, Log

DIGITS, AUC = "the same digits", "AUC"
"""What is required: scores within 1e-5 and four digits of the AUC; or an AUC within Log.near."""
SMOOTH = torch.nn.GELU
"""In place of ReLU, whose kink can make a rounding error as large as 1e-2 (docs/trainers.md)."""
MARK = "# damo"
"""The end of each line of a program that damo needs."""


@dataclass
class Check:
    """A program that trains with a storage or without, and returns scores of the test part."""

    name: str
    program: Callable[[Log, "damo.Storage | None", str], np.ndarray]
    """Its arguments are the log, a storage or None, and a folder of its own."""
    asked: str
    sources: tuple[Callable[..., Any], ...]
    """The functions and classes of the program, whose marked lines are counted."""


@dataclass
class Result:
    check: Check
    torch_auc: float
    damo_auc: float
    apart: float
    """The largest difference of two scores."""
    near: float
    """How far apart the AUCs may be."""
    lines: int
    """Lines of the program that damo needs."""
    seconds: float

    @property
    def asked(self) -> str:
        return f"AUC within {self.near:g}" if self.check.asked == AUC else self.check.asked

    @property
    def holds(self) -> bool:
        if self.check.asked == AUC:
            return abs(self.torch_auc - self.damo_auc) <= self.near
        return self.apart <= 1e-5 and f"{self.torch_auc:.4f}" == f"{self.damo_auc:.4f}"


def run(check: Check, log: Log, scratch: str | None) -> Result:
    """Raises what the program raises; the attribute `said` has what it printed."""
    begun = time.monotonic()
    scores = []
    for on_damo in (False, True):
        with _quiet(), _folder(scratch) as folder, contextlib.ExitStack() as stack:
            storage = None
            if on_damo:
                storage = stack.enter_context(damo.Storage(f"{folder}/rows", cache_bytes=1 << 26))
            torch.manual_seed(1)
            np.random.seed(1)
            scores.append(np.asarray(check.program(log, storage, folder), np.float64).reshape(-1))
    clicks = log.parts[TEST][1]
    return Result(
        check,
        *(auc(one, clicks) for one in scores),
        apart=float(np.abs(scores[0] - scores[1]).max()),
        near=log.near,
        lines=sum(_marked(part) for part in check.sources),
        seconds=time.monotonic() - begun,
    )


def auc(scores: np.ndarray, clicks: np.ndarray) -> float:
    """The chance that a click scores higher than a non-click. Equal scores count half."""
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive = clicks > 0.5
    hits = int(positive.sum())
    best = ranks[positive].sum() - hits * (hits + 1) / 2
    return float(best / (hits * (len(clicks) - hits)))


def _marked(part: Callable[..., Any]) -> int:
    return sum(line.rstrip().endswith(MARK) for line in inspect.getsource(part).splitlines())


@contextlib.contextmanager
def _folder(scratch: str | None) -> Iterator[str]:
    made = tempfile.mkdtemp(prefix="damo-trainers-", dir=scratch)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what trainers print, which is shown only if they fail."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except Exception as error:
        error.said = said.getvalue()[-2000:]
        raise
