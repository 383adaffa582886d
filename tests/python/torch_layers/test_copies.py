"""Copies of a model in training are refused, with what to do. A model for serving is copied."""

import copy
import io
import os
import pickle
import subprocess
import sys
import unittest
import warnings

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch
from torch.optim.swa_utils import AveragedModel

nn = torch.nn
WAYS = ["state_dict", "save_checkpoint(model, optimizer, path)", "save_for_serving"]


class Loader(torch.utils.data.Dataset):
    """A dataset that holds a model, which its workers must not get."""

    def __init__(self, model):
        self.model = model

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return index


class Training(Case):
    def setUp(self):
        super().setUp()
        self.model = nn.Sequential(self.layer(), nn.Flatten(), nn.Linear(8, 1))

    def test_copies_say_what_to_do(self):
        for function in (
            copy.deepcopy,
            pickle.dumps,
            AveragedModel,
            lambda model: torch.save(model, io.BytesIO()),
            lambda model: torch.save({"model": model, "epoch": 3}, self.path("model.pt")),
            lambda model: nn.ModuleList([copy.deepcopy(model[0]) for _ in range(2)]),
            lambda model: copy.deepcopy({"hparams": {"model": model}}),
        ):
            with self.assertRaises(TypeError) as caught:
                function(self.model)
            for word in ("damo.torch", "Lightning", self.model[0].rows.storage.path, *WAYS):
                self.assertIn(word, str(caught.exception))
            self.assertNotIn("DataLoader", str(caught.exception))

    def test_what_a_model_holds_says_it_too(self):
        rows = self.model[0].rows
        for held in (rows, rows.storage, damo.Adam(), {"storage": rows.storage}):
            for function in (copy.deepcopy, pickle.dumps):
                words = [
                    "storage.checkpoint(path)",
                    "save_checkpoint",
                    "save_hyperparameters(ignore",
                ]
                self.assert_fails(
                    TypeError, ["cannot be pickled or copied", *words], function, held
                )

    def test_workers_of_a_loader_are_told_of_workers(self):
        for held, words in (
            (self.model, ["damo.torch"]),
            (self.model[0].rows, ["Embedding objects"]),
        ):
            loader = torch.utils.data.DataLoader(
                Loader(held), num_workers=1, multiprocessing_context="spawn"
            )
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # Newer versions of torch say that it cannot be pickled, too.
                self.assert_fails(
                    TypeError,
                    ["main process", "DataLoader workers", *words],
                    lambda: next(iter(loader)),
                )

    def test_what_is_advised_works(self):
        average = AveragedModel(self.model[2])
        average.update_parameters(self.model[2])
        torch.save(self.model.state_dict(), self.path("state.pt"))
        shallow = copy.copy(self.model)
        self.assertIs(shallow[0], self.model[0])


class Served(Case):
    def setUp(self):
        super().setUp()
        table = self.layer(padding_idx=0)
        bag = damo.torch.EmbeddingBag(table.rows, mode="sum")
        model = nn.ModuleList([table, bag, nn.Linear(4, 1)])
        table(torch.tensor([1, 2, 3]))
        damo.torch.save_for_serving(model, self.path("served"))
        self.served = damo.torch.load_for_serving(self.path("served"))
        self.ids = torch.tensor([[0, 1], [2, 99]])

    def score(self, model):
        return model[2](model[0](self.ids).sum(1) + model[1](self.ids))

    def assert_same(self, model):
        self.assertTrue(torch.equal(self.score(model), self.score(self.served)))

    def test_copies_work(self):
        torch.save(self.served, self.path("model.pt"))
        options = {"weights_only": False} if torch.__version__ >= "2" else {}
        for made in (
            copy.deepcopy(self.served),
            copy.copy(self.served),
            pickle.loads(pickle.dumps(self.served)),
            copy.deepcopy(copy.deepcopy(self.served)),
            torch.load(self.path("model.pt"), **options),
            AveragedModel(self.served).module,
        ):
            self.assert_same(made)
        made = copy.deepcopy(self.served)
        self.assertIs(made[0].reader.table, made[1].reader.table)
        del self.served[0]
        self.assertEqual(made[0](self.ids).shape, (2, 2, 4))

    def test_in_another_process_and_another_folder(self):
        with open(self.path("model.pickle"), "wb") as file:
            pickle.dump(self.served, file)
        script = f"""
import pickle, torch, damo.torch
model = pickle.load(open({self.path("model.pickle")!r}, "rb"))
ids = torch.tensor([[0, 1], [2, 99]])
print(model[2](model[0](ids).sum(1) + model[1](ids)).flatten().tolist())
"""
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd="/"
        )
        self.assertEqual(
            ended.stdout.strip(), str(self.score(self.served).flatten().tolist()), ended.stderr
        )
        os.rename(self.path("served"), self.path("moved"))
        with self.assertRaises(FileNotFoundError) as caught, open(
            self.path("model.pickle"), "rb"
        ) as file:
            pickle.load(file)
        self.assertIn(self.path("served"), str(caught.exception))

    def test_names(self):
        self.assertFalse(hasattr(self.served[0], "rows"))
        self.assert_fails(
            AttributeError, ["loaded for serving", "no storage"], lambda: self.served[0].rows
        )
        self.assertIsNone(getattr(self.served[1], "rows", None))
        self.assertFalse(hasattr(self.served[0], "weight"))
        self.assert_fails(AttributeError, ["loaded for serving"], lambda: self.served[0].weight)
        self.assert_fails(
            AttributeError,
            ["loaded for serving"],
            setattr,
            self.served[0],
            "weight",
            torch.zeros(1),
        )
        self.assert_fails(AttributeError, ["no storage"], self.served[0].reset_parameters)
        self.assertEqual(
            (self.served[0].sparse, self.served[0].max_norm, self.served[0].embedding_dim),
            (False, None, 4),
        )
        self.assertEqual([name for name in dir(self.served[0]) if name == "anything"], [])

    def test_tables_themselves(self):
        table = self.served[0].reader.table
        for made in (copy.deepcopy(table), copy.copy(table), pickle.loads(pickle.dumps(table))):
            self.assertEqual(made.lookup([1, 2])[0].tolist(), table.lookup([1, 2])[0].tolist())
        made.close()
        self.assertFalse(table.closed)
        self.assert_fails(ValueError, ["closed"], pickle.dumps, made)
        named = damo.Table(table.path, names={"user": 0})
        self.assertEqual(pickle.loads(pickle.dumps(named)).rows("user"), 3)

    def test_workers_may_hold_one(self):
        loader = torch.utils.data.DataLoader(
            Loader(self.served), num_workers=1, multiprocessing_context="spawn"
        )
        self.assertEqual([int(batch) for batch in loader], [0, 1])


if __name__ == "__main__":
    unittest.main()
