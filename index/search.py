"""The read path: a query becomes hits.

Passages are found by their own vectors and by those of their sentences: a passage's vector blurs what one of its
sentences says, a sentence's vector lacks the context. Cost of a query over n passages with s sentences each: one
embedding, n·(1 + s) inner products, then a fixed number of candidates read from the catalogue.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from index.catalogue import Catalogue, Filters, StoredPassage
from index.encoder import Encoder
from index.errors import QuestionRejected
from index.generation import Generation
from index.records import Hit, SearchResult

MAX_QUERY_CHARACTERS = 4096
MAX_TOP_K = 100


@dataclass(frozen=True, slots=True)
class Ranking:
    """How passages are scored: ``(1 - sentence_weight) * own cosine + sentence_weight * best sentence's``."""

    sentence_weight: float = 0.5
    passage_candidates: int = 50
    sentence_candidates: int = 100


def check_query(query: str) -> str:
    """Return ``query`` without white space at its ends.

    Raises:
        QuestionRejected: if it is empty, too long, or holds half characters or control characters.
    """
    text = query.strip()
    if len(text) > MAX_QUERY_CHARACTERS:
        raise QuestionRejected(
            "question_too_long", f"The question has {len(text):,} characters; {MAX_QUERY_CHARACTERS:,} is the limit."
        )
    if any("\ud800" <= character <= "\udfff" or character == "\0" for character in text):
        raise QuestionRejected("question_invalid", "The question is not valid text.")
    if not any(character.isalnum() for character in text):
        raise QuestionRejected("question_empty", "The question is empty.")
    return text


def search(
    query: str,
    top_k: int,
    *,
    encoder: Encoder,
    generation: Generation,
    catalogue: Catalogue,
    collection: str,
    filters: Filters | None = None,
    ranking: Ranking | None = None,
) -> SearchResult:
    """Return the ``top_k`` best passages for ``query`` among those of ``collection`` that match ``filters``.

    Raises:
        QuestionRejected: if the query or ``top_k`` cannot be used.
        FilterRejected: if a filter cannot be used.
    """
    rules = ranking or Ranking()
    text = check_query(query)
    if not 1 <= top_k <= MAX_TOP_K:
        raise QuestionRejected("top_k_invalid", f"top_k is {top_k}.")
    clock = _Clock()
    vector = encoder.encode_queries([text])
    clock.lap("embed")
    allowed = {name: catalogue.allowed(name, collection, filters) for name in ("passages", "sentences")}
    by_passage = generation.passages.search(vector, max(rules.passage_candidates, top_k), allowed["passages"])
    by_sentence = generation.sentences.search(vector, rules.sentence_candidates, allowed["sentences"])
    candidates = {id_ for id_, _ in by_passage}
    candidates.update(catalogue.passages_of([id_ for id_, _ in by_sentence]).values())
    clock.lap("search")
    stored = catalogue.hydrate(candidates)
    scored = sorted(
        ((_score(passage, vector[0], rules), passage) for passage in stored.values()),
        key=lambda pair: (-pair[0].score, pair[1].passage.id),
    )
    hits = tuple(
        Hit(
            rank,
            passage.passage,
            passage.document,
            passage.text,
            score.score,
            score.cosine,
            passage.sentences,
            score.sentence_cosines,
        )
        for rank, (score, passage) in enumerate(scored[:top_k], start=1)
    )
    clock.lap("rank")
    return SearchResult(hits, generation.number, clock.timings())


@dataclass(frozen=True, slots=True)
class _Score:
    score: float
    cosine: float
    sentence_cosines: tuple[float, ...]


def _score(stored: StoredPassage, query: np.ndarray[tuple[int], np.dtype[np.float32]], rules: Ranking) -> _Score:
    cosine = float(stored.vector[0] @ query)
    sentence_cosines = tuple(float(value) for value in stored.sentence_vectors @ query)
    best = max(sentence_cosines, default=cosine)
    score = (1 - rules.sentence_weight) * cosine + rules.sentence_weight * best
    return _Score(score, cosine, sentence_cosines)


class _Clock:
    """Measures consecutive steps in milliseconds."""

    def __init__(self) -> None:
        self._at = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = (now - self._at) * 1000
        self._at = now

    def timings(self) -> Mapping[str, float]:
        return self._laps
