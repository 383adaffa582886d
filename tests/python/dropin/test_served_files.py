"""PyDamo: what its reload_dir may be, where its checkpoints go, and the push of each release."""

import json
import os
import pathlib
import shutil

import numpy as np

import damo
from support import Case, floats, keys
from test_old_files import fixture, values


class Served(Case):
    def configuration(self, name, groups, **more):
        content = {"dir": self.path(name + "-rows"), "ttl": 0, "embeddings": groups, **more}
        path = pathlib.Path(self.path(name + ".json"))
        path.write_text(json.dumps(content), encoding="utf-8")
        return str(path)

    def groups(self, known):
        return [
            {
                "group": group["group"],
                "dim": group["dim"],
                "initializer": {"name": "zeros"},
                "optimizer": dict(group["parameters"], name=group["optimizer"]),
            }
            for group in known["groups"]
        ]

    def pull(self, table, group, number, dim):
        w = np.full(dim, 9, np.float32)
        table.pull(group, keys(number), w)
        return w.tolist()

    def assert_rows(self, table, known):
        for row in known["rows"]:
            weights = floats(*row["weights"]).tolist()
            self.assertEqual(self.pull(table, row["group"], row["key"], len(weights)), weights, row)

    def test_push_of_each_release(self):
        known = values("1.1.11", "sgd3")
        table = damo.PyDamo(self.configuration("push", self.groups(known)))
        self.pull(table, 0, 5, 3)
        gds = floats(8, 0, -8)
        pushes = (
            lambda: table.push(0, keys(5), gds),
            lambda: table.push(0, 0, keys(5), gds),
            lambda: table.push(2**64 - 1, 0, keys(5), gds),
            lambda: table.push(np.uint64(7), np.int32(0), keys(5), gds),
            lambda: table.push(np.int8(7), 0, np.array([5], np.uint64), gds.reshape(1, 3)),
        )
        for number, push in enumerate(pushes, 1):
            self.assertIsNone(push())
            self.assertEqual(self.pull(table, 0, 5, 3), [-number, 0, number])
        for wrong in (
            lambda: table.push(True, 0, keys(5), gds),
            lambda: table.push("1", 0, keys(5), gds),
            lambda: table.push(1, False, keys(5), gds),
            lambda: table.push(1, 0.0, keys(5), gds),
            lambda: table.push(np.bool_(True), np.bool_(False), keys(5), gds),
            lambda: table.pull("0", keys(5), floats(0, 0, 0)),
            lambda: table.push(1, 7, keys(5), gds),
            lambda: table.push(1, 0, keys(5), gds[:2]),
            lambda: table.push(1, 0, keys(5), floats(0, np.nan, 0)),
            lambda: table.push(1, 0, keys(5), gds, gds),
            lambda: table.push(keys(5), gds),
        ):
            self.assert_fails((TypeError, ValueError), [], wrong)
        self.assertEqual(self.pull(table, 0, 5, 3), [-5, 0, 5])

    def test_reload_dir_of_every_kind(self):
        for release in ("1.0.5", "1.1.3", "1.1.12"):
            for kind in ("checkpoint", "dump"):
                known = values(release, "all")
                path = fixture(release, f"all.{kind}")
                configuration = self.configuration(
                    release + kind, self.groups(known), reload_dir=path
                )
                table = self.warned(["60 rows came in"], damo.PyDamo, configuration)
                self.assert_rows(table, known)
        # damo's own: a directory, and the link that PyStorage.checkpoint leaves.
        table.checkpoint(self.path("own"))
        del table
        storage = damo.PyStorage(self.path("1.1.12dump-rows"))
        storage.checkpoint(self.path("linked"))
        del storage
        for name in ("own", "linked"):
            path = self.path(name)
            configuration = self.configuration("of-" + name, self.groups(known), reload_dir=path)
            self.assert_rows(damo.PyDamo(configuration), known)

    def test_reload_dir_that_is_wrong(self):
        known = values("1.1.12", "sgd3")
        shutil.copytree(fixture("1.1.12", "closed"), self.path("closed"))
        pathlib.Path(self.path("empty")).write_bytes(b"")
        os.mkdir(self.path("folder"))
        for name, words in (
            ("closed", ["rows of damo-embedding", "docs/migrating.md"]),
            ("empty", ["0 bytes"]),
            ("folder", ["folder"]),
        ):
            with self.subTest(name=name):
                configuration = self.configuration(
                    name, self.groups(known), reload_dir=self.path(name)
                )
                self.assert_fails((ValueError, OSError), words, damo.PyDamo, configuration)
        # The directory of the rows itself is the old one.
        configuration = self.configuration("dir", self.groups(known), dir=self.path("closed"))
        self.assert_fails(ValueError, ["rows of damo-embedding"], damo.PyDamo, configuration)

    def test_checkpoints_that_are_refused_leave_nothing(self):
        known = values("1.1.12", "sgd3")
        table = damo.PyDamo(self.configuration("table", self.groups(known)))
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        # As if the working directory were a checkpoint.
        pathlib.Path("checkpoint.json").write_text("{}", encoding="utf-8")
        there = sorted(os.listdir())
        for wrong in ("", "/", b"", self.path("no/where")):
            self.assert_fails((ValueError, OSError), [], table.checkpoint, wrong)
        self.assertEqual(sorted(os.listdir()), there)
        for path in (b"bytes", pathlib.Path("path"), "slash/"):
            for _ in range(2):
                self.assertIsNone(table.checkpoint(path))
        made = {"bytes", "path", "slash"}
        self.assertEqual(set(os.listdir()) - set(there), made)
