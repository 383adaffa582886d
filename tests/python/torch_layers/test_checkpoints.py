"""save_checkpoint and load_checkpoint: training that resumes reaches the same numbers."""

import collections
import os
import random

# Before the others: without torch it skips this file.
from support import torch  # isort: skip

import numpy as np

import damo
import damo.torch
from checkpoint_support import CheckpointCase

nn = torch.nn


class Together(CheckpointCase):
    def test_training_goes_on_to_the_same_numbers(self):
        expected = self.trainer("whole").train(8).state()
        first = self.trainer("first").train(4)
        first.save(self.path("checkpoint"))
        again = self.trainer("again")
        again.load(self.path("checkpoint"))
        self.assertEqual(again.state(), first.state())
        self.assertEqual(again.train(4).state(), expected)
        # The first can be set back any number of times.
        for more in (3, 1):
            first.train(more)
            first.load(self.path("checkpoint"))
            self.assertEqual(first.train(4).state(), expected)

    def test_early_stopping_with_best_weights(self):
        """Dense part and rows are those of the best epoch."""
        trainer = self.trainer()
        best, states = None, []
        for epoch, score in enumerate((0.5, 0.7, 0.6, 0.65)):
            trainer.train(2)
            states.append(trainer.state())
            if best is None or score > best:
                best = score
                trainer.save(self.path("best"), score=score)
        # Loading the dense part alone is refused.
        dense = self.trainer("dense")
        dense.load(self.path("best"))
        state = dense.model.state_dict()
        load = trainer.model.load_state_dict
        self.assert_fails(
            damo.torch.StateError, ["users", "items", "step 4", "step 8"], load, state
        )
        self.assertEqual(trainer.state(), states[3])
        self.assertEqual(trainer.load(self.path("best"))["score"], 0.7)
        self.assertEqual(trainer.state(), states[1])

    def test_a_checkpoint_is_replaced(self):
        trainer = self.trainer().train()
        trainer.save(self.path("last"))
        for _ in range(2):
            trainer.train()
            trainer.save(self.path("last"))
        state = trainer.state()
        self.assert_fails(
            FileExistsError, ["overwrite"], trainer.save, self.path("last"), overwrite=False
        )
        self.assertEqual(self.trainer("again").load(self.path("last"))["epoch"], 3)
        trainer.train()
        trainer.load(self.path("last"))
        self.assertEqual(trainer.state(), state)
        # The old checkpoint's files are gone.
        self.assertEqual(len(os.listdir(self.path("last"))), 2)
        self.assertFalse([name for name in os.listdir(self.folder) if ".damo" in name])

    def test_links_lead_to_what_is_replaced(self):
        trainer = self.trainer().train()
        trainer.save(self.path("epoch 1"))
        os.symlink("epoch 1", self.path("best"))
        trainer.train().save(self.path("best"))
        self.assertTrue(os.path.islink(self.path("best")))
        self.assertEqual(trainer.load(self.path("epoch 1"))["epoch"], 2)

    def test_only_checkpoints_and_empty_folders_are_replaced(self):
        trainer = self.trainer().train()
        os.mkdir(self.path("empty"))
        trainer.save(self.path("empty"))
        trainer.load(self.path("empty"))
        os.mkdir(self.path("full"))
        for name in ("full/file", "file"):
            with open(self.path(name), "w") as file:
                file.write("precious")
        for name in ("full", "file", "full/file", "first 0"):
            self.assert_fails(FileExistsError, [name], trainer.save, self.path(name))
        with open(self.path("full/file")) as file:
            self.assertEqual(file.read(), "precious")
        for name in ("first 0/new", "first 1/journal/new"):
            self.assert_fails(ValueError, ["a path outside"], trainer.save, self.path(name))
            self.assertFalse(os.path.exists(self.path(name)))

    def test_the_rows_can_be_opened(self):
        trainer = self.trainer().train(2)
        trainer.save(self.path("saved"))
        places = damo.torch.rows_in_checkpoint(self.path("saved"))
        self.assertEqual(len(places), 2)
        for place, layer in zip(places, (trainer.model.users, trainer.model.items)):
            with damo.Storage(place, read_only=True) as rows:
                self.assertEqual(rows.row_count(), len(layer.rows))
        trainer.load(self.path("saved"))
        # One of them may be trained as a storage. Then the checkpoint cannot be loaded.
        with damo.Storage(places[0]) as storage:
            rows = storage.embedding("user", dim=4, optimizer=damo.Adam())
            self.assertEqual(rows.step, 2)
            self.assert_fails(damo.BusyError, [places[0]], trainer.load, self.path("saved"))
            rows.apply_gradients([1], np.ones((1, 4), np.float32))
        before = trainer.state()
        self.assert_fails(
            damo.torch.StateError, ["users", "step 2", "at 3"], trainer.load, self.path("saved")
        )
        self.assertEqual(trainer.state(), before)

    def test_optimizers_may_be_one_several_or_none(self):
        trainer = self.trainer().train()
        save, load = damo.torch.save_checkpoint, damo.torch.load_checkpoint
        for given in (trainer.sparse, [trainer.dense], (trainer.dense, trainer.sparse), None, []):
            save(trainer.model, given, self.path("saved"))
            self.assertEqual(load(self.path("saved"), trainer.model, given), {})
            self.assertEqual(load(self.path("saved"), trainer.model), {})
        self.assert_fails(
            ValueError,
            ["0 optimizers", "1 are"],
            load,
            self.path("saved"),
            trainer.model,
            trainer.dense,
        )
        self.assert_fails(TypeError, ["float"], save, trainer.model, 0.5, self.path("other"))
        self.assertFalse(os.path.exists(self.path("other")))

    def test_rates_that_were_set_come_back(self):
        layer = self.layer()
        layer.rows.optimizer.learning_rate = 0.125
        damo.torch.save_checkpoint(layer, None, self.path("saved"))
        other = self.layer(storage=self.storage("other"))
        damo.torch.load_checkpoint(self.path("saved"), other)
        self.assertEqual(other.rows.optimizer.learning_rate, 0.125)

    def test_a_model_without_layers(self):
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        expected = {name: value.clone() for name, value in model.state_dict().items()}
        damo.torch.save_checkpoint(model, None, self.path("dense"), note="none")
        for parameter in model.parameters():
            nn.init.constant_(parameter, 7)
        self.assertEqual(damo.torch.load_checkpoint(self.path("dense"), model), {"note": "none"})
        for name, value in model.state_dict().items():
            self.assertTrue(torch.equal(value, expected[name]))


