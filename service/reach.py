"""What of a library a caller can touch: the calls see documents through this and no other way.

A collection that is not theirs is refused by its name, whether or not it exists. A document that is not theirs is not
found, in the very words of one that never was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from index import Added, Document, Filters, Library, RawDocument, SearchResult, View
from index.errors import NotFound
from index.records import Location, Span
from index.stored import Listing
from service.access import Caller
from service.answer import Answer, AnswerPolicy, answer_question
from service.receipts import Receipt, Verdict, verify_receipt
from service.refusals import ProtocolError
from service.together import Computing


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its terms; see :func:`service.answer.answer_question`."""

    text: str
    collection: str
    top_k: int = 5
    filters: Filters | None = None
    as_of: int | None = None
    previous: str | None = None


class Reach:
    """A library, as far as one caller reaches.

    Every method raises :class:`ProtocolError` for a collection, :class:`NotFound` for a document out of reach.

    Args:
        library: all of it.
        caller: whoever asks.
        computing: shared with all others who ask.
    """

    def __init__(self, library: Library, caller: Caller, computing: Computing | None = None) -> None:
        self._library = library
        self._caller = caller
        self._computing = computing or Computing()

    @property
    def generation(self) -> int:
        """Number of the newest generation."""
        return self._library.generation

    def ask(self, question: Question, policy: AnswerPolicy) -> Answer:
        """Answer a question; see :func:`service.answer.answer_question`."""
        collection = self.expect(question.collection)
        with self._library.view(question.as_of) as view, self._computing.on(view) as shared:
            return answer_question(
                shared,
                question.text,
                top_k=question.top_k,
                collection=collection,
                filters=question.filters,
                policy=policy,
                previous=question.previous,
            )

    def search(self, query: Question) -> tuple[SearchResult, list[Location]]:
        """Return the nearest passages, and where each is."""
        collection = self.expect(query.collection)
        with self._library.view(query.as_of) as whole, self._computing.on(whole) as view:
            result = view.search(query.text, query.top_k, collection, query.filters)
            return result, view.locations([(hit.document.id, hit.passage.span) for hit in result.hits])

    def verify(self, receipt: Receipt) -> Verdict:
        """Check a receipt; what it cites counts as deleted if it is out of reach."""
        return verify_receipt(self._library, receipt, self._caller.collections)

    def documents(self, limit: int, after: int, listing: Listing) -> tuple[list[Document], int | None, int]:
        """List documents; return also the number to continue after, and how many there are altogether."""
        mine, wanted = self._caller.collections, listing.collections
        for collection in wanted or ():
            self.expect(collection)
        within = replace(listing, collections=mine if wanted is None else wanted)
        with self._library.view() as view:
            found, following = view.documents(limit, after, within)
            return found, following, view.count_documents(within)

    def collections(self) -> list[str]:
        """Return the names of all collections within reach that have documents, in order."""
        with self._library.view() as view:
            return [name for name in view.collections() if self._caller.reaches(name)]

    def reaches(self, collection: str) -> bool:
        """Say whether a collection is the caller's to use."""
        return self._caller.reaches(collection)

    def document(self, document_id: str) -> Document:
        """Return one document."""
        with self._reached(document_id) as (_, document):
            return document

    def text(self, document_id: str) -> tuple[Document, str]:
        """Return a document and its text."""
        with self._reached(document_id) as (view, document):
            return document, view.text(document_id)

    def part(self, document_id: str, choose: Callable[[int], Span]) -> tuple[Document, Span, str, Location]:
        """Return a document, a part of its text with its place, and where that is.

        Args:
            document_id: which.
            choose: returns what part is wanted of a text of so many characters; it may be empty.
        """
        with self._reached(document_id) as (view, document):
            span = choose(document.characters)
            text = view.quote(document_id, span) if span else ""
            if text is None:
                raise _not_found(document_id)
            return document, span, text, view.locations([(document_id, span)])[0]

    def original(self, document_id: str) -> tuple[Document, bytes]:
        """Return a document and the bytes it was read from."""
        with self._reached(document_id) as (view, document):
            return document, view.original(document_id)

    def add(self, documents: Sequence[RawDocument], collection: str) -> list[Added]:
        """Add or update documents."""
        return self._library.add(documents, self.expect(collection))

    def delete(self, document_id: str, meant: Callable[[Document], bool] | None = None) -> None:
        """Remove one document; an id is never given to another document, so it is still the same.

        Args:
            document_id: which.
            meant: says whether it is as whoever removes it believes; it is not removed if it changes meanwhile.

        Raises:
            ProtocolError: if it is not as it was meant.
        """
        document = self.document(document_id)
        if meant is None:
            self._library.delete(document_id)
        elif not meant(document) or not self._library.delete(document_id, unchanged=document):
            raise ProtocolError("precondition_failed")

    def delete_where(self, filters: Filters, collection: str) -> list[Document]:
        """Remove the documents of a collection that match."""
        return self._library.delete_where(filters, self.expect(collection))

    def expect(self, collection: str) -> str:
        """Return a collection's name.

        Raises:
            ProtocolError: if the caller does not reach it.
        """
        if not self._caller.reaches(collection):
            raise ProtocolError("collection_forbidden")
        return collection

    @contextmanager
    def _reached(self, document_id: str) -> Iterator[tuple[View, Document]]:
        with self._library.view() as view:
            document = view.document(document_id)
            if not self._caller.reaches(document.collection):
                raise _not_found(document_id)
            yield view, document


def _not_found(document_id: str) -> NotFound:
    return NotFound("document_not_found", f"There is no document '{document_id}'.")
