"""What the SWIG module has beyond the drop-in classes: peek, flush, stat, tables."""

import array
import tempfile
import unittest
from pathlib import Path

import damo


def bag(**values):
    made = damo.Parameters()
    for key, value in values.items():
        made.insert(key, value)
    return made


def floats(*values):
    return array.array("f", values)


class Calls(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="damo-swig-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.storage = damo.PyStorage(self.folder / "table")
        sgd = damo.PyOptimizer(bag(name="sgd", gamma=1.0))
        self.users = damo.PyEmbedding(self.storage, sgd, damo.PyInitializer(bag(name="ones")), 2, 3)
        self.keys = array.array("q", [2**62, -1])

    def train(self, keys):
        self.users.apply_gradients(array.array("q", keys), floats(*[0.25] * 2 * len(keys)))

    def dump(self, name, **condition):
        path = self.folder / name
        self.storage.dump(path, bag(format="table", **condition))
        return path

    def test_peek_makes_no_rows(self):
        weights = floats(9, 9, 9, 9)
        self.assertEqual(self.users.peek(self.keys, weights), b"\0\0")
        self.assertEqual(weights, floats(0, 0, 0, 0))
        self.train([-1])
        self.assertEqual(self.users.peek(keys=self.keys, w=weights), b"\0\1")
        self.assertEqual(weights, floats(0, 0, 0.75, 0.75))
        with self.assertRaisesRegex(ValueError, "weights_len"):
            self.users.peek(self.keys, floats(0))

    def test_flush_and_stat(self):
        self.train([1, 2, 3])
        self.assertEqual(self.storage.stat("rows_updated"), 3)
        self.assertEqual(self.storage.stat(name="dirty_rows"), 3)
        self.storage.flush()
        self.assertEqual(self.storage.stat("dirty_rows"), 0)
        with self.assertRaisesRegex(ValueError, "bytes_on_disk"):
            self.storage.stat("rows")
        with self.assertRaises(TypeError):
            self.storage.stat(3)

    def test_tables(self):
        self.train([-1])
        base = damo.PyTable(self.dump("base"))
        self.assertEqual((base.dim(3), base.rows(3)), (2, 1))
        weights = floats(9, 9, 9, 9)
        self.assertEqual(base.lookup(3, self.keys, weights), b"\0\1")
        self.assertEqual(weights, floats(0, 0, 0.75, 0.75))
        self.train([2**62])
        increment = self.dump("increment", since=base.number())
        damo.PyTable.merge(self.folder / "base", increment, self.folder / "merged")
        merged = damo.PyTable(self.folder / "merged")
        self.assertEqual(merged.lookup(3, self.keys, weights), b"\1\1")
        self.assertGreater(merged.number(), base.number())
        with self.assertRaises(FileNotFoundError):
            base.rows(4)
        with self.assertRaises(FileNotFoundError):
            damo.PyTable(self.folder / "none")


if __name__ == "__main__":
    unittest.main()
