"""Measures of rankings and of answers, with their standard names, and their intervals.

Rankings are measured by ir-measures (MacAvaney et al. 2022), which gives a question without results 0. The measures
of answers are functions of :class:`Outcomes`, so that they can be resampled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.cases import CasesRejected, Gold
from eval.records import CalibrationBin, Estimate, Record
from index import Span
from service.abstention import RiskPoint

DEPTH = 10
"""Ranks that count."""
RANKING = ("hit@1", "hit@5", "recall@10", "nDCG@10", "MRR@10")
RESAMPLES = 1000
SEED = 20261122


def overlaps(source: str, span: Span, gold: Sequence[Gold]) -> bool:
    """Whether a returned place shares at least one code point with a gold span of the same source."""
    return any(item.source == source and span.overlaps(item.span) for item in gold)


def measure_rankings(
    relevant: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Measure every case's ranking.

    Args:
        relevant: for each case the relevance of the pieces that are relevant; a case without any is not measured.
        rankings: for each case the pieces returned, best first, each once.

    Returns:
        For each case of ``relevant`` a value for each of ``RANKING``: Success@1, Success@5, R@10, nDCG@10, RR@10.

    Raises:
        CasesRejected: if the packages of the extra 'eval' are not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise CasesRejected("extra_missing", "Measuring rankings needs the package ir-measures.") from error
    measures = {
        ir_measures.Success @ 1: "hit@1",
        ir_measures.Success @ 5: "hit@5",
        ir_measures.R @ 10: "recall@10",
        ir_measures.nDCG @ 10: "nDCG@10",
        ir_measures.RR @ 10: "MRR@10",
    }
    judged = {case: dict(pieces) for case, pieces in relevant.items() if pieces}
    run = {
        case: {piece: 1 / rank for rank, piece in enumerate(rankings.get(case, ())[:DEPTH], start=1)}
        for case in judged
    }
    found: dict[str, dict[str, float]] = {case: {} for case in judged}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for metric in ir_measures.iter_calc(list(measures), judged, run) if judged else ():
            found[metric.query_id][measures[metric.measure]] = float(metric.value)
    return found


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Records as columns, each of shape (cases,)."""

    answerable: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    right: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    citations: NDArray[np.float64]
    valid: NDArray[np.float64]
    characters: NDArray[np.float64]
    ranking: Mapping[str, NDArray[np.float64]]
    """Not a number where a case has no gold."""

    def take(self, rows: NDArray[np.int64]) -> Outcomes:
        """Return the cases at ``rows``, repeated as they are there."""
        return Outcomes(
            self.answerable[rows],
            self.answered[rows],
            self.right[rows],
            self.confidence[rows],
            self.citations[rows],
            self.valid[rows],
            self.characters[rows],
            {name: values[rows] for name, values in self.ranking.items()},
        )

    @classmethod
    def of(cls, records: Sequence[Record]) -> Outcomes:
        """Arrange records as columns."""
        return cls(
            np.array([record.answerable for record in records], bool),
            np.array([record.answered for record in records], bool),
            np.array([record.right for record in records], bool),
            np.array([record.confidence for record in records], float),
            np.array([record.citations for record in records], float),
            np.array([record.valid_citations for record in records], float),
            np.array([len(record.quote.text) if record.quote else np.nan for record in records], float),
            {name: np.array([record.measures.get(name, np.nan) for record in records], float) for name in RANKING},
        )


Measure = Callable[[Outcomes], float]
"""A figure, or not a number where there is nothing to measure."""


def ratio(part: float, whole: float) -> float:
    """Return ``part / whole``; not a number of nothing, which is not the same as 0."""
    return float(part / whole) if whole else float("nan")


def refusal_auroc(outcomes: Outcomes) -> float:
    """Area under the ROC curve of ``confidence`` telling answerable from unanswerable questions."""
    if outcomes.answerable.all() or not outcomes.answerable.any():
        return float("nan")
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(outcomes.answerable, outcomes.confidence))


def calibration_error(outcomes: Outcomes) -> float:
    """Expected calibration error over ten bins of equal width (Guo et al. 2017)."""
    return expected_calibration_error(outcomes.confidence, outcomes.right)


def _ranking_mean(name: str) -> Measure:
    def mean(outcomes: Outcomes) -> float:
        values = outcomes.ranking[name][outcomes.answerable]
        return ratio(float(values.sum()), len(values))

    return mean


