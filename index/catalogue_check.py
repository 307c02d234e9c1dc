"""The thorough check of a catalogue: every row against its checksum, every place against its text."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator

import numpy as np

from index import rows
from index.catalogue_schema import UNKNOWN_ORIGINAL
from index.errors import DataDamaged
from index.layout import layout_problem, unpack
from index.records import Span


def find_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Say what is wrong with the file; nothing if nothing is."""
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield f"catalogue: {line}"
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield f"catalogue: dangling row in {row[0]}"
    for row in connection.execute(
        "SELECT versions.number, documents.id, collection, source, born, died, title, language, sha256, characters,"
        " metadata, format, pages, reader, digest, versions.checksum, text, original, layout, layouts.checksum"
        " FROM documents LEFT JOIN versions ON document = documents.number"
        " LEFT JOIN texts ON texts.version = versions.number LEFT JOIN layouts ON layouts.version = versions.number"
    ):
        yield from _version_problems(connection, *row)
    yield from _meta_problems(connection)
    for document, count in connection.execute(
        "SELECT documents.id, count(versions.number) FROM documents"
        " LEFT JOIN versions ON document = documents.number AND died IS NULL GROUP BY documents.number"
    ):
        if count != 1:
            yield f"document {document}: {count} current versions"
    yield from _row_problems(connection)
    yield from _vector_problems(connection)


def _version_problems(  # noqa: PLR0913, PLR0917 - the columns of one row
    connection: sqlite3.Connection,
    version: int | None,
    id_: str,
    collection: str,
    source: str,
    born: int,
    died: int | None,
    title: str,
    language: str,
    sha256: str,
    characters: int,
    metadata: str,
    kind: str,
    pages: int | None,
    reader: int,
    digest: bytes,
    stored: int,
    text: str | None,
    original: bytes | None,
    layout: bytes | None,
    layout_check: int | None,
) -> Iterator[str]:
    if version is None or text is None:
        yield f"document {id_}: its text is not there"
        return
    about = (title, language, sha256, characters, metadata, kind, pages, reader, digest)
    described = (id_, collection, source, born, died, *about)
    if stored != rows.checksum(*described):
        yield f"document {id_}: its description is damaged"
    if rows.text_digest(text) != digest or len(text) != characters:
        yield f"document {id_}: its text is not the one that was stored"
    data = text.encode() if original is None else original
    if data != UNKNOWN_ORIGINAL and hashlib.sha256(data).hexdigest() != sha256:
        yield f"document {id_}: its original is not the one that was stored"
    yield from _layout_problems(version, id_, layout, layout_check, pages, len(text))
    yield from _passage_problems(connection, version, id_, text)


def _layout_problems(
    version: int, id_: str, packed: bytes | None, stored: int | None, pages: int | None, characters: int
) -> Iterator[str]:
    if packed is None or stored != rows.checksum(version, packed):
        yield f"document {id_}: its layout is damaged"
        return
    try:
        layout = unpack(packed)
    except DataDamaged:
        yield f"document {id_}: its layout cannot be read"
        return
    if len(layout.pages) != (pages or 0) or layout_problem(layout, characters):
        yield f"document {id_}: its layout is not that of its text"


