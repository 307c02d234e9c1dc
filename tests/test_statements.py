"""What documents say in the same words, and what only looks the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from index import Library, document_from_text
from service.abstention import FEATURES, Calibration, confidence
from service.answer import AnswerPolicy, answer_question
from service.statements import find_statements, plain

ALWAYS = AnswerPolicy(min_confidence=0.0)
FEE = "The yearly fee for the allotment garden is forty euros."
OTHER = [
    document_from_text("pond.txt", "Carp and tench live in the pond. Anglers need a permit from the town hall."),
    document_from_text("mill.txt", "The mill ground its last flour in 1962. It is a museum now."),
    document_from_text("choir.txt", "The choir sings on Thursdays. New voices are welcome at any time."),
]


@pytest.fixture
def ask(open_library: Callable[..., Library]) -> Callable[..., list[tuple[str, str, int | None, int | None]]]:
    """Index texts by source and ask what the garden costs."""

    def asked(**texts: str) -> list[tuple[str, str, int | None, int | None]]:
        library = open_library()
        library.add([*(document_from_text(f"{name}.txt", text) for name, text in texts.items()), *OTHER])
        answer = answer_question(library, "what is the yearly fee for the allotment garden?", policy=ALWAYS)
        for citation in answer.citations:
            assert citation.quote == citation.span.of(library.text(citation.hit.document.id))
        assert answer.text is not None
        assert answer.text.split("\n") == [each.quote for each in answer.citations if each.same_as is None]
        return [(c.hit.document.source, c.quote, c.same_as, c.differs_from) for c in answer.citations]

    return asked


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Größe der Straße", "GROESSE DER STRASSE", True),
        ("Das Wirt-\nschaftsjahr", "das Wirtschaftsjahr", True),
        ("„So“, sagte sie.", '"So" sagte sie', True),
        ("fünf  Euro\n", "fünf Euro", True),
        ("ist erlaubt", "ist nicht erlaubt", False),
        ("5 Euro", "6 Euro", False),
        ("5 %", "5", False),
        ("-5 Grad", "5 Grad", False),
        ("5 €", "5 $", False),
        ("Müller", "Möller", False),
        ("3.5", "35", False),
        ("möglich", "unmöglich", False),
        ("–5 Grad", "5 Grad", False),
        ("1914–1918", "1914-1918", True),
        ("1/2", "1.2", False),
        ("Er kommt.", "Er kommt?", False),
        ("§ 5", "5", False),
        ("कि", "की", False),
        ("ไม่", "ไม", False),
        ("שָׁלוֹם", "שלום", False),
    ],
)
def test_what_counts_as_the_same_words(one: str, other: str, same: bool) -> None:
    assert (plain(one) == plain(other)) is same


def test_one_statement_has_all_its_sources(ask: Callable[..., list[tuple[str, str, int | None, int | None]]]) -> None:
    found = ask(rules=FEE, copy=f"Gates open at dawn. {FEE}", notice=FEE.upper())
    assert [same for _, _, same, _ in found[:3]] == [None, 1, 1]
    assert {source for source, *_ in found[:3]} == {"rules.txt", "copy.txt", "notice.txt"}
    assert all("yearly fee" in quote.casefold() for _, quote, *_ in found[:3]), "each is quoted in its own spelling"


@pytest.mark.parametrize(
    "other",
    [
        FEE.replace("forty", "fifty"),
        FEE.replace("is forty", "is not forty"),
        FEE.replace("forty euros", "40 euros"),
    ],
)
def test_documents_that_differ_are_both_cited(
    ask: Callable[..., list[tuple[str, str, int | None, int | None]]], other: str
) -> None:
    found = ask(rules=FEE, newer=other)
    assert {found[0][0], found[1][0]} == {"rules.txt", "newer.txt"}
    assert [same for _, _, same, _ in found[:2]] == [None, None]
    assert found[1][3] == 1


def test_a_part_of_a_statement_does_not_differ_from_it(
    ask: Callable[..., list[tuple[str, str, int | None, int | None]]],
) -> None:
    found = ask(rules=FEE, longer=f"Dahlias need water in dry weeks. {FEE}")
    assert [(source, same, differs) for source, _, same, differs in found] == [
        ("longer.txt", None, None),
        ("rules.txt", 1, None),
    ]


def test_different_matters_do_not_differ(ask: Callable[..., list[tuple[str, str, int | None, int | None]]]) -> None:
    found = ask(rules=FEE, pond2="The yearly permit for anglers costs twelve euros, children fish for nothing.")
    assert all(differs is None for *_, differs in found)


def test_copies_do_not_crowd_out_other_evidence(open_library: Callable[..., Library]) -> None:
    library = open_library()
    copies = [document_from_text(f"copy{number}.txt", FEE) for number in range(8)]
    library.add([*copies, document_from_text("due.txt", "The yearly fee for the garden is due in March."), *OTHER])
    policy = replace(ALWAYS, citation_margin=1.0)
    question = "what is the yearly fee for the allotment garden?"
    answer = answer_question(library, question, top_k=2, policy=policy)
    assert [each.same_as for each in answer.citations] == [None, 1, 1, None]
    assert answer.citations[3].hit.document.source == "due.txt"


def test_a_copy_does_not_make_the_answer_less_certain(open_library: Callable[..., Library]) -> None:
    """The null control counts the copy as a rival, and confidence falls."""
    question = "what is the yearly fee for the allotment garden?"
    rivals = Calibration(-1.0, {**dict.fromkeys(FEATURES, 0.0), "standout": 1.0}, dict.fromkeys(FEATURES, 0.0))
    policy = replace(ALWAYS, calibration=rivals)
    alone, copied = open_library("alone"), open_library("copied")
    alone.add([document_from_text("rules.txt", FEE), *OTHER])
    copied.add([document_from_text("rules.txt", FEE), document_from_text("copy.txt", FEE), *OTHER])
    certain = answer_question(alone, question, policy=policy).confidence
    assert answer_question(copied, question, policy=policy).confidence == pytest.approx(certain, abs=1e-6)

    hits = copied.search(question, 20).hits
    statements, distinct = find_statements(hits, 5)
    assert len(distinct) == len(hits) - 1
    assert confidence(hits, [statement.evidence for statement in statements], rivals) < certain - 0.1
