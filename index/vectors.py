"""Nearest neighbours among vectors: FAISS, the only place that knows it and its oddities.

An index here is immutable: it is built, searched, turned into bytes and back, never changed. FAISS pads with id -1,
crashes when searched while being added to, reports a wrong shape with an empty message, and takes not-a-number for
an answer; none of that leaves this module.
"""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from index.encoder import Vectors
from index.errors import DataDamaged

# Latency is set by how many searches run at once, so each search keeps to one thread (measured: 8 threads in
# FAISS double the p99 of 40 concurrent searches).
faiss.omp_set_num_threads(1)
# A damaged or hostile file must not make FAISS allocate a terabyte, which is its default limit.
faiss.set_deserialization_vector_byte_limit(64 * 2**30)


class VectorIndex:
    """Exact inner-product search over unit vectors under 63-bit ids. Safe to search from several threads."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    @classmethod
    def build(cls, ids: NDArray[np.int64], vectors: Vectors, dimension: int) -> VectorIndex:
        """Build an index.

        Args:
            ids: shape (n,), each once, not negative.
            vectors: shape (n, dimension), unit length; shape (0, 0) where n is 0.
            dimension: length of a vector.

        Raises:
            DataDamaged: if ids and vectors do not fit together or a vector is not of unit length.
        """
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
        if len(ids):
            _check_vectors(vectors, len(ids), dimension)
            if len(np.unique(ids)) != len(ids) or ids.min() < 0:
                raise DataDamaged("data_damaged", "Vector ids are not unique.")
            index.add_with_ids(np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(ids, np.int64))
        return cls(index)

    @classmethod
    def from_bytes(cls, data: bytes) -> VectorIndex:
        """Read an index back; check the bytes' hash before, FAISS does not notice most damage.

        Raises:
            DataDamaged: if FAISS notices.
        """
        try:
            return cls(faiss.deserialize_index(np.frombuffer(data, np.uint8)))
        except RuntimeError as error:
            raise DataDamaged("data_damaged", "A vector index cannot be read.") from error

    def to_bytes(self) -> bytes:
        """Serialise; writing the bytes safely is the caller's task, ``faiss.write_index`` loses them silently."""
        data: bytes = faiss.serialize_index(self._index).tobytes()
        return data

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def search(self, query: Vectors, limit: int, allowed: Sequence[int] | None = None) -> list[tuple[int, float]]:
        """Return ids and cosines of the nearest vectors, best first; equal cosines in the order of their ids.

        Args:
            query: shape (1, dimension), unit length.
            limit: how many at most; more than there are is fine.
            allowed: search among these ids only; all if ``None``.
        """
        _check_vectors(query, 1, self.dimension)
        limit = min(limit, len(self) if allowed is None else len(allowed))
        if limit <= 0:
            return []
        parameters = None
        if allowed is not None:
            selector = faiss.IDSelectorBatch(np.asarray(allowed, np.int64))
            parameters = faiss.SearchParameters()
            parameters.sel = selector
        scores, ids = self._index.search(query, limit, params=parameters)
        found = [(int(id_), float(score)) for id_, score in zip(ids[0], scores[0], strict=True) if id_ >= 0]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _check_vectors(vectors: Vectors, rows: int, dimension: int) -> None:
    if vectors.shape != (rows, dimension):
        raise DataDamaged("data_damaged", f"Vectors have shape {vectors.shape}, not {(rows, dimension)}.")
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(lengths - 1) < 1e-2):  # also false for not-a-number
        raise DataDamaged("data_damaged", "A vector is not of unit length.")
