"""Ask every case what a user would ask, through the same functions, and write down what came back."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import TypedDict

import numpy as np

from eval.cases import Case, Dataset
from eval.measures import (
    DEPTH,
    MEASURES,
    RANKING,
    SEED,
    Outcomes,
    calibration_bins,
    draw_groups,
    estimate,
    interval,
    measure_rankings,
    overlaps,
    risk_coverage,
)
from eval.records import Baseline, Estimate, LanguagePair, Place, Record, Report, StepTime
from eval.systems import Passages, Pieces, System, baselines, documents, timed
from index import Documents, Span
from index.errors import QuestionRejected
from service.answer import Answer, AnswerPolicy, Citation, answer_question

FORM = 2
PACKAGES = (
    "fundstelle",
    "faiss-cpu",
    "openvino",
    "sentence-transformers",
    "langchain-text-splitters",
    "sentencex",
    "ir-measures",
    "bm25s",
)

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many cases are done, and of how many."""


def ask_all(
    dataset: Dataset, library: Documents, policy: AnswerPolicy, progress: Progress = lambda name, done, total: None
) -> list[Record]:
    """Ask every case.

    Gold in a document that was never indexed is a miss; a question without results counts as 0.

    Raises:
        CasesRejected: if the packages of the extra 'eval' are not installed.
    """
    own = Passages(library)
    rankings: dict[str, list[str]] = {}
    for done, case in enumerate(dataset.cases):
        progress("ranking", done, len(dataset.cases))
        rankings[case.id] = own.rank(case.question, DEPTH)
    measured, ranks = _measure(own.pieces, rankings, dataset)
    languages = {document.source: document.language for document in documents(library)}
    records: list[Record] = []
    for done, case in enumerate(dataset.cases):
        progress("answers", done, len(dataset.cases))
        record = run_case(case, library, policy, languages)
        records.append(replace(record, measures=measured.get(case.id, {}), rank=ranks[case.id]))
    return records


def evaluate(
    dataset: Dataset,
    library: Documents,
    policy: AnswerPolicy,
    *,
    beside: Sequence[System] | None = None,
    progress: Progress = lambda name, done, total: None,
) -> Report:
    """Ask every case and measure.

    Args:
        dataset: what to ask.
        library: the indexed documents.
        policy: as the service would answer.
        beside: baselines; ``None`` for the usual ones.
        progress: see :data:`Progress`.

    Raises:
        CasesRejected: if the packages of the extra 'eval' are not installed.
    """
    records = ask_all(dataset, library, policy, progress)
    samples = draw_groups([record.group for record in records])
    outcomes = Outcomes.of(records)
    answerable = [case for case in dataset.cases if case.answerable]
    trivial: list[Baseline] = []
    for system in baselines(library) if beside is None else beside:
        progress(system.name, len(records), len(records))
        trivial.append(measure_baseline(system, dataset, answerable))
    info, totals = library.encoder.info, library.counts()
    return Report(
        form=FORM,
        **provenance(),
        seed=SEED,
        dataset=dataset.name,
        documents=totals.documents,
        passages=totals.passages,
        generation=library.generation,
        model=f"{info.name} {info.fingerprint}",
        engine=info.engine,
        settings={
            "min_confidence": policy.min_confidence,
            "max_statements": policy.max_statements,
            "max_sources": policy.max_sources,
            "citation_margin": policy.citation_margin,
            "difference_margin": policy.difference_margin,
        },
        measures={name: estimate(measure, outcomes, samples) for name, measure in MEASURES.items()},
        languages=tuple(_by_language(records)),
        timings_ms=timings(records),
        risk_coverage=tuple(risk_coverage(outcomes.confidence, outcomes.right)),
        calibration=tuple(calibration_bins(outcomes.confidence, outcomes.right)),
        baselines=tuple(trivial),
        records=tuple(records),
    )


def run_case(
    case: Case, library: Documents, policy: AnswerPolicy, languages: Mapping[str, str] | None = None
) -> Record:
    """Ask one case; the ranking is measured for all together."""
    document_language = next((languages[g.source] for g in case.gold if languages and g.source in languages), "")
    asked = Record(
        id=case.id,
        language=case.language,
        document_language=document_language,
        group=case.group,
        question=case.question,
        gold=tuple(_place(library, item.source, item.span) for item in case.gold),
        answerable=case.answerable,
        answered=False,
        confidence=0.0,
        quote=None,
        right=False,
        rank=None,
        measures={},
        citations=0,
        valid_citations=0,
        timings_ms={},
    )
    # With the threshold at 0 the evidence of a refused question can be judged, too; the decision is the policy's.
    try:
        answer = answer_question(library, case.question, policy=replace(policy, min_confidence=0.0))
    except QuestionRejected:  # such as one that is too long; a dataset may hold anything
        return asked
    first = answer.citations[0] if answer.citations else None
    return replace(
        asked,
        answered=first is not None and answer.confidence >= policy.min_confidence,
        confidence=answer.confidence,
        quote=_quoted(first) if first else None,
        right=first is not None and overlaps(first.hit.document.source, first.span, case.gold),
        citations=len(answer.citations),
        valid_citations=sum(_is_valid(library, answer)),
        timings_ms={name: round(value, 3) for name, value in answer.timings_ms.items()},
    )


