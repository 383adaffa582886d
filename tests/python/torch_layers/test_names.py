"""The names of torch.nn.Embedding work, or their errors say what to use instead."""

import inspect

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn
LAYERS = (damo.torch.Embedding, damo.torch.EmbeddingBag)


class Weight(Case):
    """There is no weight to read, set or tie."""

    def layers(self):
        for number, cls in enumerate(LAYERS):
            yield self.layer(cls=cls, storage=self.storage(str(number)))

    def test_reading_names_what_reads_rows(self):
        for layer in self.layers():
            self.assertFalse(hasattr(layer, "weight"))
            for read in (
                lambda: layer.weight,
                lambda: layer.weight.data.copy_(torch.zeros(3, 4)),
                lambda: nn.init.xavier_uniform_(layer.weight),
                lambda: nn.Sequential(layer)[0].weight[3],
            ):
                self.assert_fails(
                    AttributeError, ["rows.peek", "lookup", "rows.insert(ids, weights)"], read
                )
            self.assert_fails(AttributeError, ["weight"], layer.get_parameter, "weight")

    def test_assigning_names_insert(self):
        other = nn.Embedding(10, 4)
        for layer in self.layers():
            before = list(nn.Sequential(layer).state_dict())
            model = nn.ModuleDict({"a": layer, "b": other})
            for assign in (
                lambda: setattr(layer, "weight", other.weight),
                lambda: setattr(layer, "weight", nn.Parameter(torch.zeros(10, 4))),
                lambda: setattr(layer, "weight", torch.zeros(10, 4)),
                lambda: setattr(layer, "weight", None),
                lambda: setattr(model["a"], "weight", model["b"].weight),
                lambda: layer.register_parameter("weight", other.weight),
                lambda: layer.register_buffer("weight", torch.zeros(10, 4)),
                lambda: layer.add_module("weight", nn.Linear(4, 10)),
                lambda: setattr(layer, "weight", nn.Linear(4, 10)),
            ):
                self.assert_fails(
                    AttributeError, ["damo.torch", "layer.rows.insert(ids, weights)"], assign
                )
            self.assertEqual(list(nn.Sequential(layer).state_dict()), before)
            self.assertFalse(hasattr(layer, "weight"))

    def test_weights_are_tied_to_nothing(self):
        for layer in self.layers():
            decoder = nn.Linear(4, 10, bias=False)
            self.assert_fails(
                AttributeError, ["tied"], lambda: setattr(decoder, "weight", layer.weight)
            )
            self.assert_fails(
                AttributeError, ["tied"], lambda: setattr(layer, "weight", decoder.weight)
            )

    def test_other_parameters_are_welcome(self):
        for layer in self.layers():
            layer.scale = nn.Parameter(torch.ones(1))
            layer.register_buffer("shift", torch.ones(1))
            layer.after = nn.Linear(4, 4)
            self.assertEqual({"scale", "after.weight"} - set(dict(layer.named_parameters())), set())


class Attributes(Case):
    def test_what_torch_would_read(self):
        for number, (cls, torchs) in enumerate(zip(LAYERS, (nn.Embedding, nn.EmbeddingBag))):
            layer, theirs = self.layer(
                cls=cls, storage=self.storage(str(number)), padding_idx=3
            ), torchs(10, 4, padding_idx=3)
            for name in (
                "embedding_dim",
                "padding_idx",
                "max_norm",
                "norm_type",
                "scale_grad_by_freq",
                "sparse",
            ):
                self.assertEqual((name, getattr(layer, name)), (name, getattr(theirs, name)))

    def test_setting_says_what_to_do(self):
        layer = self.layer(padding_idx=3)
        for name, value, words in (
            ("max_norm", 1.0, ["weight_decay"]),
            ("norm_type", 1.0, ["max_norm"]),
            ("scale_grad_by_freq", True, ["duplicates='mean'"]),
            ("sparse", True, ["gradients for the rows of the batch"]),
            ("padding_idx", 5, ["constructor"]),
            ("embedding_dim", 8, ["another group"]),
            ("rows", None, ["another layer"]),
        ):
            self.assert_fails(AttributeError, ["damo.torch", *words], setattr, layer, name, value)
            self.assert_fails(AttributeError, words, layer.register_buffer, name, torch.zeros(1))
        # Setting the value that it has already is no change.
        for name in (
            "max_norm",
            "norm_type",
            "scale_grad_by_freq",
            "sparse",
            "padding_idx",
            "embedding_dim",
        ):
            setattr(layer, name, getattr(layer, name))

    def test_num_embeddings_where_it_was_given(self):
        layer = self.layer()
        self.assertFalse(hasattr(layer, "num_embeddings"))
        self.assert_fails(
            AttributeError,
            ["64-bit", "len(layer.rows)", "num_embeddings="],
            lambda: layer.num_embeddings,
        )
        for number, cls in enumerate(LAYERS):
            given = self.layer(cls=cls, storage=self.storage(str(number)), num_embeddings=10)
            self.assertEqual(given.num_embeddings, 10)
            given(torch.tensor([[99]]))
            given.num_embeddings = 20
            self.assertEqual((given.num_embeddings, len(given.rows)), (20, 1))
        self.assert_fails(
            TypeError,
            ["num_embeddings"],
            self.layer,
            storage=layer.rows.storage,
            num_embeddings=2.5,
        )
        self.assert_fails(
            ValueError,
            ["num_embeddings"],
            self.layer,
            storage=layer.rows.storage,
            num_embeddings=-1,
        )


