"""Objects go in any order, or the interpreter ends with all of them alive, and nothing is left."""

import gc
import itertools
import os
import unittest
import weakref

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Orders(Case):
    def test_freed_in_any_order(self):
        kinds = ("storage", "optimizer", "initializer", "first", "second")
        for round, order in enumerate(itertools.permutations(kinds)):
            if round % 6:  # 20 of the 120
                continue
            with self.subTest(order=order):
                made = {
                    "storage": self.storage(),
                    "optimizer": optimizer("sgd", gamma=1),
                    "initializer": initializer(),
                }
                arguments = [made["storage"], made["optimizer"], made["initializer"]]
                made["first"] = damo.PyEmbedding(*arguments, 2, 1)
                made["second"] = damo.PyEmbedding(*arguments, 3, 2)
                del arguments
                for kind in order:
                    for name, dim in (("first", 2), ("second", 3)):
                        if name in made:
                            made[name].apply_gradients(keys(1), np.ones(dim, np.float32))
                    del made[kind]
                self.storage()  # closed: it opens again

    def test_in_a_cycle(self):
        cycle = [self.storage(), optimizer(), initializer()]
        cycle.append(damo.PyEmbedding(*cycle, 2))
        cycle.append(cycle)
        del cycle
        gc.collect()
        self.storage()

    def test_a_constructor_that_failed_leaves_nothing_open(self):
        for _ in range(3):
            storage = self.storage()
            with self.assertRaises(ValueError):
                damo.PyEmbedding(storage, optimizer(), initializer(), 0)
            with self.assertRaises(TypeError):
                damo.PyEmbedding(storage, initializer(), optimizer(), 2)
            del storage

    def test_arrays_are_let_go_of(self):
        embedding = damo.PyEmbedding(self.storage(), optimizer(), initializer(), 2)

        def gone(function, error, *arrays):
            try:
                function(*arrays)
            except (TypeError, ValueError) as caught:
                self.assertIs(error, type(caught) if error is TypeError else ValueError)
            else:
                self.assertIsNone(error)
            return [weakref.ref(array) for array in arrays]

        for function, error, shapes in (
            (embedding.lookup, None, ((1, np.int64), (2, np.float32))),
            (embedding.lookup, ValueError, ((1, np.int64), (3, np.float32))),
            (embedding.lookup, TypeError, ((1, np.int64), (2, np.float64))),
            (embedding.lookup, TypeError, ((1, np.float64), (2, np.float32))),
            (embedding.apply_gradients, None, ((1, np.int64), (2, np.float32))),
            (embedding.apply_gradients, ValueError, ((2, np.int64), (2, np.float32))),
            (embedding.apply_gradients, TypeError, ((1, np.int64), (2, np.float16))),
            (initializer().call, None, ((2, np.float32),)),
            (initializer().call, TypeError, ((2, np.float64),)),
            (optimizer().call, None, ((2, np.float32), (2, np.float32))),
            (optimizer().call, ValueError, ((2, np.float32), (3, np.float32))),
        ):
            with self.subTest(function=function.__name__, shapes=shapes):
                left = gone(function, error, *[np.zeros(size, dtype) for size, dtype in shapes])
                self.assertEqual([reference() for reference in left], [None] * len(left))


@unittest.skipUnless(os.path.exists("/proc/self/statm"), "needs /proc")
class Leaks(Case):
    def assert_flat(self, cycle, cycles, warm_up, allowed=512 << 10):
        for _ in range(warm_up):
            cycle()
        gc.collect()
        before = resident_bytes()
        for _ in range(cycles):
            cycle()
        gc.collect()
        grown = resident_bytes() - before
        self.assertLess(grown, allowed, f"{grown} bytes in {cycles} cycles")

    def test_10000_cycles_of_objects(self):
        storage = self.storage()
        decay = {"name": "cosine_decay", "decay_steps": 10}
        w, numbers = np.zeros((2, 4), np.float32), keys(1, 2)

        def cycle():
            sgd = damo.PyOptimizer(parameters(name="sgd", gamma=0.5), parameters(**decay))
            normal = damo.PyInitializer(parameters(name="random_normal", stddev=0.5))
            embedding = damo.PyEmbedding(storage, sgd, normal, 4, 7)
            embedding.lookup(numbers, w)
            parameters(text="x" * 1000).to_json()

        self.assert_flat(cycle, 10_000, 2_000)

    def test_10000_errors(self):
        embedding = damo.PyEmbedding(self.storage(), optimizer(), initializer(), 4)
        bag, numbers = damo.Parameters(), keys(1)
        w, doubles = np.zeros(5, np.float32), np.zeros(4)

        def cycle():
            for function, arguments in (
                (embedding.lookup, (numbers, w)),
                (embedding.lookup, (numbers, doubles)),
                (embedding.apply_gradients, ([1.0], w)),
                (bag.insert, ("x", None)),
                (bag.insert, ("", 1)),
                (damo.PyOptimizer, (bag,)),
                (damo.PyStorage, (os.path.join(self.folder, "table"),)),
            ):
                try:
                    function(*arguments)
                except (TypeError, ValueError, OSError):
                    pass
                else:
                    self.fail(f"{function} took {arguments}")

        self.assert_flat(cycle, 10_000, 1_000)

    def test_storages_and_filters(self):
        def cycle():
            storage = self.storage()
            embedding = damo.PyEmbedding(storage, optimizer("sgd"), initializer(), 2, 1)
            embedding.apply_gradients(keys(1), floats(1, 1))
            damo.PyFilter(parameters(path=self.path("filter"), capacity=1000)).add(1, 1)

        descriptors = len(os.listdir("/proc/self/fd"))
        # The allocator keeps what RocksDB's threads have used. A leak of one storage's cache would
        # be far more.
        self.assert_flat(cycle, 60, 20, allowed=12 << 20)
        self.assertEqual(len(os.listdir("/proc/self/fd")), descriptors)


