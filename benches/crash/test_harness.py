"""Does the harness see what it is there to see? Planted faults, and damo killed for some seconds.

    DAMO_LIBRARY=PATH python3 benches/crash/test_harness.py

Needs NumPy. Without DAMO_LIBRARY only the judging of tables is tested.
"""

from __future__ import annotations

import os
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "compare"))

import numpy as np

from kills import Outcome, Trial
from traces import History, Steps
from ways import WAYS, Way

STEPS = Steps(seed=3, ids=500, dim=4, batch=32)
# Acknowledged; the next one may have begun.
LAST = 40


def table(until: int, steps: Steps = STEPS) -> np.ndarray:
    """What the steps 1 to `until` leave."""
    rows = np.zeros((steps.ids, steps.dim), np.float32)
    for step in range(1, until + 1):
        add(rows, step, steps.keys(step))
    return rows


def add(rows: np.ndarray, step: int, keys: np.ndarray, times: int = 1) -> None:
    rows[keys - 1] -= times * STEPS.gradients(step, keys.size)


class Judging(unittest.TestCase):
    def judge(self, rows: np.ndarray, promised: int = LAST):
        return History(STEPS).judge(rows, LAST, promised)

    def test_every_step_is_there(self) -> None:
        for until in (LAST, LAST + 1):  # the step that was under way may be there
            verdict = self.judge(table(until))
            self.assertEqual(verdict.whole_until, until)
            self.assertEqual((verdict.lost, verdict.torn, verdict.broken), (0, 0, 0))
            self.assertEqual((verdict.doubled_rows, verdict.strange_rows), (0, 0))

    def test_lost_steps_are_counted(self) -> None:
        verdict = self.judge(table(LAST - 7), promised=LAST - 5)
        self.assertEqual((verdict.lost, verdict.broken, verdict.whole_until), (7, 2, LAST - 7))
        self.assertEqual(self.judge(table(0)).lost, LAST)

    def test_a_step_in_some_of_its_rows_is_torn(self) -> None:
        rows, keys = table(LAST - 1), STEPS.keys(LAST)
        add(rows, LAST, keys[: keys.size // 2])
        verdict = self.judge(rows)
        self.assertEqual(
            (verdict.torn, verdict.lost, verdict.broken, verdict.whole_until), (1, 0, 1, None)
        )
        self.assertEqual((verdict.doubled_rows, verdict.strange_rows), (0, 0))

    def test_one_row_of_another_age_tears_steps(self) -> None:
        rows, key = table(LAST), STEPS.keys(1)[5]
        rows[key - 1] = 0
        verdict = self.judge(rows)
        touches = sum(key in STEPS.keys(step) for step in range(1, LAST + 1))
        self.assertEqual((verdict.torn, verdict.lost, verdict.whole_until), (touches, 0, None))

    def test_a_step_made_twice_is_doubled(self) -> None:
        rows, keys = table(LAST), STEPS.keys(LAST)
        add(rows, LAST, keys)
        verdict = self.judge(rows)
        self.assertEqual((verdict.doubled_rows, verdict.whole_until), (keys.size, None))

    def test_a_doubled_step_does_not_make_up_for_a_lost_one(self) -> None:
        rows, keys = table(LAST), STEPS.keys(LAST)
        add(rows, LAST, keys, times=-1)
        add(rows, LAST - 1, keys)
        verdict = self.judge(rows)
        self.assertIsNone(verdict.whole_until)
        self.assertEqual(verdict.doubled_rows + verdict.strange_rows, keys.size)

    def test_numbers_that_never_were(self) -> None:
        for wrong in (np.nan, -1, 0.5, np.inf):
            rows = table(LAST)
            rows[7, 1] = wrong
            verdict = self.judge(rows)
            self.assertEqual((verdict.strange_rows, verdict.whole_until), (1, None))

    def test_a_chain_goes_on_from_the_last_whole_table(self) -> None:
        history = History(STEPS)
        self.assertEqual(history.judge(table(LAST), LAST, LAST).whole_until, LAST)
        self.assertEqual(history.judge(table(LAST + 3), LAST + 5, LAST).lost, 2)
        # A table older than the one that was there before loses steps of earlier rounds, too.
        verdict = history.judge(table(LAST - 2), LAST + 4, LAST)
        self.assertEqual((verdict.lost, verdict.broken, verdict.whole_until), (6, 2, LAST - 2))


@unittest.skipUnless(os.environ.get("DAMO_LIBRARY"), "DAMO_LIBRARY names no library")
class Killing(unittest.TestCase):
    def outcome(self, way: Way, kills: int) -> Outcome:
        with tempfile.TemporaryDirectory() as directory:
            trial = Trial(
                way,
                Path(directory) / way.name,
                sys.executable,
                os.environ["DAMO_LIBRARY"],
                Steps(seed=3, ids=2000, dim=4, batch=128),
                seed=3,
            )
            trial.measure(0.2)
            trial.run(kills)
        self.assertEqual(trial.outcome.absent, "")
        self.assertEqual(len(trial.outcome.kills), kills)
        self.assertTrue(all(kill.opened for kill in trial.outcome.kills))
        return trial.outcome

    def way(self, name: str) -> Way:
        return next(way for way in WAYS if way.name == name)

    def test_damo_keeps_every_acknowledged_step(self) -> None:
        for kill in self.outcome(self.way("damo-process"), 4).kills:
            self.assertEqual((kill.verdict.lost, kill.verdict.torn, kill.verdict.broken), (0, 0, 0))
            self.assertIsNotNone(kill.verdict.whole_until)
            self.assertGreater(kill.acknowledged, 0)

    def test_damo_keeps_every_checkpoint(self) -> None:
        for kill in self.outcome(self.way("damo-checkpoint"), 4).kills:
            self.assertEqual((kill.verdict.torn, kill.verdict.broken), (0, 0))

    def test_a_way_that_promises_more_than_it_keeps_is_found(self) -> None:
        boaster = replace(
            self.way("damo-process"), name="boaster", options={"durability": "checkpoint"}
        )
        self.assertTrue(all(kill.verdict.broken > 0 for kill in self.outcome(boaster, 2).kills))


if __name__ == "__main__":
    unittest.main()
