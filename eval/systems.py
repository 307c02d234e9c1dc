"""What is measured: the service, through the functions its users call, and trivial systems beside it.

Every system ranks pieces of the same stored texts. A piece is relevant if it shares a code point with gold; what a
system never indexed cannot be found, and counts as missed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_text_splitters import RecursiveCharacterTextSplitter

from eval.cases import CasesRejected, Gold
from index import DEFAULT_COLLECTION, Document, Documents, Encoder, Span
from index.errors import QuestionRejected
from index.vectors import Kind, VectorIndex


class System(Protocol):
    """Something that ranks pieces of documents."""

    name: str
    description: str
    pieces: Pieces

    def rank(self, question: str, k: int) -> Sequence[str]:
        """Return the names of the best ``k`` pieces, best first."""
        ...


class Pieces:
    """All pieces of one system, by name, each a range of a source."""

    def __init__(self, places: Iterable[tuple[str, str, Span]]) -> None:
        """Take ``(name, source, span)`` of every piece."""
        self._by_source: dict[str, list[tuple[str, Span]]] = {}
        self._sources: dict[str, str] = {}
        for name, source, span in places:
            self._by_source.setdefault(source, []).append((name, span))
            self._sources[name] = source

    def __len__(self) -> int:
        return len(self._sources)

    def relevant(self, gold: Sequence[Gold], *, whole_documents: bool) -> dict[str, int]:
        """Return the relevance of every piece that is relevant, those that were never indexed included."""
        found: dict[str, int] = {}
        for number, item in enumerate(gold):
            if whole_documents:
                names = [item.source]
            else:
                pieces = self._by_source.get(item.source, ())
                names = [name for name, span in pieces if span.overlaps(item.span)]
            for name in names or [f"never indexed {number}"]:
                found[name] = max(item.relevance, found.get(name, 0))
        return found

    def judged(self, names: Iterable[str], *, whole_documents: bool) -> list[str]:
        """Return what is judged of a ranking: the pieces, or each document at its first piece's place."""
        return list(dict.fromkeys(self._sources[name] for name in names)) if whole_documents else list(names)


class Passages:
    """The service's own passages, ranked as ``/v1/search`` ranks them."""

    name = "fundstelle"
    description = "this service"

    def __init__(self, library: Documents) -> None:
        self._library = library
        self.pieces = Pieces(
            (str(passage.id), document.source, passage.span)
            for document in documents(library)
            for passage in library.passages(document.id)
        )

    def rank(self, question: str, k: int) -> list[str]:
        """See :class:`System`."""
        try:
            return [str(hit.passage.id) for hit in self._library.search(question, k).hits]
        except QuestionRejected:  # such as one that is too long
            return []


@dataclass(frozen=True, slots=True)
class _Chunk:
    source: str
    span: Span
    text: str


class NaiveChunks:
    """Chunks of a fixed size, one vector each of the same model, exact search: retrieval as tutorials do it."""

    def __init__(self, library: Documents, size: int) -> None:
        self.name = f"chunks of {size}"
        self.description = f"chunks of at most {size} characters, one vector each of the same model"
        self._encoder: Encoder = library.encoder
        chunks = list(_chunks(library, size))
        self.pieces = Pieces((str(row), chunk.source, chunk.span) for row, chunk in enumerate(chunks))
        vectors = self._encoder.encode_sentences([chunk.text for chunk in chunks])
        self._index = VectorIndex.build(vectors, self._encoder.info.dimension, kind=Kind.FLAT)

    def rank(self, question: str, k: int) -> list[str]:
        """See :class:`System`."""
        (query,) = self._encoder.encode_queries([question])
        return [str(row) for row, _ in self._index.search(query.vector[None, :], k, None)]


class Bm25:
    """Words in common, weighed by BM25 (Robertson & Zaragoza 2009, Lucene's variant), over chunks of 1,000."""

    name = "BM25"
    description = (
        "words in common (Lucene's BM25, k1 1.5, b .75, no stemming) over chunks of at most 1,000 characters"
    )

    def __init__(self, library: Documents) -> None:
        """Index the texts.

        Raises:
            CasesRejected: if bm25s is not installed.
        """
        try:
            import bm25s
        except ImportError as error:
            raise CasesRejected("extra_missing", "The BM25 baseline needs the package bm25s.") from error
        chunks = list(_chunks(library, 1000))
        self.pieces = Pieces((str(row), chunk.source, chunk.span) for row, chunk in enumerate(chunks))
        self._index: Any = bm25s.BM25()
        self._index.index([_words(chunk.text) for chunk in chunks], show_progress=False)

    def rank(self, question: str, k: int) -> list[str]:
        """See :class:`System`."""
        rows, scores = self._index.retrieve(
            [_words(question)], k=min(k, len(self.pieces)), show_progress=False, n_threads=1
        )
        return [str(row) for row, score in zip(rows[0], scores[0], strict=True) if score > 0]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def baselines(library: Documents) -> list[System]:
    """Return the systems that are always shown beside the service."""
    return [NaiveChunks(library, 500), NaiveChunks(library, 1000), Bm25(library)]


def timed(system: System, questions: Mapping[str, str], k: int) -> tuple[dict[str, list[str]], list[float]]:
    """Rank for every case; return the rankings by case, and milliseconds."""
    rankings: dict[str, list[str]] = {}
    spent: list[float] = []
    for case, question in questions.items():
        started = time.perf_counter()
        rankings[case] = list(system.rank(question, k))
        spent.append((time.perf_counter() - started) * 1000)
    return rankings, spent


def documents(library: Documents) -> Iterator[Document]:
    """List all documents of the default collection."""
    after: int | None = 0
    while after is not None:
        listed, after = library.documents(1000, after)
        yield from (document for document in listed if document.collection == DEFAULT_COLLECTION)


def _chunks(library: Documents, size: int) -> Iterator[_Chunk]:
    """Cut every stored text. Chunks do not overlap, so each is the next occurrence of its words."""
    splitter = RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=0)
    for document in documents(library):
        text = library.text(document.id)
        end = 0
        for chunk in splitter.split_text(text):
            start = text.index(chunk, end)
            end = start + len(chunk)
            yield _Chunk(document.source, Span(start, end), chunk)
