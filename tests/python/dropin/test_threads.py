"""Other threads run during a call, and calls of several threads do not disturb each other."""

import sys
import threading
import time

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters


class Counter:
    """A Python thread that counts how often it has run.

    Meanwhile the interpreter takes the GIL from no thread: a thread has to release it.
    """

    def __enter__(self):
        self.count, self.stop = 0, False
        self.thread = threading.Thread(target=self.run)
        self.interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        self.thread.start()
        return self

    def run(self):
        while not self.stop:
            self.count += 1
            time.sleep(0.0005)

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()
        sys.setswitchinterval(self.interval)


class Threads(Case):
    def assert_lets_others_run(self, call, tries=2000):
        with Counter() as counter:
            before = counter.count
            while counter.count < before + 3 and tries > 0:
                call()
                tries -= 1
            self.assertGreaterEqual(counter.count, before + 3)

    def test_the_gil_is_released(self):
        storage = self.storage()
        embedding = damo.PyEmbedding(storage, optimizer("adam"), initializer("random_normal"), 16)
        n = 50_000
        numbers, w = np.arange(n, dtype=np.int64), np.zeros((n, 16), np.float32)
        self.assert_lets_others_run(lambda: embedding.lookup(numbers, w))
        self.assert_lets_others_run(lambda: embedding.apply_gradients(numbers, w))
        self.assert_lets_others_run(lambda: storage.dump(self.path("dump")), tries=50)
        names = iter(range(50))
        self.assert_lets_others_run(
            lambda: storage.checkpoint(self.path(f"checkpoint{next(names)}")), tries=50
        )
        self.assert_lets_others_run(
            lambda: storage.load_from_checkpoint(self.path("checkpoint0")), tries=50
        )
        big = np.zeros(1_000_000, np.float32)
        normal, sgd = initializer("random_normal"), optimizer("sgd")
        self.assert_lets_others_run(lambda: normal.call(big))
        self.assert_lets_others_run(lambda: sgd.call(big, big.copy()))

    def test_each_gradient_is_applied_once(self):
        embedding = damo.PyEmbedding(
            self.storage(), optimizer("sgd", gamma=1), initializer("zeros"), 2
        )
        numbers, ones = np.arange(50, dtype=np.int64), -np.ones((50, 2), np.float32)
        failed = []

        def work():
            try:
                w = np.zeros((50, 2), np.float32)
                for _ in range(100):
                    embedding.apply_gradients(numbers, ones)
                    embedding.lookup(numbers, w)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        w = np.zeros((50, 2), np.float32)
        embedding.lookup(numbers, w)
        np.testing.assert_array_equal(w, np.full((50, 2), 400))

    def test_each_thread_gets_its_own_error(self):
        embedding = damo.PyEmbedding(self.storage(), optimizer(), initializer(), 2)
        wrong = []

        def work(length):
            for _ in range(300):
                try:
                    embedding.lookup(keys(1), np.zeros(length, np.float32))
                    wrong.append("no error")
                except ValueError as error:
                    if str(length) not in str(error):
                        wrong.append(str(error))

        threads = [threading.Thread(target=work, args=(length,)) for length in (3311, 4422, 5533)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_a_bag_may_change_while_it_is_used(self):
        storage, condition = self.storage(), parameters(min_count=0)
        embedding = damo.PyEmbedding(storage, optimizer(), initializer(), 2)
        embedding.apply_gradients(keys(1), floats(1, 1))
        stop = threading.Event()

        def change():
            while not stop.is_set():
                condition.insert("min_count", 1)
                condition.insert("expire_days", 1000)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            for _ in range(20):
                storage.dump(self.path("dump"), condition)
        finally:
            stop.set()
            thread.join()
