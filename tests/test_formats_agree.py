"""The sample in all five formats: the same question gets the same sentence, with the right page and section."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index import Encoder, Library, document_from_bytes
from service.answer import AnswerPolicy, Citation, answer_question
from service.statements import plain
from tests.conftest import ROOT
from tests.files import FORMATS, Article, article_of, as_bytes

QUESTIONS = (
    "what did Germany offer France?",
    "Why is the bridge closed?",
    "How many beds does the hospital have?",
    "Was kostet die Miete der Stadtbücherei?",
    "Who damaged the railway?",
)
ANSWER_ALL = AnswerPolicy(min_confidence=0.0)


def articles() -> dict[str, Article]:
    """The articles of the sample that have enough paragraphs for two pages."""
    made = {file.stem: article_of(file.read_text("utf-8")) for file in sorted((ROOT / "sample").glob("*.txt"))}
    return {name: article for name, article in made.items() if len(article.paragraphs) > 2}


@pytest.fixture(scope="module")
def libraries(e5: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Library]]:
    opened = {kind: Library(tmp_path_factory.mktemp(kind) / "data", e5, writable=True) for kind in FORMATS}
    for kind, library in opened.items():
        library.add(
            [document_from_bytes(f"{name}.{kind}", as_bytes(article, kind)) for name, article in articles().items()]
        )
    yield opened
    for library in opened.values():
        library.close()


def sentences_in(citation: Citation) -> set[str]:
    """Return the sentences of a quote, without what formats write differently."""
    spans = [sentence.span for sentence in citation.hit.sentences]
    origin = citation.hit.passage.span.start
    within = [span for span in spans if citation.span.start <= span.start and span.end <= citation.span.end]
    return {plain(citation.hit.text[span.start - origin : span.end - origin]).strip() for span in within}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_same_sentence_on_the_right_page(libraries: dict[str, Library], question: str) -> None:
    first: dict[str, Citation] = {}
    for kind, library in libraries.items():
        answer = answer_question(library, question, policy=ANSWER_ALL)
        first[kind] = answer.citations[0]
        for citation in answer.citations:
            assert library.quote(citation.hit.document.id, citation.span) == citation.quote
            article = articles()[Path(citation.hit.document.source).stem]
            held = [
                number for number, text in enumerate(article.paragraphs) if plain(text) in plain(citation.hit.text)
            ]
            quoted = [
                number
                for number, text in enumerate(article.paragraphs)
                if plain(citation.quote) in plain(text) or plain(text) in plain(citation.quote)
            ]
            assert citation.location is not None
            if kind == "pdf" and quoted:
                assert citation.location.page == article.page_of(quoted[0]), held
                assert citation.location.section in {article.section_of(quoted[0]), article.title}
            if kind != "pdf":
                assert citation.location.page is None
    # A quote may have a sentence more in one format, where a heading is written differently; the answer is the same.
    shared = set.intersection(*(sentences_in(citation) for citation in first.values()))
    assert shared, {kind: citation.quote for kind, citation in first.items()}
    assert len({Path(citation.hit.document.source).stem for citation in first.values()}) == 1


def test_a_citation_of_the_other_page_would_be_noticed(libraries: dict[str, Library]) -> None:
    """The null control: pages are told apart, and some evidence is not on the first."""
    pages = {
        citation.location.page
        for question in QUESTIONS
        for citation in answer_question(libraries["pdf"], question, policy=ANSWER_ALL).citations
        if citation.location
    }
    assert len(pages) > 1
