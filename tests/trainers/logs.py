"""The click log that trainers run on: Frappe if it is there, or else one made from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRAIN, VALID, TEST = "train", "valid", "test"


@dataclass
class Log:
    """Samples with an id for each field, and a click or none. Ids of a field count from 0."""

    name: str
    sizes: list[int]
    """How many ids each field has."""
    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    """TRAIN, VALID, TEST: ids, int64 of shape (samples, fields), and clicks, float32 of 0 and 1."""
    near: float
    """How far apart AUCs may be where the formulas differ. The rates were chosen for Frappe."""

    def columns(self, part: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """A part as columns by name, f0, f1 and so on, and clicks."""
        ids, clicks = self.parts[part]
        return {f"f{field}": ids[:, field].copy() for field in range(ids.shape[1])}, clicks


def load(folder: Path | None, samples: int) -> Log:
    """That many samples to train on; half as many to choose the best epoch, and to test."""
    path = None if folder is None else folder / "frappe.train.libfm"
    if path is None or not path.exists():
        where = "no folder with data is given" if path is None else f"{path} is not there"
        print(f"{where}: the log is made from a seed (--data FOLDER, or DAMO_TEST_DATA)")
        return _cut("made from a seed", *_made(2 * samples), samples, near=0.05)
    return _cut("Frappe", *_read(path, 2 * samples), samples, near=0.01)


def _read(path: Path, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a libFM file whose lines all have the same fields: the first ones of a shuffle."""
    rows, clicks = [], []
    with open(path, encoding="ascii") as file:
        for line in file:
            label, *features = line.split()
            clicks.append(float(label) > 0)
            rows.append([int(feature.partition(":")[0]) for feature in features])
    chosen = np.random.default_rng(1).permutation(len(rows))[:samples]
    return np.asarray(rows, np.int64)[chosen], np.asarray(clicks, np.float32)[chosen]


def _made(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Clicks that depend on pairs of fields, with few frequent ids and many rare ones."""
    draw = np.random.default_rng(1)
    sizes = (400, 800, 7, 7, 2, 9, 3, 2, 80, 200)
    ids = np.stack([np.minimum(draw.zipf(1.3, samples) - 1, size - 1) for size in sizes], 1)
    factors = [draw.normal(0, 0.7, (size, 4)) for size in sizes]
    taken = np.stack([table[ids[:, field]] for field, table in enumerate(factors)], 1)
    scores = (taken.sum(1) ** 2 - (taken**2).sum(1)).sum(1)
    return ids.astype(np.int64), (scores > np.median(scores)).astype(np.float32)


def _cut(name: str, ids: np.ndarray, clicks: np.ndarray, samples: int, near: float) -> Log:
    numbered = [np.unique(column, return_inverse=True) for column in ids.T]
    sizes = [len(known) for known, _ in numbered]
    places = np.stack([place for _, place in numbered], 1).astype(np.int64)
    ends = (0, samples, samples + samples // 2, len(clicks))
    parts = {
        part: (places[begin:end], clicks[begin:end])
        for part, begin, end in zip((TRAIN, VALID, TEST), ends, ends[1:])
    }
    return Log(name, sizes, parts, near)
