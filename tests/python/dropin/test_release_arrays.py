"""Arrays as code for damo-embedding gives them: converted, with one warning.

Measured: all releases with these classes take lists of keys and of gradients, and keys of shorter
integers.
"""

import array
import ctypes
import warnings

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters

from shared.integers import Index


class Arrays(Case):
    def setUp(self):
        super().setUp()
        self.rows = damo.PyEmbedding(self.storage(), optimizer(gamma=1.0), initializer("zeros"), 1)

    def weights(self, *numbers):
        w = np.full(len(numbers), 9, np.float32)
        self.rows.lookup(keys(*numbers), w)
        return w.tolist()

    def quietly(self, function, *arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments)

    def test_sequences_of_keys(self):
        for given in (
            [5],
            (5, 5, 5),
            range(5, 6),
            [np.uint8(5)],
            [np.uint64(5), np.int16(5)],
            [Index(5)],
            range(5, -1, -5),
            [2**63 + 5, 5, -(2**63)],
        ):
            with self.subTest(given=repr(given)):
                w = np.full((len(given), 1), 9, np.float32)
                self.warned([type(given).__name__, "int64"], self.rows.lookup, given, w)
                self.assertEqual(w.ravel().tolist(), [0] * len(given))
        self.assertEqual(self.weights(5 - 2**63, -(2**63)), [0, 0])

    def test_keys_that_are_bools_or_masked(self):
        tensor = type("Tensor", (), {"dtype": "torch.bool", "__index__": lambda self: 1})()
        for given in ([True, 2], [2, np.True_], (tensor, 2)):
            for call in (self.rows.lookup, self.rows.peek, self.rows.apply_gradients):
                self.assert_fails(TypeError, [], call, given, np.zeros(2, np.float32))
        self.assert_fails(TypeError, [], self.rows.apply_gradients, keys(5), [np.True_])
        for name in ("int64", "int32"):
            given = np.ma.array([1, 2], dtype=name, mask=[0, 1])
            w = np.zeros(2, np.float32)
            self.assert_fails(TypeError, ["masked", "compressed"], self.rows.lookup, given, w)
        self.assertEqual(self.rows.peek(keys(1, 2), np.zeros(2, np.float32)), bytes(2))

    def test_keys_of_shorter_integers(self):
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32"):
            info = np.iinfo(name)
            numbers = np.array([info.min, 7, info.max], name)
            gradients = np.ones(3, np.float32)
            self.warned([name, "astype"], self.rows.apply_gradients, numbers, gradients)
            self.assertLess(max(self.weights(int(info.min), 7, int(info.max))), 0)
        self.assertEqual(self.weights(7), [-6])

    def test_keys_that_are_views_and_read_only(self):
        base = np.arange(24, dtype=np.int32)
        base.flags.writeable = False
        for view in (base[::5], base[::-1][:3], base.reshape(4, 6)[:, 2], base[:0]):
            w = np.full(len(view), 9, np.float32)
            self.warned(["int32"], self.rows.lookup, view, w)
            self.assertEqual(w.tolist(), [0] * len(view))

    def test_sequences_of_gradients(self):
        for given, step in (
            ([1.0, 2.0], [1, 2]),
            ((1, 2), [1, 2]),
            ([np.float32(0.5), np.float64(0.25)], [0.5, 0.25]),
            ([3, 0.1], [3, float(np.float32(0.1))]),
        ):
            with self.subTest(given=given):
                before = self.weights(5, 6)
                self.warned(
                    [type(given).__name__, "float32"], self.rows.apply_gradients, keys(5, 6), given
                )
                after = [float(np.float32(was) - np.float32(by)) for was, by in zip(before, step)]
                self.assertEqual(self.weights(5, 6), after)

    def test_both_are_sequences(self):
        self.quietly(self.rows.apply_gradients, [5, 6], [1.0, 2.0])
        self.assertEqual(self.weights(5, 6), [-1, -2])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.rows.step(range(5, 7), (1.0, 2.0))
        self.assertEqual(len(caught), 3, "one for each thing to mend")
        self.assertEqual(self.weights(5, 6), [-2, -4])

    def test_what_is_no_number_is_refused(self):
        self.weights(5)
        for given in ([True], ["5"], [5.0], [None], [[5]], [2**64], [-(2**63) - 1], {5}, iter([5])):
            with self.subTest(keys=repr(given)), warnings.catch_warnings():
                warnings.simplefilter("error")
                self.assert_fails(
                    (TypeError, ValueError), ["keys"], self.rows.lookup, given, floats(0)
                )
        for given in ([True], ["1"], [None], [1j], [[1.0]], {1.0}, np.array([1.0]), 1.0):
            with self.subTest(gds=repr(given)), warnings.catch_warnings():
                warnings.simplefilter("error")
                self.assert_fails(
                    (TypeError, ValueError), ["gds"], self.rows.apply_gradients, keys(5), given
                )
        for given in ([float("nan")], [1e300], [float("-inf")], [1.0, 2.0], []):
            with self.subTest(gds=repr(given)):
                self.assert_fails(
                    (ValueError, OverflowError),
                    [],
                    lambda wrong: self.quietly(self.rows.apply_gradients, keys(5), wrong),
                    given,
                )
        self.assertEqual(self.weights(5), [0])

    def test_at_any_address(self):
        """Short keys are copied anyhow; others are refused by what they lack, not by an address."""
        self.weights(0)

        def at(offset, count, name):
            size = count * np.dtype(name).itemsize
            return np.frombuffer(bytearray(size + offset), name, offset=offset)

        for offset in (1, 4, 7):
            for name in ("int64", "uint64"):
                numbers, w = at(offset, 2, name), np.zeros(2, np.float32)
                for call in (self.rows.lookup, self.rows.peek, self.rows.apply_gradients):
                    words = ["keys", "aligned to 8 bytes", "copy"]
                    error = self.assert_fails(ValueError, words, call, numbers, w)
                    self.assertNotIn("0x", str(error))
                self.rows.lookup(numbers.copy(), w)
        for offset in (1, 2, 3):
            floats_there = at(offset, 2, "float32")
            for call in (self.rows.lookup, self.rows.peek, self.rows.apply_gradients):
                words = ["aligned to 4 bytes", "copy"]
                error = self.assert_fails(ValueError, words, call, keys(0, 5), floats_there)
                self.assertNotIn("0x", str(error))
            for call in (initializer().call, lambda w: optimizer().call(w, w)):
                self.assert_fails(ValueError, ["aligned to 4 bytes"], call, floats_there)
        self.warned(["int32"], self.rows.lookup, at(1, 3, "int32"), np.zeros(3, np.float32))
        self.assertEqual(self.weights(0), [0])

    def test_what_is_filled_is_the_callers(self):
        """A list, or weights of another type, would be filled and lost."""
        for w in ([0.0], (0.0,), np.zeros(1), np.zeros(1, np.float16), array.array("d", [0.0])):
            with self.subTest(w=repr(w)):
                self.assert_fails(TypeError, ["float32"], self.rows.lookup, keys(5), w)
                self.assert_fails(TypeError, ["float32"], self.rows.peek, keys(5), w)


