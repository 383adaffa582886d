"""convert: what layers compute and their options stay; its report, and its rules."""

import unittest
import warnings

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn


class Model(nn.Module):
    """Two towers, a bag and a dense part: every way in which torch finds a layer."""

    def __init__(self, mode="mean"):
        super().__init__()
        self.user = nn.Embedding(30, 4, padding_idx=0)
        self.tower = nn.ModuleDict(
            {"item": nn.Embedding(20, 4), "tags": nn.EmbeddingBag(9, 4, mode=mode)}
        )
        self.more = nn.ModuleList([nn.Sequential(nn.Embedding(5, 4), nn.Tanh())])
        self.out = nn.Linear(16, 1)

    def forward(self, user, item, tags, more):
        parts = [
            self.user(user),
            self.tower["item"](item),
            self.tower["tags"](tags),
            self.more[0](more),
        ]
        return self.out(torch.cat(parts, 1))


def batch(size=64):
    return (
        torch.randint(30, (size,)),
        torch.randint(20, (size,)),
        torch.randint(9, (size, 3)),
        torch.randint(5, (size,)),
    )


class Converting(Case):
    def convert(self, model, rule=None, *, storage=None, **options):
        self.table = storage or self.storage()
        options = {"optimizer": damo.SGD(lr=0.5), **options}
        return damo.torch.convert(model, self.table, rule, **options)

    def describe(self):
        return {group["name"]: group for group in self.table.describe()["groups"]}

    def test_trains_as_before(self):
        for mode in ("sum", "mean", "max"):
            torch.manual_seed(2)
            models = [Model(mode), Model(mode)]
            models[1].load_state_dict(models[0].state_dict())
            report = self.convert(models[1], storage=self.storage(mode))
            self.assertEqual(
                [one.name for one in report.layers],
                ["user", "tower.item", "tower.tags", "more.0.0"],
            )
            self.assertEqual(report.left, ())
            batches = [batch() for _ in range(5)]
            found = []
            for model in models:
                losses = []
                optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
                for inputs in batches:
                    optimizer.zero_grad()
                    loss = (model(*inputs) - 1).sigmoid().square().mean()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.detach())
                found.append(torch.stack(losses))
            close(found[0], found[1])
            self.assertEqual(self.table.row_count("user"), 29)

    def test_what_it_says(self):
        report = self.convert(Model(), optimizer=damo.Adam(), prefix="a/")
        one = report.layers[0]
        self.assertEqual(
            (one.name, one.group, one.kind, one.ids, one.dim, one.places),
            ("user", "a/user", "Embedding", 30, 4, ("user",)),
        )
        # Weights, m and v, and no row for padding.
        self.assertEqual(one.bytes, 29 * 4 * 3 * 4)
        self.assertEqual(report.bytes, (29 + 20 + 9 + 5) * 48)
        self.assertFalse(one.is_frozen or one.kept_rows)
        self.assertEqual(
            sorted(self.describe()), ["a/more.0.0", "a/tower.item", "a/tower.tags", "a/user"]
        )
        for words in ("4 layers", "a/user", "1,392", "random_normal(mean=0, stddev=1)"):
            self.assertIn(words, str(report))

    def test_options_stay(self):
        model = nn.ModuleDict(
            {
                "half_": nn.Embedding(6, 4, dtype=torch.bfloat16, padding_idx=-1),
                "bag": nn.EmbeddingBag(6, 4, mode="sum", include_last_offset=True, padding_idx=2),
                "frozen": nn.Embedding.from_pretrained(torch.ones(3, 4), freeze=True),
                "double_": nn.Embedding(6, 4, dtype=torch.float64, sparse=True),
            }
        )
        model["bag"].label = "tags"
        model.eval()
        before = {name: layer.weight.detach().clone() for name, layer in model.items()}
        report = self.convert(model)
        half, bag, frozen, double = model.values()
        self.assertEqual(half.num_embeddings, 6)
        self.assertEqual((half.padding_idx, half(torch.tensor([0])).dtype), (5, torch.bfloat16))
        self.assertTrue(torch.equal(half(torch.arange(6)), before["half_"]))
        self.assertEqual(
            (bag.mode, bag.include_last_offset, bag.padding_idx, bag.label),
            ("sum", True, 2, "tags"),
        )
        ids, offsets = torch.tensor([0, 2, 1]), torch.tensor([0, 2, 3])
        self.assertTrue(torch.equal(bag(ids, offsets), before["bag"][[0, 1]]))
        self.assertFalse(any(parameter.requires_grad for parameter in frozen.parameters()))
        self.assertFalse(model["half_"].training)
        close(double(torch.arange(6)), before["double_"], 1e-7)
        self.assertEqual([one.is_frozen for one in report.layers], [False, False, True, False])
        self.assertIn("rounded from float64", report.layers[3].notes[0])
        frozen.train()(torch.tensor([1])).sum()
        self.assertEqual(frozen.rows.step, 0)

    def test_new_rows_look_like_old_ones(self):
        model = nn.ModuleDict({name: nn.Embedding(400, 8) for name in "abcdef"})
        nn.init.uniform_(model["b"].weight, -0.05, 0.05)
        nn.init.normal_(model["c"].weight, std=0.02)
        nn.init.zeros_(model["d"].weight)
        nn.init.constant_(model["e"].weight, 0.5)
        nn.init.normal_(model["f"].weight, mean=3.0, std=0.1)
        self.convert(model)
        made = {name: layer(torch.arange(1000, 3000)).detach() for name, layer in model.items()}
        self.assertAlmostEqual(float(made["a"].std()), 1, delta=0.03)
        self.assertAlmostEqual(float(made["b"].std()), 0.1 / 12**0.5, delta=0.001)
        self.assertLessEqual(float(made["b"].abs().max()), 0.05)
        self.assertAlmostEqual(float(made["c"].std()), 0.02, delta=0.001)
        self.assertTrue((made["d"] == 0).all() and (made["e"] == 0.5).all())
        self.assertAlmostEqual(float(made["f"].mean()), 3, delta=0.02)
        model = nn.ModuleDict({"a": nn.Embedding(4, 2)})
        self.convert(
            model, storage=self.storage("given"), initializer=lambda name, _: damo.Constant(7.0)
        )
        self.assertEqual(model["a"](torch.tensor([9])).tolist(), [[7.0, 7.0]])

    def test_nothing_is_drawn(self):
        model = Model()
        before = torch.get_rng_state()
        self.convert(model)
        self.assertTrue(torch.equal(torch.get_rng_state(), before))

    def test_the_smallest_tables(self):
        tables = {
            "none": nn.Embedding(0, 2),
            "padding": nn.Embedding(1, 2, padding_idx=0),
            "one": nn.Embedding(1, 1),
        }
        model = nn.ModuleDict(tables)
        report = self.convert(model)
        self.assertEqual([one.bytes for one in report.layers], [0, 0, 4])
        self.assertEqual(model["padding"](torch.tensor([0])).tolist(), [[0, 0]])
        self.assertTrue(torch.equal(model["one"](torch.tensor([0])), tables["one"].weight))

    @unittest.skipUnless(hasattr(torch, "compile"), "torch.compile needs torch 2.0")
    def test_a_compiled_model(self):
        warned = warnings.catch_warnings()
        warned.__enter__()
        self.addCleanup(warned.__exit__, None, None, None)
        # torch's compiler warns of its own access to .grad at a graph break.
        warnings.filterwarnings("ignore", "The .grad attribute", UserWarning)
        model = Model()
        compiled = torch.compile(model, backend="eager")
        inputs = batch()
        before = compiled(*inputs).detach()
        self.convert(compiled, prefix="compiled.")
        self.assertIsInstance(model.user, damo.torch.Embedding)
        close(compiled(*inputs).detach(), before)
        compiled(*inputs).sum().backward()
        self.assertEqual(model.user.rows.step, 1)

    def test_rules(self):
        chosen = {
            "user": ["user"],
            "tower": ["tower.item", "tower.tags"],
            "tower.*": ["tower.item", "tower.tags"],
            ("more.0.0", "us?r"): ["user", "more.0.0"],
            20: ["user", "tower.item"],
            lambda name, layer: isinstance(layer, nn.EmbeddingBag): ["tower.tags"],
        }
        for number, (rule, names) in enumerate(chosen.items()):
            report = self.convert(Model(), rule, storage=self.storage(str(number)))
            self.assertEqual([one.name for one in report.layers], names)
            self.assertEqual({one.reason for one in report.left}, {"the rule leaves it out"})
            self.assertEqual(len(report.left), 4 - len(names))
        for rule, words in (
            ("usr", ["'usr' fits no layer", "tower.item"]),
            (1000, ["the rule leaves it out"]),
        ):
            self.assert_fails(ValueError, words, self.convert, Model(), rule, storage=self.table)
        for rule in (True, 0.5, [1]):
            self.assert_fails(
                TypeError, ["rule must be"], self.convert, Model(), rule, storage=self.table
            )

    def test_optimizers_by_layer(self):
        model = Model()
        self.convert(
            model, optimizer=lambda name, _: damo.Adagrad() if name == "user" else damo.SGD()
        )
        self.assertEqual(model.user.rows.optimizer.name, "adagrad")
        self.assertEqual(model.tower["item"].rows.optimizer.name, "sgd")

    def test_a_layer_at_two_places_stays_one(self):
        model = Model()
        model.again = nn.Sequential(model.user)
        report = self.convert(model)
        self.assertIs(model.user, model.again[0])
        self.assertEqual(report.layers[0].places, ("user", "again.0"))
        self.assertIn("2 places", str(report))

    def test_converting_again_takes_what_is_left(self):
        model = Model()
        self.convert(model, "user")
        user = model.user
        report = self.convert(model, storage=self.table)
        self.assertIs(model.user, user)
        self.assertEqual(
            [one.name for one in report.layers], ["tower.item", "tower.tags", "more.0.0"]
        )
        words = ["4 of damo's layers already"]
        self.assert_fails(ValueError, words, self.convert, model, storage=self.table)
