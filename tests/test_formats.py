"""Datasets in four forms. Texts and questions are made up for these tests."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.cases import Case, CasesRejected, Dataset, Gold
from eval.formats import read_dataset, write_cases, write_documents
from index import Span, document_from_text, find_files, read_file
from index.load import FoundFile
from tests.conftest import ROOT, SHARED

LIGHTHOUSE = "Der Leuchtturm von Hörnum wurde 1907 gebaut. Er ist 34 Meter hoch und rot-weiß gestrichen."
FERRY = "Die Fähre 🚢 legt um 9 Uhr ab.\r\nIm Winter fährt sie erst um 11 Uhr. Der 𝄞-Chor singt an Bord."
WARD = "Zwölf Pflegekräfte arbeiten auf der neuen Station.\u2028Sie wurde im Mai eröffnet."

Json = Any


def answer(context: str, text: str, start: int | None = None) -> Json:
    return {"text": text, "answer_start": context.index(text) if start is None else start}


def squad() -> Json:
    """Astral characters, several answers, a repeated context, ids of both kinds, two articles of one title."""
    return {
        "version": "made up",
        "data": [
            {
                "title": "Am_Meer/Nord%C3%BCfer",
                "paragraphs": [
                    {
                        "context": LIGHTHOUSE,
                        "document_id": 7,
                        "qas": [
                            {
                                "id": 1,
                                "question": "How tall is the lighthouse?",
                                "answers": [
                                    {**answer(LIGHTHOUSE, "34 Meter"), "answer_category": "SHORT"},
                                    answer(LIGHTHOUSE, "34"),
                                    answer(LIGHTHOUSE, "34 Meter"),
                                ],
                                "is_impossible": False,
                            },
                            {
                                "id": "2",
                                "question": "Who keeps the light burning?",
                                "answers": [],
                                "plausible_answers": [answer(LIGHTHOUSE, "Er")],
                                "is_impossible": True,
                            },
                        ],
                    },
                    {
                        "context": FERRY,
                        "qas": [
                            {
                                "id": "3",
                                "question": "Who sings on board the ferry?",
                                "answers": [answer(FERRY, "Der 𝄞-Chor")],
                            }
                        ],
                    },
                    {
                        "context": LIGHTHOUSE,
                        "qas": [
                            {
                                "id": "4",
                                "question": "When was the lighthouse built?",
                                "answers": [answer(LIGHTHOUSE, "1907")],
                            }
                        ],
                    },
                ],
            },
            {
                "paragraphs": [
                    {
                        "context": WARD,
                        "qas": [
                            {
                                "id": "5",
                                "question": "When was the ward opened?",
                                "answers": [answer(WARD, "im Mai")],
                            }
                        ],
                    }
                ]
            },
            {"title": "am_meer nordüfer", "paragraphs": [{"context": FERRY, "qas": []}]},
        ],
    }


def own() -> list[Json]:
    return [
        {
            "id": "a",
            "lang": "en",
            "question": "When does it open?\u2028Today?",
            "evidence": [
                {"doc": "notes/a.txt", "start": 3, "end": 9, "text": "not checked"},
                {"doc": "b.txt", "start": 0, "end": 1, "relevance": 2},
            ],
            "group": "notes",
        },
        {"id": 2, "lang": "de", "question": "Wer sagt das?", "evidence": [], "comment": "ignored"},
    ]


def parallel() -> list[Json]:
    return [
        {
            "id": "q1",
            "doc": "harbour",
            "question": {"en": "How deep is it?", "de": "Wie tief ist er?"},
            "full": {"de": [10, 14], "en": [8, 13]},
            "gapped": {"de": None, "en": None},
        },
        {
            "id": "q2",
            "doc": "market",
            "question": {"en": "Who sells fish?", "de": "Wer verkauft Fisch?"},
            "full": {"de": [0, 5], "en": [3, 9]},
            "gapped": {"de": [0, 5], "en": [3, 9]},
        },
    ]


def only_question(content: Json) -> Json:
    """Return the question on the chorus, whose paragraph is the second of its article."""
    return content["data"][0]["paragraphs"][1]["qas"][0]


def lines(entries: list[Json]) -> str:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def write_json(folder: Path, content: Json, name: str = "made-up.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    return file


def write_lines(folder: Path, entries: list[Json], name: str = "cases.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(lines(entries).encode())
    return folder / name


def beir() -> dict[str, str]:
    """Ids that are no names of files, one document without text, one that is judged but not there."""
    corpus = [
        {"_id": "<wiki:Hop/Feld>", "title": "Hopfen", "text": "Der Hopfen steht hoch.", "metadata": {}},
        {"_id": "..", "title": "", "text": "Die Gerste reift im Juli."},
        {"_id": "doc", "text": "Weizen wird im August geerntet."},
        {"_id": "DOC", "title": None, "text": "Hafer braucht viel Regen."},
        {"_id": "nothing", "title": "", "text": " "},
    ]
    queries = [
        {"_id": "1", "text": "How tall are the hops this year?"},
        {"_id": 2, "text": "When does the barley ripen?"},
        {"_id": "3", "text": "Which grain is not judged at all?"},
        {"_id": "4", "text": "Which of these documents is about the weather?"},
    ]
    qrels = [
        "query-id\tcorpus-id\tscore",
        "1\t<wiki:Hop/Feld>\t2",
        "1\t..\t1",
        "1\tdoc\t0",
        "2\t..\t1",
        "2\tgone\t1",
        "2\tnothing\t1",
        "4\tDOC\t0",
    ]
    return {
        "corpus.jsonl": lines(corpus),
        "queries.jsonl": lines(queries),
        "qrels/test.tsv": "\n".join(qrels) + "\n",
        "qrels/train.tsv": "query-id\tcorpus-id\tscore\n3\tdoc\t1\n",
    }


def write_folder(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


def answers(dataset: Dataset) -> dict[str, list[str]]:
    return {case.id: [gold.span.of(dataset.documents[gold.source]) for gold in case.gold] for case in dataset.cases}


# Lines of cases


def test_lines_of_cases(tmp_path: Path) -> None:
    dataset = read_dataset(write_lines(tmp_path, own()))
    gold = (Gold("notes/a.txt", Span(3, 9)), Gold("b.txt", Span(0, 1), 2))
    assert dataset == Dataset(
        "cases",
        (
            Case("a", "en", "When does it open?\u2028Today?", gold, "notes"),
            Case("2", "de", "Wer sagt das?", ()),
        ),
    )


@pytest.mark.parametrize("before", ["\ufeff", "\n \n"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_byte_order_mark_blank_lines_and_line_ends_do_not_matter(tmp_path: Path, before: str, ends: str) -> None:
    expected = read_dataset(write_lines(tmp_path, own())).cases
    (tmp_path / "cases.jsonl").write_bytes((before + lines(own()).replace("\n", f"{ends}{ends}")).encode())
    assert read_dataset(tmp_path / "cases.jsonl").cases == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "Line 3"),
        ("{}", "Line 3"),
        ("[1]", "Line 3"),
        ('{"id": "1", "lang": "en", "question": "x", "evidence": [{"doc": "a", "start": 5, "end": 5}]}', "empty"),
        ('{"id": "1", "lang": "en", "question": "x", "evidence": [{"doc": "a", "start": -1, "end": 5}]}', "start"),
        ('{"id": "1", "lang": "en", "question": "x", "evidence": [{"doc": "a", "start": "1", "end": 5}]}', "start"),
        ('{"id": "1", "lang": "en", "question": "x", "evidence": [{"doc": "a", "start": true, "end": 5}]}', "start"),
        ('{"id": "1", "lang": "en", "question": "x", "evidence": null}', "evidence"),
        ('{"id": "1", "lang": "en", "question": "half a character \\ud800", "evidence": []}', "Line 3"),
        ('{"id": "a", "lang": "en", "question": "x", "evidence": []}', "two cases with the id 'a'"),
    ],
)
def test_a_line_that_is_no_case_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(lines(own()) + line + "\n", "utf-8")
    with pytest.raises(CasesRejected, match=said):
        read_dataset(file)


@pytest.mark.parametrize(
    "content", ["", "\n\n", "nonsense", "{}", "[]", '{"a": 1}', "null", "7", '"text"', "[" * 9999]
)
def test_other_files_are_refused_with_the_forms_that_are_read(tmp_path: Path, content: str) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(content)
    with pytest.raises(CasesRejected, match="SQuAD, XQuAD, MLQA, GermanQuAD") as error:
        read_dataset(file)
    assert error.value.code == "cases_invalid"


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.jsonl").write_bytes(lines(own()).encode("utf-16"))
    for path in (tmp_path / "missing.jsonl", tmp_path / "empty", tmp_path / "latin.jsonl", Path("a\0b")):
        with pytest.raises(CasesRejected):
            read_dataset(path)


# Parallel questions


def test_parallel_questions_in_the_languages_asked_for(tmp_path: Path) -> None:
    write_lines(tmp_path / "towns", parallel(), "questions.jsonl")
    dataset = read_dataset(tmp_path / "towns", documents="en", questions=["en", "de"])
    assert (dataset.name, dataset.documents) == ("towns full en+de-en", {})
    assert [case.id for case in dataset.cases] == ["harbour/q1/en", "harbour/q1/de", "market/q2/en", "market/q2/de"]
    assert dataset.cases[1] == Case(
        "harbour/q1/de", "de", "Wie tief ist er?", (Gold("harbour.txt", Span(8, 13)),), "harbour"
    )
    by_file = read_dataset(tmp_path / "towns" / "questions.jsonl", documents="en", questions=["en", "de"])
    assert by_file == dataset


def test_a_place_that_is_null_is_no_answer(tmp_path: Path) -> None:
    write_lines(tmp_path, parallel(), "questions.jsonl")
    assert [case.answerable for case in read_dataset(tmp_path, corpus="gapped").cases] == [False, True]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"corpus": "halved"}, "no corpus 'halved'; there is: full, gapped"),
        ({"corpus": "doc"}, "no corpus 'doc'"),
        ({"documents": "fr"}, "no document language 'fr'; there is: de, en"),
        ({"questions": ["en", "ru"]}, "no question language 'ru'; there is: de, en"),
        ({"questions": "en"}, "no question language 'e'"),
        ({"questions": []}, "no cases"),
        ({"questions": ["en", "en"]}, "two cases"),
    ],
)
def test_what_is_not_there_cannot_be_chosen(tmp_path: Path, choice: dict[str, Any], said: str) -> None:
    write_lines(tmp_path, parallel(), "questions.jsonl")
    with pytest.raises(CasesRejected, match=said):
        read_dataset(tmp_path, **choice)


@pytest.mark.parametrize("place", [[5, 5], [-1, 5], [1], [1, 2, 3], "12", 7, [1.5, 2], ["1", "2"], {"start": 1}])
def test_places_that_are_none(tmp_path: Path, place: Json) -> None:
    entries = parallel()
    entries[1]["full"]["de"] = place
    write_lines(tmp_path, entries, "questions.jsonl")
    with pytest.raises(CasesRejected, match="Line 2"):
        read_dataset(tmp_path)


@pytest.mark.seeds
@pytest.mark.parametrize("corpus", ["full", "gapped"])
@pytest.mark.parametrize("language", ["de", "en"])
def test_every_span_of_xquad_dev_is_there(corpus: str, language: str) -> None:
    folder = SHARED / "data" / "xquad-dev"
    if not folder.is_dir():
        pytest.skip("../shared/data is missing")
    dataset = read_dataset(folder, corpus=corpus, documents=language, questions=["ru"])
    assert dataset.name == f"xquad-dev {corpus} ru-{language}"
    assert len(dataset.cases) == 612
    texts = {file.name: file.read_bytes().decode() for file in (folder / corpus / language).iterdir()}
    assert {case.group for case in dataset.cases} == {source.removesuffix(".txt") for source in texts}
    for case in dataset.cases:
        for gold in case.gold:
            quoted = gold.span.of(texts[gold.source])
            assert len(quoted) == len(gold.span)
            assert quoted.strip()
    assert all(case.answerable for case in dataset.cases) is (corpus == "full")


@pytest.mark.seeds
def test_the_words_beside_the_spans_of_the_seed_questions_are_there() -> None:
    file = SHARED / "data" / "seed-questions.jsonl"
    if not file.is_file():
        pytest.skip("../shared/data is missing")
    cases = read_dataset(file).cases
    assert (len(cases), sum(case.answerable for case in cases)) == (14, 9)
    written = [json.loads(line) for line in file.read_bytes().decode().split("\n") if line]
    for case, entry in zip(cases, written, strict=True):
        for gold, item in zip(case.gold, entry["evidence"], strict=True):
            assert gold.span.of((SHARED / "seeds" / gold.source).read_bytes().decode()) == item["text"]


def test_the_sample_is_read() -> None:
    dataset = read_dataset(ROOT / "eval" / "data" / "sample.jsonl")
    assert (dataset.name, len(dataset.cases)) == ("sample", 40)


# The SQuAD family


def test_articles_become_documents(tmp_path: Path) -> None:
    dataset = read_dataset(write_json(tmp_path, squad()))
    assert (dataset.name, dataset.whole_documents) == ("made-up", False)
    assert dataset.documents == {
        "Am_Meer-Nordüfer.txt": f"{LIGHTHOUSE}\n\n{FERRY}",
        "0002.txt": WARD,
        "am_meer-nordüfer-2.txt": FERRY,
    }
    assert [(case.id, case.group) for case in dataset.cases] == [
        ("1", "Am_Meer-Nordüfer"),
        ("2", "Am_Meer-Nordüfer"),
        ("3", "Am_Meer-Nordüfer"),
        ("4", "Am_Meer-Nordüfer"),
        ("5", "0002"),
    ]
    assert {case.language for case in dataset.cases} == {"en"}


def test_gold_is_the_answer_in_the_document(tmp_path: Path) -> None:
    """Of the same place twice, one is kept; plausible answers are none."""
    assert answers(read_dataset(write_json(tmp_path, squad()))) == {
        "1": ["34 Meter", "34"],
        "2": [],
        "3": ["Der 𝄞-Chor"],
        "4": ["1907"],
        "5": ["im Mai"],
    }


def test_an_impossible_question_has_no_gold_whatever_is_given(tmp_path: Path) -> None:
    content = squad()
    only_question(content)["is_impossible"] = True
    assert answers(read_dataset(write_json(tmp_path, content)))["3"] == []


def test_indented_json_is_read_as_well(tmp_path: Path) -> None:
    expected = read_dataset(write_json(tmp_path, squad()))
    (tmp_path / "made-up.json").write_text("\ufeff" + json.dumps(squad(), indent=1), "utf-8")
    assert read_dataset(tmp_path / "made-up.json") == expected


@pytest.mark.parametrize("start", [-1, 0, 10**30, FERRY.index("𝄞") + 1])
def test_an_answer_beside_its_place_is_found(tmp_path: Path, start: int) -> None:
    content = squad()
    only_question(content)["answers"] = [answer(FERRY, "Der 𝄞-Chor", start)]
    assert answers(read_dataset(write_json(tmp_path, content)))["3"] == ["Der 𝄞-Chor"]


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (-3, 1), (3, 1), (-15, 0), (200, 1)])
def test_the_nearest_of_several_is_taken(tmp_path: Path, shift: int, expected: int) -> None:
    places = [FERRY.index("Uhr"), FERRY.rindex("Uhr")]
    content = squad()
    only_question(content)["answers"] = [answer(FERRY, "Uhr", places[1] + shift - (10 if shift == -15 else 0))]
    (case,) = [case for case in read_dataset(write_json(tmp_path, content)).cases if case.id == "3"]
    assert case.gold[0].span.start == len(LIGHTHOUSE) + 2 + places[expected]


@pytest.mark.parametrize("text", ["34 Meter", "der 𝄞-Chor", "Der 𝄞-Chor.", ""])
def test_an_answer_that_is_not_in_its_paragraph_is_refused(tmp_path: Path, text: str) -> None:
    """The null control of the repair: words that only another paragraph has, or none has, are not looked for."""
    content = squad()
    only_question(content)["answers"] = [{"text": text, "answer_start": FERRY.index("Der")}]
    with pytest.raises(CasesRejected, match=r"Question '3' of .*: an answer is not in its paragraph"):
        read_dataset(write_json(tmp_path, content))


def test_without_answers_a_question_must_not_be_said_to_have_one(tmp_path: Path) -> None:
    content = squad()
    only_question(content)["answers"] = []
    assert answers(read_dataset(write_json(tmp_path, content)))["3"] == []
    only_question(content)["is_impossible"] = False
    with pytest.raises(CasesRejected, match="Question '3'"):
        read_dataset(write_json(tmp_path, content))


@pytest.mark.parametrize(
    "title", ["..", "/etc/passwd", "a\0b", "  ", "हिन्दी लेख", "x" * 999, "ß" * 300, "../up", "CON.", "%2E%2E"]
)
def test_any_title_gives_the_name_of_a_visible_file(tmp_path: Path, title: str) -> None:
    content = squad()
    for article in content["data"]:
        article["title"] = title
    dataset = read_dataset(write_json(tmp_path, content))
    assert write_documents(dataset, tmp_path / "out") == 3
    found = [file.source for file in find_files([tmp_path / "out"]) if isinstance(file, FoundFile)]
    assert sorted(found) == sorted(dataset.documents)
    assert len({source.casefold() for source in found}) == 3


def test_marks_of_a_script_stay_in_the_name(tmp_path: Path) -> None:
    content = squad()
    content["data"][0]["title"] = "हिन्दी लेख"
    assert "हिन्दी-लेख.txt" in read_dataset(write_json(tmp_path, content)).documents


def test_a_byte_order_mark_in_front_moves_nothing(tmp_path: Path) -> None:
    """Reading drops a mark in front of a file; a character that means the same takes its place."""
    content = squad()
    context = f"\ufeff{FERRY}"
    content["data"][0]["paragraphs"] = [
        {
            "context": context,
            "qas": [
                {"id": 9, "question": "Where?", "answers": [answer(context, "\ufeffDie"), answer(context, "Chor")]}
            ],
        }
    ]
    dataset = read_dataset(write_json(tmp_path, content))
    assert answers(dataset)["9"] == ["\u2060Die", "Chor"]
    read_back(dataset, tmp_path / "out")


def test_two_questions_of_one_id_are_refused(tmp_path: Path) -> None:
    content = squad()
    only_question(content)["id"] = "1"
    with pytest.raises(CasesRejected, match="two cases with the id '1'"):
        read_dataset(write_json(tmp_path, content))


def test_questions_tell_their_language_not_the_paragraphs(tmp_path: Path) -> None:
    content = squad()
    questions = ["Wie hoch ist der Turm?", "Wer hält das Licht am Brennen?", "Wer singt an Bord?", "Wann war das?"]
    asked = [asked for part in content["data"][0]["paragraphs"] for asked in part["qas"]]
    for one, question in zip(asked, questions, strict=True):
        one["question"] = question
    content["data"] = content["data"][:1]
    assert {case.language for case in read_dataset(write_json(tmp_path, content)).cases} == {"de"}


# BEIR


def test_beir_folder(tmp_path: Path) -> None:
    dataset = read_dataset(write_folder(tmp_path / "grains", beir()))
    hops, barley = "%3Cwiki%3AHop%2FFeld%3E.txt", "%2E..txt"
    assert (dataset.name, dataset.whole_documents) == ("grains", True)
    assert dataset.documents == {
        hops: "Hopfen\n\nDer Hopfen steht hoch.",
        barley: "Die Gerste reift im Juli.",
        "doc.txt": "Weizen wird im August geerntet.",
        "DOC-2.txt": "Hafer braucht viel Regen.",
    }
    assert [unquote(source.removesuffix(".txt")) for source in dataset.documents][:2] == ["<wiki:Hop/Feld>", ".."]
    assert dataset.cases == (
        Case(
            "1",
            "en",
            "How tall are the hops this year?",
            (Gold(hops, Span(0, 30), 2), Gold(barley, Span(0, 25))),
        ),
        Case(
            "2",
            "en",
            "When does the barley ripen?",
            (Gold(barley, Span(0, 25)), Gold("gone.txt", Span(0, 1)), Gold("nothing.txt", Span(0, 1))),
        ),
    )


def test_the_first_split_there_is_judges(tmp_path: Path) -> None:
    files = beir()
    del files["qrels/test.tsv"]
    assert [case.id for case in read_dataset(write_folder(tmp_path, files)).cases] == ["3"]
    write_folder(tmp_path, {"qrels/dev.tsv": "1\tdoc\t1\n"})  # without a header, the first line counts
    assert [case.id for case in read_dataset(tmp_path).cases] == ["1"]
    write_folder(tmp_path, {"qrels/test.tsv": "query-id\tcorpus-id\tscore\n2\tdoc\t1\n"})
    assert [case.id for case in read_dataset(tmp_path).cases] == ["2"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\tdoc\n", "Line 2"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\tdoc\tvery\n", "Line 2"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1 doc 1\n", "Line 2"),
        ("qrels/test.tsv", f"{'x' * 200_000}\tdoc\t1\n", "Line 1"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n7\tdoc\t1\n", "query '7'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\tdoc\t0\n", "no cases"),
        ("corpus.jsonl", '{"_id": "1", "text": "x"}\n{"_id": 1, "text": "y"}\n', "Line 2"),
        ("corpus.jsonl", '{"_id": "1"}\n', "Line 1 .* is not a document"),
        ("queries.jsonl", '{"_id": "1", "text": "x"}\n{"_id": 1, "text": "y"}\n{"_id": 2, "text": "y"}', "same id"),
        ("queries.jsonl", '{"_id": "1", "text": null}\n', "is not a query"),
    ],
)
def test_beir_folders_that_are_damaged(tmp_path: Path, name: str, text: str, said: str) -> None:
    write_folder(tmp_path, {**beir(), name: text})
    with pytest.raises(CasesRejected, match=said):
        read_dataset(tmp_path)


@pytest.mark.parametrize("gone", [["queries.jsonl"], ["corpus.jsonl"], ["qrels/test.tsv", "qrels/train.tsv"]])
def test_beir_folders_that_are_not_whole(tmp_path: Path, gone: list[str]) -> None:
    write_folder(tmp_path, beir())
    for name in gone:
        (tmp_path / name).unlink()
    with pytest.raises(CasesRejected):
        read_dataset(tmp_path)


# Writing


def read_back(dataset: Dataset, folder: Path) -> None:
    """Check that files and texts both give back what the dataset says, character by character."""
    assert write_documents(dataset, folder) == len(dataset.documents)
    files = {found.source: read_file(found) for found in find_files([folder]) if isinstance(found, FoundFile)}
    assert {source: document.text for source, document in files.items()} == dataset.documents
    for source, text in dataset.documents.items():
        assert document_from_text(source, text).text == text


@pytest.mark.parametrize("make", [squad, beir])
def test_documents_come_back_from_the_files_as_they_were(tmp_path: Path, make: Callable[[], Json]) -> None:
    content = make()
    path = write_json(tmp_path, content) if "data" in content else write_folder(tmp_path / "beir", content)
    read_back(read_dataset(path), tmp_path / "out")


def test_cases_come_back_as_they_were(tmp_path: Path) -> None:
    for number, path in enumerate([write_json(tmp_path, squad()), write_lines(tmp_path, own())]):
        dataset = read_dataset(path)
        write_cases(dataset, tmp_path / f"{number}.jsonl")
        assert read_dataset(tmp_path / f"{number}.jsonl").cases == dataset.cases


def test_the_words_are_written_if_the_documents_are_there(tmp_path: Path) -> None:
    write_cases(read_dataset(write_json(tmp_path, squad())), tmp_path / "with.jsonl")
    first = json.loads((tmp_path / "with.jsonl").read_text("utf-8").partition("\n")[0])
    assert [item["text"] for item in first["evidence"]] == ["34 Meter", "34"]
    write_cases(read_dataset(write_lines(tmp_path, own())), tmp_path / "without.jsonl")
    assert "text" not in json.loads((tmp_path / "without.jsonl").read_text("utf-8").partition("\n")[0])["evidence"][0]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CasesRejected, match="brings no documents along"):
        write_documents(read_dataset(write_lines(tmp_path, own())), tmp_path / "out")
    with pytest.raises(CasesRejected, match="whole documents"):
        write_cases(read_dataset(write_folder(tmp_path / "beir", beir())), tmp_path / "beir.jsonl")
    for source in ("../up.txt", "a/b.txt", "/a.txt", "..", ".hidden.txt", ""):
        with pytest.raises(CasesRejected, match="not the name of a file"):
            write_documents(Dataset("x", (), {source: "text"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Anything

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("\ud800")
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
)


def places_in(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value inside ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in [(*path, key), *places_in(item, (*path, key))]]


@st.composite
def damaged(draw: st.DrawFn, make: Callable[[], Json]) -> str:
    """Return JSON in which one to three values were replaced, taken out or doubled."""
    content = make()
    for _ in range(draw(st.integers(1, 3))):
        places = places_in(content)
        if not places:
            break
        *path, key = draw(st.sampled_from(places))
        parent = content
        for step in path:
            parent = parent[step]
        match draw(st.sampled_from(["replace", "take out", "double"])):
            case "take out":
                del parent[key]
            case "double" if isinstance(parent, list):
                parent.append(parent[key])
            case _:
                parent[key] = draw(values)
    return json.dumps(content) if isinstance(content, dict) else "\n".join(map(json.dumps, content))


def read_or_refuse(text: bytes, name: str) -> None:
    """Read; what is not refused has to hold what a dataset promises."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / name
        file.write_bytes(text)
        try:
            dataset = read_dataset(file)
        except CasesRejected:
            return
        assert dataset.cases
        assert len({case.id for case in dataset.cases}) == len(dataset.cases)
        for gold in (gold for case in dataset.cases for gold in case.gold):
            assert 0 <= gold.span.start < gold.span.end
            if dataset.documents and gold.source in dataset.documents:
                assert gold.span.end <= len(dataset.documents[gold.source])
        write_cases(dataset, Path(scratch) / "again.jsonl")
        assert read_dataset(Path(scratch) / "again.jsonl").cases == dataset.cases


