"""From an extractive answer to a written one: ask the text model, check each sentence, keep what passes.

Fail-closed: a sentence is shown only if every check passed it, and the written answer is used only if the endpoint
answered properly to the end and what survived answers the question. In all other cases the caller keeps the
extractive answer and learns why.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeAlias

from index.encoder import Encoder
from service.answer import Answer, Citation
from service.breaker import Breaker
from service.faithful import CHECKS, EvidenceText, Faithfulness
from service.faithful_support import fits_question
from service.llm import FAULTS, Endpoint, WriterFault
from service.outcome import BUCKETS, Ended, Tally, Withheld, Written, WrittenSentence
from service.prompt import build_messages
from service.written import MOST_SENTENCES, RawSentence, SentenceReader, says_no_answer

PROBLEMS: dict[str, str] = FAULTS | {
    "writer_no_answer": "The model found no answer in the evidence.",
    "writer_unfaithful": "Every sentence was withheld, or what was left does not answer the question.",
}
"""Why an answer stayed extractive although one was to be written, by stable code."""

Gate: TypeAlias = AbstractContextManager[object]
Event: TypeAlias = WrittenSentence | Withheld | Ended


@dataclass
class _Counts:
    outcomes: Counter[str] = field(default_factory=Counter)
    withheld: Counter[str] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    count: int = 0
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Work:
    """One answer to write."""

    question: str
    searched: str
    """The question, or a follow-up with the words of the earlier one before it."""
    citations: Sequence[Citation]
    encoder: Encoder
    gate: Gate


class Writer:
    """Writes answers with one endpoint.

    Args:
        endpoint: where the text model is.
        breaker: leaves the endpoint alone after several faults in a row.
        checks: which checks may object; all but in tests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        breaker: Breaker | None = None,
        checks: Sequence[str] = CHECKS,
    ) -> None:
        self.endpoint = endpoint
        self._breaker = breaker or Breaker()
        self._checks = checks
        self._counts = _Counts()

    @property
    def model(self) -> str:
        """Name of the model at the endpoint."""
        return self.endpoint.model

    def answer(self, answer: Answer, encoder: Encoder, gate: Gate | None = None) -> Written | None:
        """Return what became of a written answer to the same question; ``None`` if there is nothing to write.

        Never raises for what an endpoint does. The arguments are those of :meth:`write`.
        """
        written: Written | None = None
        for step in self.follow(answer, encoder, gate):
            written = step if isinstance(step, Written) else None
        return written

    def follow(
        self, answer: Answer, encoder: Encoder, gate: Gate | None = None
    ) -> Generator[WrittenSentence | Written]:
        """Yield checked sentences as they come, and at last what became of the whole; nothing if there is none.

        If the last has no sentences, those before it are faithful to the evidence but may not stand as the answer.
        """
        if not answer.answerable or not answer.citations:
            return
        started = time.perf_counter()
        sentences: list[WrittenSentence] = []
        withheld = 0
        problem: str | None = "writer_unfaithful"
        events = self.write(answer.question, answer.citations, encoder, gate, searched=answer.searched)
        with closing(events):
            for event in events:
                if isinstance(event, WrittenSentence):
                    sentences.append(event)
                    yield event
                elif isinstance(event, Withheld):
                    withheld += 1
                else:
                    problem = event.problem
        seconds = time.perf_counter() - started
        yield Written(() if problem else tuple(sentences), self.model, withheld, problem, seconds)

    def write(
        self,
        question: str,
        citations: Sequence[Citation],
        encoder: Encoder,
        gate: Gate | None = None,
        *,
        searched: str | None = None,
    ) -> Generator[Event]:
        """Yield checked sentences as they come, what was withheld between them, and how it ended.

        Args:
            question: as it was asked; the answer is to be in its language.
            citations: the evidence, with the numbers that marks refer to.
            encoder: the model that words are compared with.
            gate: held while sentences are checked, never while the endpoint is waited for.
            searched: what the evidence was found with, if that is more than the question.
        """
        started = time.perf_counter()
        problem: str | None = "writer_invalid"
        try:
            for event in self._events(
                _Work(question, searched or question, citations, encoder, gate or nullcontext())
            ):
                if isinstance(event, Ended):
                    problem = event.problem
                elif isinstance(event, Withheld):
                    self._count_withheld(event.objection)
                yield event
        except GeneratorExit:
            problem = "abandoned"
            raise
        finally:
            self._count(problem or "written", time.perf_counter() - started)

    def tally(self) -> Tally:
        """Return how written answers went since the start."""
        counts = self._counts
        with counts.lock:
            return Tally(
                dict(counts.outcomes),
                dict(counts.withheld),
                tuple(counts.durations),
                counts.count,
                counts.seconds,
                self._breaker.is_open,
            )

    def close(self) -> None:
        """Drop the connections to the endpoint."""
        self.endpoint.close()

    def _events(self, work: _Work) -> Iterator[Event]:
        if not self._breaker.allows():
            yield Ended("writer_paused")
            return
        reported = False
        survivors: list[WrittenSentence] = []
        try:
            with work.gate:
                checking = self._checking(work)
            quotes = {each.number: each.quote for each in work.citations if each.same_as is None}
            messages = build_messages(work.question, quotes, checking.language_name, searched=work.searched)
            pieces = self.endpoint.complete(messages)
            for sentence in _sentences(pieces, checking.language):
                if says_no_answer(sentence):
                    self._breaker.succeeded()
                    reported = True
                    yield Ended("writer_no_answer")
                    return
                event = _checked(sentence, checking, survivors, work.gate)
                if isinstance(event, WrittenSentence):
                    survivors.append(event)
                yield event
            self._breaker.succeeded()
            reported = True
            yield Ended(None if _answers(work, survivors) else "writer_unfaithful")
        except WriterFault as fault:
            if fault.theirs:
                self._breaker.failed()
                reported = True
            yield Ended(fault.code)
        finally:
            if not reported:
                self._breaker.abandoned()

    def _checking(self, work: _Work) -> Faithfulness:
        evidence = {each.number: EvidenceText(each.quote, each.hit.document.language) for each in work.citations}
        return Faithfulness(work.encoder, work.question, evidence, searched=work.searched, checks=self._checks)

    def _count(self, outcome: str, seconds: float) -> None:
        counts = self._counts
        with counts.lock:
            counts.outcomes[outcome] += 1
            counts.count += 1
            counts.seconds += seconds
            for at, limit in enumerate(BUCKETS):
                counts.durations[at] += seconds <= limit

    def _count_withheld(self, objection: str) -> None:
        with self._counts.lock:
            self._counts.withheld[objection] += 1


