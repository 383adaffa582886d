"""A model on two storages, with optimizers and a schedule, for the tests of checkpoints."""

import random

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn


class Net(nn.Module):
    """Two layers, with rows in two storages, and dense parts before and after them."""

    def __init__(self, users, items, classes=1):
        super().__init__()
        self.first = nn.Linear(1, 4)
        self.users, self.items = users, items
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, classes)

    def forward(self, users, items):
        mixed = self.users(users) + self.items(items) + self.first(torch.ones(len(users), 1))
        return self.last(self.norm(mixed))


class Trainer:
    """A model and what goes with it: two optimizers, a schedule, counts."""

    def __init__(self, case, name, classes=1, dim=4, several=True):
        torch.manual_seed(5)
        self.storages = [case.storage(f"{name} {number}") for number in range(2 if several else 1)]
        adam = damo.Adam(lr=0.05)
        users = damo.torch.Embedding(self.storages[0], "user", dim, optimizer=adam)
        items = damo.torch.EmbeddingBag(self.storages[-1], "item", dim, optimizer=adam, mode="sum")
        self.model = Net(users, items, classes)
        dense = [p for name, p in self.model.named_parameters() if not name.endswith("anchor")]
        self.dense = torch.optim.Adam(dense, lr=0.05)
        self.sparse = damo.torch.SparseOptimizer(self.model)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(self.sparse, milestones=[3, 5, 5])
        self.epoch = 0

    @property
    def optimizers(self):
        return [self.dense, self.sparse]

    def train(self, steps=1):
        self.model.train()
        for _ in range(steps):
            draw = random.Random(self.epoch)
            users = torch.tensor([draw.randrange(20) for _ in range(8)])
            items = torch.tensor([[draw.randrange(20) for _ in range(3)] for _ in range(8)])
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            self.model(users, items).square().mean().backward()
            for optimizer in self.optimizers:
                optimizer.step()
            self.schedule.step()
            self.epoch += 1
        return self

    def save(self, path, **options):
        more = {"schedule": self.schedule, "epoch": self.epoch, **options}
        damo.torch.save_checkpoint(self.model, self.optimizers, path, **more)

    def load(self, path, **options):
        more = {"schedule": self.schedule, **options}
        found = damo.torch.load_checkpoint(path, self.model, self.optimizers, **more)
        self.epoch = found["epoch"]
        return found

    def state(self):
        """Everything that training depends on, for comparing."""
        found = {
            name: value.tolist()
            for name, value in self.model.state_dict().items()
            if "extra" not in name
        }
        for layer in (self.model.users, self.model.items):
            records = [(r.key, r.update_num, *r.weights, *r.state) for r in layer.rows]
            found[layer.rows.name] = layer.rows.step, records, layer.rows.optimizer.learning_rate
        found["dense"] = str(self.dense.state_dict())
        found["sparse"] = str(self.sparse.state_dict()["param_groups"])
        found["schedule"] = str(self.schedule.state_dict())
        return {**found, "epoch": self.epoch}


class CheckpointCase(Case):
    def trainer(self, name="first", **options):
        made = Trainer(self, name, **options)
        self.addCleanup(made.sparse.close)
        return made