def write_json(report: Report, out: Path) -> Path:
    """Write the report into the folder ``out`` under a name that is not taken; return the file."""
    out.mkdir(parents=True, exist_ok=True)
    stem = "".join(c if c.isalnum() or c in "-." else "-" for c in f"{report.dataset}-{report.created}")
    content = json.dumps(asdict(report), ensure_ascii=False, indent=1) + "\n"
    for number in range(1, 1000):
        file = out / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(content)
        except FileExistsError:
            continue
        return file
    raise AssertionError("a thousand runs in one second")


def summary_lines(report: Report) -> Iterator[str]:
    """Print a report's figures."""
    yield f"{report.dataset}: {len(report.records)} cases, commit {report.commit}, {report.engine}"
    names = [system.name for system in report.baselines]
    yield f"  {'':18} {'value':>7} {'95 % interval':>16}   {'  '.join(f'{name:>14}' for name in names)}".rstrip()
    for name, found in report.measures.items():
        others = [system.measures.get(name) for system in report.baselines]
        row = "  ".join(f"{_figure(other):>14}" if other else " " * 14 for other in others)
        span = "" if found.low is None else f"{_number(found.low)} to {_number(found.high)}"
        yield f"  {name:18} {_figure(found):>7} {span:>16}   {row}".rstrip()
    steps = ", ".join(f"{name} {step.median:.1f}" for name, step in report.timings_ms.items())
    yield f"  milliseconds (median): {steps}"


class Provenance(TypedDict):
    """What a result must carry to be repeated: when, which commit, which versions."""

    created: str
    commit: str
    versions: dict[str, str]


def provenance() -> Provenance:
    """Return when, from which commit and with which versions this runs."""
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"), commit=_commit(), versions=dict(_versions())
    )


def _measure(
    pieces: Pieces, rankings: Mapping[str, list[str]], dataset: Dataset
) -> tuple[dict[str, dict[str, float]], dict[str, int | None]]:
    """Return the ranking measures of answerable cases, and for all the rank of the first relevant piece."""
    whole = dataset.whole_documents
    relevant = {case.id: pieces.relevant(case.gold, whole_documents=whole) for case in dataset.cases}
    judged = {case: pieces.judged(found, whole_documents=whole) for case, found in rankings.items()}
    ranks = {
        case: next((rank for rank, name in enumerate(found, start=1) if name in relevant[case]), None)
        for case, found in judged.items()
    }
    return measure_rankings(relevant, judged), ranks


def measure_baseline(system: System, dataset: Dataset, answerable: Sequence[Case]) -> Baseline:
    """Rank for the answerable cases of ``dataset`` and measure."""
    rankings, spent = timed(system, {case.id: case.question for case in answerable}, DEPTH)
    measured, ranks = _measure(system.pieces, rankings, replace(dataset, cases=tuple(answerable)))
    samples = draw_groups([case.group for case in answerable])
    found: dict[str, Estimate] = {}
    for name in RANKING:
        values = np.array([measured[case.id][name] for case in answerable])
        if len(values):
            resampled = [float(values[rows].mean()) for rows in samples]
            found[name] = interval(float(values.mean()), resampled, len(values))
    median = float(np.median(spent)) if spent else 0.0
    return Baseline(system.name, system.description, len(system.pieces), found, round(median, 3), ranks)


def _by_language(records: Sequence[Record]) -> Iterator[LanguagePair]:
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.answerable:
            groups[record.language, record.document_language].append(record)
    for (asked, written), members in sorted(groups.items()):
        outcomes, samples = Outcomes.of(members), draw_groups([record.group for record in members])
        ranks = [record.rank for record in members if record.rank]
        yield LanguagePair(
            asked,
            written,
            round(fmean(ranks), 3) if ranks else None,
            {name: estimate(MEASURES[name], outcomes, samples) for name in (*RANKING, "quote hit@1")},
        )


def timings(records: Sequence[Record]) -> dict[str, StepTime]:
    """Return median and 95th percentile of every step."""
    steps = dict.fromkeys(name for record in records for name in record.timings_ms)
    found: dict[str, StepTime] = {}
    for step in steps:
        values = np.array([record.timings_ms[step] for record in records if step in record.timings_ms])
        found[step] = StepTime(round(float(np.median(values)), 3), round(float(np.quantile(values, 0.95)), 3))
    return found


def _place(library: Documents, source: str, span: Span) -> Place:
    """Return a gold place with its words, which are empty if it was never indexed."""
    document = library.find_source(source)
    words = library.quote(document.id, span) if document else None
    return Place(source, span.start, span.end, words or "")


def _quoted(citation: Citation) -> Place:
    return Place(citation.hit.document.source, citation.span.start, citation.span.end, citation.quote)


def _is_valid(library: Documents, answer: Answer) -> Iterator[bool]:
    """Check every citation the way a reader would: open the document, look at the place."""
    for citation in answer.citations:
        text = library.text(citation.hit.document.id)
        passage = citation.hit.passage.span
        yield (
            0 < len(citation.quote) <= 400
            and citation.span.of(text) == citation.quote
            and passage.of(text) == citation.hit.text
            and len(passage) <= 1200
            and passage.start <= citation.span.start < citation.span.end <= passage.end
        )


def _figure(found: Estimate) -> str:
    return _number(found.value)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 10 else f"{value:.3f}"


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 - git from the path
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "absent"
