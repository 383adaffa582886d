"""Forked children, and the interpreter's exit in any order."""

import os

import numpy as np

from support import Case

OPEN = """
storage = damo.Storage(os.path.join(FOLDER, "table"), cache_bytes=1 << 24)
users = storage.embedding("user", dim=4, optimizer=damo.SGD(lr=0.5), initializer=damo.Ones())
users.apply_gradients([1], np.ones((1, 4), np.float32))
"""


class Forks(Case):
    def test_a_child_does_not_wait_for_the_parents_threads(self):
        self.run_script(OPEN + """
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
""")

    def test_a_forked_child_gets_an_error(self):
        self.run_script(
            OPEN + """
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
        self.run_script(OPEN + """
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
""")

    def test_multiprocessing_with_fork(self):
        self.run_script(
            OPEN + """
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
        self.run_script(OPEN + """
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
""")
        self.reopens()

    def test_after_an_exception_that_is_kept(self):
        for call in (
            "damo.Storage(FOLDER + '/table')",
            "users.apply_gradients([1], np.full((1, 4), np.inf, 'f4'))",
        ):
            self.run_script(OPEN + f"""
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
""".replace("FOLDER", repr(self.folder)))

    def test_after_an_exception(self):
        self.run_script(
            OPEN + "users.lookup('x')", status=1, errors="TypeError: damo: keys must be integers"
        )
        self.reopens()

    def test_after_sys_exit_in_a_function_with_handles(self):
        self.run_script(
            "def main():" + OPEN.replace("\n", "\n    ") + "\n    sys.exit(3)\nmain()", status=3
        )
        self.reopens()

    def test_from_a_cycle_of_references(self):
        self.run_script(
            OPEN
            + "cycle = [storage, users]; cycle.append(cycle); users.me = cycle; del storage, users,"
            " cycle"
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
""" + OPEN + "late = Late()",
            output="[0.5, 0.5, 0.5, 0.5]\nclosed\n",
        )
        self.reopens()

    def test_while_daemon_threads_are_in_calls(self):
        script = (
            OPEN
            + "import threading, time\n"
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
