"""Signals: KeyboardInterrupt at any moment, and handlers that call the package themselves."""

import gc
import itertools
import os
import random
import signal
import tempfile
import time

import numpy as np

import damo
from damo import _handles
from support import Case


class Interrupts(Case):
    """KeyboardInterrupt between any two steps of Python code."""

    def setUp(self):
        super().setUp()
        # A shell that starts the tests in the background has it ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def interrupt(self, seconds, call):
        """Whether call was interrupted after some time."""
        before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            return True
        finally:
            signal.signal(signal.SIGALRM, before)
        return False

    def test_signals_are_no_errors(self):
        """Handlers of Python are installed without SA_RESTART."""
        storage = self.storage()
        users = self.users(storage, dim=64)
        for keys in np.arange(20_000).reshape(10, -1):
            users[keys]
        storage.flush()
        before = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        try:
            for turn in range(3):
                path = self.path(f"checkpoint-{turn}")
                storage.checkpoint(path)
                storage.load_from_checkpoint(path)
                # On another file system rows are copied.
                with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
                    storage.checkpoint(os.path.join(folder, "away"))
                    storage.load_from_checkpoint(os.path.join(folder, "away"))
                storage.dump(self.path("dump"))
                damo.Filter(self.path("filter"), capacity=1 << 20).close()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.assertEqual(storage.row_count(), 20_000)

    def test_in_calls(self):
        storage = self.storage()
        users = self.users(storage)
        draw = random.Random(1)
        interrupted = 0
        for turn in range(300):
            keys = np.arange((1, 100, 10_000)[turn % 3])

            def loop():
                while True:
                    users.lookup(keys)
                    damo.Normal()
                    storage.describe()
                    next(iter(users))

            before = _handles.live()
            interrupted += self.interrupt(draw.uniform(1e-4, 2e-3), loop)
            gc.collect()
            self.assertLessEqual(_handles.live(), before, f"turn {turn}")
        self.assertEqual(interrupted, 300)
        storage.close()
        self.storage().close()  # It is not open any more.

    def test_while_a_storage_opens(self):
        self.storage().close()
        started = time.perf_counter()
        self.storage().close()
        took = time.perf_counter() - started
        interrupted = 0
        for turn in range(60):
            interrupted += self.interrupt(took * turn / 50, lambda: damo.Storage(self.path("table")).close())
            damo.Storage(self.path("table")).close()
        self.assertGreater(interrupted, 0)

    def test_a_signal_handler_makes_a_checkpoint_amid_one(self):
        storage = self.storage()
        self.users(storage)[np.arange(50_000)]
        made, numbers = {}, itertools.count()

        def handler(*_):
            name = f"inner{next(numbers)}"
            made[name] = storage.checkpoint(self.path(name))

        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.05)
        try:
            for turn in range(20):
                made[f"outer{turn}"] = storage.checkpoint(self.path(f"outer{turn}"))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertEqual(len(set(made.values())), len(made))
        for name in (f"outer{turn}" for turn in range(0, 20, 7)):
            with damo.Storage(self.path(name), cache_bytes=1 << 24) as opened:
                self.assertEqual(opened.checkpoint_id, made[name])
