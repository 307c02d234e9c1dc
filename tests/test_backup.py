"""Backup and restore as people use them, and what becomes of backups that somebody has tampered with.

A hostile backup must be refused by name, or hold nothing but documents; either way nothing outside the new data
folder is touched, and nothing is left behind that opens as if it were whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import Library, document_from_text, rows
from index.backup import MANIFEST, back_up, restore
from index.catalogue_file import FILE_NAME
from index.catalogue_schema import FORMAT, write_meta
from index.errors import BackupRefused, DataDamaged, DataFolderMissing, FormatNewer, FundstelleError
from tests.conftest import ROOT, TEXTS
from tests.tiny import TinyEncoder

REFUSALS = (BackupRefused, DataDamaged, FormatNewer)
DEEP = "[" * 5000 + "]" * 5000


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of three documents, one of them updated, beside one that was deleted."""
    room = tmp_path_factory.mktemp("pristine")
    with Library(room / "data", TinyEncoder(), writable=True) as library:
        for source, text in TEXTS.items():
            library.add([document_from_text(source, text, metadata={"year": 1900})])
        library.add([document_from_text("bridge.txt", "The bridge is open again.")])
        (added,) = library.add([document_from_text("gone.txt", "Nobody may read this.")])
        library.delete(added.document.id)
    back_up(room / "data", room / "backup")
    return room / "backup"


