"""PyDamo: what damo-embedding has had from 1.1.4 on, as the wheels of 1.1.11 and 1.1.12 do it."""

import json
import os

import numpy as np

import damo
from support import FIXTURES, Case, floats, keys
from test_releases import read_counted

GROUPS = [
    {
        "group": 0,
        "dim": 2,
        "initializer": {"name": "ones"},
        "optimizer": {"name": "sgd", "gamma": 1},
    },
    {
        "group": 3,
        "dim": 1,
        "initializer": {"name": "zeros"},
        "optimizer": {"name": "adam", "gamma": 0.125},
    },
]


class Served(Case):
    def configuration(self, name="c.json", **more):
        values = dict({"dir": self.path("rows"), "ttl": 0, "embeddings": GROUPS}, **more)
        with open(self.path(name), "w") as file:
            json.dump({name: value for name, value in values.items() if value is not None}, file)
        return self.path(name)

    def pull(self, table, group, numbers, dim):
        w = np.full(len(numbers) * dim, 9, np.float32)
        self.assertIsNone(table.pull(group, keys(*numbers), w))
        return w.tolist()

    def test_pull_makes_rows_and_push_steps_them(self):
        table = damo.PyDamo(self.configuration())
        self.assertEqual(self.pull(table, 0, [5, -6], 2), [1, 1, 1, 1])
        self.assertIsNone(table.push(0, keys(5, 5), floats(0.5, 0.25, 0.5, 0)))
        self.assertIsNone(table.push(17, 0, keys(-6), floats(1, 2)))
        self.assertEqual(self.pull(table, 0, [5, -6], 2), [0, 0.75, 0, -1])
        self.pull(table, 3, [5], 1)
        table.push(10**6, 3, keys(5), floats(-1))  # the step changes nothing
        np.testing.assert_allclose(self.pull(table, 3, [5], 1), [0.125], rtol=1e-5)

    def test_gradients_of_keys_that_were_never_pulled_are_dropped(self):
        table = damo.PyDamo(self.configuration())
        table.push(0, keys(5, 6), floats(1, 1, 1, 1))
        self.pull(table, 0, [7], 2)
        # Some of the keys, in any order, given twice, and padding between them.
        table.push(0, keys(8, 7, 0, 9, 7), floats(5, 5, 1, 2, 6, 6, 7, 7, 1, 2))
        table.push(3, keys(7), floats(1))  # of another group
        table.push(0, keys(0, 11), floats(1, 1, 1, 1))
        table.dump(self.path("dump"))
        self.assertEqual(read_counted(self.path("dump"))[1], {(0, 7): [-1, -3]})
        self.assertEqual(self.pull(table, 0, [5, 8, 9, 11], 2), [1] * 8)
        self.assertEqual(self.pull(table, 3, [7], 1), [0])
        # From its pull on a key is known.
        table.push(0, keys(5), floats(1, 1))
        self.assertEqual(self.pull(table, 0, [5], 2), [0, 0])

    def test_key_0_is_padding(self):
        table = damo.PyDamo(self.configuration())
        self.assertEqual(self.pull(table, 0, [0, 7, 0], 2), [9, 9, 1, 1, 9, 9])
        self.assertEqual(self.pull(table, 0, [0], 2), [9, 9])
        table.push(0, keys(7, 0), floats(1, 1, 5, 5))
        self.assertEqual(self.pull(table, 0, [0, 7], 2), [9, 9, 0, 0])
        table.dump(self.path("dump"))
        self.assertEqual(list(read_counted(self.path("dump"))[1]), [(0, 7)])

    def test_arrays_of_other_kinds(self):
        table = damo.PyDamo(self.configuration())
        w = np.full((2, 2), 9, np.float32)
        table.pull(0, np.array([[1, 2]], np.int32), w)
        table.push(0, [1, 2], np.ones((2, 2)))
        table.pull(0, np.array([1, 2], np.uint64), w)
        self.assertEqual(w.tolist(), [[0, 0], [0, 0]])
        # What is filled must be the caller's, or it would be lost.
        for wrong in (
            [0.0] * 4,
            np.zeros(4),
            np.zeros(3, np.float32),
            np.zeros(8, np.float32)[::2],
        ):
            for numbers in (keys(1, 2), keys(0, 2)):
                self.assert_fails((TypeError, ValueError), [], table.pull, 0, numbers, wrong)
        self.assert_fails(
            ValueError, ["3 floats", "2 keys"], table.push, 0, keys(1, 2), floats(1, 1, 1)
        )
        self.assert_fails(
            ValueError, ["group is 1", "[0, 3]"], table.pull, 1, keys(1), floats(0, 0)
        )
        self.assert_fails(TypeError, ["int64"], table.pull, 0, np.array([1.5]), floats(0, 0))
        self.assert_fails(TypeError, ["push takes"], table.push, keys(1), floats(0, 0))
        for step in (-1, 1.5, 2**64):
            self.assert_fails(TypeError, ["step"], table.push, step, 0, keys(1), floats(0, 0))
        self.assertIsNone(table.push(2**64 - 1, 0, keys(), floats()))

    def test_keys_of_64_bits_in_lists_and_no_bools(self):
        table = damo.PyDamo(self.configuration())
        w = np.full(4, 9, np.float32)
        table.pull(0, [2**63, -1], w)
        table.push(0, (2**63, 2**64 - 1), floats(1, 1, 2, 2))
        self.assertEqual(self.pull(table, 0, [-(2**63), -1], 2), [0, 0, -1, -1])
        # Beside small numbers NumPy would make floats of them.
        table.pull(0, [[5, 2**64 - 1]], w)
        self.assertEqual(w.tolist(), [1, 1, -1, -1])
        tensor = type("Tensor", (), {"dtype": "torch.bool", "__index__": lambda self: 1})()
        for wrong in (
            [True, 5],
            (np.True_, 5),
            [5, tensor],
            [1.0, 5],
            ["1", "5"],
            np.array([True, False]),
            np.ma.array([1, 5], mask=[0, 1]),
        ):
            self.assert_fails(TypeError, ["key"], table.pull, 0, wrong, w)
            self.assert_fails(TypeError, ["key"], table.push, 0, wrong, floats(1, 1, 1, 1))
        self.assert_fails(ValueError, ["64 bits"], table.pull, 0, [2**64, 5], w)
        self.assert_fails(TypeError, ["group"], table.pull, tensor, keys(1), floats(0, 0))
        table.dump(self.path("dump"))
        self.assertEqual(
            sorted(read_counted(self.path("dump"))[1]), [(0, -(2**63)), (0, -1), (0, 5)]
        )

    def test_push_by_name(self):
        table = damo.PyDamo(self.configuration())
        self.pull(table, 0, [5], 2)
        gds = floats(1, 2)
        table.push(group=0, keys=keys(5), gds=gds)
        table.push(0, keys(5), gds=gds)
        table.push(7, 0, keys=keys(5), gds=gds)
        table.push(step=7, group=0, keys=keys(5), gds=gds)
        self.assertEqual(self.pull(table, 0, [5], 2), [-3, -7])
        for given, named in (
            ((0, keys(5)), {}),
            ((0, keys(5)), {"gradients": gds}),
            ((1, 0, keys(5), gds), {"keys": keys(5)}),
            ((1, 0, keys(5), gds), {"step": 1}),
            ((), {"step": 1, "keys": keys(5), "gds": gds}),
        ):
            self.assert_fails(TypeError, ["push takes"], table.push, *given, **named)
        self.assert_fails(TypeError, ["step"], table.push, keys=keys(5), gds=gds, group=0, step="1")

    def test_gradients_that_are_no_real_numbers(self):
        table = damo.PyDamo(self.configuration())
        self.pull(table, 0, [5], 2)
        for wrong in (
            np.array([1 + 1j, 2]),
            np.array([True, False]),
            np.array(["1", "2"]),
            np.array([1, None]),
            np.ma.array([1.0, 2.0], mask=[0, 1]),
            [True, 1.0],
            [1.0, np.True_],
            [[1j, 1.0]],
            "12",
            None,
        ):
            self.assert_fails(TypeError, ["gds"], table.push, 0, keys(5), wrong)
        self.assertEqual(self.pull(table, 0, [5], 2), [1, 1])
        for right in ([1, 0.5], [[1.0, 0.5]], np.array([1, 0.5]), np.array([1, 1], np.int8)):
            table.push(0, keys(5), right)
        self.assertEqual(self.pull(table, 0, [5], 2), [-3, -1.5])

    def test_dump_and_checkpoint_replace_what_is_there(self):
        table = damo.PyDamo(self.configuration())
        for number in range(3):
            self.pull(table, 0, [5], 2)
            table.push(0, keys(5), floats(1, 2))
            self.assertIsNone(table.dump(self.path("dump")))
            self.assertEqual(
                read_counted(self.path("dump")),
                ({0: 2, 3: 1}, {(0, 5): [-number, -1 - 2 * number]}),
            )
            self.assertIsNone(table.checkpoint(self.path("cp")))
        self.assertEqual(sorted(os.listdir(self.folder)), ["c.json", "cp", "dump", "rows"])
        other = damo.PyDamo(
            self.configuration("d.json", dir=self.path("other"), reload_dir=self.path("cp"))
        )
        self.assertEqual(self.pull(other, 0, [5], 2), [-2, -5])
        # A directory of another kind stays, a file of an earlier checkpoint goes.
        os.mkdir(self.path("mine"))
        self.assert_fails(FileExistsError, ["mine"], table.checkpoint, self.path("mine"))
        with open(self.path("old"), "w") as file:
            file.write("old")
        table.checkpoint(self.path("old"))
        self.assertTrue(os.path.isdir(self.path("old")))

    def test_reload_dir_is_loaded_at_every_opening(self):
        for release in ("1.1.11", "1.1.12"):
            path = os.path.join(FIXTURES, release, "all")
            with open(path + ".json") as file:
                known = json.load(file)
            groups = [
                {
                    "group": group["group"],
                    "dim": group["dim"],
                    "initializer": {"name": "zeros"},
                    "optimizer": dict(group["parameters"], name=group["optimizer"]),
                }
                for group in known["groups"]
            ]
            configuration = self.configuration(
                dir=self.path(release), embeddings=groups, reload_dir=path + ".checkpoint"
            )
            for _ in range(2):
                table = self.warned(["60 rows came in"], damo.PyDamo, configuration)
                for row in known["rows"]:
                    dim = len(row["weights"])
                    self.assertEqual(
                        self.pull(table, row["group"], [row["key"]], dim),
                        floats(*row["weights"]).tolist(),
                    )
                # Trained, and forgotten at the next opening, as it was there.
                table.push(0, keys(1), floats(1))
                del table

    def test_reload_dir_may_be_missing(self):
        damo.PyDamo(self.configuration(reload_dir=""))
        made = self.warned(
            ["reload_dir", "is not there"],
            damo.PyDamo,
            self.configuration(reload_dir="/nowhere/at/all"),
        )
        self.assertEqual(self.pull(made, 0, [1], 2), [1, 1])

    def test_configurations_that_are_refused(self):
        make = damo.PyDamo
        self.assert_fails(FileNotFoundError, ["none.json"], make, self.path("none.json"))
        with open(self.path("bad.json"), "w") as file:
            file.write("{")
        self.assert_fails(ValueError, ["bad.json", "JSON"], make, self.path("bad.json"))
        one = GROUPS[0]
        for words, more in (
            ("dir", {"dir": None}),
            ("dir", {"dir": 3}),
            ("ttl", {"ttl": "1"}),
            ("embeddings", {"embeddings": None}),
            ("embeddings[0]", {"embeddings": [3]}),
            ("group", {"embeddings": [{**one, "group": "0"}]}),
            ("dim", {"embeddings": [{**one, "dim": None}]}),
            ("optimizer", {"embeddings": [{**one, "optimizer": None}]}),
            ("'name'", {"embeddings": [{**one, "initializer": {}}]}),
            ("'wonder'", {"embeddings": [{**one, "optimizer": {"name": "wonder"}}]}),
            ("reload_dir", {"reload_dir": 3}),
        ):
            self.assert_fails(ValueError, [words], make, self.configuration(**more))

    def test_rows_are_there_after_opening_again(self):
        table = damo.PyDamo(self.configuration())
        self.pull(table, 0, [5], 2)
        table.push(0, keys(5), floats(1, 2))
        self.assert_fails(OSError, ["rows"], damo.PyDamo, self.configuration(), status="BUSY")
        del table
        self.assertEqual(self.pull(damo.PyDamo(self.configuration()), 0, [5], 2), [0, -1])
