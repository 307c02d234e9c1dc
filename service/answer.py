"""A question becomes an answer: hits, evidence, the decision, numbered citations. Users and eval call this.

Nothing is quoted from memory: each quote is read again from the stored text at the moment of answering, and a
citation whose place no longer says what was found is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from index import DEFAULT_COLLECTION, Documents, Filters, Hit, Span, View
from index.errors import SettingsRejected
from index.records import Location
from service.abstention import Calibration, confidence, load_calibration
from service.followup import searched_query
from service.receipts import Receipt, make_receipt
from service.statements import Statement, find_statements


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """What an operator decides about answers."""

    min_confidence: float = field(default_factory=lambda: load_calibration().threshold)
    calibration: Calibration = field(default_factory=load_calibration)
    max_statements: int = 3
    max_sources: int = 3
    """Of one statement, if several documents have it in the same words."""
    citation_margin: float = 0.03
    """Further evidence is cited while its score is at most this much below the best."""
    difference_margin: float = 0.1
    """The same for evidence that says nearly the same as better evidence of another document, but not quite."""


def make_policy(min_confidence: float | None, max_risk: float | None) -> AnswerPolicy:
    """Return the policy that two settings ask for, of which one may be given.

    Raises:
        SettingsRejected: if both are, or so little risk was never measured.
    """
    if min_confidence is not None and max_risk is not None:
        raise SettingsRejected("settings_invalid", "Set min_confidence or max_risk, not both.")
    if max_risk is not None:
        return AnswerPolicy(min_confidence=load_calibration().confidence_for(max_risk))
    return AnswerPolicy() if min_confidence is None else AnswerPolicy(min_confidence=min_confidence)


@dataclass(frozen=True, slots=True)
class Citation:
    """One numbered piece of evidence; ``quote`` is exactly what the stored text says at ``span``."""

    number: int
    hit: Hit
    span: Span
    quote: str
    score: float
    receipt: Receipt
    location: Location | None = None
    same_as: int | None = None
    """Number of the citation that has all of these words, if this is another source of one statement."""
    differs_from: int | None = None
    """Number of the citation that says nearly the same, but not quite."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the documents say to a question. ``text`` is ``None`` and ``closest`` is filled if they do not say."""

    question: str
    searched: str
    """What was really searched: the question, or the earlier query's words and then the question's."""
    answerable: bool
    confidence: float
    text: str | None
    citations: tuple[Citation, ...]
    closest: tuple[Hit, ...]
    locations: tuple[Location, ...]
    """Of the closest."""
    generation: int
    timings_ms: Mapping[str, float]


CONTEXT = 20
"""Passages looked at for the decision, whatever number the caller wants to see."""


def answer_question(
    documents: Documents,
    question: str,
    *,
    top_k: int = 5,
    collection: str = DEFAULT_COLLECTION,
    filters: Filters | None = None,
    policy: AnswerPolicy | None = None,
    as_of: int | None = None,
    previous: str | None = None,
) -> Answer:
    """Answer ``question`` from the documents, or say that they do not.

    Args:
        documents: a library, or a view of it.
        question: in any language.
        top_k: how many passages evidence is drawn from, and closest passages shown at most; 1 to 100.
        collection, filters: which documents to search.
        policy: when to answer, how much to cite.
        as_of: an earlier generation to answer from, if it is still kept.
        previous: what was searched before in the same conversation; see :mod:`service.followup`.

    Raises:
        QuestionRejected, FilterRejected: if question, ``top_k`` or filters cannot be used.
        GenerationNotKept: if there is no such generation.
    """
    rules = policy or AnswerPolicy()
    started = time.perf_counter()
    searched = searched_query(question, previous)
    with documents.view(as_of) as view:
        result = view.search(searched, max(top_k, CONTEXT), collection, filters)
        statements, distinct = find_statements(result.hits, top_k)
        probability = confidence(distinct, [statement.evidence for statement in statements], rules.calibration)
        citations: tuple[Citation, ...] = ()
        if probability >= rules.min_confidence:
            citations = tuple(_cite(view, _worth_citing(statements, rules), rules))
        answerable = bool(citations)
        closest = () if answerable else result.hits[:top_k]
        locations = view.locations([(hit.document.id, hit.passage.span) for hit in closest])
    timings = dict(result.timings_ms)
    timings["total"] = (time.perf_counter() - started) * 1000
    return Answer(
        question=question,
        searched=searched,
        answerable=answerable,
        confidence=probability,
        text="\n".join(each.quote for each in citations if each.same_as is None) if answerable else None,
        citations=citations,
        closest=closest,
        locations=tuple(locations),
        generation=result.generation,
        timings_ms=timings,
    )


def _worth_citing(statements: list[Statement], rules: AnswerPolicy) -> Iterator[Statement]:
    chosen: list[Statement] = []
    for statement in statements:
        disputed = any(statement.differs_from is each for each in chosen)
        margin = rules.difference_margin if disputed else rules.citation_margin
        if len(chosen) < rules.max_statements and statement.evidence.score >= statements[0].evidence.score - margin:
            chosen.append(statement)
            yield statement


def _cite(view: View, statements: Iterable[Statement], rules: AnswerPolicy) -> Iterator[Citation]:
    """Number the evidence whose stored text still says what was found."""
    number = 0
    numbers: dict[int, int] = {}
    for statement in statements:
        first: int | None = None
        for item in (statement.evidence, *statement.copies)[: rules.max_sources]:
            quote = view.quote(item.hit.document.id, item.span)
            if quote and quote == item.quote:
                number += 1
                receipt = make_receipt(item.hit.document, view.generation, item.span, quote)
                differs_from = numbers.get(id(statement.differs_from)) if first is None else None
                (location,) = view.locations([(item.hit.document.id, item.span)])
                yield Citation(number, item.hit, item.span, quote, item.score, receipt, location, first, differs_from)
                first = first or number
        if first:
            numbers[id(statement)] = first