def _passage_problems(connection: sqlite3.Connection, version: int, id_: str, text: str) -> Iterator[str]:
    ends: dict[int, int] = {}
    counts: dict[int, tuple[int, int]] = {}
    for passage, model, first, last, content, spans, vector, others, dimension in connection.execute(
        "SELECT passages.id, model, first, last, text, sentences, length(vector), length(sentence_vectors), dimension"
        " FROM passages LEFT JOIN contents ON passage = passages.id LEFT JOIN models ON models.number = model"
        " WHERE version = ? ORDER BY passages.id",
        (version,),
    ):
        before = counts.get(model, (0, 0))
        counts[model] = before[0] + 1, before[1] + len(spans or b"") // 4
        if content is None or dimension is None:
            yield f"document {id_}: passage {passage} has no content or no model"
            continue
        if not ends.get(model, 0) <= first < last <= len(text) or text[first:last] != content:
            yield f"document {id_}: passage {passage} is not a slice of its text"
        ends[model] = last
        if len(spans) % 4:
            yield f"document {id_}: the sentences of passage {passage} cannot be read"
            continue
        sentences = rows.unpack_spans(spans, first)
        if not all(_inside(span, first, last) for span in sentences):
            yield f"document {id_}: a sentence of passage {passage} lies outside it"
        if vector != 2 * dimension or others != 2 * dimension * len(sentences):
            yield f"document {id_}: passage {passage} has vectors of a wrong size"
    recorded = connection.execute("SELECT model, passages, sentences FROM embedded WHERE version = ?", (version,))
    embedded = {model: (passages, sentences) for model, passages, sentences in recorded}
    if counts != {model: count for model, count in embedded.items() if count[0]}:
        yield f"document {id_}: {counts} passages and sentences stored, {embedded} recorded (by model)"


def _inside(span: Span, first: int, last: int) -> bool:
    return first <= span.start < span.end <= last


def _meta_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Look for values that no version writes, whatever their checksums say."""
    for (value,) in connection.execute(
        "SELECT value FROM meta WHERE key IN ('generation', 'oldest', 'probes', 'model')"
        " UNION ALL SELECT id_sum FROM models"
    ):
        if not (value.isascii() and value.isdigit() and len(value) < _DIGITS):
            yield "catalogue: a number is none"
    for (metadata,) in connection.execute("SELECT metadata FROM versions"):
        try:
            values = json.loads(metadata)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
            yield "catalogue: the metadata of a document is not flat"


def _vector_problems(connection: sqlite3.Connection) -> Iterator[str]:
    for passage, dimension, vector, others in connection.execute(
        "SELECT passages.id, dimension, vector, sentence_vectors FROM passages"
        " JOIN contents ON passage = passages.id JOIN models ON models.number = model"
    ):
        if dimension < 1 or len(vector) % (2 * dimension) or len(others) % (2 * dimension):
            yield f"catalogue: the vectors of passage {passage} have a wrong size"
            continue
        lengths = np.linalg.norm(rows.unpack_vectors(vector + others, dimension), axis=1)
        if not np.all(np.abs(lengths - 1) < _LENGTH_TOLERANCE):
            yield f"catalogue: a vector of passage {passage} is not of unit length"
    for passage, tokens, codes, starts in connection.execute(
        "SELECT passage, tokens, codes, starts FROM token_states"
    ):
        if len(starts) != 2 * tokens or (len(codes) % tokens if tokens else codes):
            yield f"catalogue: the token states of passage {passage} have a wrong size"
        elif tokens and not np.frombuffer(codes, np.int8).reshape(tokens, -1).any(axis=1).all():
            yield f"catalogue: a token state of passage {passage} has no direction"


_DIGITS = 21
"""Of any 64-bit number, and one more."""
_LENGTH_TOLERANCE = 1e-2

_ROWS = {
    "contents": ("SELECT checksum, text, sentences, vector, sentence_vectors, passage FROM contents", 0),
    "token_states": ("SELECT checksum, passage, tokens, codes, starts FROM token_states", 1),
    "history": ("SELECT checksum, number, document, collection, source, sha256, born, died FROM history", 1),
}


def _row_problems(connection: sqlite3.Connection) -> Iterator[str]:
    found = connection.execute("SELECT id, version, model, first, last, digest, checksum FROM passages").fetchall()
    wrong = rows.Places.of(found).checksums() != np.fromiter((row[6] for row in found), np.int64, len(found))
    if wrong.any():
        yield f"catalogue: {int(wrong.sum())} damaged rows in passages"
    for table, (query, keyed) in _ROWS.items():
        damaged = 0
        for stored, *values in connection.execute(query):
            try:
                rows.expect(stored, *(values if keyed else values[:-1]))
            except DataDamaged:
                damaged += 1
        if damaged:
            yield f"catalogue: {damaged} damaged rows in {table}"
