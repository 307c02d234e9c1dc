"""Ask every case what a user would ask, through the same functions, and write down what came back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eval.cases import Case, read_cases
from eval.metrics import hit_at, mean, overlaps, reciprocal_rank
from index import Library
from service.answer import Answer, AnswerPolicy, answer_question

TOP_K = 10
PACKAGES = ("fundstelle", "faiss-cpu", "openvino", "sentence-transformers", "langchain-text-splitters", "sentencex")


@dataclass(frozen=True, slots=True)
class Record:
    """What came back for one case."""

    id: str
    language: str
    question: str
    answerable: bool
    answered: bool
    confidence: float
    hit_at_1: float
    hit_at_5: float
    reciprocal_rank: float
    quote_hit_at_1: float | None
    """Whether the first citation's quote overlaps gold; ``None`` where nothing was to be cited."""
    citations: int
    valid_citations: int
    quote_characters: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """One run: where it came from, its figures, and every record behind them."""

    created: str
    commit: str
    cases: str
    generation: int
    model: str
    engine: str
    policy: dict[str, float]
    versions: dict[str, str]
    summary: dict[str, float | None]
    records: list[Record]


def run_cases(file: Path, library: Library, out: Path, policy: AnswerPolicy) -> Report:
    """Ask every case in ``file`` and write the report as JSON into ``out``.

    Gold in a document that was never indexed is a miss; a question without results counts as 0.

    Raises:
        CasesRejected: if the cases cannot be read.
    """
    records = [run_case(case, library, policy) for case in read_cases(file)]
    info = library.encoder.info
    report = Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        cases=file.name,
        generation=library.generation,
        model=info.fingerprint,
        engine=info.engine,
        policy=asdict(policy),
        versions=dict(_versions()),
        summary=summarise(records),
        records=records,
    )
    out.mkdir(parents=True, exist_ok=True)
    name = f"{file.stem}-{report.created.replace(':', '')}.json"
    (out / name).write_text(json.dumps(asdict(report), ensure_ascii=False, indent=1) + "\n", "utf-8")
    return report


def run_case(case: Case, library: Library, policy: AnswerPolicy) -> Record:
    """Search and ask one case."""
    hits = library.search(case.question, TOP_K).hits
    relevance = [overlaps(hit.document.source, hit.passage.span, case.gold) for hit in hits]
    answer = answer_question(library, case.question, top_k=TOP_K, policy=policy)
    return Record(
        id=case.id,
        language=case.language,
        question=case.question,
        answerable=case.answerable,
        answered=answer.answerable,
        confidence=answer.confidence,
        hit_at_1=hit_at(relevance, 1),
        hit_at_5=hit_at(relevance, 5),
        reciprocal_rank=reciprocal_rank(relevance),
        quote_hit_at_1=_quote_hit(case, answer),
        citations=len(answer.citations),
        valid_citations=sum(_is_valid(library, answer)),
        quote_characters=len(answer.citations[0].quote) if answer.citations else 0,
        milliseconds=answer.timings_ms["total"],
    )


def summarise(records: list[Record]) -> dict[str, float | None]:
    """Average the measures: retrieval and quotes over answerable cases, refusals over all."""
    answerable = [record for record in records if record.answerable]
    refused = [record for record in records if not record.answered]
    unanswerable = [record for record in records if not record.answerable]
    cited = sum(record.citations for record in records)
    return {
        "cases": float(len(records)),
        "answerable": float(len(answerable)),
        "hit@1": mean([record.hit_at_1 for record in answerable]),
        "hit@5": mean([record.hit_at_5 for record in answerable]),
        "MRR@10": mean([record.reciprocal_rank for record in answerable]),
        "quote hit@1": mean([record.quote_hit_at_1 or 0.0 for record in answerable]),
        "citation validity": sum(record.valid_citations for record in records) / cited if cited else None,
        "refusal precision": mean([float(not record.answerable) for record in refused]),
        "refusal recall": mean([float(not record.answered) for record in unanswerable]),
        "median ms": sorted(record.milliseconds for record in records)[len(records) // 2],
    }


def summary_lines(report: Report) -> Iterator[str]:
    """Print a report's figures."""
    yield f"{report.cases}: commit {report.commit}, generation {report.generation}, {report.engine}"
    for name, value in report.summary.items():
        yield f"  {name:20} {'-' if value is None else f'{value:.3f}'.rstrip('0').rstrip('.')}"


def _quote_hit(case: Case, answer: Answer) -> float | None:
    if not answer.citations:
        return None
    first = answer.citations[0]
    return float(overlaps(first.hit.document.source, first.span, case.gold))


def _is_valid(library: Library, answer: Answer) -> Iterator[bool]:
    """Check every citation the way a reader would: open the document, look at the place."""
    for citation in answer.citations:
        text = library.catalogue.text(citation.hit.document.id)
        passage = citation.hit.passage.span
        yield (
            0 < len(citation.quote) <= 400
            and citation.span.of(text) == citation.quote
            and passage.of(text) == citation.hit.text
            and len(passage) <= 1200
            and passage.start <= citation.span.start < citation.span.end <= passage.end
        )


def provenance() -> dict[str, object]:
    """Return what a result must carry to be repeated: when, which commit, which versions."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": dict(_versions()),
    }


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
