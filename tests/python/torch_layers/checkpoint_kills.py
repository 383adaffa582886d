"""Kills a process at each step of save_checkpoint, and loads what it leaves. A test runs this.

    checkpoint_kills.py FOLDER      prints how many processes were killed

Each process is a fork of this one, which opens no storage.
"""

import os
import shutil
import signal
import sys
import traceback

import damo
from checkpoint_support import Trainer, torch

# The steps of save_checkpoint on disk. Storage.checkpoint, one of them, has kill tests of its own.
STEPS = (
    (os, "mkdir"),
    (os, "rename"),
    (os, "fsync"),
    (shutil, "rmtree"),
    (damo.Storage, "checkpoint"),
)


class Storages:
    def __init__(self, folder):
        self.folder = folder

    def storage(self, name):
        return damo.Storage(os.path.join(self.folder, name), cache_bytes=1 << 24)


def kill_at(number):
    """Has this process killed before the step with this number."""
    left = [number]

    def counted(function):
        def call(*arguments, **options):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*arguments, **options)

        return call

    for where, name in STEPS:
        setattr(where, name, counted(getattr(where, name)))


def forked(function, *arguments):
    """Runs the function in a process of its own. True if it returned, False if it was killed."""
    pid = os.fork()
    if not pid:
        try:
            function(*arguments)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise SystemExit(f"a process ended with {status}")
    return True


def expected(folder, epochs):
    trainer = Trainer(Storages(folder), f"expected {epochs}", several=False).train(epochs)
    with open(os.path.join(folder, f"expected {epochs}.txt"), "w") as file:
        file.write(repr(trainer.state()))


def save(folder, number, epochs):
    trainer = Trainer(Storages(folder), f"saved {number} {epochs}", several=False).train(epochs)
    if number is not None:
        kill_at(number)
    trainer.save(os.path.join(folder, f"checkpoint {number}" if number is not None else "old"))


def check(folder, name, allowed):
    """A later process loads one of the two checkpoints whole, and can save there."""
    trainer = Trainer(Storages(folder), f"check {name}", several=False)
    path = os.path.join(folder, name)
    epochs = trainer.load(path)["epoch"]
    assert epochs in allowed, (epochs, allowed)
    with open(os.path.join(folder, f"expected {epochs}.txt")) as file:
        assert file.read() == repr(trainer.state())
    trainer.train().save(path)
    assert sorted(name for name in os.listdir(path) if "saved-" not in name) == ["manifest.json"]
    assert len(os.listdir(path)) == 2, os.listdir(path)
    assert not [left for left in os.listdir(folder) if left.startswith(f".{name}.damo")]


def main(folder):
    # A forked process would make threads of its own.
    torch.set_num_threads(1)
    for epochs in (2, 4):
        forked(expected, folder, epochs)
    forked(save, folder, None, 2)
    killed = saved = number = 0
    while not saved:
        name = f"checkpoint {number}"
        shutil.copytree(os.path.join(folder, "old"), os.path.join(folder, name))
        saved = forked(save, folder, number, 4)
        killed += not saved
        forked(check, folder, name, [4] if saved else [2, 4])
        clean(folder)
        # With nothing there before, there is nothing or the whole checkpoint.
        killed += not forked(save, folder, number, 4)
        if os.path.exists(os.path.join(folder, name)):
            forked(check, folder, name, [4])
        clean(folder)
        number += 1
    print(killed)


def clean(folder):
    for name in os.listdir(folder):
        if name != "old" and not name.startswith("expected"):
            shutil.rmtree(os.path.join(folder, name))


main(sys.argv[1])
