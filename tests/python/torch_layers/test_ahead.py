"""Prefetch for a GPU: training is bit for bit what it is without.

A stand-in takes the GPU's place. It copies what is sent ahead only when somebody waits for it.
"""

import threading
import time
import unittest
from contextlib import contextmanager
from unittest import mock

import numpy as np

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip
from damo.torch import _ahead, _device

import damo
import damo.torch

GPU = torch.device("cuda")
DIM, PADDING = 8, -1


class Late(_device.Pinned):
    """Main memory in place of a GPU's. A stream of its own makes its copies when it must."""

    def __init__(self):
        self.of_thread, self.waiting, self.sent = threading.local(), [], []

    def serves(self, device, size):
        return size > 0

    def empty(self, shape, dtype):
        return torch.full(tuple(shape), -99, dtype=dtype)

    def holds(self, tensor):
        return True

    @contextmanager
    def beside(self, device):
        self.of_thread.is_beside = True
        yield
        self.of_thread.is_beside = False

    def event(self, device):
        waiting, self.waiting = self.waiting, []
        return waiting

    def wait_for(self, event, device):
        for made, rows in event:
            made.copy_(rows)
        event.clear()

    def keep(self, tensor):
        pass

    def begin_fetch(self, into, tensor):
        into.copy_(tensor)
        return mock.Mock()

    def begin_send(self, rows, device):
        is_beside = getattr(self.of_thread, "is_beside", False)
        self.sent.append((is_beside, rows.shape[0]))
        if not is_beside:
            return rows.clone()
        made = torch.full_like(rows, -98)
        self.waiting.append((made, rows))
        return made


def batches(count=6, size=700, seed=1):
    """Ids that repeat within batches and from one to the next, with padding."""
    maker = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        ids = torch.randint(0, 500, (size,), generator=maker)
        made.append(torch.cat((ids, ids[:50] + 10**12, torch.full((3,), PADDING))))
    return made


