"""What an evaluation writes down: one record for each case, figures with intervals, and the run they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.abstention import RiskPoint


@dataclass(frozen=True, slots=True)
class Place:
    """A range of a document, with its words for people who read the report."""

    source: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """What came back for one case."""

    id: str
    language: str
    document_language: str
    """Of the document with the gold; empty if there is none, or it was never indexed."""
    group: str
    question: str
    gold: tuple[Place, ...]
    answerable: bool
    answered: bool
    confidence: float
    quote: Place | None
    """The best evidence, also of a question that was refused; ``None`` if nothing was found."""
    right: bool
    """Whether that evidence is gold."""
    rank: int | None
    """Of the first relevant passage among those returned."""
    measures: Mapping[str, float]
    """Of the ranking, by name; empty for a case without gold."""
    citations: int
    valid_citations: int
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over ``count`` cases with its 95 % bootstrap interval; ``None`` where there is nothing to measure."""

    value: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class LanguagePair:
    """How questions of one language fare on gold in another."""

    question_language: str
    document_language: str
    mean_rank: float | None
    """Of the first relevant passage, where one was returned."""
    measures: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A trivial system on the same documents and cases."""

    name: str
    description: str
    units: int
    """Pieces it ranks."""
    measures: Mapping[str, Estimate]
    median_ms: float
    ranks: Mapping[str, int | None]
    """By case: rank of the first relevant piece."""


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The answers of one tenth of the scale of confidence: how many, how confident, how many right."""

    count: int
    confidence: float
    right: float


@dataclass(frozen=True, slots=True)
class StepTime:
    """Milliseconds of one step of an answer."""

    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Report:
    """One run: where it came from, its figures, and every record behind them."""

    form: int
    """Of this file; rises when a field changes its meaning."""
    created: str
    commit: str
    versions: Mapping[str, str]
    seed: int
    """Of the bootstrap; nothing else is random."""
    dataset: str
    documents: int
    passages: int
    generation: int
    model: str
    """Name and fingerprint."""
    engine: str
    settings: Mapping[str, float | int | str | None]
    measures: Mapping[str, Estimate]
    languages: tuple[LanguagePair, ...]
    timings_ms: Mapping[str, StepTime]
    risk_coverage: tuple[RiskPoint, ...]
    calibration: tuple[CalibrationBin, ...]
    baselines: tuple[Baseline, ...]
    records: tuple[Record, ...]
