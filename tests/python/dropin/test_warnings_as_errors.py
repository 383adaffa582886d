"""Python's -W error: a call whose warning is an error has done nothing, and can be made again."""

import json
import os
import pathlib
import shutil
import warnings

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters
from test_old_files import fixture, values
from test_storage import read_classic


class AsErrors(Case):
    def setUp(self):
        super().setUp()
        self.opened = self.storage()
        self.rows = damo.PyEmbedding(self.opened, optimizer(gamma=1.0), initializer("ones"), 2, 1)
        self.rows.apply_gradients(keys(5), floats(0.5, 0.25))

    def refused(self, words, function, *arguments, **named):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return self.assert_fails(UserWarning, words, function, *arguments, **named)

    def there(self):
        """What the folder has but the storage's own files."""
        return sorted(name for name in os.listdir(self.folder) if name != "table")

    def weights(self, number=5):
        w = floats(9, 9)
        return self.rows.peek(keys(number), w), w.tolist()

    def test_a_second_checkpoint(self):
        path = self.path("cp")
        self.opened.checkpoint(path)
        there, leads = self.there(), os.readlink(path)
        for _ in range(3):
            self.refused(["a checkpoint already"], self.opened.checkpoint, path)
            self.assertEqual((self.there(), os.readlink(path)), (there, leads))
        self.warned(["a checkpoint already"], self.opened.checkpoint, path)
        self.assertEqual(len(self.there()), len(there) + 1)
        self.assertNotEqual(os.readlink(path), leads)

    def test_a_checkpoint_where_something_else_is(self):
        os.mkdir(self.path("folder"))
        pathlib.Path(self.path("file")).write_bytes(b"mine")
        os.symlink("nowhere", self.path("link"))
        there = self.there()
        for name in ("folder", "file", "link"):
            self.refused(["there already"], self.opened.checkpoint, self.path(name))
        self.assertEqual(self.there(), there)

    def test_an_empty_dump(self):
        path = self.path("dump")
        for _ in range(2):
            self.refused(["group 7"], self.opened.dump, path, parameters(group=7))
            self.assertEqual(self.there(), [])
        self.opened.dump(path)
        before = pathlib.Path(path).read_bytes()
        self.refused(["group 7"], self.opened.dump, path, parameters(group=7))
        self.assertEqual(pathlib.Path(path).read_bytes(), before)
        self.warned(["group 7"], self.opened.dump, path, parameters(group=7))
        self.assertEqual(read_classic(path)[2], {})

    def test_calls_of_an_embedding(self):
        w = floats(9, 9)
        for words, call in (
            ("list", lambda: self.rows.lookup([6], w)),
            ("int32", lambda: self.rows.lookup(np.array([6], np.int32), w)),
            ("list", lambda: self.rows.apply_gradients([5], floats(1, 1))),
            ("list", lambda: self.rows.apply_gradients(keys(5), [1.0, 1.0])),
            ("apply_gradients", lambda: self.rows.step(keys(5), floats(1, 1))),
            ("step", lambda: optimizer().call(w, floats(1, 1), global_step=1)),
        ):
            self.refused([words], call)
            self.assertEqual(w.tolist(), [9, 9])
        self.assertEqual(self.weights(5), (b"\1", [0.5, 0.75]))
        self.assertEqual(self.weights(6)[0], b"\0")

    def test_things_that_are_made(self):
        for words, make, bags in (
            ("PyOptimizer()", damo.PyOptimizer, []),
            ("PyInitializer()", damo.PyInitializer, []),
            ("PyFilter()", damo.PyFilter, []),
            ("'gama'", damo.PyOptimizer, [parameters(name="sgd", gama=1)]),
            ("empty", damo.PyOptimizer, [parameters(name="sgd"), parameters(name="")]),
        ):
            self.refused([words], make, *bags)

    def test_a_file_that_is_gone_before_its_group_is_opened(self):
        path = self.path("old")
        shutil.copyfile(fixture("1.0.6", "sgd3.checkpoint"), path)
        storage = self.storage("other")
        self.warned(["not open yet"], storage.load_from_checkpoint, path)
        os.remove(path)
        made = optimizer(), initializer("zeros"), 3, 0
        self.refused(["is gone", "group 0"], damo.PyEmbedding, storage, *made)
        storage.dump(self.path("dump"))
        self.assertFalse(np.fromfile(self.path("dump"), np.uint32, 256).any(), "no group was made")
        # It has said so, and is not in the way any more.
        damo.PyEmbedding(storage, *made)

    def test_an_old_file_is_loaded_again(self):
        """What came in is known afterwards only. Then all of it has come in, and it can again."""
        known = values("1.1.12", "sgd3")
        path = fixture("1.1.12", "sgd3.checkpoint")
        storage = self.storage("other")
        made = optimizer(gamma=0.125), initializer("zeros"), 3, 0
        for _ in range(2):
            self.refused(["5 of groups that are not open"], storage.load_from_checkpoint, path)
        rows = damo.PyEmbedding(storage, *made)
        for _ in range(2):
            for row in known["rows"]:
                w = floats(0, 0, 0)
                self.assertEqual(rows.peek(keys(row["key"]), w), b"\1")
                self.assertEqual(w.tolist(), floats(*row["weights"]).tolist())
            self.refused(["5 rows came in"], storage.load_from_checkpoint, path)

    def test_reload_dir(self):
        """Nothing is opened, not even made."""
        group = {
            "group": 0,
            "dim": 2,
            "initializer": {"name": "ones"},
            "optimizer": {"name": "sgd"},
        }
        content = {"dir": self.path("rows"), "ttl": 0, "embeddings": [group]}
        self.opened.checkpoint(self.path("cut.damo-old"))
        for words, more in (
            ("is not there", {"reload_dir": self.path("nowhere")}),
            ("cut short", {"reload_dir": self.path("cut")}),
            ("write it as 60", {"ttl": 60.0}),
        ):
            path = pathlib.Path(self.path("c.json"))
            path.write_text(json.dumps({**content, **more}), encoding="utf-8")
            self.refused([words], damo.PyDamo, str(path))
            self.assertFalse(os.path.exists(self.path("rows")))
