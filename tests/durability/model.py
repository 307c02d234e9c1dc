"""R08: the library against a plain Python model, in random sequences of steps (a Hypothesis state machine).

The model keeps every state there ever was: generation number to documents. After each step both must agree on what is
there now, what is found, and what an older generation that is still kept looked like. Two rules make the past
interesting: an update leaves the old version to older generations, a delete takes the document from all of them.

    python -m tests.durability.model --trials 200000        # trials are steps
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, TypeAlias
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from index import Library, Options
from index.backup import back_up, restore
from index.encoder import EncodedQuery, TokenStates
from index.errors import GenerationNotKept, NotFound
from index.generation import Layer
from index.library import Added
from index.records import Document, RawDocument, Scalar
from index.stored import Listing
from index.view import View
from tests import tiny
from tests.durability.common import finish, parse_arguments

KEPT = 6
STEPS = 50
"""Steps of one sequence."""
FOREVER = 100
"""More hits and documents than there ever are."""

COLLECTIONS = ("default", "private")
SOURCES = ("a.txt", "b.txt", "c.txt", "d.txt")
ORIGINS = ("", "/letters", "/minutes")
METADATA: tuple[dict[str, Scalar], ...] = ({}, {"year": 1900}, {"year": 2020, "town": "Kiel"}, {"town": "Köln"})
FILTERS: tuple[dict[str, Any], ...] = (
    {"source": "a.txt"},
    {"source": ["b.txt", "c.txt", "nobody.txt"]},
    {"language": "de"},
    {"language": ["de", "en"], "source": ["a.txt", "d.txt"]},
    {"metadata.year": 1900},
    {"metadata.year": [1900, 2020], "metadata.town": "Kiel"},
    {"metadata.town": ["Köln", "Kiel"], "language": "en"},
    {"metadata.none": "x"},
)
SHAPES = {
    "short": "The harbour of {word} is open. ",
    "two paragraphs": "The mill stands at the river. \n\nNobody but {word} knows the mill.\n",
    "two passages": ("x" * 380 + ". ") * 4 + "At the end comes {word}.",  # long, with little to embed
}


@dataclass(frozen=True, slots=True)
class Version:
    """A document as it was written once; ``word`` is in no other version."""

    id: str
    collection: str
    source: str
    text: str
    word: str
    language: str
    metadata: Mapping[str, Scalar]

    def raw(self, origin: str) -> RawDocument:
        digest = sha256(self.text.encode()).hexdigest()
        return RawDocument(self.source, self.text, self.source, self.language, digest, self.metadata, origin=origin)

    def is_in(self, collection: str, filters: Mapping[str, Any]) -> bool:
        """Say whether the version is in ``collection`` and passes ``filters``, in the plainest way."""
        fields: dict[str, Scalar] = {"source": self.source, "language": self.language, "document_id": self.id}
        fields |= {f"metadata.{key}": value for key, value in self.metadata.items()}
        return self.collection == collection and all(
            field in fields and fields[field] in (wanted if isinstance(wanted, list) else [wanted])
            for field, wanted in filters.items()
        )

    def is_stored_as(self, document: Document) -> bool:
        stored = (document.id, document.collection, document.source, document.language, dict(document.metadata))
        return stored == (self.id, self.collection, self.source, self.language, dict(self.metadata))


Key: TypeAlias = tuple[str, str]
"""Collection and source."""
State: TypeAlias = Mapping[Key, Version]
"""What is there, in the order in which the documents were first added."""


class History:
    """What must be true: the state of every generation, which is the newest, and which one is searched."""

    def __init__(self) -> None:
        self.states: dict[int, State] = {0: {}}
        self.origins: dict[Key, str] = {}
        """Where each document was last imported from."""
        self.stored = 0
        self.visible = 0

    @property
    def now(self) -> State:
        return self.states[self.stored]

    def write(self, versions: Collection[Version], origin: str) -> None:
        written = {(version.collection, version.source): version for version in versions}
        self.origins.update(dict.fromkeys(written, origin))
        self._advance({**self.now, **written})

    def erase(self, versions: Collection[Version]) -> None:
        """Take documents away, from the past too."""
        gone = {version.id for version in versions}
        for version in versions:
            del self.origins[version.collection, version.source]
        self._advance(self.now)
        for number, state in self.states.items():
            self.states[number] = {key: version for key, version in state.items() if version.id not in gone}

    def publish(self) -> None:
        self.visible = self.stored

    def knows(self, document_id: str) -> bool:
        return any(version.id == document_id for state in self.states.values() for version in state.values())

    def promote(self) -> None:
        """Another model is a new generation of the same documents."""
        self._advance(self.now)
        self.publish()

    def _advance(self, state: State) -> None:
        self.stored += 1
        self.states[self.stored] = state


class RolledEncoder(tiny.TinyEncoder):
    """Another model: as good, but its vectors say nothing to those of the first."""

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        return [
            EncodedQuery(query.vector, query.centred, np.roll(query.tokens, 7, axis=1), query.weights)
            for query in super().encode_queries(texts)
        ]

    def _vector(self, text: str) -> Any:
        return np.roll(super()._vector(text), 7)

    def _states(self, text: str) -> TokenStates:
        states = super()._states(text)
        return TokenStates(np.roll(states.codes, 7, axis=1), states.starts)


ENCODERS: tuple[Callable[[], tiny.TinyEncoder], ...] = (
    lambda: tiny.TinyEncoder("one"),
    lambda: RolledEncoder("two"),
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A document to be written, without the words only its turn can give it."""

    source: str
    shape: str
    language: str
    metadata: Mapping[str, Scalar]


