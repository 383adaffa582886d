"""The scenarios "layers" and "gpu": what a user of damo.torch gets of damo's rate."""

from __future__ import annotations

from typing import Any

import gpu
from layers import BETWEEN, CALLS, LAYER, LAYERS, SHARES, SMALL_CALLS, share
from report import markdown, number
from session import Measurement, Session
from sizes import DIM, GIB
from turns import Figures, Run, how_often, in_turns, median
from variants import REFERENCE_BATCHES, REFERENCE_IDS

PYTORCH = ("torch_newest", "torch_sparse_adam")
# Whose threads damo's large calls run on.
THREADS = {"PyTorch's threads, lent": True, "damo's own threads": False}
TIMED = (CALLS, BETWEEN, LAYER, SMALL_CALLS, LAYERS)
ON_GPU = (gpu.ROWS, gpu.DENSE, gpu.DAMO_CPU_IDS, gpu.DAMO_GPU_IDS, gpu.ALL_GPU)


def python_of(session: Session) -> str:
    """The system whose Python has PyTorch: the newest, if there is one."""
    return next((name for name in PYTORCH if name in session.interpreters), PYTORCH[0])


def task_of(session: Session, program: str) -> dict[str, Any]:
    ids, count = (200_000, 4) if session.quick else (REFERENCE_IDS, REFERENCE_BATCHES)
    return {
        "program": program,
        "ids": ids,
        "dim": DIM,
        "batches": session.zipf_batches(ids, count),
        "seconds": session.seconds(1, quick=0.1),
        "slices": 1 if session.quick else 3,
        "options": {"durability": "checkpoint", "cache_bytes": 6 * GIB},
    }


def layers(session: Session) -> None:
    base, python = task_of(session, "layers"), python_of(session)
    runs = [
        Run("damo", whose, {**base, "lent": lent}, 8 * GIB, python)
        for whose, lent in THREADS.items()
    ]
    in_turns(session, "layers", runs, 1 if session.quick else 3, figures)


def on_gpu(session: Session) -> None:
    task = {**task_of(session, "gpu"), "device": "cuda"}
    run = Run("damo", "dense part on a GPU", task, 8 * GIB, python_of(session))
    in_turns(session, "gpu", [run], 1 if session.quick else 3, figures)


def figures(result: dict[str, Any]) -> Figures:
    return result["figures"]


def measured(session: Session, scenario: str) -> list[Measurement]:
    return [
        m for m in session.measurements if m.ok and m.scenario == scenario and "rounds" in m.result
    ]


def tables(session: Session) -> str:
    parts = []
    found = measured(session, "layers")
    if found:
        header = ("a step of 106,496 keys", *(m.variant for m in found))
        rates = [(name, *(number(median(m, name)) for m in found)) for name in TIMED]
        shares = [
            (share(*pair), *(number(median(m, share(*pair)), 2) for m in found)) for pair in SHARES
        ]
        parts += [
            (
                "damo.torch.Embedding beside the calls that it makes, in steps/s (adam,"
                f" `checkpoint`), and its share of their rate. {how(found, LAYER)}"
            ),
            markdown(header, rates + shares),
        ]
    found = measured(session, "gpu")
    if found:
        rows = [
            (name, number(median(m, name)), number(1e3 / median(m, name), 2))
            for m in found
            for name in ON_GPU
        ]
        parts += [
            f"The dense part on a GPU, and the rows in damo. {how(found, gpu.ROWS)}",
            markdown(("step", "steps/s", "ms"), rows),
        ]
    parts += [
        f"**The scenario gpu was left out: {m.absent}.**"
        for m in session.measurements
        if m.scenario == "gpu" and not m.ok
    ]
    return "\n\n".join(parts)


def how(measurements: list[Measurement], name: str) -> str:
    m = measurements[0]
    return f"{m.result['notes']}, {m.result['cores']} cores. {how_often(measurements, name)}"
