"""torch's backward passes: the gradients that layers hand over in one, and the step at its end.

Knows embeddings and tensors, but no layers.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any, Callable, Sequence

import torch

from .._embedding import Embedding
from ._parts import (
    Handed,
    Part,
    StepPool,
    apply_together,
    gradients_of,
    group_of,
    shared_pool,
    transactions,
)

_RUNS_PASSES = [
    getattr(function, "__code__", None)
    for function in (torch.autograd.backward, torch.autograd.grad)
]
"""The code of torch's functions that run a backward pass."""


_MAX_GRADIENT = 1e18
"""The largest gradient that a step accepts."""


def rank(gradients: torch.Tensor) -> int:
    """0 for gradients that a step refuses as not finite, 1 if some may be too large, otherwise 2.

    Sums by id may be too large for a step even then. Steps are made in this order, so that nothing
    has changed when one is refused.
    """
    if gradients.norm().item() <= _MAX_GRADIENT:
        return 2
    return int(gradients.isfinite().all())


_NUMBER = getattr(torch._C, "_current_graph_task_id", None)


def _graph_task() -> int | None:
    """The number of the pass that this is called in, -1 outside of one.

    None if this version of torch does not number passes.
    """
    return None if _NUMBER is None else _NUMBER()


def _call_at_end(function: Callable[[], None]) -> bool:
    """Makes the backward pass that this is called in call function when it ends without an error.

    Returns False outside of a pass. Raises RuntimeError in a pass of compiled autograd.
    """
    try:
        torch.autograd.Variable._execution_engine.queue_callback(function)
    except RuntimeError:
        return False
    except AssertionError as error:
        raise RuntimeError(
            f"damo.torch: compiled autograd cannot step rows ({error}); compile the model alone"
        ) from error
    return True


def call_last(function: Callable[[], None]) -> None:
    """As _call_at_end, but after the callbacks that others have added until then."""
    _call_at_end(lambda: None if _call_at_end(function) else function())


def is_under_way() -> bool:
    """Whether this is called in a backward pass."""
    number = _graph_task()
    if number is not None:
        return number != -1
    if _depth() > 0:
        return True
    # Only torch's own threads can be in a pass that they have not called. Its queue of callbacks
    # tells for sure, but takes a millisecond outside of a pass, so other threads do not ask it.
    is_torchs = isinstance(threading.current_thread(), threading._DummyThread)
    return is_torchs and _call_at_end(lambda: None)


def _depth() -> int:
    """The number of backward passes that this thread is in, one inside another."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth += frame.f_code in _RUNS_PASSES
        frame = frame.f_back  # type: ignore[assignment]
    return depth


class _Token:
    """An object that only a callback at the end of a pass keeps alive.

    It is gone once the pass has ended or failed.
    """


class _UntilEnd:
    """Something that belongs to one backward pass, and knows whether the pass is over.

    The traceback of an exception may keep this object alive, but not its token.
    """

    def __init__(self) -> None:
        self._token: weakref.ref[_Token] | None = None

    def begin(self) -> bool:
        """Makes the pass that this is called in call end() when it ends without an error.

        Returns False outside of a pass.
        """
        token = _Token()
        self._token = weakref.ref(token)

        def end(_token: _Token = token) -> None:
            # A GPU's thread may keep the pass, and with it the token, for a moment longer.
            self._token = None
            self.end()

        return _call_at_end(end)

    @property
    def is_over(self) -> bool:
        return self._token is None or self._token() is None

    def end(self) -> None:
        raise NotImplementedError


class BackwardStep(_UntilEnd):
    """The step at the end of the outermost backward pass, with the gradients for it.

    Each group of rows gets one step. Those of one storage are one transaction.
    """

    def __init__(self) -> None:
        super().__init__()
        self._began_in = _graph_task()
        """The number of the pass in which it was made."""
        self._depth = _depth()
        """The number of passes that the thread was in when it was made."""
        self._added: dict[tuple[Any, ...], tuple[Embedding, list[Handed]]] = {}
        self._pools: dict[int, list[StepPool]] = {}
        """The pools with options, by the id() of their storages."""
        self._lock = threading.Lock()

    @property
    def is_of_this_pass(self) -> bool:
        """Whether this is called in the step's own pass, or in one inside it on the same thread.

        It is not enough that the step is not over: a GPU's thread may keep a pass that has failed
        for a moment longer.
        """
        number = _graph_task()
        return not self.is_over and (
            number is None or number == self._began_in or _depth() > self._depth
        )

    def add(self, rows: Embedding, handed: Sequence[Handed], pool: StepPool | None) -> None:
        """pool: that of the collection with rows as a table; None if rows are a single layer's."""
        with self._lock:
            self._added.setdefault(group_of(rows), (rows, []))[1].extend(handed)
            if pool is not None and pool.options:
                self._pools.setdefault(id(rows.storage), []).append(pool)

    def end(self) -> None:
        added, self._added = [some for some in self._added.values() if some[1]], {}
        given, self._pools = self._pools, {}
        for rows, handed in added:
            for one in handed:
                if isinstance(one, Part):
                    given.setdefault(id(rows.storage), []).append(one.call.pool)
        pools = {storage: shared_pool(known) for storage, known in given.items()}
        steps = transactions(added, lambda step: step[0])
        if len(steps) > 1:
            steps.sort(key=_rank)
        for groups in steps:
            apply_together(groups, pools.get(id(groups[0][0].storage)))


