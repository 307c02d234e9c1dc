"""A random workload on a library with a journal, and the check of what a kill left of it.

The killed process writes a line before each operation and one after it; a pipe keeps what was written however its
writer ends. Replayed on a plain dictionary, the lines tell what must be there (everything acknowledged) and what may
be (the one operation under way, wholly).
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TypeAlias

from index import Library, Options
from index.errors import FundstelleError, GenerationNotKept, ModelMismatch
from index.records import RawDocument
from index.stored import Listing
from index.view import View
from tests import tiny
from tests.durability.common import Ended
from tests.tiny import TinyEncoder

COLLECTIONS = ("default", "archive")
ORIGINS = ("", "/import/letters", "/import/papers")
SOURCES = tuple(f"letter-{number}.txt" for number in range(10))
"""Few, so that documents are replaced and deleted often."""

OPTIONS = Options(background=False)
MODELS = ("tiny", "other")
KINDS = ("lost", "resurrected", "half", "phantom", "duplicate", "index", "backwards", "failed")
"""What can be wrong after a kill; ``backwards`` is a generation below one that was acknowledged."""

_FILLING = tuple(
    "".join(parts) for parts in product(("Granite", "Harbour"), ("bridge", "market"), ("keepers", "repair"))
)

tiny.direction = cache(tiny.direction)  # else most kills would meet the encoder, not the library

Write: TypeAlias = Callable[[bytes], object]
Key: TypeAlias = tuple[str, str]
"""Collection and source."""


@dataclass(frozen=True, slots=True)
class Version:
    """A document as it was written once; no other version has its word."""

    word: str
    parts: int = 1
    """How many passages it has."""
    origin: str = ""
    given: str = ""
    """The text, if it is not made from the word."""

    @property
    def words(self) -> tuple[str, ...]:
        """One for each passage."""
        return (self.word,) if self.given else tuple(f"{self.word}p{part}" for part in range(self.parts))

    @property
    def text(self) -> str:
        """Paragraphs of which no two fit into one passage; each begins with its word on a line of its own."""
        return self.given or "\n\n".join(f"{word}\n{_filling(word)}" for word in self.words)

    def document(self, source: str) -> RawDocument:
        """Return it as a document to be added."""
        text = self.text
        digest = sha256(text.encode()).hexdigest()
        return RawDocument(source, text, source, "en", digest, origin=self.origin)


State: TypeAlias = Mapping[Key, Version]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the library."""

    kind: str
    collection: str = COLLECTIONS[0]
    documents: tuple[tuple[str, Version], ...] = ()
    """Source and version of each document that is stored."""
    sources: tuple[str, ...] = ()
    """Of the documents that are deleted or, by ``retain``, kept."""
    origin: str = ""

    def after(self, state: State) -> State:
        """Return what is stored once it is done."""
        if self.kind in {"delete", "delete_where"}:
            gone = {(self.collection, source) for source in self.sources}
            return {key: version for key, version in state.items() if key not in gone}
        if self.kind == "retain":
            return {key: version for key, version in state.items() if not self._drops(key, version)}
        return {**state, **{(self.collection, source): version for source, version in self.documents}}

    def _drops(self, key: Key, version: Version) -> bool:
        collection, source = key
        return collection == self.collection and version.origin == self.origin and source not in self.sources

    def perform(self, library: Library) -> None:
        """Make the call."""
        match self.kind:
            case "add":
                library.add([version.document(source) for source, version in self.documents], self.collection)
            case "store":
                library.store([version.document(source) for source, version in self.documents], self.collection)
            case "refresh":
                library.refresh()
            case "delete":
                with library.view() as view:
                    document = view.find_source(self.sources[0], self.collection)
                if document is not None:
                    library.delete(document.id)
            case "delete_where":
                library.delete_where({"source": list(self.sources)}, self.collection)
            case "retain":
                library.retain(self.origin, set(self.sources), self.collection)
            case "compact":
                library.compact(force=True)
            case "change_model":
                library.change_model(TinyEncoder(MODELS[1]))
            case _:
                raise ValueError(self.kind)

    def line(self) -> str:
        """Return it as JSON on one line."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Operation:
        """Return the operation a line says."""
        values = json.loads(line)
        documents = tuple((source, Version(**version)) for source, version in values["documents"])
        return cls(values["kind"], values["collection"], documents, tuple(values["sources"]), values["origin"])


# ---- the workload -------------------------------------------------------------------------------------------


def operations(draw: random.Random, state: State, name: str, count: int) -> Iterator[Operation]:
    """Yield random operations, each one meaningful after those before it.

    Args:
        draw: decides.
        state: what is stored at first.
        name: begins the words of new versions; used once in the life of a folder.
        count: how many.
    """
    for number in range(count):
        operation = _operation(draw, state, f"{name}n{number:04d}")
        yield operation
        if operation.kind == "store":
            yield Operation("refresh")
        state = operation.after(state)


def _operation(draw: random.Random, state: State, name: str) -> Operation:
    kinds = {"add": 50, "store": 8, "delete": 16, "delete_where": 8, "retain": 8, "compact": 10}
    (kind,) = draw.choices(list(kinds), list(kinds.values()))
    collection = draw.choice(COLLECTIONS)
    present = sorted(source for place, source in state if place == collection)
    if kind == "compact":
        return Operation(kind)
    if kind in {"add", "store"} or not present:
        sources = draw.sample(SOURCES, draw.choice((1, 1, 1, 2, 4)))
        versions = (
            Version(f"{name}d{place}", draw.choice((1, 1, 2, 3)), draw.choice(ORIGINS))
            for place in range(len(sources))
        )
        return Operation(kind if kind == "store" else "add", collection, tuple(zip(sources, versions, strict=True)))
    if kind == "retain":
        origin = draw.choice(ORIGINS)
        own = [source for source in present if state[collection, source].origin == origin]
        return Operation(kind, collection, sources=tuple(draw.sample(own, len(own) // 2)), origin=origin)
    wanted = 1 if kind == "delete" else draw.randint(1, min(4, len(present)))
    return Operation(kind, collection, sources=tuple(draw.sample(present, wanted)))


def work(write: Write, folder: Path, todo: Iterable[Operation], control: str | None = None, held: int = 0) -> None:
    """Open a folder, perform operations with a journal of them, and close it.

    Args:
        write: keeps the journal.
        folder: the data folder.
        todo: what to do.
        control: breaks the guarantee: ``early-ack`` acknowledges before the call, ``split`` replaces documents by
            deleting and adding them, ``keep`` acknowledges deletes without making them.
        held: so many lines of the journal are written at once; a process is killed after its first ones.
    """
    write = Held(write, held)
    write(b"opening\n")
    with Library(folder, TinyEncoder(), writable=True, options=OPTIONS) as library:
        write(f"opened {library.generation}\n".encode())
        for operation in todo:
            journal(write, library, operation, control)
        write(b"closing\n")
    write(b"closed\n")
    write.release()


def journal(write: Write, library: Library, operation: Operation, control: str | None = None) -> None:
    """Perform an operation between two lines of the journal."""
    write(f"begin {operation.line()}\n".encode())
    if control == "early-ack":
        write(f"ack {library.generation}\n".encode())
    if control == "split" and operation.kind == "add":
        sources = [source for source, _ in operation.documents]
        library.delete_where({"source": sources}, operation.collection)
    if not (control == "keep" and operation.kind == "delete"):
        operation.perform(library)
    if control != "early-ack":
        write(f"ack {library.generation}\n".encode())


class Held:
    """Keeps the first lines of a journal back until there are enough, so that the kill that follows the first byte
    finds the process in the middle of its work however slow the machine is."""

    def __init__(self, write: Write, lines: int) -> None:
        self._write, self._lines = write, lines
        self._held: list[bytes] = []

    def __call__(self, line: bytes) -> None:
        """Write a line, now or later."""
        self._held.append(line)
        self._lines -= 1
        if self._lines <= 0:
            self.release()

    def release(self) -> None:
        """Write what was kept back."""
        self._write(b"".join(self._held))
        self._held.clear()


@dataclass(slots=True)
class Journal:
    """What the lines of a journal say."""

    before: State
    """What is stored after all that was acknowledged."""
    in_flight: Operation | None = None
    acknowledged: int = 0
    generation: int = 0
    """The last one that was acknowledged."""
    reached: str = "nothing"
    """``opening``, ``working``, ``closing`` or ``closed``."""
    versions: list[Version] = field(default_factory=list)
    """All that were handed in."""

    @property
    def after(self) -> State:
        """What is stored if the operation under way was done too."""
        return self.in_flight.after(self.before) if self.in_flight else self.before


def replay(output: bytes, state: State) -> Journal:
    """Read a journal that begins with ``state``; a last line that is not whole does not count."""
    result = Journal(state)
    for line in output.decode().split("\n")[:-1]:
        word, _, rest = line.partition(" ")
        if word == "begin":
            result.in_flight = Operation.read(rest)
            result.versions += [version for _, version in result.in_flight.documents]
        elif word == "ack":
            result.before, result.generation, result.in_flight = result.after, int(rest), None
            result.acknowledged += 1
        elif word == "opened":
            result.generation, result.reached = int(rest), "working"
        elif word in {"opening", "closing", "closed"}:
            result.reached = word
    return result


# ---- the check ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a folder may hold after a kill."""

    before: State
    after: State
    """Equal to ``before`` if nothing was under way."""
    earlier: tuple[Version, ...] = ()
    """Versions that were replaced, deleted or never acknowledged; those that are live again are left out."""
    generation: int = 0
    models: tuple[str, ...] = MODELS[:1]
    """One of them is in use."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found: which of the two states, and what is wrong."""

    state: State
    violations: tuple[Violation, ...]


