"""What a transaction of the catalogue does to its tables. Each function is part of one change; none commits."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from index import rows
from index.catalogue_rows import VERSION_COLUMNS, WANTED, WIDTH, document_of
from index.catalogue_schema import write_meta
from index.errors import DataDamaged, NotFound
from index.faults import Point, reach
from index.layout import Layout, pack
from index.records import Document
from index.stored import Born, Change, Died, EmbeddedPassage, Prepared


def advance(connection: sqlite3.Connection) -> int:
    """Begin the next generation; return its number."""
    (number,) = connection.execute(
        "UPDATE meta SET value = value + 1 WHERE key = 'generation' RETURNING value"
    ).fetchone()
    write_meta(connection, {})
    return int(number)


def read_meta(connection: sqlite3.Connection, key: str) -> str:
    """Return what the catalogue says of itself under ``key``, or raise ``DataDamaged``."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise DataDamaged("data_damaged", f"The catalogue does not say its '{key}'.")
    return str(row[0])


def current_document(connection: sqlite3.Connection, collection: str, source: str, model: int) -> Document | None:
    """Return the newest version of a document, if there is one."""
    row = connection.execute(
        f"SELECT {VERSION_COLUMNS}, coalesce(embedded.passages, 0) FROM documents"
        " JOIN versions ON versions.document = documents.number"
        " LEFT JOIN embedded ON embedded.version = versions.number AND embedded.model = ?"
        " WHERE documents.collection = ? AND documents.source = ? AND died IS NULL",
        (model, collection, source),
    ).fetchone()
    return None if row is None else document_of(row, row[WIDTH])


def store(
    connection: sqlite3.Connection, item: Prepared, collection: str, model: int, number: int, died: list[Died]
) -> Born:
    """Store a document as born with generation ``number``; the version it replaces is added to ``died``."""
    raw = item.document
    row = connection.execute(
        "SELECT number, id FROM documents WHERE collection = ? AND source = ?", (collection, raw.source)
    ).fetchone()
    if row is None:
        document_id = secrets.token_hex(8)
        owner = connection.execute(
            "INSERT INTO documents (id, collection, source, origin) VALUES (?, ?, ?, ?)",
            (document_id, collection, raw.source, raw.origin),
        ).lastrowid
    else:
        owner, document_id = row
        died.append(_end_version(connection, owner, collection, model, number))
        _end_history(connection, [document_id], number)
        connection.execute("UPDATE documents SET origin = ? WHERE number = ?", (raw.origin, owner))
    metadata = json.dumps(dict(raw.metadata), ensure_ascii=False, sort_keys=True)
    digest = rows.text_digest(raw.text)
    pages = len(raw.layout.pages) or None
    read = (raw.format, pages, raw.reader)
    described = (number, None, raw.title, raw.language, raw.sha256, len(raw.text), metadata, *read, digest)
    (version,) = connection.execute(
        "INSERT INTO versions (document, born, died, title, language, sha256, characters, metadata, format, pages,"
        " reader, digest, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
        (owner, *described, rows.checksum(document_id, collection, raw.source, *described)),
    ).fetchone()
    connection.execute("INSERT INTO texts VALUES (?, ?, ?)", (version, raw.text, raw.original))
    store_layout(connection, version, raw.layout)
    _write_history(connection, document_id, collection, raw.source, raw.sha256, number)
    first = store_passages(connection, version, model, item.passages)
    document = Document(
        document_id,
        collection,
        raw.source,
        raw.title,
        raw.language,
        raw.sha256,
        len(raw.text),
        len(item.passages),
        dict(raw.metadata),
        *read,
    )
    return Born(version, document, first, item.passages, row is not None)


def store_layout(connection: sqlite3.Connection, version: int, layout: Layout) -> None:
    """Store where a version's pages, headings and paragraphs are."""
    packed = pack(layout)
    check = rows.checksum(version, packed)
    connection.execute("INSERT INTO layouts VALUES (?, ?, ?)", (version, packed, check))


def store_passages(
    connection: sqlite3.Connection, version: int, model: int, passages: Sequence[EmbeddedPassage]
) -> int:
    """Store the passages of a version under ids that follow one another; return the first."""
    (newest,) = connection.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'passages'), 0)"
    ).fetchone()
    first = int(newest) + 1
    slim, contents, states = [], [], []
    for id_, passage in enumerate(passages, start=first):
        digest = rows.text_digest(passage.text)
        place = (id_, version, model, passage.span.start, passage.span.end, digest)
        slim.append(place)
        content = (
            passage.text,
            rows.pack_spans(passage.sentences, passage.span.start),
            rows.pack_vectors(passage.vector),
            rows.pack_vectors(passage.sentence_vectors),
        )
        contents.append((id_, *content, rows.checksum(*content)))
        if passage.states is not None:
            state = (
                id_,
                len(passage.states.starts),
                passage.states.codes.tobytes(),
                passage.states.starts.astype("<u2").tobytes(),
            )
            states.append((*state, rows.checksum(*state)))
    checks = rows.Places.of(slim).checksums().tolist()
    connection.executemany(
        "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(*place, check) for place, check in zip(slim, checks, strict=True)],
    )
    connection.executemany("INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?)", contents)
    connection.executemany("INSERT INTO token_states VALUES (?, ?, ?, ?, ?)", states)
    connection.execute(
        "INSERT INTO embedded VALUES (?, ?, ?, ?)",
        (version, model, len(passages), sum(len(passage.sentences) for passage in passages)),
    )
    _change_id_sum(connection, model, born=np.arange(first, first + len(passages), dtype=np.int64))
    return first


