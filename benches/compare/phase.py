"""A stretch of calls with everything that they cost: processor time of all threads, misses, and
reads of the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from measure import Timer, read_from_disk
from systems import System


class Phase(Timer):
    """Begins when it is made. What the harness does between calls (drawing keys, checks) is left
    out, of the processor time too. What a system does meanwhile in other threads is in it.
    """

    def __init__(self, system: System) -> None:
        super().__init__()
        self._system, self._in_calls = system, 0.0
        self._counts, self._disk = system.statistics(), read_from_disk()
        self._of_this_thread, self._of_all = time.thread_time(), time.process_time()

    def call(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        before = time.thread_time()
        super().call(name, function, *arguments)
        self._in_calls += time.thread_time() - before

    def processor_seconds(self) -> float:
        """Of all threads since the phase began."""
        of_all = time.process_time() - self._of_all
        return of_all - (time.thread_time() - self._of_this_thread - self._in_calls)

    def counted(self, name: str) -> int | None:
        """How far a statistic of the system has risen."""
        counts = self._system.statistics()
        return counts[name] - self._counts.get(name, 0) if name in counts else None

    def read_bytes(self) -> int | None:
        """What the disk has delivered."""
        after = read_from_disk()
        return None if after is None or self._disk is None else after - self._disk

    def costs(self, steps: int, rows: int) -> dict[str, object]:
        """As summary, and what the steps cost. It ends the phase."""
        processor = self.processor_seconds()
        names = sorted(self._system.statistics())
        return {
            **self.summary(steps, rows),
            "processor_seconds": processor,
            "misses": self.counted("rows_loaded"),
            "read_bytes": self.read_bytes(),
            "counted": {name: self.counted(name) for name in names},
        }
