"""Embedding.begin_lookup and Lookup.finish."""

import gc
import threading

import numpy as np

import damo
from support import Case


class BegunLookups(Case):
    def test_only_changes_are_written(self):
        users = self.users(dim=2)
        keys = np.arange(600).reshape(3, 200)
        begun = users.begin_lookup(keys)
        self.assertIsInstance(begun, damo.Lookup)
        self.assertEqual((begun.weights.shape, begun.weights.any()), ((3, 200, 2), False))
        self.assertEqual(begun.finish().tolist(), list(range(600)))
        self.assertTrue(np.array_equal(begun.weights, users.peek(keys)[0]))

        # Rows without a step may be read again.
        users.apply_gradients(keys, np.zeros((3, 200, 2), np.float32))
        room = np.empty((3, 200, 2), np.float32)
        begun = users.begin_lookup(keys, out=room)
        self.assertIs(begun.weights, room)
        users.apply_gradients([3, 599], np.ones((2, 2), np.float32))
        changed = begun.finish()
        self.assertEqual((changed.tolist(), changed.dtype), ([3, 599], np.dtype(np.int64)))
        self.assertTrue(np.array_equal(room, users.lookup(keys)))

    def test_what_is_refused(self):
        users = self.users(dim=2)
        self.assertRaises(TypeError, users.begin_lookup, [1.5])
        self.assertRaises(ValueError, users.begin_lookup, [1], out=np.empty((2, 2), np.float32))
        begun = users.begin_lookup(range(600))
        begun.finish()
        self.assertRaisesRegex(damo.InvalidArgumentError, "is finished", begun.finish)
        begun.close()
        self.assertRaises(damo.ClosedError, begun.finish)

    def test_it_keeps_nothing_open(self):
        storage = self.storage()
        users = storage.embedding("user", dim=2, optimizer=damo.SGD())
        begun = users.begin_lookup(range(600))
        storage.close()
        self.assertRaises(damo.ClosedError, begun.finish)
        del users, storage
        gc.collect()
        self.storage()
        begun.close()

    def test_one_thread_finishes_it(self):
        users = self.users(dim=2)
        for _ in range(20):
            begun, outcomes = users.begin_lookup(range(5000)), []

            def finish():
                try:
                    outcomes.append(len(begun.finish()))
                except damo.InvalidArgumentError as error:
                    outcomes.append(str(error))

            threads = [threading.Thread(target=finish) for _ in range(4)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            self.assertEqual(sum(isinstance(outcome, int) for outcome in outcomes), 1, outcomes)


if __name__ == "__main__":
    import unittest

    unittest.main()
