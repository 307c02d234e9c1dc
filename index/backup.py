"""Backups of a data folder, made while it is in use, and restored only if they are exactly what was written.

A backup is a folder of two files: the catalogue as it was at one generation, and a manifest with its size and hash.
Indexes are not part of it; they are built again. Nothing in a backup is ever used as a path.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from index.catalogue import Catalogue
from index.catalogue_file import FILE_NAME, copy_database
from index.catalogue_schema import FORMAT
from index.errors import BackupRefused, DataFolderMissing, FormatNewer, StorageUnavailable
from index.faults import Point, reach
from index.folder import LOCK, check_space, lock_folder, make_folder, sync_folder
from index.generation_files import write_durably

MANIFEST = "manifest.json"
_KIND = "fundstelle backup"
_VERSION = 1
_MANIFEST_BYTES = 2**16
_BLOCK = 2**20

Progress = Callable[[int, int], None]
"""Told how much is done and how much there is."""


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup says of itself."""

    kind: str
    version: int
    format: int
    """Of the catalogue."""
    generation: int
    """The state of the documents it holds."""
    bytes: int
    sha256: str


def back_up(data_folder: Path, target: Path, progress: Progress | None = None) -> BackupManifest:
    """Write a backup of a data folder into the new folder ``target``; others may write to the data meanwhile.

    Raises:
        DataFolderMissing: if there is no data folder.
        BackupRefused: if ``target`` exists or cannot be made.
        DataDamaged, StorageUnavailable: if the copy cannot be made or is not sound.
    """
    if not (data_folder / FILE_NAME).is_file():
        raise DataFolderMissing("data_folder_missing", f"There is no data folder at '{data_folder}'.")
    target = _free_place(target, data_folder)
    with _scratch(target) as scratch:
        copy_database(data_folder / FILE_NAME, scratch / FILE_NAME, progress)
        generation = _sound_generation(scratch)
        digest, size = _hash_and_sync(scratch / FILE_NAME)
        reach(Point.BACKUP_COPIED)
        manifest = BackupManifest(_KIND, _VERSION, FORMAT, generation, size, digest)
        write_durably(scratch / MANIFEST, (json.dumps(asdict(manifest), indent=1) + "\n").encode())
        sync_folder(scratch)
        reach(Point.BACKUP_BEFORE_RENAME)
        _move(scratch, target)
    reach(Point.BACKUP_RENAMED)
    return manifest


def restore(backup: Path, data_folder: Path, progress: Progress | None = None) -> BackupManifest:
    """Make a data folder of a backup; ``data_folder`` must not exist yet, or be empty.

    Raises:
        BackupRefused: if it is not a backup exactly as it was written, or the folder is in use for something.
        FormatNewer: if a newer version wrote it.
        DataDamaged, StorageUnavailable: if what it holds is not sound or cannot be written.
    """
    data_folder = _free_place(data_folder, backup, or_empty=True)
    with _opened(backup) as (manifest, database), _scratch(data_folder) as scratch:
        if os.fstat(database.fileno()).st_size != manifest.bytes:
            raise BackupRefused("backup_refused", "The backup's catalogue has another size than it should.")
        check_space(scratch, manifest.bytes)
        _copy(database, scratch / FILE_NAME, manifest, progress)
        reach(Point.RESTORE_COPIED)
        found = (_format_of(scratch), _sound_generation(scratch))
        if found != (manifest.format, manifest.generation):
            raise BackupRefused("backup_refused", "The backup holds another format or generation than it says.")
        sync_folder(scratch)
        reach(Point.RESTORE_BEFORE_RENAME)
        _move(scratch, data_folder)
    reach(Point.RESTORE_RENAMED)
    return manifest


