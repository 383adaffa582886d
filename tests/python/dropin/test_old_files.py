"""load_from_checkpoint of files that releases of damo-embedding wrote (tests/import)."""

import json
import os
import pathlib
import warnings

import numpy as np

import damo
from support import FIXTURES, Case, floats, initializer, keys, optimizer, parameters


def fixture(release, name):
    return os.path.join(FIXTURES, release, name)


def values(release, name):
    with open(fixture(release, name + ".json")) as file:
        return json.load(file)


class OldFiles(Case):
    def open_group(self, storage, group):
        bag = parameters(name=group["optimizer"], **group["parameters"])
        return damo.PyEmbedding(
            storage, damo.PyOptimizer(bag), initializer("zeros"), group["dim"], group["group"]
        )

    def assert_rows(self, embedding, group, rows):
        for expected in rows:
            if expected["group"] == group["group"]:
                w = np.zeros(group["dim"], np.float32)
                embedding.lookup(keys(expected["key"]), w)
                self.assertEqual(w.tolist(), floats(*expected["weights"]).tolist())

    def test_loaded_after_groups_are_opened(self):
        for release in ("1.0.5", "1.0.6", "1.1.3", "1.1.11", "1.1.12"):
            known = values(release, "all")
            storage = self.storage(release)
            opened = [(self.open_group(storage, group), group) for group in known["groups"]]
            self.warned(
                ["damo-embedding", "60 rows", "damo import"],
                storage.load_from_checkpoint,
                fixture(release, "all.checkpoint"),
            )
            for embedding, group in opened:
                self.assert_rows(embedding, group, known["rows"])

    def test_loaded_before_groups_are_opened(self):
        known = values("1.1.12", "all")
        storage, path = self.storage(), fixture("1.1.12", "all.checkpoint")
        first = self.open_group(storage, known["groups"][0])
        self.warned(
            ["5 rows came in", "55 of groups that are not open yet"],
            storage.load_from_checkpoint,
            path,
        )
        # What was trained since stays when another group is opened.
        first.apply_gradients(keys(1), floats(1))
        w, again = floats(0), floats(0)
        first.lookup(keys(1), w)
        for group in known["groups"][1:]:
            self.assert_rows(self.open_group(storage, group), group, known["rows"])
        first.lookup(keys(1), again)
        self.assertEqual(again[0], w[0])
        # Into a storage without any group.
        storage = self.storage("other")
        self.warned(["0 rows came in", "60 of groups"], storage.load_from_checkpoint, path)
        self.assert_rows(
            self.open_group(storage, known["groups"][7]), known["groups"][7], known["rows"]
        )

    def test_groups_that_the_file_does_not_have(self):
        known = values("1.1.12", "sgd3")
        storage, path = self.storage(), fixture("1.1.12", "sgd3.checkpoint")
        self.warned(["0 rows came in", "5 of groups"], storage.load_from_checkpoint, path)
        # They are opened without a word, and have no rows of the file.
        for group in (3, 65535):
            other = damo.PyEmbedding(storage, optimizer("sgd"), initializer("zeros"), 3, group)
            self.assertEqual(list(other.peek(keys(1, 2, 3), floats(*range(9)))), [0, 0, 0])
        opened = self.open_group(storage, known["groups"][0])
        self.assert_rows(opened, known["groups"][0], known["rows"])
        # One that the file has, with another dim, is refused as before.
        again = self.storage("other")
        self.warned(["5 of groups"], again.load_from_checkpoint, path)
        self.assert_fails(
            ValueError,
            ["its dim is 3; the group has 2"],
            lambda: damo.PyEmbedding(again, optimizer("sgd"), initializer("zeros"), 2, 0),
        )

    def test_a_file_that_is_gone_before_groups_are_opened(self):
        known = values("1.1.12", "all")
        content = pathlib.Path(fixture("1.1.12", "all.checkpoint")).read_bytes()
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        pathlib.Path("old").write_bytes(content)
        storage = self.storage()
        self.warned(["60 of groups"], storage.load_from_checkpoint, "old")
        # It is found from elsewhere, too.
        os.chdir(before)
        groups = known["groups"]
        self.assert_rows(self.open_group(storage, groups[0]), groups[0], known["rows"])
        os.remove(self.path("old"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            opened = self.open_group(storage, groups[1])
            self.open_group(storage, groups[2])
        self.assertEqual(len(caught), 1, caught)
        for word in (self.path("old"), "is gone", f"group {groups[1]['group']}"):
            self.assertIn(word, str(caught[0].message))
        w = np.full(groups[1]["dim"], 9, np.float32)
        self.assertNotIn(1, opened.peek(keys(1), w))

    def test_what_does_not_fit_is_an_error(self):
        storage, path = self.storage(), fixture("1.1.12", "sgd3.checkpoint")
        other = damo.PyEmbedding(storage, optimizer("sgd"), initializer("zeros"), 2, 0)
        self.assert_fails(
            ValueError, ["its dim is 3; the group has 2"], storage.load_from_checkpoint, path
        )
        with open(self.path("file"), "wb") as file:
            file.write(b"no checkpoint at all")
        self.assert_fails(
            OSError, ["file"], storage.load_from_checkpoint, self.path("file"), status="CORRUPTION"
        )
        self.assertIsNotNone(other)
