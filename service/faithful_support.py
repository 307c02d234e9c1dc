"""Whether the words of a sentence mean what words of its evidence mean, and its figures belong where it puts them.

The thresholds were chosen on sentences and their translations (``python -m eval.fit_support``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from index.encoder import Encoder
from index.search import match_tokens
from service.alignment import Compared, Text
from service.faithful_names import is_number_word
from service.faithful_numbers import Figures

_FILE = Path(__file__).parent / "support.json"
_FEWEST = 2
"""A part with fewer words that say something is not judged alone."""
_LEAST = 0.4
"""No sentence is supported by words that meet its own less than that, however few."""
_FEW = 3
_WEAKEST = 0.35
"""In a sentence of few words each of them matters."""
_SLACK = 0.4
"""So much worse than its evidence an answer may meet the words of the question: it need not repeat them."""
_BETTER = 0.15
"""Another number's surroundings must fit a sentence so much better to be the ones it speaks of."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From which shortfall on a sentence counts as unsupported."""

    usual: float
    """Mean similarity of a word to the word of a translation that meets it best."""
    whole: float
    """Largest shortfall of a sentence."""
    part: float
    """Largest shortfall of one of its parts."""


@cache
def load_limits() -> Limits:
    """Return the shipped thresholds."""
    stored = json.loads(_FILE.read_text("utf-8"))
    return Limits(stored["usual"], stored["whole"], stored["part"])


@dataclass(frozen=True, slots=True)
class Support:
    """How well the words of a sentence are met by its evidence: of all its words, and of each of its parts.

    Each is the mean of the words' best similarities, with the number of words.
    """

    whole: tuple[float, int]
    parts: tuple[tuple[float, int], ...]
    weakest: float = 1.0
    """Of a sentence of few words, the one that is met worst; 1 for a longer one."""

    def shortfalls(self, usual: float) -> tuple[float, float]:
        """Return by how much the sentence, and its worst part, fall short of what is usual.

        The mean of few words varies more, by the root of their number, so the same mean counts less against them.
        """
        return _shortfall(*self.whole, usual), max((_shortfall(*part, usual) for part in self.parts), default=0.0)

    def is_enough(self, limits: Limits) -> bool:
        """Say whether it is enough for the sentence to be shown."""
        whole, part = self.shortfalls(limits.usual)
        means = [self.whole[0], *(mean for mean, _ in self.parts)]
        enough = min(means) >= _LEAST and self.weakest >= _WEAKEST
        return whole <= limits.whole and part <= limits.part and enough


def _shortfall(mean: float, words: int, usual: float) -> float:
    return (usual - mean) * math.sqrt(words)


def measure_support(sentence: Text, compared: Sequence[Compared]) -> Support:
    """Return how well each content word and figure of ``sentence`` is met by the evidence; wholly if it has none."""
    content = [at for at, word in enumerate(sentence.words) if word.content or word.text.isdigit()]
    if not content:
        return Support((1.0, 1), ())
    best = np.max([each.alike.max(axis=1, initial=0) for each in compared], axis=0)
    parts = [[at for at in part if at in content] for part in sentence.parts]
    measured = tuple((_met(part, compared), len(part)) for part in parts if len(part) >= _FEWEST)
    weakest = float(best[content].min()) if len(content) <= _FEW else 1.0
    return Support((float(best[content].mean()), len(content)), measured, weakest)


def _met(words: Sequence[int], compared: Sequence[Compared]) -> float:
    """Return how well some words are met by that sentence of the evidence which meets them best."""
    return max(
        float(each.alike[np.ix_(list(words), list(part))].max(axis=1).mean())
        for each in compared
        for part in each.evidence.sentences
    )


def fits_question(encoder: Encoder, question: str, answer: str, quotes: Sequence[str]) -> bool:
    """Say whether ``answer`` meets the words of ``question`` nearly as well as the quotes it was written from do.

    A model without token states cannot tell; then it does.
    """
    (asked,) = encoder.encode_queries([question])
    states = encoder.encode_passages([answer, *quotes]).tokens
    if not len(asked.tokens) or not states:
        return True
    written, *others = (matches.score() for matches in match_tokens(asked, states))
    return written >= min(others) - _SLACK


def is_misplaced(sentence: Text, said: Figures, compared: Sequence[Compared], known: Sequence[Figures]) -> bool:
    """Say whether a number's surroundings in the evidence fit the sentence worse than another number's do."""
    for quantity in said.quantities:
        at = next((at for at, word in enumerate(sentence.words) if word.start >= quantity.start), None)
        if at is None:
            continue
        part = next((part for part in sentence.parts if at in part), sentence.clause_of(at))
        words = [each for each in part if _counts(sentence, each, said)]
        if len(words) < _FEWEST:
            continue
        own, other = 0.0, 0.0
        for each, figures in zip(compared, known, strict=True):
            for theirs in figures.quantities:
                near = _surroundings(each.evidence, theirs.start, figures)
                if not near:
                    continue
                fit = float(each.alike[np.ix_(words, near)].max(axis=1).mean())
                if theirs.value == quantity.value:
                    own = max(own, fit)
                elif theirs.unit == quantity.unit:
                    other = max(other, fit)
        if own and other > own + _BETTER:
            return True
    return False


def _counts(text: Text, at: int, figures: Figures) -> bool:
    word = text.words[at]
    return word.content and not figures.covers(word.start, word.end) and not is_number_word(text, at)


def _surroundings(text: Text, start: int, figures: Figures) -> list[int]:
    at = next((at for at, word in enumerate(text.words) if word.end > start), None)
    part = range(0) if at is None else next((part for part in text.parts if at in part), range(0))
    return [each for each in part if _counts(text, each, figures)]
