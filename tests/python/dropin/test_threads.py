"""Other threads run while a call works, and calls of several threads do not get in each other's way."""

import threading
import time

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters


class Ticker:
    """A Python thread that writes down when it runs."""

    def __enter__(self):
        self.times, self.stop = [], False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        while not self.stop:
            self.times.append(time.perf_counter())
            time.sleep(0.001)

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()


class Threads(Case):
    def assert_lets_others_run(self, call, repeat=1, short=False):
        with Ticker() as ticker:
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            end = time.perf_counter()
        # Away from the ends, where the interpreter may switch threads before or after the call.
        fifth = (end - start) / 5
        inside = [at for at in ticker.times if start + fifth < at < end - fifth]
        if short and end - start < 0.05:
            return
        self.assertGreater(end - start, 0.05, "too short to tell")
        self.assertGreater(len(inside), 3, f"in {end - start:.3f} s")

    def test_the_gil_is_released(self):
        storage = self.storage()
        embedding = damo.PyEmbedding(storage, optimizer("adam"), initializer("random_normal"), 16)
        n = 400_000
        numbers, w = np.arange(n, dtype=np.int64), np.zeros((n, 16), np.float32)
        self.assert_lets_others_run(lambda: embedding.lookup(numbers, w))
        self.assert_lets_others_run(lambda: embedding.apply_gradients(numbers, w))
        self.assert_lets_others_run(lambda: storage.dump(self.path("dump")))
        embedding.apply_gradients(numbers, w)  # so that there is something to write, unless that is done already
        self.assert_lets_others_run(lambda: storage.checkpoint(self.path("checkpoint")), short=True)
        self.assert_lets_others_run(lambda: storage.load_from_checkpoint(self.path("checkpoint")))
        big = np.zeros(40_000_000, np.float32)
        normal = initializer("random_normal")
        self.assert_lets_others_run(lambda: normal.call(big))
        self.assert_lets_others_run(lambda: optimizer("sgd").call(big, big.copy()), 4)

    def test_each_gradient_is_applied_once(self):
        embedding = damo.PyEmbedding(self.storage(), optimizer("sgd", gamma=1), initializer("zeros"), 2)
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