@pytest.fixture
def backup(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the backup to tamper with."""
    return shutil.copytree(pristine, tmp_path / "backup")


def texts_of(folder: Path) -> dict[str, str]:
    with Library(folder, TinyEncoder(), writable=True) as library:
        assert library.problems() == []
        documents, following = library.documents(100)
        assert following is None
        for document in documents:
            assert library.search(document.source.removesuffix(".txt"), 10).hits
        return {document.source: library.text(document.id) for document in documents}


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return everything below a folder: kind, size, content, or where a link leads."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest() if state.st_size < 2**24 else state.st_size
        found[str(path.relative_to(folder))] = (state.st_mode, state.st_nlink, content)
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def attempt(backup: Path, data: Path) -> FundstelleError | None:
    """Restore, see that nothing else was touched; return the refusal if there was one."""
    before, files = snapshot(data.parent), open_files()
    try:
        restore(backup, data)
    except REFUSALS as error:
        assert snapshot(data.parent) == before, "something was written although the backup was refused"
        assert open_files() == files, "a file was left open"
        return error
    after = snapshot(data.parent)
    own = {name for name in after if name == data.name or name.startswith(f"{data.name}/")}
    assert {name: state for name, state in after.items() if name not in own} == before
    assert own == {data.name, f"{data.name}/{FILE_NAME}"}
    return None


def refused(backup: Path, data: Path) -> None:
    assert attempt(backup, data) is not None, "a backup that was tampered with was restored"


# ---- as people use it ---------------------------------------------------------------------------------------------


def test_a_backup_brings_back_every_document(library: Library, tmp_path: Path) -> None:
    expected = {source: library.text(document.id) for source in TEXTS if (document := library.find_source(source))}
    manifest = back_up(library.folder, tmp_path / "backup")
    assert manifest.generation == library.generation
    library.add([document_from_text("late.txt", "This comes too late.")])
    assert restore(tmp_path / "backup", tmp_path / "restored") == manifest
    assert texts_of(tmp_path / "restored") == expected


def test_ids_and_the_past_come_back_too(library: Library, tmp_path: Path) -> None:
    before = library.find_source("bridge.txt")
    number = library.generation
    library.add([document_from_text("bridge.txt", "The tunnel opens in May.")])
    back_up(library.folder, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    with Library(tmp_path / "restored", TinyEncoder(), writable=False) as restored:
        now = restored.find_source("bridge.txt")
        assert before and now and now.id == before.id
        with restored.view(as_of=number) as view:
            assert view.text(now.id) == TEXTS["bridge.txt"]


def test_a_deleted_document_is_not_in_the_backup(pristine: Path) -> None:
    assert b"Nobody may read" not in (pristine / FILE_NAME).read_bytes()


def test_an_empty_library_has_a_backup(open_library: Callable[..., Library], tmp_path: Path) -> None:
    back_up(open_library().folder, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert texts_of(tmp_path / "restored") == {}


def test_a_backup_is_two_files_and_can_be_restored_again(backup: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in backup.iterdir()) == sorted([FILE_NAME, MANIFEST])
    for name in ("one", "two"):
        assert attempt(backup, tmp_path / name) is None
    assert texts_of(tmp_path / "one") == texts_of(tmp_path / "two")


def test_an_empty_folder_is_taken_and_missing_parents_are_made(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    restore(backup, tmp_path / "empty")
    restore(backup, tmp_path / "a" / "b" / "c")
    assert texts_of(tmp_path / "empty") == texts_of(tmp_path / "a" / "b" / "c")


def test_the_folder_one_stands_in(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    restore(backup, Path())
    assert len(texts_of(tmp_path / "here")) == len(TEXTS)


def test_what_an_earlier_try_left_is_in_nobodys_way(library: Library, tmp_path: Path) -> None:
    """A kill leaves a scratch folder; the next try must not be confused by it."""
    for name in (".backup.unfinished", ".restored.unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE_NAME).write_bytes(b"half")
    back_up(library.folder, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert texts_of(tmp_path / "restored") == TEXTS


@pytest.mark.parametrize("there", ["folder", "full folder", "file", "link", "dangling link", "pipe"])
def test_a_backup_overwrites_nothing(library: Library, tmp_path: Path, there: str) -> None:
    target = tmp_path / "backup"
    put(there, target)
    before = snapshot(tmp_path)
    with pytest.raises(BackupRefused) as error:
        back_up(library.folder, target)
    assert error.value.code == "backup_target"
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("there", ["full folder", "file", "link", "dangling link", "pipe", "data"])
def test_a_restore_overwrites_nothing(backup: Path, tmp_path: Path, there: str) -> None:
    data = tmp_path / "restored"
    put(there, data)
    before = snapshot(tmp_path)
    with pytest.raises(BackupRefused) as error:
        restore(backup, data)
    assert error.value.code == "backup_target"
    assert snapshot(tmp_path) == before


def put(kind: str, path: Path) -> None:
    """Put something in the way."""
    if kind in {"folder", "full folder"}:
        path.mkdir()
    if kind == "full folder":
        (path / "letter.txt").write_text("Dear reader")
    elif kind == "file":
        path.touch()
    elif kind == "link":
        (path.parent / "elsewhere").mkdir()
        path.symlink_to(path.parent / "elsewhere")
    elif kind == "dangling link":
        path.symlink_to(path.parent / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "data":
        with Library(path, TinyEncoder(), writable=True):
            pass


def test_two_backups_to_one_folder_at_the_same_time(library: Library, tmp_path: Path) -> None:
    """As when a job overtakes the one before it: whoever is told that the backup is made can rely on it."""
    with ThreadPoolExecutor(2) as pool:
        for number in range(5):
            target = tmp_path / f"backup-{number}"
            tries = [pool.submit(back_up, library.folder, target) for _ in range(2)]
            errors = [error for each in tries if (error := each.exception())]
            assert all(isinstance(error, BackupRefused) for error in errors), errors
            assert len(errors) == 1
            assert attempt(target, tmp_path / f"restored-{number}") is None


@pytest.mark.parametrize("name", ["file/below", "x" * 300])
def test_targets_that_cannot_be_made(library: Library, backup: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    before = snapshot(tmp_path)
    with pytest.raises(BackupRefused):
        back_up(library.folder, tmp_path / name)
    with pytest.raises(BackupRefused):
        restore(backup, tmp_path / name)
    assert snapshot(tmp_path) == before


def test_a_backup_may_not_lie_inside_the_data_or_the_data_inside_the_backup(
    library: Library, backup: Path, tmp_path: Path
) -> None:
    """The index's folder is cleared of strangers; and a backup with a folder in it is none any more."""
    before = snapshot(tmp_path)
    for target in (library.folder / "backup", library.folder / "index" / "backup"):
        with pytest.raises(BackupRefused):
            back_up(library.folder, target)
    with pytest.raises(BackupRefused):
        restore(backup, backup / "data")
    assert snapshot(tmp_path) == before


def test_there_must_be_something_to_back_up(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        with pytest.raises(DataFolderMissing):
            back_up(tmp_path / name, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("harm", ["garbage", "flipped", "other"])
def test_damaged_data_is_not_backed_up(library: Library, tmp_path: Path, harm: str) -> None:
    """A backup of damaged data would be taken for a good one until it is needed."""
    library.close()
    file = library.folder / FILE_NAME
    if harm == "garbage":
        file.write_bytes(b"not a database, but long enough to be read as one" * 400)
    elif harm == "flipped":
        data = bytearray(file.read_bytes())
        place = data.index(b"four million")
        data[place] ^= 1
        file.write_bytes(data)
    else:
        file.unlink()
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE letters (text)")
        connection.close()
    with pytest.raises(REFUSALS):
        back_up(library.folder, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


# ---- hostile backups: the folder ----------------------------------------------------------------------------------


def link_to_copy(file: Path) -> None:
    outside = file.parent.parent / f"outside-{file.name}"
    file.rename(outside)
    file.symlink_to(outside)


def hard_link(file: Path) -> None:
    (file.parent.parent / f"outside-{file.name}").hardlink_to(file)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(file: Path) -> None:
        file.unlink()
        make(file)

    return replace


def listen(file: Path) -> None:
    here = Path.cwd()
    os.chdir(file.parent)  # the path of a socket may have 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(file.name)
    finally:
        os.chdir(here)


def device(file: Path) -> None:
    try:
        os.mknod(file, 0o20666, os.makedev(1, 5))  # /dev/zero: reading it never ends
    except PermissionError:
        pytest.skip("only root may make a device")


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 10)


def append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


FILE_HARMS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut short": cut_short,
    "longer": append,
    "sparse": lambda file: os.truncate(file, 2**40),
    "a link to what it was": link_to_copy,
    "a hard link": hard_link,
    "a link to passwd": replaced(lambda file: file.symlink_to("/etc/passwd")),
    "a link upwards": replaced(lambda file: file.symlink_to("../../../../../../etc/hosts")),
    "a link to itself": replaced(lambda file: file.symlink_to(file.name)),
    "a link to nothing": replaced(lambda file: file.symlink_to("nowhere")),
    "a link to zeros": replaced(lambda file: file.symlink_to("/dev/zero")),
    "a link to a folder": replaced(lambda file: file.symlink_to("..")),
    "a folder": replaced(Path.mkdir),
    "a pipe": replaced(os.mkfifo),
    "a socket": replaced(listen),
    "a device": replaced(device),
    "renamed": lambda file: file.rename(file.with_suffix(".old")),
    "in capitals": lambda file: file.rename(file.with_name(file.name.upper())),
}


@pytest.mark.parametrize("name", [FILE_NAME, MANIFEST])
@pytest.mark.parametrize("harm", FILE_HARMS)
def test_a_file_that_is_not_what_it_was(backup: Path, tmp_path: Path, name: str, harm: str) -> None:
    FILE_HARMS[harm](backup / name)
    refused(backup, tmp_path / "restored")


STRANGERS = [
    "notes.txt",
    ".hidden",
    "lock",
    "index/",
    f"{FILE_NAME}-wal",
    f"{FILE_NAME}-shm",
    f"{FILE_NAME}-journal",
    "index",
    "a link",
    "a\nb",
    "\udcff",
]


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_among_the_files(backup: Path, tmp_path: Path, name: str) -> None:
    if name.endswith("/"):
        (backup / name).mkdir()
    elif name == "a link":
        (backup / name).symlink_to("/etc/passwd")
    else:
        (backup / name).write_bytes(b"stranger")
    refused(backup, tmp_path / "restored")


def link_once(real: Path, named: Path) -> None:
    named.symlink_to(real)


def link_twice(real: Path, named: Path) -> None:
    (named.parent / "between").symlink_to(real)
    named.symlink_to("between")


def wrap(real: Path, named: Path) -> None:
    named.mkdir()
    real.rename(named / "backup")


FOLDER_HARMS: dict[str, Callable[[Path, Path], object]] = {
    "absent": lambda real, named: None,
    "a link": link_once,
    "a link to a link": link_twice,
    "a file": lambda real, named: named.write_bytes((real / FILE_NAME).read_bytes()),
    "a pipe": lambda real, named: os.mkfifo(named),
    "empty": lambda real, named: named.mkdir(),
    "one level too high": wrap,
}


@pytest.mark.parametrize("harm", FOLDER_HARMS)
def test_a_folder_that_is_no_backup(backup: Path, tmp_path: Path, harm: str) -> None:
    named = tmp_path / "named"
    FOLDER_HARMS[harm](backup, named)
    refused(named, tmp_path / "restored")


def test_a_live_data_folder_is_no_backup(library: Library, tmp_path: Path) -> None:
    refused(library.folder, tmp_path / "restored")


# ---- hostile backups: the manifest --------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**63,
    2**200,
    float("nan"),
    "",
    "../../etc/passwd",
    "/etc/passwd",
    "fundstelle.db\0",
    "\ud800",
    "1",
    [],
    {},
    ["fundstelle.db"],
    {"$ref": "file:" + "///etc/passwd"},
)
FIELDS = ("kind", "version", "format", "generation", "bytes", "sha256")
STRANGE_FIELDS = ("path", "name", "files", "index", "__class__", "", "../x")


def changed(backup: Path, change: Mapping[str, Any]) -> None:
    manifest = json.loads((backup / MANIFEST).read_text())
    (backup / MANIFEST).write_text(json.dumps({**manifest, **change}))


@pytest.mark.parametrize("field", FIELDS)
def test_a_manifest_with_another_value(pristine: Path, tmp_path: Path, field: str) -> None:
    manifest = json.loads((pristine / MANIFEST).read_text())
    near = [manifest[field] + 1, manifest[field] - 1, str(manifest[field])] if field in FIELDS[1:5] else []
    for number, value in enumerate([*VALUES, *near]):
        backup = shutil.copytree(pristine, tmp_path / f"backup-{number}")
        changed(backup, {field: value})
        refused(backup, tmp_path / "restored")


@pytest.mark.parametrize("field", FIELDS)
def test_a_manifest_without_a_field(backup: Path, tmp_path: Path, field: str) -> None:
    manifest = json.loads((backup / MANIFEST).read_text())
    del manifest[field]
    (backup / MANIFEST).write_text(json.dumps(manifest))
    refused(backup, tmp_path / "restored")


@pytest.mark.parametrize("field", STRANGE_FIELDS)
def test_a_manifest_with_a_field_too_many(backup: Path, tmp_path: Path, field: str) -> None:
    changed(backup, {field: "../../outside"})
    refused(backup, tmp_path / "restored")


MANIFESTS: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n",
    "zeros": bytes(1000),
    "no JSON": b"kind: fundstelle backup",
    "half": b'{"kind": "fundstelle backup", "version"',
    "null": b"null",
    "a number": b"7",
    "a text": b'"fundstelle backup"',
    "a list": b"[]",
    "a list of one": b"[{}]",
    "an empty object": b"{}",
    "deep lists": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep and open": b"[" * 60_000,
    "a long number": b'{"version": ' + b"9" * 50_000 + b"}",
    "huge": b'{"kind": "' + b"x" * 10**7 + b'"}',
    "no text": b"\xff\xfe\xfd\xfc" * 10,
    "half a character": b'{"kind": "\xc3"}',
    "infinity": b'{"bytes": Infinity}',
    "a program": b"__import__('os').system('touch owned')",
    "YAML": b"!!python/object/apply:os.system ['touch owned']",
    "a pickle": b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93.",
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_that_is_none(backup: Path, tmp_path: Path, kind: str) -> None:
    (backup / MANIFEST).write_bytes(MANIFESTS[kind])
    refused(backup, tmp_path / "restored")


# ---- hostile backups: the database, described by its own true hash ------------------------------------------------


def described(backup: Path) -> None:
    """Write a manifest with the hash of what is there now, as anyone can."""
    data = (backup / FILE_NAME).read_bytes()
    changed(backup, {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})


def execute(backup: Path, script: str) -> None:
    connection = sqlite3.connect(backup / FILE_NAME, isolation_level=None)
    connection.executescript(script)
    connection.close()
    described(backup)


OTHER_TABLES = {
    "another application": "PRAGMA application_id = 1",
    "no application": "PRAGMA application_id = 0",
    "a newer format": f"PRAGMA user_version = {FORMAT + 1}",
    "a far newer format": "PRAGMA user_version = 2147483647",
    "an older format": "PRAGMA user_version = 1",
    "no format": "PRAGMA user_version = 0",
    "a negative format": "PRAGMA user_version = -1",
    "a table": "CREATE TABLE extra (x)",
    "a virtual table": "CREATE VIRTUAL TABLE extra USING fts5 (x)",
    "a view": "CREATE VIEW extra AS SELECT * FROM documents",
    "a view of a file": "CREATE VIEW extra AS SELECT load_extension('/tmp/evil.so')",
    "a view instead": "DROP TABLE history; CREATE VIEW history AS SELECT 1 AS number, load_extension('/tmp/evil.so')",
    "a trigger": "CREATE TRIGGER extra AFTER INSERT ON documents BEGIN DELETE FROM texts; END",
    "a trigger on deletes": "CREATE TRIGGER extra BEFORE DELETE ON documents BEGIN SELECT raise(IGNORE); END",
    "an index": "CREATE INDEX extra ON documents (source)",
    "an index by a function": "CREATE INDEX extra ON documents (hex(source))",
    "a column": "ALTER TABLE documents ADD COLUMN extra TEXT DEFAULT 'x'",
    "a computed column": "ALTER TABLE documents ADD COLUMN extra TEXT AS (upper(source))",
    "a table less": "DROP TABLE token_states",
    "an index less": "DROP INDEX versions_by_document",
    "no tables": "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema",
    "a table without rules": "DROP TABLE texts; CREATE TABLE texts (version, text, original)",
    "a name changed": "ALTER TABLE history RENAME TO past",
    "rows without owners": "PRAGMA foreign_keys = OFF; DELETE FROM documents",
    "texts gone": "PRAGMA foreign_keys = OFF; DELETE FROM texts",
    "no generation": "DELETE FROM meta WHERE key = 'generation'",
    "another generation": "UPDATE meta SET value = 5 WHERE key = 'generation'",
    "no meta": "DELETE FROM meta",
    "a text": "UPDATE texts SET text = 'The moon is made of cheese.' WHERE version = 1",
    "a title": "UPDATE versions SET title = 'x'",
    "a vector": "UPDATE contents SET vector = zeroblob(length(vector))",
    "a document without text": "INSERT INTO documents VALUES (99, 'x', 'default', 'x.txt', '')",
}


@pytest.mark.parametrize("harm", OTHER_TABLES)
def test_a_database_that_is_not_ours(backup: Path, tmp_path: Path, harm: str) -> None:
    execute(backup, OTHER_TABLES[harm])
    error = attempt(backup, tmp_path / "restored")
    assert error is not None
    if "newer" in harm:
        assert isinstance(error, FormatNewer)


def test_a_database_in_wal_mode_is_harmless(backup: Path, tmp_path: Path) -> None:
    execute(backup, "PRAGMA journal_mode = WAL")
    assert attempt(backup, tmp_path / "restored") is None
    assert len(texts_of(tmp_path / "restored")) == len(TEXTS)


FORGERIES = {
    "a generation of letters": "UPDATE meta SET value = 'abc' WHERE key = 'generation'",
    "a negative generation": "UPDATE meta SET value = '-1' WHERE key = 'generation'",
    "a generation too large": "UPDATE meta SET value = '1000000000000000000000' WHERE key = 'generation'",
    "an oldest of letters": "UPDATE meta SET value = 'abc' WHERE key = 'oldest'",
    "an oldest in the future": "UPDATE meta SET value = '99' WHERE key = 'oldest'",
    "a model of letters": "UPDATE meta SET value = 'abc' WHERE key = 'model'",
    "another model": "UPDATE meta SET value = '77' WHERE key = 'model'",
    "a dimension of nothing": "UPDATE models SET dimension = 0",
    "a negative dimension": "UPDATE models SET dimension = -1",
    "a dimension too large": "UPDATE models SET dimension = 9223372036854775807",
    "a sum of letters": "UPDATE models SET id_sum = 'abc'",
    "metadata that are none": "UPDATE versions SET metadata = 'no json'",
    "metadata as a list": "UPDATE versions SET metadata = '[1, 2]'",
    "metadata as a number": "UPDATE versions SET metadata = '7'",
    "deep metadata": f"UPDATE versions SET metadata = '{DEEP}'",  # noqa: S608
    "metadata in metadata": """UPDATE versions SET metadata = '{"a": {"b": [1]}}'""",
    "a path as a name": "UPDATE documents SET source = '../../../etc/passwd' || number",
    "control characters in a name": "UPDATE documents SET source = char(27, 10, 0) || number",
    "an empty id": "UPDATE documents SET id = '' WHERE number = 1",
    "an id of another kind": "UPDATE documents SET id = '../' || id",
    "a language that is none": "UPDATE versions SET language = '../../x'",
    "an empty text": "UPDATE texts SET text = ''",
    "a birth in the future": "UPDATE versions SET born = 99",
    "a birth before all time": "UPDATE versions SET born = -5",
    "a death before birth": "UPDATE versions SET died = born - 1 WHERE died IS NOT NULL",
    "everything dead": "UPDATE versions SET died = 3",
    "spans of odd length": "UPDATE contents SET sentences = x'010203'",
    "no spans": "UPDATE contents SET sentences = x''",
    "spans outside": "UPDATE contents SET sentences = x'ffffffff'",
    "a vector of odd length": "UPDATE contents SET vector = x'010203'",
    "no vector": "UPDATE contents SET vector = x''",
    "a vector of no numbers": "UPDATE contents SET vector = CAST(replace(hex(zeroblob(64)), '00', '~~') AS BLOB)",
    "a vector of zeros": "UPDATE contents SET vector = zeroblob(128)",
    "sentence vectors too many": "UPDATE contents SET sentence_vectors = zeroblob(128 * 7)",
    "states of odd length": "UPDATE token_states SET codes = x'010203'",
    "states of zeros": "UPDATE token_states SET codes = zeroblob(length(codes))",
    "states of many words": "UPDATE token_states SET tokens = 9223372036854775807",
    "states of minus one word": "UPDATE token_states SET tokens = -1",
    "starts of odd length": "UPDATE token_states SET starts = x'01'",
    "passages turned round": "UPDATE passages SET first = last, last = first",
    "a passage too long": "UPDATE passages SET last = last + 1",
    "an id too high": "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "an id too low": "UPDATE sqlite_sequence SET seq = -5",
    "counts that are wrong": "UPDATE embedded SET passages = 1000000",
    "another past": "UPDATE history SET source = 'x', sha256 = 'y'",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_row_with_a_right_checksum(backup: Path, tmp_path: Path, forgery: str) -> None:
    """Checksums tell accidents, not forgeries: what is forged is refused, or it is just another document."""
    execute(backup, "PRAGMA foreign_keys = OFF; " + FORGERIES[forgery])
    forge_checksums(backup)
    harmless(backup, tmp_path / "restored")


def forge_checksums(backup: Path) -> None:
    """Make every checksum right again, as a forger would."""
    connection = sqlite3.connect(backup / FILE_NAME, isolation_level=None)
    versions = connection.execute(
        "SELECT versions.number, text, documents.id, collection, source, born, died, title, language, sha256,"
        " characters, metadata FROM versions JOIN documents ON documents.number = document"
        " JOIN texts ON version = versions.number"
    ).fetchall()
    for number, text, *described_by, _, metadata in versions:
        values = (len(text), metadata, rows.text_digest(text))
        connection.execute(
            "UPDATE versions SET characters = ?, metadata = ?, digest = ?, checksum = ? WHERE number = ?",
            (*values, rows.checksum(*described_by, *values), number),
        )
    for table, key, columns in (
        ("passages", "id", "id, version, model, first, last, digest"),
        ("contents", "passage", "text, sentences, vector, sentence_vectors"),
        ("token_states", "passage", "passage, tokens, codes, starts"),
        ("history", "number", "number, document, collection, source, sha256, born, died"),
    ):
        for number, *values in connection.execute(f"SELECT {key}, {columns} FROM {table}").fetchall():  # noqa: S608
            check = rows.checksum(*values)
            connection.execute(f"UPDATE {table} SET checksum = ? WHERE {key} = ?", (check, number))  # noqa: S608
    write_meta(connection, {})
    connection.close()
    described(backup)


def harmless(backup: Path, data: Path) -> None:
    """See that a backup is refused, or that nothing worse happens than an error with a name."""
    if attempt(backup, data) is not None:
        return
    try:
        with np.errstate(all="ignore"), Library(data, TinyEncoder(), writable=True) as library:
            documents, _ = library.documents(100)
            for document in documents:
                library.text(document.id)
            for question in ("the bridge", "hospital"):
                hits = library.search(question, 10, filters={"metadata.year": [1900, 1901]}).hits
                assert all(np.isfinite(hit.score) for hit in hits)
            library.add([document_from_text("new.txt", "A new lighthouse shines.")])
            library.problems()
    except FundstelleError:
        pass


@pytest.mark.parametrize("seed", range(25))
def test_random_damage(pristine: Path, tmp_path: Path, seed: int) -> None:
    """Bytes changed anywhere: refused by the hash; with a forged hash by SQLite and the checksums, or harmless."""
    rng = random.Random(seed)
    for number in range(5):
        backup = shutil.copytree(pristine, tmp_path / f"backup-{number}")
        damage(backup / FILE_NAME, rng)
        refused(backup, tmp_path / "restored")
        described(backup)
        harmless(backup, tmp_path / f"restored-{number}")


def damage(file: Path, rng: random.Random) -> None:
    """Change a file at random, in such a way that it is another file afterwards."""
    before = file.read_bytes()
    while file.read_bytes() == before:
        data = bytearray(before)
        place = rng.randrange(len(data))
        kind = rng.choice(["flip", "flip", "header", "zeros", "noise", "cut", "longer", "swap"])
        if kind == "flip":
            data[place] ^= 1 << rng.randrange(8)
        elif kind == "header":
            data[rng.randrange(16, 100)] ^= 0xFF
        elif kind == "zeros":
            data[place : place + 512] = bytes(len(data[place : place + 512]))
        elif kind == "noise":
            data[place : place + 64] = rng.randbytes(len(data[place : place + 64]))
        elif kind == "cut":
            del data[place:]
        elif kind == "longer":
            data += rng.randbytes(rng.choice([1, 512, 8192]))
        else:
            one, other = (slice(8192 * page, 8192 * page + 8192) for page in rng.sample(range(len(data) // 8192), 2))
            data[one], data[other] = data[other], data[one]
        file.write_bytes(data)


# ---- null control -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["a link to what it was", "a hard link", "longer"])
def test_a_restore_that_only_copies_is_found_out(
    backup: Path, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(source: Path, target: Path) -> None:
        target.mkdir()
        shutil.copy(source / FILE_NAME, target)

    monkeypatch.setitem(globals(), "restore", careless)
    FILE_HARMS[harm](backup / FILE_NAME)
    with pytest.raises(AssertionError, match="tampered"):
        refused(backup, tmp_path / "restored")


# ---- the command line ---------------------------------------------------------------------------------------------


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_commands(library: Library, tmp_path: Path) -> None:
    """While another process (this one) has the folder open for writing."""
    target, data = tmp_path / "backup", tmp_path / "restored"
    assert f"generation {library.generation}" in run("backup", target, "--data", library.folder).stdout
    assert "backup_target" in run("backup", target, "--data", library.folder, code=1).stderr
    assert f"generation {library.generation}" in run("restore", target, "--data", data).stdout
    assert texts_of(data) == TEXTS
    append(target / FILE_NAME)
    refusal = run("restore", target, "--data", tmp_path / "other", code=1)
    assert "fundstelle: backup_refused: " in refusal.stderr
    assert "Traceback" not in refusal.stderr
    assert not (tmp_path / "other").exists()
