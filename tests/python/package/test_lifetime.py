"""Handles: threads, leaks, forked children, and the interpreter's exit in any order."""

import gc
import itertools
import os
import random
import signal
import sys
import threading
import time

import numpy as np

import damo
from damo import _handles
from support import Case, floats

OPEN = """
storage = damo.Storage(os.path.join(FOLDER, "table"), cache_bytes=1 << 24)
users = storage.embedding("user", dim=4, optimizer=damo.SGD(lr=0.5), initializer=damo.Ones())
users.apply_gradients([1], np.ones((1, 4), np.float32))
"""


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Leaks(Case):
    def test_10000_cycles_keep_memory_flat(self):
        storage = self.storage()
        self.users(storage)[[1]]
        storage.dump(self.path("a.table"))
        sgd = damo.SGD()

        def cycle():
            users = storage.embedding(0, dim=4, optimizer=damo.SGD(), initializer=damo.Normal(seed=3))
            users.lookup([1, 2])
            try:
                storage.embedding(0, dim=5, optimizer=sgd)
            except damo.AlreadyExistsError:
                pass
            damo.Table(self.path("a.table")).lookup([1])
            bag = damo.Parameters()
            bag.insert("name", "adam")
            damo.PyOptimizer(bag)

        for _ in range(1000):
            cycle()
        gc.collect()
        before, handles = resident(), _handles.live()
        for _ in range(10_000):
            cycle()
        gc.collect()
        self.assertEqual(_handles.live(), handles)
        self.assertLess(resident() - before, 2 << 20)

    def test_opening_storages_again_and_again(self):
        def cycle(number):
            with damo.Storage(self.path(f"table{number % 3}"), cache_bytes=1 << 20) as storage:
                self.users(storage)[[number]]

        for number in range(10):
            cycle(number)
        before = resident()
        for number in range(60):
            cycle(number)
        self.assertLess(resident() - before, 16 << 20)


