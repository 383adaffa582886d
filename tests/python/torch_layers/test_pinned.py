"""Copies through pinned memory. Without a GPU a stand-in makes them, as late as a GPU may."""

import unittest
from unittest import mock

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip
from damo.torch import _device

import damo
import damo.torch

CPU, GPU = torch.device("cpu"), torch.device("cuda")
IDS, DIM = 3_000, 8


class Late(_device.Pinned):
    """Main memory in place of pinned memory and of a GPU's. What is fetched comes only in time."""

    def __init__(self, is_exhausted=False):
        self.made, self.calls, self.is_exhausted = [], [], is_exhausted

    def serves(self, device, size):
        return size > 0

    def empty(self, shape, dtype):
        if self.is_exhausted:
            return None
        self.made.append(torch.full(tuple(shape), -99, dtype=dtype))
        return self.made[-1]

    def holds(self, tensor):
        return any(tensor.data_ptr() == one.data_ptr() for one in self.made)

    def begin_send(self, rows, device):
        self.calls.append("send")
        return rows.clone()

    def begin_fetch(self, into, tensor):
        self.calls.append("fetch")
        late = self

        class Done:
            def synchronize(self):
                late.calls.append("wait")
                into.copy_(tensor)

        return Done()


class Copies(Case):
    def late(self, **options):
        made = Late(**options)
        patch = mock.patch.object(_device, "_pinned", made)
        patch.start()
        self.addCleanup(patch.stop)
        return made

    def test_a_fetch_waits_for_its_copy(self):
        made = self.late()
        given = torch.arange(6).reshape(2, 3).t()
        self.assertTrue(torch.equal(_device.fetch(given), given))
        self.assertEqual(made.calls, ["fetch", "wait"])

    def test_a_fetch_without_pinned_memory_is_torchs(self):
        made = self.late(is_exhausted=True)
        self.assertTrue(torch.equal(_device.fetch(torch.arange(6)), torch.arange(6)))
        self.assertEqual(tuple(_device.rows_for(GPU, 3, 2).shape), (3, 2))
        self.assertEqual(made.calls, [])

    def test_a_negative_view_is_copied_as_torch_does_it(self):
        made = self.late()
        given = torch._neg_view(torch.arange(6.0))
        self.assertTrue(torch.equal(_device.fetch(given), -torch.arange(6.0)))
        self.assertEqual(made.calls, [])

    def test_backward_fetches_the_gradient(self):
        made = self.late()
        for create_graph in (False, True):
            rows = _device.rows_for(GPU, 3, 2).fill_(2).requires_grad_()
            sent = _device.send(rows, GPU)
            made.calls.clear()
            weights = torch.arange(6.0).reshape(3, 2)
            (found,) = torch.autograd.grad(
                (sent * sent * weights).sum(), rows, create_graph=create_graph
            )
            self.assertTrue(torch.equal(found, 4 * weights))
            # A gradient that is differentiated again stays in torch's graph.
            self.assertEqual(made.calls, [] if create_graph else ["fetch", "wait"])
            self.assertEqual(found.requires_grad, create_graph)

    def trained(self, device):
        """The outputs of some steps on device, and the rows after them."""
        with damo.Storage(self.path(device.type), cache_bytes=1 << 24) as storage:
            layer = self.layer(DIM, storage=storage, optimizer=damo.Adam(lr=0.1))
            seen = []
            for step in range(4):
                layer.to((torch.float32, torch.float64, torch.float16, torch.bfloat16)[step])
                ids = torch.arange(IDS) * (step + 1) % 1_000
                out = layer._read(ids, device)
                seen.append(out.detach().clone())
                (out.square().sum() + out[::2].sum()).backward()
            layer.eval()
            seen.append(layer._read(torch.arange(2_000), device))
            return seen, layer.rows.peek(list(range(1_000)))[0].copy()

    def test_layers_train_alike_to_the_bit(self):
        wanted, rows = self.trained(CPU)
        made = self.late()
        found, pinned_rows = self.trained(GPU)
        self.assertEqual(made.calls.count("send"), 5)
        self.assertEqual(made.calls.count("wait"), 4)
        for one, other in zip(found, wanted):
            self.assertEqual(one.dtype, other.dtype)
            self.assertTrue(torch.equal(one, other))
        self.assertTrue((rows == pinned_rows).all())

    def test_batched_gradients_have_their_error(self):
        self.late()
        layer = self.layer(DIM)
        out = layer._read(torch.arange(20), GPU)
        self.assert_fails(
            RuntimeError,
            ["batched gradients"],
            lambda: torch.autograd.grad(
                out, layer.anchor, torch.ones(2, *out.shape), is_grads_batched=True
            ),
        )


class OnGpu(Case):
    def setUp(self):
        if not torch.cuda.is_available():
            self.skipTest("torch finds no GPU")
        super().setUp()

    def test_a_stream_of_its_own_and_many_batches_that_are_not_waited_for(self):
        layer = self.layer(DIM).eval()
        stream = torch.cuda.Stream()
        batches = [torch.arange(IDS) + 100 * number for number in range(20)]
        for ids in batches:
            layer.train()(ids)
        layer.eval()
        with torch.cuda.stream(stream):
            found = [layer(ids.cuda(non_blocking=True)) for ids in batches]
        stream.synchronize()
        for ids, rows in zip(batches, found):
            self.assertTrue(torch.equal(rows.cpu(), layer(ids)))

    def test_training_is_as_in_main_memory(self):
        rows = []
        for name in ("cpu", "cuda"):
            layer = self.layer(DIM, storage=self.storage(name))
            for step in range(5):
                ids = (torch.arange(IDS) % 1_000).to(name)
                (layer(ids) * (step + 1)).sum().backward()
            rows.append(torch.from_numpy(layer.rows.peek(list(range(1_000)))[0]))
        self.assertTrue(torch.equal(*rows))


if __name__ == "__main__":
    unittest.main()
