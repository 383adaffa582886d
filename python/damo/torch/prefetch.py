"""Prefetch: reads the rows of the next batch while the present one is trained on."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator

import torch

from ._ahead import RowsAhead
from ._collection import Collection
from ._tables import Table
from .embedding import Layer


class Prefetch:
    """Goes through a DataLoader, or anything that yields batches, one batch ahead.

    Before it yields a batch, a thread begins to read the rows of the next one. Training is bit for
    bit what it is without Prefetch. The loader's workers work as ever, and the storage stays in
    this process.

    - On the CPU, rows come into memory.
    - On a GPU, a layer in train mode also gets them sent, on a stream of their own, if they have
      more than 64 KiB. When the layer is called with the same ids, only rows that have changed
      since are sent again, such as those that the present step changes. Whoever changes ids on a
      GPU in between has to do it with torch's operations. Capture CUDA graphs before the loop, or
      with capture_error_mode "thread_local".

    ids: a function of a batch that returns pairs of a layer and its ids in that batch, for instance
    `lambda batch: [(model.users, batch["user"]), (model.items, batch["item"])]`. In place of a
    layer it may be a collection, and in place of ids what its forward takes. Rows of a collection
    come into memory, also with a GPU.
    device: where layers will be called with these ids, such as "cuda", if the loop moves them there
    from main memory. None: where they are.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        ids: Callable[[Any], Iterable[tuple[Layer | Collection, Any]]],
        device: torch.device | str | None = None,
    ) -> None:
        if isinstance(ids, torch.nn.Module) or not callable(ids):
            raise TypeError(
                "damo.torch: ids must be a function of a batch that returns pairs of a layer and "
                f"its ids, not {type(ids).__name__}"
            )
        self.loader, self.ids = loader, ids
        self.device = None if device is None else _with_index(torch.device(device))

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def _read_ahead(self, batch: Any, coming: list[tuple[Layer, RowsAhead]]) -> None:
        """Begins to read the rows of a batch. Adds to coming what a layer can take."""
        for pair in self.ids(batch):
            is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
            if not is_pair or not isinstance(pair[0], (Layer, Collection)):
                raise TypeError(
                    "damo.torch: ids must return pairs of a layer of damo.torch and its ids, such "
                    f"as [(model.users, batch['user'])]; there is {pair!r:.100} among them"
                )
            layer, ids = pair
            if not layer.training or isinstance(layer, (Collection, Table)):
                layer.prefetch(ids)
                continue
            rows = layer.reader.read_ahead(ids, self.device)
            if rows is not None:
                coming.append((layer, rows))

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        ready: list[Any] = []
        coming: list[tuple[Layer, RowsAhead]] = []  # For the batch that is ready.
        begun: list[tuple[Layer, RowsAhead]] = []  # For the one that follows.
        try:
            while True:
                try:
                    following = next(batches)
                    if ready:
                        self._read_ahead(following, begun)
                except BaseException as error:
                    # The batch before it comes first. The end of the batches is no error.
                    yield from ready
                    if isinstance(error, StopIteration):
                        return
                    raise
                yield from ready
                _give_up(coming)
                ready, coming, begun = [following], begun, []
        finally:
            _give_up(coming)
            _give_up(begun)


def _give_up(coming: list[tuple[Layer, RowsAhead]]) -> None:
    """Drops rows that no layer has taken."""
    for layer, rows in coming:
        layer.reader.give_up(rows)
    coming.clear()


def _with_index(device: torch.device) -> torch.device:
    """device as tensors name it: "cuda" is the present GPU."""
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device
