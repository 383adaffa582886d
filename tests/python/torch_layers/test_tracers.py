"""What records or transforms a model is refused before rows are made, with what to do."""

import unittest
import warnings

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

nn = torch.nn
is_new = int(torch.__version__.split(".")[0]) >= 2


def functional():
    """The module with vmap, grad, jvp and so on: functorch before torch 2.0."""
    if is_new:
        return torch.func
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import functorch
    return functorch


class Tracers(Case):
    WORDS = ["damo.torch", "rows = layer(ids)"]

    def setUp(self):
        super().setUp()
        self.table = self.layer()
        self.bag = damo.torch.EmbeddingBag(self.table.rows, mode="sum")
        self.model = nn.Sequential(self.table, nn.Flatten(), nn.Linear(8, 1))
        self.addCleanup(self.assert_nothing_made)

    def assert_nothing_made(self):
        if not self.table.rows.closed:
            self.assertEqual(len(self.table.rows), 0)

    def refused(self, function, *arguments, words=(), **options):
        for training in (True, False):
            self.model.train(training)
            self.bag.train(training)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch deprecates some of these.
                self.assert_fails(
                    RuntimeError, [*self.WORDS, *words], function, *arguments, **options
                )
        self.assertEqual(len(self.table.rows), 0)

    def test_make_fx(self):
        ids = torch.tensor([[1, 2], [3, 4]])
        for mode in ("real", "fake", "symbolic"):
            for module in (self.table, self.bag, self.model):
                self.refused(lambda: make_fx(lambda i: module(i), tracing_mode=mode)(ids))
        # The ids are no argument of the traced function.
        self.refused(
            lambda: make_fx(lambda weight: self.table(ids) * weight)(torch.ones(4)),
            words=["make_fx"],
        )
        self.refused(lambda: make_fx(lambda o: self.bag(ids.view(-1), o))(torch.tensor([0, 2])))
        self.refused(lambda: make_fx(lambda w: self.bag(ids, None, w))(torch.ones(2, 2)))
        if is_new:
            self.refused(lambda: make_fx(lambda i: self.table(i), pre_dispatch=True)(ids))

    def test_fake_tensors(self):
        mode = FakeTensorMode()
        fake = mode.from_tensor(torch.tensor([[1, 2]]))
        for module in (self.table, self.bag, self.model, self.table.prefetch):
            self.refused(module, fake, words=["FakeTensorMode"])
            with FakeTensorMode():
                self.refused(lambda: module(torch.tensor([[1, 2]])), words=["FakeTensorMode"])
        real = torch.tensor([[1, 2]])
        with FakeTensorMode():
            self.refused(self.table, real, words=["FakeTensorMode"])

    def test_transforms(self):
        func, ids = functional(), torch.tensor([[1, 2], [3, 4]])
        weight = torch.ones(3, 4)
        for module in (self.table, self.model):
            self.refused(lambda: func.vmap(module)(ids.unsqueeze(1)), words=["vmap"])
        self.refused(lambda: func.vmap(lambda w: self.table(ids) * w)(weight), words=["vmap"])
        self.refused(
            lambda: func.grad(lambda w: (self.table(ids) * w).sum())(weight[0]), words=["grad"]
        )
        self.refused(
            lambda: func.jacrev(lambda w: (self.bag(ids) * w).sum(0))(weight[0]), words=["jacrev"]
        )
        self.refused(
            lambda: func.jvp(lambda w: self.table(ids) * w, (weight[0],), (weight[0],)),
            words=["jvp"],
        )
        self.refused(
            lambda: func.vmap(lambda w: self.bag(ids, None, w))(torch.ones(3, 2, 2)), words=["vmap"]
        )

    def test_rows_before_a_transform_are_fine(self):
        table = self.layer(storage=self.storage("other"))
        rows = table(torch.tensor([1, 2])).detach()
        gradient = functional().grad(lambda w: (rows * w).sum())(torch.ones(4))
        self.assertTrue(torch.equal(gradient, rows.sum(0)))

    def test_scripts_and_traces(self):
        ids = torch.tensor([[1, 2]])
        for module in (self.table, self.bag, self.model, nn.ModuleList([nn.Sequential(self.bag)])):
            self.refused(torch.jit.script, module, words=["torch.jit.script"])
        for module in (self.table, self.bag, self.model):
            self.refused(torch.jit.trace, module, ids, words=["torch.jit.trace"])
            self.refused(torch.fx.symbolic_trace, module, words=["symbolic_trace"])

    @unittest.skipUnless(hasattr(torch, "export"), "torch.export is in torch 2.1")
    def test_export(self):
        ids = torch.tensor([[1, 2]])
        for module in (self.table, self.bag, self.model):
            self.refused(torch.export.export, module, (ids,), strict=False)

    @unittest.skipUnless(
        hasattr(torch, "compile") and torch.__version__ >= "2.7", "reasons are in torch 2.7"
    )
    def test_whole_graphs_have_a_reason(self):
        ids = torch.tensor([[1, 2]])
        for module in (self.table, self.bag, self.model):
            for function in (
                lambda: torch.compile(module, fullgraph=True, backend="eager")(ids),
                lambda: torch.export.export(module, (ids,), strict=True),
            ):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Of torch, about its own parts.
                    torch._dynamo.reset()
                self.refused(function, words=["fullgraph=True"])

    def test_served_models_are_refused_too(self):
        table = self.layer(storage=self.storage("other"))
        table(torch.tensor([1, 2]))
        damo.torch.save_for_serving(nn.Sequential(table), self.path("served"))
        served = damo.torch.load_for_serving(self.path("served"))
        ids = torch.tensor([1, 2])
        for function in (
            lambda: make_fx(served)(ids),
            lambda: functional().vmap(served)(ids.view(2, 1)),
            lambda: torch.jit.script(served),
            lambda: served(FakeTensorMode().from_tensor(ids)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.assert_fails(RuntimeError, self.WORDS, function)

    @unittest.skipUnless(is_new, "torch.masked is not what it is now before torch 2.0")
    def test_tensors_without_memory(self):
        from torch.masked import masked_tensor

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ids = masked_tensor(torch.tensor([1, 2]), torch.tensor([True, False]))
            self.assert_fails(TypeError, ["MaskedTensor", "plain"], self.table, ids)


class FunctionalCall(Case):
    def test_it_is_a_call_as_any_other(self):
        if is_new:
            from torch.func import functional_call
        else:
            from torch.nn.utils.stateless import functional_call
        model = nn.Sequential(self.layer(), nn.Flatten(), nn.Linear(8, 1))
        ids = torch.tensor([[1, 2]])
        expected = model(ids)
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.assertTrue(torch.equal(functional_call(model, state, (ids,)), expected))
        if is_new:
            more = {**state, "0.weight": torch.zeros(5, 4)}
            self.assert_fails(
                AttributeError, ["rows.insert(ids, weights)"], functional_call, model, more, (ids,)
            )
