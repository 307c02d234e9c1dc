"""The vocabulary: one small frozen record for each stage between a file and a hit.

Offsets are Unicode code points in a document's stored text, half open: ``text[start:end]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from index.layout import Layout

Scalar: TypeAlias = str | int | float | bool | None
Metadata: TypeAlias = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open range of code points."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """Return the slice of ``text`` that this span names."""
        return text[self.start : self.end]

    def overlaps(self, other: Span) -> bool:
        """Whether both share at least one code point."""
        return self.start < other.end and other.start < self.end

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document that was read and decoded but not yet cut: the text is final from here on."""

    source: str
    text: str
    title: str
    language: str
    sha256: str
    """Hex digest of the original bytes (for text given as JSON: of its UTF-8 form)."""
    metadata: Metadata = field(default_factory=dict)
    original: bytes | None = None
    """The bytes it was read from, unless they are just the UTF-8 form of ``text``."""
    origin: str = ""
    """The folder an import read it from; empty for a document that was handed in by itself."""
    format: str = "text"
    """text, markdown, html, pdf or docx."""
    layout: Layout = field(default_factory=Layout)
    reader: int = 1
    """Version of the code that read it; a later one may read it differently."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a text is divided: passages that do not overlap, and the sentences inside each of them."""

    passages: tuple[Span, ...]
    sentences: tuple[tuple[Span, ...], ...]
    """One tuple of sentences for each passage, in order."""


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document, without its text."""

    id: str
    collection: str
    source: str
    title: str
    language: str
    sha256: str
    characters: int
    passages: int
    metadata: Metadata
    format: str = "text"
    pages: int | None = None
    reader: int = 1
    """See :class:`RawDocument`."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a span is, for a reader with the document in hand. Numbers begin with 1; ``None`` if there is no such."""

    page: int | None
    last_page: int | None
    """Only if the span goes on to another page."""
    section: str | None
    """The nearest heading above."""
    paragraph: int | None


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored passage: a range of a document small enough to read at a glance."""

    id: int
    document_id: str
    span: Span


@dataclass(frozen=True, slots=True)
class Sentence:
    """A stored sentence: the unit quotes are made of. ``passage_id`` is the passage it lies in."""

    id: int
    passage_id: int
    span: Span


@dataclass(frozen=True, slots=True)
class TokenMatches:
    """How well each word of a query is met by each word of a passage."""

    similarities: NDArray[np.float32]
    """Cosines, shape (query tokens, passage tokens)."""
    weights: NDArray[np.float32]
    """How much each query token counts, shape (query tokens,); they sum to 1."""
    starts: NDArray[np.uint16]
    """Where each passage token begins, in code points from the passage's start, ascending."""

    def score(self) -> float:
        """Return the weighted mean over query tokens of the best match among all passage tokens.

        Returns:
            MaxSim of Khattab & Zaharia (2020) as a mean, in [-1, 1]; 0 for a passage without tokens.
        """
        return float(self.similarities.max(axis=1) @ self.weights) if self.similarities.size else 0.0

    def best_within(self, begins: Sequence[int], ends: Sequence[int]) -> NDArray[np.float32]:
        """Return each query token's best match among the passage tokens that begin in each of several ranges.

        Args:
            begins: first code point of each range, from the passage's start; ascending.
            ends: end of each range, not after the beginning of the next.

        Returns:
            Shape (ranges, query tokens); 0 where no token begins in the range.
        """
        best = np.zeros((len(begins), len(self.weights)), np.float32)
        edges = np.searchsorted(self.starts, [begins, ends]).T
        filled = edges[:, 0] < edges[:, 1]
        if filled.any():
            # Every second one is between two ranges; one that would begin at the end cannot be asked for.
            places = edges[filled].ravel()
            places = places[: -1 if places[-1] == len(self.starts) else None]
            best[filled] = np.maximum.reduceat(self.similarities, places, axis=1)[:, ::2].T
        return best


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage found for a query, with what the later stages need to quote from it.

    ``score`` orders the hits, brought to a common level for all languages by adding ``language_shift``; ``cosine`` is
    the passage's own similarity to the query. ``sentences`` are all
    sentences of the passage in reading order with their cosines in ``sentence_cosines`` (same length). ``matches``
    is there if the passage was reranked by late interaction.
    """

    rank: int
    passage: Passage
    document: Document
    text: str
    score: float
    language_shift: float
    cosine: float
    sentences: tuple[Sentence, ...]
    sentence_cosines: tuple[float, ...]
    matches: TokenMatches | None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits of one query, best first, all of one generation; ``timings_ms`` has a figure for each step."""

    hits: tuple[Hit, ...]
    generation: int
    timings_ms: Mapping[str, float]
