"""Random inputs against torch.nn with the same rows.

Values and gradients are equal, or the input is refused. DAMO_RANDOM_INPUTS is the number of inputs
that each test draws (300), DAMO_RANDOM_SEED their seed. If torch finds a GPU, some ids and layers
are on it.
"""

import contextlib
import os

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip
from random_inputs import DTYPES, IDS, PADDINGS, WITHOUT_ROWS, Draw, Tables

import damo
import damo.torch

nn = torch.nn
NUMBER = int(os.environ.get("DAMO_RANDOM_INPUTS", "300"))
SEED = os.environ.get("DAMO_RANDOM_SEED", "1")


def autocast(draw, device):
    """Now and then: it leaves the layers of torch.nn alone."""
    return (
        torch.autocast(device, dtype=torch.bfloat16)
        if draw.random() < 0.2
        else contextlib.nullcontext()
    )


def assert_near(mine, theirs, dtype, size):
    """Equal to 1e-6, or to one rounding of each partial sum. size: the sum of absolute values."""
    rounding = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    tolerance = max(1e-6, rounding * size)
    torch.testing.assert_close(mine, theirs.to(mine.dtype), rtol=1e-6, atol=tolerance)


def place_of(padding):
    """Where torch's table has the padding."""
    return None if padding is None else IDS.index(padding)


def most_uses(places):
    """How often the most frequent of places is there."""
    return int(torch.bincount(places.reshape(-1), minlength=1).max())


def factor(out):
    """What a loss multiplies out with, the same for damo and torch."""
    return torch.linspace(-1, 1, out.numel(), dtype=torch.float32).view(out.shape).to(out.dtype)


class Inputs(Case):
    def setUp(self):
        super().setUp()
        self.tables = Tables(self.storage())

    def for_each_input(self, check):
        """What check, which takes a Draw, returns for each of them."""
        found = []
        for number in range(NUMBER):
            with self.subTest(seed=SEED, number=number):
                found.append(check(Draw(f"{SEED} {self.id()}", number)))
        return found

    def assert_stepped(self, rows, table, gradient, dtype, uses, exact):
        """The rows have had one step with torch's gradient; None: no step. exact: to the bit."""
        wanted = table[: len(IDS)]
        if gradient is not None:
            wanted = wanted - gradient[: len(IDS)].to(torch.float32)
        stored = self.tables.stored(rows)
        if exact or gradient is None:
            self.assertTrue(torch.equal(stored, wanted))
        # A sum of uses terms of at most 1 is rounded at 1, 2, 3, ...
        assert_near(stored, wanted, dtype, 2 * uses + uses * uses / 4)


class Embedding(Inputs):
    def test_as_torch(self):
        self.for_each_input(self.check)

    def check(self, draw):
        padding, dtype, training = draw.choice(PADDINGS), draw.choice(DTYPES), draw.random() < 0.7
        rows, table = self.tables.fresh(padding, draw)
        device = draw.device()
        # The layer may be left where it was made.
        layer = damo.torch.Embedding(rows).to(dtype=dtype, device=draw.device()).train(training)
        frozen = draw.random() < 0.1
        layer.requires_grad_(not frozen)
        shape = [draw.choice((0, 1, 1, 2, 3, 4)) for _ in range(draw.randrange(5))]
        ids, places = draw.ids(shape, draw.dtype_of_ids(), training)
        theirs = nn.Embedding(*table.shape, padding_idx=place_of(padding), dtype=dtype)
        with torch.no_grad():
            theirs.weight.copy_(table)
        step = rows.step
        with autocast(draw, device):
            out, expected = layer(ids.to(device)), theirs(places)
        self.assertEqual(
            (out.dtype, out.shape, out.requires_grad), (dtype, expected.shape, not frozen)
        )
        self.assertEqual(out.device.type, device)
        out = out.cpu()
        self.assertTrue(torch.equal(out, expected))
        if not frozen:
            for result in (out, expected):
                (result * factor(out)).sum().backward()
        self.assertEqual(rows.step, step + (not frozen))
        # torch sums gradients of 16 bits in them, and damo in float32.
        uses = most_uses(places)
        self.assert_stepped(rows, table, theirs.weight.grad, dtype, uses, uses <= 1)


