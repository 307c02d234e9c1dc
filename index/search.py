"""The read path: a query becomes hits, in two stages.

First, passages are found by their own vectors and by those of their sentences: a passage's vector blurs what one of
its sentences says, a sentence's vector lacks the context. Then the best of them are reranked by late interaction:
every word of the question looks for its best match among the words of the passage.

Cost of a query over n passages with s sentences each: one embedding, n * (1 + s) inner products, then a fixed number
of candidates read from the catalogue. The weights come from docs/decisions/0004-ranking.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from index.background import Background, Backgrounds, Chance, chances
from index.catalogue import Catalogue
from index.encoder import EncodedQuery, Encoder, TokenStates
from index.errors import DataDamaged, QuestionRejected
from index.filters import Filters
from index.fold import fold
from index.generation import Generation
from index.projection import centred_cosines
from index.records import Hit, SearchResult, TokenMatches
from index.stored import StoredPassage

MAX_QUERY_CHARACTERS = 4096
MAX_TOP_K = 100


@dataclass(frozen=True, slots=True)
class Ranking:
    """How passages are scored.

    First stage: own cosine + best sentence's cosine. Second stage: ``sentence_weight`` * best sentence's cosine +
    late interaction. All cosines are of vectors without what their language has in common.
    """

    sentence_weight: float = 0.25
    passage_candidates: int = 50
    sentence_candidates: int = 100
    reranked: int = 30
    """How many of the first stage's best are read in full; a smaller ``top_k`` does not change the order."""


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


def search(  # noqa: PLR0913 - what a view consists of
    query: str,
    top_k: int,
    *,
    encoder: Encoder,
    generation: Generation,
    catalogue: Catalogue,
    backgrounds: Backgrounds,
    collection: str,
    filters: Filters | None = None,
    ranking: Ranking | None = None,
    asked: Callable[[EncodedQuery], None] = lambda query: None,
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
    (encoded,) = encoder.encode_queries([fold(text).text])
    asked(encoded)
    vector = encoded.vector[None, :]
    clock.lap("embed")
    allowed = catalogue.allowed_versions(collection, filters, generation.number)
    by_passage = generation.nearest_passages(vector, max(rules.passage_candidates, top_k), allowed)
    by_sentence = generation.passages_of_nearest_sentences(vector, rules.sentence_candidates, allowed)
    candidates = {id_ for id_, _ in (*by_passage, *by_sentence)}
    by_language = backgrounds.of(generation, collection)
    clock.lap("search")
    stored = catalogue.hydrate(candidates, generation.number, generation.model)
    if len(stored) < len(candidates) and catalogue.generation() == generation.number:
        raise DataDamaged("data_damaged", "The catalogue lacks passages that it should have.")
    found = sorted(
        _candidates(list(stored.values()), encoded, by_language),
        key=lambda candidate: (-candidate.first_score, candidate.stored.passage.id),
    )
    ranked = _rerank(found[: max(rules.reranked, top_k)], encoded, generation, catalogue, by_language, rules)
    hits = tuple(
        Hit(
            rank,
            candidate.stored.passage,
            candidate.stored.document,
            candidate.stored.text,
            score,
            shift,
            candidate.cosine,
            candidate.stored.sentences,
            candidate.sentence_cosines,
            matches,
        )
        for rank, (score, shift, matches, candidate) in enumerate(ranked[:top_k], start=1)
    )
    clock.lap("rank")
    return SearchResult(hits, generation.number, clock.timings())


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A passage the first stage found, with its cosines."""

    stored: StoredPassage
    cosine: float
    sentence_cosines: tuple[float, ...]
    best_sentence: float
    first_score: float


def _candidates(
    stored: Sequence[StoredPassage], query: EncodedQuery, backgrounds: Mapping[str, Background]
) -> Iterator[_Candidate]:
    """Score passages by their own vectors and their sentences', those of one language at a time."""
    by_language: dict[str, list[StoredPassage]] = {}
    for each in stored:
        by_language.setdefault(each.document.language, []).append(each)
    for language, group in by_language.items():
        vectors = np.concatenate([each.vector for each in group])
        sentences = np.concatenate([each.sentence_vectors for each in group])
        cosines = (vectors @ query.vector).tolist()
        background = backgrounds.get(language)
        if background is None or background.centre is None:
            own, near = cosines, (sentences @ query.vector).tolist()
        else:
            own = centred_cosines(vectors, background.centre[0], query.centred).tolist()
            near = centred_cosines(sentences, background.centre[1], query.centred).tolist()
        first = 0
        for each, cosine, centred in zip(group, cosines, own, strict=True):
            last = first + len(each.sentence_vectors)
            best = max(near[first:last], default=0.0)
            yield _Candidate(each, cosine, tuple(near[first:last]), best, centred + best)
            first = last


_Ranked: TypeAlias = tuple[float, float, TokenMatches | None, _Candidate]
"""Score, the language's shift contained in it, word matches, passage."""


def _rerank(
    found: Sequence[_Candidate],
    query: EncodedQuery,
    generation: Generation,
    catalogue: Catalogue,
    backgrounds: Mapping[str, Background],
    rules: Ranking,
) -> list[_Ranked]:
    """Order candidates by late interaction and by how far they stand out in their language.

    Without token states the order of the first stage stays. A document that was erased since its passages were read
    has no states any more and is left out, with all its passages: scored without them, some might stay.
    """
    if not len(query.tokens):
        return [(candidate.first_score / 2, 0.0, None, candidate) for candidate in found]
    states = catalogue.token_states([candidate.stored.passage.id for candidate in found])
    if len(states) < len(found) and catalogue.generation() == generation.number:
        raise DataDamaged("data_damaged", "The catalogue lacks token states that it should have.")
    by_language: dict[str, Chance] = {}
    common = Chance(0.0, 1.0)
    if len(backgrounds) > 1:
        by_language, common = chances(backgrounds, query, rules.sentence_weight)
    ranked: list[_Ranked] = []
    kept = [candidate for candidate in found if candidate.stored.passage.id in states]
    for candidate, matches in zip(
        kept, match_tokens(query, [states[each.stored.passage.id] for each in kept]), strict=True
    ):
        raw = (rules.sentence_weight * candidate.best_sentence + matches.score()) / (1 + rules.sentence_weight)
        chance = by_language.get(candidate.stored.document.language, common)
        score = common.mean + (raw - chance.mean) * _scale(common, chance)
        ranked.append((score, score - raw, matches, candidate))
    return sorted(ranked, key=lambda item: (-item[0], item[3].stored.passage.id))


def _scale(common: Chance, chance: Chance) -> float:
    """Return how much differences in one language count: as they are where single passages have no spread."""
    known = common.spread > _LEAST_SPREAD and chance.spread > _LEAST_SPREAD
    return common.spread / chance.spread if known else 1.0


_LEAST_SPREAD = 1e-6


def match_tokens(query: EncodedQuery, passages: Sequence[TokenStates]) -> Iterator[TokenMatches]:
    """Compare every word of a question with every word of each passage."""
    similarities = nothing = np.empty((len(query.tokens), 0), np.float32)
    known = [each.codes for each in passages if len(each.starts)]
    if known:
        codes = np.concatenate(known).astype(np.float32)
        similarities = query.tokens @ codes.T / np.sqrt(np.einsum("td,td->t", codes, codes))
    first = 0
    for each in passages:
        last = first + len(each.starts)
        # A passage of nothing but special characters has no tokens to match.
        yield TokenMatches(similarities[:, first:last] if first < last else nothing, query.weights, each.starts)
        first = last


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
