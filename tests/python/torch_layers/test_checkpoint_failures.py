"""Checkpoints that cannot be saved or loaded change nothing. Kills while one is saved."""

import json
import os
import pathlib
import subprocess
import sys
import unittest.mock

# Before the others: without torch it skips this file.
from support import torch  # isort: skip

import numpy as np

import damo
import damo.torch
from checkpoint_support import CheckpointCase
from damo.torch import checkpoint

nn = torch.nn


class Refuses:
    """An object whose load_state_dict takes only its own state."""

    def __init__(self, message):
        self.message = message

    def state_dict(self):
        return {"message": self.message}

    def load_state_dict(self, state):
        if state["message"] != self.message:
            raise OSError(self.message)


class Loads(CheckpointCase):
    def setUp(self):
        super().setUp()
        self.saved = self.trainer("saved").train(3)
        self.saved.save(self.path("checkpoint"), refuses=Refuses("room"))
        self.trainer_now = self.trainer("now").train(5)
        self.before = self.trainer_now.state()
        self.folder_saved = pathlib.Path(
            damo.torch.rows_in_checkpoint(self.path("checkpoint"))[0]
        ).parent

    def assert_nothing_is_loaded(self, kind, words, trainer=None, **more):
        trainer = trainer or self.trainer_now
        before = trainer.state()
        self.assert_fails(kind, words, trainer.load, self.path("checkpoint"), **more)
        self.assertEqual(trainer.state(), before)
        self.assertFalse([name for name in os.listdir(self.folder) if "damo-before" in name])

    def assert_loads(self):
        self.trainer_now.load(self.path("checkpoint"))
        self.assertEqual(self.trainer_now.state(), self.saved.state())

    def test_damage(self):
        manifest = pathlib.Path(self.path("checkpoint")) / "manifest.json"
        for file in (manifest, self.folder_saved / "tensors.pt"):
            whole = file.read_bytes()
            flipped = bytearray(whole)
            flipped[len(whole) // 2] ^= 1
            for data in (
                bytes(flipped),
                whole[:-1],
                whole + b" x",
                b"",
                b"[]",
                whole[: len(whole) // 2],
            ):
                file.write_bytes(data)
                self.assert_nothing_is_loaded(damo.CorruptionError, [str(file)])
            file.write_bytes(whole)
        other = json.loads(manifest.read_bytes())
        other["states"]["more"]["epoch"]["value"] = 7
        whole = manifest.read_bytes()
        manifest.write_text(json.dumps(other))
        self.assert_nothing_is_loaded(damo.CorruptionError, ["manifest.json"])
        manifest.write_bytes(whole)
        self.assert_loads()

    def test_damaged_rows(self):
        for rows in damo.torch.rows_in_checkpoint(self.path("checkpoint")):
            table = next(pathlib.Path(rows).glob("*.sst"))
            whole = table.read_bytes()
            table.unlink()
            self.assert_nothing_is_loaded(damo.Error, [rows])
            flipped = bytearray(whole)
            flipped[len(whole) // 3] ^= 1
            table.write_bytes(bytes(flipped))
            self.assert_nothing_is_loaded((damo.CorruptionError, damo.IoError), [rows])
            table.write_bytes(whole)
            self.assert_loads()
            self.trainer_now.train(2)

    def test_a_path_in_another_checkpoint(self):
        inner = self.folder_saved / "rows-0" / "inner"
        self.assert_fails(
            damo.InvalidArgumentError, ["is in a checkpoint"], self.trainer_now.save, str(inner)
        )
        self.assertFalse(inner.exists())
        self.assert_loads()

    def test_what_is_not_there(self):
        load = damo.torch.load_checkpoint
        os.mkdir(self.path("empty"))
        for path in ("nothing", "empty", "saved 0"):
            self.assert_fails(
                FileNotFoundError, [path], load, self.path(path), self.trainer_now.model
            )
        (self.folder_saved / "tensors.pt").unlink()
        self.assert_nothing_is_loaded(FileNotFoundError, ["tensors.pt"])

    def test_another_model(self):
        several = self.trainer("classes", classes=3)
        self.assert_nothing_is_loaded(RuntimeError, ["last.weight", "size"], several)
        wide = self.trainer_with(dim=5)
        words = ["users: dim was 4, and is 5", "items: dim"]
        self.assert_fails(
            damo.torch.StateError, words, damo.torch.load_checkpoint, self.path("checkpoint"), wide
        )
        together = self.trainer("together", several=False)
        self.assert_nothing_is_loaded(
            damo.torch.StateError, ["several storages are in one"], together
        )
        together.save(self.path("one storage"))
        words = ["users, items", "are in 2"]
        self.assert_fails(
            damo.torch.StateError, words, self.trainer_now.load, self.path("one storage")
        )
        model = nn.Sequential(self.trainer_now.model)
        words = ["users: the model has no", "0.users: the checkpoint has no"]
        self.assert_fails(
            damo.torch.StateError, words, damo.torch.load_checkpoint, self.path("checkpoint"), model
        )

    def trainer_with(self, dim):
        users = self.layer(dim=dim, storage=self.storage("wide users"), optimizer=damo.Adam())
        items = damo.torch.EmbeddingBag(
            self.storage("wide items"), "item", dim, optimizer=damo.Adam()
        )
        model = nn.Module()
        model.users, model.items = users, items
        return model

    def test_optimizers_and_objects_that_do_not_take_their_states(self):
        self.assert_nothing_is_loaded(OSError, ["no room"], refuses=Refuses("no room"))
        model, load = self.trainer_now.model, damo.torch.load_checkpoint
        small = torch.optim.Adam(model.last.parameters(), lr=0.5)
        given = [small, self.trainer_now.sparse]
        self.assert_fails(ValueError, ["group"], load, self.path("checkpoint"), model, given)
        self.assertEqual(self.trainer_now.state(), self.before)
        self.assertEqual(small.param_groups[0]["lr"], 0.5)

    def test_storages_that_cannot_be_loaded(self):
        for layer in (self.trainer_now.model.users, self.trainer_now.model.items):
            # More than an iterator reads at once.
            layer.rows.lookup(np.arange(100, 100_000))
            records = iter(layer.rows)
            next(records)
            steps, weight = layer.rows.step, self.trainer_now.model.last.weight.tolist()
            self.assert_fails(damo.BusyError, [], self.trainer_now.load, self.path("checkpoint"))
            records.close()
            self.assertEqual(layer.rows.step, steps)
            self.assertEqual(self.trainer_now.model.last.weight.tolist(), weight)
            self.assertEqual(layer.rows.peek(99_999)[1], True)
        with damo.Storage(self.path("saved 0"), read_only=True) as looked_at:
            layer = damo.torch.Embedding(looked_at, "user", 4, optimizer=damo.Adam(lr=0.05))
            damo.torch.save_checkpoint(layer, None, self.path("of what is looked at"))
            load = damo.torch.load_checkpoint
            self.assert_fails(
                damo.NotSupportedError,
                ["read_only"],
                load,
                self.path("of what is looked at"),
                layer,
            )
        self.assert_loads()

    def test_the_second_storage_fails(self):
        load = damo.Storage.load_from_checkpoint

        def failing(storage, path):
            if "rows-1" in str(path):
                raise damo.IoError("the disk is gone")
            return load(storage, path)

        with unittest.mock.patch.object(damo.Storage, "load_from_checkpoint", failing):
            self.assert_nothing_is_loaded(damo.IoError, ["the disk is gone"])

        def failing_twice(storage, path):
            if "rows-0" not in str(path):
                raise damo.IoError("the disk is gone")
            return load(storage, path)

        with unittest.mock.patch.object(damo.Storage, "load_from_checkpoint", failing_twice):
            words = ["In doubt are: the rows of <damo.Storage", "now 0'"]
            self.assert_fails(RuntimeError, words, self.trainer_now.load, self.path("checkpoint"))
        self.assertEqual(self.trainer_now.model.last.weight.tolist(), self.before["last.weight"])
        self.assert_loads()

    def test_interrupts(self):
        load, order = nn.Module.load_state_dict, []

        def interrupted(module, *arguments, **options):
            done = load(module, *arguments, **options)
            order.append(module)
            if len(order) == 1:
                raise KeyboardInterrupt
            return done

        with unittest.mock.patch.object(nn.Module, "load_state_dict", interrupted):
            with self.assertRaises(KeyboardInterrupt):
                self.trainer_now.load(self.path("checkpoint"))
        self.assertEqual(self.trainer_now.state(), self.before)


class Saves(CheckpointCase):
    def setUp(self):
        super().setUp()
        self.made = self.trainer().train(2)
        self.made.save(self.path("checkpoint"))
        self.saved = self.made.state()
        self.made.train()

    def assert_not_saved(self, kind, words):
        for path in ("checkpoint", "new"):
            self.assert_fails(kind, words, self.made.save, self.path(path))
        self.assertFalse(
            [name for name in os.listdir(self.folder) if "damo-new" in name or name == "new"]
        )
        again = self.trainer("again")
        again.load(self.path("checkpoint"))
        self.assertEqual(again.state(), self.saved)

    def test_the_disk_is_full(self):
        full = OSError(28, "No space left on device")
        for where, name in (
            (damo.Storage, "checkpoint"),
            (torch, "save"),
            (os, "fsync"),
            (os, "rename"),
        ):
            with self.subTest(name), unittest.mock.patch.object(where, name, side_effect=full):
                for path in ("checkpoint", "new"):
                    self.assert_fails(OSError, ["No space"], self.made.save, self.path(path))
        self.assertFalse(
            [name for name in os.listdir(self.folder) if "damo-new" in name or name == "new"]
        )
        again = self.trainer("again")
        again.load(self.path("checkpoint"))
        self.assertEqual(again.state(), self.saved)
        self.made.save(self.path("checkpoint"))

    def test_training_meanwhile(self):
        write = checkpoint._write

        def trains(*arguments):
            self.made.model.users.rows.apply_gradients([1], np.ones((1, 4), np.float32))
            return write(*arguments)

        with unittest.mock.patch.object(checkpoint, "_write", trains):
            self.assert_not_saved(RuntimeError, ["trained while"])

    def test_a_model_for_serving(self):
        damo.torch.save_for_serving(self.made.model, self.path("serving"))
        served = damo.torch.load_for_serving(self.path("serving"))
        for function, *arguments in (
            (damo.torch.save_checkpoint, served, None, self.path("new")),
            (damo.torch.load_checkpoint, self.path("checkpoint"), served),
        ):
            self.assert_fails(ValueError, ["serving"], function, *arguments)
        self.assertFalse(os.path.exists(self.path("new")))

    def test_kills(self):
        script = pathlib.Path(__file__).with_name("checkpoint_kills.py")
        os.mkdir(self.path("kills"))
        command = [sys.executable, "-W", "error", script, self.path("kills")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended.stderr)
        self.assertGreater(int(ended.stdout), 20)
