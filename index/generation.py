"""A generation: the indexes over one state of the catalogue, kept in an immutable folder.

    index/
      generation-00000042/
        passages.faiss  sentences.faiss
        manifest.json          number, model, counts and SHA-256 of each file; written last
      CURRENT                  name of the newest complete folder, replaced by rename

A folder is only believed if its manifest, every size and every hash agree, before FAISS parses a byte. Anything
else (missing, stale, damaged, of another model) means: build again from the catalogue.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from index.background import Background, sample_backgrounds
from index.catalogue import Catalogue
from index.encoder import Encoder
from index.errors import DataDamaged
from index.vectors import VectorIndex

FORMAT = 1
_CURRENT = "CURRENT"
_MANIFEST = "manifest.json"
_GRANULARITIES = ("passages", "sentences")


@dataclass(frozen=True, slots=True)
class Generation:
    """The indexes of one state of the catalogue; never changed once made."""

    number: int
    fingerprint: str
    passages: VectorIndex
    sentences: VectorIndex
    backgrounds: Mapping[str, Background]
    """By language."""


def build_generation(catalogue: Catalogue, encoder: Encoder) -> Generation:
    """Build the indexes over what the catalogue holds now."""
    number, info = catalogue.generation(), encoder.info
    built = {name: VectorIndex.build(*catalogue.vectors(name), info.dimension) for name in _GRANULARITIES}
    return Generation(
        number, info.fingerprint, built["passages"], built["sentences"], sample_backgrounds(catalogue, encoder)
    )


def save_generation(folder: Path, generation: Generation) -> None:
    """Write a generation so that a crash at any moment leaves either the old one or the new one.

    Raises:
        OSError: if it cannot be written; what was current before still is.
    """
    folder.mkdir(exist_ok=True)
    name = f"generation-{generation.number:08d}"
    scratch = folder / f".{name}-{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        files = {
            "passages.faiss": generation.passages.to_bytes(),
            "sentences.faiss": generation.sentences.to_bytes(),
        }
        for file, data in files.items():
            write_durably(scratch / file, data)
        manifest = {
            "format": FORMAT,
            "number": generation.number,
            "model": generation.fingerprint,
            "dimension": generation.passages.dimension,
            "passages": len(generation.passages),
            "sentences": len(generation.sentences),
            "files": {file: {"bytes": len(data), "sha256": _sha256(data)} for file, data in files.items()},
        }
        write_durably(scratch / _MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        sync_folder(scratch)
        shutil.rmtree(folder / name, ignore_errors=True)
        scratch.rename(folder / name)
        sync_folder(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    write_durably(folder / f".{_CURRENT}", name.encode())
    (folder / f".{_CURRENT}").rename(folder / _CURRENT)
    sync_folder(folder)
    for other in folder.iterdir():
        if other.is_dir() and other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def load_generation(folder: Path, catalogue: Catalogue, encoder: Encoder) -> Generation:
    """Read the current generation; the small samples of each language are drawn from the catalogue again.

    Args:
        folder: the ``index`` folder of a data folder.
        catalogue: the truth, whose newest change the indexes must reflect.
        encoder: the model, which must be the one that built them.

    Raises:
        DataDamaged: if there is none, or it is stale, foreign or damaged; the message says which.
    """
    number, info = catalogue.generation(), encoder.info
    try:
        name = (folder / _CURRENT).read_text("ascii").strip()
        manifest = json.loads((folder / name / _MANIFEST).read_bytes())
        contents = {file: (folder / name / file).read_bytes() for file in ("passages.faiss", "sentences.faiss")}
    except (OSError, ValueError) as error:
        raise DataDamaged("data_damaged", f"There is no complete index ({type(error).__name__}).") from error
    if not isinstance(manifest, Mapping) or manifest.get("format") != FORMAT:
        raise DataDamaged("data_damaged", "The index has another format.")
    if manifest.get("number") != number or manifest.get("model") != info.fingerprint:
        raise DataDamaged("data_damaged", "The index is of another state of the catalogue or another model.")
    for file, data in contents.items():
        if manifest["files"][file] != {"bytes": len(data), "sha256": _sha256(data)}:
            raise DataDamaged("data_damaged", f"The index file '{file}' is damaged.")
    passages = VectorIndex.from_bytes(contents["passages.faiss"])
    sentences = VectorIndex.from_bytes(contents["sentences.faiss"])
    if (len(passages), len(sentences)) != (manifest["passages"], manifest["sentences"]):
        raise DataDamaged("data_damaged", "The index does not hold what its manifest says.")
    return Generation(number, info.fingerprint, passages, sentences, sample_backgrounds(catalogue, encoder))


def write_durably(file: Path, data: bytes) -> None:
    """Write a new file and see it onto the disk."""
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """See the folder's entries (new names, renames) onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
