"""Named moments at which a crash could matter; tests end the process at each of them, production passes by.

The points lie before and after everything that makes a change durable or visible: transactions, writes, fsyncs and
renames. ``docs/durability.md`` says what holds at each.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """A moment in the life of a data folder."""

    SCHEMA_BEFORE_COMMIT = "schema.before-commit"
    SCHEMA_AFTER_COMMIT = "schema.after-commit"
    CHANGE_BEGUN = "change.begun"
    CHANGE_WRITTEN = "change.written"
    CHANGE_BEFORE_COMMIT = "change.before-commit"
    CHANGE_AFTER_COMMIT = "change.after-commit"
    PUBLISHED = "published"
    INDEX_FILE_WRITTEN = "index.file-written"
    INDEX_FILE_SYNCED = "index.file-synced"
    INDEX_BEFORE_RENAME = "index.before-rename"
    INDEX_RENAMED = "index.renamed"
    INDEX_CURRENT_WRITTEN = "index.current-written"
    INDEX_CURRENT_RENAMED = "index.current-renamed"
    INDEX_PRUNED = "index.pruned"
    MODEL_EMBEDDED = "model.embedded"
    MODEL_BEFORE_PROMOTION = "model.before-promotion"
    MODEL_PROMOTED = "model.promoted"
    BACKUP_COPIED = "backup.copied"
    BACKUP_BEFORE_RENAME = "backup.before-rename"
    BACKUP_RENAMED = "backup.renamed"
    RESTORE_COPIED = "restore.copied"
    RESTORE_BEFORE_RENAME = "restore.before-rename"
    RESTORE_RENAMED = "restore.renamed"


hook: Callable[[Point], None] | None = None
"""Called at each point; set by tests only."""


def reach(point: Point) -> None:
    """Pass a point."""
    if hook is not None:
        hook(point)
