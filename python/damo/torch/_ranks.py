"""The warning in distributed training that each rank has rows of its own."""

from __future__ import annotations

import warnings

import torch

from ._tracers import not_compiled

_is_warned = False


@not_compiled
def warn_of_ranks() -> None:
    """Warns, once a process, if torch.distributed's default group has more than one rank."""
    global _is_warned
    if _is_warned or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return
    ranks = torch.distributed.get_world_size()
    if ranks > 1:
        _is_warned = True
        warnings.warn(
            f"damo.torch: rows belong to this rank alone (rank {torch.distributed.get_rank()} of"
            f" {ranks}). DDP and FSDP average the gradients of dense parameters, and not those of"
            " rows: with a storage a rank the tables drift apart. Train rows in one process, or"
            " give each rank the ids that are its own (python/README, section Distributed"
            " training)",
            RuntimeWarning,
            stacklevel=2,
        )
