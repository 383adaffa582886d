"""What the drop-in classes have beyond those of damo-embedding: peek, flush, stat and tables."""

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters


class Calls(Case):
    def setUp(self):
        super().setUp()
        self.opened = self.storage()
        self.users = damo.PyEmbedding(
            self.opened, optimizer("sgd", gamma=1.0), initializer("ones"), 2, 3
        )
        self.keys = keys(2**62, -1)

    def train(self, *numbers):
        self.users.apply_gradients(keys(*numbers), np.full(2 * len(numbers), 0.25, np.float32))

    def dump(self, name, **condition):
        self.opened.dump(self.path(name), parameters(format="table", **condition))
        return self.path(name)

    def test_peek_makes_no_rows(self):
        w = floats(9, 9, 9, 9)
        self.assertEqual(self.users.peek(self.keys, w), b"\0\0")
        self.assertEqual(w.tolist(), [0, 0, 0, 0])
        self.train(-1)
        self.assertEqual(self.users.peek(keys=self.keys, w=w), b"\0\1")
        self.assertEqual(w.tolist(), [0, 0, 0.75, 0.75])
        self.assertEqual(self.users.peek(keys(), floats()), b"")
        self.assertEqual(self.opened.stat("rows_created"), 1)

    def test_peek_takes_what_lookup_takes(self):
        self.train(-1, 5)
        w = np.full((2, 2), 9, np.float32)
        self.assertEqual(self.users.peek(np.array([2**64 - 1, 4], np.uint64), w), b"\1\0")
        self.assertEqual(w.tolist(), [[0.75, 0.75], [0, 0]])
        self.assertEqual(self.warned(["int64"], self.users.peek, [4, 5], w), b"\0\1")
        self.assertEqual(
            self.warned(["int32"], self.users.peek, np.array([5, 4], np.int32), w), b"\1\0"
        )
        for wrong in (
            floats(0),
            np.zeros(4),
            np.zeros((2, 4), np.float32)[:, ::2],
            np.zeros((4, 1), np.float32),
        ):
            with self.subTest(w=wrong.shape):
                self.assert_fails((TypeError, ValueError), [], self.users.peek, self.keys, wrong)
        read_only = floats(9, 9, 9, 9)
        read_only.flags.writeable = False
        self.assert_fails(ValueError, ["read-only"], self.users.peek, self.keys, read_only)

    def test_flush_and_stat(self):
        self.train(1, 2, 3)
        self.assertEqual(self.opened.stat("rows_updated"), 3)
        self.assertEqual(self.opened.stat(name="dirty_rows"), 3)
        self.assertIsNone(self.opened.flush())
        self.assertEqual(self.opened.stat("dirty_rows"), 0)
        self.assert_fails(ValueError, ["bytes_on_disk"], self.opened.stat, "rows")
        for wrong in (3, None, b"dirty_rows"):
            self.assert_fails(TypeError, [], self.opened.stat, wrong)

    def test_tables(self):
        self.train(-1)
        base = damo.PyTable(self.dump("base"))
        self.assertEqual((base.dim(3), base.rows(group=3)), (2, 1))
        w = floats(9, 9, 9, 9)
        self.assertEqual(base.lookup(3, self.keys, w), b"\0\1")
        self.assertEqual(w.tolist(), [0, 0, 0.75, 0.75])
        self.train(2**62)
        increment = self.dump("increment", since=base.number())
        damo.PyTable.merge(self.path("base"), increment, self.path("merged"))
        merged = damo.PyTable(path=self.path("merged"))
        self.assertEqual(merged.lookup(group=3, keys=self.keys, w=w.reshape(2, 2)), b"\1\1")
        self.assertEqual(w.tolist(), [0.75] * 4)
        self.assertGreater(merged.number(), base.number())

    def test_tables_that_are_refused(self):
        self.train(-1)
        table = damo.PyTable(self.dump("base"))
        w = floats(9, 9, 9, 9)
        self.assert_fails(LookupError, ["4"], table.rows, 4, status="NOT_FOUND")
        self.assert_fails(LookupError, ["4"], table.lookup, 4, self.keys, w)
        self.assert_fails((ValueError, OverflowError), ["65536"], table.dim, 65536)
        for wrong in (True, "3", 3.0, None):
            self.assert_fails(TypeError, ["group"], table.dim, wrong)
        self.assert_fails(TypeError, ["keys", "int64"], table.lookup, 3, [1.5, 2], w)
        self.assert_fails(TypeError, ["float32"], table.lookup, 3, self.keys, w.astype(float))
        self.assert_fails(ValueError, [], table.lookup, 3, self.keys, floats(9, 9, 9))
        self.assertEqual(w.tolist(), [9] * 4)
        self.assert_fails(FileNotFoundError, ["none"], damo.PyTable, self.path("none"))
        self.opened.dump(self.path("classic"))
        self.assert_fails((ValueError, OSError), ["classic"], damo.PyTable, self.path("classic"))
        self.assert_fails(
            ValueError, [], damo.PyTable.merge, self.path("base"), self.path("base"), self.path("x")
        )
