"""Dumps, checkpoints and files at paths as code for damo-embedding uses them."""

import glob
import os
import pathlib
import shutil
import threading
import time
import warnings
from unittest import mock

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters
from test_old_files import fixture, values
from test_releases import read_counted
from test_storage import read_classic

RELEASES = ("1.0.5", "1.0.6", "1.1.3", "1.1.11", "1.1.12")


class Paths(Case):
    def setUp(self):
        super().setUp()
        self.opened = self.storage()
        self.rows = damo.PyEmbedding(self.opened, optimizer(gamma=1.0), initializer("ones"), 2, 1)
        self.addCleanup(damo.write_as, None)

    def train(self):
        self.rows.apply_gradients(keys(5), floats(0.5, 0.25))

    def weights(self):
        w = np.zeros(2, np.float32)
        self.rows.lookup(keys(5), w)
        return w.tolist()


class Dumps(Paths):
    def test_of_a_group_that_is_not_there(self):
        self.train()
        for condition, width in (
            ({"group": 0}, 256),
            ({"group": 65535, "expire_days": 1.0}, 256),
            ({"group": 2, "min_count": 3}, 256),
            ({"group": np.int16(7), "header_groups": 1024}, 1024),
        ):
            with self.subTest(condition=condition):
                words = [f"group {condition['group']} is not there", "open the group first"]
                dump = self.path("dump")
                self.warned(words, self.opened.dump, dump, parameters(**condition))
                dims, counts, rows = read_classic(dump, width)
                self.assertEqual((rows, int(counts.sum()), int(dims[1])), ({}, 0, 2))
        damo.write_as("1.1.12")
        self.warned(["group 9"], self.opened.dump, self.path("dump"), parameters(group=9))
        self.assertEqual(read_counted(self.path("dump")), ({1: 2}, {}))
        self.warned(
            ["group 9"], self.opened.dump, self.path("served"), parameters(group=9, format="table")
        )
        self.assertEqual(damo.PyTable(self.path("served")).rows(1), 0)
        # What is wrong beside the group stays wrong, and nothing is written.
        for wrong in ({"min_cout": 3}, {"min_count": "3"}, {"format": "csv"}, {"expire_days": -1}):
            with self.subTest(wrong=wrong):
                bag = parameters(group=9, **wrong)
                self.assert_fails(
                    (ValueError, TypeError), [], self.opened.dump, self.path("x"), bag
                )
        self.assertFalse(os.path.exists(self.path("x")))

    def test_of_a_storage_without_groups(self):
        empty = self.storage("empty")
        self.warned(["group 0"], empty.dump, self.path("dump"), parameters(group=0))
        self.assertEqual(read_classic(self.path("dump"))[2], {})

    def test_as_each_release_wrote_them(self):
        self.train()
        rows = {(1, 5): [0.5, 0.75]}
        releases = ["1.0.5", "1.0.6", *(f"1.1.{patch}" for patch in range(13))]
        for release in releases:
            damo.write_as(release)
            self.opened.dump(self.path("dump"))
            if release == "1.0.5":
                self.assertEqual(read_classic(self.path("dump"), 1024)[2], rows)
            else:
                self.assertEqual(read_counted(self.path("dump")), ({1: 2}, rows))
        # A condition with a width or a format has its own, and one with another has the release's.
        self.opened.dump(self.path("dump"), parameters(header_groups=300))
        self.assertEqual(read_classic(self.path("dump"), 300)[2], rows)
        self.opened.dump(self.path("dump"), parameters(min_count=2))
        self.assertEqual(read_counted(self.path("dump")), ({1: 2}, {}))
        for wrong in ("1.0", "1", "1.0.55", "1.10.6", "0.9", "1.1.13", "1.1.3x", 1, 1.1, b"1.1.3"):
            self.assert_fails(ValueError, [repr(wrong), "'1.0.6'"], damo.write_as, wrong)
        self.opened.dump(self.path("dump"))
        self.assertEqual(read_counted(self.path("dump"))[1], rows)


