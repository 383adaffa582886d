"""What Step refuses, and that nothing has changed then."""

import threading
import unittest
from unittest import mock

import numpy as np

import damo
from damo import _c_api
from step_support import StepCase
from support import floats


class Refused(StepCase):
    def test_steps(self):
        fails = lambda kind, words, *arguments, **named: self.assert_fails(
            kind, words, self.table.step, *arguments, **named
        )
        both = {"user": self.user, "tags": self.tag}
        fails(TypeError, ["features", "list"], [self.user])
        fails(ValueError, ["features is empty"], {})
        fails(TypeError, ["name of a feature", "7"], {7: self.user})
        fails(TypeError, ["'user'", "Embedding", "str"], {"user": "user"})
        fails(TypeError, ["pooling", "'mean'"], both, pooling="mean")
        fails(ValueError, ["'tag'", "'user', 'tags'"], both, pooling={"tag": "sum"})
        fails(ValueError, ["'tags'", "'avg'", "'max'"], both, pooling={"tags": "avg"})
        fails(TypeError, ["include_last_offset", "1"], both, include_last_offset=1)
        other = self.users(self.storage("other"), dim=2)
        fails(ValueError, ["'other'", "other"], {"user": self.user, "other": other})
        again = self.users(self.table, dim=2)
        fails(ValueError, ["'user'", "'again'", "group 0"], {"user": self.user, "again": again})

    def test_features(self):
        step = self.step()
        for given, kind, words in (
            ([1], TypeError, ["features", "list"]),
            ({"user": [1]}, ValueError, ["no 'tags'", "'user', 'tags'"]),
            ({**self.GIVEN, "users": [1]}, ValueError, ["unknown 'users'"]),
            ({**self.GIVEN, "user": [1.5]}, TypeError, ["'user'", "keys", "integer"]),
            ({**self.GIVEN, "user": (np.zeros(2, int), np.zeros(2, int))}, TypeError, ["'user'"]),
            ({**self.GIVEN, "user": [np.zeros(2, int)]}, TypeError, ["'user'", "one array"]),
            ({**self.GIVEN, "tags": [5, 6]}, TypeError, ["'tags'", "(keys, offsets)"]),
            ({**self.GIVEN, "tags": ([5],)}, TypeError, ["'tags'", "tuple of 1"]),
            ({**self.GIVEN, "tags": ([[5]], [0])}, ValueError, ["'tags'", "keys", "(1, 1)"]),
            ({**self.GIVEN, "tags": ([5], [[0]])}, ValueError, ["'tags'", "offsets", "(1, 1)"]),
            ({**self.GIVEN, "tags": ([5], [0.0])}, TypeError, ["'tags'", "offsets"]),
            ({**self.GIVEN, "tags": ([5], [1])}, ValueError, ["'tags'", "offsets"]),
            ({**self.GIVEN, "tags": ([5], np.zeros(0, int))}, ValueError, ["'tags'", "len(keys)"]),
            ({**self.GIVEN, "tags": ([5, 6], [0, 3])}, ValueError, ["'tags'", "offsets"]),
            ({**self.GIVEN, "tags": ([5, 6, 7], [0, 2, 1])}, ValueError, ["'tags'", "offsets"]),
            (
                {**self.GIVEN, "tags": ([5], [0], floats(2))},
                ValueError,
                ["'tags'", "weights", "(2,)"],
            ),
            ({**self.GIVEN, "tags": ([5], [0], [1.0])}, TypeError, ["'tags'", "weights"]),
        ):
            with self.subTest(given=given):
                self.assert_fails(kind, words, step.lookup, given)
                self.assert_fails(kind, words, step.peek, given)
        mean = self.step(pooling={"tags": "mean"})
        given = {**self.GIVEN, "tags": ([5], [0], floats(1))}
        self.assert_fails(ValueError, ["'tags'", "weights", "'mean'"], mean.lookup, given)
        self.assertEqual((len(self.user), len(self.tag)), (0, 0))

    def test_outputs(self):
        step = self.step()
        right = {"user": floats(3, 2), "tags": floats(3, 3)}
        frozen = floats(3, 5)
        frozen.flags.writeable = False
        for out, kind, words in (
            ([1], TypeError, ["out", "list"]),
            (floats(3, 4), ValueError, ["out", "(3, 4)", "(3, 5)"]),
            (np.ones((3, 5)), TypeError, ["out", "float32"]),
            (frozen, ValueError, ["out", "read-only"]),
            (floats(3, 10)[:, ::2], ValueError, ["out", "strides"]),
            ({"user": floats(3, 2)}, ValueError, ["out", "no 'tags'"]),
            ({**right, "tags": floats(2, 3)}, ValueError, ["'tags'", "out", "(3, 3)"]),
            ({**right, "tags": np.ones((3, 3))}, TypeError, ["'tags'", "out", "float32"]),
        ):
            with self.subTest(out=out):
                self.assert_fails(kind, words, step.lookup, self.GIVEN, out=out)
        given = {**self.GIVEN, "user": [[1, 2, 3]]}
        self.assert_fails(ValueError, ["'user'", "(1, 3)"], step.lookup, given, out=floats(3, 5))
        given = {**self.GIVEN, "user": [1, 2]}
        self.assert_fails(ValueError, ["'tags'", "3", "2"], step.lookup, given, out=floats(3, 5))
        matrix = floats(3, 5)
        out = {"user": matrix[:, :2], "tags": matrix[:, 1:4]}
        words = ["overlap", "'user'", "'tags'"]
        self.assert_fails(ValueError, words, step.lookup, self.GIVEN, out=out)
        self.assertEqual((len(self.user), len(self.tag)), (0, 0))

    def test_files_have_no_features(self):
        step = self.step()
        words = "damo: damo_step_lookup: /gradients[0]/part 1/keys_len cannot be read"
        for kind in (damo.IoError, damo.CorruptionError):
            with mock.patch.object(step, "_look_up", side_effect=kind(words)):
                self.assertEqual(str(self.assert_fails(kind, [], step.lookup, self.GIVEN)), words)
            with mock.patch.object(step, "_add_keys", side_effect=kind(words)):
                self.assert_fails(kind, ["'user'", words], step.lookup, self.GIVEN)

    def test_gradients(self):
        step = self.step()
        gradients = {"user": floats(3, 2), "tags": floats(3, 3)}
        self.assert_fails(ValueError, ["neither lookup nor peek"], step.apply_gradients, gradients)
        before = step.lookup(self.GIVEN)
        for wrong, kind, words in (
            ({**gradients, "tags": floats(2, 3)}, ValueError, ["'tags'", "gradients", "(2, 3)"]),
            ({**gradients, "tags": np.ones((3, 3))}, TypeError, ["'tags'", "gradients"]),
            (floats(2, 5), ValueError, ["gradients", "(3, 5)"]),
            ({"user": floats(3, 2)}, ValueError, ["gradients", "no 'tags'"]),
            ({**gradients, "tags": floats(3, 3, value=np.nan)}, ValueError, ["'tags', row 0"]),
            ({**gradients, "user": floats(3, 2, value=np.inf)}, ValueError, ["'user'", "row 0"]),
        ):
            self.assert_fails(kind, words, step.apply_gradients, wrong)
        # One feature's gradients are refused, and no embedding is stepped.
        self.assertEqual((self.user.step, self.tag.step), (0, 0))
        for name, rows in step.peek(self.GIVEN).items():
            np.testing.assert_array_equal(rows, before[name])
        step.apply_gradients(gradients)
        # After a lookup that fails there are no features.
        self.assertRaises(ValueError, step.lookup, {})
        self.assert_fails(ValueError, ["has failed"], step.apply_gradients, gradients)
        largest = self.step(pooling={"tags": "max"})
        self.assert_fails(
            ValueError, ["'tags'", "'max'"], largest.apply_gradients, gradients, self.GIVEN
        )

    def test_after_the_end(self):
        step = self.step()
        with step:
            step.lookup(self.GIVEN)
        self.assertTrue(step.closed)
        self.assert_fails(damo.ClosedError, ["Step"], step.lookup, self.GIVEN)
        other = self.step()
        self.user.close()
        self.assert_fails(damo.ClosedError, ["'user'", "Embedding"], other.lookup, self.GIVEN)
        self.table.close()
        self.assertTrue(other.closed)
        self.assertRaises(damo.ClosedError, self.step)
        self.storage()

    def test_two_threads(self):
        step, inside, ended = self.step(), threading.Event(), threading.Event()
        call = _c_api.damo_step_lookup

        def waits(*arguments):
            inside.set()
            ended.wait(60)
            return call(*arguments)

        with mock.patch.object(_c_api, "damo_step_lookup", waits):
            thread = threading.Thread(target=step.lookup, args=(self.GIVEN,))
            thread.start()
            inside.wait(60)
            self.assert_fails(damo.BusyError, ["another thread"], step.peek, self.GIVEN)
            ended.set()
            thread.join()
        step.apply_gradients({"user": floats(3, 2), "tags": floats(3, 3)})


if __name__ == "__main__":
    unittest.main()
