"""How the catalogue's rows look on disk: small binary forms, each with a checksum.

SQLite notices damage to its own structure but not to what is stored in it. Each row carries a checksum that is
looked at whenever the row is read, so that a flipped bit becomes an error and never an answer.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.encoder import TokenStates, Vectors
from index.errors import DataDamaged
from index.records import Span

_MASK = 2**64 - 1


def checksum(*values: object) -> int:
    """Return the CRC-32 of some values of a row: numbers, text, bytes or ``None``."""
    crc = 0
    for value in values:
        if isinstance(value, bytes):
            crc = zlib.crc32(value, crc)
        else:
            crc = zlib.crc32(repr(value).encode("utf-8", "surrogatepass"), crc)
    return crc


def expect(stored: object, *values: object) -> None:
    """See that a row's checksum is the one of its values.

    Raises:
        DataDamaged: if it is not.
    """
    if stored != checksum(*values):
        raise DataDamaged("data_damaged", "A row of the catalogue is damaged.")


def text_digest(text: str) -> bytes:
    """Return 16 bytes that identify a text: BLAKE2b of its UTF-8 form."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def marks(digests: Iterable[bytes]) -> NDArray[np.int64]:
    """Return a number for each digest of a text: it tells whether an index holds the vectors of that very text."""
    return np.frombuffer(b"".join(digest[:8] for digest in digests), "<i8").astype(np.int64)


def pack_vectors(vectors: NDArray[np.floating]) -> bytes:
    """Store vectors in half precision: an error of 2**-12 in a component, far below what the model rounds itself."""
    return np.ascontiguousarray(vectors, "<f2").tobytes()


def unpack_vectors(data: bytes, dimension: int) -> Vectors:
    """Return stored vectors: shape (vectors, dimension)."""
    return np.frombuffer(data, "<f2").reshape(-1, dimension).astype(np.float32)


def pack_spans(spans: Sequence[Span], offset: int) -> bytes:
    """Store sentences as pairs of offsets from their passage's start."""
    return np.array([(span.start - offset, span.end - offset) for span in spans], "<u2").tobytes()


def unpack_spans(data: bytes, offset: int) -> tuple[Span, ...]:
    """Return stored sentences as spans of the document."""
    return tuple(
        Span(offset + start, offset + end) for start, end in np.frombuffer(data, "<u2").reshape(-1, 2).tolist()
    )


def unpack_states(tokens: int, codes: bytes, starts: bytes) -> TokenStates:
    """Return stored token states; a passage of nothing but special characters has none."""
    if not tokens:
        return TokenStates(np.empty((0, 1), np.int8), np.empty(0, "<u2"))
    return TokenStates(np.frombuffer(codes, np.int8).reshape(tokens, -1), np.frombuffer(starts, "<u2"))


def spread(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Turn ids into evenly spread 64-bit numbers, always the same ones.

    The finaliser of SplitMix64 (Steele, Lea & Flood 2014).
    """
    value = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Places:
    """Where passages stand: the columns of many short rows, checked all at once since all are read at each start."""

    ids: NDArray[np.int64]
    versions: NDArray[np.int64]
    models: NDArray[np.int64]
    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]
    digests: NDArray[np.int64]
    """Shape (n, 2): 16 bytes of each text's hash."""

    @classmethod
    def of(cls, found: Sequence[Sequence[object]]) -> Places:
        """Read rows of id, version, model, first, last and digest, further columns being passed over.

        Raises:
            DataDamaged: if a digest is not one.
        """
        joined = b"".join(row[5] for row in found)  # type: ignore[misc]
        if len(joined) != 16 * len(found):
            raise DataDamaged("data_damaged", "A row of the catalogue is damaged.")
        ids, versions, models, firsts, lasts = (
            np.fromiter((row[column] for row in found), np.int64, len(found)) for column in range(5)
        )
        digests = np.frombuffer(joined, "<i8").astype(np.int64).reshape(-1, 2)
        return cls(ids, versions, models, firsts, lasts, digests)

    def checksums(self) -> NDArray[np.int64]:
        """Return a checksum for each row; 63 bits, since SQLite's integers have a sign."""
        total = spread(self.ids)
        columns = (self.versions, self.models, self.firsts, self.lasts, self.digests[:, 0], self.digests[:, 1])
        for column in columns:
            total = spread((total ^ column.astype(np.uint64)).astype(np.int64))
        return (total >> np.uint64(1)).astype(np.int64)

    def expect(self, stored: Sequence[object]) -> None:
        """See that every row's checksum is the one of its values.

        Raises:
            DataDamaged: if one is not.
        """
        if self.checksums().tolist() != list(stored):
            raise DataDamaged("data_damaged", "A row of the catalogue is damaged.")


def set_sum(ids: NDArray[np.int64]) -> int:
    """Return a checksum of a set of ids that can be kept up to date: the sum of their spread numbers."""
    return int(spread(ids).sum(dtype=np.uint64))


def add_sums(total: int, more: int, less: int = 0) -> int:
    """Return the checksum of a set after ids were added and taken away."""
    return (total + more - less) & _MASK


def expect_digest(stored: object, text: str) -> None:
    """See that a text is the one a digest was made of.

    Raises:
        DataDamaged: if it is not.
    """
    if stored != text_digest(text):
        raise DataDamaged("data_damaged", "A text in the catalogue is damaged.")
