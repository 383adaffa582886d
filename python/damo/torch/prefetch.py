"""Rows of the next batch are read while this one is trained on."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator

import torch

from .embedding import Layer


class Prefetch:
    """Goes through a DataLoader, or anything that yields batches, one batch ahead.

    ids(batch) gives pairs of a layer and its ids in that batch, for instance
    `lambda batch: [(model.users, batch["user"]), (model.items, batch["item"])]`. Their rows are brought into memory before the
    batch before it is yielded. The loader's workers do their part as ever; the storage stays in this process.
    """

    def __init__(
        self, loader: Iterable[Any], ids: Callable[[Any], Iterable[tuple[Layer, torch.Tensor]]]
    ) -> None:
        self.loader, self.ids = loader, ids

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        ready: list[Any] = []
        while True:
            try:
                following = next(batches)
                for layer, ids in self.ids(following) if ready else ():
                    layer.prefetch(ids)
            except BaseException as error:
                # After the batch before it, and the end of the batches is not an error.
                yield from ready
                if isinstance(error, StopIteration):
                    return
                raise
            yield from ready
            ready = [following]