def _quote_characters(outcomes: Outcomes) -> float:
    values = outcomes.characters[~np.isnan(outcomes.characters)]
    return ratio(float(values.sum()), len(values))


MEASURES: dict[str, Measure] = {
    **{name: _ranking_mean(name) for name in RANKING},
    "quote hit@1": lambda o: ratio(float((o.right & o.answerable).sum()), float(o.answerable.sum())),
    "quote characters": _quote_characters,
    "answered right": lambda o: ratio(float((o.right & o.answered).sum()), float(o.answerable.sum())),
    "coverage": lambda o: ratio(float(o.answered.sum()), len(o.answered)),
    "risk": lambda o: ratio(float((o.answered & ~o.right).sum()), float(o.answered.sum())),
    "refusal precision": lambda o: ratio(float((~o.answered & ~o.answerable).sum()), float((~o.answered).sum())),
    "refusal recall": lambda o: ratio(float((~o.answered & ~o.answerable).sum()), float((~o.answerable).sum())),
    "refusal AUROC": refusal_auroc,
    "calibration error": calibration_error,
    "citation validity": lambda o: ratio(float(o.valid.sum()), float(o.citations.sum())),
}
LOWER_IS_BETTER = frozenset({"risk", "calibration error"})
NEITHER_IS_BETTER = frozenset({"quote characters", "coverage"})


def draw_groups(groups: Sequence[str], resamples: int = RESAMPLES) -> list[NDArray[np.int64]]:
    """Draw bootstrap samples of whole groups; a case of no group is one of its own.

    Returns:
        ``resamples`` arrays of row numbers (Field & Welsh 2007, the cluster bootstrap).
    """
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group or f"\0{row}", []).append(row)
    members = [np.array(each, np.int64) for each in rows.values()]
    random = np.random.default_rng(SEED)
    return [
        np.concatenate([members[number] for number in random.integers(0, len(members), len(members))])
        for _ in range(resamples)
    ]


def estimate(measure: Measure, outcomes: Outcomes, samples: Iterable[NDArray[np.int64]]) -> Estimate:
    """Return a measure with the 2.5th and 97.5th percentile of its resampled values."""
    return interval(measure(outcomes), [measure(outcomes.take(rows)) for rows in samples], len(outcomes.answered))


def interval(value: float, resampled: Sequence[float], count: int) -> Estimate:
    """Return an estimate from a value and its resampled values, of which some may not be numbers."""
    if np.isnan(value):
        return Estimate(None, None, None, count)
    known = np.array([each for each in resampled if not np.isnan(each)])
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (value, value)
    return Estimate(round(value, 4), round(float(low), 4), round(float(high), 4), count)


def expected_calibration_error(confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean distance of confidence from the share that is right, over bins of equal width (Guo et al. 2017)."""
    if not len(confidences):
        return float("nan")
    return sum(
        abs(each.confidence - each.right) * each.count for each in calibration_bins(confidences, right, bins)
    ) / len(confidences)


def calibration_bins(
    confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> list[CalibrationBin]:
    """Return the bins of a reliability diagram that have any answers, from low confidence to high."""
    numbers = np.minimum((confidences * bins).astype(int), bins - 1)
    return [
        CalibrationBin(int(inside.sum()), float(confidences[inside].mean()), float(right[inside].mean()))
        for number in range(bins)
        if (inside := numbers == number).any()
    ]


def risk_coverage(confidences: NDArray[np.float64], right: NDArray[np.bool_], points: int = 50) -> list[RiskPoint]:
    """Return what answering only above a confidence costs and gains (El-Yaniv & Wiener 2010).

    Each of the ``points`` is the least confidence that answers a share of the questions; questions of equal
    confidence are answered or refused together.
    """
    order = np.argsort(-confidences, kind="stable")
    wrong = np.cumsum(~right[order])
    curve: dict[int, RiskPoint] = {}
    for point in range(1, points + 1):
        least = confidences[order[max(1, round(len(order) * point / points)) - 1]]
        count = int((confidences >= least).sum())
        curve[count] = RiskPoint(
            round(count / len(order), 4), round(float(least), 5), round(float(wrong[count - 1]) / count, 4)
        )
    return list(curve.values())
