"""API keys: made here, shown once, kept as hashes beside the documents.

A key is 256 random bits, so a plain SHA-256 of it cannot be guessed back and needs no salt. The file is its own
database, because keys are made and revoked while a service holds the catalogue; what changes there is seen by the
next request. Backups leave it out: a key that was revoked must not come back with an older copy.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from index.errors import KeyRejected, NotFound, StorageUnavailable
from service.access import Caller, Scope

FILE = "keys.db"
PREFIX = "fst_"
"""Every key begins so, for people and scanners to recognise a leaked one."""

_BYTES = 32
_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,62}[^\s\x00-\x1f\x7f])?\Z")
_COLLECTION = re.compile(r"[a-z0-9_-]{1,64}\Z")
_STRONG = re.compile(r"[A-Za-z0-9_-]{43,200}\Z")
_FORMAT = 1
_WAIT_SECONDS = 5.0
_TABLE = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE, scope INTEGER NOT NULL, collections TEXT,
    created TEXT NOT NULL, expires TEXT, revoked TEXT
) STRICT
"""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept, without the key itself.

    Attributes:
        id: public name of the key in lists and logs; says nothing about the key.
        collections: the ones it reaches, ``None`` for all.
        created, expires, revoked: ISO 8601, UTC.
    """

    id: str
    name: str
    scope: Scope
    collections: frozenset[str] | None
    created: str
    expires: str | None
    revoked: str | None

    def usable(self, now: str) -> bool:
        """Say whether it is neither revoked nor expired at ``now``."""
        return self.revoked is None and (self.expires is None or now < self.expires)


def utc_now() -> str:
    """Return the present time as it is stored: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class KeyRing:
    """The keys of a data folder. Safe from any thread; what another process changes is seen at once.

    Args:
        folder: the data folder; the file is made with the first key.
        clock: says what time it is.
    """

    def __init__(self, folder: Path, clock: Callable[[], str] = utc_now) -> None:
        self._file = folder / FILE
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._seen = -1
        self._by_hash: dict[bytes, ApiKey] = {}
        self._given: dict[bytes, ApiKey] = {}

    def accept(self, secret: str) -> None:
        """Let in who shows a key that was made elsewhere, as an admin, until this ring is closed.

        Raises:
            KeyRejected: if it cannot have 256 bits.
        """
        if not _STRONG.match(secret):
            message = "The setting 'api_key' needs at least 43 letters and digits; 'openssl rand -hex 32' makes some."
            raise KeyRejected("key_invalid", message)
        key = ApiKey("key_setting", "setting 'api_key'", Scope.ADMIN, None, self._clock(), None, None)
        self._given[_hash(secret)] = key

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                self._seen = -1

    def create(
        self, name: str, scope: Scope, collections: Iterable[str] | None = None, days: int | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key.

        Args:
            name: for people; need not be unique.
            scope: READ, WRITE or ADMIN; only a key for all collections may be ADMIN.
            collections: the ones it is to reach; ``None``: all.
            days: after which it expires; ``None``: never.

        Returns:
            What is kept of it, and the key, which cannot be had again.

        Raises:
            KeyRejected: if something about it cannot be.
            StorageUnavailable: if it cannot be written.
        """
        reached = None if collections is None else frozenset(collections)
        _expect(name, scope, reached, days)
        created = self._clock()
        expires = days and (datetime.fromisoformat(created) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        secret = PREFIX + secrets.token_urlsafe(_BYTES)
        key = ApiKey("key_" + secrets.token_hex(6), name, scope, reached, created, expires or None, None)
        stored = None if reached is None else ",".join(sorted(reached))
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO keys (id, name, hash, scope, collections, created, expires)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key.id, name, _hash(secret), int(scope), stored, created, key.expires),
            )
        return key, secret

    def first(self, file: Path) -> bool:
        """Make a key for all there is and write it to ``file``, which only its owner may read, unless there are keys.

        Returns:
            Whether one was made.

        Raises:
            KeyRejected: if the file is there already.
            StorageUnavailable: if it cannot be written.
        """
        if self.required():
            return False
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError as error:
            raise KeyRejected("key_invalid", f"'{file}' is there, but no key is: remove it.") from error
        except OSError as error:
            raise StorageUnavailable("storage_failed", f"'{file}' cannot be written: {error.strerror}.") from error
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            _, secret = self.create("first key", Scope.ADMIN)
            stream.write(secret + "\n")
        return True

    def revoke(self, key_id: str) -> ApiKey:
        """Make a key useless from now on.

        Raises:
            NotFound: if there is none of this id.
            StorageUnavailable: if it cannot be written.
        """
        with self._writing() as connection:
            connection.execute("UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (self._clock(), key_id))
        for key in self.listed():
            if key.id == key_id:
                return key
        raise NotFound("key_not_found", f"There is no key '{key_id}'.")

    def listed(self) -> list[ApiKey]:
        """List all keys that ever were, the oldest first.

        Raises:
            StorageUnavailable: if they cannot be read.
        """
        with self._lock:
            return list(self._present().values())

    def required(self) -> bool:
        """Say whether a key is needed: there are keys, or were; to revoke the last one opens nothing."""
        with self._lock:
            return bool(self._given) or bool(self._present())

    def usable(self) -> bool:
        """Say whether there is any key that opens something."""
        now = self._clock()
        return bool(self._given) or any(key.usable(now) for key in self.listed())

    def caller(self, secret: str) -> Caller | None:
        """Return whose key this is; ``None`` if it is nobody's, expired or revoked.

        Raises:
            StorageUnavailable: if the keys cannot be read; then nobody may be let in.
        """
        digest = _hash(secret)
        with self._lock:
            found = self._given.get(digest) or self._present().get(digest)
        # The look-up is by hash: how long it takes says nothing about any key.
        if found is None or not found.usable(self._clock()):
            return None
        return Caller(found.id, found.scope, found.collections)

    def _present(self) -> dict[bytes, ApiKey]:
        """Return the keys as they are now, reading them again only if somebody changed them."""
        if self._connection is None and not self._file.exists():
            return {}
        try:
            if self._connection is None:
                self._connection = _open(self._file)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version != self._seen:
                rows = self._connection.execute(
                    "SELECT hash, id, name, scope, collections, created, expires, revoked FROM keys ORDER BY rowid"
                )
                self._by_hash = {bytes(row[0]): _read(row[1:]) for row in rows}
                self._seen = version
        except (sqlite3.Error, ValueError) as error:
            raise StorageUnavailable("storage_unreadable", f"The keys cannot be read: {error}.") from error
        return self._by_hash

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        # A connection of its own: 'data_version' tells a connection what others changed, not what it did itself.
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(_open(self._file)) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StorageUnavailable("storage_failed", f"The keys cannot be written: {error}.") from error


def _open(file: Path) -> sqlite3.Connection:
    if not file.exists():  # nobody else may read it, not even for a moment
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(file, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in {0, _FORMAT}:
            raise sqlite3.DatabaseError(f"format {version} is unknown, {_FORMAT} was expected")
        if version == 0:
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
    except BaseException:
        connection.close()
        raise
    return connection


def _read(row: tuple[str, str, int, str | None, str, str | None, str | None]) -> ApiKey:
    key_id, name, scope, collections, created, expires, revoked = row
    reached = None if collections is None else frozenset(collections.split(","))
    return ApiKey(key_id, name, Scope(scope), reached, created, expires, revoked)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _expect(name: str, scope: Scope, collections: frozenset[str] | None, days: int | None) -> None:
    if not _NAME.match(name):
        raise KeyRejected("key_invalid", "A key's name is 1 to 64 printable characters.")
    if scope == Scope.PUBLIC:
        raise KeyRejected("key_invalid", "A key's scope is read, write or admin.")
    if collections is not None:
        if not collections or not all(map(_COLLECTION.match, collections)):
            raise KeyRejected("key_invalid", "A key's collections are lower-case names.")
        if scope == Scope.ADMIN:
            raise KeyRejected("key_invalid", "An admin sees the whole service: name no collections.")
    if days is not None and not 1 <= days <= 36_500:
        raise KeyRejected("key_invalid", "A key expires after 1 to 36,500 days.")