def _end_version(connection: sqlite3.Connection, owner: int, collection: str, model: int, number: int) -> Died:
    """Let the current version of a document die with generation ``number``."""
    version, *columns = connection.execute(
        f"SELECT versions.number, {VERSION_COLUMNS} FROM versions"
        " JOIN documents ON documents.number = document WHERE document = ? AND died IS NULL",
        (owner,),
    ).fetchone()
    document = document_of(columns, 0)
    columns[4] = number
    connection.execute(
        "UPDATE versions SET died = ?, checksum = ? WHERE number = ?",
        (number, rows.checksum(*columns[:-1]), version),
    )
    return Died(version, collection, document.language, _passages_of(connection, version, model))


def erase(connection: sqlite3.Connection, document_ids: Sequence[str], model: int) -> Change:
    """Erase documents with all their versions as one change, or raise ``NotFound``."""
    number = advance(connection)
    died: list[Died] = []
    removed: list[Document] = []
    for document_id in document_ids:
        found = connection.execute(
            f"SELECT {VERSION_COLUMNS}, versions.number FROM versions"
            " JOIN documents ON documents.number = document WHERE documents.id = ? ORDER BY versions.number",
            (document_id,),
        ).fetchall()
        if not found:
            raise NotFound("document_not_found", f"There is no document '{document_id}'.")
        versions = [int(row[-1]) for row in found]
        for row in found:
            document = document_of(row, 0)
            passages = _passages_of(connection, int(row[-1]), model)
            if row[4] is None:
                removed.append(replace(document, passages=len(passages)))
            died.append(Died(int(row[-1]), document.collection, document.language, passages))
        _forget_passages(connection, versions)
        connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))
    reach(Point.CHANGE_WRITTEN)
    _end_history(connection, document_ids, number)
    return Change(number, (), tuple(died), tuple(removed))


def purge_versions(connection: sqlite3.Connection, bound: int) -> None:
    """Erase versions that died with generation ``bound`` or earlier; that generation is the oldest one kept then."""
    (oldest,) = connection.execute("SELECT value FROM meta WHERE key = 'oldest'").fetchone()
    if bound <= int(oldest):
        return
    versions = [row[0] for row in connection.execute("SELECT number FROM versions WHERE died <= ?", (bound,))]
    if versions:
        _forget_passages(connection, versions)
        connection.execute(f"DELETE FROM versions WHERE number {WANTED}", (json.dumps(versions),))
    write_meta(connection, {"oldest": str(bound)})


def _passages_of(connection: sqlite3.Connection, version: int, model: int) -> tuple[int, ...]:
    found = connection.execute("SELECT id FROM passages WHERE version = ? AND model = ?", (version, model))
    return tuple(row[0] for row in found)


def _forget_passages(connection: sqlite3.Connection, versions: Sequence[int]) -> None:
    """Take the passages of versions that are about to go out of their models' checksums."""
    by_model: dict[int, list[int]] = {}
    for id_, model in connection.execute(
        f"SELECT id, model FROM passages WHERE version {WANTED}",
        (json.dumps(list(versions)),),
    ):
        by_model.setdefault(model, []).append(id_)
    for model, ids in by_model.items():
        _change_id_sum(connection, model, died=np.array(ids, np.int64))


_NONE = np.empty(0, np.int64)


def _change_id_sum(
    connection: sqlite3.Connection, model: int, born: NDArray[np.int64] = _NONE, died: NDArray[np.int64] = _NONE
) -> None:
    (total,) = connection.execute("SELECT id_sum FROM models WHERE number = ?", (model,)).fetchone()
    changed = rows.add_sums(int(total), rows.set_sum(born), rows.set_sum(died))
    connection.execute("UPDATE models SET id_sum = ? WHERE number = ?", (str(changed), model))


def _write_history(
    connection: sqlite3.Connection, document_id: str, collection: str, source: str, sha256: str, born: int
) -> None:
    entry = connection.execute(
        "INSERT INTO history (document, collection, source, sha256, born, checksum) VALUES (?, ?, ?, ?, ?, 0)",
        (document_id, collection, source, sha256, born),
    ).lastrowid
    check = rows.checksum(entry, document_id, collection, source, sha256, born, None)
    connection.execute("UPDATE history SET checksum = ? WHERE number = ?", (check, entry))


def _end_history(connection: sqlite3.Connection, document_ids: Sequence[str], died: int) -> None:
    for document_id in document_ids:
        for entry in connection.execute(
            "SELECT number, document, collection, source, sha256, born FROM history"
            " WHERE document = ? AND died IS NULL",
            (document_id,),
        ).fetchall():
            connection.execute(
                "UPDATE history SET died = ?, checksum = ? WHERE number = ?",
                (died, rows.checksum(*entry, died), entry[0]),
            )
