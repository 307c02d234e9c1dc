from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from eval.cases import Case, CasesRejected, Gold, read_cases
from eval.compare import compare_files
from eval.metrics import hit_at, mean, overlaps, reciprocal_rank
from eval.run import Record, run_case, run_cases, summarise
from index import Library, Span
from service.answer import AnswerPolicy
from tests.conftest import ROOT, SHARED

ALWAYS = AnswerPolicy(min_confidence=0.0)


def test_measures_by_hand() -> None:
    assert hit_at([False, True], 1) == 0
    assert hit_at([False, True], 2) == 1
    assert reciprocal_rank([False, False, True]) == pytest.approx(1 / 3)
    assert reciprocal_rank([False] * 10 + [True]) == 0
    assert reciprocal_rank([]) == 0
    assert mean([]) is None


@pytest.mark.parametrize(("start", "end", "expected"), [(0, 5, False), (0, 6, True), (9, 12, True), (10, 12, False)])
def test_overlap_is_half_open(start: int, end: int, expected: bool) -> None:
    gold = [Gold("a.txt", Span(5, 10))]
    assert overlaps("a.txt", Span(start, end), gold) is expected
    assert not overlaps("b.txt", Span(start, end), gold)


def test_gold_that_was_never_indexed_is_a_miss(library: Library) -> None:
    case = Case("1", "en", "when does the bridge close?", (Gold("never-indexed.txt", Span(0, 10)),))
    record = run_case(case, library, ALWAYS)
    assert (record.hit_at_5, record.reciprocal_rank, record.quote_hit_at_1) == (0, 0, 0)
    assert summarise([record])["hit@1"] == 0


def test_right_evidence_counts(library: Library) -> None:
    case = Case("1", "en", "what does the repair of the bridge cost?", (Gold("bridge.txt", Span(34, 73)),))
    record = run_case(case, library, ALWAYS)
    assert (record.hit_at_1, record.quote_hit_at_1) == (1, 1)
    assert record.valid_citations == record.citations > 0


def test_an_invalid_citation_would_be_counted(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The null control of citation validity: a catalogue that gives another text makes it fall."""
    case = Case("1", "en", "what does the repair of the bridge cost?", (Gold("bridge.txt", Span(34, 73)),))
    monkeypatch.setattr(library.catalogue, "text", lambda id_: "something else")
    assert run_case(case, library, ALWAYS).valid_citations == 0


def test_refusals_are_scored_over_all_cases(library: Library) -> None:
    case = Case("1", "en", "when does the bridge close?", (Gold("bridge.txt", Span(0, 10)),))
    right = run_case(case, library, ALWAYS)
    refused = replace(right, id="2", answered=False)
    nothing = replace(right, id="3", answerable=False, answered=False)
    summary = summarise([right, refused, nothing])
    assert summary["refusal precision"] == 0.5
    assert summary["refusal recall"] == 1.0


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "{}",
        '{"id": "1", "lang": "en", "question": "x", "evidence": [{"doc": "a", "start": 5, "end": 5}]}',
        "[1]",
    ],
)
def test_lines_that_are_no_cases(tmp_path: Path, line: str) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(line)
    with pytest.raises(CasesRejected):
        read_cases(file)


def test_the_samples_gold_is_in_the_sample() -> None:
    for line in (ROOT / "eval/data/sample.jsonl").read_text("utf-8").splitlines():
        for item in json.loads(line)["evidence"]:
            text = (ROOT / "sample" / item["doc"]).read_text("utf-8")
            assert text[item["start"] : item["end"]] == item["text"]


def _write(file: Path, records: list[Record]) -> Path:
    file.write_text(json.dumps({"records": [asdict(record) for record in records]}))
    return file


def test_compare_tells_worse_from_chance(library: Library, tmp_path: Path) -> None:
    case = Case("1", "en", "when does the bridge close?", (Gold("bridge.txt", Span(0, 10)),))
    good = [replace(run_case(case, library, ALWAYS), id=str(number)) for number in range(50)]
    bad = [replace(record, hit_at_1=0.0) for record in good]
    one = [replace(record, hit_at_1=0.0) if record.id == "7" else record for record in good]
    old = _write(tmp_path / "old.json", good)
    assert compare_files(old, _write(tmp_path / "bad.json", bad)).worse
    assert not compare_files(old, _write(tmp_path / "one.json", one)).worse
    assert not compare_files(old, old).worse
    with pytest.raises(CasesRejected):
        compare_files(old, _write(tmp_path / "none.json", []))


def test_the_sample_has_floors(sample_library: Library, tmp_path: Path) -> None:
    """A change that makes the sample's answers worse than these floors needs a reason."""
    summary = run_cases(ROOT / "eval/data/sample.jsonl", sample_library, tmp_path, ALWAYS).summary
    assert summary["citation validity"] == 1
    assert (summary["hit@5"] or 0) >= 0.9
    assert (summary["hit@1"] or 0) >= 0.6
    assert (summary["quote hit@1"] or 0) >= 0.45


@pytest.mark.seeds
def test_the_main_job_on_real_input(seeds_library: Library) -> None:
    """Issue 'The main job': 9 of 9 in the first five, at least 6 right quotes, the mission's in the first three."""
    cases = read_cases(SHARED / "data" / "seed-questions.jsonl")
    records = [run_case(case, seeds_library, ALWAYS) for case in cases]
    answerable = [record for record in records if record.answerable]
    assert len(answerable) == 9
    assert all(record.hit_at_5 == 1 for record in answerable)
    assert sum(record.quote_hit_at_1 or 0 for record in answerable) >= 6
    assert records[0].reciprocal_rank >= 1 / 3
    assert all(record.citations == record.valid_citations > 0 for record in records)
