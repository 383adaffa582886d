"""Clipping and scaling of rows' gradients, through the norms that torch sees of them."""

import inspect
import random
import unittest

# Before the others: without torch it skips this file.
from support import close, torch  # isort: skip
from pair import IDS, Pair, loss_of

import damo
import damo.torch

nn = torch.nn
clip_norm, clip_value = nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_


def clips(model, optimizer):
    """The parameters that clipping is called with: of the model, and of the optimizer."""
    return [
        list(model.parameters()),
        [parameter for group in optimizer.param_groups for parameter in group["params"]],
    ]


class Clipping(Pair):
    def test_by_norms(self):
        has_foreach = "foreach" in inspect.signature(clip_norm).parameters
        for kind in (2.0, float("inf"), 1.0, 3.0):
            for options in [{}, {"foreach": True}, {"foreach": False}] if has_foreach else [{}]:
                norms = []

                def loop(model, optimizer):
                    for number in range(8):
                        optimizer.zero_grad()
                        loss_of(model, number).backward()
                        parameters = clips(model, optimizer)[number % 2]
                        norms.append(
                            float(clip_norm(parameters, 0.5 + number, norm_type=kind, **options))
                        )
                        optimizer.step()

                self.both(self.made(lr=0.05, name=f"{kind} {options}"), loop, 1e-5)
                close(torch.tensor(norms[:8]), torch.tensor(norms[8:]), 1e-3)

    def test_by_values(self):
        def loop(model, optimizer):
            for number in range(8):
                optimizer.zero_grad()
                loss_of(model, number).backward()
                clip_value(clips(model, optimizer)[number % 2], 0.2)
                optimizer.step()

        self.both(self.made(lr=0.05), loop)

    def test_between_accumulated_batches(self):
        def loop(model, optimizer):
            for number in range(12):
                loss_of(model, number).backward()
                clip_norm(model.parameters(), 1.0)
                if number % 3 == 2:
                    clip_value(model.parameters(), 0.2)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=number % 2 == 0)

        self.both(self.made(lr=0.05), loop)

    def test_many_rows(self):
        """More numbers than an anchor has: it shows their norms."""
        draw = random.Random(5)
        for number in range(20):
            dim, ids = draw.choice((16, 64)), draw.choice((300, 3000))
            table = self.layer(
                dim,
                storage=self.storage(f"many {number}"),
                initializer=damo.Zeros(),
                optimizer=damo.SGD(lr=1.0),
            )
            optimizer = damo.torch.SparseOptimizer(table)
            theirs = nn.Embedding(ids, dim)
            gradient = torch.randn(2 * ids, dim).pow(draw.choice((1, 3))) * draw.choice(
                (1e-6, 1.0, 1e6)
            )
            seen = torch.randint(ids, (2 * ids,))
            for layer in (table, theirs):
                (layer(seen) * gradient).sum().backward()
            ours, wanted = table.anchor.grad.double(), theirs.weight.grad.double()
            self.assertAlmostEqual(float(ours.norm() / wanted.norm()), 1.0, 4)
            # 4,076 numbers cannot have every ratio of the two norms: then the largest is larger.
            largest = max(wanted.abs().max(), wanted.norm() / 4076**0.5)
            self.assertAlmostEqual(float(ours.abs().max() / largest), 1.0, 4)
            limit = float(wanted.norm()) * draw.choice((0.3, 0.9, 2.0))
            for parameters in (table.parameters(), theirs.parameters()):
                clip_norm(parameters, limit)
            if draw.random() < 0.5 and wanted.abs().max() > wanted.norm() / 60:
                bound = float(theirs.weight.grad.abs().max()) * draw.choice((0.5, 2.0))
                for parameters in (table.parameters(), theirs.parameters()):
                    clip_value(parameters, bound)
            optimizer.step()
            scale = float(theirs.weight.grad.abs().max())
            close(
                torch.from_numpy(table.rows.peek(range(ids))[0]) / scale,
                -theirs.weight.grad / scale,
                1e-5,
            )

    def test_two_layers_on_one_group_have_the_norm_of_the_whole(self):
        for duplicates in ("sum", "mean"):
            storage = self.storage(duplicates)
            rows = storage.embedding(
                "user",
                dim=4,
                optimizer=damo.SGD(lr=1.0),
                initializer=damo.Zeros(),
                duplicates=duplicates,
            )
            model = nn.ModuleList(
                [damo.torch.Embedding(rows), damo.torch.EmbeddingBag(rows, mode="sum")]
            )
            optimizer = damo.torch.SparseOptimizer(model)
            weight = nn.Parameter(torch.zeros(IDS, 4))
            for _ in range(2):
                for first, second in (
                    (model[0], model[1]),
                    (lambda ids: weight[ids], lambda ids: weight[ids].sum(1)),
                ):
                    (
                        first(torch.tensor([1, 1, 2])).sum()
                        + 3 * second(torch.tensor([[1, 2], [3, 3]])).sum()
                    ).backward()
            gradient = weight.grad
            if duplicates == "mean":
                gradient = gradient / torch.tensor([1, 6, 4, 4] + [1] * 8).unsqueeze(1)
            seen = torch.cat([layer.anchor.grad.flatten() for layer in model])
            self.assertAlmostEqual(float(seen.norm() / gradient.norm()), 1, 5)
            clip_norm(model.parameters(), 0.5)
            optimizer.step()
            close(
                torch.from_numpy(rows.peek(range(IDS))[0]), -gradient * 0.5 / gradient.norm(), 1e-6
            )

    def test_padding_is_no_part_of_it(self):
        table = self.layer(padding_idx=0)
        damo_optimizer = damo.torch.SparseOptimizer(table)
        table(torch.tensor([0, 0, 5])).sum().backward()
        self.assertEqual(float(table.anchor.grad.norm()), 2.0)
        damo_optimizer.step()

    def test_other_dtypes(self):
        has_half = hasattr(torch.amp, "GradScaler")  # Before torch 2.3 a CPU cannot clip it.
        for dtype, digits in ((torch.float64, 6), (torch.bfloat16, 2), (torch.float16, 3)):
            if dtype == torch.float16 and not has_half:
                continue
            table = self.layer(
                storage=self.storage(str(dtype)),
                initializer=damo.Zeros(),
                optimizer=damo.SGD(lr=1.0),
            ).to(dtype)
            optimizer = damo.torch.SparseOptimizer(table)
            table(torch.tensor([1, 2])).sum().backward()
            self.assertEqual(
                (table.anchor.grad.dtype, table.anchor.grad.shape), (dtype, table.anchor.shape)
            )
            self.assertAlmostEqual(float(clip_norm(table.parameters(), 0.5)), 8**0.5, 1)
            optimizer.step()
            self.assertAlmostEqual(float(table.rows.peek(1)[0][0]), -0.5 / 8**0.5, digits)

    def test_what_cannot_be_done_to_rows_is_refused(self):
        for wrong in (
            lambda gradient: gradient.add_(1),
            lambda gradient: gradient.mul_(torch.rand_like(gradient)),
            lambda gradient: gradient[0, 1].fill_(7),
            lambda gradient: gradient.clamp_(min=0.5),
        ):
            ours, _, optimizer, _ = self.made(name=str(wrong))
            loss_of(ours, 1).backward()
            wrong(ours.table.anchor.grad)
            before = ours.dense.weight.detach().clone()
            for _ in range(2):
                self.assert_fails(
                    RuntimeError, ["anchor", "clip_grad_norm_", "zero_grad"], optimizer.step
                )
            self.assertEqual(ours.table.rows.step, 0)
            close(ours.dense.weight.detach(), before, 0)
            ours.zero_grad()
            loss_of(ours, 1).backward()
            optimizer.step()
            self.assertEqual(ours.table.rows.step, 1)


