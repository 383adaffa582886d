"""When rows are stepped without an optimizer: when torch would change the .grad of a weight."""

import warnings

# Before the others: without torch it skips this file.
from support import Fails, Rows, close, torch  # isort: skip

from torch.utils.checkpoint import checkpoint

import damo
import damo.torch

nn = torch.nn
ids = torch.tensor


class Checkpointing(Rows):
    def setUp(self):
        super().setUp()
        ignored = warnings.catch_warnings()
        ignored.__enter__()
        self.addCleanup(ignored.__exit__, None, None, None)
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad", UserWarning)

    def part(self, weight):
        return self.table(ids([1, 2])) * weight

    def both(self):
        return [
            lambda *given, reentrant=reentrant: checkpoint(*given, use_reentrant=reentrant)
            for reentrant in (True, False)
        ]

    def test_a_pass_is_one_step_however_many_parts_it_has(self):
        for number, checked in enumerate(self.both(), 1):
            (checked(self.part, self.weight) + checked(self.part, self.weight)).sum().backward()
            self.assertEqual((self.step, self.weights(1, 2)), (number, [-2.0 * number] * 2))

    def test_parts_inside_parts(self):
        for number, checked in enumerate(self.both(), 1):
            inner = lambda weight: checked(self.part, weight) + checked(self.part, weight)
            (
                checked(inner, self.weight)
                + checked(self.part, self.weight)
                + self.part(self.weight)
            ).sum().backward()
            self.assertEqual((self.step, self.weights(1, 2)), (number, [-4.0 * number] * 2))

    def test_a_pass_that_fails_leaves_no_step(self):
        for checked in self.both():
            # The failing part is computed first, so its backward comes last.
            failing = checked(
                lambda weight: Fails.apply(self.part(weight)), Fails.apply(self.weight)
            )
            out = (failing + checked(self.part, self.weight)).sum()
            self.assert_fails(OSError, ["in backward"], out.backward)
            self.assertEqual((self.step, self.weights(1, 2)), (0, [0, 0]))
        self.part(self.weight).sum().backward()
        self.assertEqual((self.step, self.weights(1)), (1, [-1]))

    def test_a_filter_counts_an_occurrence_once(self):
        for number, checked in enumerate(self.both()):
            storage = self.storage(f"filtered {number}")
            filter = damo.Filter(self.path(f"{number}.filter"), count=2, capacity=1000)
            self.addCleanup(filter.close)
            table = self.layer(storage=storage, filter=filter, initializer=damo.Normal(stddev=1.0))
            for seen, rows in ((1, 0), (2, 1), (3, 1)):
                given = []
                checked(
                    lambda weight: given.append(table(ids([7]))) or given[-1] * weight, self.weight
                ).sum().backward()
                self.assertEqual(len(table.rows), rows, (number, seen))
                # The recomputed rows are those of the forward pass.
                close(given[0].detach(), given[-1].detach())

    def test_it_is_collected_as_well(self):
        for checked in self.both():
            table = self.layer(
                storage=self.storage(f"collected {checked}"), initializer=damo.Zeros()
            )
            optimizer = damo.torch.Optimizer(torch.optim.SGD([self.weight], lr=0.0), table)
            part = lambda weight: table(ids([1])) * weight
            (checked(part, self.weight) + checked(part, self.weight)).sum().backward()
            close(table.anchor.grad.norm(), ids(4.0))
            optimizer.step()
            self.assertEqual((table.rows.step, table.rows.peek(1)[0][0]), (1, -1.0))


