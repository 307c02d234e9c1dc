"""Changes that are sent again with the same key are answered again, not made again.

Who does not learn what became of a change (the connection broke, the proxy gave up) sends it again. With a key in the
header ``Idempotency-Key`` they get the first answer. Only answers of changes that were made are kept: what was
refused changed nothing and may be tried again. The file is a database of its own beside the keys; backups leave it
out.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from index.errors import StorageUnavailable
from service.refusals import ProtocolError

FILE = "replies.db"
KEPT_SECONDS = 24 * 3600.0
MOST = 2000
MOST_BYTES = 64 * 2**20
"""Of all answers together; the oldest go first."""
_KEY = re.compile(r"[\x20-\x7e]{1,255}\Z")
_FORMAT = 1
_WAIT_SECONDS = 5.0
_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    caller TEXT NOT NULL, key TEXT NOT NULL, request BLOB NOT NULL, made REAL NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT
"""

_log = logging.getLogger("fundstelle")


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was sent with a key.

    Attributes:
        caller: id of whoever sent it; keys of different callers have nothing to do with one another.
        key: as it was sent.
        request: hash of what is to be done.
    """

    caller: str
    key: str
    request: bytes


def change_of(caller: str, key: str, *parts: bytes) -> Change:
    """Return the change that ``parts`` describe: the call, then all of what it was given.

    Raises:
        ProtocolError: if ``key`` is not 1 to 255 printable characters of ASCII.
    """
    if not _KEY.match(key):
        raise ProtocolError("request_invalid", param="Idempotency-Key")
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return Change(caller, key, digest.digest())


class Replies:
    """The answers of a data folder's changes. Safe from any thread of the one process that may write there.

    Args:
        folder: the data folder; the file is made with the first key.
        clock: says what time it is, in seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = folder / FILE
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: set[tuple[str, str]] = set()

    def once(self, change: Change, make: Callable[[], bytes]) -> tuple[bytes, bool]:
        """Make a change unless it was made; return its answer, and whether that is one from before.

        Raises:
            ProtocolError: if the key stands for another change, is being worked on, or stands for a change whose
                documents have been removed since.
            StorageUnavailable: if nobody can tell whether it was made.
            Exception: whatever ``make`` raises.
        """
        name = (change.caller, change.key)
        with self._lock:
            if name in self._under_way:
                raise ProtocolError("idempotency_in_progress", {"Retry-After": "1"})
            if (kept := self._kept(change)) is not None:
                return kept, True
            self._under_way.add(name)
        try:
            body = make()
            with self._lock:
                self._keep(change, body)
        finally:
            with self._lock:
                self._under_way.discard(name)
        return body, False

    def forget(self, documents: Collection[str]) -> None:
        """Forget what answers say of documents that are removed: names, titles, metadata. That they were made stays.

        Args:
            documents: ids.
        """
        if not documents or not self._file.exists():
            return
        try:
            with self._lock, self._open() as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "UPDATE replies SET body = x'' WHERE instr(body, CAST(? AS BLOB))",
                    [(each,) for each in documents],
                )
        except StorageUnavailable as error:  # the documents are removed: say so; a day later nothing is left anyway
            _log.error("%s: %s", error.code, error.message)

    def _kept(self, change: Change) -> bytes | None:
        with self._open() as connection:
            row = connection.execute(
                "SELECT request, body FROM replies WHERE caller = ? AND key = ? AND made > ?",
                (change.caller, change.key, self._clock() - KEPT_SECONDS),
            ).fetchone()
        if row is None:
            return None
        if row[0] != change.request:
            raise ProtocolError("idempotency_conflict")
        if not row[1]:
            raise ProtocolError("idempotency_forgotten")
        return bytes(row[1])

    def _keep(self, change: Change, body: bytes) -> None:
        now = self._clock()
        try:
            with self._open() as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(
                    "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)",
                    (change.caller, change.key, change.request, now, body),
                )
                connection.execute(
                    "DELETE FROM replies WHERE made <= ? OR rowid IN (SELECT rowid FROM ("
                    "SELECT rowid, row_number() OVER newest AS place, sum(length(body)) OVER newest AS bytes"
                    " FROM replies WINDOW newest AS (ORDER BY made DESC, rowid DESC)) WHERE place > ? OR bytes > ?)",
                    (now - KEPT_SECONDS, MOST, MOST_BYTES),
                )
        except StorageUnavailable as error:  # the change is made: say so, whether or not it can be said again
            _log.error("%s: %s", error.code, error.message)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self._file.exists():  # nobody else may read it, not even for a moment
                os.close(os.open(self._file, os.O_CREAT | os.O_WRONLY, 0o600))
            with closing(sqlite3.connect(self._file, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("PRAGMA trusted_schema = OFF")
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version not in {0, _FORMAT}:
                    raise sqlite3.DatabaseError(f"format {version} is unknown, {_FORMAT} was expected")
                if version == 0:
                    connection.execute(_TABLE)
                    connection.execute(f"PRAGMA user_version = {_FORMAT}")
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StorageUnavailable("storage_failed", f"Answers to keys cannot be kept: {error}.") from error
