"""From hits to evidence: which one to three sentences answer, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass

from index import Hit, Span
from index.chunk import QUOTE_CHARACTERS

MAX_SENTENCES = 3
_NEIGHBOUR_MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class Evidence:
    """A quotable range of one hit. ``score`` orders evidence across hits."""

    hit: Hit
    span: Span
    score: float


def find_evidence(hits: tuple[Hit, ...]) -> list[Evidence]:
    """Return the best quote of each hit, best first.

    A hit's quote is its best sentence, widened by a neighbour while that one is nearly as close to the question, at
    most three sentences and 400 characters. Its score is the mean of the passage's and the best sentence's cosine.
    """
    found = [_best_window(hit) for hit in hits if hit.sentences]
    return sorted(found, key=lambda evidence: -evidence.score)


def _best_window(hit: Hit) -> Evidence:
    cosines = hit.sentence_cosines
    best = max(range(len(cosines)), key=lambda index: cosines[index])
    first = last = best
    while last - first + 1 < MAX_SENTENCES:
        neighbours = [index for index in (first - 1, last + 1) if 0 <= index < len(cosines)]
        fitting = [
            index
            for index in neighbours
            if cosines[index] >= cosines[best] - _NEIGHBOUR_MARGIN
            and len(_window(hit, min(first, index), max(last, index))) <= QUOTE_CHARACTERS
        ]
        if not fitting:
            break
        chosen = max(fitting, key=lambda index: cosines[index])
        first, last = min(first, chosen), max(last, chosen)
    return Evidence(hit, _window(hit, first, last), hit.score)


def _window(hit: Hit, first: int, last: int) -> Span:
    return Span(hit.sentences[first].span.start, hit.sentences[last].span.end)
