"""Random training loops against torch.nn: norms, rows and dense part are equal after each step.

DAMO_RANDOM_LOOPS is the number of loops (60), DAMO_RANDOM_SEED their seed. If torch finds a GPU,
every other model is on it.
"""

import os

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip
from random_inputs import DEVICES
from random_loops import DIM, IDS, PADDING, Bag, Draw, Net

import damo
import damo.torch

nn = torch.nn
NUMBER = int(os.environ.get("DAMO_RANDOM_LOOPS", "60"))
SEED = os.environ.get("DAMO_RANDOM_SEED", "1")


class Loops(Case):
    def test_as_torch(self):
        storage = self.storage()
        for number in range(NUMBER):
            with self.subTest(seed=SEED, number=number):
                self.check(storage, Draw(f"{SEED} {number}"), number)

    def tables(self, storage, number):
        """The rows of two groups, each with a layer of torch that has the same weights."""
        for name, padding in (("user", None), ("item", PADDING)):
            options = {"optimizer": damo.SGD(lr=0.5), "padding_key": padding}
            rows = storage.embedding(f"{name} {number}", dim=DIM, duplicates="sum", **options)
            weights = torch.randn(IDS, DIM, generator=torch.Generator().manual_seed(number))
            if padding is not None:
                weights[padding] = 0
            kept = [id for id in range(IDS) if id != padding]
            rows.insert(kept, weights[kept].numpy())
            yield (
                rows,
                nn.Embedding.from_pretrained(weights.clone(), freeze=False, padding_idx=padding),
            )

    def check(self, storage, draw, number):
        (user, user_weights), (item, item_weights) = self.tables(storage, number)
        layer, bag = damo.torch.Embedding, damo.torch.EmbeddingBag
        ours = Net(layer(user), layer(user), layer(item), bag(item, mode="sum"))
        theirs = Net(user_weights, user_weights, item_weights, Bag(item_weights.weight))
        for model in (ours, theirs):
            model.to(DEVICES[number % len(DEVICES)])
        optimizer = damo.torch.Optimizer(torch.optim.SGD(ours.parameters(), lr=0.5), ours)
        other = torch.optim.SGD(theirs.parameters(), lr=0.5)
        done = []
        for _ in range(draw.randint(4, 14)):
            kind, step = draw.step()
            done.append(kind)
            mine, wanted = step(ours, optimizer), step(theirs, other)
            if isinstance(wanted, float):
                self.assertAlmostEqual(mine, wanted, delta=2e-5 * abs(wanted), msg=done)
            largest = max(float(one.detach().abs().max()) for one in theirs.parameters())
            if not largest < 1e8:
                return
            for rows, weight in ((user, user_weights.weight), (item, item_weights.weight)):
                self.assert_close(torch.from_numpy(rows.peek(range(IDS))[0]), weight, largest, done)
            self.assert_close(ours.dense, theirs.dense, largest, done)

    def assert_close(self, mine, wanted, largest, done):
        apart = float((mine.detach().cpu() - wanted.detach().cpu()).abs().max())
        self.assertLessEqual(apart, 1e-5 * max(largest, 1), done)
