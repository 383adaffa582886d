"""Steps that leave exact traces, and what the traces in a table say.

Step s touches a known set of keys and adds 1 to column s modulo dim of each of their rows. So a row
says how many steps of each kind it has seen, in whole numbers, and a table that has the steps 1 to
s has one exact content. A few keys, the clock, are touched by every step.

The optimizer is adam with a rate of 1 and without memory (both betas 0): a gradient of -1 moves a
weight by exactly 1, and one of 0 leaves it. The moments are there all the same, and are written and
read as in any training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workload import mix

CLOCK = 4


@dataclass(frozen=True)
class Steps:
    """What each step does: a function of the seed and the step's number."""

    seed: int
    ids: int
    dim: int
    batch: int

    @property
    def all_keys(self) -> np.ndarray:
        """From 1: damo-embedding 1.1 keeps no row for 0."""
        return np.arange(1, self.ids + 1, dtype=np.int64)

    def keys(self, step: int) -> np.ndarray:
        """Distinct keys in order: the clock, spread over all ids, and others; a few less than
        batch.
        """
        first = (self.seed << 44) + step * self.batch
        drawn = mix(np.arange(first, first + self.batch - CLOCK)).view(np.uint64) % np.uint64(
            self.ids
        )
        clock = np.linspace(1, self.ids, CLOCK).astype(np.int64)
        return np.unique(np.concatenate([clock, drawn.astype(np.int64) + 1]))

    def gradients(self, step: int, rows: int) -> np.ndarray:
        gradients = np.zeros((rows, self.dim), np.float32)
        gradients[:, step % self.dim] = -1
        return gradients


@dataclass
class Verdict:
    """Which of the steps that were acknowledged before the kill a table that was read back has."""

    # Acknowledged steps that are in none of their rows.
    lost: int
    # Steps that are in some of their rows and not in others.
    torn: int
    # Lost or torn steps that the way had promised to keep.
    broken: int
    # Rows that have more steps of a kind than were made.
    doubled_rows: int
    # Other rows that no beginning of the steps leaves: numbers that never were.
    strange_rows: int
    # The last step there, when the table is exactly what the steps up to it leave.
    whole_until: int | None


class History:
    """The tables that training can have left, to compare one that was read back with."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        # The last table that was found whole, and its last step.
        self._counts = np.zeros((steps.ids, steps.dim), np.int64)
        self.until = 0

    def judge(self, rows: np.ndarray, acknowledged: int, promised: int) -> Verdict:
        """Judges a table after a kill: steps to `acknowledged` had returned, the next one may have
        begun.
        """
        whole = np.isfinite(rows) & (rows >= 0) & (rows == np.rint(rows))
        strange = ~whole.all(axis=1)
        counts = np.where(strange[:, None], 0, np.where(whole, rows, 0)).astype(np.int64)
        seen = counts.sum(axis=1)

        base, first = self._counts, self.until + 1
        if ((seen < base.sum(axis=1)) & ~strange).any():  # a row is older than the last whole table
            base, first = np.zeros_like(base), 1
        touched, made_by = self._touches(first, acknowledged + 1)
        # The n-th touch of a row is in it when the row has seen so many.
        included = rank_within(touched) < (seen - base.sum(axis=1))[touched]

        expected = base + self._tally(touched[included], made_by[included])
        odd = strange | (expected != counts).any(axis=1)
        doubled = odd & ~strange & (counts > base + self._tally(touched, made_by)).any(axis=1)
        # Rows that are wrong by themselves do not make steps torn.
        included |= odd[touched]

        numbers = np.arange(first, acknowledged + 2)
        size = np.bincount(made_by - first, minlength=numbers.size)
        present = np.bincount(made_by[included] - first, minlength=numbers.size)
        absent, torn = present == 0, (present > 0) & (present < size)
        last = int(numbers[present == size].max(initial=first - 1))
        no_step_between = not absent[numbers <= last].any()
        is_whole = not odd.any() and not torn.any() and no_step_between
        if is_whole:
            self._counts, self.until = counts, last
        return Verdict(
            lost=int((absent & (numbers <= acknowledged)).sum()),
            torn=int(torn.sum()),
            broken=int(((absent | torn) & (numbers <= promised)).sum()),
            doubled_rows=int(doubled.sum()),
            strange_rows=int((odd & ~doubled).sum()),
            whole_until=last if is_whole else None,
        )

    def _touches(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows touched by the steps first to last, in order, and by which."""
        keys = [self._steps.keys(step) for step in range(first, last + 1)]
        made_by = np.repeat(np.arange(first, last + 1), [batch.size for batch in keys])
        return np.concatenate(keys) - 1, made_by

    def _tally(self, touched: np.ndarray, made_by: np.ndarray) -> np.ndarray:
        """What these touches add to the table."""
        dim = self._steps.dim
        return np.bincount(touched * dim + made_by % dim, minlength=self._counts.size).reshape(
            -1, dim
        )


def rank_within(values: np.ndarray) -> np.ndarray:
    """For each element, how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ranks = np.empty(values.size, np.int64)
    ranks[order] = np.arange(values.size) - np.repeat(starts, np.diff(np.r_[starts, values.size]))
    return ranks
