"""What convert refuses: the reason is given, and nothing changes."""

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn


class Own(nn.Embedding):
    pass


def pair(first, second=None):
    return nn.ModuleDict({"a": first, "b": nn.Embedding(4, 2) if second is None else second})


class Refusing(Case):
    def setUp(self):
        super().setUp()
        self.table = self.storage()

    def convert(self, model, rule=None, **options):
        options = {"optimizer": damo.SGD(lr=0.5), **options}
        return damo.torch.convert(model, self.table, rule, **options)

    def assert_left(self, model, *words):
        """Layer a is left, for a reason with these words. Given by its path, it is an error."""
        first = model["a"]
        self.assert_fails(ValueError, ["a cannot be converted", *words], self.convert, model, "a")
        self.assertEqual(self.table.describe()["groups"], [])
        report = self.convert(model)
        self.assertEqual([one.name for one in report.layers], ["b"])
        self.assertIs(model["a"], first)
        (left,) = report.left
        for word in words:
            self.assertIn(word, left.reason)
            self.assertIn(word, str(report))

    def test_max_norm(self):
        self.assert_left(pair(nn.Embedding(4, 2, max_norm=1.0)), "max_norm=1.0")

    def test_scale_grad_by_freq(self):
        self.assert_left(pair(nn.EmbeddingBag(4, 2, scale_grad_by_freq=True)), "scale_grad_by_freq")

    def test_subclasses(self):
        self.assert_left(pair(Own(4, 2)), "subclass of nn.Embedding")

    def test_a_parametrization(self):
        model = pair(nn.Embedding(4, 2))
        nn.utils.parametrize.register_parametrization(model["a"], "weight", nn.Tanh())
        self.assert_left(model, "subclass of nn.Embedding")

    def test_hooks(self):
        for add in (
            "register_forward_hook",
            "register_forward_pre_hook",
            "register_full_backward_hook",
            "_register_state_dict_hook",
        ):
            with self.subTest(add):
                self.table = self.storage(add)
                model = pair(nn.Embedding(4, 2))
                getattr(model["a"], add)(lambda *_: None)
                self.assert_left(model, "hooks")

    def test_hooks_of_weights(self):
        for add in ("register_hook", "register_post_accumulate_grad_hook"):
            model = pair(nn.Embedding(4, 2))
            if not hasattr(model["a"].weight, add):
                continue  # torch 1.13 has only the first.
            with self.subTest(add):
                self.table = self.storage(add)
                getattr(model["a"].weight, add)(lambda _: None)
                self.assert_left(model, "weight has hooks")

    def test_weights_of_another_kind(self):
        class Sharded(nn.Parameter):
            pass

        model = pair(nn.Embedding(4, 2))
        model["a"].weight = Sharded(torch.zeros(4, 2))
        self.assert_left(model, "Sharded")

    def test_a_forward_of_its_own(self):
        model = pair(nn.Embedding(4, 2))
        model["a"].forward = lambda ids: ids
        self.assert_left(model, "forward")

    def test_tied_weights(self):
        model = pair(nn.Embedding(4, 2))
        model["out"] = nn.Linear(2, 4)
        model["out"].weight = model["a"].weight
        self.assert_left(model, "tied to out.weight")

    def test_memory_in_common(self):
        model = pair(nn.Embedding(4, 2))
        model["out"] = nn.Linear(2, 4)
        model["out"].weight = nn.Parameter(model["a"].weight.data[:])
        self.assert_left(model, "tied to out.weight")

    def test_two_layers_with_one_weight(self):
        model = pair(nn.Embedding(4, 2), nn.Embedding(4, 2))
        model["b"].weight = model["a"].weight
        self.assert_fails(ValueError, ["tied to b.weight", "tied to a.weight"], self.convert, model)

    def test_padding_that_is_not_zeros(self):
        layer = nn.Embedding(4, 2, padding_idx=1)
        nn.init.ones_(layer.weight)
        self.assert_left(pair(layer), "padding_idx=1", "layer.weight[1] = 0")

    def test_numbers_that_are_none(self):
        layer = nn.Embedding(4, 2)
        nn.init.constant_(layer.weight, float("nan"))
        self.assert_left(pair(layer), "NaN")

    def test_numbers_that_are_too_large(self):
        layer = nn.Embedding(4, 2, dtype=torch.float64)
        nn.init.constant_(layer.weight, 1e300)
        self.assert_left(pair(layer), "float32 cannot hold")

    def test_the_device_meta(self):
        self.assert_left(pair(nn.Embedding(4, 2, device="meta")), "meta")

    def test_plain_lists(self):
        model = pair(nn.Embedding(4, 2))
        model.plain = {"deep": [nn.Embedding(3, 2)]}
        report = self.convert(model)
        (left,) = report.left
        self.assertEqual((left.name, left.kind), ("plain['deep'][0]", "Embedding"))
        self.assertIn("ModuleList", left.reason)
        only = nn.Module()
        only.plain = [nn.Embedding(3, 2)]
        self.assert_fails(ValueError, ["plain[0]", "ModuleList"], self.convert, only)
        self.assert_fails(ValueError, ["plain lists"], self.convert, nn.Linear(1, 1))

    def test_a_second_reference_in_a_plain_list(self):
        model = pair(nn.Embedding(4, 2))
        model.plain = (model["a"],)
        self.assert_left(model, "plain[0]")

    def test_an_old_weight_in_a_list_is_told(self):
        model = nn.ModuleDict({name: nn.Embedding(4, 2) for name in "abcdef"})
        model.penalties = [(list(model.named_parameters()), 0.1)]
        report = self.convert(model)
        for layer in report.layers:
            self.assertIn("penalties still has the old weight", layer.notes[0])
        told = [line for line in str(report).split("\n") if "penalties" in line]
        self.assertEqual(len(told), 1)
        self.assertIn("a, b, c, d and 2 more: penalties", told[0])

    def test_groups_that_have_rows(self):
        self.convert(pair(nn.Embedding(4, 2)), "b")
        model = pair(nn.Embedding(4, 2))
        children = dict(model.items())
        self.assert_fails(
            damo.AlreadyExistsError, ["'b'", "exist_ok", "fresh", "prefix"], self.convert, model
        )
        self.assertEqual(dict(model.items()), children)
        self.assertEqual([group["name"] for group in self.table.describe()["groups"]], ["b"])
        report = self.convert(model, prefix="2.")
        self.assertEqual([one.group for one in report.layers], ["2.a", "2.b"])

    def test_going_on_with_groups(self):
        first, second = pair(nn.Embedding(4, 2)), pair(nn.Embedding(4, 2))
        self.convert(first, "a")
        report = self.convert(second, exist_ok=True)
        self.assertEqual([one.kept_rows for one in report.layers], [True, False])
        self.assertIn("kept", str(report))
        ids = torch.arange(4)
        self.assertTrue(torch.equal(first["a"](ids), second["a"](ids)))

    def test_beginning_anew(self):
        model = pair(nn.Embedding(4, 2))
        self.convert(model, "a")
        model["a"](torch.tensor([1, 9])).sum().backward()
        second = pair(nn.Embedding(3, 2))
        weight = second["a"].weight.detach().clone()
        self.convert(second, fresh=True)
        self.assertEqual((len(second["a"].rows), second["a"].rows.step), (3, 0))
        self.assertTrue(torch.equal(second["a"](torch.arange(3)), weight))

    def test_another_dim_or_optimizer(self):
        self.convert(pair(nn.Embedding(4, 2)), "a")
        for model, options in (
            (pair(nn.Embedding(4, 3)), {}),
            (pair(nn.Embedding(4, 2)), {"optimizer": damo.Adam()}),
        ):
            for also in ({}, {"exist_ok": True}, {"fresh": True}):
                self.assert_fails(
                    damo.AlreadyExistsError,
                    ["dim 2 and sgd"],
                    self.convert,
                    model,
                    **options,
                    **also,
                )
        self.assertEqual(len(self.table.describe()["groups"]), 1)

    def test_a_failure_half_way_leaves_all_as_it_was(self):
        model = pair(nn.Embedding(4, 2))
        children = dict(model.items())
        insert, calls = damo.Embedding.insert, []

        def failing(rows, keys, weights):
            calls.append(rows.name)
            insert(rows, keys, weights)
            if len(calls) == 2:
                raise damo.IoError("the disk is full")

        damo.Embedding.insert = failing
        try:
            self.assert_fails(damo.IoError, ["full"], self.convert, model)
        finally:
            damo.Embedding.insert = insert
        self.assertEqual(calls, ["a", "b"])
        self.assertEqual(dict(model.items()), children)
        self.assertEqual(self.table.row_count(), 0)
        self.assertEqual(len(self.convert(model).layers), 2)

    def test_what_is_given(self):
        model = pair(nn.Embedding(4, 2))
        for words, options in (
            ("optimizer must be", {"optimizer": damo.SGD}),
            ("optimizer must be", {"optimizer": None}),
            ("initializer must be", {"initializer": 1}),
        ):
            self.assert_fails(TypeError, [words], self.convert, model, **options)
        self.assert_fails(ValueError, ["give one"], self.convert, model, fresh=True, exist_ok=True)
        self.assert_fails(ValueError, ["from_pretrained"], self.convert, nn.Embedding(2, 2))
        self.assert_fails(TypeError, ["torch.nn.Module"], self.convert, [nn.Embedding(2, 2)])
        self.assert_fails(ValueError, ["255"], self.convert, model, prefix="x" * 255)
        self.table.close()
        self.table = damo.Storage(self.path("table"), read_only=True)
        self.addCleanup(self.table.close)
        self.assert_fails(damo.NotSupportedError, ["read_only"], self.convert, model)
