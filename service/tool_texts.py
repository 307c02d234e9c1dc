"""What tools give back, to be read: short, and with every line of a document marked as one.

A document cannot pass for the service: its lines begin with ``> ``, ours never do.
"""

from __future__ import annotations

from service.schemas import AskResponse, CitationBody, LocationBody, PartBody, PassageBody, SearchResponse

_NEAREST = 3
"""Passages that are named where nothing answers."""


def answer_text(body: AskResponse) -> str:
    """Return an answer: quotes with their places, or that the documents do not say."""
    sure = f"confidence {body.confidence:.2f}"
    if not body.answerable:
        nearest = [f"- {_place(each)}" for each in body.closest[:_NEAREST]]
        looked = ["Nearest, but no answer:", *nearest] if nearest else []
        return "\n".join([f"The documents do not say ({sure}).", *looked])
    return "\n\n".join([*map(_citation, body.citations), f"({sure})"])


def passages_text(body: SearchResponse) -> str:
    """Return passages with their places."""
    if not body.passages:
        return "There is nothing to be found in these documents."
    numbered = enumerate(body.passages, start=1)
    return "\n\n".join(f"[{number}] {_place(each)}\n{_marked(each.text)}" for number, each in numbered)


def part_text(body: PartBody) -> str:
    """Return a window of a text, and how to go on."""
    document = body.document
    about = (
        f"{document.source} [{body.start}:{body.end}] of {document.characters} characters, document {document.id}, "
        f"{document.language}: {document.title}{_where(body.location)}"
    )
    if not body.text:
        return f"{about}\nThe text ends before that place."
    on = f"{body.left} characters are left; read on with start={body.end}." if body.left else "The text ends here."
    return f"{about}\n{_marked(body.text)}\n{on}"


def _citation(citation: CitationBody) -> str:
    lines = [f"[{citation.number}] {_place(citation)}", _marked(citation.quote)]
    if citation.same_as is not None:
        lines.append(f"The same statement as [{citation.same_as}].")
    if citation.differs_from is not None:
        lines.append(f"Nearly the same as [{citation.differs_from}], with other details: compare.")
    return "\n".join(lines)


def _place(found: CitationBody | PassageBody) -> str:
    place = f"{found.source} [{found.start}:{found.end}], document {found.document_id}"
    return f"{place}, {found.language}: {found.title}{_where(found.location)}"


def _where(location: LocationBody | None) -> str:
    return f" (page {location.page})" if location is not None and location.page is not None else ""


def _marked(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())