drafts = st.builds(
    Draft,
    st.sampled_from(SOURCES),
    st.sampled_from(list(SHAPES)),
    st.sampled_from(["en", "de"]),
    st.sampled_from(METADATA),
)
collections = st.sampled_from(COLLECTIONS)
indices = st.integers(0, 7)
origins = st.sampled_from(ORIGINS)


class Machine(RuleBasedStateMachine):
    """Steps of a user, of the machine room and of misfortune."""

    happened: ClassVar[Counter[str]] = Counter()
    """How often what was done and checked, over all sequences."""

    @initialize(drafts=st.lists(drafts, min_size=1, max_size=4))
    def start(self, drafts: list[Draft]) -> None:
        self.scratch = ExitStack()
        self.room = Path(self.scratch.enter_context(tempfile.TemporaryDirectory(dir=fast_folder())))
        self.history = History()
        self.words = 0
        self.folders = 0
        self.model = 0
        self.held: View | None = None
        self.holding = ExitStack()
        self.folder = self.new_folder()
        self.open()
        for collection in COLLECTIONS:
            self.add(collection, drafts, ORIGINS[1])

    def new_folder(self) -> Path:
        self.folders += 1
        return self.room / f"data-{self.folders}"

    def open(self, *, writable: bool = True) -> None:
        options = Options(keep_generations=KEPT)
        self.library = Library(self.folder, ENCODERS[self.model](), writable=writable, options=options)
        self.scratch.callback(self.library.close)
        self.history.publish()

    def close(self) -> None:
        self.let_go()
        self.library.close()

    # ---- changes ----------------------------------------------------------------------------------------------

    @rule(collection=collections, drafts=st.lists(drafts, min_size=1, max_size=3), origin=origins)
    def add(self, collection: str, drafts: list[Draft], origin: str) -> None:
        self.write(self.library.add, collection, drafts, origin)
        self.history.publish()

    @precondition(lambda self: self.history.now)
    @rule(index=indices, shape=st.sampled_from(list(SHAPES)))
    def update(self, index: int, shape: str) -> None:
        versions = list(self.history.now.values())
        version = versions[index % len(versions)]
        self.add(version.collection, [Draft(version.source, shape, version.language, version.metadata)], "")

    @rule(collection=collections, drafts=st.lists(drafts, min_size=1, max_size=2))
    def store(self, collection: str, drafts: list[Draft]) -> None:
        self.write(self.library.store, collection, drafts, "")

    def write(self, how: Callable[..., list[Added]], collection: str, drafts: list[Draft], origin: str) -> None:
        """Write with the library and the model; ids are the library's, but they must be the right ones."""
        made = {draft.source: self.version(draft, collection) for draft in drafts}
        added = how([version.raw(origin) for version in made.values()], collection)
        assert [item.document.source for item in added] == list(made)
        versions = []
        for item in added:
            before = self.history.now.get((collection, item.document.source))
            assert item.outcome == ("updated" if before else "added")
            if before:
                assert item.document.id == before.id, "an update changed the id"
            else:
                assert not self.history.knows(item.document.id), "an id was given twice"
            versions.append(replace(made[item.document.source], id=item.document.id))
            assert versions[-1].is_stored_as(item.document)
        self.history.write(versions, origin)
        self.happened["versions written"] += len(versions)

    def version(self, draft: Draft, collection: str) -> Version:
        self.words += 1
        word = f"zq{self.words}w"
        text = SHAPES[draft.shape].format(word=word)
        return Version("", collection, draft.source, text, word, draft.language, draft.metadata)

    @rule(collection=collections, origin=origins)
    def add_again(self, collection: str, origin: str) -> None:
        """What is there already changes nothing, except where it comes from; and it can be found afterwards."""
        versions = [version for version in self.history.now.values() if version.collection == collection]
        if not versions:
            return
        added = self.library.add([version.raw(origin) for version in versions], collection)
        assert [(item.outcome, item.document.id) for item in added] == [("unchanged", each.id) for each in versions]
        self.history.publish()
        if origin:
            self.history.origins.update(dict.fromkeys(((each.collection, each.source) for each in versions), origin))

    @rule()
    def refresh(self) -> None:
        self.library.refresh()
        self.history.publish()

    @precondition(lambda self: self.history.now)
    @rule(index=indices)
    def delete(self, index: int) -> None:
        versions = list(self.history.now.values())
        version = versions[index % len(versions)]
        self.library.delete(version.id)
        self.erased([version])
        assert self.is_refused(version.id), "a document was deleted twice"

    def is_refused(self, document_id: str) -> bool:
        try:
            self.library.delete(document_id)
        except NotFound:
            return True
        return False

    @rule(collection=collections, filters=st.sampled_from(FILTERS))
    def delete_where(self, collection: str, filters: dict[str, Any]) -> None:
        gone = self.library.delete_where(filters, collection)
        self.went(gone, [each for each in self.history.now.values() if each.is_in(collection, filters)])

    @rule(collection=collections, sources=st.sets(st.sampled_from(SOURCES)), origin=st.sampled_from(ORIGINS[1:]))
    def retain(self, collection: str, sources: set[str], origin: str) -> None:
        gone = self.library.retain(origin, sources, collection)
        expected = [
            version
            for key, version in self.history.now.items()
            if key[0] == collection and key[1] not in sources and self.history.origins[key] == origin
        ]
        self.went(gone, expected)

    def went(self, gone: Sequence[Document], expected: Sequence[Version]) -> None:
        assert {document.id for document in gone} == {version.id for version in expected}
        if expected:
            self.erased(expected)

    def erased(self, versions: Sequence[Version]) -> None:
        self.history.erase(versions)
        self.history.publish()
        self.happened["documents erased"] += len(versions)

    # ---- questions --------------------------------------------------------------------------------------------

    @rule(
        collection=st.sampled_from([*COLLECTIONS, *COLLECTIONS, *COLLECTIONS, "nobody"]),
        index=indices,
        filters=st.sampled_from(({}, {}, {}, {}, *FILTERS)),
    )
    def search(self, collection: str, index: int, filters: dict[str, Any]) -> None:
        with self.library.view() as view:
            self.look(view, self.history.visible, collection, index, filters)

    @rule(collection=collections, index=indices)
    def search_one_document(self, collection: str, index: int) -> None:
        versions = list(self.history.states[self.history.visible].values())
        if versions:
            self.search(collection, index, {"document_id": versions[index % len(versions)].id})

    @rule(collection=collections, index=indices, back=st.integers(-1, KEPT + 2))
    def as_of(self, collection: str, index: int, back: int) -> None:
        """An older generation is as it was, but for what was deleted since; or it is said not to be kept."""
        number = self.history.visible - back
        try:
            with self.library.view(as_of=number) as view:
                self.look(view, number, collection, index, {})
        except GenerationNotKept:
            assert number < 0 or number > self.history.visible or number < self.history.stored - KEPT
            self.happened["not kept"] += 1
        else:
            self.happened["looks at the past"] += 1

    @rule()
    def hold(self) -> None:
        """Keep a view open over the steps that follow."""
        self.let_go()
        self.held = self.holding.enter_context(self.library.view())

    @precondition(lambda self: self.held)
    @rule(collection=collections, index=indices)
    def look_at_held(self, collection: str, index: int) -> None:
        assert self.held
        self.look(self.held, self.held.generation, collection, index, {})
        self.happened["looks through a held view"] += 1

    def let_go(self) -> None:
        self.held = None
        self.holding.close()

    def look(self, view: View, number: int, collection: str, index: int, filters: dict[str, Any]) -> None:
        """Compare what a view lists and finds with the state of its generation."""
        assert view.generation == number
        state = self.history.states[number]
        expected = [version for version in state.values() if version.is_in(collection, filters)]
        self.find(view, collection, filters, expected, expected[index % len(expected)].word if expected else "zq")
        listed = list_all(view, collection, 1 + index % 3)
        there = [version for version in state.values() if version.collection == collection]
        for document, version in zip(listed, there, strict=True):
            assert version.is_stored_as(document)
            assert view.text(document.id) == version.text
        source = SOURCES[index % len(SOURCES)]
        found, version_there = view.find_source(source, collection), state.get((collection, source))
        assert (found and found.id) == (version_there and version_there.id)

    def find(
        self, view: View, collection: str, filters: dict[str, Any], expected: Sequence[Version], word: str
    ) -> None:
        """Search for a word: all passages of the expected documents are found, and the word's own first."""
        result = view.search(word, FOREVER, collection, filters)
        self.happened["searches"] += 1
        self.happened["hits"] += len(result.hits)
        assert result.generation == view.generation
        by_id = {version.id: version for version in expected}
        for hit in result.hits:
            version = by_id.get(hit.document.id)
            assert version, f"'{hit.text}' of {hit.document.source} is found, but is not there"
            assert version.is_stored_as(hit.document)
            assert hit.passage.span.of(version.text) == hit.text == view.quote(hit.document.id, hit.passage.span)
        found = Counter(hit.document.id for hit in result.hits)
        assert found == {version.id: view.document(version.id).passages for version in expected}
        if expected:
            best = max(result.hits, key=lambda hit: hit.score - hit.language_shift)
            assert word in best.text

    # ---- the machine room, and misfortune ---------------------------------------------------------------------
    # Each kind of step is drawn as often as any other, so what takes long shares one.

    @rule(kind=st.sampled_from(["compact if worth it", "compact", "check", "change the model", "read only"]))
    def upkeep(self, kind: str) -> None:
        self.happened[kind] += 1
        if kind == "check":
            assert self.library.problems() == []
        elif kind == "change the model":
            self.model = 1 - self.model
            self.library.change_model(ENCODERS[self.model]())
            self.history.promote()
        elif kind == "read only":
            self.close()
            self.open(writable=False)
            for collection in COLLECTIONS:
                self.search(collection, 0, {})
            self.close()
            self.open()
        else:
            self.library.compact(force=kind == "compact")

    @rule(kind=st.sampled_from(["restart", "restart without index", "crash", "restore"]))
    def restart(self, kind: str) -> None:
        self.happened[kind] += 1
        if kind == "crash":  # go on with the files as they are now: what a killed process leaves behind
            image = self.new_folder()
            shutil.copytree(self.folder, image)
            self.move_to(image)
        elif kind == "restore":
            self.move_to(self.restored_backup())
        else:
            self.close()
            if kind == "restart without index":
                shutil.rmtree(self.folder / "index", ignore_errors=True)
            self.open()

    def restored_backup(self) -> Path:
        target, new = self.room / "backup", self.new_folder()
        assert back_up(self.folder, target).generation == self.history.stored
        restore(target, new)
        shutil.rmtree(target)
        return new

    def move_to(self, folder: Path) -> None:
        self.close()
        shutil.rmtree(self.folder)
        self.folder = folder
        self.open()

    # ---- always -----------------------------------------------------------------------------------------------

    @invariant()
    def agree(self) -> None:
        self.happened["steps"] += 1
        assert self.library.generation == self.history.visible
        state = self.history.states[self.history.visible]
        counts = self.library.counts()
        assert counts.documents == len(state)
        assert counts.characters == sum(len(version.text) for version in state.values())

    def teardown(self) -> None:
        """See once more that all is well, unless a step has failed already."""
        try:
            if sys.exception() is None:
                self.refresh()
                for collection in COLLECTIONS:
                    self.search(collection, 0, {})
                assert self.library.problems() == []
                self.let_go()
        finally:
            self.scratch.close()