class Looking(Rows):
    def test_autograd_grad_steps_nothing(self):
        for parameters in ([self.weight], [self.table.anchor], [self.weight, self.table.anchor]):
            for given in (
                {},
                {"allow_unused": True},
                {"retain_graph": True},
                {"create_graph": True},
            ):
                out = (self.table(ids([1])) * self.weight).sum()
                found = torch.autograd.grad(out, parameters, **given)
                if parameters[-1] is self.table.anchor:
                    close(found[-1].detach().norm(), ids(2.0))
        self.assertEqual((self.step, self.table.anchor.grad), (0, None))
        # Nothing is left for the next pass.
        self.table(ids([2])).sum().backward()
        self.assertEqual((self.step, self.weights(1, 2)), (1, [0, -1]))

    def test_autograd_grad_that_raises(self):
        unused = nn.Parameter(torch.ones(1))
        out = (self.table(ids([1])) * self.weight).sum()
        self.assert_fails(
            RuntimeError, ["unused"], torch.autograd.grad, out, [self.table.anchor, unused]
        )
        self.assertEqual(self.step, 0)

    def test_batched_gradients_are_refused(self):
        out = self.table(ids([1]))
        batched = torch.eye(4).view(4, 1, 4)
        self.assert_fails(
            RuntimeError,
            ["batched"],
            torch.autograd.grad,
            out,
            [self.table.anchor],
            batched,
            is_grads_batched=True,
        )
        self.assertEqual(self.step, 0)

    def test_inputs_of_backward(self):
        def out():
            return (self.table(ids([1])) * self.weight).sum()

        out().backward(inputs=[self.weight])
        self.assertEqual(self.step, 0)
        out().backward(inputs=[self.table.anchor])
        self.assertEqual((self.step, self.weights(1)), (1, [-1]))
        out().backward(inputs=[*self.table.parameters(), self.weight])
        self.assertEqual(self.step, 2)

    def test_a_graph_is_kept_or_gone(self):
        out = self.table(ids([1])).sum()
        out.backward(retain_graph=True)
        out.backward()
        self.assertEqual((self.step, self.weights(1)), (2, [-2]))
        self.assert_fails(RuntimeError, ["second time"], out.backward)
        self.assertEqual(self.step, 2)

    def test_saved_tensors_that_come_back_as_others(self):
        ways = [
            (lambda x: x.to(torch.int32), lambda x: x),
            (lambda x: x, lambda x: torch.stack([x, x + 100], -1)[..., 0]),
            (lambda x: x, lambda x: x + 1),
            (lambda x: x.float(), lambda x: x[:1]),
            (lambda x: x.numpy().copy(), torch.from_numpy),
        ]
        for number, (pack, unpack) in enumerate(ways, 1):
            with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
                out = self.table(ids([[1, 2], [3, 4]]))
            out.sum().backward()
            self.assertEqual(
                (self.step, self.weights(1, 2, 3, 4, 5)), (number, [-float(number)] * 4 + [0.0])
            )

    def test_ids_that_change_under_hooks(self):
        given = ids([1, 2])
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x.clone(), lambda x: x):
            out = self.table(given)
        given.zero_()
        self.assert_fails(RuntimeError, ["inplace"], out.sum().backward)

    def test_eval_decides_whether_rows_are_made_and_nothing_else(self):
        self.table(ids([1, 2]))
        self.table.eval()
        out = self.table(ids([[1, 3], [2, 1]]))
        out.sum().backward()
        self.assertEqual(
            (self.step, len(self.table.rows), self.weights(1, 2, 3)), (1, 2, [-2, -1, 0])
        )
        with torch.no_grad():
            self.assertFalse(self.table(ids([1])).requires_grad)
        self.table.requires_grad_(False)
        self.assertFalse(self.table(ids([1])).requires_grad)
        self.table.requires_grad_(True)
        # In eval mode, too, a pass is a step of the group, even if no id has a row.
        self.table(ids([8, 9])).sum().backward()
        self.assertEqual((self.step, len(self.table.rows)), (2, 2))
        bag = damo.torch.EmbeddingBag(self.table.rows, mode="sum").eval()
        bag(ids([[1, 9]])).sum().backward()
        self.assertEqual((self.step, len(self.table.rows), self.weights(1)), (3, 2, [-3]))


class CallersTensors(Rows):
    """What the caller does to its own tensors between passes."""

    def test_ids_that_get_other_memory_after_the_forward_pass(self):
        ids = torch.tensor([1, 2, 3, 4])
        rows = self.table(ids)
        ids.data = ids.data.int()
        rows.sum().backward()
        self.assertEqual(self.weights(1, 2, 3, 4, 8589934593), [-1.0, -1.0, -1.0, -1.0, 0.0])

    def test_ids_that_get_another_shape_after_the_backward_pass(self):
        ids = torch.tensor([1, 2])
        self.table(ids).sum().backward()
        ids.unsqueeze_(0)
        self.table.load_state_dict(self.table.state_dict())

    def test_gradients_with_the_negative_bit(self):
        rows = self.table(torch.tensor([1]))
        rows.register_hook(torch._neg_view)
        rows.sum().backward()
        self.assertEqual(self.weights(1), [1.0])
