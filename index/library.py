"""A data folder, opened: documents go in, hits come out.

Whoever reads takes a view of one generation and keeps it to the end. Whoever writes commits to the catalogue first,
then makes the next generation and replaces one reference: from then on it is what new views see. The folder is
locked: one process may write, or several may read.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from index.background import Backgrounds
from index.build import Known, prepare
from index.catalogue import Catalogue
from index.catalogue_file import FILE_NAME
from index.encoder import EncodedQuery, Encoder
from index.errors import DataDamaged, GenerationNotKept, ModelNotPromoted
from index.faults import Point, reach
from index.filters import Filters
from index.folder import INDEX, check_space, holds_something, lock_folder, mark_in_use
from index.generation import Generation, assemble
from index.generation_files import load_base, save_base
from index.load import FoundFile
from index.memory import give_back
from index.records import Document, Location, Passage, RawDocument, SearchResult, Span
from index.search import Ranking
from index.segment import Segment, build_segment
from index.state import IndexState, describe_indexes, find_index_problems, tuned
from index.stored import DEFAULT_COLLECTION, Change, Counts, Listing, ModelRow, Prepared, says_the_same
from index.upkeep import Upkeep
from index.vectors import kind_for
from index.view import View

Outcome: TypeAlias = Literal["added", "updated", "unchanged"]
Gate: TypeAlias = Callable[[View, View], str]
"""Looks at the view in use and at the one that would replace it; returns why it must not, or nothing."""

WORTH_COMPACTING = 0.1
"""Share of passages outside of the base, or dead in it, from which a new base is worth building."""

_QUESTIONS_KEPT = 50
"""Recall is measured on that many: 4 s of a core at 100,000 passages."""


@dataclass(frozen=True, slots=True)
class Options:
    """What can be decided about an open data folder."""

    ranking: Ranking = field(default_factory=Ranking)
    keep_generations: int = 10
    """How many changes back the documents can be looked at as they were."""
    min_recall: float = 0.95
    """Share of the true neighbours that an index has to find; measured; what misses it is searched harder."""
    disk_reserve: int = 0
    """Bytes that must stay free; below, nothing is added."""
    background: bool = False
    """Keep the index in shape in a thread of its own."""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one document that was handed in."""

    document: Document
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Serving:
    """What questions are answered from; replaced as a whole."""

    encoder: Encoder
    generation: Generation
    backgrounds: Backgrounds


