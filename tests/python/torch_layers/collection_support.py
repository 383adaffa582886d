"""What the tests of collections share: a collection, and the same tables of torch.nn."""

# Before the others: without torch it skips the file that imports this.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn
IDS = 12
TABLES = {
    # The name of a table: its dim, its features, and their pooling.
    "user": (4, ("user",), "sum"),
    "tag": (3, ("tags", "words"), "mean"),
    "mark": (5, ("mark",), "max"),
}
DIMS = {name: dim for dim, names, _ in TABLES.values() for name in names}


class Torchs(nn.Module):
    """The same tables of torch.nn. has_bags: EmbeddingBags, whose bags have offsets."""

    def __init__(self, has_bags, padding_idx=None):
        super().__init__()
        self.has_bags = has_bags
        options = {"padding_idx": padding_idx}
        self.tables = nn.ModuleDict(
            {
                name: (
                    nn.EmbeddingBag(IDS, dim, mode=pooling, **options)
                    if has_bags
                    else nn.Embedding(IDS, dim, **options)
                )
                for name, (dim, _, pooling) in TABLES.items()
            }
        )

    def forward(self, features):
        out = {}
        for name, (_, names, _) in TABLES.items():
            for feature in names:
                given = features[feature]
                if not isinstance(given, tuple):
                    given = (given,)
                ids, offsets, weights = (*given, None, None)[:3]
                table = self.tables[name]
                out[feature] = table(ids, offsets, weights) if self.has_bags else table(ids)
        return out


class Collections(Case):
    def configs(self, has_bags, optimizer=None, only=TABLES, **options):
        optimizer = optimizer or (lambda: damo.SGD(lr=0.5))
        return [
            damo.torch.TableConfig(
                name,
                dim,
                optimizer(),
                features,
                pooling=pooling if has_bags else None,
                initializer=damo.Normal(stddev=0.1),
                **options,
            )
            for name, (dim, features, pooling) in TABLES.items()
            if name in only
        ]

    def collection(self, has_bags=True, storage=None, optimizer=None, padding_idx=None, **options):
        cls = damo.torch.EmbeddingBagCollection if has_bags else damo.torch.EmbeddingCollection
        configs = self.configs(has_bags, optimizer, padding_idx=padding_idx)
        return cls(storage or self.storage(), configs, **options)

    def pair(self, has_bags=True, padding_idx=None, **options):
        """A collection, and torch's tables with the same weights."""
        ours = self.collection(has_bags, padding_idx=padding_idx, **options)
        theirs = Torchs(has_bags, padding_idx)
        for name, table in theirs.tables.items():
            keys = [key for key in range(IDS) if key != padding_idx]
            weight = table.weight.detach()
            ours.tables[name].rows.insert(keys, weight[keys].numpy())
        return ours, theirs

    def assert_equal(self, ours, theirs, tolerance=1e-6):
        for name, table in theirs.tables.items():
            found = torch.from_numpy(ours.tables[name].rows.peek(range(IDS))[0])
            close(found, table.weight.detach(), tolerance)

    def steps(self, collection):
        return [table.rows.step for table in collection.tables.values()]


def ids(number, count=6, size=3):
    """Ids of shape (count, size) for each feature."""
    generator = torch.Generator().manual_seed(number)
    return {name: torch.randint(IDS, (count, size), generator=generator) for name in DIMS}


def bags(number, count=6, weights=True):
    """Bags with offsets for each feature. Some are empty."""
    generator = torch.Generator().manual_seed(number)
    found = {}
    for name in DIMS:
        sizes = torch.randint(4, (count,), generator=generator)
        total = int(sizes.sum())
        values = torch.randint(IDS, (total,), generator=generator)
        found[name] = values, sizes.cumsum(0) - sizes
    if weights:
        found["user"] = (*found["user"], torch.rand(len(found["user"][0]), generator=generator))
    return found


def loss_of(out, number=0):
    """A loss with another gradient for each number of the outputs."""
    if isinstance(out, torch.Tensor):
        out = dict(zip(DIMS, out.split(list(DIMS.values()), 1)))
    generator = torch.Generator().manual_seed(number)
    return sum(
        (out[name] * torch.rand(out[name].shape, generator=generator)).sum() for name in DIMS
    )


class Jagged:
    """A KeyedJaggedTensor as TorchRec has it, without TorchRec."""

    def __init__(self, keys, values, lengths, weights=None, inverse=None):
        self._keys, self._values, self._lengths = keys, values, lengths
        self._weights, self._inverse = weights, inverse

    @classmethod
    def of(cls, features, weights=None):
        """The bags of a dict, and one more key that nobody reads."""
        keys = ["more", *reversed(features)]
        count = len(next(iter(features.values()))[1])
        more = torch.arange(count), torch.arange(count)
        parts = [more if key == "more" else features[key][:2] for key in keys]
        lengths = [
            torch.cat([offsets, torch.tensor([len(values)])]).diff() for values, offsets in parts
        ]
        return cls(keys, torch.cat([values for values, _ in parts]), torch.cat(lengths), weights)

    def keys(self):
        return self._keys

    def values(self):
        return self._values

    def lengths(self):
        return self._lengths

    def offsets(self):
        return nn.functional.pad(self._lengths.cumsum(0), (1, 0))

    def stride(self):
        return len(self._lengths) // len(self._keys)

    def weights_or_none(self):
        return self._weights

    def inverse_indices_or_none(self):
        return self._inverse
