"""A question answered step by step: the evidence at once, checked sentences as they are written, then the whole."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from index.encoder import Encoder
from service.answer import Answer, AnswerPolicy
from service.outcome import Written, WrittenSentence
from service.reach import Question, Reach
from service.together import Computing

if TYPE_CHECKING:  # the writer is loaded only by a service that writes
    from service.metrics import Measured
    from service.writer import Writer


@dataclass(frozen=True, slots=True)
class Outcome:
    """The last step: the answer, and what became of the written one if there was to be one."""

    answer: Answer
    written: Written | None


Step: TypeAlias = Answer | WrittenSentence | Outcome


@dataclass(frozen=True, slots=True)
class Asking:
    """What questions are answered with."""

    policy: AnswerPolicy
    writer: Writer | None
    encoder: Encoder
    computing: Computing
    measured: Measured

    def steps(self, reach: Reach, question: Question, *, write: bool = True) -> Generator[Step]:
        """Yield the answer from the evidence, sentences that passed every check, and the outcome.

        Closed in between, it leaves the endpoint.
        """
        answer = reach.ask(question, self.policy)
        self.measured.note_steps(answer.timings_ms)
        self.measured.note_answer(answerable=answer.answerable)
        yield answer
        written: Written | None = None
        if write and self.writer is not None:
            with closing(self.writer.follow(answer, self.encoder, self.computing.gate)) as events:
                for event in events:
                    if isinstance(event, Written):
                        written = event
                    else:
                        yield event
        yield Outcome(answer, written)

    def outcome(self, reach: Reach, question: Question, *, write: bool = True) -> Outcome:
        """Return the last step."""
        *_, last = self.steps(reach, question, write=write)
        assert isinstance(last, Outcome)  # noqa: S101
        return last
