"""Dtypes and devices: a layer's own, torch's defaults of the moment, and autocast."""

import contextlib
import unittest

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn

CONVERSIONS = (
    (torch.float64, lambda m: m.double()),
    (torch.bfloat16, lambda m: m.bfloat16()),
    (torch.float16, lambda m: m.half()),
    (torch.float32, lambda m: m.half().float()),
    (torch.float64, lambda m: m.to(torch.float64)),
    (torch.bfloat16, lambda m: nn.Sequential(m).to("cpu", torch.bfloat16)[0]),
)


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Defaults(Case):
    """Tensors that damo made for itself had the default device and dtype of the moment."""

    def train(self, layer, sparse=None):
        """Two steps with all kinds of calls, to be compared with the same without defaults."""
        ids = torch.tensor([[1, 2], [2, 0]], device="cpu")
        offsets = torch.tensor([0, 1], device="cpu")
        bags = [
            damo.torch.EmbeddingBag(layer.rows, mode=mode, dtype=torch.float32)
            for mode in ("sum", "mean", "max")
        ]
        for _ in range(2):
            loss = layer(ids).sum() + sum(
                (bag(ids) ** 2).sum() + bag(ids[0], offsets).sum() for bag in bags
            )
            loss.backward()
            if sparse is not None:
                sparse.step()
        layer.prefetch(ids)
        layer.eval()
        self.assertEqual(layer(ids).device, ids.device)
        return layer.rows.peek([1, 2])[0].tolist()

    def trained(self, context, deferred, made_within):
        self.folder += "x"
        options = {"padding_idx": 0, "initializer": damo.Ones(), "dtype": torch.float32}
        with context() if made_within else contextlib.nullcontext():
            layer = self.layer(**options)
            sparse = damo.torch.SparseOptimizer([layer]) if deferred else None
        if sparse is not None:
            # The bags of train are not collected: they share nothing with this layer's reader.
            self.addCleanup(sparse.close)
        with context():
            return self.train(layer, sparse)

    def everywhere(self, context):
        for deferred in (False, True):
            expected = self.trained(contextlib.nullcontext, deferred, False)
            for made_within in (False, True):
                with self.subTest(deferred=deferred, made_within=made_within):
                    self.assertEqual(self.trained(context, deferred, made_within), expected)

    def test_dtypes(self):
        self.everywhere(lambda: default_dtype(torch.float64))

    @unittest.skipUnless(hasattr(torch, "set_default_device"), "default devices need torch 2.0")
    def test_devices(self):
        @contextlib.contextmanager
        def default_device():
            torch.set_default_device("meta")
            try:
                yield
            finally:
                torch.set_default_device(None)

        self.everywhere(default_device)
        self.everywhere(lambda: torch.device("meta"))

    @unittest.skipUnless(hasattr(torch, "set_default_device"), "default devices need torch 2.0")
    def test_a_served_model(self):
        model = nn.Sequential(self.layer(padding_idx=0))
        ids = torch.tensor([0, 1, 2])
        model(ids)
        expected = model.eval()(ids)
        damo.torch.save_for_serving(model, self.path("served"))
        for context in (torch.device("meta"), default_dtype(torch.float64)):
            with context:
                close(damo.torch.load_for_serving(self.path("served"))(ids), expected, 0)

    def test_a_layer_has_the_dtype_of_when_it_was_made(self):
        ids = torch.tensor([1])
        before = self.layer()
        with default_dtype(torch.float64):
            self.assertEqual(before(ids).dtype, torch.float32)
            within = self.layer(storage=self.storage("other"))
            self.assertEqual(within(ids).dtype, nn.Embedding(2, 4)(ids).dtype)
            named = damo.torch.Embedding(within.rows, dtype=torch.float16)
            self.assertEqual(named(ids).dtype, torch.float16)
        self.assertEqual(within(ids).dtype, torch.float64)


