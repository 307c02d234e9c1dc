"""The catalogue's rows, read: each is compared with its checksum before anything is made of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from index import rows
from index.errors import DataDamaged
from index.records import Document, Span
from index.stored import EmbeddedPassage, ModelRow, VectorChunk

VERSION_COLUMNS = (
    "documents.id, documents.collection, documents.source, versions.born, versions.died, versions.title,"
    " versions.language, versions.sha256, versions.characters, versions.metadata, versions.format, versions.pages,"
    " versions.reader, versions.digest, versions.checksum"
)
WIDTH = 15
"""How many columns those are."""
DIGEST = 13
"""Which of them is the text's digest."""
WANTED = "IN (SELECT value FROM json_each(?))"
_CONTENT_QUERY = (
    "SELECT passages.id, contents.text, sentences, vector, sentence_vectors, contents.checksum, digest"
    " FROM passages JOIN contents ON passage = passages.id"
)
_CHUNK = 2000
"""Passages read at once when all are read: about 10 MB."""


class VectorReader:
    """The stored vectors of one model, as they were when the reader was lent."""

    def __init__(self, connection: sqlite3.Connection, model: ModelRow) -> None:
        self._connection = connection
        self._model = model

    def counts(self) -> tuple[int, int]:
        """Return how many passages and how many sentences there are."""
        row = self._connection.execute(
            "SELECT coalesce(sum(passages), 0), coalesce(sum(sentences), 0) FROM embedded WHERE model = ?",
            (self._model.number,),
        ).fetchone()
        return int(row[0]), int(row[1])

    def chunks(self, after: int = 0) -> Iterator[VectorChunk]:
        """Read the vectors of all passages with ids above ``after``, some at a time, ascending."""
        while True:
            found = self._connection.execute(
                f"{_CONTENT_QUERY} WHERE passages.id > ? AND model = ? ORDER BY passages.id LIMIT ?",
                (after, self._model.number, _CHUNK),
            ).fetchall()
            if not found:
                return
            yield vector_chunk(found, self._model.dimension)
            after = found[-1][0]

    def sample(self, size: int) -> VectorChunk:
        """Read the vectors of ``size`` passages, or of all if there are fewer, drawn evenly over their ids."""
        ids = [
            row[0]
            for row in self._connection.execute("SELECT id FROM passages WHERE model = ?", (self._model.number,))
        ]
        ids.sort()
        chosen = ids if len(ids) <= size else [ids[place * len(ids) // size] for place in range(size)]
        found = self._connection.execute(
            f"{_CONTENT_QUERY} WHERE passages.id {WANTED} ORDER BY passages.id", (json.dumps(chosen),)
        ).fetchall()
        return vector_chunk(found, self._model.dimension)


def document_of(columns: Sequence[object], passages: int) -> Document:
    """Make a document of :data:`VERSION_COLUMNS`, once the checksum is right."""
    *described, stored = columns[:WIDTH]
    rows.expect(stored, *described)
    id_, collection, source, _, _, title, language, sha256, characters, metadata, kind, pages, reader, _ = described
    return Document(
        str(id_),
        str(collection),
        str(source),
        str(title),
        str(language),
        str(sha256),
        int(str(characters)),
        passages,
        json.loads(str(metadata)),
        str(kind),
        None if pages is None else int(str(pages)),
        int(str(reader)),
    )


def known_slice(connection: sqlite3.Connection, version: int, digest: bytes, span: Span) -> str:
    """Return what stands at ``span`` by a text whose checksum is right: the passage around it, or all of it."""
    around = connection.execute(
        "SELECT contents.text, passages.digest, first FROM passages JOIN contents ON passage = passages.id"
        " WHERE version = ? AND first <= ? AND last >= ? LIMIT 1",
        (version, span.start, span.end),
    ).fetchone()
    if around is None:
        (text,) = connection.execute("SELECT text FROM texts WHERE version = ?", (version,)).fetchone()
        around = text, digest, 0
    text, digest, first = around
    rows.expect_digest(digest, text)
    return str(text)[span.start - first : span.end - first]


def expect_found(found: object, wanted: object) -> None:
    """See that an index of the catalogue led to what was looked for, or raise ``DataDamaged``."""
    if found != wanted:
        raise DataDamaged("data_damaged", "A text or an index of the catalogue is damaged.")


def vector_chunk(found: Sequence[Sequence[object]], dimension: int) -> VectorChunk:
    """Make a chunk of the rows of :data:`_CONTENT_QUERY`."""
    for _, *content, stored, digest in found:
        rows.expect(stored, *content)
        rows.expect_digest(digest, str(content[0]))
    counts = np.fromiter((len(row[2]) // 4 for row in found), np.int64, len(found))  # type: ignore[arg-type]
    return VectorChunk(
        np.fromiter((row[0] for row in found), np.int64, len(found)),
        np.frombuffer(b"".join(row[3] for row in found), "<f2").reshape(len(found), dimension),  # type: ignore[misc]
        counts,
        np.frombuffer(b"".join(row[4] for row in found), "<f2").reshape(int(counts.sum()), dimension),  # type: ignore[misc]
        rows.marks(row[6] for row in found),  # type: ignore[misc]
    )


def known_passage(row: Sequence[object], digest: bytes, dimension: int) -> EmbeddedPassage:
    """Make a passage that was embedded before of its rows; see :meth:`index.catalogue.Catalogue.known_passages`."""
    first, last, text, spans, vector, others, check, tokens, codes, starts, states_check, id_ = row
    rows.expect(check, text, spans, vector, others)
    rows.expect_digest(digest, str(text))
    states = None
    if tokens is not None:
        rows.expect(states_check, id_, tokens, codes, starts)
        states = rows.unpack_states(tokens, codes, starts)  # type: ignore[arg-type]
    start = int(str(first))
    return EmbeddedPassage(
        Span(start, int(str(last))),
        str(text),
        rows.unpack_spans(spans, start),  # type: ignore[arg-type]
        np.frombuffer(vector, "<f2"),  # type: ignore[call-overload]
        np.frombuffer(others, "<f2").reshape(-1, dimension),  # type: ignore[call-overload]
        states,
    )
