"""Deferred steps, compilers, DataLoaders and prefetching."""

import copy
import gc
import threading
import unittest
import warnings

# Before the others: without torch it skips this file.
from support import Case, close, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn


class OldScaler:
    """The GradScaler that SparseOptimizer sees before torch 2.3, where the real one needs a GPU."""

    def __init__(self, scale):
        self.get_scale = lambda: scale

    def step(self, optimizer):
        assert optimizer._step_supports_amp_scaling
        return optimizer.step(grad_scaler=self)


def scaler(scale):
    newer = getattr(torch.amp, "GradScaler", None)
    if newer is None:
        return OldScaler(scale)
    made = newer("cpu", init_scale=scale)
    made.scale(torch.zeros(()))  # A scaler that has scaled nothing refuses to step.
    return made


class Deferred(Case):
    def setUp(self):
        super().setUp()
        self.table = self.layer(initializer=damo.Zeros(), optimizer=damo.SGD(lr=0.5))
        self.sparse = damo.torch.SparseOptimizer(self.table)

    def weight(self, key):
        return self.table.rows.peek(key)[0][0]

    def test_accumulates(self):
        for ids in ([1, 2], [2]):
            self.table(torch.tensor(ids)).sum().backward()
        self.assertEqual((self.weight(2), self.table.rows.step), (0, 0))
        self.sparse.step()
        self.assertEqual((self.weight(1), self.weight(2), self.table.rows.step), (-0.5, -1, 1))
        self.sparse.step()
        self.assertEqual(self.table.rows.step, 1)

    def test_zero_grad_drops(self):
        self.table(torch.tensor([1])).sum().backward()
        self.sparse.zero_grad()
        self.sparse.step()
        self.assertEqual((self.weight(1), self.table.rows.step), (0, 0))

    def test_scaled_losses(self):
        (self.table(torch.tensor([1])).sum() * 1024).backward()
        scaler(1024.0).step(self.sparse)
        self.assertEqual(self.weight(1), -0.5)
        for _ in range(2):  # One that is not finite is enough.
            (self.table(torch.tensor([1])) * float("inf")).sum().backward()
            (self.table(torch.tensor([1])).sum() * 1024).backward()
            scaler(1024.0).step(self.sparse)
            self.assertEqual((self.weight(1), self.table.rows.step), (-0.5, 1))
        (self.table(torch.tensor([1])).sum() * 1024).backward()
        scaler(1024.0).step(self.sparse)
        self.assertEqual((self.weight(1), self.table.rows.step), (-1, 2))

    def test_infinite_gradients_without_a_scaler_are_an_error(self):
        (self.table(torch.tensor([1])) * float("inf")).sum().backward()
        self.assert_fails(ValueError, ["key 1"], self.sparse.step)
        self.sparse.zero_grad()
        self.table(torch.tensor([1])).sum().backward()
        self.sparse.step()
        self.assertEqual((self.weight(1), self.table.rows.step), (-0.5, 1))

    @unittest.skipUnless(
        hasattr(torch.amp, "GradScaler"), "GradScaler needs a GPU before torch 2.3"
    )
    def test_a_grad_scaler_sees_the_rows(self):
        dense = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(dense.parameters(), lr=0.5)
        scale = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        ids = torch.tensor([1, 2])

        def step(factor=1.0, unscale=False, only_rows=False):
            loss = (dense(self.table(ids).detach()).sum() + self.table(ids).sum() * factor) * 1.0
            scale.scale(loss).backward()
            if unscale:
                scale.unscale_(self.sparse)
            scale.step(self.sparse)
            if not only_rows:
                scale.step(optimizer)
            scale.update()
            optimizer.zero_grad()

        step()
        self.assertEqual((self.weight(1), scale.get_scale()), (-0.5, 8))
        step(unscale=True, only_rows=True)
        self.assertEqual((self.weight(1), scale.get_scale()), (-1, 16))
        # Only the rows overflow: they are not stepped, and the scale goes down.
        step(factor=3e38)
        self.assertEqual((self.weight(1), self.table.rows.step, scale.get_scale()), (-1, 2, 8))
        step(factor=3e38, unscale=True, only_rows=True)
        self.assertEqual((self.weight(1), self.table.rows.step, scale.get_scale()), (-1, 2, 4))
        step()
        self.assertEqual((self.weight(1), self.table.rows.step), (-1.5, 3))

    @unittest.skipUnless(hasattr(torch.amp, "GradScaler"), "float16 on a CPU needs torch 2.3")
    def test_float16_on_a_cpu(self):
        scale = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for layer, fails in (
            (self.table, False),
            (self.layer(storage=self.storage("other")), True),
        ):
            with torch.autocast("cpu", dtype=torch.float16):
                if fails:
                    self.assert_fails(RuntimeError, ["SparseOptimizer"], layer, torch.tensor([1]))
                    continue
                loss = (layer(torch.tensor([1])) @ torch.ones(layer.embedding_dim, 1)).float().sum()
            scale.scale(loss).backward()
            scale.step(self.sparse)
            scale.update()
        self.assertEqual(self.weight(1), -0.5)

    def test_schedules_of_torch(self):
        schedule = torch.optim.lr_scheduler.StepLR(self.sparse, step_size=1, gamma=0.5)
        for _ in range(2):
            self.table(torch.tensor([1])).sum().backward()
            self.sparse.step()
            schedule.step()
        self.assertEqual(self.weight(1), -0.75)
        self.assertEqual(self.table.rows.optimizer.learning_rate, 0.25)

    def test_state_dict(self):
        self.sparse.param_groups[0]["lr"] = 0.125
        other = damo.torch.SparseOptimizer(self.table)
        other.load_state_dict(self.sparse.state_dict())
        self.table(torch.tensor([1])).sum().backward()
        other.step()
        self.assertEqual(self.weight(1), -0.125)

    def test_close(self):
        self.sparse.close()
        self.table(torch.tensor([1])).sum().backward()
        self.assertEqual(self.weight(1), -0.5)

    def test_what_is_refused_is_before_anything_changes(self):
        other = self.layer(storage=self.storage("other"), initializer=damo.Zeros())
        sparse = damo.torch.SparseOptimizer([self.table, other])
        self.sparse.close()
        (
            self.table(torch.tensor([1])).sum() + (other(torch.tensor([1])) * float("nan")).sum()
        ).backward()
        for _ in range(3):
            self.assert_fails(ValueError, ["key 1"], sparse.step)
        self.assertEqual((self.weight(1), self.table.rows.step), (0, 0))
        sparse.zero_grad()
        self.table(torch.tensor([1])).sum().backward()
        sparse.step()
        self.assertEqual((self.weight(1), self.table.rows.step), (-0.5, 1))

    def test_no_gradient_is_lost_between_threads(self):
        ended = threading.Event()

        def backward():
            for _ in range(300):
                self.table(torch.tensor([1])).sum().backward()

        def step():
            while not ended.is_set():
                self.sparse.step()

        threads = [threading.Thread(target=backward) for _ in range(3)]
        stepping = threading.Thread(target=step)
        for thread in [*threads, stepping]:
            thread.start()
        for thread in threads:
            thread.join()
        ended.set()
        stepping.join()
        self.sparse.step()
        self.assertEqual(self.weight(1), -0.5 * 900)

    def test_two_embeddings_of_one_group_make_one_step(self):
        rows = self.table.rows
        same = damo.torch.Embedding(
            rows.storage, "user", 4, optimizer=damo.SGD(lr=0.5), initializer=damo.Zeros()
        )
        self.sparse.close()
        sparse = damo.torch.SparseOptimizer([self.table, same])
        (self.table(torch.tensor([1])).sum() + same(torch.tensor([1])).sum()).backward()
        sparse.step()
        self.assertEqual((self.weight(1), rows.step, len(sparse.param_groups)), (-1, 1, 1))

    def test_one_that_is_gone_collects_no_more(self):
        other = damo.torch.SparseOptimizer(self.table)
        self.sparse.close()
        self.sparse.close()
        self.table(torch.tensor([1])).sum().backward()
        self.assertEqual(self.table.rows.step, 0)
        del other
        gc.collect()
        self.table(torch.tensor([1])).sum().backward()
        self.assertEqual((self.weight(1), self.table.rows.step), (-0.5, 1))

    def test_refuses_other_parameters_and_copies(self):
        self.assert_fails(
            TypeError, ["make another one"], self.sparse.add_param_group, {"params": []}
        )
        self.assert_fails(TypeError, ["cannot be pickled or copied"], copy.deepcopy, self.sparse)

    def test_two_layers_on_one_group_make_one_step(self):
        bag = damo.torch.EmbeddingBag(self.table.rows, mode="sum")
        self.sparse.close()
        sparse = damo.torch.SparseOptimizer([self.table, bag])
        (self.table(torch.tensor([1])).sum() + bag(torch.tensor([[1, 2]])).sum()).backward()
        sparse.step()
        self.assertEqual((self.weight(1), self.weight(2), self.table.rows.step), (-1, -0.5, 1))

    def test_refuses_a_model_without_layers(self):
        self.assert_fails(ValueError, ["layers"], damo.torch.SparseOptimizer, nn.Linear(1, 1))


