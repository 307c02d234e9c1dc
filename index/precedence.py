"""Questions go before texts to index, where both want the same few cores.

Whoever asks waits for a person's patience, an upload for a machine's. While questions come, texts are embedded in
smaller pieces, one core is left alone, and none is begun while a question is being embedded. A short while without
questions, and indexing has everything again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.25
"""Seconds that a piece waits for questions; then it goes on beside them, so that they never stop an upload."""
WHILE = 1.0
"""Seconds after a question in which another one is expected."""


class Precedence:
    """Who may compute: questions always, pieces of texts to index if there is room.

    Args:
        cores: how many pieces may run side by side if nobody asks.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._changed = threading.Condition()
        self._asking = 0
        self._running = 0
        self._asked = -WHILE

    @property
    def expected(self) -> bool:
        """Say whether questions are being asked these moments."""
        return self._asking > 0 or time.monotonic() - self._asked < WHILE

    @contextmanager
    def question(self) -> Iterator[None]:
        """Hold this while a question computes; it is never waited for."""
        with self._changed:
            self._asking += 1
        try:
            yield
        finally:
            with self._changed:
                self._asking -= 1
                self._asked = time.monotonic()
                self._changed.notify_all()

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Hold this while a piece of a text computes; wait for room first."""
        with self._changed:
            self._changed.wait_for(lambda: self._room and not self._asking, PATIENCE)
            self._changed.wait_for(lambda: self._room)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @property
    def _room(self) -> bool:
        return self._running < (max(1, self._cores - 1) if self.expected else self._cores)
