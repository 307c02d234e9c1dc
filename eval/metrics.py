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


def expected_calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Mean distance of confidence from the share that is right, over bins of equal width (Guo et al. 2017)."""
    error = 0.0
    for number in range(bins):
        inside = [
            (confidence, correct)
            for confidence, correct in zip(confidences, right, strict=True)
            if min(int(confidence * bins), bins - 1) == number
        ]
        if inside:
            gap = fmean(confidence for confidence, _ in inside) - fmean(float(correct) for _, correct in inside)
            error += abs(gap) * len(inside) / len(confidences)
    return error


def risk_coverage(confidences: Sequence[float], right: Sequence[bool], points: int = 20) -> list[dict[str, float]]:
    """What answering only above a confidence costs and gains (El-Yaniv & Wiener 2010).

    Returns:
        For each of ``points`` coverages (share of questions answered): the least confidence that is answered, and the
        risk (share of those answers that are wrong).
    """
    ordered = sorted(zip(confidences, right, strict=True), key=lambda pair: -pair[0])
    curve: list[dict[str, float]] = []
    for point in range(1, points + 1):
        count = max(1, round(len(ordered) * point / points))
        wrong = sum(not correct for _, correct in ordered[:count])
        curve.append(
            {
                "coverage": round(count / len(ordered), 4),
                "confidence": round(ordered[count - 1][0], 4),
                "risk": round(wrong / count, 4),
            }
        )
    return curve
