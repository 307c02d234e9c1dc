"""The write path before the catalogue: documents are cut and embedded, many at a time.

A passage whose text was embedded before, in whatever document, is not embedded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from index import rows
from index.apart import cut_apart
from index.chunk import PASSAGE_CHARACTERS, QUOTE_CHARACTERS
from index.encoder import Encoder, TokenStates
from index.errors import ModelUnavailable
from index.fold import Folded, fold
from index.records import Cut, RawDocument, Span
from index.stored import EmbeddedPassage, Prepared

Known: TypeAlias = Callable[[Iterable[bytes]], Mapping[tuple[bytes, bytes], EmbeddedPassage]]
"""Returns passages that were embedded before, by the digest of their text and the packed form of their sentences."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A passage that was cut but not yet embedded."""

    span: Span
    text: str
    sentences: tuple[Span, ...]

    @property
    def key(self) -> tuple[bytes, bytes]:
        return rows.text_digest(self.text), rows.pack_spans(self.sentences, self.span.start)


def prepare(documents: Sequence[RawDocument], encoder: Encoder, known: Known) -> list[Prepared]:
    """Cut and embed documents; together, so that texts of like length share a batch.

    Passages and sentences are embedded separately: a sentence's own vector finds what its passage's mean hides.
    """
    cuts = [_pieces(document, _cut_to_fit(document, encoder)) for document in documents]
    pieces = {piece.key: piece for group in cuts for piece in group}
    embedded = dict(known(digest for digest, _ in pieces))
    missing = {key: piece for key, piece in pieces.items() if key not in embedded}
    embedded.update(zip(missing, _embed(list(missing.values()), encoder), strict=True))
    return [
        Prepared(document, tuple(_place(piece, embedded[piece.key]) for piece in group))
        for document, group in zip(documents, cuts, strict=True)
    ]


_AT_ONCE = 256
"""Passages; what a tokenizer says of so many takes 20 MB."""


def _embed(pieces: Sequence[_Piece], encoder: Encoder) -> Iterator[EmbeddedPassage]:
    for first in range(0, len(pieces), _AT_ONCE):
        yield from _embedded(pieces[first : first + _AT_ONCE], encoder)


def _embedded(pieces: Sequence[_Piece], encoder: Encoder) -> list[EmbeddedPassage]:
    folded = [fold(piece.text) for piece in pieces]
    encoded = encoder.encode_passages([each.text for each in folded])
    sentences = [
        fold(piece.text[span.start - piece.span.start : span.end - piece.span.start]).text
        for piece in pieces
        for span in piece.sentences
    ]
    sentence_vectors = encoder.encode_sentences(sentences).astype(np.float16)
    for vectors in (encoded.vectors, sentence_vectors):
        _expect_unit_length(vectors, encoder)
    result: list[EmbeddedPassage] = []
    first = 0
    for place, piece in enumerate(pieces):
        last = first + len(piece.sentences)
        result.append(
            EmbeddedPassage(
                piece.span,
                piece.text,
                piece.sentences,
                encoded.vectors[place].astype(np.float16),
                sentence_vectors[first:last],
                _placed(encoded.tokens[place], folded[place]) if encoded.tokens else None,
            )
        )
        first = last
    return result


def _placed(states: TokenStates, folded: Folded) -> TokenStates:
    """Return token states with their places in the stored text."""
    return replace(states, starts=folded.stored(states.starts))


def _expect_unit_length(vectors: NDArray[np.floating], encoder: Encoder) -> None:
    """See that vectors are what they should be before they are stored; with others no folder can be opened again."""
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=-1)
    if vectors.shape[-1] != encoder.info.dimension or not np.all(
        np.abs(lengths - 1) < _LENGTH_TOLERANCE
    ):  # also false for not-a-number
        raise ModelUnavailable("model_damaged", f"The model '{encoder.info.name}' computes vectors that are none.")


_LENGTH_TOLERANCE = 5e-3


def _place(piece: _Piece, embedded: EmbeddedPassage) -> EmbeddedPassage:
    return EmbeddedPassage(
        piece.span, piece.text, piece.sentences, embedded.vector, embedded.sentence_vectors, embedded.states
    )


def _pieces(document: RawDocument, result: Cut) -> list[_Piece]:
    return [
        _Piece(span, span.of(document.text), sentences)
        for span, sentences in zip(result.passages, result.sentences, strict=True)
    ]


def _cut_to_fit(document: RawDocument, encoder: Encoder) -> Cut:
    """Cut into passages the model reads whole; scripts with a token a letter need shorter ones."""
    size = PASSAGE_CHARACTERS
    while True:
        result = cut_apart(document.text, document.language, size)
        texts = [span.of(document.text) for span in result.passages]
        longest = max(
            count
            for first in range(0, len(texts), _AT_ONCE)
            for count in encoder.count_tokens(texts[first : first + _AT_ONCE])
        )
        if longest <= encoder.info.max_tokens or size <= QUOTE_CHARACTERS:
            return result
        size = max(QUOTE_CHARACTERS, size * encoder.info.max_tokens // longest)
