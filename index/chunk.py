"""A document's text into passages and sentences with exact offsets.

The pieces are merged by langchain-text-splitters (:mod:`index.merge`). Its ``add_start_index`` looks each chunk up in
the text and fails when words repeat or lengths are not characters; here nothing is looked up: the pieces partition
the text, so every offset is a running sum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from index.errors import DataDamaged
from index.records import Cut, Span
from index.sentences import split_paragraphs, split_sentences

PASSAGE_CHARACTERS = 1200
"""The longest a passage may be."""
QUOTE_CHARACTERS = 400
"""The longest a quote may be, and so the longest a single unit may be that quotes are made of."""

_CLAUSE = re.compile(r"(?<=[;:,.!?…—–。，；：！？、।])\s*|\s+")
_WORD = re.compile(r"\s+|(?<=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff])")
"""White space, and any place in scripts that are written without it (Thai, Lao, Burmese, Khmer, CJK)."""


def cut(text: str, language: str, passage_characters: int = PASSAGE_CHARACTERS) -> Cut:
    """Divide ``text`` into passages, and each passage into sentences.

    Passages keep to paragraphs where they can, to sentences otherwise; a sentence longer than a quote may be is
    divided at a clause, a word, or, if one word is longer than that, inside it. Spans carry no white space at
    their ends, do not overlap, and cover every other character of the text.

    Args:
        text: the stored text, with at least one character that is not white space.
        language: ISO 639-1 code for the sentence splitter.
        passage_characters: the size passages are merged up to; at least ``QUOTE_CHARACTERS``.
    """
    from index.merge import Merger

    merger = Merger(passage_characters)
    blocks: list[str] = []
    for paragraph in split_paragraphs(text):
        fits = len(paragraph) <= passage_characters
        blocks += [paragraph] if fits else merger.merge(list(_units(paragraph, language)))
    passages: list[Span] = []
    sentences: list[tuple[Span, ...]] = []
    for span in _spans(text, merger.merge(blocks), 0):
        passages.append(span)
        units = [unit for part in split_paragraphs(span.of(text)) for unit in _units(part, language)]
        sentences.append(tuple(_spans(text, units, span.start)))
    return Cut(tuple(passages), tuple(sentences))


def _units(paragraph: str, language: str) -> Iterator[str]:
    for sentence in split_sentences(paragraph, language):
        if len(sentence.strip()) <= QUOTE_CHARACTERS:
            yield sentence
        else:
            yield from _divide(sentence)


def _divide(sentence: str) -> list[str]:
    """Cut an overlong sentence into clauses, merged up to the longest quote; then words, then anywhere."""
    from index.merge import Merger

    merger = Merger(QUOTE_CHARACTERS)
    pieces = [sentence]
    steps: list[Callable[[str], list[str]]] = [
        lambda piece: _split_after(_CLAUSE, piece),
        lambda piece: _split_after(_WORD, piece),
        list,
    ]
    for step in steps:
        pieces = [
            part
            for piece in pieces
            for part in ([piece] if len(piece) <= QUOTE_CHARACTERS else merger.merge(step(piece)))
        ]
    return pieces


def _split_after(pattern: re.Pattern[str], text: str) -> list[str]:
    edges = sorted({0, *(match.end() for match in pattern.finditer(text)), len(text)})
    return [text[start:end] for start, end in pairwise(edges)]


def _spans(text: str, pieces: Sequence[str], offset: int) -> Iterator[Span]:
    """Turn consecutive pieces of ``text`` from ``offset`` on into spans without white space at their ends."""
    for piece in pieces:
        end = offset + len(piece)
        if text[offset:end] != piece:
            raise DataDamaged("data_damaged", "A passage is not a slice of its document.")
        if piece.strip():
            yield Span(end - len(piece.lstrip()), offset + len(piece.rstrip()))
        offset = end
