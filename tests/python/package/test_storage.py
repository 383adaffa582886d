"""A storage's life: names, closing, checkpoints, dumps, expiry, errors."""

import datetime
import os
import pathlib
import struct
import threading

import numpy as np

import damo
from support import CHECKOUT, Case, floats


class Names(Case):
    def test_are_stored(self):
        with self.storage() as storage:
            self.users(storage).apply_gradients([1], floats(1, 4))
            items = storage.embedding("item", dim=2, optimizer=damo.SGD())
            self.assertEqual(storage.names, {"user": 0, "item": 1})
            self.assertEqual((items.name, items.group), ("item", 1))
        with self.storage() as storage:
            items = storage.embedding("item", dim=2, optimizer=damo.SGD())
            self.assertEqual(items.group, 1)
            np.testing.assert_array_equal(self.users(storage)[1], [0.5] * 4)

    def test_a_new_name_gets_a_free_group(self):
        storage = self.storage()
        for group in (0, 1, 3):
            storage.embedding(group, dim=2, optimizer=damo.SGD())
        self.assertEqual(self.users(storage).group, 2)
        self.assertEqual(storage.embedding("item", dim=1, optimizer=damo.SGD()).group, 4)

    def test_a_name_that_fails_is_not_kept(self):
        storage = self.storage()
        self.assert_fails(
            ValueError, ["dim", "0"], storage.embedding, "x", dim=0, optimizer=damo.SGD()
        )
        self.assert_fails(
            TypeError, ["damo.Optimizer"], storage.embedding, "x", dim=1, optimizer="sgd"
        )
        self.assert_fails(
            ValueError,
            ["duplicates"],
            storage.embedding,
            "x",
            dim=1,
            optimizer=damo.SGD(),
            duplicates="max",
        )
        self.assertEqual((storage.names, storage.stat("groups")), ({}, 0))

    def test_another_dim_or_optimizer_is_refused(self):
        storage = self.storage()
        self.users(storage)
        for options in ({"dim": 5}, {"optimizer": damo.Adam()}):
            error = self.assert_fails(ValueError, ["group 0"], self.users, storage, **options)
            self.assertIs(error.status, damo.Status.ALREADY_EXISTS)

    def test_names_are_those_of_c(self):
        with self.storage() as storage:
            self.users(storage)
            storage.embedding(4, dim=1, optimizer=damo.Adam(lr=0.5))
            described = storage.describe()
            self.assertEqual(
                (described["dir"], described["checkpoint"]), (self.path("table"), None)
            )
            groups = [
                (group["group"], group["name"], group["dim"]) for group in described["groups"]
            ]
            self.assertEqual(groups, [(0, "user", 4), (4, None, 1)])
            adam = described["groups"][1]["optimizer"]
            self.assertEqual((adam["name"], adam["params"]["gamma"]), ("adam", 0.5))
        storage = self.storage()
        self.assertEqual(storage.names, {"user": 0})
        error = self.assert_fails(
            ValueError,
            ["1 to 255 bytes"],
            storage.embedding,
            "x" * 256,
            dim=1,
            optimizer=damo.SGD(),
        )
        self.assertIs(error.status, damo.Status.INVALID_ARGUMENT)
        self.assert_fails(
            ValueError, ["1 to 255 bytes"], storage.embedding, "", dim=1, optimizer=damo.SGD()
        )
        self.assert_fails(KeyError, ["'item'", "'user'"], storage.row_count, "item")

    def test_a_group_never_goes_on_with_another_ones_rows(self):
        with self.storage("other") as other:
            other.embedding("item", dim=4, optimizer=damo.SGD())
            other.checkpoint(self.path("monday"))
        storage = self.storage()
        users = self.users(storage)
        users.apply_gradients([1], floats(1, 4))
        error = self.assert_fails(
            ValueError,
            ["monday", "'item'", "'user'"],
            storage.load_from_checkpoint,
            self.path("monday"),
        )
        self.assertIs(error.status, damo.Status.ALREADY_EXISTS)
        self.assertIn(1, users)
        users.close()
        storage.load_from_checkpoint(self.path("monday"))
        self.assertEqual(storage.names, {"item": 0})

    def test_a_description_while_others_train(self):
        storage = self.storage()
        users = self.users(storage)
        failed = []

        def train():
            try:
                for step in range(3000):
                    users.step = 10 ** (step % 18)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=train)
        thread.start()
        while thread.is_alive():
            self.assertEqual(storage.names, {"user": 0})
        thread.join()
        self.assertEqual(failed, [])


