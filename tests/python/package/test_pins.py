"""Embedding.pin and Pin.commit, with NoOptimizer."""

import threading
import warnings

import numpy as np

import damo
from support import Case


class Pins(Case):
    def own(self, **options):
        none = damo.NoOptimizer(1, initial_accumulator_value=0.5)
        options = {"initializer": damo.Zeros(), **options}
        return self.storage().embedding("own", dim=2, optimizer=none, **options)

    def test_rows_are_changed_and_committed(self):
        users = self.own(initializer=damo.Ones(), padding_key=0)
        pin = users.pin([[7, 8], [7, 0]])
        np.testing.assert_array_equal(pin.keys, [7, 8, 0])
        np.testing.assert_array_equal(pin.positions, [[0, 1], [0, 2]])
        np.testing.assert_array_equal(pin.is_new, [True, True, False])
        np.testing.assert_array_equal(pin.rows, [[1, 1, 0.5], [1, 1, 0.5], [0, 0, 0]])
        pin.weights[0] *= 3
        pin.state[:] += 1
        self.assertEqual(users.peek([7])[1], [False])
        pin.commit()
        self.assertTrue(pin.closed)
        self.assertRaises(damo.ClosedError, pin.commit)
        record = users.record(7)
        np.testing.assert_array_equal(record.weights, [3, 3])
        np.testing.assert_array_equal(record.state, [1.5])
        self.assertEqual((record.update_num, users.step), (1, 0))
        self.assertRaises(KeyError, users.record, 0)
        pin = users.pin(7)
        pin.rows += 5
        pin.close()
        np.testing.assert_array_equal(users.record(7).weights, [3, 3])
        users.pin([]).commit()

    def test_conflicts(self):
        users = self.own()
        one, two = users.pin([1]), users.pin([1, 2])
        one.rows += 1
        two.rows += 2
        two.commit()
        self.assert_fails(damo.BusyError, ["key 1 was changed"], one.commit, "refuse")
        self.assert_fails(ValueError, ["'add' or 'refuse'"], one.commit, "replace")
        one.rows[0, 1] = np.nan
        self.assert_fails(ValueError, ["key 1 (column 1)", "NaN"], one.commit)
        one.rows[0, 1] = 1
        one.commit()
        np.testing.assert_array_equal(users.record(1).weights, [3, 3])
        np.testing.assert_array_equal(users.record(1).state, [3.5])

    def test_memory_stays_the_pins(self):
        """Arrays of other shapes neither overrun the library's memory nor scramble rows."""
        users = self.own()
        pin = users.pin([1, 2])
        pin.weights[1] = 7
        for name in ("rows", "weights", "state"):
            present = getattr(pin, name)
            for other in (np.zeros((2, 9), np.float32), present.copy(), present[:1], 1.0, None):
                words = [f"{name} of a Pin cannot become", f"pin.{name}[:] = ..."]
                self.assert_fails(AttributeError, words, setattr, pin, name, other)
        self.assertRaises(AttributeError, setattr, pin, "keys", np.arange(9))
        with warnings.catch_warnings():
            # NumPy 2.5 and later warn of it.
            warnings.simplefilter("ignore", DeprecationWarning)
            pin.rows.shape = (3, 2)
            self.assert_fails(ValueError, ["(3, 2)", "it must be (2, 3)"], pin.commit)
            pin.rows.shape = (2, 3)
        pin.keys[:] = 5  # A copy, for the caller.
        pin.commit()
        np.testing.assert_array_equal(users.record(1).weights, [0, 0])
        np.testing.assert_array_equal(users.record(2).weights, [7, 7])
        self.assertRaises(KeyError, users.record, 5)

    def test_parts_are_changed_in_place(self):
        users = self.own()
        pin = users.pin([1])
        pin.weights -= [1, 2]
        pin.state *= 4
        pin.rows += 1
        pin.commit()
        np.testing.assert_array_equal(users.record(1).weights, [0, -1])
        np.testing.assert_array_equal(users.record(1).state, [3])
        empty = users.pin([])
        empty.weights += 1
        empty.rows += 1
        empty.commit()

    def test_a_storage_closes_its_pins(self):
        users = self.own()
        pin, committed = users.pin([1]), users.pin([2])
        committed.commit()
        users.storage.close()
        self.assertTrue(pin.closed)
        self.assertRaises(damo.ClosedError, pin.commit)
        self.assertRaises(damo.ClosedError, users.pin, [1])
        # The directory is free, though there is a pin.
        users = self.own()
        self.assertRaises(KeyError, users.record, 1)
        self.assertEqual(users.record(2).update_num, 1)

    def test_threads_lose_nothing(self):
        users = self.own()

        def train():
            for key in range(200):
                pin = users.pin([0, key % 7 + 1])
                pin.rows += 1
                pin.commit()

        threads = [threading.Thread(target=train) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        np.testing.assert_array_equal(users.record(0).weights, [600, 600])
        self.assertEqual(users.record(0).update_num, 600)

    def test_gradients_are_refused(self):
        users = self.own()
        gradients = np.ones((1, 2), np.float32)
        self.assert_fails(ValueError, ["takes no steps"], users.apply_gradients, [1], gradients)
