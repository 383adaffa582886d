"""torch's backward passes: the gradients that layers hand over in one, and the step at its end.

Knows embeddings and tensors, and nothing of layers.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any, Callable

import torch

from .. import _c_api
from .._embedding import Embedding

Pairs = list[tuple[torch.Tensor, torch.Tensor]]
"""Ids, contiguous int64, and their gradients, contiguous float32 of shape (ids.numel(), dim)."""


_RUNS_PASSES = [
    getattr(function, "__code__", None)
    for function in (torch.autograd.backward, torch.autograd.grad)
]
"""The code of torch's functions that run a backward pass."""


def group_of(rows: Embedding) -> tuple[Any, ...]:
    """Equal for embeddings whose gradients can be applied together."""
    return id(rows.storage), rows.group, rows.duplicates, rows.padding_key


def apply(rows: Embedding, pairs: Pairs) -> None:
    """One step with the gradients of all pairs."""
    ids, gradients = pairs[0] if len(pairs) == 1 else (torch.cat(some) for some in zip(*pairs))
    _c_api.damo_embedding_apply_gradients(
        rows._use(), ids.data_ptr(), ids.numel(), gradients.data_ptr(), gradients.numel()
    )


def is_finite(gradients: torch.Tensor) -> bool:
    """Whether all gradients are finite. Their sum is quicker to test, and may overflow."""
    return bool(gradients.sum().isfinite()) or bool(gradients.isfinite().all())


def _graph_task() -> int | None:
    """The number of the pass that this is called in, or -1; None if torch does not number them."""
    number = getattr(torch._C, "_current_graph_task_id", None)
    return None if number is None else number()


def _call_at_end(function: Callable[[], None]) -> bool:
    """Has the backward pass that this is called in call function when it ends without an error.

    False outside of a pass. Raises RuntimeError in one of compiled autograd.
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
    """As _call_at_end, but after the callbacks of others."""
    _call_at_end(lambda: None if _call_at_end(function) else function())


def is_under_way() -> bool:
    """Whether this is called in a backward pass."""
    number = _graph_task()
    if number is not None:
        return number != -1
    if _depth() > 0:
        return True
    # Only threads of torch's are in a pass without having called it. Its queue of callbacks tells
    # for sure, and takes a millisecond to say no.
    is_torchs = isinstance(threading.current_thread(), threading._DummyThread)
    return is_torchs and _call_at_end(lambda: None)


def _depth() -> int:
    """How many backward passes this thread is in, one inside another."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth += frame.f_code in _RUNS_PASSES
        frame = frame.f_back  # type: ignore[assignment]
    return depth


class _Token:
    """Kept alive only by a callback at the end of a pass: gone once the pass is over or failed."""


class _UntilEnd:
    """What belongs to one backward pass, and knows whether the pass is over.

    It knows so even if the traceback of a kept exception keeps it alive: the token is not kept.
    """

    def __init__(self) -> None:
        self._token: weakref.ref[_Token] | None = None

    def begin(self) -> bool:
        """Has the pass that this is called in call end() when it ends without an error.

        False outside of a pass.
        """
        token = _Token()
        self._token = weakref.ref(token)

        def end(_token: _Token = token) -> None:
            # A GPU's thread may keep the pass, and so the token, for a moment longer.
            self._token = None
            self.end()

        return _call_at_end(end)

    @property
    def is_over(self) -> bool:
        return self._token is None or self._token() is None

    def end(self) -> None:
        raise NotImplementedError