class Closing(Case):
    def test_closes_embeddings_and_iterators(self):
        with self.storage() as storage:
            users = self.users(storage)
            users[[1]]
            rows = iter(users)
        self.assert_fails(ValueError, ["Embedding is closed"], users.lookup, [1])
        self.assert_fails(damo.ClosedError, ["Records is closed"], next, rows)
        self.assert_fails(damo.ClosedError, ["Storage is closed"], storage.flush)
        storage.close()
        self.storage().close()

    def test_closes_though_an_exception_is_kept(self):
        storage = self.storage()
        users = self.users(storage)
        try:
            users.apply_gradients([1], floats(1, 4, value=np.nan))
        except damo.Error as error:
            kept = error
        storage.close()
        self.storage().close()
        self.assertIn("NaN", str(kept))

    def test_one_handle_at_a_time(self):
        storage = self.storage()
        error = self.assert_fails(
            OSError, [self.path("table")], self.storage, status=damo.Status.BUSY
        )
        self.assertIsInstance(error, damo.BusyError)
        del storage

    def test_wrong_arguments(self):
        self.assert_fails(ValueError, ["-1"], damo.Storage, self.path("x"), ttl=-1)
        self.assert_fails(
            ValueError, ["durability"], damo.Storage, self.path("x"), durability="much"
        )
        for option in ("mapped_reads", "io_uring"):
            words = [option, "'auto', 'off'"]
            self.assert_fails(ValueError, words, damo.Storage, self.path("x"), **{option: "on"})
        self.assert_fails(TypeError, [], damo.Storage, 3)
        self.assert_fails(ValueError, ["NUL"], damo.Storage, "a\0b")
        self.assert_fails(TypeError, ["ttl"], damo.Storage, self.path("x"), ttl=1.5)

    def test_pickling_is_refused(self):
        import copy
        import pickle

        users = self.users()
        self.assert_fails(TypeError, ["main process"], pickle.dumps, users)
        self.assert_fails(TypeError, ["main process"], copy.deepcopy, users.storage)


