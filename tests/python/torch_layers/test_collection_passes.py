"""When the tables of a collection are stepped: once a backward pass, as torch steps weights."""

import gc
import unittest
import warnings
import weakref

# Before the others: without torch it skips this file.
from collection_support import (  # isort: skip
    DIMS,
    Collections,
    bags,
    close,
    ids,
    loss_of,
    torch,
)
from support import Fails
from torch.utils.checkpoint import checkpoint

import damo
import damo.torch
from damo import _handles

nn = torch.nn
tensor = torch.tensor


class Passes(Collections):
    def setUp(self):
        super().setUp()
        self.table = self.storage()
        options = {"initializer": damo.Zeros()}
        self.one = damo.torch.EmbeddingBagCollection(
            self.table,
            [
                damo.torch.TableConfig("a", 2, damo.SGD(lr=1.0), pooling="sum", **options),
                damo.torch.TableConfig(
                    "b", 3, damo.SGD(lr=1.0), ["b", "c"], pooling="mean", **options
                ),
            ],
        )

    GIVEN = {name: tensor([[1, 2]]) for name in "abc"}

    def rows(self, name, *keys):
        return self.one.tables[name].rows.peek(list(keys))[0][:, 0].tolist()

    def out(self, *names):
        found = self.one(self.GIVEN)
        return sum(found[name].sum() for name in names)

    def test_features_without_a_gradient_are_not_stepped(self):
        self.out("a").backward()
        self.assertEqual((self.steps(self.one), self.rows("a", 1, 2)), ([1, 0], [-1, -1]))
        self.assertEqual(self.one.tables["b"].rows.record(1).update_num, 0)

    def test_features_of_one_table_are_one_step(self):
        self.out("b", "c").backward()
        self.assertEqual((self.steps(self.one), self.rows("b", 1, 2)), ([0, 1], [-1, -1]))
        self.assertEqual(self.one.tables["b"].rows.record(1).update_num, 1)

    def test_passes_over_features_of_one_forward(self):
        found = self.one(self.GIVEN)
        for number, name in enumerate("acb", 1):
            found[name].sum().backward()
            self.assertEqual(sum(self.steps(self.one)), number)
            again = found[name].sum()
            self.assert_fails(RuntimeError, ["second time"], again.backward)
            self.assertEqual(sum(self.steps(self.one)), number)
        self.assertEqual((self.rows("a", 1), self.rows("b", 1)), ([-1], [-1]))

    def test_passes_that_retain_the_graph(self):
        found = self.one(self.GIVEN)
        for number in range(1, 4):
            found["a"].sum().backward(retain_graph=True)
            self.assertEqual(self.rows("a", 1), [-number])
        found["b"].sum().backward()
        found["a"].sum().backward()
        self.assertEqual((self.rows("a", 1), self.rows("b", 1)), ([-4], [-0.5]))
        again = found["b"].sum()
        self.assert_fails(RuntimeError, ["second time"], again.backward)

    def test_a_graph_that_was_freed_is_not_retained_again(self):
        found = self.one(self.GIVEN)
        found["b"].sum().backward()
        found["a"].sum().backward(retain_graph=True)
        self.assert_fails(RuntimeError, ["second time"], found["a"].sum().backward)
        self.assertEqual(self.steps(self.one), [1, 1])

    def test_two_forwards_are_one_step(self):
        (self.out("a", "b", "c") + self.out("a", "b", "c")).backward()
        self.assertEqual(self.steps(self.one), [1, 1])
        self.assertEqual((self.rows("a", 1), self.rows("b", 1)), ([-2], [-2]))

    def test_a_group_that_a_layer_has_too_is_one_step(self):
        layers = [
            damo.torch.Embedding(self.table, "b", 3, optimizer=damo.SGD(lr=1.0)),
            damo.torch.Embedding(self.table, "d", 2, optimizer=damo.SGD(lr=1.0)),
        ]
        for number, names in enumerate(("b", "abc"), 1):
            (self.out(*names) + sum(layer(tensor([1])).sum() for layer in layers)).backward()
            self.assertEqual(self.one.tables["b"].rows.step, number)
            self.assertEqual(layers[1].rows.step, number)
        # Half of a bag's gradient for each key, from three bags, and two rows.
        self.assertEqual(self.rows("b", 1, 2), [-3.5, -1.5])

    def test_another_embedding_of_a_group_has_a_step_of_its_own(self):
        layer = self.padded()
        (self.out("b") + layer(tensor([1, 2])).sum()).backward()
        self.assertEqual((self.rows("b", 1, 2), layer.rows.step), ([-1.5, -0.5], 2))

    def padded(self):
        """A layer on the group of the table "b", with another padding."""
        return damo.torch.Embedding(self.table, "b", 3, optimizer=damo.SGD(lr=1.0), padding_idx=2)

    def test_a_gradient_that_is_refused_in_another_embedding_of_a_group_changes_no_table(self):
        layer = self.padded()
        for factor in (float("nan"), 4e18):
            loss = self.out("a", "b") + (layer(tensor([1, 2])) * factor).sum()
            self.assert_fails(ValueError, ["key 1 "], loss.backward)
            self.assertEqual((self.steps(self.one), self.rows("b", 1, 2)), ([0, 0], [0, 0]))
            loss = self.out("b") * factor + layer(tensor([1, 2])).sum()
            self.assert_fails(ValueError, ["bag 0", "'b'"], loss.backward)
            self.assertEqual((self.steps(self.one), self.rows("b", 1, 2)), ([0, 0], [0, 0]))

    def test_other_embeddings_of_two_groups(self):
        layers = [
            self.padded(),
            damo.torch.Embedding(self.table, "a", 2, optimizer=damo.SGD(lr=1.0), padding_idx=2),
        ]
        (self.out("a", "b") + sum(layer(tensor([1, 2])).sum() for layer in layers)).backward()
        self.assertEqual(self.steps(self.one), [2, 2])
        self.assertEqual((self.rows("a", 1, 2), self.rows("b", 1, 2)), ([-2, -1], [-1.5, -0.5]))

    def test_a_gradient_that_is_refused_changes_no_table(self):
        found = self.one(self.GIVEN)
        loss = found["a"].sum() + (found["b"] * float("nan")).sum()
        self.assert_fails(ValueError, ["bag 0", "'b'"], loss.backward)
        self.assertEqual((self.steps(self.one), self.rows("a", 1)), ([0, 0], [0]))
        self.out("a").backward()
        self.assertEqual(self.steps(self.one), [1, 0])

    def test_a_pass_that_fails_changes_nothing(self):
        loss = Fails.apply(torch.ones(1, requires_grad=True)) + self.out("a", "b")
        self.assert_fails(OSError, ["in backward"], loss.backward)
        self.assertEqual(self.steps(self.one), [0, 0])

    def test_frozen_tables(self):
        self.one.tables["a"].requires_grad_(False)
        found = self.one(self.GIVEN)
        self.assertEqual([found[name].requires_grad for name in "abc"], [False, True, True])
        (found["a"] + found["b"].sum() + found["c"].sum()).sum().backward()
        self.assertEqual(self.steps(self.one), [0, 1])
        self.one.output = "tensor"
        self.one(self.GIVEN).sum().backward()
        self.assertEqual((self.steps(self.one), self.rows("a", 1)), ([0, 2], [0]))
        self.one.requires_grad_(False)
        self.assertFalse(self.one(self.GIVEN).requires_grad)

    def test_looking_at_gradients_steps_nothing(self):
        weight = torch.ones((), requires_grad=True)
        anchors = [table.anchor for table in self.one.tables.values()]
        for given in ([weight], anchors, [*anchors, weight]):
            loss = self.out("a", "b") * weight
            found = torch.autograd.grad(loss, given, create_graph=given == [weight])
            if given is anchors:
                close(found[0].norm(), tensor(8.0**0.5 / 2**0.5))
        (self.out("a") * weight).backward(inputs=[weight])
        self.assertEqual(self.steps(self.one), [0, 0])

    def test_batched_gradients_are_refused(self):
        out = self.one(self.GIVEN)["a"]
        batched = torch.eye(2).view(2, 1, 2)
        self.assert_fails(
            RuntimeError,
            ["batched"],
            torch.autograd.grad,
            out,
            [self.one.tables["a"].anchor],
            batched,
            is_grads_batched=True,
        )

    def test_ids_that_were_modified_are_refused(self):
        given = {**self.GIVEN, "a": (tensor([1, 2]), tensor([0]))}
        loss = self.one(given)["a"].sum()
        given["a"][0].add_(1)
        self.assert_fails(RuntimeError, ["inplace"], loss.backward)
        loss = self.one(given)["a"].sum()
        given["a"][1].add_(1)
        self.assert_fails(RuntimeError, ["inplace"], loss.backward)
        self.assertEqual(self.steps(self.one), [0, 0])

    def test_hooks_on_anchors(self):
        seen = []
        for table in self.one.tables.values():
            table.anchor.register_hook(lambda gradient: seen.append(gradient) or gradient * 0.5)
        self.out("a", "b").backward()
        self.assertEqual((self.rows("a", 1), self.rows("b", 1)), ([-0.5], [-0.25]))
        close(seen[-1].norm() ** 2 + seen[0].norm() ** 2, tensor(4 + 6 * 0.25))

    def test_a_forward_that_was_set_is_called(self):
        self.one.forward = lambda features: features
        self.assertIs(self.one(self.GIVEN), self.GIVEN)

    def test_in_eval_mode_ids_without_a_row_are_left_out(self):
        self.one.tables["b"].rows.insert([1], torch.ones(1, 3))
        self.one.eval()
        self.out("a", "b").backward()
        self.assertEqual((len(self.one.tables["a"].rows), self.rows("b", 1, 2)), (0, [0.5, 0]))