@unittest.skipUnless(
    hasattr(torch, "compiler") and hasattr(torch.compiler, "disable"),
    "torch.compile needs torch 2.1",
)
class Compiled(Case):
    def setUp(self):
        super().setUp()
        warned = warnings.catch_warnings()
        warned.__enter__()
        self.addCleanup(warned.__exit__, None, None, None)
        # The compiler's own, where it looks at tensors at a graph break.
        warnings.filterwarnings("ignore", "The .grad attribute", UserWarning)

    def test_trains_as_without(self):
        ids = torch.tensor([[1, 2], [3, 1]])
        found = []
        for number, backend in enumerate((None, "eager", "aot_eager")):
            torch.manual_seed(1)
            layer = self.layer(storage=self.storage(f"table {number}"), initializer=damo.Ones())
            model = nn.Sequential(
                layer, nn.Flatten(), nn.Linear(2 * layer.embedding_dim, 1), nn.Tanh()
            )
            called = model if backend is None else torch.compile(model, backend=backend)
            optimizer = torch.optim.SGD(model[2].parameters(), lr=0.5)
            for _ in range(3):
                optimizer.zero_grad()
                called(ids).sum().backward()
                optimizer.step()
            rows, there = layer.rows.peek([1, 2, 3])
            self.assertTrue(there.all())
            model.eval()
            self.assertEqual(layer.rows.step, 3)
            found.append([*rows.ravel(), *called(ids).detach().ravel()])
        close(found[1], found[0])
        close(found[2], found[0])

    def test_a_whole_graph_is_an_error(self):
        layer = self.layer()
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        with self.assertRaisesRegex(Exception, "compiler.disable"):
            compiled(torch.tensor([1]))
        self.assertEqual(layer.rows.step, 0)