def list_all(view: View, collection: str, limit: int) -> list[Document]:
    """List the documents of a collection page by page."""
    found: list[Document] = []
    after: int | None = 0
    while after is not None:
        documents, after = view.documents(limit, after, Listing(frozenset({collection})))
        assert len(documents) <= limit
        found += documents
    return found


def fast_folder() -> Path | None:
    """Return a folder in memory if there is one; here nothing depends on what reaches a disk."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None


# ---- running it ---------------------------------------------------------------------------------------------------

CONTROLS: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "forgetful": (Library, "delete", lambda library, document_id: None),
    "no-mask": (Layer, "without", lambda layer, dead: layer),
    "early-purge": (Library, "_purge_bound", lambda library: library.catalogue.generation()),
}
"""What is broken for a null control: a delete that does nothing; passages that died but stay in the index; a past
that is forgotten at once."""


def run(steps: int, first_seed: int, control: str | None) -> str:
    """Run sequences until that many steps were made; return the failure of the first that failed."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(tiny, "direction", cache(tiny.direction)))
        if control:
            owner, name, broken = CONTROLS[control]
            stack.enter_context(mock.patch.object(owner, name, broken))
        for round_seed in itertools.count(first_seed):
            missing = steps - Machine.happened["steps"]
            if missing <= 0:
                return ""
            chosen = settings(
                max_examples=-(-missing // STEPS),
                stateful_step_count=STEPS,
                phases=[Phase.generate] if control else [Phase.generate, Phase.shrink],
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
            )
            try:
                run_state_machine_as_test(seed(round_seed)(Machine), settings=chosen)
            except Exception:  # whatever it is, it is a difference between library and model
                return traceback.format_exc()
    return ""


def main() -> None:
    arguments = parse_arguments(__doc__, trials=2000, breaks=list(CONTROLS))
    began = time.monotonic()
    failure = run(arguments.trials, arguments.seed, arguments.control)
    print(failure, file=sys.stderr)
    done = Machine.happened
    seconds = time.monotonic() - began
    figures = {
        "id": "R08",
        "trials": done["steps"],
        "violations": int(bool(failure)),
        "ms_per_step": round(1000 * seconds / max(done["steps"], 1), 2),
        "done": {name: count for name, count in sorted(done.items()) if name != "steps"},
    }
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
