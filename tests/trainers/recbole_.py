"""DeepFM of RecBole with its Trainer: clipping, early stopping, and the best model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from checks import AUC, DIGITS, Check
from logs import TEST, TRAIN, VALID

# RecBole uses names of NumPy 1.
for name, kind in (("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
    if not hasattr(np, name):
        setattr(np, name, kind)
# RecBole saves whole objects, which torch.load refuses by default since torch 2.6.
os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")

import damo  # noqa: E402
import damo.torch  # noqa: E402
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.model.context_aware_recommender import DeepFM  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402
from recbole.utils import init_seed  # noqa: E402

PACKAGE = "recbole"


def write(log, folder):
    """The log as RecBole's files, one for each part."""
    place = Path(folder, "log")
    place.mkdir()
    fields = [f"f{field}" for field in range(len(log.sizes))]
    for part in (TRAIN, VALID, TEST):
        with open(place / f"log.{part}.inter", "w", encoding="ascii") as file:
            print(*(f"{name}:token" for name in fields), "label:float", sep="\t", file=file)
            for ids, click in zip(*log.parts[part]):
                print(*ids, click, sep="\t", file=file)
    return fields


class OnDamo(Trainer):  # damo
    """Saves and loads rows wherever RecBole saves and loads the rest."""

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):  # damo
        damo.torch.save_checkpoint(self.model, None, f"{self.checkpoint_dir}/rows")  # damo
        super()._save_checkpoint(epoch, verbose, **kwargs)  # damo

    def evaluate(self, eval_data, load_best_model=True, **kwargs):  # damo
        if load_best_model:  # damo
            damo.torch.load_checkpoint(f"{self.checkpoint_dir}/rows", self.model)  # damo
        return super().evaluate(eval_data, load_best_model, **kwargs)  # damo


def train(log, storage, folder, learner, rate, rows, clip):
    fields = write(log, folder)
    config = Config(
        model="DeepFM",
        dataset="log",
        config_dict={
            "data_path": folder,
            "benchmark_filename": [TRAIN, VALID, TEST],
            "USER_ID_FIELD": fields[0],
            "ITEM_ID_FIELD": fields[1],
            "LABEL_FIELD": "label",
            "load_col": {"inter": [*fields, "label"]},
            "eval_args": {
                "split": {"LS": "valid_and_test"},
                "mode": "labeled",
                "order": "RO",
                "group_by": None,
            },
            "metrics": ["AUC"],
            "valid_metric": "AUC",
            "train_batch_size": 512,
            "eval_batch_size": 1024,
            "learner": learner,
            "learning_rate": rate,
            "clip_grad_norm": {"max_norm": clip},
            "dropout_prob": 0.0,
            "mlp_hidden_size": [32],
            "embedding_size": 8,
            "epochs": 8,
            "stopping_step": 1,
            "checkpoint_dir": f"{folder}/saved",
            "use_gpu": False,
            "show_progress": False,
            "nproc": 1,
        },
    )
    init_seed(1, True)
    parts = data_preparation(config, create_dataset(config))
    init_seed(1, True)
    model = DeepFM(config, parts[0]._dataset)
    trainer = OnDamo(config, model) if storage else Trainer(config, model)
    if storage:
        # The trainer's optimizer has the old weights, so another one is made.
        damo.torch.convert(model, storage, optimizer=rows)  # damo
        trainer.optimizer = damo.torch.Optimizer(trainer._build_optimizer(), model)  # damo
    trainer.fit(parts[0], parts[1], verbose=False, show_progress=False)
    trainer.evaluate(parts[2], load_best_model=True)
    model.eval()
    with torch.no_grad():
        return torch.cat([model.predict(batch[0]) for batch in parts[2]]).numpy()


def sgd(log, storage, folder):
    return train(log, storage, folder, "sgd", 0.2, damo.SGD(0.2), 0.1)


def adam(log, storage, folder):
    return train(log, storage, folder, "adam", 0.005, damo.Adam(0.005), 10.0)


CHECKS = [
    Check("SGD, clipped, early stopping, best model", sgd, DIGITS, (train, OnDamo)),
    Check("Adam (dense) and damo.Adam, the same", adam, AUC, (train, OnDamo)),
]
