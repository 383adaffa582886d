"""Step: several embeddings of a storage, read and stepped together, by the names of features."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence, overload

import numpy as np

from . import _once, _step_parts, _tensors
from ._choices import BagMode
from ._embedding import Embedding
from ._errors import BusyError, InvalidArgumentError
from ._handles import ForkSafeLock
from ._once import Once, Steps
from ._step_arrays import rows_of
from ._step_features import Shape, checked, naming_parts
from ._step_handle import Rows, StepHandle

if TYPE_CHECKING:
    from ._storage import Storage


class Step(StepHandle):
    """Several embeddings, read and stepped together. Storage.step makes it.

    Its features have names. A call reads or steps all of them at once: all rows of all groups and
    their steps change together or not at all. It can be used again and again, and is also a context
    manager. One thread uses it at a time; another thread gets a damo.BusyError, and needs a Step of
    its own.

    Its attributes are storage, features (the names, in order), dims (the dim of each) and dim,
    their sum.

    features of a call: a dict with the keys of each feature. Without pooling they are as for
    Embedding.lookup, and the result has the shape keys.shape + (dim,). With pooling they are
    (keys, offsets) or, if the pooling is "sum", (keys, offsets, weights), and the result has the
    shape (bags, dim):

    - keys: all bags' keys, one after another, of shape (n,).
    - offsets: integers of shape (bags,), where each bag begins in keys; with include_last_offset of
      shape (bags + 1,), the last one being n. They begin at 0 and never go back.
    - weights: float32 of shape (n,), a factor for each key. They get no gradient here: it is the
      product of the bag's gradient and the key's row. damo.torch gives it.
    """

    def __init__(
        self,
        storage: Storage,
        features: Mapping[str, Embedding],
        pooling: Mapping[str, BagMode | None] | None,
        include_last_offset: bool,
        **options: float | str | None,
    ) -> None:
        self._features = checked(storage, features, pooling)
        if not isinstance(include_last_offset, bool):
            raise TypeError(
                f"damo: include_last_offset must be True or False, not {include_last_offset!r:.80}"
            )
        self._has_last = include_last_offset
        # The shapes of the latest keys or bags; None: there were none yet, or their call failed.
        self._shapes: list[Shape] | None = None
        # Whether the latest gradients were refused here, so that the library does not know of them.
        self._is_refused = False
        self._turn = ForkSafeLock()
        super().__init__(storage, **options)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(feature.name for feature in self._features)

    @property
    def dims(self) -> dict[str, int]:
        """The dim of each feature."""
        return {feature.name: feature.embedding.dim for feature in self._features}

    @property
    def dim(self) -> int:
        """The number of columns of a matrix with all features."""
        return self._features[-1].columns.stop

    @property
    def gradient_norm(self) -> float:
        """The 2-norm of the latest gradients of all keys together, before they were clipped.

        NaN if they were skipped. Raises ValueError without clip_norm, before the first
        apply_gradients, and if the latest one has failed or was stored already.
        """
        with self._alone():
            norm = self._norm()
            if self._is_refused:
                raise InvalidArgumentError(
                    "damo: gradient_norm: the latest call has failed; call apply_gradients first"
                )
            return norm

    @property
    def skipped(self) -> bool:
        """Whether non_finite="skip" skipped the latest apply_gradients.

        False if that has failed.
        """
        with self._alone():
            return self._was_skipped() and not self._is_refused

    def __repr__(self) -> str:
        named = (
            f"{one.name}{'' if one.pooling is None else f' ({one.pooling})'}"
            for one in self._features
        )
        closed = ", closed" if self.closed else ""
        return f"<damo.Step of {self.storage.path!r}: {', '.join(named)}{closed}>"

    def __enter__(self) -> Step:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @overload
    def lookup(
        self,
        features: Mapping[str, Any],
        *,
        occurrences: Mapping[str, Any] | None = None,
        out: np.ndarray,
        at_step: Steps = None,
    ) -> np.ndarray: ...

    @overload
    def lookup(
        self,
        features: Mapping[str, Any],
        *,
        occurrences: Mapping[str, Any] | None = None,
        out: Mapping[str, np.ndarray] | None = None,
        at_step: Steps = None,
    ) -> dict[str, np.ndarray]: ...

    def lookup(
        self,
        features: Mapping[str, Any],
        *,
        occurrences: Mapping[str, Any] | None = None,
        out: Any = None,
        at_step: Steps = None,
    ) -> Any:
        """The rows or bags of all features: a dict of float32 arrays. Makes missing rows.

        features: a dict with the keys of each feature, as the class explains.
        occurrences: a dict with how often each key of a feature occurs, as for Embedding.lookup.
        Features may be missing in it; those with a pooling must be. apply_gradients still takes one
        gradient a key: the sum of those of its occurrences. With duplicates "mean" it divides the
        sum by their number.
        out: a dict of writable float32 arrays of the results' shapes, or one matrix for all. A
        matrix has the shape (batch, dim), with the features side by side in their order, and needs
        one row of each feature for each row of the batch. Rows of matrices may have gaps between
        them. out is filled and returned.
        at_step: the step that the groups must have, or a dict with the steps of some features. All
        rows of these are then of that step: calls that change their groups wait, and so do other
        lookups with at_step. None: any.

        Raises TypeError or ValueError, which name the feature and the argument, for wrong arrays;
        StepMismatchError if a group has another step. Then no row was made.
        """
        steps = _once.steps(at_step, "at_step", self.features)
        read = self._look_up if steps is None else lambda rows: self._look_up_at(rows, steps)
        return self._read((features, occurrences), out, read)

    @overload
    def peek(
        self,
        features: Mapping[str, Any],
        *,
        occurrences: Mapping[str, Any] | None = None,
        out: np.ndarray,
    ) -> np.ndarray: ...

    @overload
    def peek(
        self,
        features: Mapping[str, Any],
        *,
        occurrences: Mapping[str, Any] | None = None,
        out: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]: ...

    def peek(
        self,
        features: Mapping[str, Any],
        *,
        occurrences: Mapping[str, Any] | None = None,
        out: Any = None,
    ) -> Any:
        """As lookup, but makes no row: a key without one reads as zeros.

        features, occurrences, out: as for lookup.
        """
        return self._read((features, occurrences), out, self._look)

    def apply_gradients(
        self,
        gradients: Any,
        features: Mapping[str, Any] | None = None,
        *,
        once: Once | None = None,
        expected_step: Steps = None,
    ) -> bool | None:
        """Steps all features once with the gradients of their results.

        gradients: a dict of float32 arrays of the results' shapes, or one matrix for all, as out of
        lookup. PyTorch tensors are taken, too.
        features: a dict with the keys of each feature, each of which occurs once for each time it
        is given; None: those of the latest call that had features, a lookup, peek or
        apply_gradients, with their occurrences. With pooling "max" they must be None: each
        column of a gradient goes to the key that had the largest value in what was read.
        once: (client, sequence), as for Embedding.apply_gradients. A call is not made if all groups
        have it stored, or a later one of its client.
        expected_step: with once, the step that the groups must have before the call, or a dict with
        the steps of some features. None: any.

        Gradients of a key are summed over all features, unless its embedding has duplicates "mean".
        The step of each group rises by one, also for a feature without keys. All rows and steps
        change together or not at all, with one entry in the journal.

        With once it returns whether the call was made now: False if it is stored, or was skipped.

        Raises ValueError, which names feature, row and column, for a gradient that is NaN, infinite
        or beyond 1e18 in size, unless non_finite="skip" skips such a call; and if features is None
        and no call had some, or reading the latest has failed. Raises StepMismatchError if the call
        is not stored, and a group has another step.
        """
        with self._alone():
            self._is_refused = True
            if once is None:
                _once.needs_once(expected_step)
            else:
                once = _once.numbers(once)
            expected = _once.steps(expected_step, "expected_step", self.features)
            if features is not None:
                for feature in self._features:
                    # A call that is stored needs no lookup. The library finds out whether it is.
                    if feature.pooling == "max" and once is None:
                        raise InvalidArgumentError(
                            f"damo: {feature} has pooling 'max': look its features up first, and"
                            " leave features out of apply_gradients"
                        )
                self._shapes = None
                self._shapes = _step_parts.replace(
                    self, self._features, features, None, self._has_last
                )
            if self._shapes is None:
                raise InvalidArgumentError(
                    "damo: apply_gradients has no features: neither lookup nor peek has read them,"
                    " or the latest one has failed; give features"
                )
            if not isinstance(gradients, Mapping):
                gradients = _tensors.floats(gradients, "gradients")
            rows, _kept = rows_of(
                gradients, "gradients", self._features, self._shapes, writable=False
            )
            self._is_refused = False
            with naming_parts(self._features):
                if once is not None:
                    return self._apply_once(rows, once, expected)
                self._apply(rows)
                return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A context in which no other thread uses this."""
        if not self._turn.take():
            raise BusyError(
                "damo: another thread uses this Step; each thread needs a Step of its own"
            )
        try:
            yield
        finally:
            self._turn.__exit__()

    def _read(
        self,
        given: tuple[Mapping[str, Any], Mapping[str, Any] | None],
        out: Any,
        read: Callable[[Sequence[Rows]], None],
    ) -> Any:
        with self._alone():
            self._shapes = None
            shapes = _step_parts.replace(self, self._features, *given, self._has_last)
            if out is None:
                out = {
                    one.name: np.empty((*shape, one.embedding.dim), np.float32)
                    for one, shape in zip(self._features, shapes)
                }
            rows, _kept = rows_of(out, "out", self._features, shapes, writable=True)
            with naming_parts(self._features):
                read(rows)
            self._shapes = shapes
        return out
