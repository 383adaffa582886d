"""PyDamo: checkpoints whose replacement is cut short, and openings that fail."""

import json
import os
import pathlib

import numpy as np

import damo
from support import Case, floats, keys

GROUP = {
    "group": 0,
    "dim": 2,
    "initializer": {"name": "ones"},
    "optimizer": {"name": "sgd", "gamma": 1},
}


class ServedCheckpoints(Case):
    def configuration(self, name="table", *groups, **more):
        content = {"dir": self.path(name + "-rows"), "embeddings": groups or (GROUP,), **more}
        path = pathlib.Path(self.path(name + ".json"))
        path.write_text(json.dumps(content), encoding="utf-8")
        return str(path)

    def row(self, table, number=5):
        w = np.full(2, 9, np.float32)
        table.pull(0, keys(number), w)
        return w.tolist()

    def trained(self):
        table = damo.PyDamo(self.configuration())
        self.row(table)
        table.push(0, keys(5), floats(1, 2))
        return table

    def reloaded(self, path, words=None):
        """The row of a table that reloads the path; words: of the warning that it gives."""
        configuration = self.configuration("reload" + os.urandom(4).hex(), reload_dir=path)
        if words is None:
            return self.row(damo.PyDamo(configuration))
        return self.row(self.warned(words, damo.PyDamo, configuration))

    def test_a_link_of_a_storage_is_replaced_and_its_checkpoint_stays(self):
        table, path = self.trained(), self.path("cp")
        table._storage.checkpoint(path)
        made = os.readlink(path)
        table.push(0, keys(5), floats(1, 2))
        for _ in range(2):
            self.assertIsNone(table.checkpoint(path))
        self.assertFalse(os.path.islink(path))
        there = {name for name in os.listdir(self.folder) if name.startswith("cp")}
        self.assertEqual(there, {"cp", made})
        self.assertEqual(self.reloaded(path), [-1, -3])
        self.assertEqual(self.reloaded(self.path(made)), [0, -1])

    def test_what_a_killed_process_leaves_is_put_in_order(self):
        table, path = self.trained(), self.path("cp")
        for cut in ("made", "between", "removing"):
            with self.subTest(cut=cut):
                table.checkpoint(path)
                earlier = self.row(table)
                table.push(0, keys(5), floats(1, 2))
                if cut == "made":
                    os.mkdir(path + ".damo-new")
                elif cut == "between":
                    os.rename(path, path + ".damo-old")
                    for given in (path, path + "/"):
                        self.assertEqual(self.reloaded(given, ["cut short"]), earlier)
                else:
                    os.mkdir(path + ".damo-old")
                table.checkpoint(path)
                self.assertEqual(self.reloaded(path), self.row(table))
                self.assertEqual([name for name in os.listdir(self.folder) if ".damo-" in name], [])

    def test_a_process_killed_between_the_two_renames(self):
        self.trained().checkpoint(self.path("cp"))
        self.run_script(
            """
            import signal
            table = damo.PyDamo(os.path.join(FOLDER, "table.json"))
            rename = os.rename
            def killed(old, new):
                rename(old, new)
                os.kill(os.getpid(), signal.SIGKILL)
            os.rename = killed
            table.checkpoint(os.path.join(FOLDER, "cp"))
            """,
            status=-9,
        )
        self.assertFalse(os.path.exists(self.path("cp")))
        self.assertEqual(self.reloaded(self.path("cp"), ["cut short"]), [0, -1])
        damo.PyDamo(self.configuration()).checkpoint(self.path("cp"))
        self.assertEqual(self.reloaded(self.path("cp")), [0, -1])

    def test_an_opening_that_fails_leaves_the_storage_free(self):
        self.trained()
        pathlib.Path(self.path("damaged")).write_bytes(b"no checkpoint")
        kept = []
        for groups, more in (
            ([{**GROUP, "dim": 3}], {}),
            ([GROUP, {**GROUP, "optimizer": {"name": "adam"}}], {}),
            ([{**GROUP, "optimizer": {"name": "none"}}], {}),
            ([GROUP], {"reload_dir": self.path("damaged")}),
        ):
            # Not assertRaises, which clears the frames.
            try:
                damo.PyDamo(self.configuration("table", *groups, **more))
            except (ValueError, OSError) as error:
                kept.append(error)
                # The error is still there, with its traceback.
                self.assertEqual(self.row(damo.PyDamo(self.configuration())), [0, -1])
        self.assertEqual(len(kept), 4)
        self.assertTrue(all(error.__traceback__ is not None for error in kept))
