"""Nearest neighbours among vectors: FAISS, the only place that knows it and its oddities.

An index here is immutable: it is built from chunks, searched, written and read back, never changed. Few vectors are
kept whole, more with 8 bits a number, very many in lists of which a search looks into the nearest only. How many
lists that takes (the *effort*) is not guessed but measured while the index is built.

FAISS pads with id -1, keeps the last instead of the first of equally near vectors, crashes when searched while being
added to, reports a wrong shape with an empty message, and takes not-a-number for an answer; none of that leaves this
module.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from index.encoder import Vectors
from index.errors import DataDamaged
from index.recall import BLOCK, Probes, least_effort, mean_share

__all__ = ["IndexBuilder", "Kind", "VectorIndex", "kind_for", "sample_size"]

FLAT_LIMIT = 50_000
SQ8_LIMIT = 600_000

_RANGE_SAMPLE = 10_000
_ROUNDS = 10
_SEED = 1234

_stubless: Any = faiss  # its type stubs lack some of what is used here

# Latency is set by how many searches run at once, so each search keeps to one thread (measured: 8 threads in FAISS
# double the p99 of 40 concurrent searches). The setting holds for the calling thread only: see _threads.
faiss.omp_set_num_threads(1)
# A damaged or hostile file must not make FAISS allocate a terabyte (its default) or loop without end (the default).
faiss.set_deserialization_vector_byte_limit(64 * 2**30)
faiss.set_deserialization_loop_limit(2**20)
faiss.set_deserialization_lattice_r2_limit(1)


class Kind(StrEnum):
    """How vectors are kept."""

    FLAT = "flat"
    SQ8 = "sq8"
    IVF = "ivf-sq8"


# An effort is chosen by what the probes of lists say; those of 8-bit vectors only tell how good these are.
_PROBES = {Kind.FLAT: 0, Kind.SQ8: 50, Kind.IVF: 200}


def kind_for(count: int) -> Kind:
    """Return the kind that suits ``count`` vectors."""
    if count <= FLAT_LIMIT:
        return Kind.FLAT
    return Kind.SQ8 if count <= SQ8_LIMIT else Kind.IVF


def sample_size(count: int, kind: Kind | None = None) -> int:
    """Return how many of ``count`` vectors :class:`IndexBuilder` wants as its sample."""
    wanted = {Kind.FLAT: 0, Kind.SQ8: _RANGE_SAMPLE, Kind.IVF: max(40 * _lists_for(count), _PROBES[Kind.IVF])}
    return min(count, wanted[kind or kind_for(count)])


class VectorIndex:
    """Inner-product search over unit vectors, known by their positions. Safe to search from several threads."""

    def __init__(self, index: faiss.Index, effort: int = 0, recall: float | None = None) -> None:
        self.kind = _kind_of(index)
        self._index: Any = index
        self.lists = int(getattr(index, "nlist", 0))
        self.effort = min(max(effort, 1), self.lists)
        """Into how many lists a search looks; 0 where there are none."""
        self.recall = 1.0 if self.kind is Kind.FLAT else recall
        """The share of the true neighbours that was found when it was last measured."""

    @classmethod
    def build(
        cls, vectors: Vectors, dimension: int, *, kind: Kind | None = None, min_recall: float = 0.95
    ) -> VectorIndex:
        """Build from vectors that are all at hand; the same vectors always give the same index.

        Raises:
            DataDamaged: as :meth:`IndexBuilder.add`.
        """
        size = sample_size(len(vectors), kind)
        sample = vectors[np.sort(np.random.default_rng(_SEED).permutation(len(vectors))[:size])]
        builder = IndexBuilder(dimension, len(vectors), sample, kind=kind, min_recall=min_recall)
        if len(vectors):
            builder.add(vectors)
        return builder.finish()

    @classmethod
    def read(cls, stream: BinaryIO) -> VectorIndex:
        """Read an index back; check the file's hash before, FAISS does not notice most damage.

        Raises:
            DataDamaged: if FAISS notices.
        """
        try:
            index: Any = faiss.read_index(_stubless.PyCallbackIOReader(stream.read))
        except (RuntimeError, MemoryError) as error:
            raise DataDamaged("data_damaged", "A vector index cannot be read.") from error
        return cls(index, getattr(index, "nprobe", 0))

    def write(self, write: Callable[[bytes], object]) -> None:
        """Hand the index to ``write`` a megabyte at a time; what ``write`` raises is raised here.

        Files are the caller's task: ``faiss.write_index`` loses a full disk's errors silently. The effort is kept
        with the index, the recall is not.
        """
        if self.kind is Kind.IVF:
            self._index.nprobe = self.effort  # no search reads it: each brings its own
        faiss.write_index(self._index, _stubless.PyCallbackIOWriter(write))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def with_effort(self, effort: int) -> VectorIndex:
        """Return this index searched with another effort, kept within 1 and the number of lists."""
        return VectorIndex(self._index, effort, self.recall)

    def with_recall(self, recall: float) -> VectorIndex:
        """Return this index with another recall noted."""
        return VectorIndex(self._index, self.effort, recall)

    def vectors(self) -> Vectors:
        """Return a copy of the vectors in order of position.

        Raises:
            ValueError: if they are not kept whole.
        """
        if self.kind is not Kind.FLAT:
            raise ValueError(f"An index of kind {self.kind} does not keep its vectors.")
        whole: Vectors = self._index.reconstruct_n(0, len(self))
        return whole

    def search(self, query: Vectors, limit: int, allowed: NDArray[np.bool_] | None = None) -> list[tuple[int, float]]:
        """Return positions and cosines of the nearest vectors, best first; equal cosines in order of position.

        Args:
            query: shape (1, dimension), unit length.
            limit: how many at most; more than there are is fine.
            allowed: shape (len(self),): search among these only, and find as many of them as asked for.
        """
        _check_vectors(query, 1, self.dimension)
        if allowed is not None and allowed.shape != (len(self),):
            raise ValueError(f"The mask has shape {allowed.shape}, not {(len(self),)}.")
        available = len(self) if allowed is None else int(np.count_nonzero(allowed))
        limit = min(limit, available)
        if limit <= 0:
            return []
        # The fewer are allowed, the more lists it takes to meet as many of them.
        effort = min(math.ceil(self.effort * len(self) / available), self.lists)
        packed = None if allowed is None else np.packbits(allowed, bitorder="little")
        return self._nearest(query, limit, available, effort, packed)

    def _nearest(
        self, query: Vectors, limit: int, available: int, effort: int, packed: NDArray[np.uint8] | None
    ) -> list[tuple[int, float]]:
        """Search until there are enough, and until no vector as near as the last one was left out."""
        faiss.omp_set_num_threads(1)
        asked = limit
        while True:
            asked = min(asked + 1, available)
            scores, positions = self._index.search(query, asked, params=self._parameters(effort, packed))
            found = int(np.count_nonzero(positions[0] >= 0))
            if found < limit and effort < self.lists:
                effort = self.lists
            elif limit < found == asked < available and scores[0, limit - 1] == scores[0, found - 1]:
                asked *= 2
            else:
                pairs = zip(positions[0, :found].tolist(), scores[0, :found].tolist(), strict=True)
                return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:limit]

    def _parameters(self, effort: int, packed: NDArray[np.uint8] | None = None) -> Any:
        """Return what FAISS wants to know of one search; ``packed`` must outlive it."""
        selector = None if packed is None else faiss.IDSelectorBitmap(packed.size, faiss.swig_ptr(packed))
        if self.kind is Kind.IVF:
            return _stubless.SearchParametersIVF(sel=selector, nprobe=effort)
        return _stubless.SearchParameters(sel=selector)

    def measure_recall(
        self, queries: Vectors, exact: Sequence[Sequence[int]], allowed: NDArray[np.bool_] | None = None
    ) -> float:
        """Return the mean share of each query's true neighbours that a search finds, 1.0 if there are none.

        Args:
            queries: shape (n, dimension).
            exact: for each query the positions it should find.
            allowed: as in :meth:`search`.
        """
        rows = []
        for query, wanted in zip(queries, exact, strict=True):
            found = [position for position, _ in self.search(query[None, :], len(wanted), allowed)] if wanted else []
            rows.append((found, set(wanted), len(wanted)))
        return mean_share(rows)

    def positions(self, queries: Vectors, k: int) -> list[list[int]]:
        """Return the nearest positions of many queries, perhaps fewer than asked for; to measure with."""
        if not len(self) or not len(queries):
            return [[] for _ in queries]
        _, found = self._index.search(queries, min(k, len(self)), params=self._parameters(self.effort))
        return [[position for position in row if position >= 0] for row in found.tolist()]


class IndexBuilder:
    """Builds an index from chunks that pass by once, and measures meanwhile how well it finds.

    Only training and adding use more than one core, and only in the thread that does it.
    """

    def __init__(
        self, dimension: int, count: int, sample: Vectors, *, kind: Kind | None = None, min_recall: float = 0.95
    ) -> None:
        """Prepare for ``count`` vectors.

        Args:
            dimension: length of a vector.
            count: how many will be added.
            sample: some of them drawn at random, :func:`sample_size` of them; may be empty for a flat index.
            kind: :func:`kind_for` the count if not given.
            min_recall: the share of the true neighbours which the effort is chosen to find.
        """
        kind = (kind or kind_for(count)) if count else Kind.FLAT
        if kind is not Kind.FLAT and not len(sample):
            raise ValueError(f"An index of kind {kind} needs a sample.")
        self._kind, self._dimension, self._count = kind, dimension, count
        self._added, self._min_recall = 0, min_recall
        sample = np.ascontiguousarray(sample, np.float32)
        if len(sample):
            _check_vectors(sample, len(sample), dimension)
        with _threads(_cores()):
            self._index = _trained(kind, dimension, count, sample)
        self._probes = Probes(sample, _PROBES[kind]) if _PROBES[kind] else None

    def add(self, vectors: NDArray[np.floating[Any]]) -> None:
        """Take in the vectors of the next positions.

        Raises:
            DataDamaged: if they are too many, of another dimension, or not of unit length.
        """
        if self._added + len(vectors) > self._count:
            raise DataDamaged("data_damaged", f"There are more than {self._count} vectors.")
        for start in range(0, len(vectors), BLOCK):
            block = np.ascontiguousarray(vectors[start : start + BLOCK], np.float32)
            _check_vectors(block, len(block), self._dimension)
            with _threads(_cores()):
                self._index.add(block)
                kept = self._index.reconstruct_n(self._added, len(block)) if self._kind is Kind.SQ8 else None
            if self._probes is not None:
                self._probes.watch(block, kept)
            self._added += len(block)

    def finish(self) -> VectorIndex:
        """Return the index, its effort chosen and its recall known.

        Raises:
            DataDamaged: if fewer vectors were added than announced.
        """
        if self._added != self._count:
            raise DataDamaged("data_damaged", f"There are {self._added} vectors, not {self._count}.")
        index, probes = VectorIndex(self._index), self._probes
        if probes is None:
            return index

        if self._kind is Kind.SQ8:
            return index.with_recall(probes.recall_of_kept())

        def recall_with(effort: int) -> float:
            return probes.recall(index.with_effort(effort).positions)

        with _threads(_cores()):
            effort, recall = least_effort(recall_with, index.lists, self._min_recall)
        return index.with_effort(effort).with_recall(recall)


def _trained(kind: Kind, dimension: int, count: int, sample: Vectors) -> Any:
    """Return an empty index that is ready to be added to."""
    metric, bits = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_8bit
    if kind is Kind.IVF:
        lists = max(1, min(_lists_for(count), len(sample) // 20))
        ivf: Any = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(dimension), dimension, lists, bits, metric)
        means = ivf.cp
        means.niter, means.spherical, means.seed = _ROUNDS, True, _SEED
        means.min_points_per_centroid, means.max_points_per_centroid = 1, 40
        ivf.train(sample)
        return ivf
    index: Any = faiss.IndexFlatIP(dimension)
    if kind is Kind.SQ8:
        index = faiss.IndexScalarQuantizer(dimension, bits, metric)
        index.train(sample)
    index.codes.resize(count * index.code_size)  # reserves the room: growing step by step takes up to twice as much
    index.codes.resize(0)
    return index


def _lists_for(count: int) -> int:
    return max(1, round(4 * math.sqrt(count)))


def _kind_of(index: faiss.Index) -> Kind:
    kinds = {
        faiss.IndexFlatIP: Kind.FLAT,
        faiss.IndexScalarQuantizer: Kind.SQ8,
        faiss.IndexIVFScalarQuantizer: Kind.IVF,
    }
    kind = kinds.get(type(index))
    if kind is None or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise DataDamaged("data_damaged", f"A vector index is of an unknown kind ({type(index).__name__}).")
    return kind


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let FAISS use so many cores for what this thread asks of it; other threads have settings of their own."""
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(1)


def _check_vectors(vectors: NDArray[np.floating[Any]], rows: int, dimension: int) -> None:
    if vectors.shape != (rows, dimension):
        raise DataDamaged("data_damaged", f"Vectors have shape {vectors.shape}, not {(rows, dimension)}.")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if not np.all(np.abs(lengths - 1) < 1e-2):  # also false for not-a-number
        raise DataDamaged("data_damaged", "A vector is not of unit length.")
