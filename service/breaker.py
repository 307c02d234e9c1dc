"""A circuit breaker: what has failed several times in a row is left alone for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAILURES = 5
PAUSE = 30.0
"""Seconds; doubled each time the trial after a pause fails, up to ``LONGEST_PAUSE``."""
LONGEST_PAUSE = 300.0


class Breaker:
    """Counts failures in a row. Open, it lets nothing through; after a pause, one trial at a time.

    Args:
        failures: so many in a row open it.
        pause: seconds until the first trial.
        clock: seconds that only go forward.
    """

    def __init__(
        self, failures: int = FAILURES, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._pause = self._next_pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_again_at = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether it has opened and no trial has succeeded since."""
        with self._lock:
            return self._failures >= self._limit

    def allows(self) -> bool:
        """Say whether to try now. Whoever is allowed must report how it went."""
        with self._lock:
            if self._failures < self._limit:
                return True
            if self._trying or self._clock() < self._closed_again_at:
                return False
            self._trying = True
            return True

    def succeeded(self) -> None:
        """Report a success."""
        with self._lock:
            self._failures, self._trying, self._next_pause = 0, False, self._pause

    def failed(self) -> None:
        """Report a failure."""
        with self._lock:
            self._failures += 1
            if self._failures > self._limit and self._trying:
                self._next_pause = min(2 * self._next_pause, LONGEST_PAUSE)
            if self._failures >= self._limit:
                self._closed_again_at = self._clock() + self._next_pause
            self._trying = False

    def abandoned(self) -> None:
        """Report that a try ended without telling anything, because nobody waits for it any more."""
        with self._lock:
            self._trying = False
