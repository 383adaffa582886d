"""Parameters: what it takes, what it prints, and what it refuses."""

import json

import numpy as np

import damo
from support import Case, parameters


class Parameters(Case):
    def test_prints_itself_as_json(self):
        bag = damo.Parameters()
        self.assertEqual(bag.to_json(), "{}")
        self.assertIsNone(bag.insert("name", "adam"))
        bag.insert("gamma", 0.25)
        bag.insert("steps", -3)
        bag.insert("nesterov", True)
        bag.insert("größe", '日本 "x"')
        self.assertEqual(
            json.loads(bag.to_json()),
            {"name": "adam", "gamma": 0.25, "steps": -3, "nesterov": True, "größe": '日本 "x"'},
        )
        self.assertEqual(parameters(b=False, a=1).to_json(), '{"a":1,"b":false}')

    def test_the_last_value_counts(self):
        bag = parameters(name="sgd", gamma=1)
        bag.insert("gamma", "x")
        bag.insert("gamma", 0.5)
        self.assertEqual(json.loads(bag.to_json()), {"name": "sgd", "gamma": 0.5})

    def test_int_and_bool_keep_their_types(self):
        self.assertEqual(parameters(a=1, b=1.0, c=True).to_json(), '{"a":1,"b":1.0,"c":true}')

    def test_the_whole_range_of_int64(self):
        self.assertEqual(
            parameters(a=-(2**63), b=2**63 - 1).to_json(), f'{{"a":{-(2**63)},"b":{2**63 - 1}}}'
        )
        for number in (2**63, -(2**63) - 1):
            with self.assertRaises((ValueError, OverflowError)):
                parameters(a=number)

    def test_scalars_of_numpy(self):
        bag = parameters(
            a=np.int64(-3), b=np.float32(0.5), c=np.float64(0.25), d=np.bool_(True), e=np.uint8(200)
        )
        self.assertEqual(
            json.loads(bag.to_json()), {"a": -3, "b": 0.5, "c": 0.25, "d": True, "e": 200}
        )
        self.assertIn('"d":true', bag.to_json())

    def test_what_was_put_in_stays(self):
        value = np.array(3)
        bag = parameters(name="constant", value=value)
        value[...] = 5
        self.assertEqual(json.loads(bag.to_json())["value"], 3)
        w = np.zeros(2, np.float32)
        damo.PyInitializer(bag).call(w)
        np.testing.assert_array_equal(w, [3, 3])

    def test_other_values_are_refused_and_change_nothing(self):
        bag = parameters(a=1)
        for value in (None, [1], 1j, b"x", object(), np.zeros(1), np.zeros(3), damo.Parameters()):
            with self.subTest(value=value):
                self.assert_fails(TypeError, ["a"], bag.insert, "a", value)
        for value in (float("nan"), float("inf"), "a\0b"):
            with self.subTest(value=value):
                self.assert_fails(ValueError, [], bag.insert, "a", value)
        self.assertEqual(bag.to_json(), '{"a":1}')

    def test_keys_are_checked(self):
        bag = damo.Parameters()
        self.assert_fails(TypeError, [], bag.insert, 3, 1)
        self.assert_fails(TypeError, [], bag.insert, None, 1)
        self.assert_fails(TypeError, [], bag.insert, "a")
        self.assert_fails(ValueError, ["key"], bag.insert, "", 1, status="INVALID_ARGUMENT")
        self.assert_fails(ValueError, [], bag.insert, "a\0b", 1)
        self.assertEqual(bag.to_json(), "{}")

    def test_text_that_has_no_utf_8(self):
        """Halves of surrogate pairs, and what stands for foreign bytes in paths."""
        bag, storage = damo.Parameters(), self.storage()
        for text in ("\ud800", "a\udfffb", "\udcff", "\ud83d", "x" * 100 + "\udc80"):
            with self.subTest(text=ascii(text)):
                for call in (
                    lambda: bag.insert("a", text),
                    lambda: bag.insert(text, 1),
                    lambda: storage.stat(text),
                ):
                    error = self.assert_fails(
                        ValueError, ["UTF-8"], call, status="INVALID_ARGUMENT"
                    )
                    self.assertNotIsInstance(error, UnicodeError)
        self.assertEqual(bag.to_json(), "{}")
        bag.insert("a", "\U0001f600")
        self.assertEqual(json.loads(bag.to_json()), {"a": "\U0001f600"})

    def test_whoever_uses_it_copies_it(self):
        bag = parameters(name="constant", value=2)
        made = damo.PyInitializer(bag)
        bag.insert("value", 3)
        w = np.zeros(2, np.float32)
        made.call(w)
        np.testing.assert_array_equal(w, [2, 2])
        damo.PyInitializer(bag).call(w)
        np.testing.assert_array_equal(w, [3, 3])