@settings(deadline=None)
@given(st.sampled_from([squad, own, parallel]).flatmap(damaged))
def test_damaged_json_is_read_or_refused(text: str) -> None:
    read_or_refuse(text.encode(), "damaged.json")


@settings(deadline=None)
@given(st.sampled_from([json.dumps(squad()), lines(own()), lines(parallel())]), st.data())
def test_damaged_bytes_are_read_or_refused(text: str, data: st.DataObject) -> None:
    whole = text.encode()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 20)))
    read_or_refuse(whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:], "damaged.json")


@settings(deadline=None)
@given(st.sampled_from(sorted(beir())), st.data())
def test_damaged_beir_folders_are_read_or_refused(name: str, data: st.DataObject) -> None:
    whole = beir()[name].encode()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_folder(Path(scratch), beir())
        (folder / name).write_bytes(whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:])
        with contextlib.suppress(CasesRejected):
            assert read_dataset(folder).cases


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4), st.data())
def test_any_answer_of_any_text_is_where_gold_says(contexts: list[str], data: st.DataObject) -> None:
    paragraphs, expected = [], {}
    for number, context in enumerate(contexts):
        start = data.draw(st.integers(0, len(context) - 1))
        text = context[start : data.draw(st.integers(start + 1, len(context)))]
        given_answer = {"text": text, "answer_start": start}
        paragraphs.append({"context": context, "qas": [{"id": number, "question": "?", "answers": [given_answer]}]})
        expected[str(number)] = [text.replace("\ufeff", "\u2060")]
    with tempfile.TemporaryDirectory() as scratch:
        dataset = read_dataset(write_json(Path(scratch), {"data": [{"paragraphs": paragraphs}]}))
        if dataset.documents:  # an article without a letter or digit cannot be indexed
            assert answers(dataset) == expected
            write_documents(dataset, Path(scratch) / "out")
            for source, content in dataset.documents.items():
                assert (Path(scratch) / "out" / source).read_bytes().decode("utf-8-sig") == content