class Arguments(Case):
    def test_those_of_torch_name_the_way(self):
        storage = self.storage()
        for cls in LAYERS:
            for name, value, words in (
                ("embedding_dim", 4, ["called dim"]),
                ("max_norm", 1.0, ["weight_decay"]),
                ("max_norm", None, ["weight_decay"]),
                ("norm_type", 2.0, ["max_norm"]),
                ("scale_grad_by_freq", True, ["duplicates='mean'"]),
                ("sparse", True, ["always"]),
                ("sparse", False, ["always"]),
                ("device", "cpu", ["device of the ids"]),
                ("_weight", torch.zeros(2, 4), ["from_pretrained"]),
                ("_freeze", True, ["requires_grad_(False)"]),
                ("freeze", True, ["requires_grad_(False)"]),
                ("lr", 0.1, ["optimizer"]),
            ):
                words = ["damo.torch", cls.__name__, repr(name), *words]
                self.assert_fails(
                    TypeError, words, self.layer, cls=cls, storage=storage, **{name: value}
                )
            self.assert_fails(TypeError, ["called dim"], cls, num_embeddings=10, embedding_dim=4)
            self.assert_fails(TypeError, ["damo.Storage", "int"], cls, 10, 4)
            self.assert_fails(
                TypeError, ["optimiser"], self.layer, cls=cls, storage=storage, optimiser=damo.SGD()
            )
        self.assertEqual(storage.describe()["groups"], [])

    def test_signatures_are_as_written(self):
        for cls in LAYERS:
            names = list(inspect.signature(cls).parameters)
            self.assertEqual(names[:3], ["storage_or_embedding", "name_or_group", "dim"])
            self.assertNotIn("options", names)
            self.assertEqual(list(inspect.signature(cls.from_pretrained).parameters)[0], "weights")

    def test_a_class_of_users_has_arguments_of_its_own(self):
        class Scaled(damo.torch.Embedding):
            def __init__(self, *arguments, sparse, **options):
                super().__init__(*arguments, **options)
                self.is_sparse = sparse

        self.assertTrue(self.layer(cls=Scaled, sparse=True).is_sparse)


class Ids(Case):
    """Ids that were converted to floats."""

    def test_floats_are_told_what_they_cannot_hold(self):
        layer = self.layer()
        bag = damo.torch.EmbeddingBag(layer.rows)
        for dtype, bound in (
            (torch.float32, "2**24"),
            (torch.float64, "2**53"),
            (torch.float16, "2**11"),
            (torch.bfloat16, "2**8"),
        ):
            ids = torch.tensor([[1.0, 2.0]]).to(dtype)
            for function in (layer, bag, layer.prefetch):
                self.assert_fails(TypeError, [str(dtype), "ids.long()", bound], function, ids)
        for dtype in (torch.bool, torch.uint8, torch.int16):
            self.assert_fails(TypeError, [str(dtype), "ids.long()"], layer, torch.ones(2).to(dtype))
        self.assertEqual(len(layer.rows), 0)
        close(layer(torch.tensor([1.0]).long()), layer(torch.tensor([1])))


class Summary(Case):
    def test_rows_and_bytes_of_each_layer(self):
        storage = self.storage()
        users = self.layer(storage=storage, dim=16, optimizer=damo.Adam())
        items = damo.torch.EmbeddingBag(storage, 7, 8, optimizer=damo.SGD())
        model = nn.ModuleDict({"user": users, "item": items, "dense": nn.Linear(16, 1)})
        users(torch.arange(1000))
        items(torch.arange(30).view(3, 10))
        lines = damo.torch.summary(model).splitlines()
        self.assertEqual(lines[0].split()[:5], ["layer", "kind", "group", "dim", "rows"])
        # Adam has a state of two floats for each weight.
        self.assertEqual(
            lines[1].split(), ["user", "Embedding", "'user'", "16", "1,000", "192", "192,000"]
        )
        self.assertEqual(lines[2].split(), ["item", "EmbeddingBag", "7", "8", "30", "32", "960"])
        self.assertIn(storage.path, lines[3])
        self.assertEqual(lines[4], "dense parameters: 17")
        self.assertEqual(
            damo.torch.summary(users, count=False).splitlines()[1].split()[-3:], ["?", "192", "?"]
        )
        damo.torch.save_for_serving(model, self.path("served"))
        served = damo.torch.load_for_serving(self.path("served"))
        self.assertEqual(
            damo.torch.summary(served).splitlines()[1].split(),
            ["user", "Embedding", "0", "16", "1,000", "64", "64,000"],
        )
        self.assertIn("17", damo.torch.summary(nn.Linear(16, 1)))
