"""Lightning with automatic optimization: accumulation, clipping, a schedule, the best, going on."""

from __future__ import annotations

import logging
import warnings

import damo
import damo.torch
import damo.torch.lightning
import torch
from checks import DIGITS, Check
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from logs import TEST, TRAIN, VALID
from retold import DeepFM, scores, tensors
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

PACKAGE = "lightning"

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
# About loaders without processes of their own, and checkpoints in the middle of an epoch.
warnings.filterwarnings("ignore", module="lightning")


class Module(LightningModule):
    def __init__(self, log, storage, make_dense, rows):
        super().__init__()
        self.net = DeepFM(log.sizes)
        if storage:
            damo.torch.convert(self.net, storage, optimizer=rows, exist_ok=True)  # damo
        self.make_dense, self.on_damo = make_dense, storage is not None
        self.loss = nn.BCEWithLogitsLoss()

    def training_step(self, batch, _):
        return self.loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("valid_loss", self.loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        optimizer = self.make_dense(self.net.parameters())
        if self.on_damo:
            optimizer = damo.torch.Optimizer(optimizer, self.net)  # damo
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Loader(DataLoader):
    """Batches of a part of the log, in another order each time for the training part."""

    def __init__(self, log, part):
        super().__init__(TensorDataset(*tensors(log, part)), 256, shuffle=part == TRAIN)


def trainer(folder, epochs, callbacks=(), storage=None, **options):
    callbacks = list(callbacks)
    if storage:
        callbacks.append(damo.torch.lightning.Rows())  # damo
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        default_root_dir=folder,
        callbacks=callbacks,
        **options,
    )


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.5)


def adagrad(parameters):
    return torch.optim.Adagrad(parameters, 0.1, initial_accumulator_value=0.1)


def accumulated(log, storage, folder):
    module = Module(log, storage, sgd, damo.SGD(0.5))
    options = {"accumulate_grad_batches": 3, "gradient_clip_val": 0.05}
    trainer(folder, 3, **options).fit(module, Loader(log, TRAIN))
    return scores(module.net, log, TEST)


def best(log, storage, folder):
    module = Module(log, storage, adagrad, damo.Adagrad(0.1, initial_accumulator_value=0.1))
    keep = ModelCheckpoint(f"{folder}/best", monitor="valid_loss")
    stop = EarlyStopping("valid_loss", patience=1)
    used = trainer(folder, 12, [keep, stop], storage)
    used.fit(module, Loader(log, TRAIN), Loader(log, VALID))
    used.validate(module, Loader(log, VALID), ckpt_path="best", verbose=False)
    return scores(module.net, log, TEST)


def resumed(log, storage, folder):
    """Two epochs, and two more in a module and a trainer that are made anew."""
    for epochs, path in ((2, None), (4, f"{folder}/last/last.ckpt")):
        torch.manual_seed(epochs)
        module = Module(log, storage, adagrad, damo.Adagrad(0.1, initial_accumulator_value=0.1))
        keep = ModelCheckpoint(f"{folder}/last", save_last=True)
        trainer(folder, epochs, [keep], storage).fit(module, Loader(log, TRAIN), ckpt_path=path)
    return scores(module.net, log, TEST)


BOTH = (Module, trainer)
CHECKS = [
    Check("SGD, 3 batches a step, clipped, StepLR", accumulated, DIGITS, (Module,)),
    Check("Adagrad, early stopping, ckpt_path='best'", best, DIGITS, BOTH),
    Check("Adagrad, ckpt_path of the last epoch", resumed, DIGITS, BOTH),
]
