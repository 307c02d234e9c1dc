"""A generation's base on disk: an immutable folder with a manifest, and one small file that names the newest.

    index/
      generation-00000042-1/
        passages.faiss  sentences.faiss  ids.bin
        manifest.json          catalogue, number, model, counts, recall, size and SHA-256 of each file; written last
      CURRENT                  name of the newest complete folder and SHA-256 of its manifest, replaced by rename

A folder is only believed if its manifest, every size and every hash agree, before FAISS parses a byte. Anything
else (missing, damaged, of another catalogue or model) means: build again from the catalogue.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.errors import DataDamaged
from index.faults import Point, reach
from index.folder import make_folder, sync_folder
from index.segment import Segment
from index.stored import ModelRow
from index.vectors import VectorIndex

FORMAT = 2
CURRENT = "CURRENT"
MANIFEST = "manifest.json"
_FILES = ("passages.faiss", "sentences.faiss", "ids.bin")
_MANIFEST_BYTES = 2**20
_CURRENT_LINE = re.compile(r"(?P<name>generation-\d{8,18}-\d{1,9}) (?P<sha256>[0-9a-f]{64})\n")


def save_base(folder: Path, segment: Segment, number: int, catalogue: Catalogue, model: ModelRow) -> None:
    """Write a base so that a crash at any moment leaves either the old one or the new one.

    Raises:
        OSError: if it cannot be written; what was current before still is.
    """
    make_folder(folder)
    name = _new_name(folder, number)
    scratch = folder / f".{name}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
        ids = np.stack([segment.ids, segment.sentence_counts, segment.marks]).astype("<i8").tobytes()
        files = {
            "passages.faiss": _write(scratch / "passages.faiss", segment.passages.write),
            "sentences.faiss": _write(scratch / "sentences.faiss", segment.sentences.write),
            "ids.bin": _write(scratch / "ids.bin", lambda write: write(ids)),
        }
        manifest = {
            "format": FORMAT,
            "catalogue": catalogue.identity(),
            "number": number,
            "model": model.fingerprint,
            "dimension": model.dimension,
            "passages": len(segment),
            "sentences": len(segment.sentences),
            "recall": [segment.passages.recall, segment.sentences.recall],
            "files": files,
        }
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        described = _write(scratch / MANIFEST, lambda write: write(text.encode()))
        sync_folder(scratch)
        reach(Point.INDEX_BEFORE_RENAME)
        scratch.rename(folder / name)
        sync_folder(folder)
        reach(Point.INDEX_RENAMED)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    replace_file(folder / CURRENT, f"{name} {described['sha256']}\n".encode())
    prune(folder, name)


def load_base(folder: Path, catalogue: Catalogue, model: ModelRow) -> tuple[Segment, int]:
    """Read the current base and the generation it was built at.

    Raises:
        DataDamaged: if there is none, or it is foreign or damaged; the message says which.
    """
    try:
        current = _CURRENT_LINE.fullmatch(_read_small(folder / CURRENT, 256).decode("ascii"))
        if current is None:
            raise DataDamaged("data_damaged", "The name of the current index is damaged.")
        name = current["name"]
        described = _read_small(folder / name / MANIFEST, _MANIFEST_BYTES)
        if hashlib.sha256(described).hexdigest() != current["sha256"]:
            raise DataDamaged("data_damaged", "The manifest of the index is damaged.")
        manifest = json.loads(described)
        expected = _expected_files(manifest, catalogue, model, name)
        with _verified(folder / name, expected) as streams:
            segment = _segment(manifest, streams)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataDamaged("data_damaged", f"There is no complete index ({type(error).__name__}).") from error
    return segment, int(manifest["number"])


def _new_name(folder: Path, number: int) -> str:
    """Return a name that no folder has, so that the current one stays whole until another is."""
    taken = {entry.name for entry in folder.iterdir()}
    return next(name for name in (f"generation-{number:08d}-{n}" for n in count(1)) if name not in taken)


def prune(folder: Path, current: str) -> None:
    """Remove what crashes left, and all folders but the current one."""
    for entry in folder.iterdir():
        if entry.name != current and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
    (folder / f".{CURRENT}").unlink(missing_ok=True)
    reach(Point.INDEX_PRUNED)


def replace_file(file: Path, data: bytes) -> None:
    """Replace a small file in one step that a crash leaves done or undone."""
    scratch = file.with_name(f".{file.name}")
    write_durably(scratch, data)
    reach(Point.INDEX_CURRENT_WRITTEN)
    scratch.rename(file)
    sync_folder(file.parent)
    reach(Point.INDEX_CURRENT_RENAMED)


def write_durably(file: Path, data: bytes) -> None:
    """Write a new file and see it onto the disk."""
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _write(file: Path, produce: Callable[[Callable[[bytes], object]], object]) -> dict[str, object]:
    """Write what ``produce`` hands over and see it onto the disk; return its size and hash."""
    digest, size = hashlib.sha256(), 0

    with file.open("wb") as stream:

        def write(data: bytes) -> int:
            nonlocal size
            stream.write(data)
            digest.update(data)
            size += len(data)
            return len(data)

        produce(write)
        stream.flush()
        reach(Point.INDEX_FILE_WRITTEN)
        os.fsync(stream.fileno())
    reach(Point.INDEX_FILE_SYNCED)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _expected_files(manifest: Any, catalogue: Catalogue, model: ModelRow, name: str) -> dict[str, Any]:
    if not isinstance(manifest, Mapping) or manifest.get("format") != FORMAT:
        raise DataDamaged("data_damaged", "The index has another format.")
    wanted = {
        "catalogue": catalogue.identity(),
        "model": model.fingerprint,
        "dimension": model.dimension,
        "number": int(name.split("-")[1]),
    }
    if any(manifest.get(key) != value for key, value in wanted.items()):
        raise DataDamaged("data_damaged", "The index is of another catalogue, another model or another generation.")
    if manifest["number"] > catalogue.generation():
        raise DataDamaged("data_damaged", "The index is newer than the catalogue.")
    files = dict(manifest["files"])
    if set(files) != set(_FILES):
        raise DataDamaged("data_damaged", "The index has other files than it should.")
    return files


@contextmanager
def _verified(folder: Path, expected: Mapping[str, Any]) -> Iterator[dict[str, BinaryIO]]:
    """Open the files once all of their hashes are seen to be right."""
    streams: dict[str, BinaryIO] = {}
    try:
        for file, described in expected.items():
            streams[file] = stream = _open_regular(folder / file)
            found = {"bytes": os.fstat(stream.fileno()).st_size, "sha256": _hash(stream)}
            if found != described:
                raise DataDamaged("data_damaged", f"The index file '{file}' is damaged.")
            stream.seek(0)
        yield streams
    finally:
        for stream in streams.values():
            stream.close()


def _hash(stream: BinaryIO) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _segment(manifest: Mapping[str, Any], streams: Mapping[str, BinaryIO]) -> Segment:
    ids: NDArray[np.int64] = np.frombuffer(streams["ids.bin"].read(), "<i8").reshape(3, -1).astype(np.int64)
    recalls = manifest["recall"]
    passages, sentences = (
        _with_recall(VectorIndex.read(streams[f"{name}.faiss"]), recall)
        for name, recall in zip(("passages", "sentences"), recalls, strict=True)
    )
    counts = (len(passages), len(sentences), ids.shape[1], int(ids[1].sum()))
    wanted = (manifest["passages"], manifest["sentences"], manifest["passages"], manifest["sentences"])
    sizes = {index.dimension for index in (passages, sentences)}
    if counts != wanted or sizes != {manifest["dimension"]} or not (np.diff(ids[0]) > 0).all():
        raise DataDamaged("data_damaged", "The index does not hold what its manifest says.")
    return Segment(ids[0], ids[1], ids[2], passages, sentences)


def _with_recall(index: VectorIndex, recall: float | None) -> VectorIndex:
    return index if recall is None else index.with_recall(recall)


def _open_regular(file: Path) -> BinaryIO:
    """Open a file that must be one: not a link, a pipe or a device."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return os.fdopen(descriptor, "rb")


def _read_small(file: Path, limit: int) -> bytes:
    with _open_regular(file) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ValueError("larger than it can be")
    return data
