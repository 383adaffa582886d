"""PyStorage: opening, expiry, dumps read back byte by byte, checkpoints."""

import datetime
import os
import pathlib
import time

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters


def read_classic(path, groups=256):
    """What a serving process reads: dims, counts, and the rows as {(group, key): weights}."""
    with open(path, "rb") as file:
        data = file.read()
    dims = np.frombuffer(data, "<i4", groups)
    counts = np.frombuffer(data, "<u8", groups, offset=4 * groups)
    rows, at = {}, 12 * groups
    while at < len(data):
        (key,), (group,) = np.frombuffer(data, "<i8", 1, at), np.frombuffer(data, "<i4", 1, at + 8)
        rows[int(group), int(key)] = np.frombuffer(data, "<f4", dims[group], at + 12).tolist()
        at += 12 + 4 * int(dims[group])
    assert at == len(data)
    return dims, counts, rows


class Storage(Case):
    def embedding(self, storage, dim=2, group=1):
        return damo.PyEmbedding(storage, optimizer("sgd", gamma=1), initializer("ones"), dim, group)

    def looked_up(self, embedding, *numbers, dim=2):
        w = np.zeros((len(numbers), dim), np.float32)
        embedding.lookup(keys(*numbers), w)
        return w.tolist()

    def test_rows_are_there_after_opening_again(self):
        storage = self.storage()
        embedding = self.embedding(storage)
        embedding.apply_gradients(keys(5), floats(0.5, 0.25))
        self.assert_fails(
            OSError, [self.path("table")], damo.PyStorage, self.path("table"), status="BUSY"
        )
        del storage
        self.assert_fails(
            OSError, [self.path("table")], damo.PyStorage, self.path("table"), status="BUSY"
        )
        del embedding
        embedding = self.embedding(self.storage())
        self.assertEqual(self.looked_up(embedding, 5, 6), [[0.5, 0.75], [1, 1]])

    def test_paths_of_all_kinds(self):
        for name, kind in (("ü 日本", str), ("b", os.fsencode), ("p", pathlib.Path)):
            storage = damo.PyStorage(kind(self.path(name)), 0)
            self.assertTrue(os.path.isdir(self.path(name)))
            storage.dump(kind(self.path(name + ".dat")))
            self.assertTrue(os.path.isfile(self.path(name + ".dat")))
            storage.checkpoint(kind(self.path(name + ".checkpoint")))

    def test_paths_that_no_file_can_have(self):
        """Each call says so of the path that it was given, and leaves nothing behind."""
        storage = self.storage()
        self.embedding(storage).apply_gradients(keys(5), floats(0.5, 0.25))
        storage.dump(self.path("dump"), parameters(format="table"))
        merge = damo.PyTable.merge
        dump = self.path("dump")
        calls = (
            storage.checkpoint,
            storage.load_from_checkpoint,
            storage.dump,
            damo.PyStorage,
            damo.PyTable,
            lambda path: merge(path, dump, dump),
            lambda path: merge(dump, path, dump),
            lambda path: merge(dump, dump, path),
        )
        there = sorted(os.listdir(self.folder))
        for call in calls:
            for wrong, word in (
                ("a\0b", "NUL"),
                ("\0", "NUL"),
                (b"a\0b", "NUL"),
                (pathlib.Path("a\0b"), "NUL"),
                (self.path("x") + "\0", "NUL"),
                (self.path("x\0/y/"), "NUL"),
                ("\ud800", "UTF-8"),
                (self.path("\udbff"), "UTF-8"),
            ):
                with self.subTest(path=repr(wrong)):
                    error = self.assert_fails(
                        ValueError, [word], call, wrong, status="INVALID_ARGUMENT"
                    )
                    self.assertNotRegex(str(error), r"-\d{13}")
            for wrong in (None, 3, 1.5, [self.path("x")], object()):
                self.assert_fails(TypeError, [], call, wrong)
        self.assertEqual(sorted(os.listdir(self.folder)), there)

    def test_opening_refuses(self):
        make = damo.PyStorage
        self.assert_fails(TypeError, [], make)
        self.assert_fails(TypeError, [], make, 3)
        self.assert_fails((TypeError, ValueError), [], make, None)
        self.assert_fails(TypeError, [], make, self.path("x"), 1.5)
        self.assert_fails(TypeError, [], make, self.path("x"), "1")
        self.assert_fails(ValueError, ["-1"], make, self.path("x"), -1, status="INVALID_ARGUMENT")
        self.assert_fails((ValueError, OverflowError), [str(2**63)], make, self.path("x"), 2**63)
        self.assert_fails(ValueError, [], make, "")
        self.assert_fails(ValueError, [], make, self.path("a\0b"))
        with open(self.path("file"), "w") as file:
            file.write("x")
        self.assert_fails(
            ValueError, [self.path("file")], make, self.path("file"), status="INVALID_ARGUMENT"
        )
        self.assert_fails(OSError, ["below"], make, self.path("file/below"), status="IO")
        self.assertEqual(os.listdir(self.folder), ["file"])

    def test_rows_expire(self):
        embedding = self.embedding(damo.PyStorage(self.path("table"), ttl=2))
        embedding.apply_gradients(keys(5), floats(0.5, 0.25))
        self.assertEqual(self.looked_up(embedding, 5), [[0.5, 0.75]])
        time.sleep(2.2)
        self.assertEqual(self.looked_up(embedding, 5), [[1, 1]])

    def test_a_fraction_of_a_second_is_not_never(self):
        delta = datetime.timedelta
        times = {
            "a": delta(milliseconds=900),
            "b": delta(microseconds=1),
            "c": delta(milliseconds=999, microseconds=999),
        }
        longer = {
            "d": delta(0),
            "e": delta(days=3650, microseconds=1),
            "f": delta(minutes=1),
            "g": 60,
        }
        opened = {
            name: self.embedding(damo.PyStorage(self.path(name), ttl))
            for name, ttl in {**times, **longer}.items()
        }
        started = time.monotonic()
        for embedding in opened.values():
            embedding.apply_gradients(keys(5), floats(0.5, 0.25))
        found = [self.looked_up(embedding, 5) for embedding in opened.values()]
        if time.monotonic() - started < 1:
            self.assertEqual(found, [[[0.5, 0.75]]] * len(opened))
        time.sleep(1.1)
        for name, embedding in opened.items():
            self.assertEqual(
                self.looked_up(embedding, 5), [[1, 1]] if name in times else [[0.5, 0.75]], name
            )
        for ttl in (delta(microseconds=-1), delta(milliseconds=-900), delta(days=-1)):
            self.assert_fails(
                ValueError,
                ["ttl", "-"],
                damo.PyStorage,
                self.path("x"),
                ttl,
                status="INVALID_ARGUMENT",
            )
        for ttl in (0.9, "0.9", None, 1e-9, [1]):
            self.assert_fails(TypeError, [], damo.PyStorage, self.path("x"), ttl)
        self.assertFalse(os.path.exists(self.path("x")))

    def test_dump_is_what_servers_read(self):
        storage = self.storage()
        one, big = self.embedding(storage, 2, 1), self.embedding(storage, 3, 255)
        one.apply_gradients(keys(5, -6), floats(0.5, 0.25, 1, 1))
        self.looked_up(one, 7)
        self.looked_up(big, 5, dim=3)
        self.assertIsNone(storage.dump(self.path("all.dat")))
        dims, counts, rows = read_classic(self.path("all.dat"))
        self.assertEqual({group: dim for group, dim in enumerate(dims) if dim}, {1: 2, 255: 3})
        self.assertEqual(
            {group: count for group, count in enumerate(counts) if count}, {1: 3, 255: 1}
        )
        self.assertEqual(
            rows, {(1, 5): [0.5, 0.75], (1, -6): [0, 0], (1, 7): [1, 1], (255, 5): [1, 1, 1]}
        )

    def test_conditions_of_a_dump(self):
        storage = self.storage()
        one, two = self.embedding(storage, 2, 1), self.embedding(storage, 1, 2)
        for number in (5, 5, 6):
            one.apply_gradients(keys(number), floats(0, 0))
        two.apply_gradients(keys(8), floats(0))
        self.looked_up(one, 7)

        def dumped(**condition):
            storage.dump(self.path("some.dat"), parameters(**condition))
            return sorted(read_classic(self.path("some.dat"))[2])

        self.assertEqual(dumped(), [(1, 5), (1, 6), (1, 7), (2, 8)])
        self.assertEqual(dumped(min_count=1), [(1, 5), (1, 6), (2, 8)])
        self.assertEqual(dumped(min_count=2), [(1, 5)])
        self.assertEqual(dumped(group=2), [(2, 8)])
        self.assertEqual(dumped(expire_days=1, min_count=1, group=1), [(1, 5), (1, 6)])
        time.sleep(0.1)
        self.assertEqual(dumped(expire_days=1e-7), [], "of the last 9 ms")
        storage.dump(self.path("some.dat"), parameters(header_groups=1024))
        self.assertEqual(len(read_classic(self.path("some.dat"), 1024)[2]), 4)
        storage.dump(path=self.path("table.dat"), condition=parameters(format="table"))
        self.assertGreater(os.path.getsize(self.path("table.dat")), 0)

    def test_dump_refuses_and_keeps_what_is_there(self):
        storage = self.storage()
        self.looked_up(self.embedding(storage, 2, 256), 1)
        wide = parameters(header_groups=512)
        with open(self.path("old"), "w") as file:
            file.write("old")
        self.assert_fails(
            ValueError, ["256"], storage.dump, self.path("old"), status="INVALID_ARGUMENT"
        )
        self.assert_fails(
            ValueError,
            ["'days'", "'expire_days'"],
            storage.dump,
            self.path("old"),
            parameters(days=1),
        )
        error = self.assert_fails(
            LookupError,
            ["7"],
            storage.dump,
            self.path("old"),
            parameters(group=7, format="table", since=3),
        )
        self.assertEqual(error.status.name, "NOT_FOUND")
        self.assert_fails(
            OSError, ["nowhere"], storage.dump, self.path("nowhere/x"), wide, status="IO"
        )
        self.assert_fails(TypeError, [], storage.dump)
        self.assert_fails(
            (TypeError, ValueError), [], storage.dump, self.path("old"), "expire_days"
        )
        with open(self.path("old")) as file:
            self.assertEqual(file.read(), "old")

    def test_checkpoint_and_load(self):
        storage = self.storage()
        embedding = self.embedding(storage)
        embedding.apply_gradients(keys(5), floats(0.5, 0.25))
        self.assertIsNone(storage.checkpoint(self.path("checkpoint")))
        embedding.apply_gradients(keys(5, 6), floats(1, 1, 1, 1))
        self.assertIsNone(storage.load_from_checkpoint(self.path("checkpoint")))
        self.assertEqual(self.looked_up(embedding, 5, 6), [[0.5, 0.75], [1, 1]])
        other = self.embedding(self.storage("checkpoint"))  # it is a storage, too
        self.assertEqual(self.looked_up(other, 5), [[0.5, 0.75]])

    def test_checkpoints_that_are_refused(self):
        storage = self.storage()
        embedding = self.embedding(storage)
        embedding.apply_gradients(keys(5), floats(0.5, 0.25))
        storage.checkpoint(self.path("checkpoint"))
        self.assert_fails(OSError, ["nowhere"], storage.checkpoint, self.path("nowhere/checkpoint"))
        error = self.assert_fails(
            FileNotFoundError, ["missing"], storage.load_from_checkpoint, self.path("missing")
        )
        self.assertEqual(error.status.name, "NOT_FOUND")
        for name in os.listdir(self.path("checkpoint")):
            if name.endswith(".sst"):
                with open(self.path("checkpoint/" + name), "r+b") as file:
                    file.write(b"\xff" * 40)
        embedding.apply_gradients(keys(5), floats(0.5, 0.25))
        # The files of rows are hard links. The checkpoint's are not written to when the table goes
        # on.
        self.assert_fails(
            OSError, [], storage.load_from_checkpoint, self.path("checkpoint"), status="CORRUPTION"
        )
        self.assertEqual(self.looked_up(embedding, 5), [[0, 0.5]])
        self.assert_fails(TypeError, [], storage.checkpoint)
        self.assert_fails(TypeError, [], storage.load_from_checkpoint, 3)
