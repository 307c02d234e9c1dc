from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.cases import Case, CasesRejected, Dataset, Gold
from eval.compare import compare_files, compare_records, read_report
from eval.formats import read_dataset
from eval.measures import (
    MEASURES,
    RANKING,
    Outcomes,
    calibration_bins,
    draw_groups,
    estimate,
    expected_calibration_error,
    measure_rankings,
    overlaps,
    risk_coverage,
)
from eval.records import Record
from eval.run import evaluate, run_case, summary_lines, write_json
from eval.systems import Bm25, NaiveChunks, Passages, Pieces, baselines
from index import Library, Span
from service.answer import AnswerPolicy
from tests.conftest import ROOT, SHARED, TEXTS

ALWAYS = AnswerPolicy(min_confidence=0.0)
BRIDGE = Case("1", "en", "what does the repair of the bridge cost?", (Gold("bridge.txt", Span(34, 73)),))
NOTHING = Case("2", "en", "who won the election?", ())
NEVER = Case("3", "en", "when does the bridge close?", (Gold("never-indexed.txt", Span(0, 10)),))


def measure(name: str, records: list[Record]) -> float:
    return MEASURES[name](Outcomes.of(records))


# ---- measures ------------------------------------------------------------------------------------------------


def test_ranking_measures_by_hand() -> None:
    relevant = {"q": {"a": 1, "b": 1}, "late": {"a": 1}, "none": {"a": 1}, "unanswerable": {}}
    rankings = {"q": ["x", "a", "y", "b"], "late": [*"xyzwvutsrq", "a"]}
    found = measure_rankings(relevant, rankings)
    ideal = 1 + 1 / np.log2(3)
    assert found["q"] == pytest.approx(
        {
            "hit@1": 0,
            "hit@5": 1,
            "recall@10": 1,
            "MRR@10": 1 / 2,
            "nDCG@10": (1 / np.log2(3) + 1 / np.log2(5)) / ideal,
        }
    )
    assert set(found["late"].values()) == {0.0}
    assert set(found["none"].values()) == {0.0}, "a question without results scores 0"
    assert set(found["none"]) == set(RANKING)
    assert "unanswerable" not in found


@pytest.mark.parametrize(("start", "end", "expected"), [(0, 5, False), (0, 6, True), (9, 12, True), (10, 12, False)])
def test_overlap_is_half_open(start: int, end: int, expected: bool) -> None:
    gold = [Gold("a.txt", Span(5, 10))]
    assert overlaps("a.txt", Span(start, end), gold) is expected
    assert not overlaps("b.txt", Span(start, end), gold)
    pieces = Pieces([("piece", "a.txt", Span(start, end))])
    assert ("piece" in pieces.relevant(gold, whole_documents=False)) is expected


def test_whole_documents_count_once_at_their_first_passage() -> None:
    pieces = Pieces([(name, source, Span(0, 9)) for name, source in (("1", "a"), ("2", "b"), ("3", "a"))])
    assert pieces.judged(["3", "2", "1"], whole_documents=True) == ["a", "b"]
    assert pieces.judged(["3", "2", "1"], whole_documents=False) == ["3", "2", "1"]
    gold = [Gold("a", Span(0, 1), 2), Gold("gone", Span(0, 1))]
    assert pieces.relevant(gold, whole_documents=True) == {"a": 2, "gone": 1}
    assert pieces.relevant(gold, whole_documents=False) == {"1": 2, "3": 2, "never indexed 1": 1}


def test_calibration_and_risk_by_hand() -> None:
    confidences, right = np.array([0.95, 0.85, 0.85, 0.15]), np.array([True, True, False, False])
    assert [each.count for each in calibration_bins(confidences, right)] == [1, 2, 1]
    assert expected_calibration_error(confidences, right) == pytest.approx((0.05 + 2 * 0.35 + 0.15) / 4)
    curve = risk_coverage(confidences, right, points=4)
    assert [(p.coverage, p.confidence, p.risk) for p in curve] == [
        (0.25, 0.95, 0),
        (0.75, 0.85, 0.3333),
        (1, 0.15, 0.5),
    ]
    assert np.isnan(expected_calibration_error(np.array([]), np.array([], bool)))


