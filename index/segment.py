"""A segment: vector indexes over some passages and their sentences, in the order of the passages' ids.

The indexes speak of positions; a segment knows which passage stands at which. It is never changed once made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index import rows
from index.catalogue import Catalogue
from index.encoder import Vectors
from index.stored import Born, ModelRow
from index.vectors import IndexBuilder, Kind, VectorIndex, kind_for, sample_size


@dataclass(frozen=True)
class Segment:
    """Passages that were indexed together."""

    ids: NDArray[np.int64]
    """Of passages, ascending; shape (n,)."""
    sentence_counts: NDArray[np.int64]
    """Shape (n,)."""
    marks: NDArray[np.int64]
    """Of the passages' texts, see :func:`index.rows.marks`; shape (n,)."""
    passages: VectorIndex
    sentences: VectorIndex

    @cached_property
    def owners(self) -> NDArray[np.int32]:
        """The position of each sentence's passage: shape (sentences,)."""
        owners: NDArray[np.int32] = np.repeat(np.arange(len(self.ids), dtype=np.int32), self.sentence_counts)
        return owners

    def __len__(self) -> int:
        return len(self.ids)


def segment_of(born: Sequence[Born], dimension: int) -> Segment:
    """Index new passages, as they were stored."""
    passages = [passage for each in born for passage in each.passages]
    ids = [each.first_passage + place for each in born for place in range(len(each.passages))]
    counts = np.array([len(passage.sentences) for passage in passages], np.int64)
    vectors = np.stack([passage.vector for passage in passages]).astype(np.float32)
    sentences = np.concatenate([passage.sentence_vectors for passage in passages]).astype(np.float32)
    marks = rows.marks(rows.text_digest(passage.text) for passage in passages)
    return _flat(np.array(ids, np.int64), counts, marks, vectors, sentences, dimension)


def read_segment(catalogue: Catalogue, model: ModelRow, after: int) -> Segment | None:
    """Index the few passages that the catalogue has above an id; ``None`` if there are none."""
    with catalogue.vectors(model) as reader:
        chunks = list(reader.chunks(after))
    if not chunks:
        return None
    return _flat(
        np.concatenate([chunk.ids for chunk in chunks]),
        np.concatenate([chunk.sentence_counts for chunk in chunks]),
        np.concatenate([chunk.marks for chunk in chunks]),
        np.concatenate([chunk.vectors for chunk in chunks]).astype(np.float32),
        np.concatenate([chunk.sentence_vectors for chunk in chunks]).astype(np.float32),
        model.dimension,
    )


def merge_segments(one: Segment, other: Segment) -> Segment:
    """Index the passages of two small segments together; ``one`` has the lower ids."""
    return _flat(
        np.concatenate([one.ids, other.ids]),
        np.concatenate([one.sentence_counts, other.sentence_counts]),
        np.concatenate([one.marks, other.marks]),
        np.concatenate([one.passages.vectors(), other.passages.vectors()]),
        np.concatenate([one.sentences.vectors(), other.sentences.vectors()]),
        one.passages.dimension,
    )


def build_segment(
    catalogue: Catalogue,
    model: ModelRow,
    min_recall: float,
    *,
    quick: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> Segment | None:
    """Index all passages of a model in the form that suits their number.

    The vectors stream from the catalogue; what is held is what the finished indexes hold.

    Args:
        catalogue: where the vectors are.
        model: whose vectors.
        min_recall: how many of the true neighbours a coarse index must find.
        quick: make no index that needs long training; a better one can follow.
        cancelled: asked now and then; ``None`` is returned once it says so.
    """
    with catalogue.vectors(model) as reader:
        counts = reader.counts()
        kinds = [_kind(count, quick=quick) for count in counts]
        wanted = max(
            sample_size(counts[0], kinds[0]),
            math.ceil(sample_size(counts[1], kinds[1]) * counts[0] / max(counts[1], 1)),
        )
        sample = reader.sample(wanted)
        samples = [
            _thinned(vectors, sample_size(count, kind))
            for vectors, count, kind in zip((sample.vectors, sample.sentence_vectors), counts, kinds, strict=True)
        ]
        builders = [
            IndexBuilder(model.dimension, count, vectors.astype(np.float32), kind=kind, min_recall=min_recall)
            for count, kind, vectors in zip(counts, kinds, samples, strict=True)
        ]
        ids, sentence_counts, marks = [_NONE], [_NONE], [_NONE]
        for chunk in reader.chunks():
            if cancelled():
                return None
            builders[0].add(chunk.vectors)
            builders[1].add(chunk.sentence_vectors)
            ids.append(chunk.ids)
            sentence_counts.append(chunk.sentence_counts)
            marks.append(chunk.marks)
    passages, sentences = (builder.finish() for builder in builders)
    return Segment(np.concatenate(ids), np.concatenate(sentence_counts), np.concatenate(marks), passages, sentences)


_NONE = np.empty(0, np.int64)


def _kind(count: int, *, quick: bool) -> Kind:
    kind = kind_for(count)
    return Kind.SQ8 if quick and kind is Kind.IVF else kind


def _thinned(vectors: NDArray[np.float16], size: int) -> NDArray[np.float16]:
    """Return ``size`` of the vectors, drawn evenly."""
    if len(vectors) <= size:
        return vectors
    return vectors[np.linspace(0, len(vectors) - 1, size).astype(np.int64)]


def _flat(
    ids: NDArray[np.int64],
    counts: NDArray[np.int64],
    marks: NDArray[np.int64],
    passages: Vectors,
    sentences: Vectors,
    dimension: int,
) -> Segment:
    return Segment(
        ids,
        counts,
        marks,
        VectorIndex.build(passages, dimension, kind=Kind.FLAT),
        VectorIndex.build(sentences, dimension, kind=Kind.FLAT),
    )
