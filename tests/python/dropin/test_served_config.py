"""PyDamo: what its configuration may leave out, and how it may write numbers.

Measured: 1.1.12 takes a float where an integer belongs, and ends with an error at null and at a
missing ttl.
"""

import array
import json
import os
import pathlib
import time
import warnings

import numpy as np

import damo
from support import Case, floats, keys

GROUP = {
    "group": 0,
    "dim": 2,
    "initializer": {"name": "ones"},
    "optimizer": {"name": "sgd", "gamma": 1},
}


class Served(Case):
    def configuration(self, text=None, **more):
        content = {"dir": self.path("rows" + os.urandom(4).hex()), "embeddings": [GROUP], **more}
        path = pathlib.Path(self.path("c.json"))
        path.write_text(json.dumps(content) if text is None else text, encoding="utf-8")
        return str(path)

    def row(self, table):
        w = floats(9, 9)
        table.pull(0, keys(5), w)
        table.push(0, keys(5), floats(0.5, 1))
        table.pull(0, keys(5), w)
        return w.tolist()


class Configurations(Served):
    def test_null_is_as_good_as_nothing(self):
        for more in (
            {},
            {"ttl": None},
            {"reload_dir": None},
            {"ttl": None, "reload_dir": None, "http": None},
            {"embeddings": [{**GROUP, "optimizer": {"name": "sgd", "gamma": 1, "lambda": None}}]},
            {"embeddings": [{**GROUP, "initializer": {"name": "ones", "value": None}}]},
        ):
            with self.subTest(more=more), warnings.catch_warnings():
                warnings.simplefilter("error")
                table = damo.PyDamo(self.configuration(**more))
                self.assertEqual(self.row(table), [0.5, 0])
        # Where something is needed it is not there.
        for words, more in (
            ("dir", {"dir": None}),
            ("embeddings", {"embeddings": None}),
            ("group", {"embeddings": [{**GROUP, "group": None}]}),
            ("dim", {"embeddings": [{**GROUP, "dim": None}]}),
            ("optimizer", {"embeddings": [{**GROUP, "optimizer": None}]}),
            ("initializer", {"embeddings": [{**GROUP, "initializer": None}]}),
            ("name", {"embeddings": [{**GROUP, "optimizer": {"name": None}}]}),
            ("embeddings[0]", {"embeddings": [None]}),
        ):
            with self.subTest(more=more):
                self.assert_fails(ValueError, [words], damo.PyDamo, self.configuration(**more))
        for text in ("null", "[]", "3", '"x"', "[null]"):
            self.assert_fails(ValueError, ["embeddings"], damo.PyDamo, self.configuration(text))

    def test_rows_never_expire_without_a_ttl(self):
        for more, stays in (({"ttl": None}, True), ({"ttl": 0}, True), ({"ttl": 1}, False)):
            table = damo.PyDamo(self.configuration(**more))
            self.assertEqual(self.row(table), [0.5, 0])
            if not stays:
                time.sleep(1.5)
            w = floats(9, 9)
            table.pull(0, keys(5), w)
            self.assertEqual(w.tolist(), [0.5, 0] if stays else [1, 1])

    def test_whole_numbers_as_floats(self):
        for words, more in (
            (["ttl", "3600"], {"ttl": 3600.0}),
            (["ttl", "0"], {"ttl": 0.0}),
            (["dim", "embeddings[0]"], {"embeddings": [{**GROUP, "dim": 2.0}]}),
            (["group", "embeddings[0]"], {"embeddings": [{**GROUP, "group": 0.0}]}),
        ):
            with self.subTest(more=more):
                words = [*words, "is a float", "c.json"]
                table = self.warned(words, damo.PyDamo, self.configuration(**more))
                self.assertEqual(self.row(table), [0.5, 0])
        for words, more in (
            ("ttl", {"ttl": 0.5}),
            ("ttl", {"ttl": float("nan")}),
            ("ttl", {"ttl": float("inf")}),
            ("ttl", {"ttl": True}),
            ("ttl", {"ttl": [1]}),
            ("ttl", {"ttl": -1}),
            ("dim", {"embeddings": [{**GROUP, "dim": 2.5}]}),
            ("group", {"embeddings": [{**GROUP, "group": False}]}),
            ("reload_dir", {"reload_dir": False}),
            ("gamma", {"embeddings": [{**GROUP, "optimizer": {"name": "sgd", "gamma": [1]}}]}),
            ("value", {"embeddings": [{**GROUP, "initializer": {"name": "ones", "value": {}}}]}),
        ):
            with self.subTest(more=more):
                self.assert_fails(ValueError, [words], damo.PyDamo, self.configuration(**more))

    def test_text_that_no_path_can_be(self):
        for wrong, word in (("a\0b", "NUL"), ("\ud800", "UTF-8")):
            self.assert_fails(
                ValueError,
                [word],
                damo.PyDamo,
                self.configuration(dir=wrong),
                status="INVALID_ARGUMENT",
            )
        table = damo.PyDamo(self.configuration())
        for wrong in ("a\0b", b"a\0b", "\ud800"):
            for call in (table.checkpoint, table.dump):
                self.assert_fails(ValueError, [], call, wrong, status="INVALID_ARGUMENT")


class Weights(Served):
    """pull fills any buffer of float32, with and without padding, as 1.1.12 does."""

    def test_buffers(self):
        table = damo.PyDamo(self.configuration())
        for numbers, expected in (((5, 6), [1] * 4), ((0, 6), [9, 9, 1, 1]), ((0, 0), [9] * 4)):
            for w in (
                np.full(4, 9, np.float32),
                np.full((2, 2), 9, np.float32),
                np.full((1, 2, 2), 9, np.float32),
                memoryview(np.full(4, 9, np.float32)),
                memoryview(np.full((2, 2), 9, np.float32)),
                array.array("f", [9] * 4),
                memoryview(bytearray(np.full(4, 9, np.float32).tobytes())).cast("f"),
            ):
                with self.subTest(numbers=numbers, type=type(w)):
                    self.assertIsNone(table.pull(0, keys(*numbers), w))
                    self.assertEqual(np.asarray(w).ravel().tolist(), expected)
            gds = memoryview(np.zeros(4, np.float32))
            self.assertIsNone(table.push(0, memoryview(keys(*numbers)), gds))

    def test_what_is_no_such_buffer(self):
        table = damo.PyDamo(self.configuration())
        read_only = np.zeros(4, np.float32)
        read_only.flags.writeable = False
        for numbers in (keys(5, 6), keys(0, 6)):
            for wrong in (
                [0.0] * 4,
                None,
                bytearray(16),
                np.zeros(4),
                np.zeros(4, ">f4"),
                np.ma.array(np.zeros(4, np.float32), mask=[0, 1, 0, 0]),
                memoryview(np.zeros(4)),
            ):
                with self.subTest(numbers=numbers, w=wrong):
                    self.assert_fails(
                        TypeError, ["w must", "float32"], table.pull, 0, numbers, wrong
                    )
            for wrong in (
                read_only,
                memoryview(read_only),
                np.zeros(3, np.float32),
                np.zeros(8, np.float32)[::2],
                memoryview(np.zeros(8, np.float32))[::2],
                np.frombuffer(bytearray(17), np.float32, offset=1),
            ):
                with self.subTest(numbers=numbers, w=wrong):
                    self.assert_fails(ValueError, ["w must"], table.pull, 0, numbers, wrong)
        table.dump(self.path("dump"))
        self.assertEqual(os.path.getsize(self.path("dump")), 4 + 16, "no row was made")