def test_intervals_resample_whole_groups(library: Library) -> None:
    """Fifty copies of one question's luck are one observation: the interval must say so."""
    good, bad = run_case(BRIDGE, library, ALWAYS), run_case(NEVER, library, ALWAYS)
    records = [replace(each, group=each.id) for each in (good, bad) for _ in range(50)]
    outcomes = Outcomes.of(records)
    by_group = estimate(MEASURES["quote hit@1"], outcomes, draw_groups([r.group for r in records]))
    alone = estimate(MEASURES["quote hit@1"], outcomes, draw_groups(["" for _ in records]))
    assert by_group.value == alone.value == 0.5
    assert (by_group.low, by_group.high) == (0, 1)
    assert alone.low is not None
    assert alone.low > 0.3, "null control: without groups the interval is far too narrow"


# ---- runs ----------------------------------------------------------------------------------------------------


def test_gold_that_was_never_indexed_is_a_miss(library: Library) -> None:
    report = evaluate(Dataset("d", (NEVER,)), library, ALWAYS)
    assert {report.measures[name].value for name in (*RANKING, "quote hit@1")} == {0.0}
    assert report.records[0].rank is None
    assert {b.measures["hit@5"].value for b in report.baselines} == {0.0}


def test_right_evidence_counts_for_every_system(library: Library) -> None:
    report = evaluate(Dataset("d", (BRIDGE, NOTHING)), library, ALWAYS)
    assert report.measures["hit@1"].value == report.measures["quote hit@1"].value == 1
    assert [system.name for system in report.baselines] == ["chunks of 500", "chunks of 1000", "BM25"]
    assert all(system.measures["hit@5"].value == 1 for system in report.baselines)
    record, unanswerable = report.records
    assert record.rank == 1
    assert record.valid_citations == record.citations > 0
    assert record.gold[0].text == TEXTS["bridge.txt"][34:73]
    assert unanswerable.measures == {}


