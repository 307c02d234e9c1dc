"""Receipts: what a citation needs so that anyone can check it later, against the documents as they are then."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from index import Document, Library, Span


class Status(StrEnum):
    """What became of a quoted place."""

    VALID = "valid"
    """The quote stands where it was cited."""
    MOVED = "moved"
    """The quote stands at another place of the document, or in a document of another name."""
    CHANGED = "changed"
    """The document is there but no longer says this."""
    DELETED = "deleted"
    """The document is gone."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A quoted place, with hashes of the document and of the quote (SHA-256 of its UTF-8 form)."""

    document_id: str
    source: str
    document_sha256: str
    generation: int
    start: int
    end: int
    quote_sha256: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of checking a receipt.

    ``document`` is the document the quote was looked for in, ``None`` if it is gone; ``span`` and ``quote`` are set
    while it still says it.
    """

    status: Status
    document: Document | None
    span: Span | None
    quote: str | None


def make_receipt(document: Document, generation: int, span: Span, quote: str) -> Receipt:
    """Write the receipt of a quote."""
    return Receipt(document.id, document.source, document.sha256, generation, span.start, span.end, quote_hash(quote))


def verify_receipt(library: Library, receipt: Receipt, collections: frozenset[str] | None = None) -> Verdict:
    """Look the quoted place up in the documents as they are now.

    A document that was removed and added again has a new id; it is found by its name, a renamed one by its content.
    The search for a moved quote hashes a slice at every place where a word begins, since the receipt holds no text.
    """
    with library.view() as view:
        document = view.find_again(receipt.document_id, receipt.source, receipt.document_sha256, collections)
        if document is None:
            return Verdict(Status.DELETED, None, None, None)
        text = view.text(document.id)
    cited = Span(receipt.start, receipt.end)
    if receipt.end <= receipt.start:  # a quote of nothing proves nothing
        return Verdict(Status.CHANGED, document, None, None)
    if quote_hash(cited.of(text)) == receipt.quote_sha256:
        same = document.source == receipt.source
        return Verdict(Status.VALID if same else Status.MOVED, document, cited, cited.of(text))
    length = len(cited)
    for start in range(len(text) - length + 1):
        if (start == 0 or text[start - 1].isspace()) and quote_hash(
            text[start : start + length]
        ) == receipt.quote_sha256:
            return Verdict(Status.MOVED, document, Span(start, start + length), text[start : start + length])
    return Verdict(Status.CHANGED, document, None, None)


def quote_hash(quote: str) -> str:
    """Return the hex SHA-256 of a quote's UTF-8 form."""
    return hashlib.sha256(quote.encode("utf-8", "surrogatepass")).hexdigest()
