"""What the indexes are like: described for people, checked against the catalogue, measured against exact search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.encoder import Vectors
from index.errors import DataDamaged
from index.generation import Generation, among
from index.generation_files import CURRENT, load_base
from index.recall import BLOCK, Nearest
from index.segment import Segment
from index.vectors import Kind, VectorIndex

_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class IndexDescription:
    """The indexes over passages, or over sentences."""

    kind: str
    """Of the largest: flat, sq8 or ivf-sq8."""
    vectors: int
    recall: float | None
    """Share of the ten true neighbours found, as last measured; 1 for exact search, ``None`` if unknown."""
    effort: int
    """Lists searched of an index that has lists, else 0."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """All indexes of one generation."""

    generation: int
    layers: int
    passages: IndexDescription
    sentences: IndexDescription
    unsettled: int
    """Passages that the base lacks, or has although they are erased."""
    saved: bool
    """Whether the base is on disk."""


def describe_indexes(generation: Generation, unsettled: int, *, saved: bool) -> IndexState:
    """Describe the indexes of a generation; see :class:`IndexState`."""
    found = {name: _describe(indexes) for name, indexes in generation.indexes().items()}
    return IndexState(
        generation.number, len(generation.layers), found["passages"], found["sentences"], unsettled, saved
    )


def _describe(indexes: Sequence[VectorIndex]) -> IndexDescription:
    if not indexes:
        return IndexDescription(Kind.FLAT.value, 0, 1.0, 0)
    largest = max(indexes, key=len)
    return IndexDescription(largest.kind.value, sum(map(len, indexes)), largest.recall, largest.effort)


def find_index_problems(generation: Generation, catalogue: Catalogue, folder: Path) -> list[str]:
    """Say where the indexes in memory or on disk differ from the catalogue; nothing if they do not."""
    standing = catalogue.passage_rows(generation.model)
    expected = standing.ids[standing.alive(generation.number)]
    parts = [layer.segment.ids[layer.alive] for layer in generation.layers]
    found = np.concatenate([np.empty(0, np.int64), *parts])
    problems: list[str] = []
    if not np.array_equal(found, expected):
        problems.append(f"index: {len(found)} passages, the catalogue has {len(expected)}, or others")
    sentences = sum(int(layer.segment.sentence_counts.sum()) for layer in generation.layers)
    if sentences != sum(map(len, generation.indexes()["sentences"])):
        problems.append("index: its sentences are not those of its passages")
    if (folder / CURRENT).exists():
        try:
            load_base(folder, catalogue, generation.model)
        except DataDamaged as error:
            problems.append(f"index: {error.message}")
    return problems


def tuned(
    generation: Generation, catalogue: Catalogue, questions: Sequence[NDArray[np.float32]], min_recall: float
) -> Segment | None:
    """Measure the recall of the base on real questions, and choose the effort that reaches ``min_recall``.

    Returns:
        The base with what was measured; ``None`` if its search is exact or there are no questions.
    """
    if not generation.layers or not questions:
        return None
    base = generation.layers[0].segment
    if base.passages.kind is Kind.FLAT and base.sentences.kind is Kind.FLAT:
        return None
    queries = np.stack(list(questions)).astype(np.float32)
    alive = generation.layers[0].alive
    of_passages, of_sentences = _exact(base, alive, generation, catalogue, queries)
    return replace(
        base,
        passages=_with_effort(base.passages, queries, of_passages, alive, min_recall),
        sentences=_with_effort(base.sentences, queries, of_sentences, alive[base.owners], min_recall),
    )


def _with_effort(
    index: VectorIndex, queries: Vectors, exact: NDArray[np.int64], alive: NDArray[np.bool_], min_recall: float
) -> VectorIndex:
    if index.kind is Kind.FLAT:
        return index
    while True:
        recall = index.measure_recall(queries, exact.tolist(), None if alive.all() else alive)
        harder = index.with_effort(index.effort * 2)
        if recall >= min_recall or harder.effort == index.effort:
            return index.with_recall(recall)
        index = harder


def _exact(
    base: Segment, alive: NDArray[np.bool_], generation: Generation, catalogue: Catalogue, queries: Vectors
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions in the base of each question's true neighbours among what is alive, in one pass."""
    living = base.ids[alive]
    firsts = np.concatenate([[0], np.cumsum(base.sentence_counts)])
    passages, sentences = _Watched(queries), _Watched(queries)
    with catalogue.vectors(generation.model) as reader:
        for chunk in reader.chunks():
            known = among(chunk.ids, living)
            places = np.searchsorted(base.ids, chunk.ids[known])
            passages.watch(places, chunk.vectors[known])
            counts = chunk.sentence_counts[known]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            of_known = np.repeat(known, chunk.sentence_counts)
            sentences.watch(np.repeat(firsts[places], counts) + within, chunk.sentence_vectors[of_known])
    return passages.positions(), sentences.positions()


class _Watched:
    """Exact neighbours among vectors that pass by together with their positions."""

    def __init__(self, queries: Vectors) -> None:
        self._nearest = Nearest(queries, _NEIGHBOURS)
        self._passed: list[NDArray[np.int64]] = [np.empty(0, np.int64)]

    def watch(self, positions: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        self._passed.append(positions)
        for start in range(0, len(vectors), BLOCK):
            self._nearest.watch(vectors[start : start + BLOCK].astype(np.float32))

    def positions(self) -> NDArray[np.int64]:
        return np.concatenate(self._passed)[self._nearest.positions[:, : self._nearest.seen]]
