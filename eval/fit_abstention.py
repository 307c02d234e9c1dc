"""Fit the calibrated decision: ``python -m eval.fit_abstention ../shared/data/xquad-dev``.

Asks every question of the development articles, in several languages, on documents that lost two of five paragraphs.
The target is that the first quote overlaps the gold; questions whose paragraph was taken out have none. Everything is
judged leave-articles-out: the weights that judge an article, and the threshold, never saw it. The weights of all
articles together are written to ``service/calibration.json``, with the figures and the risk-coverage curve.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import service.abstention
from eval.cases import Case
from eval.formats import read_dataset
from eval.measures import expected_calibration_error, overlaps, risk_coverage
from eval.run import provenance
from index import Encoder, Library, Options, find_files, open_encoder, read_file
from index.load import FoundFile
from index.search import Ranking
from service.abstention import FEATURES, Calibration, features
from service.answer import CONTEXT
from service.evidence import find_evidence

PAIRS = (("en", "de"), ("de", "de"), ("ru", "de"), ("en", "en"), ("ru", "en"))
"""Question language, document language."""
TOP_K = 5
FOLDS = 6
STRENGTH = 1.0
"""Inverse regularisation; flat between .1 and 10."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One question: features, whether the documents answer it, whether the first quote is right."""

    pair: str
    article: str
    values: tuple[float | None, ...]
    answerable: bool
    right: bool


@contextmanager
def scratch_library(encoder: Encoder, paths: Sequence[Path], ranking: Ranking | None = None) -> Iterator[Library]:
    """Index files and folders in a folder that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        Library(
            Path(scratch) / "data", encoder, writable=True, options=Options(ranking=ranking or Ranking())
        ) as library,
    ):
        library.add([read_file(file) for file in find_files(paths) if isinstance(file, FoundFile)])
        yield library


def observe(library: Library, cases: Iterable[Case], document_language: str) -> Iterator[Observation]:
    """Ask every case and describe what was found."""
    for case in cases:
        hits = library.search(case.question, CONTEXT).hits
        evidence = find_evidence(hits[:TOP_K])
        described = features(hits, evidence)
        yield Observation(
            f"{case.language}->{document_language}",
            case.group,
            tuple(described[name] for name in FEATURES),
            case.answerable,
            overlaps(evidence[0].hit.document.source, evidence[0].span, case.gold),
        )


def observe_all(folder: Path, encoder: Encoder) -> list[Observation]:
    """Ask all questions of ``folder``, which has the form of xquad-dev, on its gapped articles."""
    found: list[Observation] = []
    for language in sorted({written for _, written in PAIRS}):
        asked = [question for question, written in PAIRS if written == language]
        cases = read_dataset(folder, corpus="gapped", documents=language, questions=asked).cases
        with scratch_library(encoder, [folder / "gapped" / language]) as library:
            found += observe(library, cases, language)
    return found


def matrix(observations: Sequence[Observation], usual: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return features as rows, what cannot be told replaced by ``usual`` or the column's mean."""
    rows = np.array([[np.nan if value is None else value for value in each.values] for each in observations])
    known = ~np.isnan(rows)
    means = np.where(known, rows, 0).sum(0) / np.maximum(known.sum(0), 1) if usual is None else usual
    return np.where(known, rows, means)


def calibrate(observations: Sequence[Observation]) -> tuple[Calibration, float]:
    """Return what tells right answers from others, and the threshold that :func:`threshold` finds."""
    rows = matrix(observations)
    intercept, weights = fit(rows, np.array([each.right for each in observations]))
    least = threshold(probabilities(rows, intercept, weights), np.array([each.answerable for each in observations]))
    by_name = {name: round(float(weight), 5) for name, weight in zip(FEATURES, weights, strict=True)}
    usual = {name: round(float(mean), 5) for name, mean in zip(FEATURES, rows.mean(0), strict=True)}
    return Calibration(round(intercept, 5), by_name, usual), least


def fit(rows: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Return intercept and weights of a logistic regression on standardised features, in their own units."""
    mean, spread = rows.mean(0), rows.std(0) + 1e-9
    model = LogisticRegression(C=STRENGTH, max_iter=2000).fit((rows - mean) / spread, right)
    weights = model.coef_[0] / spread
    return float(model.intercept_[0] - weights @ mean), weights


def probabilities(rows: NDArray[np.float64], intercept: float, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fitted probability of each row."""
    found: NDArray[np.float64] = 1 / (1 + np.exp(-(rows @ weights + intercept)))
    return found


def threshold(scores: NDArray[np.float64], answerable: NDArray[np.bool_]) -> float:
    """Return the least confidence to answer with: the break-even point of precision and recall of refusals.

    There, as many questions are refused as are unanswerable, so each answer withheld wrongly stands for one given
    wrongly. It depends on the share of unanswerable questions, here two in five.
    """
    return float(np.sort(scores)[int((~answerable).sum())])


def main() -> None:
    """Observe, judge leave-articles-out, fit on everything, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    models = os.environ.get("FUNDSTELLE_MODELS_DIR")
    observations = observe_all(folder, open_encoder(models=Path(models) if models else None))
    rows = matrix(observations)
    right = np.array([each.right for each in observations])
    answerable = np.array([each.answerable for each in observations])
    articles = sorted({each.article for each in observations})
    fold = np.array([articles.index(each.article) % FOLDS for each in observations])
    scores, refused = np.empty(len(rows)), np.empty(len(rows), bool)
    thresholds: list[float] = []
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        fitted = fit(rows[train], right[train])
        scores[test] = probabilities(rows[test], *fitted)
        thresholds.append(threshold(probabilities(rows[train], *fitted), answerable[train]))
        refused[test] = scores[test] < thresholds[-1]
    figures: dict[str, dict[str, float]] = {}
    pairs = np.array([each.pair for each in observations])
    for pair in [*sorted(set(pairs)), "all"]:
        own = (pairs == pair) | (pair == "all")
        figures[pair] = {
            "AUROC answerable": float(roc_auc_score(answerable[own], scores[own])),
            "AUROC right": float(roc_auc_score(right[own], scores[own])),
            "refusal precision": float((~answerable[own & refused]).mean()),
            "refusal recall": float(refused[own & ~answerable].mean()),
            "calibration error": expected_calibration_error(scores[own], right[own]),
            "quote hit@1": float(right[own & answerable].mean()),
        }
        print(pair, {name: round(value, 3) for name, value in figures[pair].items()})
    calibration, _ = calibrate(observations)
    stored = {
        **provenance(),
        "articles": len(articles),
        "questions": len(observations),
        "folds": FOLDS,
        "leave_articles_out": {pair: {k: round(v, 4) for k, v in each.items()} for pair, each in figures.items()},
        "risk_coverage": [asdict(point) for point in risk_coverage(scores, right)],
        "threshold": round(float(np.mean(thresholds)), 3),
        "intercept": calibration.intercept,
        "weights": calibration.weights,
        "usual": calibration.usual,
    }
    target = Path(service.abstention.__file__).parent / "calibration.json"
    target.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    print(f"threshold {stored['threshold']} -> {target.name}")


if __name__ == "__main__":
    main()
