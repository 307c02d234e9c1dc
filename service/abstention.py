"""Whether the documents answer at all: a calibrated probability from what retrieval saw, not from one similarity.

Cosines of this family of models are crowded: nonsense reaches .76, good answers start there. What tells them apart is
how well the words of the question are met, and how far the best passage stands out from all the rest. The distance to
the second best says more on questions that one passage answers, and less where several do, as they do in archives;
it is left out on purpose. The weights are a logistic regression fitted by ``python -m eval.fit_abstention`` on
questions of which some had their paragraphs taken out of the documents; its target is that the first citation's quote
is right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

from index import Hit
from index.errors import SettingsRejected
from service.evidence import Evidence

FEATURES = ("word_match", "unmet_words", "standout")
_FILE = Path(__file__).parent / "calibration.json"
_MET = 0.5
"""Cosine of two token states from which on one word meets the other."""
_FEWEST = 3
"""With fewer other passages than this, nothing can be said about standing out."""


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """Answering only from ``confidence`` on answers ``coverage`` of all questions, ``risk`` of those wrongly."""

    coverage: float
    confidence: float
    risk: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic regression; ``usual`` stands in for a feature that cannot be told."""

    intercept: float
    weights: Mapping[str, float]
    usual: Mapping[str, float]
    threshold: float = 0.5
    """Least confidence to answer with if nothing else is asked for: the break-even point of refusals."""
    curve: tuple[RiskPoint, ...] = ()
    """What was measured on articles that the weights had not seen."""

    def confidence_for(self, max_risk: float) -> float:
        """Return the least confidence from which on at most ``max_risk`` of the answers were wrong.

        Raises:
            SettingsRejected: if no confidence was enough for that.
        """
        able = [point for point in self.curve if point.risk <= max_risk]
        if not able:
            least = min((point.risk for point in self.curve), default=1.0)
            raise SettingsRejected(
                "settings_invalid", f"max_risk is {max_risk}, but the least risk that was measured is {least}."
            )
        return min(point.confidence for point in able)


def load_calibration() -> Calibration:
    """Return the shipped calibration."""
    stored = json.loads(_FILE.read_text("utf-8"))
    curve = tuple(RiskPoint(**point) for point in stored["risk_coverage"])
    return Calibration(stored["intercept"], stored["weights"], stored["usual"], stored["threshold"], curve)


def features(hits: Sequence[Hit], evidence: Sequence[Evidence]) -> dict[str, float | None]:
    """Describe one question's retrieval, by the names of ``FEATURES``; ``None`` for what cannot be told.

    Args:
        hits: what was found, at least one.
        evidence: the best quotes, best first, at least one.
    """
    best = evidence[0]
    others = [hit.score for hit in hits if hit.passage.id != best.hit.passage.id]
    enough = len(others) >= _FEWEST
    return {
        "word_match": best.word_match,
        "unmet_words": _unmet_words(best),
        "standout": (best.hit.score - fmean(others)) / max(pstdev(others), 1e-3) if enough else None,
    }


def _unmet_words(evidence: Evidence) -> float | None:
    """Return the share of the question's weight that no word of the quote meets; ``None`` without token states."""
    matches, origin = evidence.hit.matches, evidence.hit.passage.span.start
    if matches is None:
        return None
    (met,) = matches.best_within([evidence.span.start - origin], [evidence.span.end - origin])
    return float(matches.weights[met < _MET].sum())


def confidence(hits: Sequence[Hit], evidence: Sequence[Evidence], calibration: Calibration) -> float:
    """Return the probability that the best evidence answers the question; 0 if there is none."""
    if not hits or not evidence:
        return 0.0
    logit = calibration.intercept
    for name, value in features(hits, evidence).items():
        logit += calibration.weights[name] * (calibration.usual[name] if value is None else value)
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))
