"""Collections under damo.torch.Optimizer and SparseOptimizer: as torch steps its own tables."""

import unittest
from unittest import mock

# Before the others: without torch it skips this file.
from collection_support import Collections, bags, close, ids, loss_of, torch  # isort: skip
from test_training import scaler

import damo
import damo.torch
from damo import _c_api

nn = torch.nn
clip_norm, clip_value = nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_


class Net(nn.Module):
    """Tables, and a factor for each feature as the dense part."""

    def __init__(self, tables):
        super().__init__()
        self.tables = tables
        self.factors = nn.ParameterDict(
            {name: nn.Parameter(torch.ones(1)) for name in ("user", "tags", "words", "mark")}
        )

    def forward(self, features):
        return {name: one * self.factors[name] for name, one in self.tables(features).items()}


class Stepped(Collections):
    def made(self, has_bags=True, lr=0.1):
        self.folder += "x"
        ours, theirs = self.pair(has_bags, optimizer=lambda: damo.SGD(lr=lr))
        ours, theirs = Net(ours), Net(theirs)
        dense, other = (torch.optim.SGD(model.parameters(), lr=lr) for model in (ours, theirs))
        return ours, theirs, damo.torch.Optimizer(dense, ours), other

    def both(self, loop, has_bags=True, tolerance=1e-5):
        ours, theirs, mine, other = self.made(has_bags)
        for model, optimizer in ((ours, mine), (theirs, other)):
            loop(model, optimizer)
        self.assert_equal(ours.tables, theirs.tables, tolerance)
        for name, factor in ours.factors.items():
            close(factor.detach(), theirs.factors[name].detach(), tolerance)
        return ours

    def test_steps(self):
        for has_bags, make in ((True, bags), (False, ids)):

            def loop(model, optimizer):
                for number in range(4):
                    optimizer.zero_grad()
                    loss_of(model(make(number)), number).backward()
                    optimizer.step()

            ours = self.both(loop, has_bags)
            self.assertEqual(self.steps(ours.tables), [4, 4, 4])

    def test_accumulation(self):
        def loop(model, optimizer):
            for number in range(6):
                loss_of(model(bags(number)), number).backward()
                if number % 3 == 2:
                    optimizer.step()
                    optimizer.zero_grad()

        self.assertEqual(self.steps(self.both(loop).tables), [2, 2, 2])

    def test_clipping(self):
        for clip in (
            lambda parameters: clip_norm(parameters, 0.7),
            lambda parameters: clip_value(parameters, 0.3),
        ):

            def loop(model, optimizer):
                for number in range(4):
                    optimizer.zero_grad()
                    loss_of(model(bags(number)), number).backward()
                    clip(list(model.parameters()))
                    optimizer.step()

            self.both(loop)

    def test_norms_are_those_of_torch(self):
        norms = []

        def loop(model, optimizer):
            loss_of(model(bags(1)), 1).backward()
            norms.append(clip_norm(model.parameters(), 1e9))

        self.both(loop)
        close(*norms, 1e-4)

    def test_zero_grad_drops_gradients(self):
        ours, _, optimizer, _ = self.made()
        loss_of(ours(bags(1))).backward()
        ours.zero_grad()
        optimizer.step()
        self.assertEqual(self.steps(ours.tables), [0, 0, 0])

    def test_learning_rates_of_schedules(self):
        def loop(model, optimizer):
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
            for number in range(3):
                optimizer.zero_grad()
                loss_of(model(bags(number)), number).backward()
                optimizer.step()
                schedule.step()

        self.both(loop)

    def test_a_sparse_optimizer(self):
        ours, theirs = self.pair(optimizer=lambda: damo.SGD(lr=0.1))
        sparse = damo.torch.SparseOptimizer([ours])
        other = torch.optim.SGD(theirs.parameters(), lr=0.1)
        self.assertEqual(len(sparse.param_groups), 3)
        for number in range(3):
            for model, optimizer in ((ours, sparse), (theirs, other)):
                optimizer.zero_grad()
                loss_of(model(bags(number)), number).backward()
                optimizer.step()
        self.assert_equal(ours, theirs)

    def test_scaled_losses(self):
        ours, theirs = self.pair(optimizer=lambda: damo.SGD(lr=0.1))
        sparse = damo.torch.SparseOptimizer(ours)
        other = torch.optim.SGD(theirs.parameters(), lr=0.1)
        (loss_of(ours(bags(1)), 1) * 1024).backward()
        scaler(1024.0).step(sparse)
        loss_of(theirs(bags(1)), 1).backward()
        other.step()
        self.assert_equal(ours, theirs)
        # One table whose gradients are not finite skips the step of all.
        found = ours(bags(2))
        ((found["user"] * float("inf")).sum() + found["tags"].sum()).backward()
        scaler(1024.0).step(sparse)
        self.assert_equal(ours, theirs)

    @unittest.skipUnless(
        hasattr(torch.amp, "GradScaler"), "GradScaler needs a GPU before torch 2.3"
    )
    def test_a_grad_scaler(self):
        def loop(model, optimizer):
            scale = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=2)
            for number in range(5):
                optimizer.zero_grad()
                # The fourth batch overflows.
                factor = 1e38 if number == 3 else 1.0
                scale.scale(loss_of(model(bags(number)), number) * factor).backward()
                scale.unscale_(optimizer)
                clip_norm(model.parameters(), 0.5)
                scale.step(optimizer)
                scale.update()

        self.assertEqual(self.steps(self.both(loop).tables), [4, 4, 4])

    def test_the_fused_mode_and_an_optimizer_are_equal(self):
        found = []
        for collects in (False, True):
            self.folder += "x"
            torch.manual_seed(1)
            ours, _ = self.pair()
            sparse = damo.torch.SparseOptimizer(ours) if collects else None
            for number in range(3):
                loss_of(ours(bags(number)), number).backward()
                if sparse is not None:
                    sparse.step()
            found.append([table.rows.peek(range(12))[0] for table in ours.tables.values()])
        for one, other in zip(*found):
            self.assertTrue((one == other).all())

    def test_an_optimizer_s_step_is_one_transaction(self):
        ours, _ = self.pair()
        sparse = damo.torch.SparseOptimizer(ours)
        found = ours(bags(1))
        (found["user"].sum() + (found["tags"] * float("nan")).sum()).backward()
        before = [table.rows.peek(range(12))[0] for table in ours.tables.values()]
        self.assert_fails(ValueError, ["key ", "'tag'"], sparse.step)
        self.assertEqual(self.steps(ours), [0, 0, 0])
        for table, rows in zip(ours.tables.values(), before):
            self.assertTrue((table.rows.peek(range(12))[0] == rows).all())
        sparse.zero_grad()
        with mock.patch.object(
            _c_api, "damo_step_apply_gradients", wraps=_c_api.damo_step_apply_gradients
        ) as called:
            loss_of(ours(bags(1))).backward()
            sparse.step()
        self.assertEqual((called.call_count, self.steps(ours)), (1, [1, 1, 1]))

    def padded(self):
        """A collection of one table, a layer on its group with another padding, an optimizer."""
        storage, options = self.storage(), {"initializer": damo.Zeros()}
        config = damo.torch.TableConfig("b", 2, damo.SGD(lr=1.0), **options)
        ours = damo.torch.EmbeddingCollection(storage, [config])
        layer = damo.torch.Embedding(storage, "b", 2, optimizer=damo.SGD(lr=1.0), padding_idx=2)
        return ours, layer, damo.torch.SparseOptimizer([ours, layer])

    def test_a_refused_gradient_of_another_embedding_of_a_group_changes_nothing(self):
        ours, layer, sparse = self.padded()
        one = torch.tensor([1])
        (ours({"b": one})["b"].sum() + (layer(one) * float("nan")).sum()).backward()
        for _ in range(2):
            self.assert_fails(ValueError, ["key 1 "], sparse.step)
            self.assertEqual((self.steps(ours), layer.rows.peek(1)[0].tolist()), ([0], [0, 0]))
        layer.zero_grad()
        sparse.step()
        self.assertEqual((self.steps(ours), layer.rows.peek(1)[0].tolist()), ([1], [-1, -1]))

    def test_an_error_after_the_first_embedding_of_a_group_keeps_what_is_not_done(self):
        ours, layer, sparse = self.padded()
        # Each gradient of the layer is accepted, and their sum is refused.
        loss = ours({"b": torch.tensor([1])})["b"].sum()
        (loss + (layer(torch.tensor([1] * 16)) * 1e17).sum()).backward()
        for _ in range(2):
            self.assert_fails(ValueError, ["add up"], sparse.step)
            self.assertEqual((self.steps(ours), layer.rows.peek(1)[0].tolist()), ([1], [-1, -1]))
        layer.zero_grad()
        sparse.step()
        self.assertEqual((self.steps(ours), layer.rows.peek(1)[0].tolist()), ([1], [-1, -1]))

    def test_closing_goes_back_to_steps_in_backward(self):
        ours, _ = self.pair()
        sparse = damo.torch.SparseOptimizer(ours)
        loss_of(ours(bags(1))).backward()
        sparse.close()
        loss_of(ours(bags(1))).backward()
        self.assertEqual(self.steps(ours), [1, 1, 1])

    def test_dense_parameters_are_without_anchors(self):
        ours = self.made()[0]
        self.assertEqual(len(list(damo.torch.dense_parameters(ours))), 4)

    @unittest.skipUnless(
        hasattr(torch, "get_autocast_dtype"), "float16 is for GPUs before torch 2.4"
    )
    def test_autocast_to_half_needs_an_optimizer(self):
        ours, _ = self.pair()
        with torch.autocast("cpu", torch.float16):
            self.assert_fails(RuntimeError, ["scaled"], ours, bags(1))


if __name__ == "__main__":
    unittest.main()
