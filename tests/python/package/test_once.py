"""Calls that are sent again, reads at a step, and the server and client of docs/retries.md."""

import os
import re
import signal
import subprocess
import sys
import time
import unittest

import numpy as np

import damo
from step_support import StepCase
from support import CHECKOUT, Case

MOST = 2**64 - 1


def row_of(*floats):
    return np.array([floats], np.float32)


class Single(Case):
    def setUp(self):
        super().setUp()
        self.table = self.storage()
        self.user = self.users(self.table, dim=2)

    def test_a_call_is_made_once(self):
        row = row_of(1, 2)
        self.assertIsNone(self.user.apply_gradients([1], row))
        self.assertIs(self.user.apply_gradients([1], row, once=(7, 5), expected_step=1), True)
        self.assertIs(self.user.apply_gradients([1], row, once=(7, 5), expected_step=1), False)
        self.assertIs(self.user.apply_gradients([1], row, once=(7, 4)), False)
        self.assertIs(self.user.apply_gradients([1], row, once=(np.uint64(MOST), MOST)), True)
        self.assertEqual(self.user.step, 3)
        clients = self.table.describe()["groups"][0]["clients"]
        found = [(one["client"], one["sequence"]) for one in clients]
        self.assertEqual(found, [(7, 5), (MOST, MOST)])
        self.assertEqual(list(clients[0]), ["client", "sequence", "time"])
        self.assertIs(self.table.forget_client(7), True)
        self.assertIs(self.table.forget_client(7), False)
        self.assertIs(self.user.apply_gradients([1], row, once=(7, 1)), True)

    def test_another_step_is_refused(self):
        row = row_of(1, 2)
        words = "expected is 3.*group 0 is 0"
        with self.assertRaisesRegex(damo.StepMismatchError, words) as raised:
            self.user.apply_gradients([1], row, once=(7, 5), expected_step=3)
        self.assertEqual(raised.exception.status, damo.Status.STEP_MISMATCH)
        out = row_of(9, 9)
        with self.assertRaisesRegex(damo.StepMismatchError, "step is 1.*group 0 is 0"):
            self.user.lookup([1], out=out, at_step=1)
        self.assertEqual(out[0, 0], 9)
        np.testing.assert_array_equal(self.user.lookup([1], at_step=0), self.user.lookup([1]))

    def test_wrong_arguments(self):
        row = row_of(1, 2)
        for once, words in (
            ([7, 5], "once must be a tuple"),
            ((7,), "once must be a tuple"),
            ((7.0, 5), "the client of once must be an integer"),
            ((True, 5), "the client of once must be an integer"),
            ((7, "5"), "the sequence of once must be an integer"),
        ):
            with self.assertRaisesRegex(TypeError, words):
                self.user.apply_gradients([1], row, once=once)
        for once, words in (
            ((-1, 5), "the client of once is -1"),
            ((7, MOST + 1), "the sequence of once is 18446744073709551616"),
        ):
            with self.assertRaisesRegex(ValueError, words):
                self.user.apply_gradients([1], row, once=once)
        with self.assertRaisesRegex(ValueError, "expected_step is given without once"):
            self.user.apply_gradients([1], row, expected_step=0)
        with self.assertRaisesRegex(ValueError, "expected_step is -1"):
            self.user.apply_gradients([1], row, once=(7, 5), expected_step=-1)
        with self.assertRaisesRegex(ValueError, "at_step is -1"):
            self.user.lookup([1], at_step=-1)
        with self.assertRaisesRegex(ValueError, "client is -1"):
            self.table.forget_client(-1)
        self.assertEqual(self.user.step, 0)


