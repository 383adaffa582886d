"""DeepFM of deepctr-torch: fit, predict, fit again, and stopping early with the best epoch."""

from __future__ import annotations

import damo
import damo.torch
import torch
from checks import AUC, DIGITS, SMOOTH, Check
from deepctr_torch.callbacks import Callback, EarlyStopping
from deepctr_torch.inputs import SparseFeat
from deepctr_torch.models import DeepFM
from logs import TEST, TRAIN, VALID

PACKAGE = "deepctr-torch"


def train(log, storage, make_dense, rows, epochs, callbacks=(), again=0):
    features = [SparseFeat(f"f{field}", size, 8) for field, size in enumerate(log.sizes)]
    options = {"dnn_activation": SMOOTH, "l2_reg_linear": 0, "l2_reg_embedding": 0}
    model = DeepFM(features, features, (32,), **options)
    if storage:
        damo.torch.convert(model, storage, optimizer=rows)  # damo
    optimizer = make_dense(model.parameters())
    if storage:
        optimizer = damo.torch.Optimizer(optimizer, model)  # damo
    model.compile(optimizer, "binary_crossentropy", metrics=["auc"])
    x, y = log.columns(TRAIN)
    options = (
        {"validation_data": log.columns(VALID), "callbacks": list(callbacks)} if callbacks else {}
    )
    model.fit(x, y, 512, epochs=epochs, verbose=0, **options)
    if again:
        model.predict(log.columns(TEST)[0])
        model.fit(x, y, 512, epochs=again, verbose=0)
    return model.predict(log.columns(TEST)[0])


class Best(Callback):
    """Keeps the model of the best epoch, and puts it back at the end."""

    def __init__(self, path, on_damo):
        super().__init__()
        self.path, self.on_damo, self.best = path, on_damo, 0.0

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_auc"] <= self.best:
            return
        self.best = logs["val_auc"]
        if self.on_damo:
            damo.torch.save_checkpoint(self.model, self.model.optim, self.path)  # damo
        else:
            torch.save(self.model.state_dict(), self.path)

    def on_train_end(self, logs=None):
        if self.on_damo:
            damo.torch.load_checkpoint(self.path, self.model, self.model.optim)  # damo
        else:
            self.model.load_state_dict(torch.load(self.path))


def torch_adagrad(parameters):
    # From 0 a rounding error would make as large a first step as a gradient does.
    return torch.optim.Adagrad(parameters, 0.05, initial_accumulator_value=0.1)


def damo_adagrad():
    return damo.Adagrad(0.05, initial_accumulator_value=0.1)


def sgd(log, storage, folder):
    return train(log, storage, lambda p: torch.optim.SGD(p, 0.0005), damo.SGD(0.0005), 1, again=1)


def adagrad(log, storage, folder):
    return train(log, storage, torch_adagrad, damo_adagrad(), 2)


def stopping(make_dense, rows):
    def program(log, storage, folder):
        stop = EarlyStopping("val_auc", patience=1, mode="max")
        callbacks = [stop, Best(f"{folder}/best", storage is not None)]
        return train(log, storage, make_dense, rows(), 8, callbacks)

    return program


CHECKS = [
    Check("SGD; fit, predict, fit again", sgd, DIGITS, (train,)),
    Check("Adagrad", adagrad, DIGITS, (train,)),
    Check(
        "Adagrad, early stopping, best weights",
        stopping(torch_adagrad, damo_adagrad),
        DIGITS,
        (train, Best),
    ),
    Check(
        "Adam (dense) and damo.Adam, early stopping",
        stopping(lambda p: torch.optim.Adam(p, 0.005), lambda: damo.Adam(0.005)),
        AUC,
        (train, Best),
    ),
]
