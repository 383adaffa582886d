"""What the trainers share: reading logs, the folder --out, the epochs, the plot, and serving."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, Callable, Iterable, Optional

import numpy as np
import torch

import damo.torch
import logs
from text_file import InputError

try:
    from tqdm import tqdm
except ImportError:

    def tqdm(iterable, **_options):
        return iterable


def shown(batches: Iterable, title: str) -> Iterable:
    """batches, with a bar of progress on a terminal if tqdm is installed."""
    return tqdm(batches, desc=title, unit="batch", leave=False, disable=not sys.stderr.isatty())


def read_logs(
    program: str, options: argparse.Namespace, read: logs.Reader = logs.read
) -> tuple[Any, Any]:
    """The training and the test log. Ends the program with code 2 if a log is refused."""
    try:
        return logs.read_split(options.train, options.test, options.format, read)
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def clear(folder: Path) -> None:
    """Removes what an earlier run has left in the folder, and nothing else."""
    for place in [folder / "table", folder / "serving", folder / "checkpoint"]:
        if place.exists():
            shutil.rmtree(place)


def begin(options: argparse.Namespace, held_out: np.ndarray) -> None:
    """Makes --out ready: removes what an earlier run has left, or with --resume keeps it.

    Ends the program if --resume finds no checkpoint. held_out: the labels to test on. Prints a line
    if all are the same.
    """
    if not 0 < held_out.mean() < 1:
        print("all held-out samples have the same label, so there is no AUC")
    if not options.resume:
        clear(options.out)
    elif not (options.out / "checkpoint").exists():
        raise SystemExit(f"{options.out} has no checkpoint to go on from")
    options.out.mkdir(parents=True, exist_ok=True)


def epoch_line(epoch: int, epochs: int, loss: float, found: Optional[float], rate: float) -> str:
    """What is shown of an epoch. found: the AUC, or None."""
    return (
        f"epoch {epoch}/{epochs}  train log-loss {loss:.4f}  "
        f"test AUC {logs.show_auc(found)}  {rate:.0f} samples/s"
    )


class Run:
    """The epochs of a model whose rows are in damo, with a checkpoint after each.

    curve: what the epochs so far have measured. optimizer: that of the dense part.
    """

    def __init__(
        self, options: argparse.Namespace, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._options, self._model, self._optimizer = options, model, optimizer
        self._checkpoint = options.out / "checkpoint"
        self._done = 0
        self.curve: list[dict[str, Any]] = []
        if options.resume:
            # A checkpoint has rows and dense part of one moment, even if the run was killed.
            found = damo.torch.load_checkpoint(self._checkpoint, model, optimizer)
            self._done, self.curve = found["epoch"], found["curve"]

    def epochs(self) -> range:
        """The epochs that are left."""
        return range(self._done + 1, self._options.epochs + 1)

    def end_epoch(self, epoch: int, loss: float, found: Optional[float], rate: float) -> None:
        """Shows what an epoch has measured, and makes its checkpoint. found: the AUC, or None."""
        self.curve.append({"epoch": epoch, "loss": loss, "auc": found, "rate": rate})
        print(epoch_line(epoch, self._options.epochs, loss, found, rate))
        damo.torch.save_checkpoint(
            self._model, self._optimizer, self._checkpoint, epoch=epoch, curve=self.curve
        )

    def end(self) -> None:
        """Plots the curve, and saves the model for serving."""
        plot(self._options.out / "curve.png", self.curve, Path(self._options.train).name)
        shutil.rmtree(self._options.out / "serving", ignore_errors=True)
        damo.torch.save_for_serving(self._model, self._options.out / "serving")


def serve(
    folder: Path,
    rows: str,
    scores: Callable[[torch.nn.Module], np.ndarray],
    expected: np.ndarray,
) -> bool:
    """Loads the model in folder as a server does, and returns whether its scores are right.

    rows: how many rows it has, in words, for the message. expected: the right scores.
    """
    served = damo.torch.load_for_serving(folder)
    is_equal = np.array_equal(scores(served), expected)
    print(f"served from {folder}: {rows}, scores {'equal' if is_equal else 'NOT equal'}")
    return is_equal


def plot(path: Path, curve: list, title: str) -> None:
    """Writes a plot of the AUC, the loss and the rate of each epoch."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    epochs = [point["epoch"] for point in curve]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    # A point without an AUC leaves a gap.
    left.plot(
        epochs,
        [float("nan") if point["auc"] is None else point["auc"] for point in curve],
        "o-",
        label="test AUC",
    )
    left.set(xlabel="epoch", ylabel="test AUC", title=title)
    loss = left.twinx()
    loss.plot(epochs, [point["loss"] for point in curve], "s--", color="tab:orange")
    loss.set_ylabel("train log-loss (dashed)")
    right.bar(epochs, [point["rate"] / 1000 for point in curve])
    right.set(xlabel="epoch", ylabel="thousand samples a second", title="training throughput")
    for axes in (left, right):
        axes.set_xticks(epochs)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
