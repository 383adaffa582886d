"""Models for serving: exactly the same scores, without a storage."""

import os
import subprocess
import sys

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn


class Scaled(damo.torch.Embedding):
    """What users make of a layer."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.scale = nn.Parameter(torch.full((1,), 3.0))
        self.register_buffer("shift", torch.ones(1))
        self.after = nn.Linear(4, 1)

    def forward(self, ids):
        return self.after(super().forward(ids) * self.scale + self.shift)


def double(_module, _ids, out):
    return out * 2


class Serving(Case):
    def test_scores_are_exactly_the_same(self):
        storage = self.storage()
        table = self.layer(dim=8, storage=storage, padding_idx=0, optimizer=damo.Adam(lr=0.1))
        bag = damo.torch.EmbeddingBag(self.storage("other"), 7, 8, optimizer=damo.SGD(), mode="max")
        model = nn.ModuleDict(
            {"table": table, "bag": bag, "same": table, "dense": nn.Linear(16, 1)}
        )

        def score(m, ids):
            return m["dense"](torch.cat([m["table"](ids).sum(1), m["bag"](ids)], 1))

        score(model, torch.arange(30).view(10, 3)).sum().backward()
        damo.torch.save_for_serving(model, self.path("served"))
        self.assertTrue(model.training and table.reader.rows is not None)
        ids = torch.arange(60).view(20, 3)
        expected = score(model.eval(), ids)
        storage.close()
        served = damo.torch.load_for_serving(self.path("served"))
        self.assertTrue(torch.equal(score(served, ids), expected))
        self.assertIs(served["same"], served["table"])
        self.assert_fails(RuntimeError, ["read-only"], served.train()["table"], ids)
        self.assert_fails(
            FileExistsError, ["served"], damo.torch.save_for_serving, model, self.path("served")
        )
        self.assert_fails(FileNotFoundError, [], damo.torch.load_for_serving, self.path("nothing"))
        self.assert_fails(
            ValueError, ["layers"], damo.torch.save_for_serving, nn.Linear(1, 1), self.path("x")
        )
        self.assertEqual(
            sorted(os.listdir(self.path("served"))),
            ["0.table", "1.table", "manifest.json", "model.pt"],
        )

    def test_in_another_process_without_the_storage(self):
        model = nn.Sequential(self.layer(), nn.Flatten(), nn.Linear(8, 1))
        ids = torch.tensor([[1, 2], [3, 4]])
        model(ids).sum().backward()
        damo.torch.save_for_serving(model, self.path("served"))
        expected = model.eval()(ids).flatten().tolist()
        script = f"""
import torch, damo.torch
model = damo.torch.load_for_serving({self.path("served")!r})
print(model(torch.tensor([[1, 2], [3, 4]])).flatten().tolist())
"""
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
        )
        self.assertEqual(ended.stdout.strip(), str(expected), ended.stderr)

    def test_all_of_a_layer_comes_along(self):
        layer = self.layer(cls=Scaled)
        layer.register_forward_hook(double)
        layer(torch.arange(5)).sum().backward()
        model = nn.Sequential(layer)
        damo.torch.save_for_serving(model, self.path("served"))
        served = damo.torch.load_for_serving(self.path("served"))
        expected = model.eval()(torch.arange(7))
        self.assertTrue(torch.equal(served(torch.arange(7)), expected))
        self.assertIsNot(served[0].scale, layer.scale)

    def test_padding_reads_as_zeros_also_where_there_is_a_row_of_it(self):
        storage = self.storage()
        options = {"dim": 2, "optimizer": damo.SGD(), "initializer": damo.Ones()}
        storage.embedding("user", **options).lookup([0, 1])
        model = nn.Sequential(
            damo.torch.Embedding(storage, "user", padding_idx=0, **options)
        ).eval()
        damo.torch.save_for_serving(model, self.path("served"))
        served = damo.torch.load_for_serving(self.path("served"))
        self.assertEqual(model(torch.tensor([0, 1])).tolist(), [[0, 0], [1, 1]])
        self.assertEqual(served(torch.tensor([0, 1])).tolist(), [[0, 0], [1, 1]])

    def test_a_model_that_is_cut_off_is_refused(self):
        damo.torch.save_for_serving(nn.Sequential(self.layer()), self.path("served"))
        os.truncate(self.path("served/model.pt"), 100)
        self.assert_fails(
            damo.CorruptionError, ["model.pt"], damo.torch.load_for_serving, self.path("served")
        )

    def test_smaller_tables(self):
        model = nn.Sequential(self.layer())
        out = model(torch.arange(10))
        damo.torch.save_for_serving(model, self.path("half"), value_type="float16")
        close(damo.torch.load_for_serving(self.path("half"))(torch.arange(10)), out.detach(), 1e-3)

    def test_a_table_that_is_damaged_is_refused(self):
        model = nn.Sequential(self.layer())
        model(torch.arange(10))
        damo.torch.save_for_serving(model, self.path("served"))
        with open(os.path.join(self.path("served"), "0.table"), "r+b") as file:
            file.seek(200)
            file.write(b"\xff\xff")
        self.assert_fails(
            damo.CorruptionError, [], damo.torch.load_for_serving, self.path("served")
        )
