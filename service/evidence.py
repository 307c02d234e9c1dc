"""From hits to evidence: which one to three sentences answer, and how good they are.

Every run of one to three neighbouring sentences of at most 400 characters is a candidate. Its score adds up what
speaks for it: its passage, its best sentence, how well its own words meet the question's, and brevity. The
weights come from docs/decisions/0004-ranking.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from index import Hit, Span
from index.chunk import QUOTE_CHARACTERS

MAX_SENTENCES = 3

_PASSAGE = 1.25
_SENTENCE = 0.125
_WORDS = 1.0
_LENGTH = 0.01
_USUAL_LENGTH = 200
_TOTAL = _PASSAGE + _SENTENCE + _WORDS


@dataclass(frozen=True, slots=True)
class Evidence:
    """A quotable range of one hit, with what speaks for it; ``score`` orders evidence across hits."""

    hit: Hit
    span: Span
    score: float
    sentence_cosine: float
    """Of the closest sentence inside."""
    word_match: float
    """Late interaction of the question with the words inside."""


def find_evidence(hits: tuple[Hit, ...]) -> list[Evidence]:
    """Return the best quote of each hit, best first; a hit without sentences has none."""
    found = [max(windows, key=lambda item: item.score) for hit in hits if (windows := list(_windows(hit)))]
    return sorted(found, key=lambda item: (-item.score, item.hit.rank))


def _windows(hit: Hit) -> Iterator[Evidence]:
    origin = hit.passage.span.start
    for first in range(len(hit.sentences)):
        for last in range(first, min(first + MAX_SENTENCES, len(hit.sentences))):
            span = Span(hit.sentences[first].span.start, hit.sentences[last].span.end)
            if len(span) > QUOTE_CHARACTERS:
                break
            cosine = max(hit.sentence_cosines[first : last + 1])
            words = hit.matches.score(span.start - origin, span.end - origin) if hit.matches else cosine
            brevity = -_LENGTH * math.log(len(span) / _USUAL_LENGTH)
            own = _SENTENCE * (cosine + hit.language_shift) + _WORDS * (words + hit.language_shift)
            score = (_PASSAGE * hit.score + own + brevity) / _TOTAL
            yield Evidence(hit, span, score, cosine, words)