class More(CheckpointCase):
    def test_values_come_back(self):
        layer = self.layer()
        draw = random.Random(1)
        values = {
            "epoch": 3,
            "best": float("inf"),
            "names": ["a", ("b", None), True],
            "nested": {"x": {1: 2.5, "y": [b"bytes", bytearray(b"more")]}, (1, "t"): {3, 4}},
            "count": collections.Counter("hello"),
            "complex": 1 + 2j,
            "dtype": [torch.float16, torch.device("cpu")],
            "random": draw.getstate(),
            "numpy random": np.random.RandomState(3).get_state(),
            "large": [2**80, {"__damo__": "tensor", "value": 0}],
            "array": np.arange(6, dtype=np.uint16).reshape(2, 3),
        }
        tensors = {
            "torch random": torch.get_rng_state(),
            "half": torch.ones(2, dtype=torch.bfloat16),
        }
        scalars = {"step": np.int64(7), "score": np.float32(0.5), "flag": np.bool_(True)}
        damo.torch.save_checkpoint(layer, None, self.path("saved"), **values, **tensors, **scalars)
        found = damo.torch.load_checkpoint(self.path("saved"), layer)
        np.testing.assert_array_equal(found.pop("array"), values.pop("array"))
        np.testing.assert_array_equal(found["numpy random"][1], values["numpy random"][1])
        np.random.RandomState().set_state(found.pop("numpy random"))
        del values["numpy random"]
        for name, value in tensors.items():
            self.assertTrue(torch.equal(found.pop(name), value))
        self.assertEqual(
            {name: found.pop(name) for name in scalars}, {"step": 7, "score": 0.5, "flag": True}
        )
        values["nested"]["x"]["y"][1] = b"more"
        self.assertEqual(found, values)
        random.Random().setstate(found["random"])

    def test_objects_take_their_states(self):
        layer = self.layer()
        dense = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)
        scheduler = torch.optim.lr_scheduler

        def schedules():
            return {
                "one cycle": scheduler.OneCycleLR(dense, 0.1, total_steps=10),
                "plateau": scheduler.ReduceLROnPlateau(dense),
                "function": scheduler.LambdaLR(dense, lambda epoch: 0.5**epoch),
                "steps": scheduler.MultiStepLR(dense, [2, 2, 5]),
                "warm": scheduler.CosineAnnealingWarmRestarts(dense, 3),
            }

        made = schedules()
        dense.step()
        for schedule in made.values():
            schedule.step(*([1.0] if "Plateau" in type(schedule).__name__ else []))
        model = nn.Linear(1, 1)
        damo.torch.save_checkpoint(layer, dense, self.path("saved"), **made, other=model)
        again, target = schedules(), nn.Linear(1, 1)
        found = damo.torch.load_checkpoint(self.path("saved"), layer, dense, **again, other=target)
        self.assertEqual(found, {})
        self.assertTrue(torch.equal(target.weight, model.weight))
        for name, schedule in again.items():
            self.assertEqual(schedule.last_epoch, made[name].last_epoch, name)
            schedule.step(*([1.0] if name == "plateau" else []))
        # A state for which no object is given is returned.
        found = damo.torch.load_checkpoint(self.path("saved"), layer)
        self.assertEqual(found["steps"]["milestones"], collections.Counter({2: 2, 5: 1}))

    def test_what_cannot_be_saved_is_named_and_nothing_is_made(self):
        layer = self.layer()
        save = damo.torch.save_checkpoint
        for value, words in (
            (object(), ["more_value is a object"]),
            ({"a": [1, lambda: 0]}, ["more_value['a'][1] is a function"]),
            (np.array([object()]), ["ndarray"]),
            (layer.rows, ["Embedding"]),
        ):
            self.assert_fails(
                TypeError, words, save, layer, None, self.path("saved"), more_value=value
            )
            self.assertFalse(os.path.exists(self.path("saved")))

    def test_either_order_of_arguments_loads(self):
        layer = self.layer()
        optimizer = damo.torch.SparseOptimizer(layer)
        save, load = damo.torch.save_checkpoint, damo.torch.load_checkpoint
        save(layer, optimizer, self.path("saved"), epoch=3)
        for arguments in (
            (self.path("saved"), layer, optimizer),
            (layer, optimizer, self.path("saved")),
            (layer, None, self.path("saved")),
        ):
            self.assertEqual(load(*arguments), {"epoch": 3})
        named = {"model": layer, "optimizer": optimizer, "path": self.path("saved")}
        self.assertEqual(load(**named), {"epoch": 3})
        self.assert_fails(
            TypeError, ["model must be", "str"], save, self.path("saved"), layer, optimizer
        )
        self.assert_fails(
            TypeError, ["model must be", "SparseOptimizer"], load, self.path("saved"), optimizer
        )
        self.assert_fails(
            TypeError, ["path must be", "order"], load, layer, self.path("saved"), optimizer
        )

    def test_names_that_are_not_there(self):
        layer = self.layer()
        damo.torch.save_checkpoint(layer, None, self.path("saved"), epoch=3)
        load = damo.torch.load_checkpoint
        self.assertEqual(
            load(self.path("saved"), layer, epoch=0, best=1.5), {"epoch": 3, "best": 1.5}
        )
        self.assert_fails(
            KeyError,
            ["'schedule'", "none"],
            load,
            self.path("saved"),
            layer,
            schedule=nn.Linear(1, 1),
        )
        self.assert_fails(
            KeyError, ["'epoch'"], load, self.path("saved"), layer, epoch=nn.Linear(1, 1)
        )
