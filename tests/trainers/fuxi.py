"""A DeepFM of FuxiCTR's parts in its BaseModel, which clips, lowers the rate and keeps the best."""

from __future__ import annotations

from pathlib import Path

import damo
import damo.torch
import fuxictr.features
import torch
from checks import AUC, DIGITS, Check
from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from logs import TEST, TRAIN, VALID

PACKAGE = "fuxictr"


class Batches:
    """What FuxiCTR's loaders give: a dict of columns for each batch, clicks among them."""

    def __init__(self, log, part, size=512):
        self.columns, clicks = log.columns(part)
        self.columns["click"] = clicks
        self.shuffles, self.size, self.len = part == TRAIN, size, len(clicks)

    def __len__(self):
        return -(-self.len // self.size)

    def __iter__(self):
        order = torch.randperm(self.len) if self.shuffles else torch.arange(self.len)
        for part in order.split(self.size):
            yield {name: torch.from_numpy(column)[part] for name, column in self.columns.items()}


class DeepFM(BaseModel):
    def __init__(self, features, folder):
        super().__init__(features, "deepfm", verbose=0, model_root=folder, metrics=["AUC"])
        self.embedding = FeatureEmbedding(features, 8)
        self.fm = FactorizationMachine(features)
        self.mlp = MLP_Block(8 * features.num_fields, [32], "ReLU", output_dim=1)
        self.reset_parameters()

    def forward(self, inputs):
        x = self.get_inputs(inputs)
        rows = self.embedding(x)
        scores = self.fm(x, rows) + self.mlp(rows.flatten(start_dim=1))
        return {"y_pred": self.output_activation(scores)}


class OnDamo(DeepFM):  # damo
    """Saves and loads weights with their rows."""

    def save_weights(self, checkpoint):  # damo
        damo.torch.save_checkpoint(self, self.optimizer, checkpoint)  # damo

    def load_weights(self, checkpoint):  # damo
        damo.torch.load_checkpoint(checkpoint, self, self.optimizer)  # damo


def features_of(log, folder):
    features = fuxictr.features.FeatureMap("log", folder)
    features.labels = ["click"]
    for field, size in enumerate(log.sizes):
        features.features[f"f{field}"] = {"type": "categorical", "source": "", "vocab_size": size}
    features.num_fields = len(log.sizes)
    return features


def train(log, storage, folder, make_dense, rows, clip):
    features = features_of(log, folder)
    model = OnDamo(features, folder) if storage else DeepFM(features, folder)
    Path(model.model_dir).mkdir(parents=True, exist_ok=True)
    if storage:
        damo.torch.convert(model, storage, optimizer=rows)  # damo
    model.compile("SGD", "binary_crossentropy", 0.1)
    model.optimizer = make_dense(model.parameters())
    if storage:
        model.optimizer = damo.torch.Optimizer(model.optimizer, model)  # damo
    model.fit(
        Batches(log, TRAIN), epochs=6, validation_data=Batches(log, VALID), max_gradient_norm=clip
    )
    return model.predict(Batches(log, TEST))


def sgd(log, storage, folder):
    return train(log, storage, folder, lambda p: torch.optim.SGD(p, 0.5), damo.SGD(0.5), 0.05)


def adagrad(log, storage, folder):
    # From 0 a rounding error would make as large a first step as a gradient does.
    dense = lambda p: torch.optim.Adagrad(p, 0.1, initial_accumulator_value=0.1)  # noqa: E731
    return train(
        log, storage, folder, dense, damo.Adagrad(0.1, initial_accumulator_value=0.1), 10.0
    )


def adam(log, storage, folder):
    return train(log, storage, folder, lambda p: torch.optim.Adam(p, 0.01), damo.Adam(0.01), 10.0)


BOTH = (train, OnDamo)
CHECKS = [
    Check("SGD, clipped at 0.05, plateau, best weights", sgd, DIGITS, BOTH),
    Check("Adagrad, plateau, early stopping, best", adagrad, DIGITS, BOTH),
    Check("Adam (dense) and damo.Adam, the same", adam, AUC, BOTH),
]
