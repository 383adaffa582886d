"""Opens a table, reads all of it, trains on until it is killed: worker.py TASK.json.

It tells its parent what it does through a pipe (messages.py), and waits for a line on its standard
input, the number of the last step in the table, before it trains.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Iterable

import numpy as np

import messages
from systems import Adam, Setup, System, open_system
from traces import Steps

# A rate of 1 and no memory: see traces.py.
ADAM = Adam(learning_rate=1.0, beta1=0.0, beta2=0.0, epsilon=1e-8)
ROWS_A_READ = 4096


class Calls:
    """Where benches/compare times the calls of a step, they are just made here."""

    @staticmethod
    def call(_: str, function: Any, *arguments: Any) -> None:
        function(*arguments)


class Kept:
    """A system with its way to save; nothing here is done that its documents do not tell a user to
    do.
    """

    def __init__(self, task: dict[str, Any], steps: Steps) -> None:
        self._folder = Path(task["directory"])
        self._saving = task["saving"]
        table = self._folder / "table"
        saves = self.saves()
        if self._saving == "numbered" and not saves or self._saving == "finished":
            # The rows that were written since the last checkpoint are of no use, or cannot be
            # opened.
            shutil.rmtree(table, ignore_errors=True)
        table.mkdir(parents=True, exist_ok=True)
        setup = Setup(
            table, steps.dim, steps.ids + 1, task["options"], adam=ADAM, initial_stddev=0.0
        )
        self.system: System = open_system(task["system"], setup)
        if saves:
            self.system.restore(saves[-1])

    def saves(self) -> list[Path]:
        """What can be gone on from, the latest last."""
        if self._saving in ("numbered", "finished"):
            return sorted(
                self._folder.glob("save-*"), key=lambda path: int(path.name.split("-")[1])
            )
        return [path for path in (self._folder / "save",) if path.exists()]

    def save(self, step: int) -> None:
        save, unfinished, old = self._folder / "save", self._folder / "unfinished", self.saves()
        if self._saving == "flush":
            self.system.flush()
        elif self._saving == "overwrite":
            self.system.save(save)
        elif self._saving == "rename":
            self.system.save(unfinished)
            os.replace(unfinished, save)
        elif self._saving == "numbered":
            self.system.save(self._folder / f"save-{step}")
            remove(old)
        elif self._saving == "finished":
            remove(self._folder.glob("unfinished*"))
            self.system.save(unfinished)
            # The system may have added to the name.
            next(self._folder.glob("unfinished*")).rename(self._folder / f"save-{step}")
            remove(old)


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def read_all(system: System, steps: Steps) -> np.ndarray:
    keys, rows = steps.all_keys, np.zeros((steps.ids, steps.dim), np.float32)
    for start in range(0, steps.ids, ROWS_A_READ):
        part = slice(start, start + ROWS_A_READ)
        system.current(keys[part], rows[part])
    return rows


def train(kept: Kept, steps: Steps, each: int, done: int, tell: messages.Sender) -> None:
    weights = np.zeros((steps.batch, steps.dim), np.float32)
    while True:
        done += 1
        keys = steps.keys(done)
        kept.system.step(Calls, keys, weights[: keys.size], steps.gradients(done, keys.size))
        tell.send(messages.STEP, done)
        if each and done % each == 0:
            tell.send(messages.SAVING, done)
            kept.save(done)
            tell.send(messages.SAVED, done)


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    steps, tell = Steps(**task["steps"]), messages.Sender(task["pipe"])
    tell.send(messages.OPENING, 0)
    kept = Kept(task, steps)
    rows = read_all(kept.system, steps)
    np.save(task["rows"], rows)
    Path(task["notes"]).write_text(kept.system.notes)
    tell.send(messages.OPENED, 0)
    train(kept, steps, task["each"], int(sys.stdin.readline()), tell)


if __name__ == "__main__":
    main()
