"""The catalogue's tables, and how older forms of them are brought up to date: forward only, in one transaction."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping

from index.errors import DataDamaged
from index.faults import Point, reach
from index.rows import checksum

FORMAT = 3
"""Version of the schema; a file with a higher one is left untouched."""

APPLICATION_ID = 0x46554E44  # "FUND"
PAGE_BYTES = 8192
"""Rows of vectors are 5 to 30 kB; smaller pages would scatter them."""

UNKNOWN_ORIGINAL = b""
"""Stands for bytes that an older version did not keep."""

SCHEMA = """
-- generation: number of the newest change; oldest: the earliest that can still be looked at; model: the one in use
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
-- id_sum: checksum of the set of ids of all passages of this model
CREATE TABLE models (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL,
    id_sum TEXT NOT NULL DEFAULT '0'
) STRICT;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    collection TEXT NOT NULL,
    source TEXT NOT NULL,
    origin TEXT NOT NULL,
    UNIQUE (collection, source)
) STRICT;
-- what a document said from one generation (born) until before another (died)
CREATE TABLE versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    born INTEGER NOT NULL,
    died INTEGER,
    title TEXT NOT NULL,
    language TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    characters INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    digest BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX versions_by_document ON versions (document, born);
CREATE INDEX versions_ended ON versions (died) WHERE died IS NOT NULL;
CREATE TABLE texts (
    version INTEGER PRIMARY KEY REFERENCES versions (number) ON DELETE CASCADE,
    text TEXT NOT NULL,
    original BLOB
) STRICT;
-- slim, because all of it is read when a data folder is opened
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER NOT NULL REFERENCES versions (number) ON DELETE CASCADE,
    model INTEGER NOT NULL REFERENCES models (number),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    digest BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX passages_by_version ON passages (version, model);
CREATE INDEX passages_by_digest ON passages (digest);
CREATE TABLE contents (
    passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    text TEXT NOT NULL,
    sentences BLOB NOT NULL,
    vector BLOB NOT NULL,
    sentence_vectors BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
-- apart, because it is five times as large as the rest of a passage and read for a few candidates only
CREATE TABLE token_states (
    passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    tokens INTEGER NOT NULL,
    codes BLOB NOT NULL,
    starts BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
-- which versions are cut and embedded for which model, and into how many passages and sentences
CREATE TABLE embedded (
    version INTEGER NOT NULL REFERENCES versions (number) ON DELETE CASCADE,
    model INTEGER NOT NULL REFERENCES models (number),
    passages INTEGER NOT NULL,
    sentences INTEGER NOT NULL,
    PRIMARY KEY (version, model)
) STRICT, WITHOUT ROWID;
-- what receipts are checked against for ever: which content stood when under which name, but no text
CREATE TABLE history (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    document TEXT NOT NULL,
    collection TEXT NOT NULL,
    source TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    born INTEGER NOT NULL,
    died INTEGER,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX history_by_document ON history (document);
"""
"""Format 2; what later formats added is added to new files in the same way, so that all of one format are alike."""

_FORMAT_3 = (
    # how a version was read: format, number of pages, version of the code
    "ALTER TABLE versions ADD COLUMN format TEXT NOT NULL DEFAULT 'text'",
    "ALTER TABLE versions ADD COLUMN pages INTEGER",
    "ALTER TABLE versions ADD COLUMN reader INTEGER NOT NULL DEFAULT 1",
    # pages, headings and paragraphs, see index.layout
    "CREATE TABLE layouts (version INTEGER PRIMARY KEY REFERENCES versions (number) ON DELETE CASCADE,"
    " layout BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT",
)


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Create the tables of a new file, or bring those of an old one to this version's form.

    Everything happens in one transaction: after a kill the file is as old as before, or new.
    """
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if tables and version == FORMAT:
        return
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if tables:
            while version < FORMAT:
                _MIGRATIONS.get(version, _unknown)(connection)
                version += 1
        else:
            create(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        reach(Point.SCHEMA_BEFORE_COMMIT)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    reach(Point.SCHEMA_AFTER_COMMIT)
    connection.execute("PRAGMA foreign_keys = ON")


def create(connection: sqlite3.Connection) -> None:
    """Make all tables, empty; ``identity`` tells this catalogue from all others."""
    create_format_2(connection)
    extend_to_3(connection)


def extend_to_3(connection: sqlite3.Connection) -> None:
    """Add to the tables of format 2 what format 3 has besides."""
    for statement in _FORMAT_3:
        connection.execute(statement)


def create_format_2(connection: sqlite3.Connection) -> None:
    """Make the tables of format 2, empty."""
    for statement in _statements():
        connection.execute(statement)
    write_meta(connection, {"generation": "0", "oldest": "0", "probes": "0", "identity": secrets.token_hex(16)})


def write_meta(connection: sqlite3.Connection, values: Mapping[str, str]) -> None:
    """Write what the catalogue says of itself, with a checksum over all of it."""
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", list(values.items())
    )
    stored = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    connection.execute(
        "INSERT INTO meta VALUES ('checksum', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (meta_checksum(stored),),
    )


def meta_checksum(values: Mapping[str, str]) -> str:
    """Return the checksum of what a catalogue says of itself; ``probes`` is written when nothing else can be."""
    return str(checksum(*(f"{key}={values[key]}" for key in sorted(values) if key not in {"checksum", "probes"})))


def schema_problem(connection: sqlite3.Connection) -> str:
    """Say how the tables differ from this version's; empty if they do not. Triggers and views are differences."""
    with sqlite3.connect(":memory:", isolation_level=None) as fresh:
        create(fresh)
        expected = _shape(fresh)
    fresh.close()
    found = _shape(connection)
    if found == expected:
        return ""
    return f"its tables are not those of format {FORMAT} ({min(found ^ expected)[1]})"


def _shape(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    return {
        (kind, name, " ".join((sql or "").split()))
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema")
        if name != "sqlite_stat1"
    }


def _statements() -> list[str]:
    lines = (line for line in SCHEMA.splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def _from_1(connection: sqlite3.Connection) -> None:
    """Format 1 kept one version of a document, in its row, and sentences in a table of their own."""
    from index.catalogue_migration import migrate_from_1

    migrate_from_1(connection)


def _from_2(connection: sqlite3.Connection) -> None:
    """Format 2 knew text and Markdown only, and nothing of their layout."""
    from index.catalogue_migration import migrate_from_2

    migrate_from_2(connection)


def _unknown(_connection: sqlite3.Connection) -> None:
    raise DataDamaged("data_damaged", "The catalogue has no format.")


_MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1, 2: _from_2}
