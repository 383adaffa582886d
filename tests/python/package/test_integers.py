"""Integers of any kind are integers; bool, Decimal and complex are none, and floats are not cut to integers."""

from decimal import Decimal
from fractions import Fraction

import numpy as np

import damo
from support import Case, floats


class Index:
    """An integer of nobody's."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


OTHERS = [
    True,
    False,
    np.bool_(True),
    Decimal(2),
    Fraction(2),
    2 + 0j,
    np.complex64(2),
    2.0,
    np.float32(2),
    b"2",
]
OTHERS += [np.timedelta64(2, "s"), Index("2"), np.array(True)]


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
        kinds = [
            2,
            Index(2),
            np.array(2),
            np.array(2, np.uint8),
            *(np.dtype(name).type(2) for name in ("int8", "uint32", "uint64")),
        ]
        for what, call in self.calls().items():
            for value in kinds:
                with self.subTest(what=what, value=repr(value), type=type(value)):
                    call(value)

    def test_nothing_else(self):
        for what, call in self.calls().items():
            for value in OTHERS:
                with self.subTest(what=what, value=repr(value)):
                    # The library compares types of parameters itself.
                    self.assert_fails((TypeError, damo.InvalidArgumentError), [], call, value)

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