def _sound_generation(folder: Path) -> int:
    """Bring a copied catalogue up to date if it is of an older format, see that it is whole; return its generation.

    Raises:
        BackupRefused: if it is not.
        FormatNewer: if a newer version wrote it.
    """
    old = _format_of(folder) < FORMAT
    descriptor = lock_folder(folder, writable=old)
    try:
        catalogue = Catalogue(folder, writable=old)
        try:
            problems = catalogue.problems()
            generation = catalogue.generation()
        finally:
            catalogue.close()
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # forged rows with right checksums
        raise BackupRefused("backup_refused", "The catalogue holds what no version has written.") from error
    finally:
        os.close(descriptor)
        for name in (LOCK, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
            (folder / name).unlink(missing_ok=True)
    if problems:
        raise BackupRefused("backup_refused", f"The catalogue is damaged: {problems[0]}.")
    return generation


def _format_of(folder: Path) -> int:
    with (folder / FILE_NAME).open("rb") as stream:
        stream.seek(_FORMAT_AT)
        return int.from_bytes(stream.read(4), "big")


def _free_place(folder: Path, apart_from: Path, *, or_empty: bool = False) -> Path:
    """Return ``folder`` as an absolute path if it can be made, and neither it nor ``apart_from`` lies in the other.

    Raises:
        BackupRefused: if not.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - links are refused, not followed
    try:
        taken = folder.is_symlink() or (folder.exists() and not (or_empty and _is_empty_folder(folder)))
        real, other = folder.resolve(), apart_from.resolve()
    except OSError as error:
        raise BackupRefused("backup_target", f"'{folder}' cannot be used: {error.strerror}.") from error
    if taken:
        raise BackupRefused("backup_target", f"'{folder}' exists already{' and is not empty' if or_empty else ''}.")
    if real.is_relative_to(other) or other.is_relative_to(real):
        raise BackupRefused("backup_target", f"'{folder}' and '{apart_from}' lie in each other.")
    return folder


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Lend an empty folder beside ``target`` to work in, and leave nothing of it if the work fails.

    It is locked while it is used, so that what killed tries left can be told from what others are working on.
    """
    try:
        make_folder(target.parent)
        _remove_abandoned(target)
        folder = Path(tempfile.mkdtemp(_UNFINISHED, f".{target.name}.", target.parent))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        message = f"'{target.parent}' cannot be written to: {error.strerror}."
        raise BackupRefused("backup_target", message) from error
    try:
        yield folder
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        code = "storage_full" if error.errno in _FULL else "storage_failed"
        raise StorageUnavailable(code, f"Writing failed: {error.strerror}.") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _remove_abandoned(target: Path) -> None:
    for entry in target.parent.iterdir():
        ours = entry.name.startswith(f".{target.name}.") and entry.name.endswith(_UNFINISHED)
        if not ours or entry.is_symlink() or not entry.is_dir():
            continue
        descriptor = os.open(entry, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


def _move(scratch: Path, target: Path) -> None:
    """Give the finished folder its name, in one step, unless somebody else was faster."""
    try:
        scratch.rename(target)  # in place of an empty folder too
    except OSError as error:
        if error.errno in _TAKEN:
            raise BackupRefused("backup_target", f"'{target}' exists already.") from error
        raise
    sync_folder(target.parent)


_FORMAT_AT = 60
"""Where an SQLite file says its user_version (https://www.sqlite.org/fileformat.html, 1.3)."""
_UNFINISHED = ".unfinished"
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def _opened(backup: Path) -> Iterator[tuple[BackupManifest, BinaryIO]]:
    """Open a backup's two files without following any link, and refuse a folder that holds anything else."""
    try:
        descriptor = os.open(backup, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise BackupRefused("backup_refused", f"'{backup}' is not a backup: {error.strerror}.") from error
    try:
        names = sorted(os.listdir(descriptor))  # noqa: PTH208 - of the open folder, not of a path
        if names != sorted((FILE_NAME, MANIFEST)):
            raise BackupRefused("backup_refused", f"'{backup}' is not a backup: it holds {len(names)} files.")
        with _regular(descriptor, MANIFEST) as stream:
            manifest = _read_manifest(stream.read(_MANIFEST_BYTES + 1))
        with _regular(descriptor, FILE_NAME) as stream:
            yield manifest, stream
    finally:
        os.close(descriptor)


def _regular(folder: int, name: str) -> BinaryIO:
    """Open a file inside an open folder that must be a file of its own: no link, no pipe, no device."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise BackupRefused("backup_refused", f"'{name}' of the backup cannot be read: {error.strerror}.") from error
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
        os.close(descriptor)
        raise BackupRefused("backup_refused", f"'{name}' of the backup is not a file of its own.")
    return os.fdopen(descriptor, "rb")


def _read_manifest(data: bytes) -> BackupManifest:
    refusal = BackupRefused("backup_refused", "The backup's manifest is damaged.")
    try:
        values = json.loads(data) if len(data) <= _MANIFEST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise refusal from error
    fields = BackupManifest.__dataclass_fields__
    if not isinstance(values, Mapping) or set(values) != set(fields):
        raise refusal
    kinds = {"kind": str, "sha256": str}
    if any(type(value) is not kinds.get(name, int) for name, value in values.items()):
        raise refusal
    manifest = BackupManifest(**values)
    if manifest.kind != _KIND or manifest.version != _VERSION or manifest.generation < 0:
        raise BackupRefused("backup_refused", "The backup is of another kind or version.")
    if manifest.format > FORMAT:
        raise FormatNewer(
            "format_newer", f"The backup has format {manifest.format}; this version reads up to {FORMAT}."
        )
    if manifest.format < 1 or manifest.bytes < 1:
        raise refusal
    return manifest


def _copy(source: BinaryIO, target: Path, manifest: BackupManifest, progress: Progress | None) -> None:
    """Copy exactly the bytes the manifest promises, or refuse."""
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as stream:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > manifest.bytes:
                break
            stream.write(block)
            digest.update(block)
            if progress is not None:
                progress(size, manifest.bytes)
        stream.flush()
        os.fsync(stream.fileno())
    if size != manifest.bytes or digest.hexdigest() != manifest.sha256:
        raise BackupRefused("backup_refused", "The backup's catalogue is not the one that was written.")


def _hash_and_sync(file: Path) -> tuple[str, int]:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return digest, stream.tell()


def _is_empty_folder(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