def test_an_invalid_citation_would_be_counted(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The null control of citation validity: a catalogue that gives another text makes it fall."""
    assert measure("citation validity", [run_case(BRIDGE, library, ALWAYS)]) == 1
    monkeypatch.setattr(library.catalogue, "text", lambda id_, at: "something else")
    assert measure("citation validity", [run_case(BRIDGE, library, ALWAYS)]) == 0


def test_the_decision_is_the_policys_and_the_evidence_is_judged_anyway(library: Library) -> None:
    record = run_case(BRIDGE, library, AnswerPolicy(min_confidence=1.0))
    assert not record.answered
    assert record.right
    assert record.quote is not None


def test_refusals_are_scored_over_all_cases(library: Library) -> None:
    right = run_case(BRIDGE, library, ALWAYS)
    refused = replace(right, id="2", answered=False)
    nothing = replace(right, id="3", answerable=False, answered=False, right=False, confidence=0.0)
    wrong = replace(right, id="4", right=False)
    assert measure("refusal precision", [right, refused, nothing]) == 0.5
    assert measure("refusal recall", [right, refused, nothing]) == 1.0
    assert measure("refusal AUROC", [right, refused, nothing]) == 1.0
    assert measure("risk", [right, wrong, nothing]) == 0.5
    assert measure("coverage", [right, wrong, nothing]) == pytest.approx(2 / 3)
    assert measure("answered right", [right, refused, wrong, nothing]) == pytest.approx(1 / 3)
    assert np.isnan(measure("refusal recall", [right]))


def test_languages_are_told_apart(library: Library) -> None:
    asked = [replace(BRIDGE, id=str(number), language=language) for number, language in enumerate(["en", "de"])]
    report = evaluate(Dataset("d", tuple(asked)), library, ALWAYS, beside=())
    assert [pair.question_language for pair in report.languages] == ["de", "en"]
    assert all(pair.mean_rank == 1 for pair in report.languages)


def test_baselines_rank_pieces_that_are_where_they_say(library: Library) -> None:
    for system in (Passages(library), *baselines(library)):
        assert 0 < len(system.rank("what does the bridge cost?", 2)) <= 2
        assert len(system.pieces) >= 3
    assert Bm25(library).rank("xylophone", 5) == [], "BM25 finds nothing without a word in common"
    small, large = NaiveChunks(library, 40), NaiveChunks(library, 1000)
    assert len(small.pieces) > len(large.pieces) == 3


def test_a_result_can_be_read_back_and_no_result_is_overwritten(library: Library, tmp_path: Path) -> None:
    report = evaluate(Dataset("a/b c", (BRIDGE, NOTHING)), library, ALWAYS)
    first, second = write_json(report, tmp_path), write_json(report, tmp_path)
    assert first != second
    assert read_report(first) == read_report(second) == report
    lines = "\n".join(summary_lines(report))
    assert all(name in lines for name in MEASURES)


def test_what_is_missing_is_named(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(CasesRejected) as error:
        evaluate(Dataset("d", (BRIDGE,)), library, ALWAYS)
    assert error.value.code == "extra_missing"


# ---- comparing -----------------------------------------------------------------------------------------------


def test_compare_tells_worse_from_chance(library: Library, tmp_path: Path) -> None:
    report = evaluate(Dataset("d", (BRIDGE, NOTHING)), library, ALWAYS, beside=())
    good = [replace(report.records[0], id=str(number), confidence=0.9) for number in range(50)]
    bad = [replace(record, right=False, measures=dict.fromkeys(RANKING, 0.0)) for record in good]
    one = [bad[0], *good[1:]]
    assert compare_records(good, bad).worse
    assert not compare_records(bad, good).worse
    assert not compare_records(good, one).worse
    assert not compare_records(good, good).worse
    names = {difference.measure for difference in compare_records(good, bad).differences if difference.worse}
    assert {"hit@1", "quote hit@1", "risk", "calibration error"} <= names

    old = write_json(replace(report, records=tuple(good)), tmp_path)
    assert compare_files(old, write_json(replace(report, records=tuple(bad)), tmp_path)).worse
    other = [replace(record, id=f"other {record.id}") for record in good]
    with pytest.raises(CasesRejected):
        compare_files(old, write_json(replace(report, records=tuple(other)), tmp_path))


@pytest.mark.parametrize("content", ["", "[]", '{"records": []}', '{"form": 2}'])
def test_what_is_no_result(tmp_path: Path, content: str) -> None:
    file = tmp_path / "old.json"
    file.write_text(content)
    with pytest.raises(CasesRejected):
        read_report(file)


# ---- floors --------------------------------------------------------------------------------------------------


def test_the_samples_gold_is_in_the_sample() -> None:
    import json

    for line in (ROOT / "eval/data/sample.jsonl").read_text("utf-8").splitlines():
        for item in json.loads(line)["evidence"]:
            text = (ROOT / "sample" / item["doc"]).read_text("utf-8")
            assert text[item["start"] : item["end"]] == item["text"]


def test_the_sample_has_floors(sample_library: Library) -> None:
    """A change that makes the sample's answers worse than these floors needs a reason."""
    report = evaluate(read_dataset(ROOT / "eval/data/sample.jsonl"), sample_library, AnswerPolicy())
    value = {name: found.value or 0.0 for name, found in report.measures.items()}
    assert value["citation validity"] == 1
    assert value["hit@5"] >= 0.9
    assert value["hit@1"] >= 0.65
    assert value["quote hit@1"] >= 0.6
    assert value["refusal AUROC"] >= 0.65
    for system in report.baselines:
        trivial = {name: found.value or 0.0 for name, found in system.measures.items()}
        assert value["MRR@10"] > trivial["MRR@10"], system.name


@pytest.mark.seeds
def test_the_main_job_on_real_input(seeds_library: Library) -> None:
    """Issue 'The main job': 9 of 9 in the first five, at least 6 right quotes, the mission's in the first three."""
    dataset = read_dataset(SHARED / "data" / "seed-questions.jsonl")
    report = evaluate(dataset, seeds_library, AnswerPolicy(), beside=())
    answerable = [record for record in report.records if record.answerable]
    assert len(answerable) == 9
    assert all(record.measures["hit@5"] == 1 for record in answerable)
    assert sum(record.right for record in answerable) >= 6
    assert report.records[0].rank is not None
    assert report.records[0].rank <= 3
    assert all(record.citations == record.valid_citations > 0 for record in report.records)
