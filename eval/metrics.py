"""Measures of ranked passages and of answers, as pure functions with their standard names.

A ranking is given as relevance by rank: ``[False, True, ...]`` says the second passage overlaps a gold span. A
question without results is an empty list and scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from eval.cases import Gold
from index import Span


def overlaps(source: str, span: Span, gold: Sequence[Gold]) -> bool:
    """Whether a returned place shares at least one code point with a gold span of the same source."""
    return any(item.source == source and span.start < item.span.end and item.span.start < span.end for item in gold)


def hit_at(relevance: Sequence[bool], k: int) -> float:
    """1 if one of the first ``k`` is relevant, else 0."""
    return float(any(relevance[:k]))


def reciprocal_rank(relevance: Sequence[bool], k: int = 10) -> float:
    """1 / rank of the first relevant among the first ``k``, 0 if there is none (Voorhees 1999)."""
    return next((1 / rank for rank, relevant in enumerate(relevance[:k], start=1) if relevant), 0.0)


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; ``None`` of nothing, which is not the same as 0."""
    return fmean(values) if values else None
