"""Lightning with the callback Rows: best, last, resume, early stopping, lr_find."""

import importlib.util
import logging
import os
import unittest
import warnings

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch

nn = torch.nn

if importlib.util.find_spec("lightning") is None:
    raise unittest.SkipTest("Lightning is not installed (pip install lightning)")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Of what Lightning imports.
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint
    from lightning.pytorch.tuner import Tuner

    from damo.torch.lightning import Rows, load_rows

SAMPLES = 40
# Scores of the epochs: the best is in the midst of training.
SCORES = [0.5, 0.2, 0.3, 0.4, 0.5, 0.6]


class Model(lightning.LightningModule):
    def __init__(self, layer, lr=0.05):
        super().__init__()
        self.table, self.dense = layer, nn.Linear(4, 1)
        self.lr, self.scores = lr, []

    def training_step(self, batch, _number):
        ids, clicks = batch
        return nn.functional.mse_loss(self.dense(self.table(ids)).squeeze(1), clicks)

    def validation_step(self, batch, _number):
        # Scores do not depend on the weights, so that the best epoch is not the last.
        loss = self.training_step(batch, 0) if self.trainer.state.fn != "fit" else 0.0
        self.log("measured", float(loss))
        self.log("score", SCORES[min(self.current_epoch, len(SCORES) - 1)])

    def configure_optimizers(self):
        dense = [p for name, p in self.named_parameters() if not name.endswith("anchor")]
        return torch.optim.Adam(dense, lr=self.lr)


def batches():
    torch.manual_seed(1)
    ids = torch.randint(0, 30, (SAMPLES,))
    data = torch.utils.data.TensorDataset(ids, (ids % 3).float())
    return torch.utils.data.DataLoader(data, batch_size=8)


class Trains(Case):
    def setUp(self):
        super().setUp()
        caught = warnings.catch_warnings()
        caught.__enter__()
        self.addCleanup(caught.__exit__, None, None, None)
        warnings.simplefilter("ignore")  # Of Lightning: workers, loggers, an existing folder.
        for name in (
            "lightning.pytorch",
            "lightning.fabric",
            "lightning.pytorch.utilities.rank_zero",
        ):
            logging.getLogger(name).setLevel(logging.ERROR)

    def model(self, name="table"):
        torch.manual_seed(2)
        return Model(self.layer(storage=self.storage(name), optimizer=damo.Adam(lr=0.05)))

    def trainer(self, *callbacks, epochs=4, rows=True):
        added = [Rows()] if rows else []
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return lightning.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            callbacks=[*callbacks, *added],
            enable_checkpointing=bool(callbacks),
            num_sanity_val_steps=0,
            default_root_dir=self.folder,
            **quiet,
        )

    def checkpoints(self, **options):
        options = {"monitor": "score", "save_top_k": 1, "save_last": True, **options}
        return ModelCheckpoint(dirpath=self.path("checkpoints"), **options)

    def state(self, model):
        records = [(r.key, r.update_num, *r.weights, *r.state) for r in model.table.rows]
        return model.table.rows.step, records, model.dense.weight.tolist()

    def test_best_and_last(self):
        for last in (True, "link"):
            with self.subTest(last):
                self.check_best_and_last(last)

    def check_best_and_last(self, last):
        model, folder = self.model(f"table {last}"), self.path(f"checkpoints {last}")
        states = []
        noted = LambdaCallback(on_train_epoch_end=lambda *_: states.append(self.state(model)))
        best = ModelCheckpoint(folder, monitor="score", save_top_k=2, save_last=last)
        latest = ModelCheckpoint(folder, filename="latest")
        trainer = self.trainer(noted, best, latest)
        trainer.fit(model, batches(), batches())
        self.assertEqual(self.state(model), states[3])
        # "last" is the last one that this callback saved, and it saves the best ones.
        expected = {"best": 1, "last": 2, latest.best_model_path: 3}
        for path, epoch in expected.items():
            trainer.validate(model, batches(), ckpt_path=path, verbose=False)
            self.assertEqual(self.state(model), states[epoch], path)
        names = os.listdir(folder)
        files = [name for name in names if name.endswith(".ckpt")]
        self.assertEqual(len(files), 4)
        rows = [f"{name}.rows" for name in files if not os.path.islink(f"{folder}/{name}")]
        self.assertEqual(sorted(names), sorted(files + rows))
        for name in rows:
            self.assertEqual(len(os.listdir(f"{folder}/{name}")), 1)

    def test_resuming_goes_on_to_the_same_numbers(self):
        whole = self.model("whole")
        self.trainer(epochs=4).fit(whole, batches())
        first = self.model("first")
        self.trainer(self.checkpoints(monitor=None), epochs=2).fit(first, batches())
        again = self.model("again")
        path = os.path.join(self.path("checkpoints"), "last.ckpt")
        self.trainer(self.checkpoints(monitor=None), epochs=4).fit(again, batches(), ckpt_path=path)
        self.assertEqual(self.state(again), self.state(whole))

    def test_early_stopping_with_best_weights(self):
        model, saved = self.model(), self.checkpoints()
        stopping = EarlyStopping("score", patience=2)
        trainer = self.trainer(saved, stopping, epochs=6)
        trainer.fit(model, batches(), batches())
        self.assertEqual((trainer.current_epoch, model.table.rows.step), (4, 20))
        trainer.validate(model, batches(), ckpt_path=saved.best_model_path, verbose=False)
        self.assertEqual(model.table.rows.step, 10)
        measured = float(trainer.callback_metrics["measured"])
        loss = nn.functional.mse_loss
        found = [
            float(loss(model.dense(model.table(ids)).squeeze(1), clicks))
            for ids, clicks in batches()
        ]
        self.assertAlmostEqual(measured, sum(found) / len(found), places=6)

    def test_without_the_callback_it_is_an_error(self):
        model, saved = self.model(), self.checkpoints()
        trainer = self.trainer(saved, rows=False)
        trainer.fit(model, batches(), batches())
        before = self.state(model)
        validate = trainer.validate
        words = ["table", "step 10", "step 20"]
        self.assert_fails(
            damo.torch.StateError, words, validate, model, batches(), ckpt_path="best"
        )
        self.assertEqual(self.state(model), before)

    def test_without_a_trainer(self):
        model, saved = self.model(), self.checkpoints()
        self.trainer(saved).fit(model, batches(), batches())
        path = saved.best_model_path
        state = torch.load(path, weights_only=True)["state_dict"]
        self.assert_fails(damo.torch.StateError, ["step 10"], model.load_state_dict, state)
        load_rows(path, model)
        model.load_state_dict(state)
        self.assertEqual(model.table.rows.step, 10)
        other = self.model("other")
        self.trainer(self.checkpoints(filename="other"), rows=False).fit(
            other, batches(), batches()
        )
        path = os.path.join(self.path("checkpoints"), "other.ckpt")
        self.assert_fails(FileNotFoundError, ["without"], load_rows, path, other)

    def test_lr_find_leaves_no_trace(self):
        model = self.model()
        self.trainer(epochs=1).fit(model, batches())
        before = self.state(model)
        tuner = Tuner(self.trainer(epochs=2))
        tuner.lr_find(model, batches(), num_training=10, update_attr=False)
        self.assertEqual(self.state(model), before)

    def test_remote_paths(self):
        model = self.model()
        trainer = self.trainer(epochs=1)
        trainer.fit(model, batches())
        self.assert_fails(ValueError, ["local"], trainer.save_checkpoint, "memory://bucket/x.ckpt")
