"""Readers: where a layer's rows come from, a group of an open storage or a table for serving.

Flat ids go in, and rows come out. Knows tensors and addresses, but no layers: bags are in bag.py.
_ids.flat_ids has refused tracers before ids come here.
"""

from __future__ import annotations

import numpy as np
import torch

from .. import _c_api
from .._copies import refusal_of_model
from .._embedding import Embedding
from .._table import Table
from ._ahead import Ahead, RowsAhead, can_be_sent
from ._device import rows_for
from ._gradients import Gradients, Read, lookup
from ._ids import check_ids, flat_ids
from ._passes import is_under_way, passes
from ._ranks import warn_of_ranks
from ._tracers import not_compiled, refuse_tracers


_IS_ANY_AUTOCAST = getattr(torch._C, "_is_any_autocast_enabled", None)
_AUTOCAST_DTYPE = getattr(torch, "get_autocast_dtype", None)


def _is_autocast_to_half() -> bool:
    if _AUTOCAST_DTYPE is None:  # Before torch 2.4 only GPUs have float16.
        return torch.is_autocast_enabled() and torch.get_autocast_gpu_dtype() == torch.float16
    devices: tuple[str, ...] = ("mps", "cpu", "cuda", "xpu")
    if _IS_ANY_AUTOCAST is not None and not _IS_ANY_AUTOCAST():
        devices = devices[:1]  # Which the question leaves out.
    return any(
        torch.is_autocast_enabled(on) and _AUTOCAST_DTYPE(on) == torch.float16
        for on in devices
    )


def check_scaling(applies_in_backward: bool) -> None:
    """Raises RuntimeError under autocast to float16 if backward applies gradients.

    They would be scaled, and steps of a wrong size.
    """
    if applies_in_backward and _is_autocast_to_half():
        raise RuntimeError(
            "damo.torch: under autocast to float16 losses are scaled, and gradients would be "
            "applied scaled. Make a damo.torch.Optimizer(dense, model), or a "
            "SparseOptimizer(model), and step it with the GradScaler (scaler.step(optimizer)), or "
            "use bfloat16"
        )


