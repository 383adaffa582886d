"""EmbeddingCollection and EmbeddingBagCollection against the tables of torch.nn."""

import unittest
import warnings
from unittest import mock

# Before the others: without torch it skips this file.
from collection_support import (  # isort: skip
    DIMS,
    IDS,
    Collections,
    Jagged,
    bags,
    close,
    ids,
    loss_of,
    torch,
)

import damo
import damo.torch
from damo import _c_api

nn = torch.nn


class Values(Collections):
    def same(self, ours, theirs, given, tolerance=1e-6):
        """The outputs of both, whose keys and values are equal."""
        mine, other = ours(given), theirs(given)
        self.assertEqual(list(mine), list(DIMS))
        for name in DIMS:
            self.assertEqual(mine[name].shape, other[name].shape)
            close(mine[name], other[name], tolerance)
        return mine, other

    def train(self, has_bags, make, rows=None, theirs=None, padding_idx=None, tolerance=1e-6):
        ours, other = self.pair(has_bags, padding_idx=padding_idx, optimizer=rows)
        optimizer = (theirs or (lambda model: torch.optim.SGD(model.parameters(), lr=0.5)))(other)
        for number in range(4):
            found, expected = self.same(ours, other, make(number), tolerance)
            optimizer.zero_grad()
            loss_of(found, number).backward()
            loss_of(expected, number).backward()
            optimizer.step()
            self.assert_equal(ours, other, tolerance)
            self.assertEqual(self.steps(ours), [number + 1] * 3)

    def test_ids_follow_torch(self):
        self.train(False, ids)

    def test_ids_with_padding_follow_torch(self):
        self.train(False, ids, padding_idx=0)

    def test_bags_follow_torch(self):
        self.train(True, bags)

    def test_bags_with_padding_follow_torch(self):
        self.train(True, bags, padding_idx=0)

    def test_rows_of_two_dimensions_are_bags(self):
        self.train(True, ids)

    def test_adagrad_follows_torch(self):
        self.train(
            True,
            bags,
            lambda: damo.Adagrad(lr=0.1),
            lambda model: torch.optim.Adagrad(model.parameters(), lr=0.1),
        )

    def test_adam_follows_sparse_adam_where_every_row_is_in_every_batch(self):
        # SparseAdam has one count for the table, and damo one a row.
        def every(number):
            shuffled = torch.randperm(IDS, generator=torch.Generator().manual_seed(number))
            return {name: shuffled.view(4, 3) for name in DIMS}

        ours, other = self.pair(False, optimizer=lambda: damo.Adam(lr=0.01))
        for table in other.tables.values():
            table.sparse = True
        optimizer = torch.optim.SparseAdam(list(other.parameters()), lr=0.01)
        for number in range(4):
            found, expected = self.same(ours, other, every(number))
            optimizer.zero_grad()
            loss_of(found, number).backward()
            loss_of(expected, number).backward()
            optimizer.step()
            self.assert_equal(ours, other)

    def test_a_matrix_has_the_features_side_by_side(self):
        ours, _ = self.pair()
        expected = ours(bags(1))
        ours.output = "tensor"
        found = ours(bags(1))
        self.assertTrue(torch.equal(found, torch.cat(list(expected.values()), 1)))
        ours.eval()
        self.assertTrue(torch.equal(ours(bags(1)), found))

    def test_a_matrix_is_trained_as_a_dict(self):
        made = []
        for number, output in enumerate(("dict", "tensor")):
            torch.manual_seed(1)
            ours, _ = self.pair(storage=self.storage(output), output=output)
            for batch in range(3):
                loss_of(ours(bags(batch)), batch).backward()
            self.assertEqual(self.steps(ours), [3, 3, 3])
            made.append([table.rows.peek(range(IDS))[0] for table in ours.tables.values()])
        for one, other in zip(*made):
            self.assertTrue((one == other).all())

    def test_a_matrix_without_max_is_one_node(self):
        configs = self.configs(True, only=("user", "tag"))
        for output in ("tensor", "dict"):
            ours = damo.torch.EmbeddingBagCollection(self.storage(output), configs, output=output)
            given = {name: one for name, one in bags(1).items() if name != "mark"}
            out = ours(given)
            nodes = (
                {id(out.grad_fn)}
                if output == "tensor"
                else {id(one.grad_fn) for one in out.values()}
            )
            self.assertEqual(len(nodes), 1)
            (out if output == "tensor" else sum(one.sum() for one in out.values())).sum().backward()

    def test_a_backward_is_one_transaction(self):
        ours, _ = self.pair()
        calls = []
        for name in ("damo_step_apply_gradients", "damo_embedding_apply_gradients"):
            call = getattr(_c_api, name)
            patch = mock.patch.object(
                _c_api,
                name,
                lambda *given, call=call, name=name: (calls.append(name), call(*given))[1],
            )
            patch.start()
            self.addCleanup(patch.stop)
        out = ours(bags(1))
        loss_of(out).backward()
        self.assertEqual(calls[0], "damo_step_apply_gradients")
        self.assertEqual(calls.count("damo_step_apply_gradients"), 1)

    def test_gradients_of_weights(self):
        ours, theirs = self.pair()
        found = []
        for model in (ours, theirs):
            given = bags(3)
            values, offsets, weights = given["user"]
            weights = weights.clone().requires_grad_()
            loss_of(model({**given, "user": (values, offsets, weights)})).backward()
            found.append(weights.grad)
        close(*found)

    def test_weights_of_bags_of_one_size(self):
        ours, theirs = self.pair()
        given, weights = ids(3), torch.rand(6, 3)
        out = ours({**given, "user": (given["user"], None, weights)})["user"]
        close(out, theirs.tables["user"](given["user"], None, weights))

    def test_dtypes(self):
        ours, _ = self.pair()
        expected = {name: one.detach() for name, one in ours.eval()(bags(1, weights=False)).items()}
        for dtype in (torch.float64, torch.float16, torch.bfloat16):
            ours.to(dtype)
            found = ours(bags(1, weights=False))
            for name, one in found.items():
                self.assertEqual(one.dtype, dtype)
                close(one.float(), expected[name].to(dtype).float())
        ours.tables["user"].double()
        ours.output = "tensor"
        self.assert_fails(TypeError, ["dtype", "float64"], ours, bags(1, weights=False))

    def test_outputs_may_be_changed_in_place(self):
        ours, _ = self.pair(False)
        out = ours(ids(1))
        sum(one.relu_().sum() for one in out.values()).backward()
        self.assertEqual(self.steps(ours), [1, 1, 1])

    def test_empty_batches(self):
        ours, _ = self.pair()
        out = ours(bags(1, count=0, weights=False))
        self.assertEqual(out["tags"].shape, (0, 3))
        ours.output = "tensor"
        out = ours(bags(1, count=0, weights=False))
        self.assertEqual(out.shape, (0, sum(DIMS.values())))
        out.sum().backward()

    @unittest.skipUnless(
        hasattr(getattr(torch, "compiler", None), "disable"), "torch.compile needs torch 2.1"
    )
    def test_compiled(self):
        ours, _ = self.pair(output="tensor")
        expected = ours(bags(1))
        with warnings.catch_warnings():
            # The compiler's own, where it looks at tensors at a graph break.
            warnings.filterwarnings("ignore", "The .grad attribute", UserWarning)
            model = torch.compile(
                nn.Sequential(ours, nn.Linear(sum(DIMS.values()), 1)), backend="eager"
            )
            model(bags(1)).sum().backward()
            self.assertEqual(self.steps(ours), [1, 1, 1])
            self.assertTrue(
                torch.equal(torch.compile(ours.eval(), backend="eager")(bags(1)), ours(bags(1)))
            )
        self.assertEqual(expected.shape, (6, sum(DIMS.values())))

    def test_eval_makes_no_row(self):
        ours = self.collection()
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                out = ours.eval()(bags(1))
            self.assertFalse(any(bool(one.any()) for one in out.values()))
        loss_of(ours(bags(1))).backward()
        self.assertEqual([len(table.rows) for table in ours.tables.values()], [0, 0, 0])
        self.assertFalse(
            any(one.requires_grad for one in ours.requires_grad_(False)(bags(1)).values())
        )

    def test_each_table_has_its_mode(self):
        for has_bags, make in ((True, bags), (False, ids)):
            for output in ("dict", "tensor"):
                if output == "tensor" and not has_bags:
                    continue
                self.folder += "x"
                ours, theirs = self.pair(has_bags, optimizer=lambda: damo.SGD(lr=0.5))
                ours.output = output
                optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
                ours.tables["tag"].eval()
                self.assertTrue(ours.training)
                for number in range(3):
                    optimizer.zero_grad()
                    for model in (ours, theirs):
                        loss_of(model(make(number)), number).backward()
                    optimizer.step()
                    self.assert_equal(ours, theirs, 1e-5)
                    self.assertEqual(self.steps(ours), [number + 1] * 3)

    def test_tables_in_eval_mode_make_no_row(self):
        for has_bags, make in ((True, bags), (False, ids)):
            self.folder += "x"
            ours = self.collection(has_bags)
            ours.tables["tag"].eval()
            for _ in range(2):
                out = ours(make(1))
                self.assertFalse(bool(out["tags"].any()) or bool(out["words"].any()))
                self.assertTrue(bool(out["user"].any()))
                loss_of(out).backward()
                self.assertEqual(len(ours.tables["tag"].rows), 0)
                self.assertTrue(len(ours.tables["user"].rows))
                ours.tables["tag"].requires_grad_(False)
            ours.eval().tables["tag"].train()
            ours(make(1))
            self.assertTrue(len(ours.tables["tag"].rows))


