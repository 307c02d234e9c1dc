"""Keeps an open data folder's index in shape, from a thread of its own: compaction, recall, memory given back."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from index.errors import FundstelleError
from index.memory import give_back, held

LEAST = 1_000
"""Passages that must have changed for a new base: fewer cost a search less than a tenth of a millisecond."""

_WORTH_GIVING = 8 * 2**20
"""Bytes that the process has grown by: files that were refused, and long texts that were read, change nothing."""
_SECONDS = 1.0
_QUESTIONS = 1_000
"""Between two looks at the recall, of some seconds each."""

_log = logging.getLogger("fundstelle")


class Kept(Protocol):
    """What is kept in shape."""

    def worth_compacting(self, least: int = 0) -> bool:
        """Say whether a new base should be built."""
        ...

    def compact(self) -> bool:
        """Build one."""
        ...

    def measure_recall(self) -> None:
        """Compare with exact search."""
        ...

    @property
    def generation(self) -> int:
        """What searches see; while it stays, nothing needs to be counted again."""
        ...

    @property
    def questions_asked(self) -> int:
        """How many questions there were."""
        ...


class Upkeep:
    """The thread."""

    def __init__(self, kept: Kept, seconds: float = _SECONDS, least: int = LEAST) -> None:
        self._kept = kept
        self._seconds = seconds
        self._least = least
        self._measured_at = 0
        self._settled_at: int | None = None
        self._gave_back = False
        self._held = held()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> Upkeep:
        """Begin; returns itself."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop, once what is being built is finished."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._look()
            except FundstelleError as error:
                _log.error("upkeep: %s: %s", error.code, error.message)
            except Exception:
                _log.exception("upkeep failed; it is tried again")

    def _look(self) -> None:
        generation = self._kept.generation
        if generation != self._settled_at:
            if self._kept.worth_compacting(self._least) and not self._kept.compact():
                return  # another change came in between, or the disk is full: look again
            self._settled_at = generation
            self._gave_back = False
        elif not self._gave_back:  # some time has passed without a change: large documents were, perhaps
            self._give_back()
            self._gave_back = True
        self._held = min(self._held, held())
        if held() - self._held > _WORTH_GIVING:
            self._give_back()
        if self._kept.questions_asked - self._measured_at >= _QUESTIONS:
            self._measured_at = self._kept.questions_asked
            self._kept.measure_recall()
            self._give_back()

    def _give_back(self) -> None:
        give_back()
        self._held = held()
