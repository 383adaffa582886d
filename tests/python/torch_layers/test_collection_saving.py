"""Collections in state_dicts, checkpoints, serving, summaries and conversions."""

import copy
import unittest
import warnings

# Before the others: without torch it skips this file.
from collection_support import (  # isort: skip
    DIMS,
    IDS,
    Collections,
    Jagged,
    bags,
    ids,
    loss_of,
    torch,
)

import damo
import damo.torch

nn = torch.nn


class Saving(Collections):
    def model(self, name="table", **options):
        torch.manual_seed(3)
        tables = self.collection(storage=self.storage(name), **options)
        return nn.ModuleDict({"tables": tables, "dense": nn.Linear(sum(DIMS.values()), 1)})

    def train(self, model, optimizer, numbers):
        for number in numbers:
            optimizer.zero_grad()
            loss_of(model["tables"](bags(number)), number).backward()
            optimizer.step()

    def rows(self, model):
        return [
            table.rows.peek(range(IDS))[0].tolist() for table in model["tables"].tables.values()
        ]

    def optimizer(self, model):
        dense = torch.optim.SGD(damo.torch.dense_parameters(model), lr=0.1)
        return damo.torch.Optimizer(dense, model)

    def test_a_checkpoint_goes_on_to_the_same_numbers(self):
        first = self.model("first", optimizer=lambda: damo.Adam(lr=0.1))
        optimizer = self.optimizer(first)
        self.train(first, optimizer, range(3))
        damo.torch.save_checkpoint(first, optimizer, self.path("checkpoint"))
        self.train(first, optimizer, range(3, 6))
        again = self.model("again", optimizer=lambda: damo.Adam(lr=0.1))
        other = self.optimizer(again)
        damo.torch.load_checkpoint(self.path("checkpoint"), again, other)
        self.assertEqual(self.steps(again["tables"]), [3, 3, 3])
        self.train(again, other, range(3, 6))
        self.assertEqual(self.rows(again), self.rows(first))

    def test_state_dicts(self):
        model = self.model()
        state = model.state_dict()
        self.assertEqual(
            sorted(name for name in state if name.startswith("tables.")),
            sorted(
                f"tables.tables.{table}.{kind}"
                for table in ("user", "tag", "mark")
                for kind in ("anchor", "_extra_state")
            ),
        )
        model.load_state_dict(state)
        loss_of(model["tables"](bags(1))).backward()
        self.assert_fails(
            damo.torch.StateError,
            ["tables.tables.user", "tables.tables.tag", "tables.tables.mark"],
            model.load_state_dict,
            state,
        )
        with damo.torch.rows_of_any_moment():
            model.load_state_dict(state)

    def test_scores_for_serving_are_exactly_the_same(self):
        for output in ("dict", "tensor"):
            for padding in (None, 0):
                self.folder += "x"
                model = self.model(output=output, padding_idx=padding)
                for number in range(3):
                    out = model["tables"](bags(number))
                    loss_of(out, number).backward()
                damo.torch.save_for_serving(model, self.path("served"))
                given = bags(9, count=40)
                with torch.no_grad():
                    expected = model.eval()["tables"](given)
                model["tables"].tables["user"].rows.storage.close()
                served = damo.torch.load_for_serving(self.path("served"))["tables"]
                found = served(given)
                if output == "dict":
                    for name in DIMS:
                        self.assertTrue(torch.equal(found[name], expected[name]), name)
                else:
                    self.assertTrue(torch.equal(found, expected))
                    plain = bags(9, weights=False)
                    self.assertTrue(torch.equal(served(Jagged.of(plain)), served(plain)))
                self.assert_fails(RuntimeError, ["read-only"], served.train(), given)

    def test_without_pooling_for_serving(self):
        ours, _ = self.pair(False)
        damo.torch.save_for_serving(nn.Sequential(ours), self.path("served"))
        served = damo.torch.load_for_serving(self.path("served"))[0]
        expected = ours.eval()(ids(1))
        for name, found in served(ids(1)).items():
            self.assertTrue(torch.equal(found, expected[name]))
        again = copy.deepcopy(served)
        self.assertTrue(torch.equal(again(ids(1))["user"], expected["user"]))

    def test_a_collection_in_training_cannot_be_copied(self):
        ours, _ = self.pair()
        loss_of(ours(bags(1))).backward()
        self.assert_fails(TypeError, ["save_checkpoint"], copy.deepcopy, ours)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Newer versions of torch call it deprecated.
            self.assertRaises(RuntimeError, torch.jit.script, ours)

    def test_summary(self):
        ours, _ = self.pair()
        text = damo.torch.summary(nn.Sequential(ours))
        for table in ("0.tables.user", "0.tables.tag", "0.tables.mark"):
            self.assertIn(table, text)
        self.assertIn("features=user, tags of tag, words of tag, mark; output='dict'", repr(ours))

    def test_convert_leaves_collections(self):
        storage = self.storage()
        model = nn.ModuleDict(
            {"tables": self.collection(storage=storage), "more": nn.Embedding(5, 2)}
        )
        report = damo.torch.convert(model, storage, optimizer=damo.SGD())
        self.assertEqual(([one.name for one in report.layers], report.left), (["more"], ()))
        self.assertIsInstance(model["more"], damo.torch.Embedding)
        loss_of(model["tables"](bags(1))).backward()

    def test_prefetch(self):
        ours, _ = self.pair()
        ours.prefetch(bags(1))
        batches = damo.torch.Prefetch(
            [bags(number) for number in range(4)], lambda batch: [(ours, batch)]
        )
        for number, batch in enumerate(batches, 1):
            loss_of(ours(batch)).backward()
            self.assertEqual(self.steps(ours), [number] * 3)
        user = ours.tables["user"]
        for batch in damo.torch.Prefetch([bags(1)], lambda batch: [(user, batch["user"][0])]):
            ours(batch)

    def test_fresh_and_reset(self):
        storage = self.storage()
        ours, _ = self.pair(storage=storage)
        again = self.collection(storage=storage)
        self.assertEqual(len(again.tables["user"].rows), IDS)
        again.reset_parameters()
        self.assertEqual([len(table.rows) for table in ours.tables.values()], [0, 0, 0])
        ours(bags(1))
        self.collection(storage=storage, fresh=True)
        self.assertEqual([len(table.rows) for table in ours.tables.values()], [0, 0, 0])


if __name__ == "__main__":
    unittest.main()