class Checkpoints(Paths):
    def test_several_threads_in_one_millisecond(self):
        errors = []

        def make(path):
            try:
                self.opened.checkpoint(path)
            except Exception as error:
                errors.append(error)

        now = time.time()
        with mock.patch("time.time", lambda: now), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            threads = [threading.Thread(target=make, args=(self.path("cp"),)) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(errors, [])
        made = [name for name in os.listdir(self.folder) if name.startswith("cp-")]
        self.assertEqual(len(made), 6, made)
        self.assertIn(os.readlink(self.path("cp")), made)

    def test_a_second_one_by_other_spellings(self):
        self.train()
        self.opened.checkpoint(self.path("cp"))
        for spelling in (
            self.path("cp") + "/",
            pathlib.Path(self.path("cp")),
            os.fsencode(self.path("cp")),
            os.path.relpath(self.path("cp")),
            self.path("rows/../cp"),
        ):
            os.makedirs(self.path("rows"), exist_ok=True)
            self.train()
            self.warned(["a name of its own"], self.opened.checkpoint, spelling)
            weights = self.weights()
            self.train()
            self.opened.load_from_checkpoint(spelling)
            self.assertEqual(self.weights(), weights)
        self.assertEqual(len(glob.glob(self.path("cp-*"))), 6)

    def test_a_path_that_something_else_has(self):
        self.train()
        os.mkdir(self.path("elsewhere"))
        os.symlink("elsewhere", self.path("link"))
        os.symlink("nowhere-5", self.path("dangling"))
        with open(self.path("file"), "w") as file:
            file.write("mine")
        for name in ("link", "dangling", "file", "elsewhere"):
            with self.subTest(name=name):
                self.warned(["there already"], self.opened.checkpoint, self.path(name))
                (made,) = glob.glob(self.path(name) + "-*")
                weights = self.weights()
                self.train()
                self.opened.load_from_checkpoint(made)
                self.assertEqual(self.weights(), weights)
        self.assertEqual(os.readlink(self.path("link")), "elsewhere")
        self.assertEqual(os.readlink(self.path("dangling")), "nowhere-5")
        self.assertEqual(os.listdir(self.path("elsewhere")), [])
        self.assertEqual(pathlib.Path(self.path("file")).read_text(), "mine")

    def test_the_latest_goes_and_another_comes(self):
        self.train()
        self.opened.checkpoint(self.path("cp"))
        shutil.rmtree(os.path.realpath(self.path("cp")))
        self.assert_fails(FileNotFoundError, [], self.opened.load_from_checkpoint, self.path("cp"))
        self.warned(["a checkpoint already"], self.opened.checkpoint, self.path("cp"))
        self.opened.load_from_checkpoint(self.path("cp"))
        # None is made, and nothing is left, where none can be.
        for wrong in (self.path("no/where/cp"), "", "/", "//"):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.assert_fails((OSError, ValueError), [], self.opened.checkpoint, wrong)
        self.assertEqual(self.weights(), [0.5, 0.75])


class OldFiles(Case):
    def opened_for(self, known, name="table"):
        storage = self.storage(name)
        opened = {}
        for group in known["groups"]:
            bag = parameters(name=group["optimizer"], **group["parameters"])
            made = damo.PyOptimizer(bag), initializer("zeros"), group["dim"], group["group"]
            opened[group["group"]] = damo.PyEmbedding(storage, *made)
        return storage, opened

    def assert_weights(self, opened, known):
        for row in known["rows"]:
            w = np.zeros(len(row["weights"]), np.float32)
            self.assertEqual(opened[row["group"]].peek(keys(row["key"]), w), b"\1")
            self.assertEqual(w.tolist(), floats(*row["weights"]).tolist())

    def test_dumps_and_links_and_twice(self):
        for release in RELEASES:
            known = values(release, "sgd3")
            storage, opened = self.opened_for(known, release)
            link = self.path("link")
            if os.path.lexists(link):
                os.remove(link)
            os.symlink(fixture(release, "sgd3.checkpoint"), link)
            for path in (
                link,
                pathlib.Path(fixture(release, "sgd3.checkpoint")),
                fixture(release, "sgd3.dump"),
                os.fsencode(fixture(release, "sgd3.dump")),
            ):
                opened[0].apply_gradients(keys(1, 99), floats(*[1] * 6))
                with self.subTest(release=release, path=path):
                    self.warned(["5 rows came in"], storage.load_from_checkpoint, path)
                    self.assert_weights(opened, known)
            w = floats(0, 0, 0)
            self.assertEqual(opened[0].peek(keys(99), w), b"\1", "over the rows that are there")

    def test_a_group_that_is_opened_after_others(self):
        """Of several files, and of those before a checkpoint of damo's own."""
        known = values("1.0.6", "sgd3")
        for first, second in (("checkpoint", "dump"), ("dump", "checkpoint")):
            storage = self.storage(first)
            for kind in (first, second):
                self.warned(
                    ["0 rows came in", "5 of groups that are not open yet"],
                    storage.load_from_checkpoint,
                    fixture("1.0.6", f"sgd3.{kind}"),
                )
            made = optimizer(gamma=0.125), initializer("zeros"), 3, 0
            self.assert_weights({0: damo.PyEmbedding(storage, *made)}, known)
        # A group that the file does not have is opened as ever.
        other = damo.PyEmbedding(storage, optimizer(), initializer("ones"), 2, 9)
        w = floats(0, 0)
        other.lookup(keys(1), w)
        self.assertEqual(w.tolist(), [1, 1])
        # What waits is forgotten with what it was to come into.
        storage = self.storage("forgets")
        storage.checkpoint(self.path("own"))
        path = fixture("1.0.6", "sgd3.checkpoint")
        self.warned(["not open yet"], storage.load_from_checkpoint, path)
        storage.load_from_checkpoint(self.path("own"))
        rows = damo.PyEmbedding(storage, *made)
        self.assertEqual(rows.peek(keys(1, 2), np.zeros(6, np.float32)), b"\0\0")

    def test_what_is_no_such_file(self):
        known = values("1.1.12", "sgd3")
        storage, opened = self.opened_for(known)
        self.warned(["5 rows"], storage.load_from_checkpoint, fixture("1.1.12", "sgd3.checkpoint"))
        whole = pathlib.Path(fixture("1.1.12", "sgd3.checkpoint")).read_bytes()
        for name, content in (
            ("empty", b""),
            ("cut", whole[:-1]),
            ("longer", whole + b"\0"),
            ("text", b"weights\n" * 100),
        ):
            with open(self.path(name), "wb") as file:
                file.write(content)
            error = self.assert_fails(
                OSError, [name], storage.load_from_checkpoint, self.path(name)
            )
            self.assertEqual(error.status.name, "CORRUPTION")
        for state in ("killed", "closed"):
            shutil.copytree(fixture("1.1.12", state), self.path(state))
            self.assert_fails(
                ValueError,
                ["rows of damo-embedding", "docs/migrating.md", state],
                storage.load_from_checkpoint,
                self.path(state),
            )
            self.assert_fails(ValueError, ["damo import"], damo.PyStorage, self.path(state))
        self.assert_weights(opened, known)