def check(folder: Path, expected: Expected, run: Callable[..., Ended]) -> Found:
    """Open a folder in a process of its own and compare what it holds with what is expected.

    Args:
        folder: the data folder.
        expected: what it may hold.
        run: :func:`tests.durability.common.run_forked`, or what ends the check like a crash.
    """
    ended = run(_check, folder, expected)
    try:
        report = json.loads(ended.output)
    except ValueError:
        return Found(expected.before, (Violation("failed", f"the check ended with {last_words(ended)}"),))
    violations = tuple(Violation(kind, detail) for kind, detail in report["violations"])
    return Found(expected.after if report["after"] else expected.before, violations)


def last_words(ended: Ended) -> str:
    """Say how a process ended that should not have."""
    return f"{ended.status or ended.signal}: {ended.output[-800:].decode(errors='replace').strip()}"


def _check(write: Write, folder: Path, expected: Expected) -> None:
    torn = index_problems(folder / "index")  # before opening repairs it
    with _opened(folder, expected.models) as library:
        with library.view() as view:
            listed = _listed(view)
            is_after = dict(listed) == {key: version.text for key, version in expected.after.items()}
            state = expected.after if is_after else expected.before
            violations = [
                *differences(listed, expected),
                *_search_problems(view, state),
                *_dead_words(library, _gone(expected, state), state),
            ]
        violations += [Violation("index", problem) for problem in [*torn, *library.problems()]]
        if library.generation < expected.generation:
            detail = f"generation {library.generation} after {expected.generation} was acknowledged"
            violations.append(Violation("backwards", detail))
        report = {
            "after": is_after,
            "violations": [[each.kind, each.detail[:500]] for each in violations[:20]],
        }
    write(json.dumps(report).encode())


