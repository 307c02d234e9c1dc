"""Whether the documents answer at all: a probability from what retrieval saw, not from one similarity.

Cosines of this family of models are crowded: nonsense reaches .76, good answers start there. What tells them apart is
how far the best evidence stands out from the rest. The weights are a logistic regression fitted by
``python -m eval.fit_abstention`` on questions of which some had their paragraphs removed from the documents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from index import Hit
from service.evidence import Evidence

FEATURES = ("passage_cosine", "sentence_cosine", "margin", "spread")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weights of the logistic regression, one for each of ``FEATURES``."""

    intercept: float
    weights: tuple[float, ...]


DEFAULT = Calibration(intercept=-55.0, weights=(20.0, 45.0, 15.0, 5.0))


def features(hits: Sequence[Hit], evidence: Sequence[Evidence]) -> tuple[float, ...]:
    """Describe one question's retrieval, in the order of ``FEATURES``; needs at least one hit."""
    best = evidence[0].hit
    others = [hit.score for hit in hits if hit.passage.id != best.passage.id]
    rest = sum(others) / len(others) if others else best.score
    return (
        best.cosine,
        max(best.sentence_cosines),
        best.score - max(others, default=best.score),
        best.score - rest,
    )


def confidence(hits: Sequence[Hit], evidence: Sequence[Evidence], calibration: Calibration = DEFAULT) -> float:
    """Return the probability that the best evidence answers the question; 0 if there is none."""
    if not hits or not evidence:
        return 0.0
    values = features(hits, evidence)
    logit = calibration.intercept + sum(w * x for w, x in zip(calibration.weights, values, strict=True))
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))