@unittest.skipUnless(hasattr(torch.amp, "GradScaler"), "GradScaler needs a GPU before torch 2.3")
class Scaling(Pair):
    def test_as_torch(self):
        for unscales in (False, True):
            scales = []

            def loop(model, optimizer):
                scale = torch.amp.GradScaler(self.device, init_scale=2.0**16, growth_interval=2)
                for number in range(8):
                    optimizer.zero_grad()
                    # The fourth batch overflows.
                    factor = 1e38 if number == 3 else 1.0
                    scale.scale(loss_of(model, number) * factor).backward()
                    if unscales:
                        scale.unscale_(optimizer)
                        clip_norm(model.parameters(), 0.5)
                    scale.step(optimizer)
                    scale.update()
                    scales.append(scale.get_scale())

            made = self.made(lr=0.05, name=str(unscales))
            self.both(made, loop, 1e-5)
            self.assertEqual((scales[:8], made[0].table.rows.step), (scales[8:], 7))

    def test_an_overflow_of_rows_alone_skips_both(self):
        ours, _, optimizer, _ = self.made()
        scale = torch.amp.GradScaler(self.device, init_scale=8.0)
        before = ours.dense.weight.detach().clone()
        scale.scale(
            ours.table(torch.tensor([1])).sum() * 3e38 + ours(torch.tensor([2])).sum()
        ).backward()
        scale.step(optimizer)
        scale.update()
        close(ours.dense.weight.detach(), before, 0)
        self.assertEqual((ours.table.rows.step, scale.get_scale()), (0, 4.0))

    def test_a_sparse_optimizer_beside_a_dense_one_that_has_the_anchors(self):
        for unscales in ((), ("dense",), ("sparse",), ("dense", "sparse")):
            model = nn.ModuleList(
                [
                    self.layer(storage=self.storage(str(unscales)), initializer=damo.Zeros()),
                    nn.Linear(4, 1),
                ]
            )
            optimizers = {
                "dense": torch.optim.SGD(model.parameters(), lr=0.5),
                "sparse": damo.torch.SparseOptimizer(model),
            }
            if "sparse" in unscales:
                # Each unscale_ divides the anchors, so only one optimizer may have them.
                optimizers["dense"] = torch.optim.SGD(damo.torch.dense_parameters(model), lr=0.5)
            scale = torch.amp.GradScaler(self.device, init_scale=1024.0)
            for number in range(1, 4):
                scale.scale(
                    (model[1](model[0](torch.tensor([1]))) * 0 + model[0](torch.tensor([1]))).sum()
                ).backward()
                for name in unscales:
                    scale.unscale_(optimizers[name])
                for optimizer in optimizers.values():
                    scale.step(optimizer)
                scale.update()
                optimizers["dense"].zero_grad()
                self.assertEqual(
                    (model[0].rows.peek(1)[0][0], model[0].rows.step),
                    (-0.5 * number, number),
                    unscales,
                )
