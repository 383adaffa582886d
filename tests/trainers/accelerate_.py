"""accelerate: accumulation, clipping, a schedule, and save_state and load_state."""

from __future__ import annotations

import damo
import damo.torch
import torch
from accelerate import Accelerator
from checks import DIGITS, Check
from logs import TEST, TRAIN
from retold import DeepFM, scores, tensors
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

PACKAGE = "accelerate"


def prepared(log, storage, accelerator, make_dense, rows):
    model = DeepFM(log.sizes)
    if storage:
        damo.torch.convert(model, storage, optimizer=rows, exist_ok=True)  # damo
    optimizer = make_dense(model.parameters())
    if storage:
        optimizer = damo.torch.Optimizer(optimizer, model)  # damo
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.9)
    loader = DataLoader(TensorDataset(*tensors(log, TRAIN)), 256, shuffle=True)
    return accelerator.prepare(model, optimizer, schedule, loader)


def epoch(accelerator, model, optimizer, schedule, loader, clip):
    loss_of = nn.BCEWithLogitsLoss()
    for ids, clicks in loader:
        with accelerator.accumulate(model):
            accelerator.backward(loss_of(model(ids), clicks))
            if accelerator.sync_gradients and clip:
                accelerator.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def accumulated(log, storage, folder):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=3)
    parts = prepared(log, storage, accelerator, lambda p: torch.optim.SGD(p, 0.5), damo.SGD(0.5))
    for _ in range(3):
        epoch(accelerator, *parts, clip=0.05)
    return scores(accelerator.unwrap_model(parts[0]), log, TEST)


def resumed(log, storage, folder):
    """Two epochs, and two more with all made anew."""
    for number in range(2):
        torch.manual_seed(number)
        accelerator = Accelerator(cpu=True)
        make_dense = lambda p: torch.optim.Adagrad(
            p, 0.1, initial_accumulator_value=0.1
        )  # noqa: E731
        rows = damo.Adagrad(0.1, initial_accumulator_value=0.1)
        parts = prepared(log, storage, accelerator, make_dense, rows)
        if number:
            if storage:
                storage.load_from_checkpoint(f"{folder}/kept")  # damo
            accelerator.load_state(f"{folder}/state")
        for _ in range(2):
            epoch(accelerator, *parts, clip=None)
        if not number:
            if storage:
                storage.checkpoint(f"{folder}/kept")  # damo
            accelerator.save_state(f"{folder}/state")
    return scores(accelerator.unwrap_model(parts[0]), log, TEST)


CHECKS = [
    Check("SGD, 3 batches a step, clipped, StepLR", accumulated, DIGITS, (prepared,)),
    Check("Adagrad, save_state and load_state", resumed, DIGITS, (prepared, resumed)),
]