class BagInput:
    """A layer and what it is called with."""

    def __init__(self, draw, tables):
        self.padding, self.dtype = draw.choice(PADDINGS), draw.choice(DTYPES)
        self.mode, self.last = draw.choice(("sum", "mean", "max")), draw.random() < 0.5
        self.rows, self.table = tables.fresh(self.padding, draw)
        self.layer = damo.torch.EmbeddingBag(
            self.rows, mode=self.mode, include_last_offset=self.last
        )
        training = draw.random() < 0.7
        self.device = draw.device()
        self.layer.to(dtype=self.dtype, device=draw.device()).train(training)
        self.frozen = draw.random() < 0.1
        self.layer.requires_grad_(not self.frozen)

        self.sizes = draw.sizes()
        self.offsets = None
        if draw.random() < 0.6:
            shape = [sum(self.sizes)]
            offsets = torch.tensor(draw.offsets(self.sizes, self.last), dtype=draw.dtype_of_ids())
            self.offsets = draw.layout(offsets)
        else:
            size = draw.randrange(6)
            self.sizes = [size] * draw.randrange(5)
            shape = [len(self.sizes), size]
        self.ids, self.places = draw.ids(shape, draw.dtype_of_ids(), training)
        self.weights = None
        if self.mode == "sum" and draw.random() < 0.5:
            weights = draw.layout(draw.floats(shape, 1).to(self.dtype))
            self.weights = weights.requires_grad_(draw.random() < 0.7)

    def theirs(self, draw):
        """torch.nn's values, and gradients of the table and of the weights.

        In float32 where the dtype has 16 bits: torch 1.13 has no bags of bfloat16.
        """
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        bag = nn.EmbeddingBag(
            *self.table.shape, mode=self.mode, padding_idx=place_of(self.padding), dtype=wide
        )
        with torch.no_grad():
            bag.weight.copy_(self.table.to(self.dtype))
        weights = None if self.weights is None else self.weights.detach().to(wide).requires_grad_()
        if self.offsets is None and self.ids.shape[1]:
            out = bag(self.places, None, weights)
        else:
            # torch has no bags of two dimensions without ids.
            begins = torch.tensor(draw.offsets(self.sizes, False), dtype=torch.int64)
            out = bag(
                self.places.reshape(-1), begins, None if weights is None else weights.reshape(-1)
            )
        (out * factor(out.detach().to(self.dtype)).to(wide)).sum().backward()
        return out.detach(), bag.weight.grad, None if weights is None else weights.grad


class EmbeddingBag(Inputs):
    def test_as_torch(self):
        self.for_each_input(self.check)

    def check(self, draw):
        given = BagInput(draw, self.tables)
        dtype, rows, step = given.dtype, given.rows, given.rows.step
        with autocast(draw, given.device):
            ids, offsets, weights = (
                None if some is None else some.to(given.device)
                for some in (given.ids, given.offsets, given.weights)
            )
            out = given.layer(ids, offsets, weights)
        self.assertEqual(out.device.type, given.device)
        out = out.cpu()
        expected, gradient, weights_gradient = given.theirs(draw)
        self.assertEqual((out.dtype, out.shape), (dtype, expected.shape))
        largest = max(given.sizes, default=0)
        plain = (
            given.weights is None
            and given.padding is None
            and given.offsets is not None
            and given.device == "cpu"
        )
        if (
            given.mode == "max"
            or largest <= 1
            or (plain and dtype in (torch.float32, torch.float64))
        ):
            self.assertTrue(torch.equal(out, expected.to(dtype)))
        assert_near(out, expected, dtype, largest)
        weighted = given.weights is not None and given.weights.requires_grad
        self.assertEqual(out.requires_grad, not given.frozen or weighted)
        if out.requires_grad:
            (out * factor(out)).sum().backward()
        self.assertEqual(rows.step, step + (not given.frozen))
        uses = most_uses(given.places)
        exact = uses <= 1 and dtype == torch.float32 and given.device == "cpu"
        self.assert_stepped(
            rows, given.table, None if given.frozen else gradient, dtype, uses, exact
        )
        if weighted:
            self.assertEqual(given.weights.grad.dtype, dtype)
            assert_near(given.weights.grad, weights_gradient, dtype, 2 * given.table.shape[1])

    def test_wrong_offsets_are_refused(self):
        found = self.for_each_input(self.refused)
        self.assertGreater(sum(found), NUMBER // 2)

    def refused(self, draw):
        """Whether the draw found wrong offsets. They are refused before a row is made."""
        given = BagInput(draw, self.tables)
        sizes = draw.sizes()
        offsets = draw.wrong_offsets(sizes, given.last)
        if offsets is None:
            return False
        ids = torch.tensor(draw.choices(WITHOUT_ROWS, k=sum(sizes)), dtype=torch.int64)
        step = given.rows.step
        wrong = torch.tensor(offsets, dtype=torch.int64)
        self.assert_fails(ValueError, ["damo.torch: offsets"], given.layer, ids, wrong)
        self.assertFalse(given.rows.peek(WITHOUT_ROWS)[1].any())
        self.assertEqual(given.rows.step, step)
        return True
