"""A disk that is full whenever a test says so: SQLite's commits fail on it as they would on a real one."""

from __future__ import annotations

import sqlite3
from functools import partial

import pytest


class Disk:
    """What a test turns on and off; ``refused`` counts the commits that failed."""

    def __init__(self) -> None:
        self.full = False
        self.refused = 0


def install(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Let every connection that the catalogue opens from now on commit to a disk that can be full."""
    disk = Disk()

    class Connection(sqlite3.Connection):
        writing = False

        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if sql.startswith("BEGIN"):
                self.writing = sql == "BEGIN IMMEDIATE"
            if disk.full and self.writing and sql == "COMMIT":
                disk.refused += 1
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(sql, parameters)  # type: ignore[arg-type]

    monkeypatch.setattr("index.catalogue_file.sqlite3.connect", partial(sqlite3.connect, factory=Connection))
    return disk
