"""What a worker tells its parent: a letter and a number, through a pipe that a kill does not empty.
"""

from __future__ import annotations

import os
import select
import struct
import time

# The worker begins to open; it has opened and read everything.
OPENING, OPENED = b"o", b"O"
# A step's calls have returned; a save begins; it has returned.
STEP, SAVING, SAVED = b"s", b"v", b"V"

FORM = struct.Struct("<cq")


class Sender:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, kind: bytes, number: int) -> None:
        # One write, below the size that a pipe takes whole.
        os.write(self._descriptor, FORM.pack(kind, number))


class Receiver:
    """The parent's end. Knows the last number of each kind, how many there were, and when each last
    came.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._bytes = b""
        self.last: dict[bytes, int] = {}
        self.count: dict[bytes, int] = {}
        self.when: dict[bytes, float] = {}
        # How long the saves took that have returned, in seconds.
        self.save_seconds: list[float] = []
        self.ended = False

    def receive(self, until: float, kind: bytes | None = None, count: int = 1) -> bool:
        """Takes messages until a moment (of time.monotonic), or until `count` of a kind have come:
        True then.
        """
        while kind is None or self.count.get(kind, 0) < count:
            left = until - time.monotonic()
            if self.ended or left <= 0:
                return False
            if select.select([self._descriptor], [], [], left)[0]:
                self._take()
        return True

    def drain(self) -> None:
        """Takes what is left once the worker has ended."""
        while not self.ended:
            self._take()

    def _take(self) -> None:
        read = os.read(self._descriptor, 1 << 16)
        self.ended = not read
        self._bytes += read
        now = time.monotonic()
        whole = len(self._bytes) // FORM.size * FORM.size
        for kind, number in FORM.iter_unpack(self._bytes[:whole]):
            if kind == SAVED:
                self.save_seconds.append(now - self.when[SAVING])
            self.last[kind] = number
            self.count[kind] = self.count.get(kind, 0) + 1
            self.when[kind] = now
        self._bytes = self._bytes[whole:]
