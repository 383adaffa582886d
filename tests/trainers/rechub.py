"""DeepFM of torch-rechub with its CTRTrainer: a schedule, early stopping, the best epoch."""

from __future__ import annotations

import damo
import damo.torch
import torch
from checks import AUC, DIGITS, Check
from logs import TEST, TRAIN, VALID
from torch.utils.data import DataLoader
from torch_rechub.basic.callback import EarlyStopper
from torch_rechub.basic.features import SparseFeature
from torch_rechub.models.ranking import DeepFM
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import TorchDataset

PACKAGE = "torch-rechub"
# Smooth, as checks.SMOOTH.
NET = {"dims": [32], "dropout": 0.0, "activation": "sigmoid"}


class Best(EarlyStopper):
    """EarlyStopper on damo: saves and loads rows, too."""

    def __init__(self, path, model, patience):  # damo
        super().__init__(patience)  # damo
        self.path, self.model = path, model  # damo

    def stop_training(self, val_auc, weights):  # damo
        best = self.best_auc  # damo
        stops = super().stop_training(val_auc, weights)  # damo
        if self.best_auc > best:  # damo
            damo.torch.save_checkpoint(self.model, None, self.path)  # damo
        if stops:  # damo
            damo.torch.load_checkpoint(self.path, self.model)  # damo
        return stops  # damo


def train(log, storage, folder, make_dense, rows, epochs, patience=None):
    features = [SparseFeature(f"f{field}", size, 8) for field, size in enumerate(log.sizes)]
    model = DeepFM(features, features, NET)
    if storage:
        damo.torch.convert(model, storage, optimizer=rows)  # damo
        dense, make_dense = make_dense, lambda p: damo.torch.Optimizer(dense(p), model)  # damo
    trainer = CTRTrainer(
        model,
        make_dense,
        {},
        scheduler_fn=torch.optim.lr_scheduler.StepLR,
        scheduler_params={"step_size": 1, "gamma": 0.7},
        n_epoch=epochs,
        earlystop_patience=patience or 10,
        model_path=folder,
    )
    if storage and patience:
        trainer.early_stopper = Best(f"{folder}/best", model, patience)  # damo
    loaders = {
        part: DataLoader(TorchDataset(*log.columns(part)), 512, shuffle=part == TRAIN)
        for part in (TRAIN, VALID, TEST)
    }
    trainer.fit(loaders[TRAIN], loaders[VALID] if patience else None)
    return trainer.predict(model, loaders[TEST])


def after(log, storage, folder):
    """The trainer is made before the model is converted, and then gets another optimizer."""
    features = [SparseFeature(f"f{field}", size, 8) for field, size in enumerate(log.sizes)]
    model = DeepFM(features, features, NET)
    options = {"lr": 0.5}
    trainer = CTRTrainer(model, torch.optim.SGD, options, n_epoch=2, model_path=folder)
    if storage:
        damo.torch.convert(model, storage, optimizer=damo.SGD(0.5))  # damo
        dense = torch.optim.SGD(model.parameters(), **options)  # damo
        trainer.optimizer = damo.torch.Optimizer(dense, model)  # damo
    loaders = {
        part: DataLoader(TorchDataset(*log.columns(part)), 512, shuffle=part == TRAIN)
        for part in (TRAIN, TEST)
    }
    trainer.fit(loaders[TRAIN])
    return trainer.predict(model, loaders[TEST])


def sgd(log, storage, folder):
    return train(log, storage, folder, lambda p: torch.optim.SGD(p, 0.5), damo.SGD(0.5), 3)


def adagrad(log, storage, folder):
    # From 0 a rounding error would make as large a first step as a gradient does.
    dense = lambda p: torch.optim.Adagrad(p, 0.1, initial_accumulator_value=0.1)  # noqa: E731
    rows = damo.Adagrad(0.1, initial_accumulator_value=0.1)
    return train(log, storage, folder, dense, rows, 10, patience=1)


def adam(log, storage, folder):
    dense = lambda p: torch.optim.Adam(p, 0.01)  # noqa: E731
    return train(log, storage, folder, dense, damo.Adam(0.01), 10, patience=1)


CHECKS = [
    Check("SGD with StepLR", sgd, DIGITS, (train,)),
    Check("SGD, converted after the trainer was made", after, DIGITS, (after,)),
    Check("Adagrad, StepLR, early stopping, best weights", adagrad, DIGITS, (train, Best)),
    Check("Adam (dense) and damo.Adam, the same", adam, AUC, (train, Best)),
]
