from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from index import Hit, Library, SearchResult, Span, View, document_from_text
from index.chunk import QUOTE_CHARACTERS
from service.answer import AnswerPolicy, answer_question
from service.evidence import find_evidence
from service.receipts import Status, make_receipt, verify_receipt

ALWAYS = AnswerPolicy(min_confidence=0.0)
NEVER = AnswerPolicy(min_confidence=1.0)


def test_an_answer_is_numbered_verbatim_evidence(library: Library) -> None:
    answer = answer_question(library, "what does the repair of the bridge cost?", policy=ALWAYS)
    assert answer.answerable
    assert [citation.number for citation in answer.citations] == list(range(1, len(answer.citations) + 1))
    first = answer.citations[0]
    assert "four million euros" in first.quote
    for citation in answer.citations:
        text = library.text(citation.hit.document.id)
        assert citation.span.of(text) == citation.quote
        assert len(citation.quote) <= QUOTE_CHARACTERS
        passage = citation.hit.passage.span
        assert passage.start <= citation.span.start < citation.span.end <= passage.end
    assert answer.text == "\n".join(citation.quote for citation in answer.citations)
    assert set(answer.timings_ms) == {"embed", "search", "rank", "total"}


def test_not_answerable_is_an_answer_with_the_closest_passages(library: Library) -> None:
    answer = answer_question(library, "what does the repair of the bridge cost?", policy=NEVER)
    assert not answer.answerable
    assert answer.text is None
    assert answer.citations == ()
    assert answer.closest[0].document.source == "bridge.txt"


def test_an_empty_library_does_not_say(open_library: Callable[..., Library]) -> None:
    answer = answer_question(open_library(), "anything?", policy=ALWAYS)
    assert (answer.answerable, answer.confidence, answer.closest) == (False, 0.0, ())


def test_top_k_bounds_citations_and_closest(library: Library) -> None:
    assert len(answer_question(library, "bridge", top_k=1, policy=ALWAYS).citations) == 1
    assert len(answer_question(library, "bridge", top_k=2, policy=NEVER).closest) == 2


def in_the_middle(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> dict[str, Hit]:
    """Let something happen between search and citing; return what the search found, by document."""
    real, found = View.search, {}

    def search_then(view: View, *arguments: Any, **options: Any) -> SearchResult:
        result = real(view, *arguments, **options)
        found.update({hit.document.id: hit for hit in result.hits})
        happens()
        return result

    monkeypatch.setattr(View, "search", search_then)
    return found


def test_an_answer_is_of_one_generation_whatever_is_written_meanwhile(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_middle(monkeypatch, lambda: library.add([document_from_text("bridge.txt", "X" * 500)]))
    answer = answer_question(library, "what does the repair of the bridge cost?", policy=ALWAYS)
    assert answer.citations
    assert answer.generation == library.generation - 1
    with library.view(as_of=answer.generation) as view:
        for citation in answer.citations:
            assert citation.span.of(view.text(citation.hit.document.id)) == citation.quote


@pytest.mark.parametrize("broken", [False, True])
def test_a_citation_whose_document_is_deleted_meanwhile_is_dropped(
    library: Library, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """The quote is read again before it leaves; the null control reads it from memory and lets it out."""
    (bridge,) = (document for document in library.documents(10)[0] if document.source == "bridge.txt")
    found = in_the_middle(monkeypatch, lambda: library.delete(bridge.id))
    if broken:

        def remembered(view: View, id_: str, span: Span) -> str:
            start = found[id_].passage.span.start
            return found[id_].text[span.start - start : span.end - start]

        monkeypatch.setattr(View, "quote", remembered)
    answer = answer_question(library, "what does the repair of the bridge cost?", policy=ALWAYS)
    assert any(citation.hit.document.id == bridge.id for citation in answer.citations) == broken


def test_evidence_is_ordered_and_one_for_each_hit(library: Library) -> None:
    hits = library.search("ferry across the river", 10).hits
    evidence = find_evidence(hits)
    assert sorted(item.hit.rank for item in evidence) == [hit.rank for hit in hits]
    assert [item.score for item in evidence] == sorted((item.score for item in evidence), reverse=True)


def test_receipts_tell_what_became_of_a_quote(open_library: Callable[..., Library]) -> None:
    library = open_library()
    text = "The tower is old. It was built in 1420. It leans."
    (added,) = library.add([document_from_text("tower.txt", text)])
    span = Span(18, 39)
    receipt = make_receipt(added.document, library.generation, span, span.of(text))
    assert verify_receipt(library, receipt).status is Status.VALID

    library.add([document_from_text("tower.txt", "A new beginning. " + text)])
    moved = verify_receipt(library, receipt)
    assert (moved.status, moved.span, moved.quote) == (Status.MOVED, Span(35, 56), "It was built in 1420.")

    library.add([document_from_text("tower.txt", text.replace("1420", "1421"))])
    assert verify_receipt(library, receipt).status is Status.CHANGED

    library.delete(added.document.id)
    assert verify_receipt(library, receipt).status is Status.DELETED

    library.add([document_from_text("tower.txt", text)])  # a new id; the source leads to it
    assert verify_receipt(library, receipt).status is Status.VALID
