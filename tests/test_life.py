"""The life of a data folder: versions, removal, layers, compaction, and what is left on the disk of what is gone."""

from __future__ import annotations

import hashlib
import math
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index import Hit, Library, Options, Vectors, View, document_from_bytes, document_from_text
from index.catalogue import Catalogue
from index.catalogue_file import FILE_NAME
from index.catalogue_schema import UNKNOWN_ORIGINAL
from index.encoder import TokenStates
from index.errors import DataDamaged, FundstelleError, GenerationNotKept, NotFound, StorageUnavailable
from index.generation import Layer
from index.stored import Listing
from index.upkeep import Upkeep
from tests import full_disk
from tests.conftest import ROOT, TEXTS
from tests.tiny import TinyEncoder

Open = Callable[..., Library]
PAUSE = "index.catalogue_file._PROBE_SECONDS"
"""How long after a refusal the disk is not asked again."""


@pytest.fixture
def live(tmp_path: Path, tiny: TinyEncoder) -> Iterator[Open]:
    """Open the test's data folder with options; it is closed at the end, or when it is opened again."""
    with ExitStack() as opened:

        def make(name: str = "data", *, writable: bool = True, **options: object) -> Library:
            opened.close()
            settings = Options(**options)  # type: ignore[arg-type]
            return opened.enter_context(Library(tmp_path / name, tiny, writable=writable, options=settings))

        yield make


def put(library: Library, source: str, text: str, collection: str = "default") -> str:
    (added,) = library.add([document_from_text(source, text)], collection)
    return added.document.id


def found(documents: Library | View, query: str, top_k: int = 10) -> list[str]:
    return [hit.document.source for hit in documents.search(query, top_k).hits]


def rounded(hits: Sequence[Hit]) -> list[tuple[str, int, float]]:
    return [(hit.document.source, hit.passage.id, round(hit.score, 6)) for hit in hits]


def paragraphs(*words: str) -> str:
    """Return a text with one passage for each word."""
    return "\n\n".join(f"The {word} is long and its paragraph fills a passage. " * 18 for word in words)


# ---- versions ------------------------------------------------------------------------------------------------


def test_an_updated_document_can_be_looked_at_as_it_was(live: Open) -> None:
    library = live()
    document_id = put(library, "bridge.txt", "The bridge closes. A windmill stands beside it.")
    before = library.generation
    span = library.search("windmill", 1).hits[0].sentences[1].span
    put(library, "bridge.txt", "The tunnel opens. A lighthouse stands beside it.")
    put(library, "later.txt", "A windmill that came later.")
    with library.view(before) as past:
        assert past.generation == past.search("windmill").generation == before
        assert past.text(document_id) == "The bridge closes. A windmill stands beside it."
        assert past.quote(document_id, span) == "A windmill stands beside it."
        assert [hit.text for hit in past.search("lighthouse").hits] == [past.text(document_id)]
        assert [document.source for document in past.documents(10)[0]] == ["bridge.txt"]
        assert past.counts().documents == 1
        assert past.find_source("later.txt") is None
        assert past.document(document_id).sha256 != library.document(document_id).sha256
    assert library.text(document_id) == "The tunnel opens. A lighthouse stands beside it."
    assert [hit.text for hit in library.search("windmill", 1).hits] == ["A windmill that came later."]
    assert library.problems() == []


def test_the_past_is_there_after_reopening_and_compaction(live: Open) -> None:
    library = live()
    document_id = put(library, "a.txt", "The windmill turns.")
    before = library.generation
    put(library, "a.txt", "The lighthouse shines.")
    expected = rounded(library.search("windmill lighthouse").hits)
    library.compact(force=True)
    again = live()
    with again.view(before) as past:
        assert past.text(document_id) == "The windmill turns."
        assert [hit.text for hit in past.search("windmill").hits] == ["The windmill turns."]
    assert rounded(again.search("windmill lighthouse").hits) == expected


def test_a_deleted_document_is_gone_from_the_past_too(live: Open) -> None:
    library = live()
    kept, gone = put(library, "kept.txt", "The harbour."), put(library, "gone.txt", "The windmill.")
    put(library, "gone.txt", "The windmill, rebuilt.")
    before = library.generation
    with library.view(before) as held:
        assert found(held, "windmill", 1) == ["gone.txt"]
        library.delete(gone)
        assert "gone.txt" not in found(held, "windmill")
        with pytest.raises(NotFound):
            held.text(gone)
    for number in range(2, before + 1):
        with library.view(number) as past:
            assert found(past, "windmill") == ["kept.txt"], number
            assert [document.id for document in past.documents(10)[0]] == [kept]
            with pytest.raises(NotFound):
                past.text(gone)