class StorageReader:
    """Reads rows of a group."""

    def __init__(self, rows: Embedding) -> None:
        self.rows = rows
        self.dim = rows.dim
        self.padding_idx = rows.padding_key
        self.gradients = Gradients(rows)
        self.ahead = Ahead()
        self.read_last: torch.Tensor | None = None
        """The ids that were read last for training, for state_dict. They are not copied: if the
        program changes them, other rows are compared."""

    @not_compiled
    def flat(self, ids: torch.Tensor) -> torch.Tensor:
        """flat_ids(ids), which may have come to main memory ahead."""
        flat = self.ahead.flat(ids)
        if flat is None:
            return flat_ids(ids)
        refuse_tracers(ids)
        return flat

    @not_compiled
    def read(
        self, ids: torch.Tensor, training: bool, anchor: torch.Tensor, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The rows of ids, float32 of shape (ids.numel(), dim), in torch's graph if anchor is.

        Returns them in main memory, and, if they were sent ahead, on device.

        ids: contiguous int64 in main memory.
        training: an id without a row gets one. Within a backward pass, which recomputes a forward
        pass, it reads as its first weights. Without training it reads as zeros.
        device: where the rows will be sent.
        """
        has_gradients = torch.is_grad_enabled() and anchor.requires_grad
        if training or has_gradients:
            warn_of_ranks()
        step = None
        if has_gradients:
            step = passes.step()
            check_scaling(not self.gradients.are_collected)
        if not training:
            read = self._look(ids, device)
        elif step is None and (has_gradients or not is_under_way()):
            read = self._make(ids, device)
        else:
            # torch's checkpoint recomputes a forward pass: these ids were read before.
            read = Read(self._look_again(ids, device))
        if not has_gradients:
            return read.weights, read.sent
        self.read_last = ids
        return lookup(self.gradients, anchor, ids, read, step), read.sent

    def _make(self, ids: torch.Tensor, device: torch.device) -> Read:
        ahead = self.ahead.take(ids, device)
        finished = None if ahead is None else ahead.finish()
        if finished is not None:
            weights, sent = finished
            return Read(weights, sent=sent)
        out = rows_for(device, ids.numel(), self.dim)
        _c_api.damo_embedding_lookup(
            self.rows._use(), ids.data_ptr(), ids.numel(), out.data_ptr(), out.numel()
        )
        return Read(out)

    def _look(self, ids: torch.Tensor, device: torch.device) -> Read:
        out = rows_for(device, ids.numel(), self.dim)
        found = torch.empty(ids.numel(), dtype=torch.uint8, device="cpu")
        _c_api.damo_embedding_peek(
            self.rows._use(),
            ids.data_ptr(),
            ids.numel(),
            out.data_ptr(),
            out.numel(),
            found.data_ptr(),
        )
        return Read(out, found.view(torch.bool))

    def _look_again(self, ids: torch.Tensor, device: torch.device) -> torch.Tensor:
        """What _make returned for these ids, without making rows or counting in a filter."""
        read = self._look(ids, device)
        assert read.found is not None
        for place in (~read.found).nonzero().flatten().tolist():
            key = int(ids[place])
            if key != self.padding_idx:
                read.weights[place] = torch.from_numpy(self._fresh(key))
        return read.weights

    def _fresh(self, key: int) -> np.ndarray:
        row = np.empty(self.dim, np.float32)
        self.rows.initializer.fill(row, key=key, group=self.rows.group)
        return row

    def __reduce__(self) -> str:
        raise refusal_of_model(self.rows.storage.path)

    def prefetch(self, ids: torch.Tensor) -> None:
        _c_api.damo_embedding_prefetch(self.rows._use(), ids.data_ptr(), ids.numel())

    def read_ahead(self, ids: torch.Tensor, device: torch.device | None) -> RowsAhead | None:
        """Begins to read the rows of ids for a lookup on device; None: the device of ids.

        Returns None if they only come into memory, since sending them ahead would not help. Raises
        as check_ids.
        """
        check_ids(ids)
        device = ids.device if device is None else device
        if not can_be_sent(self.rows, ids, device):
            self.prefetch(flat_ids(ids))
            return None
        coming = RowsAhead(self.rows, ids, device)
        self.ahead.add(coming)
        return coming

    def give_up(self, coming: RowsAhead) -> None:
        """Drops rows that read_ahead has begun to read."""
        self.ahead.drop(coming)

    def __repr__(self) -> str:
        return repr(self.rows)


class TableReader:
    """Reads rows of a serving table, which load_for_serving opens. A copy opens the same file."""

    def __init__(self, file: str, group: int, dim: int, padding_idx: int | None) -> None:
        self.file, self.group, self.dim, self.padding_idx = file, group, dim, padding_idx
        self.table: Table | None = None

    def flat(self, ids: torch.Tensor) -> torch.Tensor:
        return flat_ids(ids)

    @not_compiled
    def read(
        self, ids: torch.Tensor, training: bool, anchor: torch.Tensor, device: torch.device
    ) -> tuple[torch.Tensor, None]:
        """The rows of ids, float32 of shape (ids.numel(), dim), in main memory, and None.

        ids: contiguous int64. device: where the rows will be sent.

        Raises RuntimeError in train mode, and for a model that load_for_serving has not opened.
        """
        if self.table is None:
            raise RuntimeError(
                "damo.torch: this model was saved for serving; open it with "
                "damo.torch.load_for_serving"
            )
        if training:
            raise RuntimeError(
                "damo.torch: this model is for serving, its rows are read-only; call model.eval()"
            )
        out = rows_for(device, ids.numel(), self.dim)
        _c_api.damo_table_lookup(
            self.table._use(),
            self.group,
            ids.data_ptr(),
            ids.numel(),
            out.data_ptr(),
            out.numel(),
            None,
        )
        if self.padding_idx is not None:
            # An embedding that was opened without padding_key may have made a row for this id.
            out[ids == self.padding_idx] = 0
        return out, None

    def prefetch(self, ids: torch.Tensor) -> None:
        pass

    def read_ahead(self, ids: torch.Tensor, device: torch.device | None) -> None:
        pass

    def give_up(self, coming: RowsAhead) -> None:
        pass

    def __repr__(self) -> str:
        return f"<table {self.file!r}, group {self.group}, dim {self.dim}>"