def _checked(
    sentence: RawSentence, checking: Faithfulness, survivors: Sequence[WrittenSentence], gate: Gate
) -> WrittenSentence | Withheld:
    if any(sentence.text == each.text for each in survivors):
        return Withheld("repeated")
    if not sentence.complete:
        return Withheld("unfinished")
    with gate:
        objection = checking.objection(sentence.text, sentence.cited)
    return WrittenSentence(sentence.text, sentence.cited) if objection is None else Withheld(objection)


def _answers(work: _Work, survivors: Sequence[WrittenSentence]) -> bool:
    """Say whether what survived speaks of what was asked, as the evidence does."""
    if not survivors:
        return False
    text = " ".join(each.text for each in survivors)
    with work.gate:
        return fits_question(work.encoder, work.searched, text, [each.quote for each in work.citations])


def _sentences(pieces: Iterator[str], language: str) -> Iterator[RawSentence]:
    """Cut the model's answer into sentences.

    Raises:
        WriterFault: if there are too many of them.
    """
    reader = SentenceReader(language)
    count = 0
    fed = (sentence for piece in pieces for sentence in reader.feed(piece))
    for count, sentence in enumerate(chain(fed, reader.end()), start=1):
        if count > MOST_SENTENCES:
            raise WriterFault("writer_invalid")
        yield sentence
    if not count:
        raise WriterFault("writer_invalid")
