"""Integers of any kind are taken. bool, Decimal and complex are refused, and floats are not cut.

Masked arrays are refused, and so is one string where many are needed.
"""

from decimal import Decimal

import numpy as np

import damo
from support import Case, floats

from shared.integers import BOOLS, FLOATS, OTHERS, TWOS, Index

# Parameters and options: the library compares the types of bools, floats and strings itself.
PARAMETERS = {"threads", "readers", "capacity", "decay_steps", "seed", "min_count"}


class Integers(Case):
    def calls(self):
        storage = self.storage()
        users = self.users(storage)
        seen = damo.Filter(self.path("filter"), capacity=1000, count=1)
        numbers = iter(range(1, 1000))
        sgd, decay = damo.SGD(), damo.CosineDecay(5)

        def opened(**options):
            self.storage(f"table{next(numbers)}", **options).close()

        def made(**options):
            return storage.embedding(next(numbers), **{"dim": 2, "optimizer": sgd, **options})

        return {
            "ttl": lambda value: opened(ttl=value),
            "threads": lambda value: opened(threads=value),
            "readers": lambda value: opened(readers=value),
            "dim": lambda value: made(dim=value),
            "group": lambda value: storage.embedding(value, dim=4, optimizer=sgd),
            "padding_key": lambda value: made(padding_key=value),
            "key": users.lookup,
            "key in a list": lambda value: users.lookup([value]),
            "key beside an int": lambda value: users.lookup([[5], [value]]),
            "key of record": lambda value: (
                users.apply_gradients(2, floats(4)) or users.record(value)
            ),
            "key of in": lambda value: value in users,
            "key of a first row": lambda value: damo.Ones().weights(value, 2),
            "num": lambda value: seen.add(5, value),
            "num in a list": lambda value: seen.add([5, 6], [1, value]),
            "group of a filter": lambda value: seen.check(5, group=value),
            "capacity": lambda value: damo.Filter(
                self.path(f"filter{next(numbers)}"), capacity=value
            ),
            "step": lambda value: setattr(users, "step", value),
            "step of a schedule": lambda value: decay.rate(0.5, value),
            "decay_steps": lambda value: damo.CosineDecay(decay_steps=value),
            "seed": lambda value: damo.Normal(seed=value),
            "min_count": lambda value: storage.dump(self.path("dump"), min_count=value),
            "update_nums": lambda value: users.insert_records([5], floats(1, 4), [value]),
        }

    def test_of_any_kind(self):
        for what, call in self.calls().items():
            for value in TWOS:
                with self.subTest(what=what, value=repr(value), type=type(value)):
                    call(value)

    def test_nothing_else(self):
        """As python/README says it."""
        calls = self.calls()
        self.assertLess(PARAMETERS, set(calls))
        for what, call in calls.items():
            for value in BOOLS + FLOATS:
                kind = damo.InvalidArgumentError if what in PARAMETERS else TypeError
                with self.subTest(what=what, value=repr(value)):
                    self.assert_fails(kind, [], call, value)
            for value in OTHERS:
                with self.subTest(what=what, value=repr(value)):
                    self.assert_fails(TypeError, [], call, value)
        for what in PARAMETERS:
            self.assert_fails(damo.InvalidArgumentError, [], calls[what], "2")

    def test_keys_keep_their_bits(self):
        users = self.users()
        for keys in (
            [2**64 - 1, -1],
            np.array([2**64 - 1, -1], object),
            [np.uint64(2**64 - 1), Index(-1)],
            [[Index(2**64 - 1)]],
        ):
            users.lookup(keys)
        self.assertEqual([row.key for row in users], [-1])
        self.assertEqual(users.lookup(np.array([], object)).shape, (0, 4))
        for wrong in (
            np.array([1, 2.5], object),
            np.array([1, True], object),
            [1, True],
            (1, [True]),
            [np.bool_(1), 2],
            [1, None],
        ):
            with self.subTest(keys=wrong):
                self.assert_fails((TypeError, ValueError), [], users.lookup, wrong)
        self.assertEqual(len(users), 1)

    def test_rates(self):
        sgd = damo.SGD()
        for rate in (1, np.float32(0.5), np.int8(1), Index(1), 0.25):
            sgd.learning_rate = rate
            damo.CosineDecay(5).rate(rate, 1)
        self.assertEqual(sgd.learning_rate, 0.25)
        for wrong in (True, Decimal("0.5"), "0.5", 0.5 + 0j, None, np.bool_(1), np.array([0.5])):
            with self.subTest(rate=wrong):
                self.assert_fails(
                    TypeError, ["learning_rate", "number"], setattr, sgd, "learning_rate", wrong
                )
                self.assert_fails(TypeError, ["learning_rate"], damo.CosineDecay(5).rate, wrong, 1)
        self.assertEqual(sgd.learning_rate, 0.25)