class Jaggeds(Collections):
    def test_are_as_a_dict(self):
        ours, _ = self.pair()
        given = bags(2, weights=False)
        expected = ours.eval()(given)
        for jagged in (
            Jagged.of(given),
            mock.Mock(wraps=Jagged.of(given), spec=["keys", "values", "lengths", "stride"]),
        ):
            for output in ("dict", "tensor"):
                ours.output = output
                found = ours(jagged)
                if output == "tensor":
                    found = dict(zip(DIMS, found.split(list(DIMS.values()), 1)))
                for name in DIMS:
                    self.assertTrue(torch.equal(found[name], expected[name]), name)
        ours.output = "dict"
        loss_of(ours.train()(Jagged.of(given))).backward()
        self.assertEqual(self.steps(ours), [1, 1, 1])

    def test_values_in_a_dict(self):
        ours, _ = self.pair()
        given = bags(2, weights=False)
        one = Jagged(
            ["x"],
            given["tags"][0],
            torch.cat([given["tags"][1], torch.tensor([len(given["tags"][0])])]).diff(),
        )
        one.keys = None
        found = ours({**given, "tags": one})
        self.assertTrue(torch.equal(found["tags"], ours(given)["tags"]))

    def test_weights(self):
        configs = [
            damo.torch.TableConfig("a", 2, damo.SGD(lr=1.0), pooling="sum", initializer=damo.Ones())
        ]
        ours = damo.torch.EmbeddingBagCollection(self.storage(), configs)
        weights = torch.tensor([1.0, 2.0, 4.0]).requires_grad_()
        jagged = Jagged(["a"], torch.tensor([1, 2, 3]), torch.tensor([2, 1]), weights)
        out = ours(jagged)["a"]
        self.assertEqual(out[:, 0].tolist(), [3, 4])
        out.sum().backward()
        self.assertEqual(weights.grad.tolist(), [2, 2, 2])
        self.assertEqual(ours.tables["a"].rows.peek([1, 2, 3])[0][:, 0].tolist(), [0, -1, -3])

    def test_without_pooling(self):
        ours, _ = self.pair(False)
        given = bags(2, weights=False)
        found = ours(Jagged.of(given))
        for name, (values, _) in given.items():
            table = {"tags": "tag", "words": "tag"}.get(name, name)
            rows = torch.from_numpy(ours.tables[table].rows.peek(values)[0])
            self.assertTrue(torch.equal(found[name], rows))
        # Samples with several ids have no row of a matrix.
        ours.output = "tensor"
        self.assert_fails(ValueError, ["samples"], ours, Jagged.of(given))
        lengths = torch.tensor([2, 0, 1])
        same = Jagged(list(DIMS), torch.arange(12), lengths.repeat(4))
        self.assert_fails(ValueError, ["'user'", "samples"], ours, same)
        one = Jagged(list(DIMS), torch.arange(12), torch.ones(12, dtype=torch.int64))
        self.assertEqual(ours(one).shape, (3, sum(DIMS.values())))


if __name__ == "__main__":
    unittest.main()