class Life(Case):
    def test_statistics(self):
        storage = self.storage()
        self.users(storage)[[1, 2]]
        stats = storage.stats()
        self.assertEqual((stats["groups"], stats["rows_created"]), (1, 2))
        self.assertTrue(all(isinstance(value, int) for value in stats.values()))
        self.assert_fails(ValueError, ["'rows'", "rows_created"], storage.stat, "rows")

    def test_flush_compact_verify_count(self):
        storage = self.storage()
        self.users(storage)[np.arange(100)]
        storage.embedding(7, dim=1, optimizer=damo.SGD())[[1]]
        storage.flush()
        storage.compact()
        self.assertEqual(storage.verify(), 101)
        self.assertEqual(
            (storage.row_count(), storage.row_count("user"), storage.row_count(7)), (101, 100, 1)
        )
        self.assertEqual([row.group for row in storage][-2:], [0, 7])
        self.assert_fails(KeyError, ["'item'", "'user'"], storage.row_count, "item")
        self.assert_fails(damo.NotFoundError, ["9"], storage.row_count, 9)

    def test_rows_expire(self):
        storage = self.storage(ttl=datetime.timedelta(hours=1))
        users = self.users(storage)
        storage._set_clock(10**12)
        users.apply_gradients([1], floats(1, 4))
        storage._set_clock(10**12 + 3_601_000)
        self.assertNotIn(1, users)

    def test_a_fraction_of_a_second_is_not_never(self):
        for ttl, seconds in [
            (datetime.timedelta(milliseconds=900), 1),
            (datetime.timedelta(microseconds=1), 1),
            (datetime.timedelta(seconds=1, microseconds=1), 2),
            (datetime.timedelta(seconds=2), 2),
            (datetime.timedelta(seconds=59, milliseconds=999, microseconds=999), 60),
            (datetime.timedelta(days=1, microseconds=-1), 86400),
            (datetime.timedelta(days=30), 30 * 86400),
            (datetime.timedelta(0), 0),
        ]:
            with self.storage(f"{ttl}", ttl=ttl) as storage:
                users = self.users(storage)
                storage._set_clock(10**12)
                users.apply_gradients([1], floats(1, 4))
                storage._set_clock(10**12 + seconds * 1000 - 1)
                self.assertIn(1, users)
                storage._set_clock(10**12 + seconds * 1000)
                self.assertEqual(1 in users, seconds == 0)
        negative = [datetime.timedelta(microseconds=-1), datetime.timedelta(milliseconds=-900)]
        for ttl in (*negative, datetime.timedelta(seconds=-1), datetime.timedelta(days=-1), -1):
            self.assert_fails(
                ValueError, ["ttl", "-1" if ttl == -1 else "-"], self.storage, "never", ttl=ttl
            )
        for ttl in (0.9, 1e-9, -0.5, "0.9", None):
            self.assert_fails(TypeError, ["ttl"], self.storage, "never", ttl=ttl)
        self.assertFalse(os.path.exists(self.path("never")))

    def test_read_only(self):
        with self.storage() as storage:
            self.users(storage).apply_gradients([1], floats(1, 4))
            storage.checkpoint(self.path("monday"))
            with self.storage(read_only=True) as looking:
                self.assertTrue(looking.describe()["read_only"]["is_open_elsewhere"])
                self.assertEqual(looking.row_count(), 1)
        for name in ("table", "monday"):
            before = {
                path: path.read_bytes()
                for path in pathlib.Path(self.path(name)).rglob("*")
                if path.is_file()
            }
            with self.storage(name, read_only=True) as looking:
                described = looking.describe()
                self.assertEqual((described["dir"], len(described["groups"])), (self.path(name), 1))
                self.assertFalse(described["read_only"]["is_open_elsewhere"])
                users = self.users(looking)
                np.testing.assert_array_equal(users[[1, 2]], [[0.5] * 4, [1.0] * 4])
                self.assertNotIn(2, users)
                self.assert_fails(
                    damo.NotSupportedError, ["read_only"], users.apply_gradients, [1], floats(1, 4)
                )
                self.assert_fails(
                    damo.NotFoundError,
                    ["group"],
                    looking.embedding,
                    "x",
                    dim=1,
                    optimizer=damo.SGD(),
                )
                self.assertEqual(looking.verify(), 1)
                looking.dump(self.path("dump"))
            after = {
                path: path.read_bytes()
                for path in pathlib.Path(self.path(name)).rglob("*")
                if path.is_file()
            }
            self.assertEqual(after, before)
        self.assert_fails(damo.NotFoundError, ["nowhere"], self.storage, "nowhere", read_only=True)

    def test_checkpoints(self):
        storage = self.storage()
        users = self.users(storage)
        users.apply_gradients([1], floats(1, 4))
        self.assertIsNone(storage.checkpoint_id)
        identity = storage.checkpoint(self.path("monday"))
        self.assertEqual(storage.checkpoint_id, identity)
        users.apply_gradients([1, 2], floats(2, 4))
        storage.embedding("item", dim=1, optimizer=damo.SGD())
        second = storage.checkpoint(self.path("tuesday"))
        self.assertNotEqual(second, identity)
        storage.load_from_checkpoint(self.path("monday"))
        self.assertEqual(
            (storage.checkpoint_id, storage.names, users.step), (identity, {"user": 0}, 1)
        )
        np.testing.assert_array_equal(users[1], [0.5] * 4)
        with self.storage("tuesday") as opened:
            self.assertEqual((opened.names, opened.checkpoint_id), ({"user": 0, "item": 1}, second))
        self.assert_fails(FileExistsError, ["monday"], storage.checkpoint, self.path("monday"))
        self.assert_fails(
            FileNotFoundError, ["sunday"], storage.load_from_checkpoint, self.path("sunday")
        )

    def test_no_checkpoint_is_loaded_under_an_iterator(self):
        storage = self.storage()
        users = self.users(storage)
        users[np.arange(200_000)]
        storage.checkpoint(self.path("monday"))
        rows = iter(users)
        next(rows)
        self.assert_fails(
            damo.BusyError, ["iterator"], storage.load_from_checkpoint, self.path("monday")
        )
        rows.close()
        storage.load_from_checkpoint(self.path("monday"))

    def test_dumps_and_tables(self):
        storage = self.storage()
        users = self.users(storage)
        users.apply_gradients([1, 2], floats(2, 4))
        first = storage.dump(self.path("a.table"))
        self.assertEqual((first.rows, first.removed), (2, 0))
        users.apply_gradients([2, 3], floats(2, 4))
        users.delete([1])
        change = storage.dump(self.path("b.increment"), since=first.number)
        self.assertEqual((change.rows, change.removed), (2, 1))
        damo.merge(self.path("a.table"), self.path("b.increment"), self.path("c.table"))
        with damo.Table(self.path("c.table"), names=storage.names) as table:
            self.assertEqual(
                (table.dim("user"), table.rows(0), table.number), (4, 2, change.number)
            )
            weights, found = table.lookup([[1, 2], [3, 4]], "user")
            np.testing.assert_array_equal(weights[..., 0], [[0, 0], [0.5, 0]])
            self.assertEqual(found.tolist(), [[False, True], [True, False]])
            self.assert_fails(KeyError, ["'item'"], table.lookup, [1], "item")
            self.assert_fails(damo.NotFoundError, ["5"], table.lookup, [1], 5)
        self.assert_fails(damo.ClosedError, [], table.lookup, [1])
        self.assert_fails(FileNotFoundError, ["d.table"], damo.Table, self.path("d.table"))
        self.assert_fails(ValueError, [], damo.Table, self.path("b.increment"))
        self.assert_fails(
            ValueError,
            [],
            damo.merge,
            self.path("c.table"),
            self.path("b.increment"),
            self.path("e"),
        )

    def test_a_dump_tells_how_far_it_is_and_can_be_ended(self):
        storage = self.storage()
        self.users(storage)[np.arange(1000)]
        told = []
        storage.dump(self.path("a"), progress=lambda rows, estimate: told.append((rows, estimate)))
        self.assertTrue(told and told[-1][0] <= 1000)

        def raises(_rows, _estimate):
            raise KeyboardInterrupt("stop")

        with self.assertRaisesRegex(KeyboardInterrupt, "stop"):
            storage.dump(self.path("b"), progress=raises)
        self.assert_fails(
            damo.CancelledError, [], storage.dump, self.path("b"), progress=lambda *_: False
        )
        self.assertFalse(os.path.exists(self.path("b")))

    def test_imports_files_of_the_earlier_implementation(self):
        storage = self.storage()
        users = self.users(storage, dim=2)
        records = b""
        for group, key, dim in ((0, 5, 2), (0, -6, 2), (9, 7, 2)):
            name = struct.pack("<iq", group, key)
            value = (
                name + struct.pack("<qqi", 1_700_000_000_000, 3, dim) + struct.pack("<2f", key, 0.5)
            )
            records += struct.pack("<Q", len(name)) + name + struct.pack("<Q", len(value)) + value
        with open(self.path("old"), "wb") as file:
            file.write(struct.pack("<q", 3) + records)
        report = storage.import_file(self.path("old"))
        self.assertEqual(
            (report["records"], report["imported"], report["order"]), (3, 2, "time_first")
        )
        self.assertEqual(
            [(entry["reason"], entry["records"]) for entry in report["refused"]],
            [("unknown_group", 1)],
        )
        self.assertEqual(users[[5, -6]].tolist(), [[5, 0.5], [-6, 0.5]])
        self.assertEqual(
            (users.record(5).update_time, users.record(5).update_num), (1_700_000_000_000, 3)
        )
        self.assert_fails(FileNotFoundError, ["nothing"], storage.import_file, self.path("nothing"))
        with open(self.path("old"), "r+b") as file:
            file.truncate(50)
        self.assert_fails(damo.CorruptionError, [], storage.import_file, self.path("old"))

    def test_imports_by_format_and_group(self):
        fixtures = CHECKOUT / "tests" / "import" / "fixtures" / "1.1.12"
        storage = self.storage()
        ones = storage.embedding(0, dim=1, optimizer=damo.SGD(), initializer=damo.Zeros())
        storage.embedding("other", dim=2, optimizer=damo.SGD(), initializer=damo.Zeros())
        self.assert_fails(
            ValueError,
            ["none of its 5", "its dim is 3"],
            storage.import_file,
            fixtures / "sgd3.dump",
        )
        report = storage.import_file(fixtures / "sgd1.checkpoint", format="checkpoint", group=0)
        self.assertEqual(
            (report["imported"], report["value_header"], report["order"]), (5, 40, "num_first")
        )
        self.assert_fails(
            ValueError,
            ["none of its 5", "group 0"],
            storage.import_file,
            fixtures / "sgd1.dump",
            group="other",
        )
        self.assertEqual(len(ones), 5)
        self.assert_fails(
            ValueError, ["'classic'"], storage.import_file, fixtures / "sgd1.dump", format="tabular"
        )
        storage.dump(self.path("dump"), format="counted")
        self.assertEqual(storage.import_file(self.path("dump"), format="counted")["imported"], 5)

    def test_classic_dumps(self):
        storage = self.storage()
        self.users(storage).insert([5], np.arange(4, dtype=np.float32)[None])
        storage.dump(self.path("a"), format="classic", header_groups=2)
        data = pathlib.Path(self.path("a")).read_bytes()
        self.assertEqual(np.frombuffer(data, "<i4", 2).tolist(), [4, 0])
        self.assertEqual(np.frombuffer(data, "<u8", 2, 8).tolist(), [1, 0])
        self.assertEqual(np.frombuffer(data, "<f4", 4, 24 + 12).tolist(), [0, 1, 2, 3])
        self.assert_fails(
            ValueError, ['"xml"', "'table'"], storage.dump, self.path("a"), format="xml"
        )
