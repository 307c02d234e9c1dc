"""What became of a written answer, as records: light, so that a service that writes nothing loads nothing for it."""

from __future__ import annotations

from dataclasses import dataclass

BUCKETS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
"""Seconds, for the histogram."""


@dataclass(frozen=True, slots=True)
class WrittenSentence:
    """A sentence that passed every check; ``citations`` are the numbers of the evidence it rests on."""

    text: str
    citations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Withheld:
    """A sentence that did not; ``objection`` is one of ``CHECKS`` of the checks, "repeated" or "unfinished"."""

    objection: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event. With a ``problem``, one of the writer's, nothing before it may stand as the answer."""

    problem: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a written answer; without sentences there is none, and ``problem`` says why."""

    sentences: tuple[WrittenSentence, ...]
    model: str
    withheld: int
    problem: str | None
    seconds: float

    @property
    def text(self) -> str:
        """The sentences with their marks."""
        return " ".join(
            f"{each.text} {''.join(f'[{number}]' for number in each.citations)}" for each in self.sentences
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """How written answers went since the start."""

    outcomes: dict[str, int]
    """By "written" or the problem."""
    withheld: dict[str, int]
    """Sentences by objection."""
    buckets: tuple[int, ...]
    """How many took at most so many seconds, for each of ``BUCKETS``."""
    count: int
    seconds: float
    open: bool
    """Whether the endpoint is being left alone."""