def _opened(folder: Path, models: Sequence[str]) -> Library:
    for model in models[:-1]:
        try:
            return Library(folder, TinyEncoder(model), writable=True, options=OPTIONS)
        except ModelMismatch:
            continue
    return Library(folder, TinyEncoder(models[-1]), writable=True, options=OPTIONS)


def index_problems(folder: Path) -> list[str]:
    """Say what is wrong with the index that ``CURRENT`` names; opening would only build it again, at a cost.

    A kill, unlike a failing disk, must not leave a name without what it names.
    """
    if not (folder / "CURRENT").exists():
        return []
    name, _, digest = (folder / "CURRENT").read_text("ascii").strip().partition(" ")
    manifest = folder / name / "manifest.json"
    if not manifest.is_file():
        return [f"CURRENT names {name}, which is not whole"]
    if sha256(manifest.read_bytes()).hexdigest() != digest:
        return [f"CURRENT names another {name}"]
    return [
        f"{name}/{file} is not what the manifest says"
        for file, described in json.loads(manifest.read_text())["files"].items()
        if not (folder / name / file).is_file()
        or sha256((folder / name / file).read_bytes()).hexdigest() != described["sha256"]
    ]


def _listed(view: View) -> list[tuple[Key, str]]:
    listed: list[tuple[Key, str]] = []
    for collection in COLLECTIONS:
        after: int | None = 0
        while after is not None:
            documents, after = view.documents(7, after, Listing(frozenset({collection})))
            listed += [((document.collection, document.source), view.text(document.id)) for document in documents]
    return listed


