"""From hits to evidence: which one to three sentences answer, and how good they are.

Every run of one to three neighbouring sentences of at most 400 characters is a candidate. Its score adds up what
speaks for it: its passage, its best sentence, how well its own words meet the question's, and brevity. The
weights come from docs/decisions/0004-ranking.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    found = [max(own, key=lambda item: item.score) for hit in hits if (own := list(windows(hit)))]
    return sorted(found, key=lambda item: (-item.score, item.hit.rank))


def windows(hit: Hit) -> Iterator[Evidence]:
    """Yield every run of one to three neighbouring sentences that is short enough to be quoted."""
    spans = [sentence.span for sentence in hit.sentences]
    words = _word_matches(hit)
    for first in range(len(spans)):
        for last in range(first, min(first + MAX_SENTENCES, len(spans))):
            span = Span(spans[first].start, spans[last].end)
            if len(span) > QUOTE_CHARACTERS:
                break
            cosine = max(hit.sentence_cosines[first : last + 1])
            word_match = cosine if words is None else float(words[last - first][first])
            brevity = -_LENGTH * math.log(len(span) / _USUAL_LENGTH)
            own = _SENTENCE * (cosine + hit.language_shift) + _WORDS * (word_match + hit.language_shift)
            score = (_PASSAGE * hit.score + own + brevity) / _TOTAL
            yield Evidence(hit, span, score, cosine, word_match)


def _word_matches(hit: Hit) -> list[NDArray[np.float32]] | None:
    """Return late interaction for every run of 1, 2 and 3 sentences, all at once.

    Returns:
        For each number of sentences an array over the run's first sentence; ``None`` without matches.
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
    return [run @ matches.weights for run in runs]