class Buffers(Case):
    """Objects with a buffer are taken as they are, without a warning, as swig/README.md says."""

    def setUp(self):
        super().setUp()
        self.opened = self.storage()
        self.rows = damo.PyEmbedding(self.opened, optimizer(gamma=1.0), initializer("ones"), 2)

    def of(self, *numbers):
        """Buffers of float32 with these numbers."""
        flat = floats(*numbers)
        yield array.array("f", numbers)
        yield memoryview(flat.copy())
        yield memoryview(bytearray(flat.tobytes())).cast("f")
        yield (ctypes.c_float * len(numbers))(*numbers)

    def test_in_every_call(self):
        self.rows.lookup(keys(5), floats(0, 0))
        self.opened.dump(self.path("dump"), parameters(format="table"))
        table = damo.PyTable(self.path("dump"))
        numbers = [array.array("q", [5]), memoryview(keys(5)), memoryview(np.array([5], np.uint64))]
        numbers += [memoryview(bytearray(keys(5).tobytes())).cast(kind) for kind in "lnqQ"]
        for given in numbers:
            for w in self.of(9, 9):
                self.assertIsNone(self.rows.lookup(given, w))
                self.assertEqual(list(w), [1, 1])
            for w in self.of(9, 9):
                self.assertEqual(self.rows.peek(given, w), b"\1")
                self.assertEqual(list(w), [1, 1])
            for w in self.of(9, 9):
                self.assertEqual(table.lookup(0, given, w), b"\1")
                self.assertEqual(list(w), [1, 1])
            for gds in self.of(0.5, 1):
                self.rows.apply_gradients(given, gds)
            w = floats(9, 9)
            self.rows.lookup(given, w)
            self.assertEqual(w.tolist(), [-1, -3])
            self.rows.apply_gradients(given, floats(-2, -4))
        for w in self.of(9, 9):
            initializer().call(w)
            self.assertEqual(list(w), [1, 1])
        for w, gds in zip(self.of(1, 1), self.of(0.5, 1)):
            optimizer(gamma=1.0).call(w, gds)
            self.assertEqual(list(w), [0.5, 0])
        w = memoryview(np.zeros((1, 2), np.float32))
        self.rows.lookup(keys(5), w)
        self.assertEqual(w.tolist(), [[1, 1]])

    def test_of_another_kind(self):
        read_only = memoryview(floats(0, 0).tobytes()).cast("f")
        calls = (
            lambda w: self.rows.lookup(keys(5), w),
            lambda w: self.rows.peek(keys(5), w),
            initializer().call,
            lambda w: optimizer().call(w, floats(0, 0)),
        )
        for call in calls:
            for w in (b"12345678", bytearray(8), array.array("d", [0, 0]), memoryview(bytes(8))):
                self.assert_fails(TypeError, ["float32"], call, w)
            for w in (read_only, memoryview(np.zeros(4, np.float32))[::2]):
                self.assert_fails(ValueError, [], call, w)
        for wrong in (b"12345678", array.array("i", [5]), array.array("d", [5])):
            self.assert_fails(TypeError, ["keys"], self.rows.lookup, wrong, floats(0, 0))
        self.assertEqual(self.rows.peek(keys(5), floats(0, 0)), b"\0")

    def test_masked_arrays(self):
        for mask in ([True, False], False):
            masked = np.ma.array(floats(0, 0), mask=mask)
            for call in (
                lambda: self.rows.lookup(keys(5), masked),
                lambda: self.rows.peek(keys(5), masked),
                lambda: self.rows.apply_gradients(keys(5), masked),
                lambda: initializer().call(masked),
                lambda: optimizer().call(masked, floats(0, 0)),
                lambda: optimizer().call(floats(0, 0), masked),
                lambda: self.rows.lookup(
                    np.ma.array([5], mask=mask[:1] if mask else mask), floats(0, 0)
                ),
            ):
                self.assert_fails(TypeError, ["masked"], call)
        self.assertEqual(self.rows.peek(keys(5), floats(0, 0)), b"\0")
