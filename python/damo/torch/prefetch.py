"""Prefetch: reads the rows of the next batch while the present one is trained on."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator

import torch

from .embedding import Layer


class Prefetch:
    """Goes through a DataLoader, or anything that yields batches, one batch ahead.

    Before it yields a batch, it has the rows of the following one brought into memory in the
    background. This changes no result: each layer looks its rows up when it is called. The loader's
    workers work as ever, and the storage stays in this process.

    ids: a function of a batch that returns pairs of a layer and its ids in that batch, for instance
    `lambda batch: [(model.users, batch["user"]), (model.items, batch["item"])]`.
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
                # The batch before it comes first. The end of the batches is no error.
                yield from ready
                if isinstance(error, StopIteration):
                    return
                raise
            yield from ready
            ready = [following]