class Ids(torch.utils.data.Dataset):
    def __init__(self, layer=None):
        self.layer = layer

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if self.layer is not None:
            return self.layer(torch.tensor([index]))
        return torch.tensor([index, index + 1])


class Loading(Case):
    def test_workers_prepare_ids(self):
        layer = self.layer()
        loader = torch.utils.data.DataLoader(Ids(), batch_size=8, num_workers=2)
        for ids in damo.torch.Prefetch(loader, lambda ids: [(layer, ids)]):
            layer(ids).sum().backward()
        self.assertEqual((len(layer.rows), layer.rows.step), (65, 8))

    def test_a_worker_that_looks_up_gets_an_error(self):
        loader = torch.utils.data.DataLoader(Ids(self.layer()), batch_size=8, num_workers=1)
        self.assert_fails(damo.ForkedError, ["fork"], list, loader)

    def test_prefetch_is_one_ahead_and_loses_nothing(self):
        layer, asked = self.layer(), []
        batches = [torch.tensor([n]) for n in range(4)]
        made = damo.torch.Prefetch(batches, lambda ids: [(layer, asked.append(int(ids)) or ids)])
        self.assertEqual(len(made), 4)
        for number, ids in enumerate(made):
            self.assertEqual(int(ids), number)
            self.assertEqual(asked, list(range(1, min(number + 2, 4))))
        self.assertEqual(list(damo.torch.Prefetch([], lambda ids: [])), [])

    def test_a_loader_that_fails_has_yielded_what_came_before(self):
        def batches():
            yield from (0, 1, 2)
            raise OSError("the disk is gone")

        seen = []
        with self.assertRaises(OSError):
            seen.extend(
                batch
                for batch in damo.torch.Prefetch(batches(), lambda _: [])
                if seen.append(batch)
            )
        self.assertEqual(seen, [0, 1, 2])
