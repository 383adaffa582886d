"""A model twice, with rows in a storage and with torch.nn.Embedding, and a loop for both."""

# Before the others: without torch it skips the file that imports this.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn
IDS = 12


class Net(nn.Module):
    """Ids and results are in main memory, and what is between is on the device."""

    def __init__(self, table, dense=True, device="cpu"):
        super().__init__()
        self.table = table
        self.dense = nn.Linear(4, 1) if dense else nn.Identity()
        self.device = device
        self.to(device)

    def forward(self, ids):
        return self.dense(self.table(ids.to(self.device))).cpu()


class Pair(Case):
    """The same model twice: on damo.torch.Embedding and on torch.nn.Embedding."""

    device = "cpu"

    def made(self, rows=None, name="table", lr=0.5, dense=torch.optim.SGD, dim=4, **options):
        torch.manual_seed(2)
        theirs = Net(nn.Embedding(IDS, dim), dim == 4, self.device)
        table = self.layer(dim, storage=self.storage(name), optimizer=rows or damo.SGD(lr=lr))
        ours = Net(table, dim == 4, self.device)
        ours.dense.load_state_dict(theirs.dense.state_dict())
        ours.table.rows.insert(range(IDS), theirs.table.weight.detach().cpu().numpy().copy())
        optimizers = [dense(model.parameters(), lr=lr, **options) for model in (ours, theirs)]
        return ours, theirs, damo.torch.Optimizer(optimizers[0], ours), optimizers[1]

    def assert_equal(self, ours, theirs, tolerance=1e-6):
        close(
            torch.from_numpy(ours.table.rows.peek(range(IDS))[0]),
            theirs.table.weight.detach().cpu(),
            tolerance,
        )
        for mine, other in zip(ours.dense.parameters(), theirs.dense.parameters()):
            close(mine.detach(), other.detach(), tolerance)

    def both(self, made, loop, tolerance=1e-6):
        """Runs loop(model, optimizer) for both, and compares their weights."""
        ours, theirs, mine, other = made
        for model, optimizer in ((ours, mine), (theirs, other)):
            torch.manual_seed(4)
            loop(model, optimizer)
        self.assert_equal(ours, theirs, tolerance)


def batch(number):
    generator = torch.Generator().manual_seed(number)
    return torch.randint(IDS, (6, 2), generator=generator), torch.rand(6, 2, 1, generator=generator)


def loss_of(model, number):
    ids, wanted = batch(number)
    return (model(ids) - wanted).square().sum()
