"""Do the scenarios of growth count right, and do their checks see a lost step?

    /usr/bin/python3 benches/compare/test_harness.py

Needs NumPy and a C++ compiler. No system but the array is needed.
"""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any

import callers
import cores
import native
from session import Measurement, Session
from turns import Run, failures, in_turns, median, quotient


class Scripted(Session):
    """A session whose measurements are given: steps/s by variant, or why one failed."""

    def script(self, rounds: list[dict[str, float | str]]) -> None:
        self.asked: list[str] = []
        self._script = {variant: [each[variant] for each in rounds] for variant in rounds[0]}

    def say(self, text: str) -> None:
        pass

    def measure(self, scenario: str, system: str, variant: str, task: dict[str, Any], *_, **__):
        self.asked.append(variant)
        found = self._script[variant].pop(0)
        m = Measurement(scenario, system, variant, task)
        if isinstance(found, str):
            m.absent = found
        else:
            following = {"steps": 1, cores.RATE: found}
            passed = {"passed": found < 1000}
            m.result = {"following": following, "cores": len(task["cpus"]), "self_check": passed}
        self.measurements.append(m)
        return m


def measured(rounds: list[dict[str, float | str]]) -> Scripted:
    """The scenario cores on one and two CPUs."""
    session = Scripted(Path("/nowhere"), "", {}, {}, ["damo"])
    session.script(rounds)
    runs = [
        Run("damo", variant, {"cpus": list(range(number + 1)), "series": "checkpoint"})
        for number, variant in enumerate(rounds[0])
    ]
    in_turns(session, "cores", runs, len(rounds), cores.rate)
    return session


class Turns(unittest.TestCase):
    def test_every_second_round_goes_backwards(self) -> None:
        session = measured([{"one": 10, "two": 19}, {"one": 8, "two": 16}, {"one": 9, "two": 20}])
        self.assertEqual(session.asked, ["one", "two", "two", "one", "one", "two"])

    def test_the_medians_are_told(self) -> None:
        session = measured([{"one": 10, "two": 19}, {"one": 8, "two": 16}, {"one": 9, "two": 20}])
        one, two = session.measurements
        self.assertEqual((median(one, cores.RATE), median(two, cores.RATE)), (9, 19))
        self.assertEqual(quotient(two, one, cores.RATE), 2.0)  # of 1.9, 2.0 and 2.2
        self.assertIn("| damo, checkpoint | 9.0 | 19.0 (2.00 x) |", cores.tables(session))

    def test_a_run_that_failed_is_told_and_not_tried_again(self) -> None:
        session = measured(
            [{"one": 10, "two": 19}, {"one": 8, "two": "killed"}, {"one": 9, "two": 1}]
        )
        self.assertEqual(session.asked, ["one", "two", "two", "one", "one"])
        self.assertEqual(median(session.measurements[1], cores.RATE), 19)
        self.assertIn("killed", failures(session)[0])

    def test_a_run_that_never_worked_is_absent(self) -> None:
        session = measured([{"one": 10, "two": "no torch"}])
        self.assertEqual([m.absent for m in session.measurements], ["", "no torch"])

    def test_a_check_that_failed_in_one_round_stays_failed(self) -> None:
        session = measured([{"one": 10}, {"one": 5000}, {"one": 9}])
        self.assertEqual(median(session.measurements[0], cores.RATE), 10)
        self.assertFalse(session.measurements[0].result["self_check"]["passed"])


class Cores(unittest.TestCase):
    def test_the_highest_count_is_always_there(self) -> None:
        wanted = {1: [1], 2: [1, 2], 3: [1, 2, 3], 8: [1, 2, 4, 8], 12: [1, 2, 4, 8, 12]}
        self.assertEqual({last: cores.doubled(last) for last in wanted}, wanted)


class CheckOfCallers(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.library = str(native.build(Path(folder.name))[0])

    def checked(self, groups: int) -> bool:
        report: dict[str, Any] = {}
        task = {
            "system": "plain_array",
            "dim": 16,
            "ids": callers.CHECK_IDS,
            "mixed": False,
            "directory": self.folder,
            "native": self.library,
            "options": {"native": self.library, "groups": groups},
        }
        callers.check(task, report)
        return report["self_check"]["passed"]

    def test_it_passes_with_one_group_and_with_a_group_each(self) -> None:
        self.assertTrue(self.checked(1))
        self.assertTrue(self.checked(callers.CHECK_CALLERS))

    def test_it_sees_a_lost_call(self) -> None:
        right = callers.run

        def one_call_fewer(*arguments, calls: int, **more):
            return right(*arguments, calls=calls - 1, **more)

        callers.run = one_call_fewer
        self.addCleanup(setattr, callers, "run", right)
        self.assertFalse(self.checked(1))
        self.assertFalse(self.checked(callers.CHECK_CALLERS))


if __name__ == "__main__":
    unittest.main()