class Threads(Case):
    def test_closing_while_others_look_up(self):
        storage = self.storage()
        users = self.users(storage)
        keys = np.arange(20_000)
        users[keys]
        ended = []

        def read():
            try:
                while True:
                    users.lookup(keys)
            except damo.ClosedError as error:
                ended.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        while users.storage.stat("cache_hits") < 100_000:
            pass
        storage.close()
        for thread in threads:
            thread.join()
        self.assertEqual(len(ended), 4)
        self.storage().close()

    def test_the_gil_is_released_while_a_call_runs(self):
        users = self.users()
        keys = np.arange(100_000)
        out = np.empty((keys.size, 4), np.float32)
        runs, ended = [0], threading.Event()

        def count():
            while not ended.is_set():
                runs[0] += 1
                time.sleep(0.0005)

        thread = threading.Thread(target=count)
        # The interpreter takes the GIL from no thread that does not give it away.
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1000)
        thread.start()
        try:
            before = runs[0]
            tries = 0
            while runs[0] < before + 3 and tries < 2000:
                users.lookup(keys, out=out)
                tries += 1
            self.assertGreaterEqual(runs[0], before + 3, f"in {tries} calls")
        finally:
            ended.set()
            thread.join()

    def test_no_gradient_is_lost(self):
        users = self.users(optimizer=damo.SGD(lr=1.0), initializer=damo.Zeros())
        step = lambda: [users.apply_gradients([1, 2], floats(2, 4)) for _ in range(200)]
        threads = [threading.Thread(target=step) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(users[[1, 2]], floats(2, 4, value=-800))


    def test_closing_while_others_open(self):
        sgd = damo.SGD()
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)
        for turn in range(30):
            storage, failed = self.storage(f"table{turn}"), []

            def work(first):
                try:
                    while True:
                        [storage.embedding(first + group, dim=1, optimizer=sgd) for group in range(5)]
                except damo.ClosedError:
                    pass
                except BaseException as error:
                    failed.append(error)

            threads = [threading.Thread(target=work, args=(10 * number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.01)
            storage.close()
            for thread in threads:
                thread.join()
            self.assertEqual(failed, [])
            self.storage(f"table{turn}").close()  # Nobody has it open.


class Interrupts(Case):
    """KeyboardInterrupt between any two steps of Python code."""

    def interrupt(self, seconds, call):
        """Whether call was interrupted after some time."""
        before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            call()
        except KeyboardInterrupt:
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return False

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


class Forks(Case):
    def test_a_child_does_not_wait_for_the_parents_threads(self):
        self.run_script(
            OPEN
            + """
import time
keys = np.arange(2_000_000)
thread = threading.Thread(target=users.lookup, args=(keys,))
thread.start()
time.sleep(0.05)
pid = os.fork()
if pid == 0:
    started = time.monotonic()
    import atexit
    atexit._run_exitfuncs()
    os._exit(0 if time.monotonic() - started < 5 else 1)
assert os.waitpid(pid, 0)[1] == 0
thread.join()
"""
        )

    def test_a_forked_child_gets_an_error(self):
        self.run_script(
            OPEN
            + """
pid = os.fork()
if pid == 0:
    for call in (lambda: users.lookup([1]), storage.flush, lambda: damo.Storage(FOLDER + "/other"),
                 lambda: storage.embedding("item", dim=1, optimizer=damo.SGD())):
        try:
            call()
            os._exit(2)
        except damo.ForkedError as error:
            assert isinstance(error, RuntimeError)
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert users[1].tolist() == [0.5] * 4
print(storage.names)
""",
            output="{'user': 0}\n",
        )

    def test_a_lock_that_another_thread_holds_does_not_hang_the_child(self):
        self.run_script(
            OPEN
            + """
held, done = threading.Event(), threading.Event()
def hold():
    with storage._lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
pid = os.fork()
if pid == 0:
    for call in (lambda: users.lookup([1]), lambda: storage.import_file(FOLDER + "/x")):
        try:
            call()
            os._exit(1)
        except damo.ForkedError:
            pass
    os._exit(0)
done.set()
thread.join()
assert os.waitpid(pid, 0)[1] == 0
"""
        )

    def test_multiprocessing_with_fork(self):
        self.run_script(
            OPEN
            + """
import multiprocessing
def work(_number):
    try:
        users.lookup([1])
    except damo.ForkedError as error:
        return error.status.name
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(work, range(3)))
""",
            output="['FORKED', 'FORKED', 'FORKED']\n",
        )


class Exit(Case):
    def reopens(self):
        users = self.users()
        np.testing.assert_array_equal(users[1], [0.5] * 4)
        users.storage.close()

    def test_with_live_handles(self):
        for durability in ("process", "checkpoint"):
            self.folder = self.path(durability)
            os.mkdir(self.folder)
            self.run_script(OPEN.replace("1 << 24", f"1 << 24, durability={durability!r}"))
            self.reopens()

    def test_in_any_order(self):
        for order in ("storage, users", "users, storage"):
            self.folder = self.path(order)
            os.mkdir(self.folder)
            self.run_script(OPEN + f"rows = iter(users); del {order}")
            self.reopens()

    def test_with_a_thread_that_goes_on_making_handles(self):
        self.run_script(
            OPEN
            + """
import time
def dump():
    while True:
        storage.dump(FOLDER + "/dump", progress=lambda *_: True)
threading.Thread(target=dump, daemon=True).start()
time.sleep(0.2)
sys.unraisablehook = threading.excepthook = lambda *_: None
import atexit
started = time.monotonic()
# Run after those that were registered before.
damo._handles._EXIT_SECONDS = 30
damo._handles._close_all()
assert time.monotonic() - started < 10
"""
        )
        self.reopens()

    def test_after_an_exception_that_is_kept(self):
        for call in ("damo.Storage(FOLDER + '/table')", "users.apply_gradients([1], np.full((1, 4), np.inf, 'f4'))"):
            self.run_script(
                OPEN
                + f"""
import atexit, time
try:
    {call}
except ValueError as error:
    kept = error
except damo.BusyError as error:
    kept = error
started = time.monotonic()
storage.close()
damo.Storage(FOLDER + '/table', cache_bytes=1 << 24).close()
""".replace("FOLDER", repr(self.folder))
            )

    def test_after_an_exception(self):
        self.run_script(OPEN + "users.lookup('x')", status=1, errors="TypeError: damo: keys must be integers")
        self.reopens()

    def test_after_sys_exit_in_a_function_with_handles(self):
        self.run_script("def main():" + OPEN.replace("\n", "\n    ") + "\n    sys.exit(3)\nmain()", status=3)
        self.reopens()

    def test_from_a_cycle_of_references(self):
        self.run_script(
            OPEN + "cycle = [storage, users]; cycle.append(cycle); users.me = cycle; del storage, users, cycle"
        )
        self.reopens()

    def test_from_atexit_and_destructors(self):
        self.run_script(
            """
import atexit
class Late:
    def __del__(self):
        try:
            users.lookup([1])
            print("read")
        except damo.ClosedError:
            print("closed")
atexit.register(lambda: print(users[1].tolist()))
"""
            + OPEN
            + "late = Late()",
            output="[0.5, 0.5, 0.5, 0.5]\nclosed\n",
        )
        self.reopens()

    def test_while_daemon_threads_are_in_calls(self):
        script = OPEN + (
            "import threading, time\n"
            "keys = np.arange(100000)\n"
            "def read():\n"
            "    try:\n"
            "        while True:\n"
            "            users.peek(keys)\n"
            "    except damo.ClosedError:\n"
            "        pass\n"
            "for _ in range(3):\n"
            "    threading.Thread(target=read, daemon=True).start()\n"
            "time.sleep(0.3)\n"
        )
        self.run_script(script)
        self.reopens()

    def test_killed(self):
        self.run_script(OPEN + "os.kill(os.getpid(), 9)", status=-9)
        self.reopens()
