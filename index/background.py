"""What the passages of each language have in common, so that no language buries another.

A question shares words, and the model shares habits, with documents in its own language: an irrelevant passage there
outscores the right one elsewhere. What counts is how far a passage stands out among those of its own language. A
fixed sample of passages for each language gives their mean vectors, which are taken away before vectors are
compared, and, scored like any other, the mean and the spread of scores that chance gives.
The figures are in docs/decisions/0004-ranking.md.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index import rows
from index.catalogue import Catalogue
from index.encoder import EncodedQuery, Encoder, TokenStates, Vectors
from index.generation import Generation
from index.projection import centred
from index.stored import StoredPassage

SAMPLE = 64
"""Passages of each language that stand for all; 1 ms a question and language."""

IN_ALL = 768
"""Passages of all languages together; where there are more than twelve, the most frequent ones have fewer."""

_FEWEST = 8
"""Passages that a language has at least, however many languages there are."""

_KEPT_BYTES = 32 * 2**20
"""Backgrounds kept besides those in use, for collections that take turns; about 3 MB each."""

_AT_ONCE = 1024
"""Tokens; so many are compared with a question without leaving the processor's caches."""

_MEAN_PRIOR = 50

_PRIOR = 8
"""A language of few passages leans on the average language, as if it had seen that one this many times."""


@dataclass(frozen=True, slots=True)
class Chance:
    """Mean and standard deviation of the scores a query gets by chance."""

    mean: float
    spread: float


class Background:
    """The sampled passages of one language, ready to be scored all at once."""

    def __init__(
        self, passages: Sequence[StoredPassage], states: Mapping[int, TokenStates], centre: Vectors | None
    ) -> None:
        """Prepare the sample.

        Args:
            passages: the sampled passages.
            states: token states of those that have any.
            centre: means of passages and sentences in general, shape (2, dimension), or ``None`` not to centre.
        """
        kept = [item for item in passages if len(item.sentence_vectors)]
        self.size = len(kept)
        sentences = np.concatenate([item.sentence_vectors for item in kept]) if kept else np.empty((0, 0), np.float32)
        self.centre = None
        if centre is not None and kept:
            own = np.concatenate([item.vector for item in kept])
            self.centre = np.stack([_lean(own, centre[0]), _lean(sentences, centre[1])])
        self._sentences = sentences if self.centre is None else centred(sentences, self.centre[1])
        self._first_sentence = np.cumsum([0, *(len(item.sentence_vectors) for item in kept)])[:-1]
        found = [states.get(item.passage.id) for item in kept]
        with_states = [each for each in found if each is not None and len(each.starts)]
        complete = bool(kept) and len(with_states) == len(kept)
        # As they are stored, a quarter of what plain numbers take, and no slower: reading them takes the time.
        self._codes = np.concatenate([each.codes for each in with_states]) if complete else None
        self._first_code = np.cumsum([0, *(len(each.starts) for each in with_states)])[:-1]
        self._lengths = None if self._codes is None else _lengths(self._codes)

    @property
    def bytes(self) -> int:
        """Return what it takes."""
        return self._sentences.nbytes + (0 if self._codes is None else self._codes.nbytes)

    def scores(self, query: EncodedQuery, sentence_weight: float) -> NDArray[np.float64]:
        """Score every sampled passage as :func:`index.search.search` scores candidates; shape (size,)."""
        if not self.size:
            return np.empty(0)
        best = np.maximum.reduceat(self._sentences @ query.centred, self._first_sentence)
        if self._codes is None or self._lengths is None or not len(query.tokens):
            return best.astype(np.float64)
        cosines = np.empty((len(query.tokens), len(self._codes)), np.float32)
        for part in _parts(len(self._codes)):
            np.matmul(query.tokens, self._codes[part].astype(np.float32).T, out=cosines[:, part])
        cosines /= self._lengths
        matches = np.maximum.reduceat(cosines, self._first_code, axis=1)
        scores: NDArray[np.float64] = (sentence_weight * best + query.weights @ matches) / (1 + sentence_weight)
        return scores