def test_the_past_has_as_many_hits_as_it_should_after_others_were_deleted(live: Open) -> None:
    """What was nearest and is erased must not take the places of what is left."""
    library = live(keep_generations=100)
    library.add([document_from_text(f"near{n}.txt", f"The lighthouse keeper number {n}.") for n in range(300)])
    library.add([document_from_text(f"far{n}.txt", f"A dull harbour with boats {n}.") for n in range(10)])
    put(library, "other.txt", "Something else.")
    with library.view(2) as past:
        assert len(past.search("lighthouse keeper", 10).hits) == 10
    library.delete_where({"source": [f"near{n}.txt" for n in range(300)]})
    with library.view(2) as past:
        assert sorted(found(past, "lighthouse keeper")) == sorted(f"far{n}.txt" for n in range(10))


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_generations_are_kept_as_long_as_they_should(live: Open, keep: int) -> None:
    library = live(keep_generations=keep)
    for number in range(8):
        put(library, "a.txt", f"Text number {number}.")
    for number in (library.generation - max(keep, 1), library.generation):
        with library.view(number) as view:
            assert view.text(view.documents(1)[0][0].id) == f"Text number {number - 1}."
    for number in (library.generation - max(keep, 1) - 1, library.generation + 1, -1, 0):
        with pytest.raises(GenerationNotKept), library.view(number):
            pass
    again = live(keep_generations=1000)
    with pytest.raises(GenerationNotKept), again.view(again.generation - max(keep, 1) - 1):
        pass
    assert again.problems() == []


@pytest.mark.parametrize("as_of", [None, 1])
@pytest.mark.parametrize("held", [True, False])
def test_a_generation_that_is_looked_at_is_not_erased(live: Open, held: bool, as_of: int | None) -> None:
    """With ``held`` false this is the null control: a view that was given back sees its documents vanish."""
    library = live(keep_generations=0)
    document_id = put(library, "a.txt", "The windmill of the beginning.")
    with ExitStack() as holding:
        view = holding.enter_context(library.view(as_of))
        if not held:
            holding.close()
        for number in range(50):
            put(library, "a.txt", f"Quite another text, number {number}.")
        try:
            seen = view.text(document_id), [hit.text for hit in view.search("windmill").hits]
        except NotFound:
            seen = "", []
        assert (seen == ("The windmill of the beginning.", ["The windmill of the beginning."])) is held
        assert library.problems() == []
    put(library, "a.txt", "The end.")
    put(library, "a.txt", "The very end.")
    with pytest.raises(GenerationNotKept), library.view(1):
        pass
    connection = sqlite3.connect(library.folder / FILE_NAME)
    assert connection.execute("SELECT count(*) FROM versions").fetchone() == (2,), "the newest and the one before"
    connection.close()


@pytest.mark.parametrize("through_a_view", [True, False])
def test_one_view_reads_one_state(live: Open, through_a_view: bool) -> None:
    """Both documents always say the same number; without a view (the null control) they are seen to differ."""
    library = live()
    ids: list[str] = []

    def write(number: int) -> None:
        texts = [document_from_text(f"{name}.txt", f"The {name} has number {number}.") for name in ("one", "two")]
        ids[:] = [item.document.id for item in library.add(texts)]

    write(0)
    differing = 0
    with library.view() as view:
        documents = view if through_a_view else library
        for number in range(1, 6):
            first = documents.text(ids[0])
            write(number)
            second = documents.text(ids[1])
            said = {hit.text.split()[-1] for hit in documents.search("one two", 10).hits}
            differing += first.split()[-1] != second.split()[-1] or said != {first.split()[-1]}
    assert (differing == 0) is through_a_view


