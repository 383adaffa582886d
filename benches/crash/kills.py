"""One way to keep a table, killed again and again: train, SIGKILL, open in a fresh process, read,
judge, go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator

import messages
from messages import Receiver
from session import end_with_parent
from traces import History, Steps, Verdict
from ways import Way

import numpy as np

HERE = Path(__file__).resolve().parent
# Seconds: longer to open counts as not opening, and a step that takes longer as a failure.
OPENING_LIMIT, STEP_LIMIT = 120, 60
# A kill at any moment comes within about so many save intervals, but this limit is at most LONGEST
# and at least SHORTEST seconds.
LONGEST, SHORTEST, SAVES = 5.0, 1.0, 3


class Failure(Exception):
    """Something that is neither a kill nor what a kill left: the way cannot be tried."""


@dataclass
class Kill:
    # "step": at any moment while training; "save": within a save; "opening": the next opening was
    # killed, too.
    kind: str
    acknowledged: int
    promised: int
    opened: bool = False
    refusal: str = ""
    verdict: Verdict | None = None


@dataclass
class Outcome:
    way: Way
    kills: list[Kill] = field(default_factory=list)
    notes: str = ""
    steps_per_second: float = 0.0
    save_seconds: float = 0.0
    # Of each opening that succeeded, reading all rows included.
    open_seconds: list[float] = field(default_factory=list)
    # Why it could not be tried, or not to the end.
    absent: str = ""


class Worker:
    """A process with the way's table open."""

    def __init__(self, trial: Trial) -> None:
        reading, writing = os.pipe()
        task = trial.directory / "task.json"
        self.rows, self.notes, self._log = (
            trial.directory / name for name in ("rows.npy", "notes", "log")
        )
        task.write_text(
            json.dumps(
                {
                    "system": trial.way.system,
                    "options": trial.options,
                    "saving": trial.way.saving,
                    "each": trial.way.each,
                    "directory": str(trial.table),
                    "rows": str(self.rows),
                    "notes": str(self.notes),
                    "pipe": writing,
                    "steps": vars(trial.steps),
                }
            )
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [trial.interpreter, str(HERE / "worker.py"), str(task)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                preexec_fn=end_with_parent,
                env={
                    **os.environ,
                    "PYTHONPATH": str(HERE.parent / "compare"),
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
            )
        os.close(writing)
        self._pipe = reading
        self.tells = Receiver(reading)

    def wait_for(self, kind: bytes, count: int, limit: float) -> bool:
        return self.tells.receive(time.monotonic() + limit, kind, count)

    def train(self, done: int) -> None:
        self._process.stdin.write(f"{done}\n".encode())
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kills it with SIGKILL, and takes everything that it had told before. Does nothing to one
        that was killed already.
        """
        if self._process.stdin.closed:
            return
        self._process.kill()
        self.tells.drain()
        self._process.wait()
        self._process.stdin.close()
        os.close(self._pipe)

    def last_words(self) -> str:
        """How it ended by itself: its exit and the last line that it printed."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "it hangs"
        lines = [
            line for line in self._log.read_text(errors="replace").splitlines() if line.strip()
        ]
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        return f"{how}: {lines[-1].strip() if lines else 'no message'}"


class Trial:
    def __init__(
        self, way: Way, directory: Path, interpreter: str, library: str, steps: Steps, seed: int
    ) -> None:
        self.way, self.directory, self.interpreter, self.steps = way, directory, interpreter, steps
        self.table = directory / "kept"
        self.options: dict[str, Any] = (
            {"library": library, **way.options} if way.system == "damo" else way.options
        )
        self.outcome = Outcome(way)
        self._random = random.Random(f"{seed} {way.name}")
        self._history = History(steps)
        self._worker: Worker | None = None

    def measure(self, seconds: float) -> None:
        """Measures the rate for about so many seconds. The best of several measurements counts,
        since other work only slows.
        """
        if not self.outcome.absent:
            with self._until_failure():
                self._measure_rate(seconds)

    def run(self, kills: int) -> None:
        """Makes so many kills, each followed by an opening."""
        if self.outcome.absent:
            return
        with self._until_failure():
            self._open_anew()
            for number in range(kills):
                kill = self._train_and_kill(self._kind(number))
                if number % 5 == 3:
                    self._kill_while_opening()
                    kill.kind += ", opening"
                self._open(kill)
                self.outcome.kills.append(kill)

    @contextlib.contextmanager
    def _until_failure(self) -> Iterator[None]:
        """Leaves no process and no file behind, and keeps the reason of a failure."""
        try:
            yield
        except Failure as failure:
            self.outcome.absent = str(failure)
        finally:
            self._stop()
            shutil.rmtree(self.directory, ignore_errors=True)

    def _kind(self, number: int) -> str:
        return "save" if self.way.saving and number % 2 else "step"

    def _measure_rate(self, seconds: float) -> None:
        """Steps a second without a kill, saves included, once the first second is over."""
        self._open_anew()
        tells = self._worker.tells
        self._worker.train(0)
        self._expect(messages.STEP, 1)
        tells.receive(time.monotonic() + min(1, seconds))
        # From the end of a save to the end of another, where the way saves.
        mark = messages.SAVED if self.way.saving else messages.STEP
        self._expect(mark, tells.count.get(mark, 0) + 1)
        before, begun = tells.last[mark], tells.when[mark]
        tells.receive(time.monotonic() + seconds)
        self._expect(mark, tells.count[mark] + 1)
        rate = (tells.last[mark] - before) / (tells.when[mark] - begun)
        if rate > self.outcome.steps_per_second:
            self.outcome.steps_per_second = rate
            self.outcome.save_seconds = (
                statistics.median(tells.save_seconds) if self.way.saving else 0.0
            )

    def _open_anew(self) -> None:
        """Begins with an empty table."""
        self._stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.table.mkdir(parents=True)
        self._history = History(self.steps)
        self._worker = Worker(self)
        self._expect(messages.OPENED, 1, OPENING_LIMIT)
        self.outcome.notes = self._worker.notes.read_text()
        if np.load(self._worker.rows).any():
            raise Failure("a new table has rows that are not zeros")

    def _train_and_kill(self, kind: str) -> Kill:
        tells, promised = self._worker.tells, self._history.until
        self._worker.train(promised)
        self._expect(messages.STEP, 1)
        if kind == "save":
            self._expect(messages.SAVING, self._random.randint(1, SAVES))
            moment = self._random.uniform(0, 1.1) * self.outcome.save_seconds
        else:
            moment = self._random.uniform(0, self._longest())
        tells.receive(time.monotonic() + moment)
        if tells.ended:
            raise Failure(f"failed while training ({self._worker.last_words()})")
        self._worker.kill()
        acknowledged = tells.last[messages.STEP]
        if not self.way.saving:
            promised = acknowledged
        return Kill(kind, acknowledged, tells.last.get(messages.SAVED, promised))

    def _longest(self) -> float:
        interval = self.way.each / self.outcome.steps_per_second + self.outcome.save_seconds
        return min(LONGEST, max(SHORTEST, SAVES * interval))

    def _kill_while_opening(self) -> None:
        self._worker = Worker(self)
        self._expect(messages.OPENING, 1, OPENING_LIMIT)
        usual = statistics.median(self.outcome.open_seconds or [0.1])
        self._worker.tells.receive(time.monotonic() + self._random.uniform(0, usual))
        self._worker.kill()

    def _open(self, kill: Kill) -> None:
        """Opens what the kill left and judges it. Training goes on from there if it is whole,
        otherwise anew.
        """
        self._worker = Worker(self)
        kill.opened = self._worker.wait_for(messages.OPENED, 1, OPENING_LIMIT)
        if kill.opened:
            when = self._worker.tells.when
            self.outcome.open_seconds.append(when[messages.OPENED] - when[messages.OPENING])
            kill.verdict = self._history.judge(
                np.load(self._worker.rows), kill.acknowledged, kill.promised
            )
        else:
            kill.refusal = self._worker.last_words()
        if not kill.opened or kill.verdict.whole_until is None:
            self._open_anew()

    def _expect(self, kind: bytes, count: int, limit: float = STEP_LIMIT) -> None:
        if not self._worker.wait_for(kind, count, limit):
            raise Failure(f"failed without a kill ({self._worker.last_words()})")

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