class Backgrounds:
    """The backgrounds of all languages of a collection, drawn when first needed and kept while their samples last.

    A sample is the passages whose spread ids are lowest: it is the same whenever and by whomever it is drawn, and a
    change touches it only if one of its own passages goes or a lower one comes.
    """

    def __init__(self, catalogue: Catalogue, encoder: Encoder) -> None:
        self._catalogue = catalogue
        self._encoder = encoder
        self._lock = threading.Lock()
        self._drawn: OrderedDict[tuple[str, str], tuple[bytes, Background]] = OrderedDict()
        self._current: tuple[int, str, dict[str, Background]] | None = None

    def of(self, generation: Generation, collection: str) -> dict[str, Background]:
        """Return the background of each language of ``collection`` in a generation."""
        with self._lock:
            if self._current is not None and self._current[:2] == (generation.number, collection):
                return self._current[2]
            found: dict[str, Background] = {}
            by_language = self._catalogue.versions_by_language(collection, generation.number)
            ids = {language: generation.passages_of(versions) for language, versions in by_language.items()}
            size = _sample_size([len(each) for each in ids.values()])
            for language, each in ids.items():
                chosen = np.sort(each[np.argsort(rows.spread(each), kind="stable")[:size]])
                if len(chosen):
                    found[language] = self._background(generation, (collection, language), chosen)
            self._forget(collection, found)
            self._current = (generation.number, collection, found)
            return found

    def _forget(self, collection: str, used: Mapping[str, Background]) -> None:
        """Let go of what this collection does not use, and of the oldest that others may, if it is too much."""
        others = [key for key in self._drawn if key[0] != collection]
        for key in [key for key in self._drawn if key[0] == collection and key[1] not in used]:
            del self._drawn[key]
        room = _KEPT_BYTES
        for key in reversed(others):
            room -= self._drawn[key][1].bytes
            if room < 0:
                del self._drawn[key]

    def _background(self, generation: Generation, key: tuple[str, str], chosen: NDArray[np.int64]) -> Background:
        known = self._drawn.get(key)
        if known is not None and known[0] == chosen.tobytes():
            self._drawn.move_to_end(key)
            return known[1]
        stored = self._catalogue.hydrate(chosen.tolist(), generation.number, generation.model)
        states = self._catalogue.token_states(stored)
        passages = [stored[id_] for id_ in chosen.tolist() if id_ in stored]
        drawn = Background(passages, states, self._encoder.centre)
        if len(passages) == len(chosen) and len(states) in {
            0,
            len(chosen),
        }:  # else one was erased just now; the next generation draws another
            self._drawn[key] = (chosen.tobytes(), drawn)
            self._drawn.move_to_end(key)
        return drawn


def _sample_size(counts: Sequence[int]) -> int:
    """Return how many passages a language may have at most, so that all together have no more than they may."""
    sizes = (size for size in range(SAMPLE, _FEWEST, -1) if sum(min(count, size) for count in counts) <= IN_ALL)
    return next(sizes, _FEWEST)


def _parts(tokens: int) -> list[slice]:
    return [slice(first, first + _AT_ONCE) for first in range(0, tokens, _AT_ONCE)]


def _lengths(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    lengths = np.empty(len(codes), np.float32)
    for part in _parts(len(codes)):
        lengths[part] = np.linalg.norm(codes[part].astype(np.float32), axis=1)
    return lengths


def _lean(vectors: Vectors, general: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of few vectors leaning on the general mean, as if that had been seen ``_MEAN_PRIOR`` times."""
    mean: NDArray[np.float32] = (vectors.sum(0) + _MEAN_PRIOR * general) / (len(vectors) + _MEAN_PRIOR)
    return mean


def chances(
    backgrounds: Mapping[str, Background], query: EncodedQuery, sentence_weight: float
) -> tuple[dict[str, Chance], Chance]:
    """Return the chance of each language, and the one all are brought to: their average."""
    scores = {language: each.scores(query, sentence_weight) for language, each in backgrounds.items() if each.size}
    common = Chance(
        float(np.mean([values.mean() for values in scores.values()])),
        float(np.mean([values.std() for values in scores.values()])),
    )
    found: dict[str, Chance] = {}
    for language, values in scores.items():
        trust = len(values) / (len(values) + _PRIOR)
        found[language] = Chance(
            trust * float(values.mean()) + (1 - trust) * common.mean,
            trust * float(values.std()) + (1 - trust) * common.spread,
        )
    return found, common
