"""EmbeddingBag against torch.nn's, and what it refuses."""

import unittest
import warnings

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn


def twin(layer, cls, **options):
    """torch's layer with the weights of the ids 0..9."""
    made = cls(10, layer.embedding_dim, **options)
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(layer.rows.peek(range(10))[0]))
    return made


class Bags(Case):
    IDS = torch.tensor([[1, 2, 3], [4, 4, 0], [0, 0, 0]])
    FLAT, OFFSETS = torch.tensor([1, 2, 3, 0, 4, 4]), torch.tensor([0, 2, 2, 5])

    def same(self, mode, *arguments, padding_idx=None, weights=None, **options):
        layer = self.layer(
            cls=damo.torch.EmbeddingBag, mode=mode, padding_idx=padding_idx, **options
        )
        layer.rows[range(10)]
        theirs = twin(layer, nn.EmbeddingBag, mode=mode, padding_idx=padding_idx, **options)
        w = [None if weights is None else weights.clone().requires_grad_() for _ in range(2)]
        mine, other = (l(*arguments, per_sample_weights=x) for l, x in zip((layer, theirs), w))
        close(mine, other)
        factor = torch.randn_like(mine)
        optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
        for out in (mine, other):
            (out * factor).sum().backward()
        optimizer.step()
        close(torch.from_numpy(layer.rows.peek(range(10))[0]), theirs.weight.detach())
        if weights is not None:
            close(w[0].grad, w[1].grad)
        layer.rows.storage.close()

    def test_follow_torch(self):
        for mode in ("sum", "mean", "max"):
            for padding in (None, 0):
                for number, arguments in enumerate(((self.IDS,), (self.FLAT, self.OFFSETS))):
                    with self.subTest(mode=mode, padding=padding, arguments=number):
                        self.folder += "x"
                        self.same(mode, *arguments, padding_idx=padding)

    def test_last_offset(self):
        self.same("mean", self.FLAT, torch.tensor([0, 2, 6]), include_last_offset=True)

    def test_per_sample_weights(self):
        self.same("sum", self.IDS, weights=torch.randn(3, 3))
        self.folder += "x"
        self.same("sum", self.FLAT, self.OFFSETS, weights=torch.randn(6), padding_idx=0)

    def test_weights_of_padding_do_not_count(self):
        for training in (True, False):
            options = {"storage": self.storage(str(training)), "optimizer": damo.SGD(lr=0.0)}
            layer = self.layer(cls=damo.torch.EmbeddingBag, mode="sum", padding_idx=0, **options)
            layer(self.IDS)
            layer.train(training)
            plain = torch.tensor([[1.0, 2, 3], [4, 5, float("nan")], [float("inf")] * 3])
            found = []
            for ids, offsets, weights in (
                (self.IDS, None, plain),
                (self.IDS.reshape(-1), torch.tensor([0, 3, 6]), plain.reshape(-1)),
            ):
                weights = weights.clone().requires_grad_(True)
                out = layer(ids, offsets, weights)
                self.assertTrue(bool(out.isfinite().all()))
                out.sum().backward()
                found.append((out.detach(), weights.grad.reshape(-1)))
            close(found[0][0], found[1][0])
            close(found[0][1], found[1][1])

    def test_empty(self):
        layer = self.layer(cls=damo.torch.EmbeddingBag)
        empty = torch.zeros(0, dtype=torch.int64)
        close(layer(empty, torch.tensor([0, 0])), torch.zeros(2, 4))
        layer(empty, torch.tensor([0])).sum().backward()
        close(layer(torch.zeros((2, 0), dtype=torch.int64)), torch.zeros(2, 4))

    def test_refuses(self):
        layer = self.layer(cls=damo.torch.EmbeddingBag)
        self.assert_fails(ValueError, ["(3,)", "offsets"], layer, torch.arange(3))
        self.assert_fails(ValueError, ["offsets"], layer, self.IDS, self.OFFSETS)
        self.assert_fails(
            ValueError, ["'sum'"], layer, self.IDS, per_sample_weights=torch.ones(3, 3)
        )
        for ids, offsets, options, words in (
            ([], [0, 5], {}, "at most 0"),
            ([], [3], {}, "from 0"),
            ([1, 2], [1], {}, "from 0"),
            ([1, 2, 3], [0, 2, 1], {}, "never back"),
            ([1, 2], [0, 3], {}, "at most 2"),
            ([], [], {"include_last_offset": True}, "empty"),
            ([1], [[0]], {}, "(1, 1)"),
        ):
            bags = damo.torch.EmbeddingBag(layer.rows, **options)
            ids, offsets = torch.tensor(ids, dtype=torch.int64), torch.tensor(
                offsets, dtype=torch.int64
            )
            self.assert_fails(ValueError, ["offsets", words], bags, ids, offsets)
        summed = damo.torch.EmbeddingBag(layer.rows, mode="sum")
        for weights in (torch.ones(3, 3, dtype=torch.float64), [1.0]):
            self.assert_fails(
                TypeError, ["per_sample_weights", "float32"], summed, self.IDS, None, weights
            )
        self.assert_fails(ValueError, ["(2,)", "(3, 3)"], summed, self.IDS, None, torch.ones(2))
        self.assert_fails(TypeError, ["ids", "list"], layer, [1, 2])
        self.assert_fails(TypeError, ["offsets", "list"], layer, self.FLAT, [0, 2])
        self.assertEqual(len(layer.rows), 0)
        self.assert_fails(
            ValueError,
            ["'first'"],
            damo.torch.EmbeddingBag,
            self.storage("x"),
            "u",
            4,
            mode="first",
        )

    @unittest.skipUnless(
        hasattr(getattr(torch, "compiler", None), "disable"), "torch.compile needs torch 2.1"
    )
    def test_compiled(self):
        with warnings.catch_warnings():
            # The compiler's own, where it looks at tensors at a graph break.
            warnings.filterwarnings("ignore", "The .grad attribute", UserWarning)
            for mode in ("sum", "mean", "max"):
                self.folder += "x"
                layer = self.layer(cls=damo.torch.EmbeddingBag, mode=mode, padding_idx=0)
                compiled = torch.compile(nn.Sequential(layer, nn.Linear(4, 1)), backend="eager")
                compiled(self.IDS).sum().backward()
                self.assertEqual(layer.rows.step, 1)
                alone = torch.compile(layer, backend="eager")
                for arguments in ((self.IDS,), (self.FLAT, self.OFFSETS)):
                    self.assertTrue(torch.equal(alone(*arguments), layer(*arguments)))
                self.assert_fails(
                    ValueError, ["never back"], alone, self.FLAT, torch.tensor([0, 9])
                )
