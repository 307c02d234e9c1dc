"""The SQLite file under the catalogue: connections, transactions, and what happens when the disk fails.

One connection writes, any number read. A change is one transaction, on the disk when it returns (write-ahead log,
``synchronous=FULL``). After an error of the disk nothing is tried twice on the same connection, since an fsync that
failed once may lie the second time (PostgreSQL's "fsyncgate"): the connection is dropped, and the next change begins
by opening a new one and seeing a probe onto the disk.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from index import catalogue_schema as schema
from index.errors import DataDamaged, FormatNewer, FundstelleError, StorageUnavailable
from index.faults import Point, reach

FILE_NAME = "fundstelle.db"
CHECKED_BYTES = 64 * 2**20
"""A file up to this size has its structure checked whenever it is opened: some tenths of a second."""

_LOG_PAGES = 500
"""Pages of the log that are folded in at the next chance: 4 MB, so that little room is needed on a full disk."""
_IDLE = 6
"""Connections that wait for readers, each with a cache of up to 2 MB; more are closed after use."""
_PROBE_SECONDS = 0.2
_DISK = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM}
_NO_SPACE = "The disk is full."


class CatalogueFile:
    """An open catalogue file."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        """Open the file, creating it or bringing it up to date if ``writable``.

        Raises:
            DataDamaged: if it is not a catalogue, or its structure is broken.
            FormatNewer: if a newer version wrote it.
            StorageUnavailable: if the disk does not let it be opened.
        """
        self.path = folder / FILE_NAME
        self.write_problem = ""
        self._problem_code = "storage_failed"
        self._probed = 0.0
        self._writable = writable
        self._writing = threading.RLock()
        # The last one used is the next: its cache is warm, and the caches of the others stay small.
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_IDLE)
        self._writer: sqlite3.Connection | None = None
        self._closed = False
        self._temporary: sqlite3.Connection | None = None
        try:
            if writable:
                self._writer = self._connect(writable=True)
                with translated(writing=True):
                    self._prepare(self._writer)
            with self.reading() as connection:
                self._check(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every idle connection; the last one folds the write-ahead log in."""
        self._closed = True
        while not self._idle.empty():
            self._idle.get().close()
        if self._writer is not None:
            with suppress(sqlite3.Error):  # the log stays if it cannot be folded in; nothing is lost
                self._writer.close()
            self._writer = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for reading.

        Raises:
            DataDamaged: if SQLite finds the file damaged.
            StorageUnavailable: if the disk does not give what is stored.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect(writable=False)
        try:
            with translated(writing=False):
                yield connection
        except BaseException:
            connection.close()
            raise
        try:
            if self._closed:
                raise queue.Full
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Lend the writing connection for one transaction: all of it is on the disk in the end, or nothing.

        Raises:
            StorageUnavailable: if the disk is full or fails; nothing was acknowledged, and reading goes on.
            DataDamaged: if SQLite finds the file damaged.
        """
        if not self._writable:
            raise RuntimeError("the catalogue was opened for reading")
        with self._writing:
            writer = self._revived()
            try:
                with translated(writing=True):
                    writer.execute("BEGIN IMMEDIATE")
                    reach(Point.CHANGE_BEGUN)
                    yield writer
                    reach(Point.CHANGE_BEFORE_COMMIT)
                    writer.execute("COMMIT")
                    reach(Point.CHANGE_AFTER_COMMIT)
            except FundstelleError as error:
                if isinstance(error, StorageUnavailable | DataDamaged):
                    self._give_up(error)
                else:
                    self._roll_back(writer)
                raise
            except BaseException:
                self._roll_back(writer)
                raise

    def _revived(self) -> sqlite3.Connection:
        """Return the writing connection; after a failure a new one, once a probe has reached the disk."""
        if self._writer is not None:
            return self._writer
        refusal = StorageUnavailable(self._problem_code, self.write_problem)
        if time.monotonic() - self._probed < _PROBE_SECONDS:
            raise refusal
        self._probed = time.monotonic()
        connection = self._connect(writable=True)
        try:
            with translated(writing=True):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'probes'")
                connection.execute("COMMIT")
        except FundstelleError as error:
            self._drop(connection)
            raise refusal from error
        self._writer, self.write_problem = connection, ""
        return connection

    def _give_up(self, error: FundstelleError) -> None:
        """Stop writing on a connection that the disk has failed."""
        self.write_problem, self._problem_code = error.message, "storage_failed"
        if isinstance(error, StorageUnavailable):
            self._problem_code = error.code
        self._probed = time.monotonic()
        if self._writer is not None:
            self._drop(self._writer)
            self._writer = None

    @staticmethod
    def _drop(connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            connection.rollback()
        with suppress(sqlite3.Error):
            connection.close()

    def _roll_back(self, writer: sqlite3.Connection) -> None:
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
        except sqlite3.Error:
            self._give_up(StorageUnavailable("storage_failed", "A change could not be undone."))

    def _connect(self, *, writable: bool) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = None
        try:
            with translated(writing=writable):
                connection = sqlite3.connect(
                    self.path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=64
                )
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute("PRAGMA cell_size_check = ON")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA temp_store = MEMORY")
                # SQLite's own lower() knows ASCII only.
                connection.create_function("casefold", 1, str.casefold, deterministic=True)
                if writable:
                    connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")  # of a new file
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = FULL")
                    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
                    connection.execute("PRAGMA secure_delete = ON")  # what was deleted is gone from the file too
                else:
                    connection.execute("PRAGMA query_only = ON")
        except FundstelleError:
            if connection is not None:
                self._drop(connection)
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables:
            self._check_version(connection)
        schema.bring_up_to_date(connection)

    def _check(self, connection: sqlite3.Connection) -> None:
        version = self._check_version(connection)
        if version < schema.FORMAT:
            raise DataDamaged(
                "data_damaged",
                f"'{self.path}' has the old format {version} and cannot be brought up to date while it is only read.",
                "Run 'fundstelle index' or 'fundstelle serve' once; that brings it up to date.",
            )
        if self.path.stat().st_size <= CHECKED_BYTES:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
            if found != ["ok"] or connection.execute("PRAGMA foreign_key_check").fetchone():
                raise DataDamaged("data_damaged", f"'{self.path}' is damaged: {found[0]}.")
        problem = schema.schema_problem(connection)
        if problem:
            raise DataDamaged("data_damaged", f"'{self.path}' is damaged: {problem}.")

    def _check_version(self, connection: sqlite3.Connection) -> int:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != schema.APPLICATION_ID:
            raise DataDamaged("data_damaged", f"'{self.path}' is not a catalogue.")
        if version > schema.FORMAT:
            raise FormatNewer(
                "format_newer", f"'{self.path}' has format {version}; this version reads up to {schema.FORMAT}."
            )
        return int(version)


def copy_database(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Copy an open catalogue as it is at one moment, while others write to it.

    The copy is made by SQLite inside one read transaction, so writers neither wait nor make it start again.

    Args:
        source: the catalogue's file.
        target: a new file.
        progress: told pages done and pages in all.

    Raises:
        DataDamaged, StorageUnavailable: if reading or writing fails.
    """
    with translated(writing=True):
        reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=10, isolation_level=None)
        try:
            reader.execute("PRAGMA query_only = ON")
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the moment is now
            writer = sqlite3.connect(target, isolation_level=None)
            try:
                writer.execute("PRAGMA synchronous = FULL")

                def told(_status: int, remaining: int, total: int) -> None:
                    if progress is not None:
                        progress(total - remaining, total)

                reader.backup(writer, pages=2000, progress=told, sleep=0)
                writer.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
            finally:
                writer.close()
        finally:
            reader.close()


@contextmanager
def translated(*, writing: bool) -> Iterator[None]:
    """Turn SQLite's errors into the family's."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(error, writing=writing) from error
    except OSError as error:
        raise StorageUnavailable("storage_unreadable", f"The catalogue cannot be used: {error.strerror}.") from error
    except UnicodeDecodeError as error:  # from SQLite's message about a damaged name
        raise DataDamaged("data_damaged", "The catalogue cannot be read.") from error
    except MemoryError as error:
        raise StorageUnavailable("storage_failed", "There is not enough memory.") from error


def _translation(error: sqlite3.Error, *, writing: bool) -> FundstelleError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageUnavailable("storage_full", _NO_SPACE)
    if code in _DISK or code == sqlite3.SQLITE_BUSY:
        if writing:
            return StorageUnavailable("storage_failed", f"The disk refuses to write: {error}.")
        return StorageUnavailable("storage_unreadable", f"The disk refuses to read: {error}.")
    return DataDamaged("data_damaged", f"The catalogue cannot be read: {error}.")
