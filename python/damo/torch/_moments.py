"""The state of a layer's rows as a tensor in its state_dict, and how two states differ.

The tensor always has the same shape, so that distributed checkpoints can load into it. It holds two
JSON texts: the identity says which rows these are, the moment says which state they are in.

Each half of a byte is one element, in the middle of a range of 16 values. So the identity, which
training does not change, stays readable in an average of state_dicts, even in one that is rounded
down. The moment of an average does not match its checksum.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import torch

from .._embedding import Embedding
from .._errors import NotFoundError

_LEN = 640
"""The bytes of each text, including its checksum of 8 digits."""
_DIGITS = 20
"""The decimal digits of the step, with which the second text begins."""
_PROBES = 8
"""The number of rows that are compared at most."""

State = dict[str, Any]


def encode(state: State) -> torch.Tensor:
    """A uint8 tensor of shape (4 * _LEN,) with a state, which for serving has no moment."""
    identity = _part(state, "version", "name", "group", "dim", "optimizer")
    moment = _part(state, "step", "checkpoint", "probes", "storage")
    digits = f"{min(max(0, state.get('step', 0)), 10**_DIGITS - 1):0{_DIGITS}}".encode()
    data = _text(b"", identity) + _text(digits, moment)
    halves = np.frombuffer(data, np.uint8).repeat(2)
    halves = np.where(np.arange(halves.size) % 2, halves & 15, halves >> 4)
    elements = (halves * 16 + 8).astype(np.uint8)
    return torch.tensor(elements.tolist(), dtype=torch.uint8, device="cpu")


def _part(state: State, *names: str) -> State:
    return {name: state[name] for name in names if name in state}


def _text(head: bytes, fields: State) -> bytes:
    text = head + json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) > _LEN - 8 and "storage" in fields:
        # The path is for people only, so it can be left out.
        return _text(head, {name: value for name, value in fields.items() if name != "storage"})
    text = text.ljust(_LEN - 8)
    return text + b"%08x" % zlib.crc32(text)


def decode(tensor: torch.Tensor) -> State | None:
    """The state that encode was given; None for a tensor that encode has not made.

    An average of such tensors gives a state without a moment. If its elements are floats, the state
    has "mean_step" instead.
    """
    if tensor.shape != (4 * _LEN,) or tensor.is_complex():
        return None
    values = tensor.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(values).all():
        return None
    exact = (values - 8) / 16
    # Any of the 16 values in a range means the same half of a byte. encode puts it in the middle.
    halves = np.clip(np.floor(values / 16), 0, 15).astype(np.uint8)
    data = (halves[::2] << 4 | halves[1::2]).tobytes()
    identity = _fields(data[:_LEN], 0)
    if identity is None:
        return None
    moment = _fields(data[_LEN:], _DIGITS)
    if moment is not None:
        return {**identity, **moment}
    if not tensor.is_floating_point():
        return identity
    digits = exact[2 * _LEN : 2 * (_LEN + _DIGITS)]
    # The lower half of "0" to "9" is the digit. Averaged digits make the averaged number.
    return {**identity, "mean_step": float(digits[1::2] @ 10.0 ** np.arange(_DIGITS - 1, -1, -1))}


def _fields(data: bytes, head: int) -> State | None:
    text, checksum = data[:-8], data[-8:]
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    return json.loads(text[head:])  # type: ignore[no-any-return]


def probe(rows: Embedding, ids: torch.Tensor | None) -> list[list[int]] | None:
    """[key, number of updates, CRC-32] of some rows of ids, or else of the group's first row.

    Returns an empty list for an empty group, and None if the first row vanished meanwhile.
    """
    spread = () if ids is None else ids[:: max(1, ids.numel() // _PROBES)][:_PROBES].tolist()
    keys = dict.fromkeys(spread)
    found = [known for known in (_row(rows, key) for key in keys) if known]
    return found or _first(rows)


def _row(rows: Embedding, key: int) -> list[int] | None:
    try:
        record = rows.record(key)
    except NotFoundError:
        return None
    state = zlib.crc32(record.weights.tobytes() + record.state.tobytes())
    return [key, record.update_num, state]


def _first(rows: Embedding) -> list[list[int]] | None:
    records = iter(rows)
    try:
        for record in records:
            known = _row(rows, record.key)
            # known is None if the row has expired or was deleted just now.
            return None if known is None else [known]
        return []
    finally:
        records.close()


def differences(state: State, mine: State, rows: Embedding) -> str | None:
    """How the rows differ from the moment of a state; None if nothing shows that they do.

    state: what decode returned. mine: the present state of rows. If rows whose checksums are in
    state are the same, the checkpoint ids do not matter.
    """
    if "mean_step" in state and state["mean_step"] > (mine["step"] + 0.5) * (1 + 1e-5):
        return (
            f"averaged over moments up to a later one than step {mine['step']}, which they are at"
        )
    if "step" not in state or "step" not in mine:
        return None
    saved, now = state.get("checkpoint"), mine["checkpoint"]
    told = (
        f"saved at step {state['step']} (checkpoint {saved}); they are at step {mine['step']} "
        f"(checkpoint {now})"
    )
    if state["step"] != mine["step"]:
        return told
    probes = state.get("probes")
    compared = [(known, _row(rows, known[0])) for known in probes or ()]
    for known, current in compared:
        if current is not None and current != known:
            return f"{told}, where key {known[0]} has another row"
    if any(current is not None for _, current in compared):
        return None
    if saved is None or saved == now or (probes == [] and _first(rows) == []):
        return None
    return told
