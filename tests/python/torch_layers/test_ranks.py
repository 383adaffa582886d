"""Each rank of torch.distributed warns once that its rows are its own. Processes use gloo."""

import subprocess
import sys
import unittest

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch

# Prints for each way to train: how many warnings there were after each of three steps, whether they
# have the right words, and whether rows moved by this rank's gradients.
# The loss is a sum, so each step subtracts the weights of the dense layer from a row. Whatever
# wraps the model, no gradient of a row is divided by the number of ranks.
RANK = """
import sys, warnings
import torch, damo, damo.torch
from torch import nn
from torch.distributed import init_process_group
rank, world, folder, *ways = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=world)
storage = damo.Storage(f"{folder}/rank{rank}", cache_bytes=1 << 24)
layer = damo.torch.Embedding(storage, "user", 4, optimizer=damo.SGD(lr=1.0))
torch.manual_seed(1)
for way in ways:
    damo.torch._ranks._is_warned = False
    first = damo.torch.EmbeddingBag(layer.rows, mode="sum") if way == "bag" else layer
    model = nn.Sequential(first, nn.Flatten(), nn.Linear(4, 1))
    layer.rows.lookup([rank] if way != "score" else [])
    weight, before = model[2].weight.detach().clone(), layer.rows.peek([rank])[0]
    if way == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    elif way == "fully_shard":
        from torch.distributed.fsdp import fully_shard
        fully_shard(model)
    counts = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            if way == "score":
                with torch.no_grad():
                    model.eval()(torch.tensor([[rank]]))
            else:
                model.train()(torch.tensor([[rank]])).sum().backward()
            ours = [str(one.message) for one in caught if "damo.torch" in str(one.message)]
            counts.append(len(ours))
    moved = torch.from_numpy(layer.rows.peek([rank])[0] - before)
    is_own = way == "score" or torch.allclose(moved, -3 * weight, atol=1e-6)
    named = [f"rank {rank} of {world}" in one and "DDP" in one for one in ours]
    print(way, *counts, *named, is_own)
print("rows", *layer.rows.peek([0, 1])[1])
torch.distributed.destroy_process_group()
"""
has_gloo = (
    torch.distributed.is_available()
    and getattr(torch.distributed, "is_gloo_available", lambda: True)()
)


@unittest.skipUnless(has_gloo, "this torch has no gloo")
class Ranks(Case):
    def test_each_rank_warns_once(self):
        ways = ["score", "train", "bag", "ddp"]
        if torch.__version__ >= "2.6":
            ways.append("fully_shard")
        started = [
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(rank), "2", self.folder, *ways],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        for rank, process in enumerate(started):
            out, errors = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, errors)
            trained = [f"{way} 1 1 1 True True" for way in ways[1:]]
            self.assertEqual(
                out.splitlines(), ["score 0 0 0 True", *trained, f"rows {rank == 0} {rank == 1}"]
            )

    def test_one_rank_is_silent(self):
        # -W error makes a warning an error.
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{self.path('init')}", rank=0, world_size=1
        )
        try:
            self.layer()(torch.tensor([1])).sum().backward()
        finally:
            torch.distributed.destroy_process_group()

    def test_without_a_group_nothing_is_said(self):
        self.layer()(torch.tensor([1])).sum().backward()
