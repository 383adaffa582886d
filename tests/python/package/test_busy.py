"""A BusyError says who has a storage open, and what to do: a notebook's cell may run again."""

import fcntl
import gc
import os

import damo
from support import CACHE, Case

CELL = "storage = damo.Storage(folder, cache_bytes=cache)"


class Notebook(Case):
    def setUp(self):
        super().setUp()
        self.names = {"damo": damo, "folder": self.path("table"), "cache": CACHE}
        self.addCleanup(self.names.clear)

    def run_cell(self, text=CELL):
        exec(compile(text, "<ipython-input-3>", "exec"), self.names)

    def refused(self, text=CELL):
        with self.assertRaises(damo.BusyError) as caught:
            self.run_cell(text)
        self.assertIs(caught.exception.status, damo.Status.BUSY)
        return str(caught.exception)

    def test_the_remedies(self):
        self.run_cell()
        text = self.refused()
        for words in (
            f"<damo.Storage {self.path('table')!r}>, opened in <ipython-input-3>, line 1",
            "close()",
            "with-block",
        ):
            self.assertIn(words, text)
        for words in ("`del`", "notebook", "damo.open_storages()", self.path("table")):
            self.assertIn(words, text)
        self.run_cell("storage.close()\n" + CELL)
        self.run_cell("del storage\n" + CELL)
        self.run_cell("for one in damo.open_storages(): one.close()\n" + CELL)
        self.run_cell(
            "storage.close()\nwith damo.Storage(folder, cache_bytes=cache) as storage: pass"
        )
        self.run_cell("with damo.Storage(folder, cache_bytes=cache) as storage: pass")

    def test_one_that_has_lost_its_name(self):
        self.run_cell()
        self.run_cell("users = storage.embedding('user', dim=2, optimizer=damo.SGD())\ndel storage")
        self.assertIn("opened in <ipython-input-3>, line 1", self.refused("\n" + CELL))
        (storage,) = damo.open_storages()
        self.assertIs(storage, self.names["users"].storage)
        storage.close()
        self.assertEqual(damo.open_storages(), [])
        self.run_cell()

    def test_by_another_path_and_class(self):
        self.run_cell("storage = damo.PyStorage(folder)")
        self.names["folder"] = self.path("table") + "/../table/"
        self.assertIn("PyStorage", self.refused())
        self.run_cell("del storage\n" + CELL)
        self.assertIn(
            "opened in <ipython-input-3>", self.refused("storage = damo.PyStorage(folder)")
        )

    def test_of_filters(self):
        cell = "seen = damo.Filter(folder, capacity=100)"
        self.run_cell(cell)
        text = self.refused(cell)
        for words in (
            f"<damo.Filter {self.path('table')!r}>",
            "<ipython-input-3>",
            "close()",
            "`del`",
        ):
            self.assertIn(words, text)
        self.run_cell("seen.close()\n" + cell)

    def test_in_another_process(self):
        self.run_cell()
        self.run_script(
            f"""
            try:
                damo.Storage({self.path("table")!r})
            except damo.BusyError as error:
                for words in ("another process", "read_only=True", "open_storages"):
                    print(words in str(error), end=" ")
            """,
            output="True True False ",
        )

    def test_while_another_process_makes_it(self):
        making = self.path("making")
        os.mkdir(making)
        open(os.path.join(making, ".damo-first-opening"), "w").close()
        with open(os.path.join(making, "LOCK"), "w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            self.run_script(
                f"""
                try:
                    damo.Storage({making!r}, read_only=True)
                except damo.BusyError as error:
                    text = str(error)
                    print("being made by another process" in text, "Close it there" in text)
                """,
                output="True False\n",
            )

    def test_nothing_is_kept_alive(self):
        self.run_cell()
        for _ in range(3):
            self.refused()
        self.run_cell("del storage")
        gc.collect()
        self.assertEqual(damo.open_storages(), [])
        self.run_cell()