class Dtypes(Case):
    """Rows were float32 whatever a model was converted to."""

    IDS = torch.tensor([[1, 2, 3], [2, 2, 0]])

    def test_rows_and_gradients_have_the_layer_s(self):
        for dtype, convert in CONVERSIONS:
            for mode in (None, "sum", "mean", "max"):
                with self.subTest(dtype=dtype, mode=mode):
                    self.folder += "x"
                    options = {} if mode is None else {"cls": damo.torch.EmbeddingBag, "mode": mode}
                    layer = convert(self.layer(initializer=damo.Normal(stddev=1.0), **options))
                    out = layer(self.IDS)
                    out.retain_grad()
                    # Not a Linear, which torch 1.13 does not have for float16 on a CPU.
                    (out * nn.Parameter(torch.ones(4, dtype=dtype))).sum().backward()
                    self.assertEqual((out.dtype, out.grad.dtype), (dtype, dtype))
                    self.assertEqual(layer.rows.step, 1)
                    layer.eval()
                    self.assertEqual(layer(self.IDS).dtype, dtype)
                    self.assertEqual(layer(self.IDS[:0]).dtype, dtype)

    def test_values_are_the_rows_rounded(self):
        for dtype, convert in CONVERSIONS:
            self.folder += "x"
            layer = convert(self.layer())
            layer(self.IDS)
            rows = torch.from_numpy(layer.rows.peek(self.IDS.numpy())[0])
            for training in (True, False):
                self.assertTrue(torch.equal(layer.train(training)(self.IDS), rows.to(dtype)))

    def test_steps_are_those_of_float32(self):
        # In 16 bits weights of 1 would not move by 1e-4.
        found = {}
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            self.folder += "x"
            layer = self.layer(optimizer=damo.Adam(lr=1e-4), initializer=damo.Ones()).to(dtype)
            for _ in range(50):
                layer(torch.tensor([1])).sum().backward()
            found[dtype] = layer.rows.record(1)
        one = found.pop(torch.float32)
        self.assertLess(abs(float(one.weights[0]) - (1 - 50e-4)), 1e-6)
        for record in found.values():
            self.assertEqual(record.weights.tolist(), one.weights.tolist())
            self.assertEqual(record.state.tolist(), one.state.tolist())

    def test_gradients_that_wait_for_a_step_add_up_in_float32(self):
        # 256 + 1 is 256 in bfloat16.
        layer = self.layer(optimizer=damo.SGD(lr=1.0), initializer=damo.Zeros()).bfloat16()
        sparse = damo.torch.SparseOptimizer(layer)
        self.addCleanup(sparse.close)
        for factor in (256, 1, 1):
            (layer(torch.tensor([1])) * factor).sum().backward()
        sparse.step()
        self.assertEqual((layer.rows.peek(1)[0][0], layer.rows.step), (-258, 1))

    def test_gradients_that_float32_cannot_hold_are_refused(self):
        layer = self.layer().double()
        self.assert_fails(ValueError, ["key 1"], (layer(torch.tensor([1])).sum() * 1e300).backward)
        self.assertEqual(layer.rows.step, 0)

    def test_weights_of_a_bag_have_the_layer_s(self):
        for dtype, convert in CONVERSIONS:
            self.folder += "x"
            layer = convert(
                self.layer(cls=damo.torch.EmbeddingBag, mode="sum", initializer=damo.Ones())
            )
            weights = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=dtype, requires_grad=True)
            out = layer(self.IDS, per_sample_weights=weights)
            self.assertEqual((out.dtype, out[:, 0].tolist()), (dtype, [6, 15]))
            out.sum().backward()
            self.assertEqual((weights.grad.dtype, weights.grad.tolist()), (dtype, [[4.0] * 3] * 2))
            other = torch.float32 if dtype != torch.float32 else torch.float64
            self.assert_fails(
                TypeError, [str(other)], layer, self.IDS, None, weights.detach().to(other)
            )

    def test_other_dtypes_are_refused_before_rows_are_made(self):
        layer = self.layer()
        rows = layer.rows
        for dtype in (torch.int64, torch.complex64, torch.bool):
            self.assert_fails(TypeError, [str(dtype)], damo.torch.Embedding, rows, dtype=dtype)
        layer.anchor.data = layer.anchor.data.to(torch.complex64)
        self.assert_fails(TypeError, ["complex64", "bfloat16"], layer, self.IDS)
        self.assertEqual(len(rows), 0)

    def test_the_next_layer_takes_them(self):
        for dtype in (torch.float64, torch.bfloat16):
            self.folder += "x"
            model = nn.Sequential(self.layer(), nn.Linear(4, 1)).to(dtype)
            model(self.IDS).sum().backward()
            self.assertEqual((model[0].rows.step, model[1].weight.grad.dtype), (1, dtype))

    def test_served_models_keep_it(self):
        model = nn.Sequential(self.layer(), nn.Linear(4, 1)).double()
        model(self.IDS).sum().backward()
        expected = model.eval()(self.IDS)
        damo.torch.save_for_serving(model, self.path("served"))
        out = damo.torch.load_for_serving(self.path("served"))(self.IDS)
        self.assertEqual(out.dtype, torch.float64)
        self.assertTrue(torch.equal(out, expected))

    def test_autocast_leaves_rows_alone(self):
        table = nn.EmbeddingBag(5, 4), nn.Embedding(5, 4)
        for dtype in (torch.float32, torch.float64, torch.float16):
            self.folder += "x"
            layer = self.layer().to(dtype)
            bags = [
                damo.torch.EmbeddingBag(layer.rows, mode=mode).to(dtype)
                for mode in ("sum", "mean", "max")
            ]
            for number, mine in enumerate((layer, *bags)):
                theirs = table[number == 0].to(dtype)
                plain = mine(self.IDS)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    out = mine(self.IDS)
                    self.assertEqual(out.dtype, theirs(self.IDS).dtype)
                    self.assertTrue(torch.equal(out, plain))

    def test_ids_of_inference_mode(self):
        layer = self.layer(initializer=damo.Zeros())
        with torch.inference_mode():
            ids = torch.tensor([1, 2])
            layer(ids)
        layer(ids).sum().backward()
        self.assertEqual(layer.rows.peek([1])[0][0, 0], -0.5)
