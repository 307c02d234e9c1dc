"""What goes into the catalogue and what comes out of it: the records at its border."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from index import rows
from index.encoder import TokenStates, Vectors
from index.filters import Filters
from index.records import Document, Passage, RawDocument, Sentence, Span

DEFAULT_COLLECTION = "default"
_SENTENCE_BITS = 10
"""A sentence's id is its passage's with its place in it: a passage of 1,200 characters has fewer than 1,024."""


@dataclass(frozen=True, slots=True)
class EmbeddedPassage:
    """A passage with what the model made of it, ready to be stored."""

    span: Span
    text: str
    sentences: tuple[Span, ...]
    """In the document, in reading order."""
    vector: NDArray[np.float16]
    """Shape (dimension,)."""
    sentence_vectors: NDArray[np.float16]
    """Shape (sentences, dimension)."""
    states: TokenStates | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut and embedded, ready to be stored in one step."""

    document: RawDocument
    passages: tuple[EmbeddedPassage, ...]


@dataclass(frozen=True, slots=True)
class Born:
    """A stored version with its new passages."""

    version: int
    document: Document
    first_passage: int
    """Their ids follow one another from here."""
    passages: tuple[EmbeddedPassage, ...]
    replaces: bool
    """Whether the document had a version before."""


@dataclass(frozen=True, slots=True)
class Died:
    """A version that is not current any more, with the passages that went with it."""

    version: int
    collection: str
    language: str
    passages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What one transaction did; ``number`` is the generation it made."""

    number: int
    born: tuple[Born, ...] = ()
    died: tuple[Died, ...] = ()
    documents: tuple[Document, ...] = ()
    """The documents that were stored or removed."""
    unchanged: tuple[Document, ...] = ()
    """Documents that were to be stored but said the same already."""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A live passage with everything a hit is made of."""

    passage: Passage
    document: Document
    text: str
    vector: Vectors
    """Shape (1, dimension)."""
    spans: bytes
    """Of its sentences; see :func:`index.rows.pack_spans`."""
    sentence_vectors: Vectors

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """Its sentences, made anew: most passages that are looked at are not shown."""
        id_ = self.passage.id
        spans = rows.unpack_spans(self.spans, self.passage.span.start)
        return tuple(Sentence(id_ << _SENTENCE_BITS | place, id_, span) for place, span in enumerate(spans))


@dataclass(frozen=True, slots=True)
class PassageRows:
    """Where all passages of one model stand, one entry each, ascending by id."""

    ids: NDArray[np.int64]
    versions: NDArray[np.int64]
    born: NDArray[np.int64]
    died: NDArray[np.int64]
    """Of their versions; a number no generation reaches for those that are current."""
    marks: NDArray[np.int64]
    """See :func:`index.rows.marks`."""

    def alive(self, at: int) -> NDArray[np.bool_]:
        """Return which are part of generation ``at``."""
        alive: NDArray[np.bool_] = (self.born <= at) & (at < self.died)
        return alive


@dataclass(frozen=True, slots=True)
class VectorChunk:
    """Some passages' vectors in the order of their ids, in half precision."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float16]
    sentence_counts: NDArray[np.int64]
    sentence_vectors: NDArray[np.float16]
    marks: NDArray[np.int64]
    """See :func:`index.rows.marks`."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much the catalogue holds."""

    documents: int
    passages: int
    sentences: int
    characters: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Which documents to list."""

    collections: frozenset[str] | None = None
    """Those to list from; ``None``: all."""
    words: str = ""
    """Part of the source or the title, in upper or lower case."""
    filters: Filters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """An embedding model whose vectors are stored."""

    number: int
    name: str
    fingerprint: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """One entry of a document's history."""

    document_id: str
    collection: str
    source: str
    sha256: str


def says_the_same(known: Document | None, raw: RawDocument) -> bool:
    """Whether a stored document is the one that is handed in: the same content, title and metadata, read alike."""
    return known is not None and (
        (known.sha256, known.title, dict(known.metadata), known.characters, known.format, known.reader)
        == (raw.sha256, raw.title, dict(raw.metadata), len(raw.text), raw.format, raw.reader)
    )
