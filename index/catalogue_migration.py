"""Older forms of the catalogue, brought to the present one inside the transaction of the caller."""

from __future__ import annotations

import hashlib
import sqlite3

import numpy as np

from index import catalogue_schema as schema
from index import rows
from index.catalogue_changes import store_layout
from index.errors import DataDamaged
from index.layout import Layout, paragraph_starts
from index.load import format_of
from index.reading.markdown import first_headings
from index.records import Span

_OLD_TABLES = ("token_states", "sentences", "passages", "documents", "meta")
"""Of format 1, those that refer to others first."""


def migrate_from_1(connection: sqlite3.Connection) -> None:
    """Bring a catalogue of format 1 to format 2: one version of each document, vectors in half precision.

    Format 1 kept the present state only, in 32-bit vectors, one row a sentence.
    """
    for table in _OLD_TABLES:
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    schema.create_format_2(connection)
    meta = dict(connection.execute("SELECT key, value FROM old_meta").fetchall())
    generation = int(meta["generation"])
    model = None
    if "model_name" in meta:
        model = connection.execute(
            "INSERT INTO models (name, fingerprint, dimension) VALUES (?, ?, ?)",
            (meta["model_name"], meta["model_fingerprint"], int(meta["model_dimension"])),
        ).lastrowid
    ids = [_document(connection, row, generation, model) for row in connection.execute("SELECT * FROM old_documents")]
    id_sum = rows.set_sum(np.array([id_ for group in ids for id_ in group], np.int64))
    connection.execute("UPDATE models SET id_sum = ?", (str(id_sum),))
    for table in _OLD_TABLES:
        connection.execute(f"DROP TABLE old_{table}")
    values = {"generation": str(generation), "oldest": str(generation)}
    if model is not None:
        values["model"] = str(model)
    schema.write_meta(connection, values)


def migrate_from_2(connection: sqlite3.Connection) -> None:
    """Bring a catalogue of format 2 to format 3: how each version was read, and where its paragraphs are."""
    schema.extend_to_3(connection)
    for (version,) in connection.execute("SELECT number FROM versions").fetchall():
        *described, digest, stored, text = connection.execute(
            "SELECT id, collection, source, born, died, title, language, sha256, characters, metadata, digest,"
            " checksum, text FROM versions JOIN documents ON documents.number = document"
            " JOIN texts ON version = versions.number WHERE versions.number = ?",
            (version,),
        ).fetchone()
        rows.expect(stored, *described, digest)
        rows.expect_digest(digest, text)
        kind = format_of(described[2]) if format_of(described[2]) in {"text", "markdown"} else "text"
        check = rows.checksum(*described, kind, None, 1, digest)
        connection.execute(
            "UPDATE versions SET format = ?, reader = 1, checksum = ? WHERE number = ?", (kind, check, version)
        )
        headings = first_headings(text) if kind == "markdown" else ()
        store_layout(connection, version, Layout((), headings, paragraph_starts(text)))


def _document(
    connection: sqlite3.Connection, row: tuple[object, ...], generation: int, model: int | None
) -> list[int]:
    number, id_, collection, source, title, language, sha256, characters, count, metadata, text = row
    connection.execute(
        "INSERT INTO documents (number, id, collection, source, origin) VALUES (?, ?, ?, ?, '')",
        (number, id_, collection, source),
    )
    digest = rows.text_digest(str(text))
    described = (generation, None, title, language, sha256, characters, metadata, digest)
    connection.execute(
        "INSERT INTO versions (number, document, born, died, title, language, sha256, characters, metadata, digest,"
        " checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (number, number, *described, rows.checksum(id_, collection, source, *described)),
    )
    connection.execute("INSERT INTO texts VALUES (?, ?, ?)", (number, text, _original(str(text), str(sha256))))
    entry = (id_, collection, source, sha256, generation)
    connection.execute(
        "INSERT INTO history (number, document, collection, source, sha256, born, checksum)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, *entry, rows.checksum(number, *entry, None)),
    )
    ids = _passages(connection, int(str(number)), str(text), model)
    if len(ids) != count:
        raise DataDamaged("data_damaged", f"Document {id_} has {len(ids)} passages and should have {count}.")
    connection.execute(
        "INSERT INTO embedded SELECT ?, ?, ?, coalesce(sum(length(sentences) / 4), 0) FROM contents"
        " JOIN passages ON passages.id = passage WHERE version = ?",
        (number, model, len(ids), number),
    )
    return ids


def _original(text: str, sha256: str) -> bytes | None:
    """Return the original bytes if they were not just the text in UTF-8.

    Format 1 did not keep them, but wherever one of the usual encodings leads to the recorded hash, it was that one.
    """
    for encoding in ("utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-be"):
        try:
            data = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        if hashlib.sha256(data).hexdigest() == sha256:
            return None if encoding == "utf-8" else data
    return schema.UNKNOWN_ORIGINAL


def _passages(connection: sqlite3.Connection, document: int, text: str, model: int | None) -> list[int]:
    ids: list[int] = []
    for id_, first, last, vector in connection.execute(
        "SELECT id, first, last, vector FROM old_passages WHERE document = ? ORDER BY id", (document,)
    ).fetchall():
        ids.append(id_)
        content = text[first:last]
        place = (id_, document, model, first, last, rows.text_digest(content))
        (check,) = rows.Places.of([place]).checksums().tolist()
        connection.execute("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)", (*place, check))
        sentences = connection.execute(
            "SELECT first, last, vector FROM old_sentences WHERE passage = ? ORDER BY id", (id_,)
        ).fetchall()
        values = (
            content,
            rows.pack_spans([Span(begin, end) for begin, end, _ in sentences], first),
            rows.pack_vectors(np.frombuffer(vector, "<f4")),
            b"".join(rows.pack_vectors(np.frombuffer(blob, "<f4")) for _, _, blob in sentences),
        )
        connection.execute("INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?)", (id_, *values, rows.checksum(*values)))
        for state in connection.execute("SELECT * FROM old_token_states WHERE passage = ?", (id_,)).fetchall():
            connection.execute("INSERT INTO token_states VALUES (?, ?, ?, ?, ?)", (*state, rows.checksum(*state)))
    return ids