class Exit(Case):
    """In an interpreter of its own: what is alive at its end causes no crash, message or loss."""

    def assert_trained(self, times=1):
        embedding = damo.PyEmbedding(
            self.storage(), optimizer("sgd", gamma=0.5), initializer(), 4, 1
        )
        w = np.zeros(4, np.float32)
        embedding.lookup(keys(7), w)
        self.assertEqual(list(w), [1 - 0.5 * times] * 4)

    def test_alive_in_any_order(self):
        # Names of a module go in the order in which they came.
        for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (1, 4, 0, 3, 2), (3, 0, 4, 2, 1)):
            with self.subTest(order=order):
                self.new_folder()
                self.run_script(f"""
                    def make():
                        made = open_all(FOLDER)
                        train(made[4])
                        return made
                    made = make()
                    for name in {order}:
                        globals()["abcde"[name]] = made[name]
                    del made
                """)
                self.assert_trained()

    def test_alive_elsewhere(self):
        places = {
            "builtins": "builtins.kept = made",
            "sys": "sys.kept = made",
            "the module": "damo.kept = made",
            "NumPy": "np.kept = made",
            "a cycle": "cycle = [made]; cycle.append(cycle); del cycle; gc.disable()",
            "a frozen cycle": "cycle = [made]; cycle.append(cycle); gc.freeze()",
            "a default": "def function(kept=made): pass",
            "a closure of an exit handler": "atexit.register(lambda made=made: made)",
            "a class with a destructor": """
class Late:
    def __init__(self, made):
        self.made = made
    def __del__(self):
        w = np.zeros(4, np.float32)
        try:
            self.made[4].lookup(np.array([7]), w)
            assert w[0] == 0.5
        except damo.Error:  # a module may close its storages at exit
            pass
builtins.kept = Late(made)""",
            "a thread's local": (
                "local = threading.local(); local.made = made; builtins.local = local"
            ),
            "a leaked reference": (
                "import ctypes; ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))"
            ),
        }
        for place, code in places.items():
            with self.subTest(place=place):
                self.new_folder()
                self.run_script(f"made = open_all(FOLDER)\ntrain(made[4])\n{code}\ndel made\n")
                self.assert_trained()

    def test_exit_handlers_may_use_it(self):
        self.run_script("""
            made = open_all(FOLDER)
            atexit.register(train, made[4])
        """)
        self.assert_trained()

    def test_after_an_exception(self):
        self.run_script(
            """
            made = open_all(FOLDER)
            def deep(embedding):
                train(embedding)
                raise KeyError("on purpose")
            deep(made[4])
            """,
            status=1,
            errors="KeyError: 'on purpose'",
        )
        self.assert_trained()

    def test_after_an_error_of_the_library(self):
        self.run_script(
            """
            made = open_all(FOLDER)
            train(made[4])
            made[4].lookup(np.zeros(1, np.int64), np.zeros(3, np.float32))
            """,
            status=1,
            errors="InvalidArgumentError",
        )
        self.assert_trained()

    def test_exit_codes(self):
        for end, status in (("sys.exit(3)", 3), ("os._exit(4)", 4), ("raise SystemExit(5)", 5)):
            with self.subTest(end=end):
                self.new_folder()
                self.run_script(f"made = open_all(FOLDER)\ntrain(made[4])\n{end}\n", status=status)
                self.assert_trained()

    def test_while_threads_are_at_work(self):
        self.run_script("""
            made = open_all(FOLDER)
            embedding = made[4]
            def work(offset):
                numbers = np.arange(5000, dtype=np.int64) + offset
                w = np.zeros((5000, 4), np.float32)
                try:
                    while True:
                        embedding.lookup(numbers, w)
                        embedding.apply_gradients(numbers, w)
                except damo.Error:  # a module may close its storages at exit
                    pass
            def open_and_free():
                try:
                    while True:
                        made = damo.PyStorage(os.path.join(FOLDER, "other"))
                        del made
                except damo.Error:
                    pass
            threads = [
                threading.Thread(target=work, args=(10_000 * n,), daemon=True) for n in (1, 2)
            ]
            threads.append(threading.Thread(target=open_and_free, daemon=True))
            for thread in threads:
                thread.start()
            time.sleep(0.3)
            train(embedding)
        """)
        self.assert_trained()

    def test_a_forked_child_gets_an_error(self):
        self.run_script("""
            made = open_all(FOLDER)
            train(made[4])
            child = os.fork()
            if child == 0:
                try:
                    train(made[4])
                except RuntimeError as error:
                    os._exit(7 if error.status.name == "FORKED" else 8)
                os._exit(9)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        """)
        self.assert_trained()