class Library:
    """An open data folder. Use as a context manager; every method is safe to call from any thread."""

    def __init__(self, folder: Path, encoder: Encoder, *, writable: bool, options: Options | None = None) -> None:
        """Open the data folder, creating it if ``writable``.

        Raises:
            DataFolderMissing: if there is none (when reading), or it cannot be made.
            DataFolderInUse: if another process writes to it, or reads it while this one wants to write.
            DataDamaged, FormatNewer, ModelMismatch: if it is not a folder this version and model can use.
        """
        self.folder = folder
        self.options = options or Options()
        self._writable = writable
        self._writing = threading.RLock()
        self._compacting = threading.Lock()
        self._pinning = threading.Lock()
        self._pins: Counter[int] = Counter()
        self._purging = 0
        self._past: tuple[int, int, Generation] | None = None
        self._questions: deque[NDArray[np.float32]] = deque(maxlen=_QUESTIONS_KEPT)
        self._asked = 0
        self._on_disk: Segment | None = None
        self._closing = threading.Event()
        self._open = ExitStack()
        with ExitStack() as opening:
            lock = lock_folder(folder, writable=writable)
            opening.callback(os.close, lock)
            self.catalogue = Catalogue(folder, writable=writable)
            opening.callback(self.catalogue.close)
            model = self.catalogue.bind_model(encoder.info)
            if writable:
                mark_in_use(lock)
            self.index_problem = ""
            generation = self._open_generation(model)
            self._serving = _Serving(encoder, generation, Backgrounds(self.catalogue, encoder))
            if writable and self.index_problem and not self.options.background:
                self.compact(force=True)
            if writable and self.options.background:
                opening.callback(Upkeep(self).start().stop)
            self._open = opening.pop_all()
        give_back()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalogue and release the folder; closing twice is fine. A base that is being built is left."""
        self._closing.set()
        self._open.close()

    # ---- documents ------------------------------------------------------------------------------------------

    def add(self, documents: Sequence[RawDocument], collection: str = DEFAULT_COLLECTION) -> list[Added]:
        """Store documents and make them searchable; when this returns, both hold and survive a crash.

        A document whose source, content, title and metadata are already stored is left as it is. If one source occurs
        twice, the last one counts.

        Raises:
            StorageUnavailable: if the disk is full or fails; nothing of it is stored then.
        """
        return self._add(documents, collection, publish=True)

    def store(self, documents: Sequence[RawDocument], collection: str = DEFAULT_COLLECTION) -> list[Added]:
        """Store documents durably without making them searchable yet; :meth:`refresh` does that for many at once."""
        return self._add(documents, collection, publish=False)

    def delete(self, document_id: str, unchanged: Document | None = None) -> bool:
        """Erase a document and all it ever said; no search that starts after this returns can find it.

        Args:
            document_id: which.
            unchanged: what was last read of it; if it has changed since, nothing is erased.

        Returns:
            Whether it was erased.

        Raises:
            NotFound: if there is none of this id.
        """
        with self._changing() as bound:
            if unchanged is not None and self.document(document_id) != unchanged:
                return False
            self._publish(self.catalogue.remove([document_id], self._model, bound))
            return True

    def delete_where(self, filters: Filters, collection: str = DEFAULT_COLLECTION) -> list[Document]:
        """Erase the documents of a collection that match, all at once; return them.

        Raises:
            FilterRejected: if a filter cannot be used.
        """
        with self._changing() as bound:
            change = self.catalogue.remove_where(collection, filters, self._model, bound)
            return self._published(change)

    def retain(self, origin: str, sources: Collection[str], collection: str = DEFAULT_COLLECTION) -> list[Document]:
        """Erase the documents that were imported from the folder ``origin`` and are not among ``sources``."""
        with self._changing() as bound:
            change = self.catalogue.remove_missing(collection, origin, sources, self._model, bound)
            return self._published(change)

    def refresh(self) -> None:
        """Make everything that was stored searchable, and bring the index on disk into shape if it is worth it."""
        with self._writing:
            self._catch_up()
        if self._writable:
            self.compact()

    # ---- questions ------------------------------------------------------------------------------------------

    @contextmanager
    def view(self, as_of: int | None = None) -> Iterator[View]:
        """Lend a view of the newest generation, or of an earlier one that is still kept.

        Raises:
            GenerationNotKept: if it is not, or there is none of this number yet.
        """
        with self._pinning:
            serving = self._serving
            number = serving.generation.number
            if as_of is not None:
                oldest = max(self.catalogue.oldest(), self._purging)
                if not oldest <= as_of <= number:
                    raise GenerationNotKept(
                        "generation_not_kept", f"Generations {oldest} to {number} are kept, {as_of} is not."
                    )
                number = as_of
            self._pins[number] += 1
        try:
            generation = serving.generation if as_of is None else self._as_of(number, serving.generation)
            yield View(
                generation,
                serving.encoder,
                self.catalogue,
                serving.backgrounds,
                self.options.ranking,
                self._note_question,
            )
        finally:
            with self._pinning:
                self._pins[number] -= 1
                if not self._pins[number]:
                    del self._pins[number]

    def search(
        self, query: str, top_k: int = 10, collection: str = DEFAULT_COLLECTION, filters: Filters | None = None
    ) -> SearchResult:
        """Return the best passages for ``query`` in the newest generation."""
        with self.view() as view:
            return view.search(query, top_k, collection, filters)

    def quote(self, document_id: str, span: Span) -> str | None:
        """Return what the stored text says at ``span`` right now; ``None`` if the document is gone."""
        with self.view() as view:
            return view.quote(document_id, span)

    def document(self, document_id: str) -> Document:
        """Return one document.

        Raises:
            NotFound: if there is none of this id.
        """
        with self.view() as view:
            return view.document(document_id)

    def text(self, document_id: str) -> str:
        """Return the text of one document, exactly as it is cited.

        Raises:
            NotFound: if there is none of this id.
        """
        with self.view() as view:
            return view.text(document_id)

    def passages(self, document_id: str) -> list[Passage]:
        """Return the passages of one document in reading order; none if the document is gone."""
        with self.view() as view:
            return view.passages(document_id)

    def find_source(self, source: str, collection: str = DEFAULT_COLLECTION) -> Document | None:
        """Return the document of this name, if there is one."""
        with self.view() as view:
            return view.find_source(source, collection)

    def documents(
        self, limit: int, after: int = 0, listing: Listing | None = None
    ) -> tuple[list[Document], int | None]:
        """List documents in the order they were first added, and the number to continue after, if there are more."""
        with self.view() as view:
            return view.documents(limit, after, listing)

    def count_documents(self, listing: Listing | None = None) -> int:
        """Count what :meth:`documents` lists altogether."""
        with self.view() as view:
            return view.count_documents(listing)

    def locations(self, places: Sequence[tuple[str, Span]]) -> list[Location]:
        """Say where spans of documents are: page, section and paragraph, as far as the document has such."""
        with self.view() as view:
            return view.locations(places)

    def original(self, document_id: str) -> bytes:
        """Return the bytes a document was read from.

        Raises:
            NotFound: if there is none of this id, or its bytes are not known.
        """
        with self.view() as view:
            return view.original(document_id)

    def recognise(
        self, file: FoundFile, sha256: str, reader: tuple[str, int], collection: str = DEFAULT_COLLECTION
    ) -> bool:
        """Say whether a file is stored already with this content; if so, note where it was found this time.

        Args:
            file: as it was found.
            sha256: of its bytes.
            reader: its format, and the version of the code that reads it: another one may read it differently.
            collection: where its document would be.
        """
        document = self.find_source(file.source, collection)
        if document is None or (document.sha256, document.format, document.reader) != (sha256, *reader):
            return False
        if file.origin:
            self.catalogue.set_origin([document.id], file.origin)
        return True

    # ---- state ----------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> Encoder:
        """The embedding model in use."""
        return self._serving.encoder

    @property
    def generation(self) -> int:
        """Number of the state that searches see."""
        return self._serving.generation.number

    @property
    def write_problem(self) -> str:
        """Why nothing can be written at the moment; empty if it can."""
        return self.catalogue.write_problem

    def counts(self) -> Counts:
        """Count what there is."""
        with self.view() as view:
            return view.counts()

    def index_state(self) -> IndexState:
        """Describe the indexes that searches use."""
        generation = self._serving.generation
        return describe_indexes(generation, self._unsettled(generation), saved=self._saved(generation))

    def problems(self) -> list[str]:
        """Check catalogue and index thoroughly and say what is wrong; empty if nothing is."""
        found = self.catalogue.problems()
        if self.index_problem:
            found.append(f"index: {self.index_problem}")
        if not found:
            found += find_index_problems(self._serving.generation, self.catalogue, self.folder / INDEX)
        return found

    # ---- the life of the index ------------------------------------------------------------------------------

    def compact(self, *, force: bool = False) -> bool:
        """Build a new base of everything and keep it on disk; questions and changes go on meanwhile.

        Args:
            force: even if too little has changed for it to be worth it.

        Returns:
            Whether a new base is on disk.
        """
        with self._compacting:
            generation = self._serving.generation
            if not force and not self._worth_compacting(generation):
                return False
            number = self.catalogue.generation()
            segment = self._whole(generation)
            if segment is None:
                segment = self._built(generation.model)
            if segment is None:
                return False
            with self._writing:
                present = self._serving.generation
                if present.model != generation.model:  # replaced meanwhile
                    return False
                self._serve(self._assembled(present.model, present.number, [segment]))
            saved = self._save(segment, number, generation.model)
        give_back()
        return saved

    def worth_compacting(self, least: int = 0) -> bool:
        """Say whether a base should be saved, or so much has changed, ``least`` passages at least, to build one."""
        generation = self._serving.generation
        unsaved = bool(generation.layers) and generation.layers[0].base and not self._saved(generation)
        return self._worth_compacting(generation) and (unsaved or self._unsettled(generation) >= least)

    def measure_recall(self) -> None:
        """Compare the coarse indexes with exact search on the latest questions; search harder where it is needed."""
        generation = self._serving.generation
        better = tuned(generation, self.catalogue, list(self._questions), self.options.min_recall)
        if better is None:
            return
        with self._writing:
            present = self._serving.generation
            measured = generation.layers[0].segment
            if present.layers and present.layers[0].segment is measured:
                if self._on_disk is measured:
                    self._on_disk = better
                self._serve(present.with_base(better))

    @property
    def questions_asked(self) -> int:
        """How many questions there were since the folder was opened."""
        return self._asked

    def _note_question(self, question: EncodedQuery) -> None:
        self._asked += 1
        self._questions.append(question.vector)

    def change_model(
        self, encoder: Encoder, gate: Gate | None = None, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Embed everything with another model beside the present one, then use it from one moment to the next.

        The vectors of the model before are kept, so that changing back costs only what came since.

        Args:
            encoder: the other model.
            gate: asked before; what it objects keeps the present model in use.
            progress: told how many versions of documents are done, and how many there are.

        Raises:
            ModelNotPromoted: if the gate objects; what was embedded is kept for another try.
            StorageUnavailable: if the disk is full or fails.
        """
        if encoder.info.fingerprint == self._model.fingerprint:
            return
        model = self.catalogue.ensure_model(encoder.info)
        self._embed_all(encoder, model, progress)
        segment = self._built(model)
        if segment is None:
            return
        backgrounds = Backgrounds(self.catalogue, encoder)
        if gate is not None:
            with self.view() as present:
                candidate = self._assembled(model, present.generation, [segment])
                beside = View(candidate, encoder, self.catalogue, backgrounds, self.options.ranking)
                objection = gate(present, beside)
            if objection:
                raise ModelNotPromoted("model_not_promoted", f"'{encoder.info.name}' is not used: {objection}.")
        with self._compacting:
            with self._writing:
                self._embed_all(encoder, model, None)
                number = self.catalogue.promote_model(model)
                generation = self._assembled(model, number, [segment])
                self._past = None
                self._serving = _Serving(encoder, generation, backgrounds)
                self._questions.clear()
                reach(Point.MODEL_PROMOTED)
            self._save(segment, number, model)

    def forget_other_models(self) -> None:
        """Erase the vectors of all models but the one in use; changing back means embedding everything again."""
        with self._writing:
            self.catalogue.forget_models([self._model.number])

    # ---- inside -----------------------------------------------------------------------------------------------

    @property
    def _model(self) -> ModelRow:
        return self._serving.generation.model

    def _add(self, documents: Sequence[RawDocument], collection: str, *, publish: bool) -> list[Added]:
        newest = {document.source: document for document in documents}
        while True:
            serving = self._serving
            model = serving.generation.model
            at = self.catalogue.generation()
            known = {source: self.catalogue.find_source(source, collection, at, model) for source in newest}
            changed = [raw for raw in newest.values() if not says_the_same(known[raw.source], raw)]
            prepared = prepare(changed, serving.encoder, self._known(model))
            with self._writing:
                if self._model != model:
                    continue  # the model was changed while these were embedded with the old one
                stored = self._store(prepared, collection, publish=publish)
                if publish:
                    self._catch_up()  # with what was only stored before
                self._note_origins(newest, known, stored)
                break
        results: list[Added] = []
        for source in newest:
            before = known[source]
            if source in stored:
                results.append(stored[source])
            elif before:
                results.append(Added(before, "unchanged"))
        return results

    def _store(self, prepared: Sequence[Prepared], collection: str, *, publish: bool) -> dict[str, Added]:
        if not prepared:
            return {}
        check_space(self.folder, self.options.disk_reserve)
        with self._changing() as bound:
            change = self.catalogue.add(prepared, collection, self._model, bound)
            if publish and change.born:
                self._publish(change)
        stored = {document.source: Added(document, "unchanged") for document in change.unchanged}
        for born in change.born:
            stored[born.document.source] = Added(born.document, "updated" if born.replaces else "added")
        return stored

    def _note_origins(
        self, newest: dict[str, RawDocument], known: dict[str, Document | None], stored: Collection[str]
    ) -> None:
        moved: dict[str, list[str]] = {}
        for source, raw in newest.items():
            before = known[source]
            if raw.origin and before and source not in stored:
                moved.setdefault(raw.origin, []).append(before.id)
        for origin, document_ids in moved.items():
            self.catalogue.set_origin(document_ids, origin)

    def _published(self, change: Change | None) -> list[Document]:
        if change is None:
            return []
        self._publish(change)
        return list(change.documents)

    def _publish(self, change: Change) -> None:
        """Let new views see a change that is committed."""
        generation = self._serving.generation
        self._past = None  # what was erased is gone from it too
        if change.number == generation.number + 1:
            self._serve(generation.advanced(change))
        else:
            self._catch_up()
        reach(Point.PUBLISHED)

    def _catch_up(self) -> None:
        generation, number = self._serving.generation, self.catalogue.generation()
        if generation.number != number:
            segments = [layer.segment for layer in generation.layers]
            self._serve(self._assembled(generation.model, number, segments))

    def _serve(self, generation: Generation) -> None:
        serving = self._serving
        with self._pinning:
            self._serving = _Serving(serving.encoder, generation, serving.backgrounds)

    @contextmanager
    def _changing(self) -> Iterator[int]:
        """Let one change happen; give up to which generation it may erase versions that died."""
        with self._writing:
            with self._pinning:
                self._purging = self._purge_bound()
            try:
                yield self._purging
            finally:
                self._purging = 0

    def _purge_bound(self) -> int:
        """Return up to which generation versions that died may be erased: none that a view still reads."""
        kept = self.catalogue.generation() + 1 - self.options.keep_generations
        return max(0, min([kept, self._serving.generation.number, *self._pins]))

    def _as_of(self, number: int, present: Generation) -> Generation:
        if number == present.number:
            return present
        past = self._past
        if past is None or past[:2] != (number, present.model.number):
            segments = [layer.segment for layer in present.layers]
            generation = self._assembled(present.model, number, segments)
            self._past = past = (number, present.model.number, generation)
        return past[2]

    def _open_generation(self, model: ModelRow) -> Generation:
        number = self.catalogue.generation()
        folder = self.folder / INDEX
        try:
            segment, _ = load_base(folder, self.catalogue, model)
            generation = self._assembled(model, number, [segment])
        except DataDamaged as problem:
            # The index is a cache: a missing or damaged one costs a rebuild, nothing else.
            self.index_problem = problem.message if holds_something(folder) else ""
            return self._assembled(model, number, [])
        self._on_disk = segment
        return generation

    def _built(self, model: ModelRow) -> Segment | None:
        return build_segment(self.catalogue, model, self.options.min_recall, cancelled=self._closing.is_set)

    def _assembled(self, model: ModelRow, number: int, segments: Sequence[Segment]) -> Generation:
        return assemble(self.catalogue, model, number, segments, self.options.min_recall)

    def _saved(self, generation: Generation) -> bool:
        return bool(generation.layers) and generation.layers[0].segment is self._on_disk

    def _whole(self, generation: Generation) -> Segment | None:
        """Return the base if it has everything in the form it should have, so that it need only be saved."""
        if len(generation.layers) != 1 or self._unsettled(generation) or self._saved(generation):
            return None
        segment = generation.layers[0].segment
        indexes = (segment.passages, segment.sentences)
        return segment if all(index.kind is kind_for(len(index)) for index in indexes) else None

    def _worth_compacting(self, generation: Generation) -> bool:
        if not generation.layers:
            return bool(self.index_problem)
        total = sum(len(layer.alive) for layer in generation.layers)
        base = generation.layers[0].segment
        coarse = any(index.kind is not kind_for(len(index)) for index in (base.passages, base.sentences))
        return not self._saved(generation) or coarse or self._unsettled(generation) > WORTH_COMPACTING * total

    def _unsettled(self, generation: Generation) -> int:
        """Count what a new base would have and the present one has not, or the other way round."""
        if not generation.layers or not generation.layers[0].base:
            return generation.outside
        base = generation.layers[0].segment
        last = int(base.ids[-1]) if len(base) else 0
        return generation.outside + len(base) - self.catalogue.count_passages(generation.model, last)

    def _save(self, segment: Segment, number: int, model: ModelRow) -> bool:
        try:
            save_base(self.folder / INDEX, segment, number, self.catalogue, model)
        except OSError as error:
            # Answers come from memory and the catalogue has everything; the next start builds the index again.
            self.index_problem = f"The index could not be saved: {error.strerror}."
            return False
        self._on_disk, self.index_problem = segment, ""
        return True

    def _known(self, model: ModelRow) -> Known:
        return lambda digests: self.catalogue.known_passages(digests, model)

    def _embed_all(self, encoder: Encoder, model: ModelRow, progress: Callable[[int, int], None] | None) -> None:
        """Embed the versions that this model lacks."""
        done = 0
        while waiting := self.catalogue.unembedded(model, _VERSIONS_AT_ONCE):
            for version, raw in waiting:
                (prepared,) = prepare([raw], encoder, self._known(model))
                self.catalogue.embed(version, model, prepared.passages)
                reach(Point.MODEL_EMBEDDED)
                done += 1
                if progress is not None:
                    progress(done, done + self.catalogue.count_unembedded(model))


_VERSIONS_AT_ONCE = 16


def stored_model(folder: Path) -> ModelRow | None:
    """Return the embedding model a data folder is searched with, if there is anything in it.

    Raises:
        DataFolderInUse, DataDamaged, FormatNewer: if it cannot be read.
    """
    if not (folder / FILE_NAME).is_file():
        return None
    descriptor = lock_folder(folder, writable=True)
    try:
        catalogue = Catalogue(folder, writable=True)
        try:
            return catalogue.active_model()
        finally:
            catalogue.close()
    finally:
        os.close(descriptor)