class Addresses(Case):
    """Keys at any address: what numpy.frombuffer gives with an offset, and fields of records."""

    NUMBERS = [3, -4, 2**62]

    def keys(self):
        numbers = np.array(self.NUMBERS)
        for offset in (1, 3, 4, 7):
            for name in ("int64", "uint64"):
                raw = bytearray(offset) + numbers.astype(name).tobytes()
                yield f"{name} at {offset}", np.frombuffer(raw, name, offset=offset)
        record = np.zeros(3, [("flag", "u1"), ("key", "<i8")])
        record["key"] = numbers
        yield "a field of packed records", record["key"]
        raw = bytes(3) + numbers.astype("<i8").tobytes() + bytes(2)
        yield "read-only", np.frombuffer(raw, "<i8", 3, 3)
        raw = bytearray(1) + np.repeat(numbers, 2).tobytes()
        yield "every second one", np.frombuffer(raw, np.int64, offset=1)[::2]

    def test_in_every_call(self):
        storage = self.storage()
        users = self.users(storage)
        for number, (what, keys) in enumerate(self.keys()):
            with self.subTest(what):
                self.assertFalse(keys.flags.aligned and keys.flags.c_contiguous)
                self.assertEqual(users.lookup(keys).tolist(), [[1] * 4] * 3)
                users.apply_gradients(keys, floats(3, 4, value=2))
                self.assertEqual(users.peek(keys)[0].tolist(), [[0] * 4] * 3)
                users.insert(keys, floats(3, 4, value=7))
                self.assertEqual(users[self.NUMBERS].tolist(), [[7] * 4] * 3)
                path = self.path(f"table{number}")
                storage.dump(path)
                with damo.Table(path) as table:
                    self.assertEqual(table.lookup(keys, users.group)[1].tolist(), [True] * 3)
                users.prefetch(keys)
                users.delete(keys)
                self.assertEqual(len(users), 0)
                seen = damo.Filter(self.path(f"filter{number}"), capacity=100, count=2)
                seen.add(keys, np.frombuffer(bytearray(13), np.uint32, offset=1) + 2)
                self.assertEqual(seen.check(keys).tolist(), [True] * 3)

    def test_of_short_integers(self):
        users = self.users()
        raw = bytearray(1) + np.array([3, -4], np.int32).tobytes()
        users.lookup(np.frombuffer(raw, np.int32, offset=1))
        raw = bytearray(1) + np.array([5], np.uint16).tobytes()
        users.lookup(np.frombuffer(raw, np.uint16, offset=1))
        self.assertEqual(sorted(row.key for row in users), [-4, 3, 5])


class Paths(Case):
    """A path is a str, bytes, or what leads to one."""

    def test_of_any_kind(self):
        class Path:
            def __init__(self, path):
                self.path = path

            def __fspath__(self):
                return self.path

        for number, kind in enumerate((str, str.encode, Path, lambda path: Path(path.encode()))):
            place = lambda name: kind(self.path(f"{name}{number}"))
            with damo.Storage(place("table"), cache_bytes=1 << 24) as storage:
                users = self.users(
                    storage, filter=damo.Filter(place("filter"), capacity=100, count=1)
                )
                users.lookup([1, 2])
                self.assertEqual(storage.checkpoint(place("checkpoint")), storage.checkpoint_id)
                storage.load_from_checkpoint(place("checkpoint"))
                base = storage.dump(place("base"))
                users.apply_gradients([2], floats(1, 4))
                storage.dump(place("more"), since=base.number)
            damo.merge(place("base"), place("more"), place("whole"))
            with damo.Table(place("whole")) as table:
                self.assertEqual(table.rows(), 2)


