"""The program of docs/torchrec.md, with an object like a KeyedJaggedTensor."""

import os
import pathlib
import re

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "torchrec.md"


class Jagged:
    """What a collection asks a KeyedJaggedTensor for."""

    def __init__(self, keys, values, lengths):
        self._keys, self._values, self._lengths = keys, values, lengths

    def keys(self):
        return self._keys

    def values(self):
        return self._values

    def lengths(self):
        return self._lengths

    def stride(self):
        return len(self._lengths) // len(self._keys)


class Page(Case):
    def test_the_lines_that_change(self):
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        # Two samples. The second has no query, and "more" is a key that no table reads.
        values = torch.tensor([10**12, -5, 1, 2, 3, 2, 9, 9])
        lengths = torch.tensor([1, 1, 2, 1, 1, 0, 1, 1])
        kjt = Jagged(["user", "title", "query", "more"], values, lengths)
        losses = []

        def loss_function(out, wanted):
            loss = (out - wanted).square().mean()
            losses.append(float(loss.detach()))
            return loss

        batches = [(kjt, torch.ones(2, 1))] * 20
        exec(program, {"batches": batches, "loss_function": loss_function})
        self.assertLess(losses[-1], losses[0])
        with damo.Storage("tables") as storage:
            adagrad = damo.RowwiseAdagrad()
            for name, dim, count in (("t_user", 16, 2), ("t_word", 32, 3)):
                rows = storage.embedding(name, dim=dim, optimizer=adagrad)
                self.assertEqual((len(rows), rows.step), (count, 20))