class Step(_UntilEnd):
    """Gradients to be applied when the outermost backward pass ends, each group's in one step."""

    def __init__(self) -> None:
        super().__init__()
        self._began_in = _graph_task()
        """The number of the pass in which it was made."""
        self._depth = _depth()
        """How many passes that thread was in then."""
        self._taken: dict[tuple[Any, ...], tuple[Embedding, Pairs]] = {}
        self._lock = threading.Lock()

    @property
    def is_of_this_pass(self) -> bool:
        """Whether the pass that this is called in is the step's, or inside it on the same thread.

        A pass that has failed may not be over yet: a GPU's thread may keep it for a moment longer.
        """
        number = _graph_task()
        return not self.is_over and (
            number is None or number == self._began_in or _depth() > self._depth
        )

    def take(self, rows: Embedding, pairs: Pairs) -> None:
        with self._lock:
            self._taken.setdefault(group_of(rows), (rows, []))[1].extend(pairs)

    def end(self) -> None:
        taken, self._taken = list(self._taken.values()), {}
        # What will be refused comes first, so that nothing has changed by then.
        taken.sort(key=lambda some: all(is_finite(gradients) for _, gradients in some[1]))
        for rows, pairs in taken:
            if pairs:
                apply(rows, pairs)


class Task(_UntilEnd):
    """One backward pass, and the gradients that layers have handed over in it.

    A pass and those inside it (reentrant checkpoints) have one Step.
    """

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step
        self._handed: dict[int, Pairs] = {}
        self._shown: dict[int, tuple[torch.Tensor | None, torch.Tensor]] = {}
        self._lock = threading.Lock()

    def hand_over(self, to: int, ids: torch.Tensor, gradients: torch.Tensor) -> None:
        with self._lock:
            self._handed.setdefault(to, []).append((ids, gradients))

    def peek(self, of: int) -> Pairs:
        with self._lock:
            return list(self._handed.get(of, ()))

    def take(self, of: int) -> Pairs:
        with self._lock:
            return self._handed.pop(of, [])

    def put_shown(self, of: int, before: torch.Tensor | None, shown: torch.Tensor) -> None:
        """Notes what hooks were shown, and the gradient that torch will add it to."""
        self._shown[of] = before, shown

    def take_shown(self, of: int) -> tuple[torch.Tensor | None, torch.Tensor] | None:
        return self._shown.pop(of, None)

    def end(self) -> None:
        """Drops what nobody took: torch.autograd.grad changes nothing."""
        self._handed.clear()
        self._shown.clear()


class Passes:
    """The backward passes that are under way in this process."""

    def __init__(self) -> None:
        self._tasks: weakref.WeakValueDictionary[int, Task] = weakref.WeakValueDictionary()
        self._local = threading.local()
        self._lock = threading.Lock()

    def step(self) -> Step | None:
        """The step of the outermost pass that this is called in; None outside of one.

        A pass inside another (reentrant checkpoints) finds the step that has begun on this thread.
        """
        if not is_under_way():
            return None
        known = getattr(self._local, "step", None)
        step = known and known()
        if step is None or not step.is_of_this_pass:
            step = Step()
            step.begin()
            self._local.step = weakref.ref(step)
        return step

    def task(self, begun: Step | None) -> Task:
        """The Task of the pass that this is called in. Raises RuntimeError outside of a pass.

        begun: the step of the pass around it, if any, which it shares; otherwise it gets a new one.
        """
        number = _graph_task()
        number = threading.get_ident() if number is None else number
        with self._lock:
            task = self._tasks.get(number)
            if task is None or task.is_over:
                step = begun if begun is not None and not begun.is_over else self.step()
                if step is None:
                    raise RuntimeError(
                        "damo.torch: gradients of rows came outside of a backward pass"
                    )
                task = self._tasks[number] = Task(step)
                task.begin()
        return task

    def of(self, reader: int) -> list[Task]:
        """The tasks whose gradients for reader, an id(), are complete as torch accumulates them."""
        number = _graph_task()
        with self._lock:
            task = self._tasks.get(threading.get_ident() if number is None else number)
            if task is not None and not task.is_over:
                return [task]
            if number is not None:
                return []
            # Without numbers: what is on a GPU may be accumulated on another thread.
            return [task for task in self._tasks.values() if not task.is_over and task.peek(reader)]


passes = Passes()
