"""Signals: KeyboardInterrupt at any moment, and handlers that call the package themselves."""

import concurrent.futures
import contextlib
import gc
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

import damo
from damo import _handles
from support import Case, floats


class Interrupts(Case):
    """KeyboardInterrupt between any two steps of Python code."""

    def setUp(self):
        super().setUp()
        # A shell that starts the tests in the background has it ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def interrupt(self, seconds, call):
        """Whether call was interrupted after some time. self.rang says that the time is over."""

        def ring(*_):
            self.rang = True
            signal.raise_signal(signal.SIGINT)

        self.rang = False
        before = signal.signal(signal.SIGALRM, ring)
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
        storage = self.filled()
        with self.alarms():
            for turn in range(3):
                path = self.path(f"checkpoint-{turn}")
                storage.checkpoint(path)
                storage.load_from_checkpoint(path)
                # On another file system rows are copied.
                with tempfile.TemporaryDirectory(
                    dir="/dev/shm" if os.path.isdir("/dev/shm") else None
                ) as folder:
                    storage.checkpoint(os.path.join(folder, "away"))
                    storage.load_from_checkpoint(os.path.join(folder, "away"))
                storage.dump(self.path("dump"))
                damo.Filter(self.path("filter"), capacity=1 << 20).close()
        self.assertEqual(storage.row_count(), 20_000)

    def filled(self):
        """A storage with 20,000 rows, in files."""
        storage = self.storage()
        users = self.users(storage, dim=64)
        for keys in np.arange(20_000).reshape(10, -1):
            users[keys]
        storage.flush()
        return storage

    @contextlib.contextmanager
    def alarms(self):
        """A signal every 0.1 ms, with a handler that does nothing. Many must come."""
        count = itertools.count()
        before = signal.signal(signal.SIGALRM, lambda *_: next(count))
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.assertGreater(next(count), 20)

    def test_signals_are_no_errors_of_what_rewrites_or_reads_everything(self):
        storage = self.filled()
        users = self.users(storage, dim=64)
        base = storage.dump(self.path("base"))
        with self.alarms():
            for turn in range(2):
                users.insert(np.arange(500), floats(500, 64, value=turn))
                storage.compact()
                self.assertEqual(storage.verify(), 20_000)
                self.assertEqual(sum(1 for _ in users), 20_000)
                storage.dump(self.path("more"), since=base.number)
                damo.merge(self.path("base"), self.path("more"), self.path("merged"))
                with damo.Table(self.path("merged")) as table:
                    self.assertEqual(table.lookup([7], 0)[0][0, 0], turn)
                storage.dump(self.path("counted"), format="counted")
                self.assertEqual(storage.import_file(self.path("counted"))["imported"], 20_000)

    def test_signals_are_no_errors_of_opening_and_closing(self):
        self.filled().close()
        with self.alarms():
            for turn in range(5):
                with self.storage() as storage:
                    self.users(storage, dim=64).apply_gradients([turn], floats(1, 64))
                with self.storage(read_only=True) as storage:
                    self.assertEqual(storage.row_count(), 20_000)
                with self.storage(f"new-{turn}") as storage:
                    self.users(storage).apply_gradients([1], floats(1, 4))
        with self.storage() as storage:
            self.assertEqual(self.users(storage, dim=64)[[0, 4, 5]][:, 0].tolist(), [0.5, 0.5, 1.0])

    def test_signals_of_another_process_are_no_errors(self):
        """Of several kinds, on a thread that is not the main one, too."""
        storage = self.filled()
        script = (
            "import os, sys, time\nwhile True: os.kill(int(sys.argv[1]), int(sys.argv[2]));"
            " time.sleep(1e-4)"
        )
        kinds = (signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD)
        handlers = [signal.signal(kind, lambda *_: None) for kind in kinds]
        senders = [
            subprocess.Popen([sys.executable, "-S", "-c", script, str(os.getpid()), str(int(kind))])
            for kind in kinds
        ]
        try:
            with concurrent.futures.ThreadPoolExecutor(1) as thread:
                for turn in range(2):
                    made = thread.submit(storage.checkpoint, self.path(f"thread-{turn}"))
                    storage.checkpoint(self.path(f"main-{turn}"))
                    made.result()
                    thread.submit(storage.load_from_checkpoint, self.path(f"main-{turn}")).result()
                    storage.load_from_checkpoint(self.path(f"thread-{turn}"))
        finally:
            for sender in senders:
                sender.kill()
                sender.wait()
            for kind, handler in zip(kinds, handlers):
                signal.signal(kind, handler)
        self.assertEqual(storage.row_count(), 20_000)

    def test_in_calls(self):
        storage = self.storage()
        users = self.users(storage)
        draw = random.Random(1)
        interrupted = 0
        for turn in range(300):
            keys = np.arange((1, 100, 10_000)[turn % 3])

            def loop():
                # Python drops an interrupt that comes within the callback of a weak reference.
                while not self.rang:
                    users.lookup(keys)
                    damo.Normal()
                    storage.describe()
                    next(iter(users))

            before = _handles.live()
            interrupted += self.interrupt(draw.uniform(1e-4, 2e-3), loop)
            gc.collect()
            self.assertLessEqual(_handles.live(), before, f"turn {turn}")
        self.assertGreater(interrupted, 280)
        storage.close()
        self.storage().close()  # It is not open any more.

    def test_in_pins(self):
        """No pin outlives an interrupt, wherever it comes."""
        users = self.users()
        before = _handles.live()

        def make_one():
            users.pin([1]).close()

        files = ("_pin.py", "_c_api.py", "_storage_handle.py")

        # A KeyboardInterrupt before each line of these files that is run, one after the other.
        for line in itertools.count():
            lines = itertools.count()

            def interrupt(frame, event, _argument):
                if frame.f_code.co_filename.endswith(files):
                    if event == "line" and next(lines) == line:
                        raise KeyboardInterrupt
                return interrupt

            tracer = sys.gettrace()
            sys.settrace(interrupt)
            try:
                make_one()
                break
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(tracer)
            gc.collect()
            self.assertEqual(_handles.live(), before, f"line {line}")
        self.assertGreater(line, 20)
        users.storage.close()
        self.storage().close()  # No pin keeps it open.

    def test_while_a_storage_opens(self):
        self.storage().close()
        started = time.perf_counter()
        self.storage().close()
        took = time.perf_counter() - started
        interrupted = 0
        for turn in range(60):
            interrupted += self.interrupt(
                took * turn / 50, lambda: damo.Storage(self.path("table")).close()
            )
            damo.Storage(self.path("table")).close()
        self.assertGreater(interrupted, 0)

    def test_a_signal_handler_makes_a_checkpoint_amid_one(self):
        storage = self.storage()
        self.users(storage)[np.arange(50_000)]
        made, numbers = {}, itertools.count()

        def handler(*_):
            name = f"inner{next(numbers)}"
            made[name] = storage.checkpoint(self.path(name))
            # Not before this one has ended: on a slow machine handlers would begin within handlers
            # until the stack is full.
            signal.setitimer(signal.ITIMER_REAL, 0.05)

        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        try:
            for turn in range(20):
                signal.setitimer(signal.ITIMER_REAL, 0.001)
                made[f"outer{turn}"] = storage.checkpoint(self.path(f"outer{turn}"))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertEqual(len(set(made.values())), len(made))
        for name in (f"outer{turn}" for turn in range(0, 20, 7)):
            with damo.Storage(self.path(name), cache_bytes=1 << 24) as opened:
                self.assertEqual(opened.checkpoint_id, made[name])