class Checkpointed(Collections):
    """torch.utils.checkpoint, which runs a forward pass again in the backward pass."""

    def test_as_torch(self):
        for reentrant in (True, False):
            for has_bags, make in ((True, bags), (False, ids)):
                self.folder += "x"
                ours, theirs = self.pair(has_bags)
                optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
                weight = torch.ones((), requires_grad=True)
                for number in range(3):
                    for model in (ours, theirs):
                        part = lambda weight: loss_of(model(make(number)), number) * weight
                        with warnings.catch_warnings():
                            warnings.filterwarnings("ignore", "None of the inputs", UserWarning)
                            loss = checkpoint(part, weight, use_reentrant=reentrant)
                            loss = loss + checkpoint(part, weight, use_reentrant=reentrant)
                        optimizer.zero_grad()
                        loss.backward()
                    optimizer.step()
                    self.assert_equal(ours, theirs, 1e-5)
                    self.assertEqual(self.steps(ours), [number + 1] * 3)

    def test_new_ids(self):
        for reentrant in (True, False):
            self.folder += "x"
            ours, given = self.collection(), []
            weight = torch.ones((), requires_grad=True)

            def part(weight):
                given.append({name: one.detach() for name, one in ours(bags(1)).items()})
                return loss_of(ours(bags(1))) * weight

            checkpoint(part, weight, use_reentrant=reentrant).backward()
            for name in DIMS:
                close(given[0][name], given[1][name])
            self.assertEqual(self.steps(ours), [1, 1, 1])


class Threads(Collections):
    def test_forwards_may_be_open_together(self):
        ours, theirs = self.pair()
        optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
        outs = [loss_of(ours(bags(number)), number) for number in range(3)]
        expected = [loss_of(theirs(bags(number)), number) for number in range(3)]
        for out in reversed(outs):
            out.backward()
        sum(expected).backward()
        optimizer.step()
        self.assert_equal(ours, theirs)
        self.assertEqual(self.steps(ours), [3, 3, 3])
        self.assertEqual(len(ours._steps._waiting), 3)

    def test_graphs_that_are_dropped_leave_nothing(self):
        ours, _ = self.pair()
        loss_of(ours(bags(0))).backward()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = _handles.live()
        for output in ("dict", "tensor"):
            ours.output = output
            for steps in (False, True, False):
                out = ours(bags(1))
                if steps:
                    loss_of(out).backward()
                kept = weakref.ref(out if output == "tensor" else out["user"])
                del out
                self.assertIsNone(kept())
                self.assertLessEqual(_handles.live(), before)


if __name__ == "__main__":
    unittest.main()
