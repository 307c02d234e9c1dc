"""A data folder, opened: documents go in, hits come out.

Readers take one generation for the whole of a query; the writer builds the next one beside it and swaps one
reference. The folder is locked: one process may write, or several may read.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from index.build import prepare
from index.catalogue import DEFAULT_COLLECTION, FILE_NAME, Catalogue, Counts, Filters
from index.encoder import Encoder
from index.errors import DataDamaged, DataFolderInUse, DataFolderMissing
from index.generation import Generation, build_generation, load_generation, save_generation
from index.records import Document, RawDocument, SearchResult, Span
from index.search import Ranking, search

Outcome = Literal["added", "updated", "unchanged"]

_LOCK = "lock"
_INDEX = "index"


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one document that was handed in."""

    document: Document
    outcome: Outcome


class Library:
    """An open data folder. Use as a context manager; every method is safe to call from any thread."""

    def __init__(self, folder: Path, encoder: Encoder, *, writable: bool, ranking: Ranking | None = None) -> None:
        """Open the data folder, creating it if ``writable``.

        Raises:
            DataFolderMissing: if there is none (when reading), or it cannot be made.
            DataFolderInUse: if another process writes to it, or reads it while this one wants to write.
            DataDamaged, FormatNewer, ModelMismatch: if it is not a folder this version and model can use.
        """
        self.folder = folder
        self.encoder = encoder
        self._ranking = ranking
        self._writable = writable
        self._writing = threading.Lock()
        self._open = ExitStack()
        with ExitStack() as opening:
            opening.callback(os.close, _lock_folder(folder, writable=writable))
            self.catalogue = Catalogue(folder, writable=writable)
            opening.callback(self.catalogue.close)
            self.catalogue.bind_model(encoder.info)
            self.index_problem = ""
            self._generation = self._open_generation()
            self._open = opening.pop_all()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalogue and release the folder; closing twice is fine."""
        self._open.close()

    @property
    def generation(self) -> int:
        """Number of the state that searches see."""
        return self._generation.number

    # ---- documents ------------------------------------------------------------------------------------------

    def add(self, documents: Sequence[RawDocument], collection: str = DEFAULT_COLLECTION) -> list[Added]:
        """Store documents and make them searchable; when this returns, both hold and survive a crash.

        A document whose source, content, title and metadata are already stored is left as it is. If one source occurs
        twice, the last one counts.
        """
        added = self.store(documents, collection)
        self.refresh()
        return added

    def store(self, documents: Sequence[RawDocument], collection: str = DEFAULT_COLLECTION) -> list[Added]:
        """Store documents durably without making them searchable yet; :meth:`refresh` does that for many at once."""
        with self._writing:
            newest = {document.source: document for document in documents}
            known = {source: self.catalogue.find_source(source, collection) for source in newest}
            changed = [raw for raw in newest.values() if not _same(known[raw.source], raw)]
            stored = {}
            if changed:
                prepared = prepare(changed, self.encoder)
                stored = {each.source: each for each in self.catalogue.add(prepared, collection)}
        results: list[Added] = []
        for source in newest:
            before = known[source]
            if source in stored:
                results.append(Added(stored[source], "updated" if before else "added"))
            elif before:
                results.append(Added(before, "unchanged"))
        return results

    def delete(self, document_id: str) -> None:
        """Remove a document; no search that starts after this returns can find it.

        Raises:
            NotFound: if there is none of this id.
        """
        with self._writing:
            self.catalogue.delete(document_id)
        self.refresh()

    def refresh(self) -> None:
        """Bring the searchable generation up to the catalogue's newest change."""
        with self._writing:
            if self._generation.number != self.catalogue.generation():
                generation = build_generation(self.catalogue, self.encoder)
                self._generation = generation
                self._save(generation)

    # ---- questions ------------------------------------------------------------------------------------------

    def search(
        self, query: str, top_k: int = 10, collection: str = DEFAULT_COLLECTION, filters: Filters | None = None
    ) -> SearchResult:
        """Return the best passages for ``query``; see :func:`index.search.search`."""
        return search(
            query,
            top_k,
            encoder=self.encoder,
            generation=self._generation,
            catalogue=self.catalogue,
            collection=collection,
            filters=filters,
            ranking=self._ranking,
        )

    def quote(self, document_id: str, span: Span) -> str | None:
        """Return what the stored text says at ``span`` right now; ``None`` if the document is gone."""
        return self.catalogue.slice(document_id, span)

    # ---- state ----------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Count what is stored."""
        return self.catalogue.counts()

    def problems(self) -> list[str]:
        """Check catalogue and index thoroughly and say what is wrong; empty if nothing is."""
        found = self.catalogue.problems()
        if self.index_problem:
            found.append(f"index: {self.index_problem}")
        for name, index in (("passages", self._generation.passages), ("sentences", self._generation.sentences)):
            ids, _ = self.catalogue.vectors(name)
            if len(ids) != len(index):
                found.append(f"index: {len(index)} {name}, the catalogue has {len(ids)}")
        return found

    def _open_generation(self) -> Generation:
        number = self.catalogue.generation()
        try:
            return load_generation(self.folder / _INDEX, self.catalogue, self.encoder)
        except DataDamaged as problem:
            # The index is a cache: a missing or damaged one costs a rebuild, nothing else.
            self.index_problem = problem.message if number else ""
        generation = build_generation(self.catalogue, self.encoder)
        if self._writable and number:
            self._save(generation)
            self.index_problem = ""
        return generation

    def _save(self, generation: Generation) -> None:
        try:
            save_generation(self.folder / _INDEX, generation)
        except OSError as error:
            # Answers come from memory and the catalogue has everything; the next start builds the index again.
            self.index_problem = f"The index could not be saved: {error.strerror}."


def _same(known: Document | None, raw: RawDocument) -> bool:
    return known is not None and (known.sha256, known.title, dict(known.metadata), known.characters) == (
        raw.sha256,
        raw.title,
        dict(raw.metadata),
        len(raw.text),
    )


def _lock_folder(folder: Path, *, writable: bool) -> int:
    """Lock the folder for this process; the kernel releases the lock when the process ends, however it ends."""
    if not writable and not (folder / FILE_NAME).is_file():
        raise DataFolderMissing("data_folder_missing", f"There is no data folder at '{folder}'.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strangers = [entry.name for entry in folder.iterdir() if entry.name not in {_LOCK, _INDEX}]
        if writable and strangers and not (folder / FILE_NAME).is_file():
            raise DataDamaged("not_a_data_folder", f"'{folder}' holds other files, such as '{strangers[0]}'.")
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DataFolderMissing(
            "data_folder_unusable", f"The data folder '{folder}' cannot be used: {error.strerror}."
        ) from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if writable else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DataFolderInUse(
            "data_folder_in_use", f"Another process is using the data folder '{folder}'."
        ) from error
    return descriptor
