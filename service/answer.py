"""A question becomes an answer: hits, evidence, the decision, numbered citations. Users and eval call this.

Nothing is quoted from memory: each quote is read again from the stored text at the moment of answering, and a
citation whose place no longer says what was found is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from index import DEFAULT_COLLECTION, Filters, Hit, Library, Span
from service.abstention import Calibration, confidence, load_calibration
from service.evidence import Evidence, find_evidence
from service.receipts import Receipt, make_receipt


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """What an operator decides about answers."""

    min_confidence: float = 0.24
    calibration: Calibration = field(default_factory=load_calibration)
    max_citations: int = 3
    citation_margin: float = 0.03
    """Further evidence is cited while its score is at most this much below the best."""


@dataclass(frozen=True, slots=True)
class Citation:
    """One numbered piece of evidence; ``quote`` is exactly what the stored text says at ``span``."""

    number: int
    hit: Hit
    span: Span
    quote: str
    score: float
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Answer:
    """What the documents say to a question. ``text`` is ``None`` and ``closest`` is filled if they do not say."""

    question: str
    answerable: bool
    confidence: float
    text: str | None
    citations: tuple[Citation, ...]
    closest: tuple[Hit, ...]
    generation: int
    timings_ms: Mapping[str, float]


CONTEXT = 20
"""Passages looked at for the decision, whatever number the caller wants to see."""


def answer_question(
    library: Library,
    question: str,
    *,
    top_k: int = 5,
    collection: str = DEFAULT_COLLECTION,
    filters: Filters | None = None,
    policy: AnswerPolicy | None = None,
) -> Answer:
    """Answer ``question`` from the documents, or say that they do not.

    Args:
        library: the open documents.
        question: in any language.
        top_k: how many passages evidence is drawn from, and closest passages shown at most; 1 to 100.
        collection, filters: which documents to search.
        policy: when to answer, how much to cite.

    Raises:
        QuestionRejected, FilterRejected: if question, ``top_k`` or filters cannot be used.
    """
    rules = policy or AnswerPolicy()
    started = time.perf_counter()
    result = library.search(question, max(top_k, CONTEXT), collection, filters)
    hits = result.hits[:top_k]
    evidence = find_evidence(hits)
    probability = confidence(result.hits, evidence, rules.calibration)
    citations: tuple[Citation, ...] = ()
    if probability >= rules.min_confidence:
        citations = _cite(library, _worth_citing(evidence, rules), result.generation)
    answerable = bool(citations)
    timings = dict(result.timings_ms)
    timings["total"] = (time.perf_counter() - started) * 1000
    return Answer(
        question=question,
        answerable=answerable,
        confidence=probability,
        text="\n".join(citation.quote for citation in citations) if answerable else None,
        citations=citations,
        closest=() if answerable else hits,
        generation=result.generation,
        timings_ms=timings,
    )


def _worth_citing(evidence: list[Evidence], rules: AnswerPolicy) -> list[Evidence]:
    best = evidence[0].score if evidence else 0.0
    return [item for item in evidence[: rules.max_citations] if item.score >= best - rules.citation_margin]


def _cite(library: Library, evidence: list[Evidence], generation: int) -> tuple[Citation, ...]:
    """Number the evidence whose stored text still says what was found."""
    citations: list[Citation] = []
    for item in evidence:
        quote = library.quote(item.hit.document.id, item.span)
        offset = item.hit.passage.span.start
        if quote and quote == item.hit.text[item.span.start - offset : item.span.end - offset]:
            receipt = make_receipt(item.hit.document, generation, item.span, quote)
            citations.append(Citation(len(citations) + 1, item.hit, item.span, quote, item.score, receipt))
    return tuple(citations)
