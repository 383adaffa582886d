"""The programs of docs/from_nn_embedding.md."""

import contextlib
import os
import pathlib
import re

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "from_nn_embedding.md"
nn = torch.nn


class Page(Case):
    def setUp(self):
        super().setUp()
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        self.programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

    def program(self, words):
        found = [program for program in self.programs if words in program]
        self.assertEqual(len(found), 1, words)
        return found[0]

    def test_the_lines_that_change(self):
        batches = [(torch.tensor([1, 2, 10**12]), torch.ones(3, 1))] * 20
        losses = []

        def loss_function(out, wanted):
            loss = (out - wanted).square().mean()
            losses.append(float(loss.detach()))
            return loss

        names = {"batches": batches, "loss_function": loss_function}
        exec(self.program("class Model"), names)
        self.assertLess(losses[-1], losses[0])
        with damo.Storage("tables") as storage:
            rows = storage.embedding("user", dim=16, optimizer=damo.Adam())
            self.assertEqual((len(rows), rows.step), (3, 20))
        self.assertTrue(os.path.isdir("checkpoint"))

    def test_converting(self):
        model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 1))
        told = []
        names = {"damo": damo, "model": model, "storage": self.storage(), "print": told.append}
        exec(self.program("print(damo.torch.convert"), names)
        self.assertIn("1 layer converted", str(told[0]))

    def test_going_on_after_a_run(self):
        program, epochs = self.program("go_on ="), []

        def run(last):
            """A process that is killed within the epoch after last, or at its end."""
            torch.manual_seed(7)
            model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 1))
            storage = damo.Storage("tables")

            def train_one_epoch(model, optimizer):
                if len(epochs) == last:
                    raise KeyboardInterrupt
                optimizer.zero_grad()
                model(torch.tensor([1, 2])).square().sum().backward()
                optimizer.step()
                epochs.append(model[0].rows.step)

            names = {"damo": damo, "torch": torch, "os": os, "model": model, "storage": storage}
            with contextlib.suppress(KeyboardInterrupt):
                exec(program, {**names, "train_one_epoch": train_one_epoch})
            weights = model[0].rows.peek(range(5))[0], model[1].weight.detach().clone()
            storage.close()
            return weights

        for last in (0, 3, 4, 99):
            rows, dense = run(last)
        self.assertEqual(epochs, list(range(1, 11)))
        os.rename("tables", "stopped")
        os.rename("checkpoint", "stopped checkpoint")
        epochs.clear()
        whole = run(99)
        self.assertEqual(rows.tolist(), whole[0].tolist())
        self.assertTrue(torch.equal(dense, whole[1]))