class Ahead(Case):
    def gpu(self):
        made = Late()
        patch = mock.patch.object(_device, "_pinned", made)
        patch.start()
        self.addCleanup(patch.stop)
        return made

    def read(self, layer, ids):
        """What layer(ids) is for ids on the GPU."""
        return layer._read(layer.reader.flat(ids), GPU)

    def layers(self, name, **options):
        storage = self.storage(name)
        options = {"optimizer": damo.Adam(lr=0.1), "padding_idx": PADDING, **options}
        return [self.layer(DIM, storage=storage, **options) for _ in range(2)]

    def both(self, train, folder=""):
        """Trains with and without Prefetch. train gets layers and a function of batches."""
        made, found = self.gpu(), []
        for name in ("plain", "ahead"):
            layers = self.layers(folder + name)

            def ahead(loader):
                if name == "plain":
                    return loader
                pairs = lambda ids: [(layer, ids) for layer in layers]
                return damo.torch.Prefetch(loader, pairs, device=GPU)

            made.sent.clear()
            seen = train(layers, ahead)
            rows = layers[0].rows
            keys = torch.cat(batches())
            found.append((seen, *rows.peek(keys), len(rows), rows.step))
            self.assertEqual([layer.reader.ahead._coming for layer in layers], [[], []])
        (plain, *rows), (ahead, *rows_ahead) = found
        self.assertEqual(len(plain), len(ahead))
        for one, other in zip(plain, ahead):
            self.assertTrue(torch.equal(one, other))
        for one, other in zip(rows, rows_ahead):
            self.assertTrue(np.array_equal(one, other))
        return made.sent

    def step(self, layers, ids, seen, scale=1.0):
        rows = [self.read(layer, ids) for layer in layers]
        seen.extend(one.detach().clone() for one in rows)
        (scale * sum((one * one).sum() for one in rows)).backward()

    def test_layers_of_one_group(self):
        def train(layers, ahead):
            seen = []
            for number, ids in enumerate(ahead(batches())):
                self.step(layers, ids, seen, number + 1)
            return seen

        sent = self.both(train)
        beside = [rows for is_beside, rows in sent if is_beside]
        self.assertEqual(beside, [753] * 10, "both layers, all batches but the first")
        # What has changed is sent again, with its places; each layer sends its first batch whole.
        later = [rows for is_beside, rows in sent if not is_beside]
        self.assertEqual(later[:2], [753, 753])

    def test_only_changed_rows_are_sent_again(self):
        made = self.gpu()
        layer = self.layers("one")[0]
        first, second = torch.arange(1000), torch.arange(900, 1900)
        self.read(layer, second)
        # Rows that are as young as a millisecond when they are read ahead are read again.
        time.sleep(0.01)
        for ids in damo.torch.Prefetch([first, second], lambda ids: [(layer, ids)], device=GPU):
            # The next batch's rows are read before this one changes them.
            _ahead._background().submit(int).result()
            made.sent.clear()
            self.read(layer, ids).sum().backward()
        # 100 rows, and their places.
        self.assertEqual(made.sent, [(False, 100), (False, 100)])

    def test_gradients_that_are_added_up(self):
        def train(layers, ahead):
            seen = []
            sparse = damo.torch.SparseOptimizer(torch.nn.ModuleList(layers))
            for number, ids in enumerate(ahead(batches())):
                self.step(layers, ids, seen)
                if number % 2:
                    sparse.step()
                    sparse.zero_grad()
            return seen

        self.both(train)

    def test_a_filter(self):
        for count in (1, 2, 3):

            def train(layers, ahead):
                seen = []
                path = layers[0].rows.storage.path + "-filter"
                admits = damo.Filter(path, capacity=10_000, count=count)
                for layer in layers:
                    layer.rows.set_filter(admits)
                for ids in ahead(batches()):
                    self.step(layers, ids, seen)
                return seen

            with self.subTest(count=count):
                self.both(train, f"{count}-")

    def test_rows_that_others_change(self):
        def train(layers, ahead):
            seen, rows = [], layers[0].rows
            checkpoint = rows.storage.path + "-checkpoint"
            for number, ids in enumerate(ahead(batches())):
                self.step(layers, ids, seen)
                if number == 1:
                    rows.insert(ids[:9], torch.full((9, DIM), 3.0))
                    rows.storage.checkpoint(checkpoint)
                if number == 2:
                    rows.delete(ids[5:20])
                if number == 3:
                    rows.storage.load_from_checkpoint(checkpoint)
                if number == 4:
                    rows.clear()
            return seen

        self.both(train)

    def test_batches_that_are_left_out_or_evaluated(self):
        def train(layers, ahead):
            seen = []
            for number, ids in enumerate(ahead(batches())):
                if number == 2:
                    continue
                if number == 3:
                    [layer.eval() for layer in layers]
                    seen.extend(self.read(layer, ids).clone() for layer in layers)
                    [layer.train() for layer in layers]
                if number == 4:  # Other ids than were read ahead.
                    ids = ids.flip(0)
                self.step(layers, ids, seen)
            return seen

        self.both(train)

    def test_memory_of_ids_that_is_used_again(self):
        made, memory = self.gpu(), torch.empty(753, dtype=torch.int64)
        layer = self.layers("one")[0]
        loader = (memory.copy_(ids) for ids in batches())
        # Prefetch has taken the next batch by now, so memory holds that batch's ids.
        for _ in damo.torch.Prefetch(loader, lambda ids: [(layer, ids)], device=GPU):
            rows = self.read(layer, memory)
            self.assertTrue((rows.detach().numpy() == layer.rows.peek(memory)[0]).all())
            rows.square().sum().backward()
            memory.fill_(7)
        self.assertTrue(any(is_beside for is_beside, _ in made.sent))

    def test_a_loop_that_ends_early_leaves_nothing(self):
        self.gpu()
        layer = self.layers("one")[0]
        made = damo.torch.Prefetch(batches(), lambda ids: [(layer, ids)], device=GPU)
        for ids in made:
            self.read(layer, ids).sum().backward()
            break
        self.assertEqual(len(layer.reader.ahead._coming), 0)
        with self.assertRaises(OSError):
            for ids in made:
                raise OSError
        del ids
        self.assertEqual(len(layer.reader.ahead._coming), 0)

    def test_wrong_ids_are_refused_in_the_loop(self):
        self.gpu()
        layer = self.layers("one")[0]
        for wrong in (torch.tensor([2.5]), [1, 2]):
            with self.assertRaisesRegex(TypeError, "ids must be a torch.Tensor of int64"):
                list(damo.torch.Prefetch([0, wrong], lambda ids: [(layer, ids)], "cuda"))

    def test_what_is_no_pair_is_refused(self):
        layer, prefetch = self.layers("one")[0], damo.torch.Prefetch
        for wrong in (layer, [layer], None):
            self.assert_fails(TypeError, ["function of a batch"], prefetch, [0, 1], wrong)
        ids = torch.tensor([1])
        for pairs in ([layer], (layer, ids), {"a": ids}, [(layer.rows, ids)], [ids]):
            words = ["pairs of a layer", "among them"]
            self.assert_fails(TypeError, words, list, prefetch([0, 1], lambda _: pairs))
        self.assertEqual(len(layer.rows), 0)

    def test_what_cannot_be_read_ahead_is_looked_up_anew(self):
        self.gpu()
        layer = self.layers("one")[0]
        with mock.patch.object(_ahead, "flat_ids", side_effect=damo.IoError("the disk is gone")):
            for ids in damo.torch.Prefetch(batches(), lambda ids: [(layer, ids)], device=GPU):
                self.read(layer, ids).sum().backward()
        self.assertEqual(layer.rows.step, 6)

    def test_ids_in_main_memory_are_sent_nowhere(self):
        made = self.gpu()
        layer = self.layers("one")[0]
        for ids in damo.torch.Prefetch(batches(), lambda ids: [(layer, ids)]):
            layer(ids).sum().backward()
        self.assertEqual(made.sent, [])

    def test_a_bag(self):
        self.gpu()
        outputs = []
        for name in ("plain", "ahead"):
            bag = self.layer(DIM, damo.torch.EmbeddingBag, storage=self.storage(name), mode="sum")
            loader = [ids.reshape(-1, 3) for ids in batches()]
            if name == "ahead":
                loader = damo.torch.Prefetch(loader, lambda ids: [(bag, ids)], device=GPU)
            for ids in loader:
                self.read(bag, ids).square().sum().backward()
            outputs.append(torch.from_numpy(bag.rows.peek(torch.cat(batches()))[0]))
        self.assertTrue(torch.equal(*outputs))


class OnGpu(Case):
    def setUp(self):
        if not torch.cuda.is_available():
            self.skipTest("torch finds no GPU")
        super().setUp()

    def test_training_is_bit_for_bit_the_same(self):
        found = []
        for name in ("plain", "ahead"):
            layer = self.layer(16, storage=self.storage(name), optimizer=damo.Adam(lr=0.1))
            dense = torch.nn.Linear(16, 1, bias=False).cuda()
            torch.nn.init.constant_(dense.weight, 0.1)
            loader = [ids.cuda() for ids in batches(count=20, size=20_000)]
            if name == "ahead":
                loader = damo.torch.Prefetch(loader, lambda ids: [(layer, ids)])
            seen = []
            for ids in loader:
                rows = layer(ids)
                seen.append(rows.detach().clone())
                dense(rows).square().sum().backward()
            found.append((torch.stack(seen).cpu(), layer.rows.peek(torch.arange(500))[0]))
        self.assertTrue(torch.equal(found[0][0], found[1][0]))
        self.assertTrue((found[0][1] == found[1][1]).all())


if __name__ == "__main__":
    unittest.main()