class Masked(Case):
    """A masked array is refused in every place: what its mask hides would be used."""

    def test_in_every_call(self):
        storage = self.storage()
        users = self.users(storage)
        users.insert([1, 2], floats(2, 4))
        seen = damo.Filter(self.path("filter"), capacity=100, count=1)
        storage.dump(self.path("dump"))
        sgd, ones = damo.SGD(lr=1.0), damo.Ones()
        for mask in ([False, True], False, np.ma.nomask):
            keys = np.ma.array([1, 2], mask=mask)
            weights = np.ma.array(floats(2, 4), mask=np.ma.nomask)
            row = np.ma.array(floats(2), mask=mask)
            for what, call in {
                "lookup": lambda: users.lookup(keys),
                "lookup of a list": lambda: users.lookup([keys, keys]),
                "peek": lambda: users.peek((keys,)),
                "prefetch": lambda: users.prefetch(keys),
                "out": lambda: users.lookup([1, 2], out=weights),
                "gradients": lambda: users.apply_gradients([1, 2], weights),
                "insert": lambda: users.insert([1, 2], weights),
                "rows": lambda: users.insert_records([1, 2], weights),
                "update_nums": lambda: users.insert_records([1, 2], floats(2, 4), keys),
                "delete": lambda: users.delete(keys),
                "add": lambda: seen.add(keys),
                "num": lambda: seen.add([1, 2], keys),
                "num in a list": lambda: seen.add([[1, 2]], [keys]),
                "one num": lambda: seen.add([1, 2], np.ma.array(1, mask=mask is not False)),
                "check": lambda: seen.check(keys),
                "fill": lambda: ones.fill(row),
                "apply": lambda: sgd.apply(row, floats(2)),
                "gradients of apply": lambda: sgd.apply(floats(2), row),
            }.items():
                with self.subTest(what=what, mask=mask):
                    self.assert_fails(TypeError, [], call)
            with damo.Table(self.path("dump")) as table:
                self.assert_fails(TypeError, ["masked"], table.lookup, keys, users.group)
        self.assertEqual(users.peek([1, 2])[0].tolist(), [[1] * 4] * 2)
        self.assertEqual(seen.check([1, 2]).tolist(), [False, False])
        seen.add(keys.compressed())
        seen.add([5, 6], np.array(1))
        self.assertEqual(seen.check([1, 2, 5, 6]).tolist(), [True] * 4)


class Strings(Case):
    def test_one_is_not_many(self):
        for one in ("abc", "", b"abc", bytearray(b"abc"), memoryview(b"abc"), np.str_("abc")):
            with self.subTest(one=one):
                self.assert_fails(TypeError, ["list", "key_hash"], damo.key_hashes, one)
        known = [damo.key_hash("abc"), damo.key_hash(b"d")]
        for many in (
            ["abc", b"d"],
            ("abc", "d"),
            iter(["abc", "d"]),
            np.array(["abc", "d"]),
            np.array(["abc", "d"], object),
            {"abc": 1, "d": 2},
        ):
            self.assertEqual(damo.key_hashes(many).tolist(), known)
        self.assertEqual(damo.key_hashes([]).tolist(), [])

    def test_that_are_none(self):
        for wrong in (
            [1],
            [None],
            [["abc"]],
            [np.array("abc")],
            np.ma.array(["a", "b"], mask=[0, 1]),
        ):
            with self.subTest(wrong=wrong):
                self.assert_fails(TypeError, ["str or bytes"], damo.key_hashes, wrong)
        self.assert_fails(TypeError, [], damo.key_hashes, 5)
        self.assert_fails(damo.InvalidArgumentError, ["UTF-8"], damo.key_hash, "a\ud800")
        self.assert_fails(damo.InvalidArgumentError, ["UTF-8"], damo.key_hashes, ["a", "\udcff"])
