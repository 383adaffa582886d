"""What a run of a trainer shows and leaves: progress, a plot, and the folders of --out."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Iterable

try:
    from tqdm import tqdm
except ImportError:

    def tqdm(iterable, **_options):
        return iterable


def shown(batches: Iterable, title: str) -> Iterable:
    """batches, with a bar of progress on a terminal if tqdm is installed."""
    return tqdm(batches, desc=title, unit="batch", leave=False, disable=not sys.stderr.isatty())


def clear(folder: Path) -> None:
    """Removes what an earlier run has left in the folder, and nothing else."""
    for place in [folder / "table", folder / "serving", folder / "checkpoint"]:
        if place.exists():
            shutil.rmtree(place)


def plot(path: Path, curve: list, title: str) -> None:
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