@pytest.mark.parametrize("step", ["hydrate", "token_states"])
def test_a_document_erased_in_the_middle_of_a_search_is_found_whole_or_not_at_all(
    live: Open, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Read with its passages and then scored without its words, part of it could stay among the hits."""
    library = live()
    for number in range(9):
        put(library, f"{number}.txt", f"The bridge number {number} over the river closes. The ferry is late.")
    doomed = put(library, "doomed.txt", "\n\n".join(f"The bridge at {place} closes. " * 40 for place in "abcd"))
    real = getattr(Catalogue, step)
    calls: list[int] = []

    def erased_before(self: Catalogue, ids: Iterable[int], *rest: Any) -> Any:
        wanted = list(ids)
        if not calls and _passages_of(library, doomed) <= set(wanted):
            calls.append(1)
            library.delete(doomed)
        return real(self, wanted, *rest)

    with library.view() as view:
        before = found(view, "bridge closes", 6)  # draws what stands for the language, too
        assert before.count("doomed.txt") >= 2
        monkeypatch.setattr(Catalogue, step, erased_before)
        assert "doomed.txt" not in found(view, "bridge closes", 20)
    assert calls


def _passages_of(library: Library, document_id: str) -> set[int]:
    return {passage.id for passage in library.passages(document_id)}


def test_states_that_are_missing_are_noticed(live: Open, tmp_path: Path) -> None:
    library = live()
    put(library, "a.txt", "The bridge closes in October.")
    library.close()
    with sqlite3.connect(tmp_path / "data" / FILE_NAME) as connection:
        connection.execute("DELETE FROM token_states")
    connection.close()
    with pytest.raises(DataDamaged, match="token states"):
        live().search("bridge")


def test_a_passage_without_tokens_is_found_all_the_same(live: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    library = live()
    put(library, "a.txt", "The bridge closes in October.")
    nothing = TokenStates(np.empty((0, 1), np.int8), np.empty(0, np.uint16))
    monkeypatch.setattr(Catalogue, "token_states", lambda self, ids: dict.fromkeys(ids, nothing))
    assert found(library, "bridge") == ["a.txt"]


def test_views_of_many_threads_while_documents_change(live: Open) -> None:
    library = live(keep_generations=0)
    stop, problems = threading.Event(), []

    def write(number: int) -> None:
        library.add(
            [document_from_text(f"{name}.txt", f"The lamp {name} has mark{number}.") for name in ("one", "two")]
        )

    def read() -> None:
        while not stop.is_set():
            with library.view() as view:
                texts = {view.text(document.id).split()[-1] for document in view.documents(10)[0]}
                texts |= {hit.text.split()[-1] for hit in view.search("lamp", 10).hits}
                if len(texts) != 1:
                    problems.append(texts)

    write(0)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 40):
            write(number)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not problems
    assert library.problems() == []


# ---- embedding only what is new ------------------------------------------------------------------------------


def test_only_changed_passages_are_embedded_again(live: Open, tiny: TinyEncoder) -> None:
    library = live()

    def embedded(change: Callable[[], object]) -> int:
        before = tiny.texts_encoded
        change()
        return tiny.texts_encoded - before

    text = paragraphs("bridge", "ferry", "harbour")
    assert embedded(lambda: put(library, "a.txt", text)) == 3
    assert embedded(lambda: put(library, "a.txt", paragraphs("bridge", "ferry", "windmill"))) == 1
    assert embedded(lambda: put(library, "renamed.txt", text)) == 0
    assert embedded(lambda: put(library, "a.txt", text, "second")) == 0
    assert embedded(lambda: put(library, "a.txt", text)) == 0, "changed back"
    assert embedded(lambda: put(library, "b.txt", paragraphs("bridge", "bridge", "bridge", "tower"))) == 1
    assert library.problems() == []
    hits = library.search("windmill harbour", 10).hits
    assert {hit.document.source for hit in hits} == {"a.txt", "b.txt", "renamed.txt"}
    for hit in hits:
        assert hit.passage.span.of(library.text(hit.document.id)) == hit.text
    fresh = live("fresh")
    for source in ("a.txt", "renamed.txt"):
        put(fresh, source, text)
    again = live()
    again.delete_where({"source": "b.txt"})
    expected = sorted((source, score) for source, _, score in rounded(again.search("harbour", 10).hits))
    fresh = live("fresh")
    assert sorted((source, score) for source, _, score in rounded(fresh.search("harbour", 10).hits)) == expected


def test_what_was_erased_is_embedded_again(live: Open, tiny: TinyEncoder) -> None:
    """The null control of the test above: what is not stored any more cannot be taken from there."""
    library = live()
    text = paragraphs("bridge", "ferry")
    library.delete(put(library, "a.txt", text))
    before = tiny.texts_encoded
    put(library, "a.txt", text)
    assert tiny.texts_encoded - before == 2


# ---- removal -------------------------------------------------------------------------------------------------


def test_all_that_match_are_removed_at_once(live: Open) -> None:
    library = live()
    for year in (1900, 1950, 2000):
        library.add([document_from_text(f"{year}.txt", f"The harbour in {year}.", metadata={"year": year})])
    library.add([document_from_text("other.txt", "The harbour.", metadata={"year": 1900})], "second")
    before = library.generation
    removed = library.delete_where({"metadata.year": [1900, 1950]})
    assert sorted(document.source for document in removed) == ["1900.txt", "1950.txt"]
    assert library.generation == before + 1
    assert found(library, "harbour") == ["2000.txt"]
    assert library.find_source("other.txt", "second") is not None
    assert library.delete_where({"metadata.year": 1900}) == []
    assert library.generation == before + 1, "nothing removed, nothing changed"
    assert library.problems() == []


def test_only_what_an_import_brought_from_a_folder_is_removed_with_it(live: Open) -> None:
    library = live()

    def bring(source: str, origin: str, collection: str = "default") -> None:
        raw = document_from_text(source, f"The harbour says {source} {origin} {collection}.")
        library.add([replace(raw, origin=origin)], collection)

    bring("kept.txt", "/notes")
    bring("gone.txt", "/notes")
    bring("elsewhere.txt", "/letters")
    bring("handed-in.txt", "")
    bring("gone.txt", "/notes", "second")
    bring("taken-over.txt", "/notes")
    bring("taken-over.txt", "")  # then handed in by itself
    removed = library.retain("/notes", {"kept.txt"})
    assert [(document.source, document.collection) for document in removed] == [("gone.txt", "default")]
    assert {document.source for document in library.documents(10, listing=Listing(frozenset({"default"})))[0]} == {
        "kept.txt", "elsewhere.txt", "handed-in.txt", "taken-over.txt",
    }  # fmt: skip
    assert library.find_source("gone.txt", "second") is not None
    assert library.retain("/notes", {"kept.txt"}) == []


def test_an_unchanged_document_belongs_to_the_folder_it_was_last_imported_from(live: Open) -> None:
    library = live()
    raw = document_from_text("a.txt", "The harbour.")
    for origin in ("/old", "/new"):
        library.add([replace(raw, origin=origin)])
    assert library.retain("/old", set()) == []
    assert [document.source for document in library.retain("/new", set())] == ["a.txt"]


@pytest.mark.parametrize("masked", [True, False])
def test_the_dead_do_not_take_the_places_of_the_living(
    live: Open, monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    """Nine in ten are deleted, all nearer to the question than the rest; without masks the rest is not found."""
    if not masked:
        monkeypatch.setattr(Layer, "masks", lambda _layer, _allowed: (None, None))
    library = live()
    library.add([document_from_text(f"dead{n}.txt", f"The lighthouse keeper number {n}.") for n in range(300)])
    library.add([document_from_text(f"living{n}.txt", f"A dull harbour, boat {n}.") for n in range(33)])
    library.compact(force=True)
    library.delete_where({"source": [f"dead{n}.txt" for n in range(300)]})
    if masked:
        hits = library.search("lighthouse keeper", 10).hits
        assert len(hits) == 10
        assert all(hit.document.source.startswith("living") for hit in hits)
    else:
        with pytest.raises(DataDamaged):
            library.search("lighthouse keeper", 10)


def test_ids_are_never_used_again(live: Open) -> None:
    library = live()
    text = paragraphs("bridge", "ferry")
    seen: set[int] = set()
    documents: set[str] = set()
    for _ in range(4):
        document_id = put(library, "a.txt", text)
        ids = {passage.id for passage in library.passages(document_id)}
        assert len(ids) == 2
        assert not ids & seen
        assert document_id not in documents
        seen |= ids
        documents.add(document_id)
        library.delete(document_id)
        library = live()
    assert library.counts().documents == 0


# ---- layers and compaction -----------------------------------------------------------------------------------


def fill(library: Library, count: int) -> None:
    """Add, update and delete, one change at a time."""
    for number in range(count):
        put(library, f"{number}.txt", f"The lighthouse keeper met boat {number} in the harbour of town {number % 7}.")
    for number in range(0, count, 5):
        put(library, f"{number}.txt", f"The harbour master met the keeper of windmill {number}.")
    for number in range(0, count, 8):
        library.delete_where({"source": f"{number}.txt"})


QUERIES = ("lighthouse keeper", "boat in the harbour", "windmill 15", "town 3")


@pytest.mark.parametrize("merging", [True, False])
def test_few_layers_after_many_changes(live: Open, monkeypatch: pytest.MonkeyPatch, merging: bool) -> None:
    if not merging:
        monkeypatch.setattr("index.generation._mergeable", lambda _one, _other: False)
    library = live()
    fill(library, 64)
    additions = 64 + 13
    layers = library.index_state().layers
    assert layers <= math.log2(additions) + 2 if merging else layers == additions
    answers = [rounded(library.search(query, 10).hits) for query in QUERIES]
    again = live()
    assert again.index_state().layers == 1
    assert [rounded(again.search(query, 10).hits) for query in QUERIES] == answers
    assert again.problems() == []


def test_compaction_changes_the_disk_and_no_answer(live: Open) -> None:
    library = live(keep_generations=0)
    index = library.folder / "index"
    fill(library, 30)
    state = library.index_state()
    assert state.unsettled > 0
    assert not state.saved
    answers = [rounded(library.search(query, 10).hits) for query in QUERIES]
    generation = library.generation
    for name in ("more0.txt", "more1.txt", "more2.txt"):
        put(library, name, "A tower.")
        assert library.compact(force=True)
        state = library.index_state()
        assert (state.unsettled, state.layers, state.saved) == (0, 1, True)
        assert (index / "CURRENT").read_text().split()[0] == f"generation-{library.generation:08d}-1"
        assert len([entry for entry in index.iterdir() if entry.is_dir()]) <= 2
        assert library.problems() == []
    assert not (index / f"generation-{generation + 1:08d}-1").exists()
    library.delete_where({"source": ["more0.txt", "more1.txt", "more2.txt"]})
    assert [rounded(library.search(query, 10).hits) for query in QUERIES] == answers
    library.compact(force=True)
    assert [rounded(library.search(query, 10).hits) for query in QUERIES] == answers
    again = live(writable=False)
    assert (again.index_problem, again.index_state().unsettled, again.index_state().saved) == ("", 0, True)
    assert [rounded(again.search(query, 10).hits) for query in QUERIES] == answers


def test_little_change_is_not_worth_a_new_base(live: Open) -> None:
    library = live()
    library.add([document_from_text(f"{n}.txt", f"Boat {n}.") for n in range(40)])
    assert library.compact()
    put(library, "one-more.txt", "Another boat.")
    assert not library.compact()
    library.delete_where({"source": [f"{n}.txt" for n in range(6)]})
    assert library.compact()


def test_a_base_that_has_everything_is_not_built_again(live: Open) -> None:
    """What is kept of the past is part of the base, too: building it again would change nothing."""
    library = live(keep_generations=10)
    for text in ("The harbour has boats.", "The harbour is empty."):
        library.add([document_from_text(f"{n}.txt", f"{text} {n}") for n in range(30)])
    assert library.compact()
    assert not library.worth_compacting()
    assert not library.compact()


@pytest.mark.parametrize("background", [True, False])
def test_the_index_is_kept_in_shape_while_questions_are_answered(
    live: Open, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    """With ``background`` false this is the null control: nobody compacts."""
    monkeypatch.setattr("index.library.Upkeep", partial(Upkeep, seconds=0.01, least=1))
    library = live(background=background)
    stop, problems = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            hits = library.search("lighthouse keeper", 3).hits
            if len(hits) != 3 or any("lighthouse" not in hit.text for hit in hits):
                problems.append([hit.text for hit in hits])

    library.add([document_from_text(f"fixed{n}.txt", f"The lighthouse keeper {n}.") for n in range(3)])
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(15):
            put(library, f"{number}.txt", f"Boat {number} in the harbour.")
        deadline = time.monotonic() + (20 if background else 0.3)
        while time.monotonic() < deadline and not (library.index_state().saved and not library.worth_compacting(1)):
            time.sleep(0.01)
    finally:
        stop.set()
        reader.join()
    assert not problems
    assert library.index_state().saved is background
    assert (library.folder / "index" / "CURRENT").exists() is background
    answers = rounded(library.search("harbour", 10).hits)
    assert library.problems() == []
    assert rounded(live().search("harbour", 10).hits) == answers


def test_upkeep_that_fails_is_logged_and_tried_again(
    live: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("index.library.Upkeep", partial(Upkeep, seconds=0.01, least=1))
    build = Library.compact
    failures: list[Exception] = [RuntimeError("a bug"), StorageUnavailable("storage_failed", "The disk is broken.")]

    def compact(library: Library, *, force: bool = False) -> bool:
        if failures:
            raise failures.pop()
        return build(library, force=force)

    monkeypatch.setattr(Library, "compact", compact)
    library = live(background=True)
    put(library, "a.txt", "The harbour.")
    deadline = time.monotonic() + 20
    while not library.index_state().saved and time.monotonic() < deadline:
        time.sleep(0.01)
    assert library.index_state().saved
    assert "storage_failed: The disk is broken." in caplog.text
    assert "a bug" in caplog.text


# ---- what is on the disk -------------------------------------------------------------------------------------

GERMAN = "Die Brücke über die Elbe ist gesperrt. Übermäßig große Züge fahren nicht. Fährt die Fähre für Fußgänger?\n"
FILES = {
    "latin.txt": (GERMAN * 3).encode("latin-1"),
    "marked.txt": b"\xef\xbb\xbf" + GERMAN.encode(),
    "wide.txt": GERMAN.encode("utf-16"),
    "plain.txt": GERMAN.encode(),
    "windows.txt": GERMAN.replace("\n", "\r\n").encode(),
}


def originals(library: Library) -> dict[str, bytes | None]:
    connection = sqlite3.connect(library.folder / FILE_NAME)
    try:
        query = "SELECT source, original FROM texts JOIN versions ON version = versions.number JOIN documents"
        return dict(connection.execute(f"{query} ON documents.number = document").fetchall())
    finally:
        connection.close()


def test_every_file_is_kept_byte_for_byte(live: Open) -> None:
    library = live()
    library.add([document_from_bytes(source, data) for source, data in FILES.items()])
    kept = originals(library)
    for source, data in FILES.items():
        document = library.find_source(source)
        assert document is not None
        assert document.sha256 == hashlib.sha256(data).hexdigest()
        assert (kept[source] or library.text(document.id).encode()) == data
    assert [source for source, data in kept.items() if data is None] == ["plain.txt", "windows.txt"]
    assert library.problems() == []


@pytest.mark.parametrize("source", FILES)
def test_bytes_that_are_not_the_original_are_noticed(live: Open, source: str) -> None:
    """The null control of the test above."""
    library = live()
    library.add([document_from_bytes(name, data) for name, data in FILES.items()])
    connection = sqlite3.connect(library.folder / FILE_NAME)
    connection.execute(
        "UPDATE texts SET original = CAST(coalesce(original, text) || '!' AS BLOB) WHERE version ="
        " (SELECT versions.number FROM versions JOIN documents ON documents.number = document WHERE source = ?)",
        (source,),
    )
    connection.commit()
    connection.close()
    assert any("document" in problem for problem in library.problems())


def files_with(folder: Path, word: str) -> list[str]:
    """Return the files that hold a word, in any encoding that is stored."""
    forms = (word.encode(), word.encode("utf-16-le"))
    contents = {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return sorted(name for name, data in contents.items() if any(form in data for form in forms))


def test_no_word_of_what_was_deleted_is_left_on_the_disk(live: Open, tmp_path: Path) -> None:
    library = live(keep_generations=0)
    put(library, "kept.txt", paragraphs("harbour", "keptword"))
    title = document_from_text("gone.txt", paragraphs("erasedword", "ferry"), "erasedtitle", {"note": "erasednote"})
    (added,) = library.add([title, document_from_bytes("wide.txt", paragraphs("erasedwide").encode("utf-16"))])[:1]
    put(library, "updated.txt", paragraphs("erasedversion"))
    library.compact(force=True)
    words = ("erasedword", "erasedtitle", "erasednote", "erasedwide", "erasedversion")
    live("unrelated")  # closes it
    assert [files_with(tmp_path / "data", word) for word in words] == [[FILE_NAME]] * len(words), "null control"
    library = live(keep_generations=0)
    library.delete(added.document.id)
    library.delete_where({"source": "wide.txt"})
    put(library, "updated.txt", paragraphs("tower"))
    put(library, "updated.txt", paragraphs("tunnel"))
    live("unrelated")
    assert [files_with(tmp_path / "data", word) for word in words] == [[]] * len(words)
    assert files_with(tmp_path / "data", "keptword") == [FILE_NAME]
    assert live().problems() == []


# ---- older data ----------------------------------------------------------------------------------------------


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """A data folder as the first version wrote it."""
    folder = tmp_path / "data"
    folder.mkdir()
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.executescript((ROOT / "tests" / "data" / "format-1.sql").read_text("utf-8"))
    connection.close()
    return folder


def test_a_folder_of_format_1_is_brought_up_to_date(old_folder: Path, live: Open, tiny: TinyEncoder) -> None:
    query = "SELECT id, collection, source, title, language, sha256, characters, passages, text FROM documents"
    connection = sqlite3.connect(old_folder / FILE_NAME)
    expected = connection.execute(query).fetchall()
    passages = dict(
        connection.execute("SELECT passages.id, documents.id FROM passages JOIN documents ON document = number")
    )
    connection.close()
    library = live()
    assert tiny.texts_encoded == 0, "the vectors were kept"
    assert library.generation == 4
    documents = library.documents(10)[0]
    assert [
        (d.id, d.collection, d.source, d.title, d.language, d.sha256, d.characters, d.passages, library.text(d.id))
        for d in documents
    ] == expected
    assert {p.id: p.document_id for d in documents for p in library.passages(d.id)} == passages
    assert [hit.document.source for hit in library.search("old bridge", filters={"metadata.year": 1900}).hits] == [
        "bridge.txt"
    ]
    assert library.search("old bridge", filters={"metadata.town": "Kiel", "metadata.year": 2000}).hits == ()
    assert [hit.document.source for hit in library.search("Brücke", collection="archive").hits] == ["latin.txt"]
    assert library.problems() == []
    put(library, "bridge.txt", "The tunnel opens.")
    with library.view(4) as past:
        assert past.search("repair of the bridge").hits[0].text == expected[0][-1]
    library.delete(expected[1][0])
    assert max(p.id for p in library.passages(expected[0][0])) > max(passages), "ids go on where they were"
    assert live(writable=False).problems() == []


def test_the_answers_of_a_folder_of_format_1_stay_the_same(old_folder: Path, live: Open) -> None:
    library = live()
    answers = [(h.document.source, round(h.score, 3)) for h in library.search("canteen of the hospital").hits]
    texts = {
        document.source: library.text(document.id)
        for document in library.documents(10, listing=Listing(frozenset({"default"})))[0]
    }
    fresh = live("fresh")
    fresh.add([document_from_text(source, text) for source, text in texts.items()])
    assert [(h.document.source, round(h.score, 3)) for h in fresh.search("canteen of the hospital").hits] == answers


def test_originals_of_format_1_are_found_again_where_they_can(old_folder: Path, live: Open) -> None:
    kept = originals(live())
    assert kept == {
        "bridge.txt": None,
        "hospital.txt": None,
        "latin.txt": "Die Brücke über die Elbe ist gesperrt.".encode("latin-1"),
    }
    assert UNKNOWN_ORIGINAL not in kept.values()


def test_a_folder_of_format_1_cannot_only_be_read(old_folder: Path, live: Open) -> None:
    before = (old_folder / FILE_NAME).read_bytes()
    with pytest.raises(FundstelleError) as error:
        live(writable=False)
    assert "fundstelle index" in str(error.value)
    assert "format 1" in str(error.value)
    assert (old_folder / FILE_NAME).read_bytes() == before
    live()
    assert live(writable=False).counts().documents == 3


# ---- an index that does not belong to the catalogue ----------------------------------------------------------


def restore_catalogue(live: Open, folder: Path) -> None:
    """Put the catalogue of generation 2 beside an index of generation 4 with other documents.

    Then two other documents are added, so that the numbers of generations and passages are the same again.
    """
    library = live()
    put(library, "a.txt", "The bridge of the beginning.")
    put(library, "b.txt", "The ferry of the beginning.")
    live("unrelated")  # closes it
    earlier = shutil.copy(folder / FILE_NAME, folder.with_name("earlier.db"))
    library = live()
    put(library, "c.txt", "The hospital that never was.")
    put(library, "d.txt", "The canteen that never was.")
    library.compact(force=True)
    live("unrelated")
    shutil.copy(earlier, folder / FILE_NAME)
    index = shutil.move(folder / "index", folder.with_name("index-aside"))
    library = live()
    put(library, "e.txt", "A windmill instead.")
    put(library, "f.txt", "A lighthouse instead.")
    assert library.generation == 4
    live("unrelated")
    shutil.rmtree(folder / "index", ignore_errors=True)
    shutil.move(index, folder / "index")


def test_an_index_from_before_the_catalogue_was_restored_is_not_believed(live: Open, tmp_path: Path) -> None:
    restore_catalogue(live, tmp_path / "data")
    reader = live(writable=False)
    assert reader.index_problem
    assert found(reader, "windmill", 1) == ["e.txt"]
    writer = live()
    assert (writer.index_problem, writer.problems()) == ("", [])
    assert found(writer, "windmill", 1) == ["e.txt"]
    assert found(writer, "lighthouse", 1) == ["f.txt"]
    assert "never was" not in " ".join(hit.text for hit in writer.search("hospital canteen").hits)
    assert live(writable=False).index_problem == ""


def test_without_marks_a_foreign_index_would_be_believed(
    live: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The null control of the test above: the marks are what notices."""

    def no_marks(digests: Iterator[bytes]) -> NDArray[np.int64]:
        return np.zeros(len(list(digests)), np.int64)

    monkeypatch.setattr("index.rows.marks", no_marks)
    restore_catalogue(live, tmp_path / "data")
    assert live(writable=False).index_problem == ""


def test_an_index_newer_than_its_catalogue_is_not_believed(live: Open, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    library = live()
    put(library, "a.txt", "The bridge.")
    live("unrelated")
    earlier = shutil.copy(folder / FILE_NAME, tmp_path / "earlier.db")
    library = live()
    put(library, "b.txt", "The windmill.")
    library.compact(force=True)
    live("unrelated")
    shutil.copy(earlier, folder / FILE_NAME)
    reader = live(writable=False)
    assert reader.index_problem
    assert found(reader, "windmill") == ["a.txt"]
    writer = live()
    assert (writer.problems(), found(writer, "windmill")) == ([], ["a.txt"])


# ---- a disk that is full -------------------------------------------------------------------------------------


def test_a_full_disk_refuses_writing_and_nothing_else(live: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = full_disk.install(monkeypatch)
    library = live()
    kept = put(library, "a.txt", "The bridge.")
    generation = library.generation
    disk.full = True
    monkeypatch.setattr(PAUSE, 600.0)
    changes: list[Callable[[], object]] = [
        lambda: put(library, "b.txt", "The windmill."),
        lambda: put(library, "a.txt", "The tunnel."),
        lambda: library.delete(kept),
        lambda: library.delete_where({"source": "a.txt"}),
        lambda: library.store([document_from_text("c.txt", "The tower.")]),
        library.forget_other_models,
    ]
    for change in changes:
        with pytest.raises(StorageUnavailable) as error:
            change()
        assert error.value.code == "storage_full"
        assert library.write_problem == "The disk is full."
        assert library.generation == generation
        assert [hit.text for hit in library.search("windmill bridge").hits] == ["The bridge."]
        assert library.text(kept) == "The bridge."
    assert disk.refused == 1, "a disk that has just refused is not asked again at once"
    monkeypatch.setattr(PAUSE, 0.0)
    with pytest.raises(StorageUnavailable):
        put(library, "b.txt", "The windmill.")
    assert disk.refused == 2, "one probe, and no change, reached the disk"
    disk.full = False
    put(library, "b.txt", "The windmill.")
    assert library.write_problem == ""
    assert found(library, "windmill", 1) == ["b.txt"]
    library.delete(kept)
    assert library.problems() == []
    again = live()
    assert (again.problems(), [document.source for document in again.documents(10)[0]]) == ([], ["b.txt"])


def test_what_must_stay_free_is_left_free(live: Open) -> None:
    library = live()
    kept = put(library, "a.txt", "The bridge.")
    library = live(disk_reserve=2**60)
    with pytest.raises(StorageUnavailable) as error:
        put(library, "b.txt", "The windmill.")
    assert error.value.code == "storage_full"
    assert library.write_problem == ""
    library.delete(kept)
    assert library.counts().documents == 0


def test_an_index_that_cannot_be_saved_answers_all_the_same(live: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    library = live()
    library.add([document_from_text(source, text) for source, text in TEXTS.items()])

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("index.library.save_base", fail)
        library.compact(force=True)
        assert "No space" in library.index_problem
        assert found(library, "bridge", 1) == ["bridge.txt"]
        assert not library.index_state().saved
    assert library.compact()
    assert (library.index_problem, library.index_state().saved) == ("", True)


# ---- a model that computes nonsense --------------------------------------------------------------------------


class Nonsense(TinyEncoder):
    """Gives no numbers for texts about poison."""

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        vectors = super()._vectors(texts)
        vectors[[place for place, text in enumerate(texts) if "poison" in text]] = np.nan
        return vectors


def test_a_vector_that_is_none_is_not_stored(tmp_path: Path) -> None:
    """A folder that holds one could never be opened again."""
    with Library(tmp_path / "data", Nonsense(), writable=True) as library:
        put(library, "a.txt", "The bridge.")
        with pytest.raises(FundstelleError):
            put(library, "b.txt", "The poison.")
        assert (library.generation, library.problems()) == (1, [])
        put(library, "c.txt", "The ferry.")
    with Library(tmp_path / "data", TinyEncoder(), writable=True) as library:
        assert found(library, "ferry", 1) == ["c.txt"]
        assert library.problems() == []
