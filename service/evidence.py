"""From hits to evidence: which one to three sentences answer, and how good they are.

Every run of one to three neighbouring sentences of at most 400 characters is a candidate. Its score adds up what
speaks for it: its passage, its best sentence, how well its own words meet the question's, and brevity. The
weights come from docs/decisions/0004-ranking.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeAlias

import numpy as np

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

    @property
    def quote(self) -> str:
        """The words at the span, as the hit has them."""
        origin = self.hit.passage.span.start
        return self.hit.text[self.span.start - origin : self.span.end - origin]


def find_evidence(hits: tuple[Hit, ...]) -> list[Evidence]:
    """Return the best quote of each hit, best first; a hit without sentences has none."""
    found = [own for hit in hits if (own := best_window(hit))]
    return sorted(found, key=lambda item: (-item.score, item.hit.rank))


def best_window(hit: Hit) -> Evidence | None:
    """Return the best of a hit's :func:`windows`, the first of equal ones; ``None`` if it has no sentences."""
    best = max(_windows(hit), key=_score_of, default=None)
    return None if best is None else _evidence(hit, best)


def windows(hit: Hit) -> Iterator[Evidence]:
    """Yield every run of one to three neighbouring sentences that is short enough to be quoted."""
    return (_evidence(hit, window) for window in _windows(hit))


_Window: TypeAlias = tuple[float, int, int, float, float]
"""Score, start, end, the closest sentence's cosine, late interaction: most windows are looked at and let go."""
_score_of = itemgetter(0)


def _evidence(hit: Hit, window: _Window) -> Evidence:
    score, start, end, cosine, word_match = window
    return Evidence(hit, Span(start, end), score, cosine, word_match)


def _windows(hit: Hit) -> Iterator[_Window]:
    spans = [(sentence.span.start, sentence.span.end) for sentence in hit.sentences]
    words, cosines, shift = _word_matches(hit), hit.sentence_cosines, hit.language_shift
    passage = _PASSAGE * hit.score
    for first, (start, _) in enumerate(spans):
        cosine = cosines[first]
        for last in range(first, min(first + MAX_SENTENCES, len(spans))):
            end = spans[last][1]
            if end - start > QUOTE_CHARACTERS:
                break
            cosine = max(cosine, cosines[last])
            word_match = cosine if words is None else words[last - first][first]
            brevity = -_LENGTH * math.log((end - start) / _USUAL_LENGTH)
            own = _SENTENCE * (cosine + shift) + _WORDS * (word_match + shift)
            yield (passage + own + brevity) / _TOTAL, start, end, cosine, word_match


def _word_matches(hit: Hit) -> list[list[float]] | None:
    """Return late interaction for every run of 1, 2 and 3 sentences, all at once.

    Returns:
        For each number of sentences one figure for the run's first sentence; ``None`` without matches.
    """
    matches = hit.matches
    if matches is None:
        return None
    origin = hit.passage.span.start
    begins = [sentence.span.start - origin for sentence in hit.sentences]
    ends = [sentence.span.end - origin for sentence in hit.sentences]
    # What each sentence meets of each query token, up to its end, and up to the next one's beginning. A run of
    # sentences takes the best of theirs.
    alone = matches.best_within(begins, ends)
    before = matches.best_within(begins[:-1], begins[1:])
    runs = [alone]
    for length in range(1, min(MAX_SENTENCES, len(begins))):
        runs.append(np.maximum(before[: len(begins) - length], runs[-1][1:]))
    return [(run @ matches.weights).tolist() for run in runs]
