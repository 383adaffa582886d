"""PyFilter: counts, the group that may be left out, its file, and what it refuses."""

import os

import numpy as np

import damo
from support import Case, parameters


class Filter(Case):
    def filter(self, name="filter", **values):
        return damo.PyFilter(
            parameters(path=self.path(name), **{"capacity": 1000, "count": 3, **values})
        )

    def test_counts(self):
        made = self.filter()
        self.assertIs(made.check(5), False)
        self.assertIsNone(made.add(5, 1))
        made.add(5, 1)
        self.assertIs(made.check(5), False)
        made.add(5, 1)
        self.assertIs(made.check(5), True)
        made.add(6, 100)
        self.assertIs(made.check(6), True)

    def test_the_group_is_0_when_left_out(self):
        made = self.filter()
        made.add(0, 5, 3)
        self.assertTrue(made.check(5) and made.check(0, 5))
        self.assertFalse(made.check(1, 5))
        made.add(7, 3)
        self.assertTrue(made.check(0, 7))
        made.add(65535, 9, 3)
        self.assertTrue(made.check(65535, 9))
        self.assertFalse(made.check(9))

    def test_all_64_bit_patterns_are_keys(self):
        made = self.filter()
        made.add(-1, 3)
        self.assertTrue(made.check(2**64 - 1), "the same bits")
        made.add(2**63, 3)
        self.assertTrue(made.check(-(2**63)))
        made.add(np.int64(11), 3)
        made.add(np.uint64(2**64 - 12), 3)
        self.assertTrue(made.check(np.uint64(11)) and made.check(np.int64(-12)))

    def test_never_false_for_a_key_that_was_added(self):
        made = self.filter(count=1)
        for key in range(0, 3000, 3):
            made.add(key, 1)
        self.assertTrue(all(made.check(key) for key in range(0, 3000, 3)))
        self.assertLess(sum(made.check(key) for key in range(1, 3000, 3)), 20)

    def test_counts_are_in_the_file(self):
        made = self.filter()
        made.add(5, 3)
        del made
        self.assertTrue(self.filter().check(5))
        self.assertFalse(self.filter(reload=False).check(5))

    def test_refuses(self):
        made = self.filter()
        self.assert_fails(ValueError, ["65536"], made.check, 65536, 1)
        self.assert_fails(ValueError, ["-1"], made.add, -1, 1, 1)
        self.assert_fails((ValueError, OverflowError), ["18446744073709551616"], made.check, 2**64)
        self.assert_fails(
            (ValueError, OverflowError), ["-9223372036854775809"], made.check, -(2**63) - 1
        )
        self.assert_fails((ValueError, OverflowError), [], made.add, 1, -1)
        self.assert_fails((ValueError, OverflowError), [], made.add, 1, 2**32)
        for wrong in ("5", 5.0, None, [5]):
            self.assert_fails(TypeError, [], made.check, wrong)
        self.assert_fails(TypeError, [], made.check)
        self.assert_fails(TypeError, [], made.add, 1)
        self.assert_fails(TypeError, [], made.add, 1, 2, 3, 4)
        self.assertFalse(made.check(1))

    def test_refuses_without_a_file_too(self):
        made = self.warned(["lets every key pass"], damo.PyFilter)
        for call, numbers in (
            (made.check, (65536, 1)),
            (made.check, (2**64,)),
            (made.add, (-1, 1, 1)),
            (made.add, (1, -1)),
            (made.add, (1, 2**32)),
        ):
            self.assert_fails(ValueError, [], call, *numbers)
        for wrong in ("5", 5.0, None, [5], True, np.True_):
            self.assert_fails(TypeError, ["key"], made.check, wrong)
            self.assert_fails(TypeError, ["num"], made.add, 5, wrong)
        self.assertIs(made.check(2**64 - 1), True)
        self.assertIsNone(made.add(65535, np.int64(-1), np.uint8(3)))

    def test_parameters_are_checked(self):
        with self.assertRaisesRegex(ValueError, "count"):
            self.filter("x", count=16)
        with self.assertRaisesRegex(ValueError, "'hashes'"):
            self.filter("x", hashes=3)
        self.assertFalse(os.path.exists(self.path("x")))
        with self.assertRaisesRegex(ValueError, "path"):
            damo.PyFilter(parameters(capacity=1000))
        made = self.filter()
        with self.assertRaises(OSError) as busy:
            self.filter()
        self.assertEqual(busy.exception.status.name, "BUSY")
        del made
        with self.assertRaises(ValueError) as other:
            self.filter(capacity=2000)
        self.assertEqual(other.exception.status.name, "INVALID_ARGUMENT")
        with open(self.path("filter"), "r+b") as file:
            file.truncate(100)
        with self.assertRaises(OSError) as damaged:
            self.filter()
        self.assertEqual(damaged.exception.status.name, "CORRUPTION")
