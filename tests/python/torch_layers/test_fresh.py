"""A layer on a group that has rows starts with them, unless fresh=True empties the group."""

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn
IDS = torch.tensor([[1, 2], [3, 1]])


class Fresh(Case):
    def trained(self, storage, cls=damo.torch.Embedding, **options):
        options = {"optimizer": damo.Adam(lr=0.1), **options}
        layer = self.layer(cls=cls, storage=storage, **options)
        for _ in range(3):
            layer(IDS).square().sum().backward()
        return layer

    def scores(self, layer):
        return layer.eval()(IDS)

    def test_a_second_model_starts_with_what_is_there(self):
        storage = self.storage()
        first = self.trained(storage)
        second = self.layer(storage=storage, optimizer=damo.Adam(lr=0.1))
        close(self.scores(second), self.scores(first), 0)
        self.assertEqual(second.rows.step, 3)

    def test_fresh_is_as_a_new_folder(self):
        for number, cls in enumerate((damo.torch.Embedding, damo.torch.EmbeddingBag)):
            expected = self.scores(self.trained(self.storage(f"new{number}"), cls))
            storage = self.storage(f"old{number}")
            for _ in range(2):  # Two folds of a cross-validation.
                layer = self.trained(storage, cls, fresh=True)
                close(self.scores(layer), expected, 0)
                self.assertEqual((len(layer.rows), layer.rows.step), (3, 3))

    def test_in_a_second_run(self):
        storage = self.storage()
        before = self.scores(self.trained(storage))
        storage.close()
        storage = self.storage()
        layer = self.layer(storage=storage, optimizer=damo.Adam(lr=0.1), fresh=True)
        self.assertEqual((len(layer.rows), layer.rows.step), (0, 0))
        storage.close()
        # The group is empty on disk, too.
        storage = self.storage()
        self.assertEqual(storage.row_count(), 0)
        close(self.scores(self.trained(storage)), before, 0)

    def test_reset_parameters(self):
        storage = self.storage()
        layer = self.trained(storage)
        expected = self.scores(layer)
        other = damo.torch.EmbeddingBag(storage, "item", 4, optimizer=damo.SGD())
        other(IDS)
        same = damo.torch.EmbeddingBag(layer.rows, mode="sum")
        model = nn.Sequential(layer, nn.Flatten(), nn.Linear(8, 1))
        before = model[2].weight.clone()

        def reset(module):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

        model.apply(reset)
        self.assertFalse(torch.equal(model[2].weight, before))
        self.assertEqual((len(layer.rows), layer.rows.step, len(other.rows)), (0, 0, 3))
        layer.train()
        for _ in range(3):
            layer(IDS).square().sum().backward()
        close(self.scores(layer), expected, 0)
        self.assertGreater(float(same.eval()(IDS).detach().abs().sum()), 0)

    def test_every_way_to_make_one(self):
        storage = self.storage()
        rows = self.trained(storage).rows
        self.assertEqual(len(damo.torch.Embedding(rows, fresh=True).rows), 0)
        damo.torch.EmbeddingBag(rows)(IDS)
        self.assertEqual(len(damo.torch.EmbeddingBag(rows, fresh=True).rows), 0)
        weights = torch.zeros(2, 4)
        layer = self.trained(storage)
        layer.rows.step = 5
        layer = damo.torch.Embedding.from_pretrained(weights, layer.rows, fresh=True)
        self.assertEqual((len(layer.rows), layer.rows.step, layer(IDS[:1])[0, 0, 0]), (2, 0, 0))
        # If weights are refused, the group is not emptied.
        wrong = torch.full((5, 4), float("nan"))
        self.assert_fails(
            ValueError, ["nan"], damo.torch.Embedding.from_pretrained, wrong, layer.rows, fresh=True
        )
        self.assertEqual(len(layer.rows), 3)

    def test_what_is_refused_takes_nothing_away(self):
        storage = self.storage()
        layer = self.trained(storage)
        for wrong in (1, 0, "no", None, "True"):
            self.assert_fails(
                TypeError,
                ["fresh must be True or False"],
                self.layer,
                storage=storage,
                fresh=wrong,
                optimizer=damo.Adam(),
            )
        options = {"storage": storage, "optimizer": damo.Adam(), "fresh": True}
        self.assert_fails(ValueError, ["dim"], self.layer, **{**options, "dim": 5})
        self.assert_fails(ValueError, ["num_embeddings"], self.layer, num_embeddings=-1, **options)
        self.assert_fails(TypeError, ["int8"], self.layer, dtype=torch.int8, **options)
        bag = {**options, "cls": damo.torch.EmbeddingBag}
        self.assert_fails(ValueError, ["mode"], self.layer, mode="avg", **bag)
        self.assertEqual(len(layer.rows), 3)

    def test_the_package_has_it_too(self):
        storage = self.storage()
        rows = self.trained(storage).rows
        again = storage.embedding("user", dim=4, optimizer=damo.Adam(), fresh=True)
        self.assertEqual((len(rows), again.step), (0, 0))
        self.assert_fails(
            TypeError, ["fresh"], storage.embedding, "user", dim=4, optimizer=damo.Adam(), fresh="x"
        )
