"""The catalogue: documents, passages, sentences and vectors in one SQLite file. It is the truth; indexes are caches.

One writer at a time, any number of readers; a change is one transaction, durable when it returns (WAL with
``synchronous=FULL``). Ids are never reused, so an id from an old index can only lead to nothing, never to
another text. This module alone knows SQL.
"""

from __future__ import annotations

import json
import math
import queue
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.encoder import EncodedPassages, EncoderInfo, TokenStates, Vectors
from index.errors import DataDamaged, FilterRejected, FormatNewer, ModelMismatch, NotFound
from index.records import Cut, Document, Passage, RawDocument, Scalar, Sentence, Span

FORMAT = 1
"""Version of the schema; a file with a higher one is left untouched."""

DEFAULT_COLLECTION = "default"
FILE_NAME = "fundstelle.db"

_APPLICATION_ID = 0x46554E44  # "FUND"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    collection TEXT NOT NULL,
    source TEXT NOT NULL,
    title TEXT NOT NULL,
    language TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    characters INTEGER NOT NULL,
    passages INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (collection, source)
) STRICT;
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    vector BLOB NOT NULL
) STRICT;
CREATE INDEX passages_by_document ON passages (document);
CREATE TABLE sentences (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    passage INTEGER NOT NULL REFERENCES passages (id) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    vector BLOB NOT NULL
) STRICT;
CREATE INDEX sentences_by_passage ON sentences (passage);
-- apart, because it is thirty times as large as the rest of a passage and read for a few candidates only
CREATE TABLE token_states (
    passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    tokens INTEGER NOT NULL,
    codes BLOB NOT NULL,
    starts BLOB NOT NULL
) STRICT;
"""
_DOCUMENT_COLUMNS = (
    "documents.id, collection, source, title, language, sha256, characters, documents.passages, metadata"
)
_FILTER_COLUMNS = {"source": "source", "language": "language", "document_id": "documents.id"}

Filters = Mapping[str, Scalar | Sequence[Scalar]]
"""Field to one value or several of which one must match; all fields must match."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut and embedded, ready to be stored in one step."""

    document: RawDocument
    cut: Cut
    passages: EncodedPassages
    sentence_vectors: Vectors
    """Rows in the order of ``cut.sentences``, passage after passage."""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A live passage with everything a hit is made of."""

    passage: Passage
    document: Document
    text: str
    vector: Vectors
    """Shape (1, dimension)."""
    sentences: tuple[Sentence, ...]
    sentence_vectors: Vectors


@dataclass(frozen=True, slots=True)
class Counts:
    """How much the catalogue holds."""

    documents: int
    passages: int
    sentences: int
    characters: int


class Catalogue:
    """An open catalogue file. Reading is safe from any thread; writing is serialised here."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        """Open the catalogue in ``folder``, creating it if ``writable`` and there is none.

        Raises:
            DataDamaged: if the file is not a catalogue.
            FormatNewer: if a newer version wrote it.
        """
        self._file = folder / FILE_NAME
        self._writing = threading.Lock()
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._writer: sqlite3.Connection | None = None
        try:
            if writable:
                self._writer = self._connect(writable=True)
                if not self._is_set_up(self._writer):
                    self._set_up(self._writer)
            with self._reading() as connection:
                self._check(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every idle connection; the write-ahead log is folded in by the last one."""
        while not self._idle.empty():
            self._idle.get().close()
        if self._writer is not None:
            self._writer.close()

    # ---- the model that built the vectors -------------------------------------------------------------------

    def bind_model(self, info: EncoderInfo) -> None:
        """Remember the embedding model on first use, refuse another one ever after.

        Raises:
            ModelMismatch: if the stored vectors come from another model.
        """
        with self._reading() as connection:
            stored = dict(connection.execute("SELECT key, value FROM meta WHERE key LIKE 'model_%'").fetchall())
        if not stored and self._writer is not None:
            with self._change() as connection:
                connection.executemany(
                    "INSERT INTO meta VALUES (?, ?)",
                    [
                        ("model_name", info.name),
                        ("model_fingerprint", info.fingerprint),
                        ("model_dimension", str(info.dimension)),
                    ],
                )
        elif stored and stored["model_fingerprint"] != info.fingerprint:
            raise ModelMismatch(
                "model_mismatch",
                f"This data folder was built with the model '{stored['model_name']}' "
                f"({stored['model_fingerprint'][:12]}), not with '{info.name}' ({info.fingerprint[:12]}).",
            )

    def model_name(self) -> str | None:
        """Return the name of the model that built the vectors, if there are any."""
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'model_name'").fetchone()
        return None if row is None else str(row[0])

    # ---- writing ----------------------------------------------------------------------------------------------

    def add(self, prepared: Sequence[Prepared], collection: str) -> list[Document]:
        """Store documents, replacing those of the same source; all of them or none.

        A replaced document keeps its id; its old passages and sentences are gone in the same transaction.
        """
        stored: list[Document] = []
        with self._change() as connection:
            for item in prepared:
                stored.append(self._store(connection, item, collection))
            self._advance(connection)
        return stored

    def delete(self, document_id: str) -> None:
        """Remove a document with all that was derived from it.

        Raises:
            NotFound: if there is none of this id.
        """
        with self._change() as connection:
            if connection.execute("DELETE FROM documents WHERE id = ?", (document_id,)).rowcount == 0:
                raise NotFound("document_not_found", f"There is no document '{document_id}'.")
            self._advance(connection)

    # ---- reading ----------------------------------------------------------------------------------------------

    def generation(self) -> int:
        """Return the number of the newest change."""
        with self._reading() as connection:
            return _generation(connection)

    def counts(self) -> Counts:
        """Count what is stored."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages),"
                " (SELECT count(*) FROM sentences), (SELECT coalesce(sum(characters), 0) FROM documents)"
            ).fetchone()
        return Counts(*row)

    def document(self, document_id: str) -> Document:
        """Return one document.

        Raises:
            NotFound: if there is none of this id.
        """
        with self._reading() as connection:
            row = connection.execute(
                f"SELECT {_DOCUMENT_COLUMNS} FROM documents WHERE id = ?",  # noqa: S608 - constant columns
                (document_id,),
            ).fetchone()
        if row is None:
            raise NotFound("document_not_found", f"There is no document '{document_id}'.")
        return _document(row)

    def find_source(self, source: str, collection: str = DEFAULT_COLLECTION) -> Document | None:
        """Return the document of this source, if there is one."""
        with self._reading() as connection:
            row = connection.execute(
                f"SELECT {_DOCUMENT_COLUMNS} FROM documents WHERE collection = ? AND source = ?",  # noqa: S608
                (collection, source),
            ).fetchone()
        return None if row is None else _document(row)

    def documents(self, limit: int, after: int = 0) -> tuple[list[Document], int | None]:
        """List documents in the order they were first added.

        Returns:
            At most ``limit`` documents with a number above ``after``, and the number to continue after, if any.
        """
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {_DOCUMENT_COLUMNS}, number FROM documents WHERE number > ?"  # noqa: S608
                " ORDER BY number LIMIT ?",
                (after, limit + 1),
            ).fetchall()
        following = int(rows[limit - 1][-1]) if len(rows) > limit else None
        return [_document(row) for row in rows[:limit]], following

    def text(self, document_id: str) -> str:
        """Return the text of one document.

        Raises:
            NotFound: if there is none of this id.
        """
        with self._reading() as connection:
            row = connection.execute("SELECT text FROM documents WHERE id = ?", (document_id,)).fetchone()
        if row is None:
            raise NotFound("document_not_found", f"There is no document '{document_id}'.")
        return str(row[0])

    def passages(self, document_id: str) -> list[Passage]:
        """Return the passages of one document in reading order; none if the document is gone."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT passages.id, first, last FROM passages JOIN documents ON document = number"
                " WHERE documents.id = ? ORDER BY first",
                (document_id,),
            ).fetchall()
        return [Passage(id_, document_id, Span(first, last)) for id_, first, last in rows]

    def slice(self, document_id: str, span: Span) -> str | None:
        """Return the code points of ``span`` as they are stored now; ``None`` if the document is gone."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT substr(text, ?, ?) FROM documents WHERE id = ?", (span.start + 1, len(span), document_id)
            ).fetchone()
        return None if row is None else str(row[0])

    def vectors(self, granularity: str) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Vectors]:
        """Return all ids and vectors of ``passages`` or ``sentences``: shapes (n,) and (n, dimension)."""
        query = {
            "passages": "SELECT id, vector FROM passages ORDER BY id",
            "sentences": "SELECT id, vector FROM sentences ORDER BY id",
        }[granularity]
        with self._reading() as connection:
            rows = connection.execute(query).fetchall()
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        return ids, _stack(row[1] for row in rows)

    def allowed(self, granularity: str, collection: str, filters: Filters | None) -> list[int] | None:
        """Return the ids a filtered search may find; ``None`` if that is all of them.

        Raises:
            FilterRejected: if a filter names an unknown field or has a wrong shape.
        """
        conditions, values = _conditions(filters or {})
        with self._reading() as connection:
            # The least and the greatest name are looked up in the index; "is there another one" would read all of it.
            ends = connection.execute(
                "SELECT (SELECT min(collection) FROM documents), (SELECT max(collection) FROM documents)"
            ).fetchone()
            if not conditions and ends == (collection, collection):
                return None
            where = " AND ".join(["collection = ?", *conditions])
            query = {
                "passages": "SELECT passages.id FROM passages JOIN documents ON document = number WHERE ",
                "sentences": "SELECT sentences.id FROM sentences JOIN passages ON passage = passages.id"
                " JOIN documents ON document = number WHERE ",
            }[granularity]
            return [row[0] for row in connection.execute(query + where, (collection, *values))]

    def passage_ids_by_language(self) -> dict[str, list[int]]:
        """Return the ids of all passages, ascending, for each language there is."""
        ids: dict[str, list[int]] = {}
        with self._reading() as connection:
            for language, id_ in connection.execute(
                "SELECT language, passages.id FROM passages JOIN documents ON document = number ORDER BY passages.id"
            ):
                ids.setdefault(language, []).append(id_)
        return ids

    def passages_of(self, sentence_ids: Sequence[int]) -> dict[int, int]:
        """Map live sentences to the passages they lie in."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id, passage FROM sentences WHERE id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(sentence_ids)),),
            ).fetchall()
        return dict(rows)

    def hydrate(self, passage_ids: Iterable[int]) -> dict[int, StoredPassage]:
        """Read live passages with document, text, sentences and vectors; ids that are not live are left out."""
        wanted = json.dumps(list(passage_ids))
        with self._reading() as connection:
            connection.execute("BEGIN")  # both queries see the same state
            rows = connection.execute(
                "SELECT passages.id, first, last, vector, substr(text, first + 1, last - first), "  # noqa: S608
                f"{_DOCUMENT_COLUMNS} FROM passages JOIN documents ON document = number"
                " WHERE passages.id IN (SELECT value FROM json_each(?))",
                (wanted,),
            ).fetchall()
            sentences: dict[int, list[tuple[Sentence, bytes]]] = {}
            for id_, passage, first, last, vector in connection.execute(
                "SELECT id, passage, first, last, vector FROM sentences"
                " WHERE passage IN (SELECT value FROM json_each(?)) ORDER BY id",
                (wanted,),
            ):
                sentences.setdefault(passage, []).append((Sentence(id_, passage, Span(first, last)), vector))
            connection.execute("COMMIT")
        found: dict[int, StoredPassage] = {}
        documents: dict[str, Document] = {}
        for id_, first, last, vector, text, *columns in rows:
            document = documents.get(columns[0]) or documents.setdefault(columns[0], _document(columns))
            parts = sentences.get(id_, [])
            found[id_] = StoredPassage(
                Passage(id_, document.id, Span(first, last)),
                document,
                text,
                _stack([vector]),
                tuple(sentence for sentence, _ in parts),
                _stack(blob for _, blob in parts),
            )
        return found

    def token_states(self, passage_ids: Iterable[int]) -> dict[int, TokenStates]:
        """Read the token states of live passages; passages without any are left out."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT * FROM token_states WHERE passage IN (SELECT value FROM json_each(?))",
                (json.dumps(list(passage_ids)),),
            ).fetchall()
        return {
            passage: TokenStates(np.frombuffer(codes, np.int8).reshape(tokens, -1), np.frombuffer(starts, "<u2"))
            for passage, tokens, codes, starts in rows
            if tokens
        }

    def problems(self) -> list[str]:
        """Check the whole file and say what is wrong with it; empty if nothing is."""
        found: list[str] = []
        with self._reading() as connection:
            found += [
                f"catalogue: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"
            ]
            found += [
                f"catalogue: dangling row in {row[0]}" for row in connection.execute("PRAGMA foreign_key_check")
            ]
            for row in connection.execute("SELECT number, id, characters, passages, text FROM documents"):
                found += _document_problems(connection, *row)
        return found

    # ---- inside -----------------------------------------------------------------------------------------------

    def _connect(self, *, writable: bool) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._file, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            if writable:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
            else:
                connection.execute("PRAGMA query_only = ON")
        except sqlite3.DatabaseError as error:
            raise DataDamaged("data_damaged", f"'{self._file}' cannot be opened: {error}.") from error
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
        except sqlite3.DatabaseError as error:
            raise DataDamaged("data_damaged", f"'{self._file}' cannot be read: {error}.") from error
        if application != _APPLICATION_ID:
            raise DataDamaged("data_damaged", f"'{self._file}' is not a catalogue.")
        if version > FORMAT:
            raise FormatNewer(
                "format_newer", f"'{self._file}' has format {version}; this version reads up to {FORMAT}."
            )

    @staticmethod
    def _is_set_up(connection: sqlite3.Connection) -> bool:
        try:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.DatabaseError as error:
            raise DataDamaged("data_damaged", f"The catalogue cannot be read: {error}.") from error
        return bool(tables)

    @staticmethod
    def _set_up(connection: sqlite3.Connection) -> None:
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {FORMAT};"  # noqa: S608
            f"{_SCHEMA} INSERT INTO meta VALUES ('generation', '0'); COMMIT;"
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect(writable=False)
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            connection.close()
            raise DataDamaged("data_damaged", f"The catalogue cannot be read: {error}.") from error
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        if self._writer is None:
            raise RuntimeError("the catalogue was opened for reading")
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    @staticmethod
    def _advance(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    @staticmethod
    def _store(connection: sqlite3.Connection, item: Prepared, collection: str) -> Document:
        raw = item.document
        row = connection.execute(
            "SELECT number, id FROM documents WHERE collection = ? AND source = ?", (collection, raw.source)
        ).fetchone()
        values = (
            raw.title,
            raw.language,
            raw.sha256,
            len(raw.text),
            len(item.cut.passages),
            json.dumps(dict(raw.metadata), ensure_ascii=False, sort_keys=True),
            raw.text,
        )
        if row is None:
            document_id = secrets.token_hex(8)
            number = connection.execute(
                "INSERT INTO documents (id, collection, source, title, language, sha256, characters, passages,"
                " metadata, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (document_id, collection, raw.source, *values),
            ).lastrowid
        else:
            number, document_id = row
            connection.execute("DELETE FROM passages WHERE document = ?", (number,))
            connection.execute(
                "UPDATE documents SET title = ?, language = ?, sha256 = ?, characters = ?, passages = ?,"
                " metadata = ?, text = ? WHERE number = ?",
                (*values, number),
            )
        first_sentence = 0
        for index, (passage, sentences) in enumerate(zip(item.cut.passages, item.cut.sentences, strict=True)):
            passage_id = connection.execute(
                "INSERT INTO passages (document, first, last, vector) VALUES (?, ?, ?, ?)",
                (number, passage.start, passage.end, _blob(item.passages.vectors[index])),
            ).lastrowid
            if item.passages.tokens:
                states = item.passages.tokens[index]
                connection.execute(
                    "INSERT INTO token_states VALUES (?, ?, ?, ?)",
                    (passage_id, len(states.starts), states.codes.tobytes(), states.starts.astype("<u2").tobytes()),
                )
            connection.executemany(
                "INSERT INTO sentences (passage, first, last, vector) VALUES (?, ?, ?, ?)",
                [
                    (passage_id, sentence.start, sentence.end, _blob(item.sentence_vectors[first_sentence + i]))
                    for i, sentence in enumerate(sentences)
                ],
            )
            first_sentence += len(sentences)
        return Document(
            document_id,
            collection,
            raw.source,
            raw.title,
            raw.language,
            raw.sha256,
            len(raw.text),
            len(item.cut.passages),
            dict(raw.metadata),
        )


def _generation(connection: sqlite3.Connection) -> int:
    (value,) = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    return int(value)


def _document(row: Sequence[object]) -> Document:
    id_, collection, source, title, language, sha256, characters, passages, metadata, *_ = row
    return Document(
        str(id_),
        str(collection),
        str(source),
        str(title),
        str(language),
        str(sha256),
        int(str(characters)),
        int(str(passages)),
        json.loads(str(metadata)),
    )


def _blob(vector: Vectors) -> bytes:
    return np.ascontiguousarray(vector, "<f4").tobytes()


def _stack(blobs: Iterable[bytes]) -> Vectors:
    rows = list(blobs)
    if not rows:
        return np.empty((0, 0), np.float32)
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1).astype(np.float32, copy=False)


def _conditions(filters: Filters) -> tuple[list[str], list[Scalar]]:
    """Compile filters to SQL conditions with their values; no text of the caller becomes SQL."""
    conditions: list[str] = []
    values: list[Scalar] = []
    for field, wanted in filters.items():
        if not _can_be_stored(field):
            raise FilterRejected("filter_invalid", "A filter's field is not valid text.")
        choices: list[Scalar] = list(wanted) if isinstance(wanted, list | tuple) else [wanted]  # type: ignore[list-item]
        if not choices or not all(map(_can_be_stored, choices)):
            raise FilterRejected("filter_invalid", f"The filter '{field}' needs one value or a list of values.")
        marks = ", ".join("?" * len(choices))
        if field in _FILTER_COLUMNS:
            conditions.append(f"{_FILTER_COLUMNS[field]} IN ({marks})")
        elif field.startswith("metadata.") and len(field) > len("metadata."):
            conditions.append(f"EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value IN ({marks}))")  # noqa: S608
            values.append(field.removeprefix("metadata."))
        else:
            raise FilterRejected("filter_invalid", f"There is no field '{field}' to filter on.")
        values += choices
    return conditions, values


def _can_be_stored(value: object) -> bool:
    """Say whether SQLite can hold a value: whole characters, 64 bits, finite."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _document_problems(
    connection: sqlite3.Connection, number: int, id_: str, characters: int, passages: int, text: str
) -> Iterator[str]:
    if len(text) != characters:
        yield f"document {id_}: {len(text)} characters stored, {characters} recorded"
    spans = connection.execute(
        "SELECT id, first, last FROM passages WHERE document = ? ORDER BY id", (number,)
    ).fetchall()
    if len(spans) != passages:
        yield f"document {id_}: {len(spans)} passages stored, {passages} recorded"
    end = 0
    for id_passage, first, last in spans:
        if not end <= first < last <= len(text):
            yield f"document {id_}: passage {id_passage} lies outside its text or over another"
        end = last
        for sentence, start, stop in connection.execute(
            "SELECT id, first, last FROM sentences WHERE passage = ?", (id_passage,)
        ):
            if not first <= start < stop <= last:
                yield f"document {id_}: sentence {sentence} lies outside its passage"
