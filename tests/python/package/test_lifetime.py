"""Handles: leaks, and calls of many threads."""

import gc
import os
import sys
import threading
import time

import numpy as np

import damo
from damo import _handles
from support import Case, floats


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
            users = storage.embedding(
                0, dim=4, optimizer=damo.SGD(), initializer=damo.Normal(seed=3)
            )
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
                        [
                            storage.embedding(first + group, dim=1, optimizer=sgd)
                            for group in range(5)
                        ]
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
