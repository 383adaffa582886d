"""Layers and models on a GPU: the tests of optimizers and norms, and tests for a GPU alone."""

import unittest
import warnings

# Before the others: without torch it skips this file.
from support import close, torch  # isort: skip
import test_norms
import test_optimizer
import test_optimizer_groups
from pair import Pair, batch, loss_of
from torch.utils.checkpoint import checkpoint

import damo
import damo.torch

nn = torch.nn


class OnGpu:
    device = "cuda"

    def setUp(self):
        if not torch.cuda.is_available():
            self.skipTest("torch finds no GPU")
        super().setUp()
        # torch's thread for backward passes of a GPU gives this warning.
        silence = warnings.catch_warnings()
        silence.__enter__()
        self.addCleanup(silence.__exit__, None, None, None)
        warnings.filterwarnings("ignore", message="Attempting to run cuBLAS")


class Loops(OnGpu, test_optimizer.Loops):
    pass


class Schedules(OnGpu, test_optimizer.Schedules):
    pass


class Groups(OnGpu, test_optimizer_groups.Groups):
    pass


class Clipping(OnGpu, test_norms.Clipping):
    pass


class Scaling(OnGpu, test_norms.Scaling):
    pass


class Models(OnGpu, Pair):
    def plain(self, model, optimizer):
        for number in range(6):
            optimizer.zero_grad()
            loss_of(model, number).backward()
            optimizer.step()

    def test_fused_and_capturable_optimizers(self):
        for options in ({"fused": True}, {"foreach": True}, {"capturable": True}):
            ours, _, optimizer, _ = self.made(
                dense=torch.optim.Adam, lr=0.05, name=str(options), **options
            )
            before = float(loss_of(ours, 1).detach())
            for _ in range(20):
                optimizer.zero_grad()
                loss_of(ours, 1).backward()
                optimizer.step()
            self.assertLess(float(loss_of(ours, 1).detach()), before)
            self.assertEqual(ours.table.rows.step, 20)

    def test_a_layer_that_stays_in_main_memory(self):
        made = self.made(lr=0.05)
        made[0].table.cpu()
        self.assertEqual(made[0].table.anchor.device.type, "cpu")
        self.both(made, self.plain)

    def test_a_layer_that_moves_between_batches(self):
        def loop(model, optimizer):
            for number in range(6):
                optimizer.zero_grad()
                loss_of(model, number).backward()
                optimizer.step()
                if isinstance(model.table, damo.torch.Embedding):
                    model.table.to("cpu" if number % 2 else "cuda")

        self.both(self.made(lr=0.05), loop)

    def test_fused_mode(self):
        layer = self.layer(initializer=damo.Zeros()).cuda()
        for number in range(1, 4):
            out = layer(torch.tensor([[1, 2], [2, 3]], device="cuda"))
            out.sum().backward()
            self.assertEqual((layer.rows.step, layer.anchor.grad), (number, None))
        close(
            torch.from_numpy(layer.rows.peek([1, 2, 3])[0][:, 0]), torch.tensor([-1.5, -3.0, -1.5])
        )

    def test_checkpointing(self):
        for reentrant in (False, True):

            def loop(model, optimizer):
                for number in range(6):
                    ids, wanted = batch(number)
                    start = torch.ones((), requires_grad=True)
                    optimizer.zero_grad()
                    out = checkpoint(lambda one: model(ids) * one, start, use_reentrant=reentrant)
                    (out - wanted).square().sum().backward()
                    optimizer.step()

            self.both(self.made(lr=0.05, name=str(reentrant)), loop)

    def test_autocast_with_a_scaler(self):
        ours, _, optimizer, _ = self.made(lr=0.01)
        scale = torch.amp.GradScaler("cuda", init_scale=2.0**12)
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = loss_of(ours, 1)
            scale.scale(loss).backward()
            scale.unscale_(optimizer)
            nn.utils.clip_grad_norm_(ours.parameters(), 10.0)
            scale.step(optimizer)
            scale.update()
            losses.append(float(loss.detach()))
        self.assertLess(losses[-1], losses[0])
        self.assertEqual(ours.table.rows.step, 20)

    def test_capturing_a_graph_is_refused_by_torch_and_training_goes_on(self):
        layer = self.layer().cuda()
        ids = torch.tensor([1, 2], device="cuda")
        layer(ids).sum().backward()
        graph = torch.cuda.CUDAGraph()
        with self.assertRaises(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The graph is empty.
            with torch.cuda.graph(graph):
                layer(ids)
        layer(ids).sum().backward()
        self.assertEqual(layer.rows.step, 2)

    def test_a_checkpoint_of_a_model_goes_to_either_device(self):
        ours, _, optimizer, _ = self.made(dense=torch.optim.Adam, lr=0.05)
        self.plain(ours, optimizer)
        damo.torch.save_checkpoint(ours, optimizer, self.path("saved"))
        kept = (
            ours.dense.weight.detach().cpu().clone(),
            torch.from_numpy(ours.table.rows.peek([1, 2])[0]),
        )
        for device in ("cpu", "cuda"):
            self.plain(ours, optimizer)
            ours.device = device
            ours.to(device)
            damo.torch.load_checkpoint(self.path("saved"), ours, optimizer)
            close(ours.dense.weight.detach().cpu(), kept[0], 0)
            close(torch.from_numpy(ours.table.rows.peek([1, 2])[0]), kept[1], 0)
            self.plain(ours, optimizer)

    def test_converted_models(self):
        model = nn.Sequential(nn.Embedding(12, 4), nn.Flatten(), nn.Linear(8, 1)).cuda()
        ids = torch.tensor([[1, 2], [3, 4]], device="cuda")
        before = model(ids)
        damo.torch.convert(model, self.storage(), optimizer=damo.SGD(lr=0.1))
        close(model(ids), before, 1e-6)
        model(ids).sum().backward()
        self.assertEqual(model[0].rows.step, 1)


if __name__ == "__main__":
    unittest.main()
