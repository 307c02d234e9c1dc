"""Text into sentences, by sentencex (Wikimedia's rule-based segmenter), the only place that knows it.

The pieces partition the text: joined together they are the text again, white space included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import sentencex

_PARAGRAPH = re.compile(r"(?:\r\n|\r|\n)[ \t]*(?:\r\n|\r|\n)\s*|[\u2029\f]\s*")
_LINE = re.compile(r"(?!(?<=\w[-\u2010\u00ad])(?:\r\n|\r|\n)[^\W\d_])(?:\r\n|\r(?!\n)|(?<!\r)\n)|[\u2028\x85]")
"""The end of a line, unless a word is divided there."""
_WRAPPED = range(45, 121)
"""Line lengths of hard-wrapped prose; shorter or longer lines are lines for a reason (headings, verse, lists)."""

_ORDINAL = re.compile(r"(?<!\d)\d{1,2}\.$")
_END = 20
"""Characters at the end of a piece in which an ordinal is looked for."""
_LONGEST_BLOCK = 4000
_SURELY = re.compile(r"[.!?…](?=\s)\s{1,100}|[。！？।]")
"""An end of a sentence that needs no segmenter to see."""
_FRAGMENT = 12
"""Shorter pieces are initials, list marks or footnotes, not sentences."""


def split_paragraphs(text: str) -> list[str]:
    """Cut after each blank line; the white space stays with the paragraph before it."""
    return _cut(text, [match.end() for match in _PARAGRAPH.finditer(text)])


def split_sentences(paragraph: str, language: str) -> list[str]:
    """Cut one paragraph into sentences; a line break ends one too, unless the paragraph is hard-wrapped prose.

    Args:
        paragraph: text without blank lines inside.
        language: ISO 639-1 code, which chooses the abbreviations that do not end a sentence.
    """
    breaks = [match.end() for match in _LINE.finditer(paragraph)]
    lines = _cut(paragraph, breaks)
    wrapped = len(lines) > 1 and all(len(line.rstrip()) in _WRAPPED for line in lines[:-1])
    blocks = [paragraph] if wrapped else lines
    return [sentence for block in blocks for sentence in _sentences(block, language)]


def _sentences(block: str, language: str) -> Iterator[str]:
    """Cut a block into sentences, with a window that moves along if it is longer than any paragraph.

    The segmenter takes the square of the length for some texts, 100 quotation marks in a row for example.
    """
    start = 0
    while len(block) - start > _LONGEST_BLOCK:
        window = block[start : start + _LONGEST_BLOCK]
        found = _segment(window, language)
        if len(window) - len(found[-1]) < _LONGEST_BLOCK // 2:
            found = [*_segment(window[: _cut_at(window)], language), ""]
        yield from found[:-1]  # the last one may go on beyond the window
        start += sum(map(len, found[:-1]))
    yield from _segment(block[start:], language)


def _cut_at(window: str) -> int:
    """Return where to cut what has no sentences of usual length: where one seems to end, at a space, or anywhere."""
    ends = [match.end() for match in _SURELY.finditer(window, _LONGEST_BLOCK // 2)]
    return ends[-1] if ends else max(window.rfind(" "), window.rfind("\n")) + 1 or len(window)


def _segment(block: str, language: str) -> list[str]:
    if not block.strip():
        return [block] if block else []
    pieces: list[str] = sentencex.segment(language, block)
    if "".join(pieces) != block:
        # Offsets are counted from the pieces, so a segmenter that drops a character must not be believed.
        return [block]
    joined = [_Joined(pieces[0])]
    for piece in pieces[1:]:
        if _belongs_together(joined[-1], piece.strip()):
            joined[-1].add(piece)
        else:
            joined.append(_Joined(piece))
    return ["".join(each.pieces) for each in joined]


class _Joined:
    """Pieces of one sentence; they may be many, so they are put together at the end."""

    def __init__(self, piece: str) -> None:
        self.pieces = [piece]
        self.end = piece[-_END:]
        self._length = len(piece.lstrip())

    def add(self, piece: str) -> None:
        """Add the next piece."""
        self.pieces.append(piece)
        self.end = (self.end + piece)[-_END:]
        self._length += len(piece)

    def __len__(self) -> int:
        """Count the characters without white space at both ends."""
        last = self.pieces[-1]
        return self._length - len(last) + len(last.rstrip())


def _belongs_together(before: _Joined, after: str) -> bool:
    """Say whether the segmenter cut inside a sentence: after an ordinal ("im 16. | Jahrhundert") or a fragment."""
    fragment = min(len(before), len(after)) < _FRAGMENT
    return fragment or after[0].islower() or _ORDINAL.search(before.end.strip()) is not None


def _cut(text: str, ends: list[int]) -> list[str]:
    edges = [0, *(end for end in ends if 0 < end < len(text)), len(text)]
    return [text[start:end] for start, end in pairwise(edges) if start < end]
