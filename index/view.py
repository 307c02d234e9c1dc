"""A view: the documents as they were at one generation. Everything one request reads, it reads through one view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from index.background import Backgrounds
from index.catalogue import Catalogue
from index.encoder import EncodedQuery, Encoder
from index.errors import GenerationNotKept, NotFound
from index.filters import Filters
from index.generation import Generation
from index.layout import locate
from index.records import Document, Location, Passage, SearchResult, Span
from index.search import Ranking, search
from index.stored import DEFAULT_COLLECTION, Counts, Listing


class Documents(Protocol):
    """What can be read: a library reads the newest generation with each call, a view always the same one."""

    @property
    def encoder(self) -> Encoder:
        """The embedding model in use."""
        ...

    @property
    def generation(self) -> int:
        """Number of the generation that is read."""
        ...

    def view(self, as_of: int | None = None) -> AbstractContextManager[View]:
        """Lend a view for several calls that must see the same."""
        ...

    def search(
        self, query: str, top_k: int = 10, collection: str = DEFAULT_COLLECTION, filters: Filters | None = None
    ) -> SearchResult:
        """Return the best passages for ``query``; see :func:`index.search.search`."""
        ...

    def quote(self, document_id: str, span: Span) -> str | None:
        """Return what the stored text says at ``span``; ``None`` if the document is gone."""
        ...

    def document(self, document_id: str) -> Document:
        """Return one document, or raise ``NotFound``."""
        ...

    def text(self, document_id: str) -> str:
        """Return the text of one document exactly as it is cited, or raise ``NotFound``."""
        ...

    def passages(self, document_id: str) -> list[Passage]:
        """Return the passages of one document in reading order; none if the document is gone."""
        ...

    def find_source(self, source: str, collection: str = DEFAULT_COLLECTION) -> Document | None:
        """Return the document of this name, if there is one."""
        ...

    def documents(
        self, limit: int, after: int = 0, listing: Listing | None = None
    ) -> tuple[list[Document], int | None]:
        """List documents in the order they were first added, and the number to continue after, if there are more."""
        ...

    def count_documents(self, listing: Listing | None = None) -> int:
        """Count what :meth:`documents` lists altogether."""
        ...

    def locations(self, places: Sequence[tuple[str, Span]]) -> list[Location]:
        """Say where spans of documents are: page, section and paragraph, as far as the document has such."""
        ...

    def counts(self) -> Counts:
        """Count what there is."""
        ...


@dataclass(frozen=True)
class View:
    """Reads one generation; what is written meanwhile does not show, except that deleted documents are gone."""

    state: Generation
    encoder: Encoder
    catalogue: Catalogue
    backgrounds: Backgrounds
    ranking: Ranking = field(default_factory=Ranking)
    asked: Callable[[EncodedQuery], None] = lambda query: None
    """Told every question, so that recall is measured on real ones."""

    @property
    def generation(self) -> int:
        """Number of the generation."""
        return self.state.number

    @contextmanager
    def view(self, as_of: int | None = None) -> Iterator[View]:
        """Lend this view itself; there is no other time to look at.

        Raises:
            GenerationNotKept: if another generation is asked for.
        """
        if as_of not in {None, self.generation}:
            raise GenerationNotKept("generation_not_kept", f"This is a view of generation {self.generation} alone.")
        yield self

    def search(
        self, query: str, top_k: int = 10, collection: str = DEFAULT_COLLECTION, filters: Filters | None = None
    ) -> SearchResult:
        """Return the best passages for ``query``; see :func:`index.search.search`."""
        return search(
            query,
            top_k,
            encoder=self.encoder,
            generation=self.state,
            catalogue=self.catalogue,
            backgrounds=self.backgrounds,
            collection=collection,
            filters=filters,
            ranking=self.ranking,
            asked=self.asked,
        )

    def quote(self, document_id: str, span: Span) -> str | None:
        """Return what the stored text says at ``span``; ``None`` if the document is gone."""
        return self.catalogue.slice(document_id, span, self.generation)

    def document(self, document_id: str) -> Document:
        """Return one document.

        Raises:
            NotFound: if there is none of this id.
        """
        return self.catalogue.document(document_id, self.generation, self.state.model)

    def text(self, document_id: str) -> str:
        """Return the text of one document, exactly as it is cited.

        Raises:
            NotFound: if there is none of this id.
        """
        return self.catalogue.text(document_id, self.generation)

    def original(self, document_id: str) -> bytes:
        """Return the bytes a document was read from.

        Raises:
            NotFound: if there is none of this id, or its bytes are not known.
        """
        return self.catalogue.original(document_id, self.generation)

    def passages(self, document_id: str) -> list[Passage]:
        """Return the passages of one document in reading order; none if the document is gone."""
        return self.catalogue.passages(document_id, self.generation, self.state.model)

    def find_source(self, source: str, collection: str = DEFAULT_COLLECTION) -> Document | None:
        """Return the document of this name, if there is one."""
        return self.catalogue.find_source(source, collection, self.generation, self.state.model)

    def find_again(
        self, document_id: str, source: str, sha256: str, collections: frozenset[str] | None = None
    ) -> Document | None:
        """Return what most likely became of a document: itself, or the one of its name, or the one of its content.

        Looked for in its own collection if its past is known, else (it came from another data folder) in all. With
        ``collections``, whatever is or was in another one counts as unknown.
        """
        known = frozenset(each.collection for each in self.catalogue.earlier(document_id))
        try:
            document = self.document(document_id)
        except NotFound:
            pass
        else:
            if collections is None or document.collection in collections:
                return document
            known = frozenset()
        within = known if collections is None else known & collections or collections
        found = self.catalogue.find_again(source, sha256, within or None, self.generation, self.state.model)
        return min(found, key=lambda document: (document.source != source, document.sha256 != sha256), default=None)

    def documents(
        self, limit: int, after: int = 0, listing: Listing | None = None
    ) -> tuple[list[Document], int | None]:
        """List documents in the order they were first added, and the number to continue after, if there are more."""
        return self.catalogue.documents(limit, after, self.generation, self.state.model, listing or Listing())

    def count_documents(self, listing: Listing | None = None) -> int:
        """Count what :meth:`documents` lists altogether."""
        return self.catalogue.count_documents(self.generation, listing or Listing())

    def collections(self) -> list[str]:
        """Return the names of all collections that have documents, in order."""
        return self.catalogue.collections(self.generation)

    def locations(self, places: Sequence[tuple[str, Span]]) -> list[Location]:
        """Say where spans of documents are: page, section and paragraph, as far as the document has such."""
        layouts = {document_id: self.catalogue.layout(document_id, self.generation) for document_id, _ in places}
        found: list[Location] = []
        for document_id, span in places:
            place = locate(layouts[document_id], span.start, span.end)
            heading = place.section and Span(place.section.start, place.section.end)
            section = heading and self.quote(document_id, heading)
            title = " ".join(section.split()) if section else None
            found.append(Location(place.page, place.last_page, title, place.paragraph))
        return found

    def counts(self) -> Counts:
        """Count what there is."""
        return self.catalogue.counts(self.generation, self.state.model)
