"""Copies between main memory and a GPU, through pinned memory.

A copy between pinned memory and a GPU is made on the current stream while the program goes on. A
pinned tensor may be freed before that: torch uses its memory again only when the copies from and
to it are done. Between other devices torch's plain copies are made. Knows tensors,
but no layers.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ContextManager

import torch

from ._memory import empty_rows
from ._tracers import not_compiled

_CPU = torch.device("cpu")
_SMALL_BYTES = 64 << 10
"""CUDA puts copies of up to this size through pinned memory of its own."""


class Pinned:
    """What pinned memory needs of torch. Tests put a stand-in in its place."""

    def serves(self, device: torch.device, size: int) -> bool:
        """Whether a copy of size bytes from or to device should go through pinned memory.

        While a CUDA graph is captured, the plain copy is left to raise torch's own error.
        """
        return (
            device.type == "cuda"
            and size > _SMALL_BYTES
            and not torch.cuda.is_current_stream_capturing()
        )

    def empty(self, shape: Any, dtype: torch.dtype) -> torch.Tensor | None:
        """A new tensor in pinned memory; None if there is no more of it."""
        try:
            return torch.empty(shape, dtype=dtype, device="cpu", pin_memory=True)
        except RuntimeError:
            return None

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether tensor, of main memory, is in pinned memory."""
        return tensor.is_pinned()

    def begin_send(self, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Begins to copy rows from pinned memory to device. Operations there wait for the end."""
        return rows.to(device, non_blocking=True)

    def begin_fetch(self, into: torch.Tensor, tensor: torch.Tensor) -> Any:
        """Begins to copy tensor from a GPU into pinned memory. synchronize() waits for the end."""
        into.copy_(tensor, non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(tensor.device))
        return done


    def beside(self, device: torch.device) -> ContextManager[Any]:
        """A context whose work on device goes on beside that of the current stream.

        For a thread that uses one device: it makes it the thread's current one for good. Otherwise
        torch would go back to the first GPU, and make a context there.
        """
        torch.cuda.set_device(device)
        stream = _streams.get(device)
        if stream is None:
            stream = _streams[device] = torch.cuda.Stream(device)
        return torch.cuda.stream(stream)

    def event(self, device: torch.device) -> Any:
        """An event after all work that the current stream of device has so far."""
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(device))
        return done

    def wait_for(self, event: Any, device: torch.device) -> None:
        """Makes later work of the current stream of device wait for an event."""
        torch.cuda.current_stream(device).wait_event(event)

    def keep(self, tensor: torch.Tensor) -> None:
        """Tells torch that the current stream uses another stream's tensor."""
        tensor.record_stream(torch.cuda.current_stream(tensor.device))


_streams: dict[torch.device, torch.cuda.Stream] = {}
"""The stream of each device for what goes on beside the present step."""

_pinned = Pinned()


def is_far(device: torch.device, size: int) -> bool:
    """Whether a copy of size bytes to device goes through pinned memory."""
    return device.type != "cpu" and _pinned.serves(device, size)


class Ready:
    """The work given to a device so far, for other streams to wait for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._event = None if device.type == "cpu" else _pinned.event(device)

    def wait(self) -> None:
        """Makes later work of the current stream wait for it."""
        if self._event is not None:
            _pinned.wait_for(self._event, self._device)


def beside(device: torch.device) -> ContextManager[Any]:
    """A context whose work on device goes on beside that of the current stream."""
    return nullcontext() if device.type == "cpu" else _pinned.beside(device)


def begin_send(rows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Begins to copy rows from rows_for(device, ...) to device. Operations there wait for it."""
    return _pinned.begin_send(rows, device)


def take(sent: torch.Tensor, ready: Ready) -> torch.Tensor:
    """Lets the current stream use sent."""
    ready.wait()
    _pinned.keep(sent)
    return sent


def replace_rows(sent: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor) -> None:
    """Sends the rows at positions to sent again; if they are most of the rows, all."""
    if not positions.numel():
        return
    if 2 * positions.numel() > rows.shape[0]:
        sent.copy_(rows, non_blocking=True)
        return
    some = rows_for(sent.device, positions.numel(), rows.shape[1])
    torch.index_select(rows, 0, positions, out=some)
    pinned = _pinned.empty(positions.shape, positions.dtype)
    if pinned is not None:
        positions = pinned.copy_(positions)
    sent.index_copy_(
        0, _pinned.begin_send(positions, sent.device), _pinned.begin_send(some, sent.device)
    )


def rows_for(device: torch.device, ids: int, dim: int) -> torch.Tensor:
    """float32 of shape (ids, dim) in main memory, not initialized; pinned if send can use that."""
    if not is_far(device, ids * dim * 4):
        return empty_rows(ids, dim)
    made = _pinned.empty((ids, dim), torch.float32)
    return empty_rows(ids, dim) if made is None else made


def fetch(tensor: torch.Tensor) -> torch.Tensor:
    """tensor in main memory, as tensor.to("cpu") is. Waits for it, and for earlier work."""
    size = tensor.numel() * tensor.element_size()
    # torch negates the copy of a negative view at once, although the copy may not have come yet.
    if tensor.is_neg() or not _pinned.serves(tensor.device, size):
        return tensor.to(_CPU)
    host = _pinned.empty(tensor.shape, tensor.dtype)
    if host is None:
        return tensor.to(_CPU)
    _pinned.begin_fetch(host, tensor).synchronize()
    return host


class _Send(torch.autograd.Function):
    """Sends pinned rows to a device, without waiting. backward fetches the gradient."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, device: torch.device, sent: list[torch.Tensor]
    ) -> torch.Tensor:
        # In a list, torch does not see sent as an input, and takes it for new.
        return sent[0] if sent else _pinned.begin_send(rows, device)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        # The engine has set the stream of forward, and has made it wait for gradient.
        if torch.is_grad_enabled() or not _has_memory(gradient):
            return gradient.to(_CPU), None, None
        return fetch(gradient), None, None


def _has_memory(tensor: torch.Tensor) -> bool:
    """Whether tensor has memory. A tracer's, such as vmap's, has none, and gets its own error."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True


@not_compiled
def send(
    rows: torch.Tensor, device: torch.device, sent: torch.Tensor | None = None
) -> torch.Tensor:
    """rows on device. They come from rows_for(device, ...) and must not change any more.

    sent: rows on device, if they have been sent before.
    """
    if sent is not None:
        return _Send.apply(rows, device, [sent])
    return _Send.apply(rows, device, []) if _pinned.holds(rows) else rows.to(device)