def _rank(groups: list[tuple[Embedding, list[Handed]]]) -> int:
    return min(rank(one) for _, handed in groups for one in gradients_of(handed))


class BackwardPass(_UntilEnd):
    """One backward pass, and the gradients that layers have handed over in it.

    A pass and those inside it (reentrant checkpoints) share one BackwardStep.
    """

    def __init__(self, step: BackwardStep) -> None:
        super().__init__()
        self.step = step
        self._handed: dict[int, list[Handed]] = {}
        self._shown: dict[int, tuple[torch.Tensor | None, torch.Tensor]] = {}
        self._lock = threading.Lock()

    def hand_over(self, to: int, handed: Handed) -> None:
        """Adds gradients for the Gradients whose id() is to."""
        with self._lock:
            self._handed.setdefault(to, []).append(handed)

    def peek(self, of: int) -> list[Handed]:
        """What was handed over to it."""
        with self._lock:
            return list(self._handed.get(of, ()))

    def pop(self, of: int) -> list[Handed]:
        """Removes and returns what was handed over to it."""
        with self._lock:
            return self._handed.pop(of, [])

    def put_shown(self, of: int, before: torch.Tensor | None, shown: torch.Tensor) -> None:
        """Notes what hooks were shown, and the gradient that torch will add it to."""
        self._shown[of] = before, shown

    def pop_shown(self, of: int) -> tuple[torch.Tensor | None, torch.Tensor] | None:
        """Removes and returns what put_shown has noted."""
        return self._shown.pop(of, None)

    def end(self) -> None:
        """Drops gradients that nobody has popped: torch.autograd.grad changes nothing."""
        self._handed.clear()
        self._shown.clear()


class Passes:
    """The backward passes that are under way in this process."""

    def __init__(self) -> None:
        self._running: weakref.WeakValueDictionary[int, BackwardPass]
        self._running = weakref.WeakValueDictionary()
        """By torch's number, or by the thread where torch does not number passes."""
        self._local = threading.local()
        self._lock = threading.Lock()

    def step(self) -> BackwardStep | None:
        """The step of the outermost pass that this is called in; None outside of a pass.

        A pass inside another one (reentrant checkpoints) finds the step that this thread has begun.
        """
        if not is_under_way():
            return None
        known = getattr(self._local, "step", None)
        step = known and known()
        if step is None or not step.is_of_this_pass:
            step = BackwardStep()
            step.begin()
            self._local.step = weakref.ref(step)
        return step

    def current(self, begun: BackwardStep | None) -> BackwardPass:
        """The pass that this is called in. Raises RuntimeError outside of a pass.

        begun: the step of the pass around it, which it shares; None: it gets a new one.
        """
        number = _graph_task()
        number = threading.get_ident() if number is None else number
        with self._lock:
            found = self._running.get(number)
            if found is None or found.is_over:
                step = begun if begun is not None and not begun.is_over else self.step()
                if step is None:
                    raise RuntimeError(
                        "damo.torch: gradients of rows came outside of a backward pass"
                    )
                found = self._running[number] = BackwardPass(step)
                found.begin()
        return found

    def of(self, gradients: int) -> list[BackwardPass]:
        """The passes whose gradients are complete for the Gradients of this id().

        To be called when torch accumulates the gradient of its anchor.
        """
        number = _graph_task()
        with self._lock:
            found = self._running.get(threading.get_ident() if number is None else number)
            if found is not None and not found.is_over:
                return [found]
            if number is not None:
                return []
            # Without numbers: what is on a GPU may be accumulated on another thread.
            return [
                one for one in self._running.values() if not one.is_over and one.peek(gradients)
            ]


passes = Passes()
