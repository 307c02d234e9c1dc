"""The data folder itself: who may use it, and whether there is room in it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from pathlib import Path

from index.catalogue_file import FILE_NAME
from index.errors import DataDamaged, DataFolderInUse, DataFolderMissing, StorageUnavailable

LOCK = "lock"
INDEX = "index"
_OURS = re.compile(rf"{LOCK}|{INDEX}|(keys|replies)\.db(-journal)?|first-key")
"""What may lie in a folder before there is a catalogue; keys can be made first."""


def lock_folder(folder: Path, *, writable: bool) -> int:
    """Lock the folder for this process; the kernel releases the lock when the process ends, however it ends.

    Returns:
        A descriptor; closing it gives the lock back.

    Raises:
        DataFolderMissing: if there is none (when reading), or it cannot be made.
        DataFolderInUse: if another process writes to it, or reads it while this one wants to write.
        DataDamaged: if it is a folder of something else.
    """
    if not writable and not (folder / FILE_NAME).is_file():
        raise DataFolderMissing("data_folder_missing", f"There is no data folder at '{folder}'.")
    try:
        make_folder(folder)
        strangers = [entry.name for entry in folder.iterdir() if not _OURS.fullmatch(entry.name)]
        if writable and strangers and not (folder / FILE_NAME).is_file():
            raise DataDamaged("not_a_data_folder", f"'{folder}' holds other files, such as '{strangers[0]}'.")
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DataFolderMissing(
            "data_folder_unusable", f"The data folder '{folder}' cannot be used: {error.strerror}."
        ) from error
    try:
        _expect_catalogue(folder, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if writable else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DataFolderInUse(
            "data_folder_in_use", f"Another process is using the data folder '{folder}'."
        ) from error
    return descriptor


def mark_in_use(descriptor: int) -> None:
    """Note in the lock file that there is a catalogue beside it, so that its loss is noticed."""
    if not os.fstat(descriptor).st_size:
        os.pwrite(descriptor, b"There is a catalogue beside this file.\n", 0)


def _expect_catalogue(folder: Path, descriptor: int) -> None:
    """See that a catalogue that was there still is; an empty one in its place would be all documents lost unseen.

    The lock file says so; in a copy that left it behind, an index or the catalogue's log do: both come after it.
    """
    file = folder / FILE_NAME
    if file.is_file() and file.stat().st_size:
        return
    log, index = folder / f"{FILE_NAME}-wal", folder / INDEX
    logged = log.is_file() and log.stat().st_size > 0
    if os.fstat(descriptor).st_size or logged or holds_something(index):
        raise DataDamaged("data_damaged", f"'{file}' is missing or empty, and it was not always.")


def holds_something(folder: Path) -> bool:
    """Whether there is a folder with something in it; one that cannot be listed is not believed to be empty."""
    try:
        return folder.is_dir() and any(folder.iterdir())
    except OSError:
        return True


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, so that they are there after a power cut too.

    Raises:
        OSError: if one cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """See the folder's entries (new names, renames) onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_space(folder: Path, reserve: int) -> None:
    """See that more than ``reserve`` bytes are free; what is deleted needs some room too.

    Raises:
        StorageUnavailable: ``storage_full`` if not.
    """
    if reserve and shutil.disk_usage(folder).free < reserve:
        raise StorageUnavailable("storage_full", f"Less than {reserve / 2**20:,.0f} MiB of the disk are free.")