def differences(listed: Sequence[tuple[Key, str]], expected: Expected) -> Iterator[Violation]:
    """Compare what is listed with what may be: the state before, or the state after, and nothing between."""
    before = {key: version.text for key, version in expected.before.items()}
    after = {key: version.text for key, version in expected.after.items()}
    earlier = {version.text for version in expected.earlier}
    found = dict(listed)
    for key, count in Counter(key for key, _ in listed).items():
        if count > 1:
            yield Violation("duplicate", f"{key} is listed {count} times")
    if found in (before, after):
        return
    wrong = sorted(
        key for key in {*found, *before, *after} if found.get(key) not in (before.get(key), after.get(key))
    )
    if not wrong:
        yield Violation(
            "half", f"neither all nor nothing of {sorted(set(found.items()) ^ set(before.items()))}"[:300]
        )
    for key in wrong:
        text = found.get(key)
        kind = "lost" if text is None or text in earlier else "phantom"
        if text in earlier and key not in before and key not in after:
            kind = "resurrected"
        yield Violation(kind, f"{key} is {(text or 'missing')[:40]!r}, not {before.get(key, 'missing')[:40]!r}")


def _search_problems(view: View, state: State) -> Iterator[Violation]:
    for (collection, source), version in state.items():
        document = view.find_source(source, collection)
        if document is None:
            yield Violation("lost", f"{source} is not found by its name")
            continue
        for word in version.words:
            hits = view.search(word, 5, collection).hits
            if not hits or word not in hits[0].text or hits[0].document.id != document.id:
                yield Violation("index", f"{word} of {source} finds {[hit.text[:30] for hit in hits]}")
                continue
            span = hits[0].passage.span
            if not hits[0].text == view.quote(document.id, span) == span.of(version.text) != "":
                yield Violation("index", f"{word} of {source} is not quoted as it was written")
            places = [(hit.document.id, hit.passage.span.start) for hit in hits]
            if len(places) != len(set(places)):
                yield Violation("duplicate", f"{word} of {source} finds a passage twice")


def _gone(expected: Expected, state: State) -> list[Version]:
    live = set(state.values())
    candidates = {*expected.earlier, *expected.before.values(), *expected.after.values()}
    return sorted(candidates - live, key=lambda version: version.word)


def _dead_words(library: Library, gone: Sequence[Version], state: State) -> Iterator[Violation]:
    """No word of what is gone may be found; no older generation may show a document that was deleted."""
    with library.view() as view:
        for version, collection in product(gone, COLLECTIONS):
            word = version.words[-1]
            if any(word in hit.text for hit in view.search(word, 3, collection).hits):
                yield Violation("resurrected", f"{word} is found in {collection}")
    for number in range(max(0, library.generation - 3), library.generation):
        with suppress(GenerationNotKept), library.view(number) as older:
            for key, text in _listed(older):
                if key not in state:
                    yield Violation("resurrected", f"{key} is back in generation {number}: {text[:30]!r}")


def open_and_close(write: Write, folder: Path, models: Sequence[str] = MODELS[:1]) -> None:
    """Open a folder and close it again; what a kill during recovery interrupts."""
    write(b"opening\n")
    try:
        _opened(folder, models).close()
    except FundstelleError as error:
        write(f"refused {error.code}\n".encode())


def _filling(word: str) -> str:
    draw = random.Random(word)
    return " ".join(f"{' '.join(draw.sample(_FILLING, 4))}." for _ in range(9))
