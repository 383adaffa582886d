"""Arguments by the names that swig/README.md documents, and integers of any kind."""

import itertools
import json
import os
import pathlib
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer, parameters

from shared.integers import NO_INTEGERS, TWOS, Index

README = pathlib.Path(__file__).resolve().parents[3] / "swig" / "README.md"


def documented():
    """(what, needed arguments, optional arguments) of each call in the block of "What it has"."""
    text = README.read_text(encoding="utf-8")
    block = text[text.index("## What it has") :].split("\n\n- ")[0]
    for what, listed in re.findall(r"([\w.]+)\(([^)]*)\)", block):
        if not re.search(r"\w", listed) or what == "damo.Parameters":
            continue
        left_out = [one or other for one, other in re.findall(r"\[,?\s*(\w+)|(\w+)=", listed)]
        names = re.findall(r"[a-z_]\w*", listed)
        yield what, [name for name in names if name not in left_out], left_out


CALLS = sorted("""
    damo.PyDamo damo.PyEmbedding damo.PyFilter damo.PyInitializer damo.PyOptimizer damo.PyStorage
    damo.PyTable damo.PyTable.merge damo.write_as embedding.apply_gradients embedding.lookup
    embedding.peek filter.add filter.check initializer.call optimizer.call params.insert
    storage.checkpoint storage.dump storage.load_from_checkpoint storage.stat table.dim
    table.lookup table.rows
    """.split())


class Names(Case):
    def values(self):
        storage = self.storage()
        sgd, ones = optimizer(gamma=0.5), initializer()
        embedding = damo.PyEmbedding(storage, sgd, ones, 4)
        self.seen = damo.PyFilter(parameters(path=self.path("seen"), capacity=1000, count=1))
        for name in ("base", "increment"):
            embedding.apply_gradients(keys(5), floats(0, 0, 0, 0))
            since = {} if name == "base" else {"since": damo.PyTable(self.path("base")).number()}
            storage.dump(self.path(name), parameters(format="table", **since))
        configuration = {"dir": self.path("configured"), "embeddings": []}
        with open(self.path("config"), "w", encoding="utf-8") as file:
            json.dump(configuration, file)
        # The counts of files and groups make each value one that was not used.
        count = itertools.count(1)
        return {
            "objects": {
                "storage": storage, "optimizer": sgd, "initializer": ones, "embedding": embedding,
                "filter": self.seen, "params": damo.Parameters(),
                "table": damo.PyTable(self.path("base")), "damo": damo,
                "damo.PyTable": damo.PyTable,
            },
            "arguments": {
                "data_dir": lambda what: self.path(f"table{next(count)}"),
                "ttl": lambda what: 60,
                "op_params": lambda what: parameters(name="sgd"),
                "scheduler_params": lambda what: parameters(name="cosine_decay", decay_steps=10),
                "params": lambda what:
                    parameters(path=self.path(f"filter{next(count)}"), capacity=9)
                    if what == "damo.PyFilter" else parameters(name="ones"),
                "storage": lambda what: storage, "optimizer": lambda what: sgd,
                "initializer": lambda what: ones, "dim": lambda what: 4,
                "group": lambda what: 0 if what.startswith("table.") else 7, "num": lambda what: 1,
                "key": lambda what: "gamma" if what == "params.insert" else 5,
                "value": lambda what: 0.5,
                "keys": lambda what: keys(5), "w": lambda what: np.ones(4, np.float32),
                "gds": lambda what: floats(0, 0, 0, 0),
                "path": lambda what:
                    self.path("checkpoint1") if what.endswith("load_from_checkpoint")
                    else self.path("base") if what == "damo.PyTable"
                    else self.path(f"{what[8:]}{'' if what.endswith('dump') else 1}"),
                "base": lambda what: self.path("base"),
                "increment": lambda what: self.path("increment"),
                "config": lambda what: self.path("config"), "release": lambda what: None,
                "name": lambda what: "rows_created",
                "condition": lambda what: parameters(min_count=1),
                "step": lambda what: 0,
            },
        }  # fmt: skip

    def test_every_documented_call(self):
        values = self.values()
        calls = list(documented())
        self.assertEqual(sorted(what for what, _, _ in calls), CALLS)
        for what, needed, optional in calls:
            owner, name = what.rsplit(".", 1)
            function = getattr(values["objects"][owner], name)
            for count in range(len(optional) + 1):
                for left_in in itertools.combinations(optional, count):
                    with self.subTest(call=what, names=[*needed, *left_in]):
                        function(
                            **{key: values["arguments"][key](what) for key in [*needed, *left_in]}
                        )
            every = {key: values["arguments"][key](what) for key in [*needed, *optional]}
            with self.subTest(call=what, names="one that there is not"):
                self.assert_fails(TypeError, [], lambda: function(**every, nobody=1))
            # Some classes can be made without any.
            with self.subTest(call=what, names="one is missing"):
                if owner != "damo" or what in ("damo.PyDamo", "damo.PyTable"):
                    self.assert_fails(
                        TypeError, [], lambda: function(**{key: every[key] for key in needed[1:]})
                    )

    def test_of_filters(self):
        seen = damo.PyFilter(params=parameters(path=self.path("filter"), capacity=1000, count=1))
        for group, key, add in (
            (0, 5, lambda: seen.add(key=5, num=1)),
            (1, 6, lambda: seen.add(group=1, key=6, num=1)),
            (2, 7, lambda: seen.add(2, 7, num=1)),
            (0, 8, lambda: seen.add(8, num=1)),
            (3, 9, lambda: seen.add(9, 1, group=3)),
            (4, 10, lambda: seen.add(4, num=1, key=10)),
            (0, 11, lambda: seen.add(num=1, key=np.uint64(11))),
        ):
            with self.subTest(group=group, key=key):
                self.assertIs(seen.check(group=group, key=key), False)
                self.assertIsNone(add())
                self.assertIs(seen.check(group=group, key=key), True)
                self.assertTrue(
                    seen.check(group, key=key)
                    and seen.check(key, group=group)
                    and seen.check(group, key)
                )
                self.assertEqual(seen.check(key=key), group == 0)
        for wrong in (
            lambda: seen.add(key=5), lambda: seen.add(group=5, num=1),
            lambda: seen.add(1, 2, 3, num=1), lambda: seen.add(5),
            lambda: seen.check(group=0), lambda: seen.check(keys=[5]),
            lambda: seen.check(5, 6, key=7), lambda: seen.check(),
        ):  # fmt: skip
            self.assert_fails(TypeError, ["[group,] key"], wrong)