class Steps(StepCase):
    def gradients(self):
        return {"user": np.ones((3, 2), np.float32), "tags": np.ones((3, 3), np.float32)}

    def test_a_step_is_made_once(self):
        step = self.step()
        step.lookup(self.GIVEN, at_step=0)
        gradients = self.gradients()
        self.assertIsNone(step.apply_gradients(gradients))
        self.assertIs(step.apply_gradients(gradients, once=(7, 5), expected_step=1), True)
        self.assertIs(step.apply_gradients(gradients, once=(7, 5), expected_step=1), False)
        self.assertIs(step.apply_gradients(gradients, self.GIVEN, once=(7, 5)), False)
        self.assertEqual((self.user.step, self.tag.step), (2, 2))
        self.user.apply_gradients([1], row_of(1, 1))
        expected = {"user": 3, "tags": 2}
        self.assertIs(step.apply_gradients(gradients, once=(7, 6), expected_step=expected), True)
        self.assertIs(step.apply_gradients(gradients, once=(7, 7), expected_step={"tags": 3}), True)
        found = step.lookup(self.GIVEN, at_step={"user": 5, "tags": None})
        np.testing.assert_array_equal(found["user"], self.user.lookup([1, 2, 1]))

    def test_another_step_is_refused_with_the_feature(self):
        step = self.step()
        with self.assertRaisesRegex(damo.StepMismatchError, "at_step of .*'tags' is 1"):
            step.lookup(self.GIVEN, at_step={"tags": 1})
        step.lookup(self.GIVEN)
        with self.assertRaisesRegex(damo.StepMismatchError, "expected_step of .*'user' is 2"):
            step.apply_gradients(self.gradients(), once=(7, 5), expected_step=2)
        with self.assertRaisesRegex(ValueError, "at_step has 'item', which is no feature"):
            step.lookup(self.GIVEN, at_step={"item": 1})
        with self.assertRaisesRegex(ValueError, r"expected_step\['user'\] is -1"):
            step.apply_gradients(self.gradients(), once=(7, 5), expected_step={"user": -1})
        with self.assertRaisesRegex(ValueError, "expected_step is given without once"):
            step.apply_gradients(self.gradients(), expected_step=2)
        self.assertEqual((self.user.step, self.tag.step), (0, 0))

    def test_a_stored_step_needs_no_lookup(self):
        step = self.step(pooling={"tags": "max"})
        step.lookup(self.GIVEN)
        self.assertIs(step.apply_gradients(self.gradients(), once=(7, 5)), True)
        again = self.step(pooling={"tags": "max"})
        self.assertIs(again.apply_gradients(self.gradients(), self.GIVEN, once=(7, 5)), False)
        with self.assertRaisesRegex(ValueError, "has pooling 'max'"):
            again.apply_gradients(self.gradients(), self.GIVEN, once=(7, 6))


class Page(Case):
    """The server of docs/retries.md, which is killed again and again."""

    def test_the_server_and_the_client(self):
        page = (CHECKOUT / "docs" / "retries.md").read_text(encoding="utf-8")
        server, client, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        path = os.path.join(self.folder, "socket")
        server = server.replace('("127.0.0.1", 8000)', repr(path))
        client = client[: client.index("for sequence")].replace('("127.0.0.1", 8000)', repr(path))
        random, started = np.random.default_rng(1), []

        class Waiting:
            """In place of the module time: the client must not wait for a server that failed."""

            @staticmethod
            def sleep(seconds):
                self.assertIsNone(started[0].poll(), "the server has ended")
                time.sleep(seconds)

        names = {}
        exec(compile(client, "docs/retries.md", "exec"), names)
        names["time"] = Waiting

        def restart():
            for child in started:
                child.send_signal(signal.SIGKILL)
                child.wait()
            if os.path.exists(path):
                os.unlink(path)
            command = [sys.executable, "-c", server]
            started[:] = [subprocess.Popen(command, cwd=self.folder)]

        restart()
        self.addCleanup(lambda: (started[0].kill(), started[0].wait()))
        batches = [random.integers(0, 9, 5) for _ in range(12)]
        for sequence, keys in enumerate(batches):
            weights = names["sure"]("lookup", keys)
            if sequence % 4 == 1:
                restart()
            self.assertTrue(names["sure"]("apply", 1, sequence, keys, weights + 1))
        with self.assertRaisesRegex(damo.InvalidArgumentError, "gradients"):
            names["sure"]("apply", 1, len(batches), keys, weights * np.nan)
            if sequence % 4 == 3:
                restart()
            self.assertFalse(names["sure"]("apply", 1, sequence, keys, weights + 1))
        restart()
        found = names["sure"]("lookup", np.arange(9))
        with damo.Storage(os.path.join(self.folder, "plain")) as storage:
            plain = storage.embedding("user", dim=16, optimizer=damo.Adam(lr=0.01))
            for keys in batches:
                plain.apply_gradients(keys, plain.lookup(keys) + 1)
            np.testing.assert_array_equal(found, plain.lookup(np.arange(9)))


if __name__ == "__main__":
    unittest.main()