class Integers(Case):
    def setUp(self):
        super().setUp()
        self.seen = damo.PyFilter(parameters(path=self.path("filter"), capacity=1000, count=1))

    def calls(self):
        """Calls with one integer."""
        storage, sgd, ones = self.storage(), optimizer(), initializer()
        numbers = itertools.count(1)
        return {
            "key": lambda value: self.seen.check(value),
            "group": lambda value: self.seen.check(value, 1),
            "num": lambda value: self.seen.add(1, value),
            "ttl": lambda value: damo.PyStorage(self.path(f"table{next(numbers)}"), value),
            "dim": lambda value: damo.PyEmbedding(storage, sgd, ones, value, next(numbers)),
            "group of an embedding": lambda value: damo.PyEmbedding(storage, sgd, ones, 2, value),
            "step": lambda value: optimizer().call(floats(0), floats(0), value),
        }

    def test_of_any_kind(self):
        for what, call in self.calls().items():
            for value in TWOS:
                with self.subTest(what=what, value=repr(value), type=type(value)):
                    call(value)

    def test_nothing_else(self):
        for what, call in self.calls().items():
            for value in [*NO_INTEGERS, "2", np.str_("2"), [2], None, np.array([2])]:
                with self.subTest(what=what, value=repr(value)):
                    self.assert_fails(TypeError, ["integer"], call, value)

    def test_of_parameters(self):
        for value in (Index(2), np.array(2), np.uint8(2)):
            self.assertEqual(parameters(a=value).to_json(), '{"a":2}')
        for value in (np.float16(0.5), np.float32(0.5), np.longdouble(0.5)):
            self.assertEqual(parameters(a=value).to_json(), '{"a":0.5}')
        for value in (
            Decimal("0.5"),
            Fraction(1, 2),
            0.5 + 0j,
            np.complex64(0.5),
            np.array(0.5),
            np.array(True),
            np.ma.array(2, mask=True),
            Index("2"),
        ):
            with self.subTest(value=repr(value)):
                self.assert_fails(TypeError, ["'a'"], parameters, a=value)

    def test_a_group_has_a_number(self):
        storage, sgd, ones = self.storage(), optimizer(), initializer()
        for group in ("3", "", "user", np.str_("3"), b"3"):
            with self.subTest(group=group):
                self.assert_fails(
                    TypeError, ["group"], damo.PyEmbedding, storage, sgd, ones, 2, group
                )
                self.assert_fails(
                    TypeError,
                    ["group"],
                    lambda: damo.PyEmbedding(storage, sgd, ones, dim=2, group=group),
                )
        dump = self.path("dump")
        storage.dump(dump)
        self.assertFalse(np.fromfile(dump, np.uint32, 256).any(), "no group was made")


class Busy(Case):
    def test_says_what_to_do(self):
        storage = self.storage()
        seen = damo.PyFilter(parameters(path=self.path("filter"), capacity=1000))
        self.assert_fails(OSError, ["`del`", "notebook"], self.storage, status="BUSY")
        self.assert_fails(
            OSError,
            ["`del`"],
            damo.PyFilter,
            parameters(path=self.path("filter"), capacity=1000),
            status="BUSY",
        )
        del storage, seen
        self.storage()
        self.assertTrue(os.path.exists(self.path("table")))
