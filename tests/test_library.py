from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from index import Library, document_from_text
from index.catalogue_file import FILE_NAME
from index.catalogue_schema import FORMAT
from index.errors import (
    DataDamaged,
    DataFolderInUse,
    DataFolderMissing,
    FilterRejected,
    FormatNewer,
    ModelMismatch,
    NotFound,
    QuestionRejected,
)
from tests.conftest import TEXTS
from tests.tiny import TinyEncoder

Open = Callable[..., Library]


def sources(library: Library, query: str, **options: object) -> list[str]:
    return [hit.document.source for hit in library.search(query, 10, **options).hits]  # type: ignore[arg-type]


def test_hits_are_ordered_and_slices_of_their_documents(library: Library) -> None:
    result = library.search("when does the bridge close?", 10)
    assert result.hits[0].document.source == "bridge.txt"
    assert [hit.rank for hit in result.hits] == list(range(1, len(result.hits) + 1))
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)
    for hit in result.hits:
        text = library.text(hit.document.id)
        assert hit.passage.span.of(text) == hit.text
        assert library.quote(hit.document.id, hit.passage.span) == hit.text
        assert len(hit.sentences) == len(hit.sentence_cosines) > 0


def test_golden_order_and_scores(library: Library) -> None:
    """Exact values on the tiny encoder: a changed weight or sign shows here."""
    golden = Path(__file__).parent / "golden" / "ranking.json"
    found = [
        [query, [[hit.document.source, hit.passage.span.start, round(hit.score, 5)] for hit in hits]]
        for query in ("bridge repair costs", "nurses in the hospital", "flooded hops")
        for hits in [library.search(query, 5).hits]
    ]
    assert found == json.loads(golden.read_text("utf-8"))


def test_the_same_words_in_two_documents_are_two_hits(open_library: Open) -> None:
    library = open_library()
    text = "The ferry leaves every twenty minutes."
    library.add([document_from_text("one.txt", text), document_from_text("two.txt", text)])
    assert sorted(sources(library, "when does the ferry leave?")) == ["one.txt", "two.txt"]


def test_adding_again_changes_nothing(library: Library, tiny: TinyEncoder) -> None:
    generation, encoded = library.generation, tiny.texts_encoded
    outcomes = {item.outcome for item in library.add([document_from_text(s, t) for s, t in TEXTS.items()])}
    assert outcomes == {"unchanged"}
    assert (library.generation, tiny.texts_encoded) == (generation, encoded)


def test_an_update_keeps_the_id_and_forgets_the_old_text(library: Library) -> None:
    before = library.find_source("bridge.txt")
    assert before is not None
    (updated,) = library.add([document_from_text("bridge.txt", "The tunnel opens in May.")])
    assert (updated.outcome, updated.document.id) == ("updated", before.id)
    assert not any("bridge closes" in hit.text for hit in library.search("the bridge closes", 10).hits)
    assert library.search("tunnel", 1).hits[0].text == "The tunnel opens in May."
    assert library.problems() == []


def test_the_last_of_two_documents_with_one_source_counts(open_library: Open) -> None:
    library = open_library()
    added = library.add([document_from_text("a.txt", "First."), document_from_text("a.txt", "Second.")])
    assert len(added) == 1
    assert library.text(added[0].document.id) == "Second."


def test_a_deleted_document_is_never_found_again(library: Library, open_library: Open) -> None:
    found = library.search("bridge", 1).hits[0].document
    library.delete(found.id)
    assert "bridge.txt" not in sources(library, "the old bridge")
    with pytest.raises(NotFound):
        library.text(found.id)
    with pytest.raises(NotFound):
        library.delete(found.id)
    library.close()
    assert "bridge.txt" not in sources(open_library(), "the old bridge")


def test_a_hit_the_catalogue_does_not_list_is_never_shown(library: Library) -> None:
    """An index that is behind the catalogue: its dead ids lead to nothing, not to another text."""
    document = library.search("bridge", 1).hits[0].document
    with library.view() as view:
        library.catalogue.remove([document.id], view.state.model)  # past the library: the generation still has it
        assert view.state.living > library.counts().passages
        assert [hit.document.source for hit in view.search("the old bridge").hits] == ["hospital.txt", "harvest.txt"]


def test_what_was_stored_is_there_after_reopening(library: Library, open_library: Open) -> None:
    before = library.search("nurses", 3)
    library.close()
    again = open_library()
    assert again.index_problem == ""
    after = again.search("nurses", 3)
    assert [(hit.passage, round(hit.score, 6)) for hit in after.hits] == [
        (hit.passage, round(hit.score, 6)) for hit in before.hits
    ]
    assert again.generation == before.generation


HARMS = ["missing", "flipped", "truncated", "empty", "manifest", "folder", "current gone", "current", "stranger"]


def harm_index(folder: Path, harm: str) -> None:
    current = folder / "CURRENT"
    generation = folder / current.read_text().split()[0]
    file = generation / "passages.faiss"
    data = bytearray(file.read_bytes())
    if harm == "missing":
        file.unlink()
    elif harm == "flipped":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif harm == "truncated":
        file.write_bytes(data[:-7])
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "manifest":
        manifest = generation / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"number": 1', '"number": 0'))
    elif harm == "folder":
        shutil.rmtree(generation)
    elif harm == "current gone":
        current.unlink()
    elif harm == "current":
        current.write_text("generation-00000099-1 " + "0" * 64 + "\n")
    elif harm == "stranger":
        file.unlink()
        file.symlink_to(generation / "sentences.faiss")


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_index_is_noticed_and_built_again(library: Library, open_library: Open, harm: str) -> None:
    expected = sources(library, "bridge repair")
    assert library.compact(force=True)
    library.close()
    harm_index(library.folder / "index", harm)
    reader = open_library(writable=False)
    assert reader.index_problem, "the damage went unnoticed"
    assert any("index" in problem for problem in reader.problems())
    assert sources(reader, "bridge repair") == expected
    reader.close()
    writer = open_library()
    assert (writer.index_problem, writer.problems()) == ("", [])
    assert sources(writer, "bridge repair") == expected
    writer.close()
    assert open_library(writable=False).index_problem == ""


def test_an_undamaged_index_is_not_built_again(library: Library, open_library: Open) -> None:
    """The null control of the test above: without harm nothing is reported."""
    library.compact(force=True)
    library.close()
    reader = open_library(writable=False)
    assert reader.index_problem == ""
    assert reader.index_state().saved


def test_an_index_of_another_data_folder_is_not_believed(library: Library, open_library: Open) -> None:
    library.compact(force=True)
    library.close()
    other = open_library("other")
    other.add([document_from_text("other.txt", "An entirely different lighthouse.")])
    other.compact(force=True)
    other.close()
    shutil.rmtree(library.folder / "index")
    shutil.copytree(other.folder / "index", library.folder / "index")
    reader = open_library(writable=False)
    assert "another" in reader.index_problem
    assert sources(reader, "bridge repair")[0] == "bridge.txt"


def test_what_came_after_the_index_was_saved_is_there_after_reopening(library: Library, open_library: Open) -> None:
    library.compact(force=True)
    library.add([document_from_text("new.txt", "A new lighthouse shines.")])
    library.delete(library.search("nurses", 1).hits[0].document.id)
    library.store([document_from_text("stored.txt", "A stored windmill turns.")])
    assert "stored.txt" not in sources(library, "windmill"), "not before refresh"
    library.close()
    again = open_library()
    assert again.index_problem == ""
    assert sources(again, "lighthouse")[0] == "new.txt"
    assert sources(again, "windmill")[0] == "stored.txt"
    assert "hospital.txt" not in sources(again, "nurses")
    assert again.problems() == []


def test_filters_and_collections(open_library: Open) -> None:
    library = open_library()
    library.add([document_from_text("a.txt", "The harbour is old.", metadata={"year": 1900, "town": "Kiel"})])
    library.add([document_from_text("b.txt", "The harbour is new.", metadata={"year": 2020})])
    library.add([document_from_text("c.txt", "The harbour is secret.")], collection="private")
    assert sorted(sources(library, "harbour")) == ["a.txt", "b.txt"]
    assert sources(library, "harbour", collection="private") == ["c.txt"]
    assert sources(library, "harbour", collection="nobody") == []
    assert sources(library, "harbour", filters={"source": "b.txt"}) == ["b.txt"]
    assert sources(library, "harbour", filters={"metadata.year": [1900, 1950]}) == ["a.txt"]
    assert sources(library, "harbour", filters={"metadata.town": "Kiel", "metadata.year": 2020}) == []
    wrongs: list[dict[str, object]] = [{"text": "x"}, {"source": []}, {"metadata.": 1}, {"source": {"a": 1}}]
    for wrong in wrongs:
        with pytest.raises(FilterRejected):
            library.search("harbour", filters=wrong)  # type: ignore[arg-type]


def test_filters_are_data_not_sql(library: Library) -> None:
    hostile = "x' OR 1=1; DROP TABLE documents; --"
    assert sources(library, "bridge", filters={"source": hostile, f"metadata.{hostile}": hostile}) == []
    assert library.counts().documents == len(TEXTS)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "question_empty"),
        (" \n", "question_empty"),
        ("?!…", "question_empty"),
        ("a" * 10_000, "question_too_long"),
        ("was \ud800 ist", "question_invalid"),
        ("was \0 ist", "question_invalid"),
    ],
)
def test_questions_that_cannot_be_searched(library: Library, query: str, code: str) -> None:
    with pytest.raises(QuestionRejected) as error:
        library.search(query)
    assert error.value.code == code


@pytest.mark.parametrize("top_k", [0, 101, -1])
def test_top_k_has_bounds(library: Library, top_k: int) -> None:
    with pytest.raises(QuestionRejected):
        library.search("bridge", top_k)


def test_an_empty_library_finds_nothing(open_library: Open) -> None:
    assert open_library().search("anything").hits == ()


def test_a_stranger_model_is_refused_and_nothing_is_lost(library: Library, tmp_path: Path) -> None:
    library.close()
    before = (tmp_path / "data" / FILE_NAME).read_bytes()
    with pytest.raises(ModelMismatch):
        Library(tmp_path / "data", TinyEncoder("other"), writable=True)
    assert (tmp_path / "data" / FILE_NAME).read_bytes() == before


def test_a_newer_format_is_refused_and_nothing_is_lost(library: Library, tmp_path: Path, tiny: TinyEncoder) -> None:
    library.close()
    file = tmp_path / "data" / FILE_NAME
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    before = file.read_bytes()
    for writable in (True, False):
        with pytest.raises(FormatNewer):
            Library(tmp_path / "data", tiny, writable=writable)
    assert file.read_bytes() == before


def test_a_folder_of_other_files_is_not_taken_over(tmp_path: Path, tiny: TinyEncoder) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader")
    with pytest.raises(DataDamaged) as error:
        Library(tmp_path, tiny, writable=True)
    assert error.value.code == "not_a_data_folder"
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_that_is_no_catalogue(tmp_path: Path, tiny: TinyEncoder) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to be read as one" * 40)
    for writable in (True, False):
        with pytest.raises(DataDamaged):
            Library(tmp_path, tiny, writable=writable)


def test_reading_needs_a_folder(tmp_path: Path, tiny: TinyEncoder) -> None:
    with pytest.raises(DataFolderMissing):
        Library(tmp_path / "absent", tiny, writable=False)
    assert not (tmp_path / "absent").exists()


def test_a_second_process_is_refused_and_the_kernel_frees_the_lock(library: Library, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.tiny import TinyEncoder; from index import Library\n"
        "from index.errors import DataFolderInUse\n"
        "try:\n  Library(Path(sys.argv[1]), TinyEncoder(), writable=True)\n"
        "except DataFolderInUse: sys.exit(7)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    root = Path(__file__).parent.parent
    assert subprocess.run(command, cwd=root, check=False).returncode == 7
    assert library.search("bridge", 1).hits
    library.close()
    assert subprocess.run(command, cwd=root, check=False).returncode == 0


def test_several_may_read_but_not_beside_a_writer(library: Library, open_library: Open) -> None:
    with pytest.raises(DataFolderInUse):
        open_library(writable=False)
    library.close()
    first, second = open_library(writable=False), open_library(writable=False)
    assert sources(first, "bridge") == sources(second, "bridge")
    with pytest.raises(DataFolderInUse):
        open_library(writable=True)


def test_searching_while_documents_change(open_library: Open) -> None:
    library = open_library()
    library.add([document_from_text("fixed.txt", "The lighthouse shines at night.")])
    stop = threading.Event()
    problems: list[object] = []

    def read() -> None:
        while not stop.is_set():
            result = library.search("lighthouse", 5)
            if not any(hit.document.source == "fixed.txt" for hit in result.hits):
                problems.append(result)
            for hit in result.hits:
                if library.quote(hit.document.id, hit.passage.span) not in (hit.text, None, ""):
                    stored = library.quote(hit.document.id, hit.passage.span)
                    if hit.document.source == "fixed.txt":
                        problems.append(stored)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(30):
            (added,) = library.add([document_from_text("moving.txt", f"The lighthouse keeper is number {number}.")])
            if number % 5 == 4:
                library.delete(added.document.id)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not problems
    assert library.problems() == []


def test_verify_notices_what_is_wrong(library: Library) -> None:
    library.close()
    file = library.folder / FILE_NAME
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE texts SET text = 'shorter' WHERE version = 1")
    connection.close()
    with Library(library.folder, TinyEncoder(), writable=False) as damaged:
        assert any("bridge" in problem or "document" in problem for problem in damaged.problems())


@pytest.mark.parametrize("empty", [True, False], ids=["emptied", "missing"])
@pytest.mark.parametrize("left", ["lock", "fundstelle.db-wal", "index", ""])
def test_a_catalogue_that_was_lost_is_noticed_by_whatever_is_left(
    tmp_path: Path, tiny: TinyEncoder, left: str, empty: bool
) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    with Library(folder, tiny, writable=True) as library:
        library.add([document_from_text("a.txt", "The bridge over the Tess is closed.")])
        library.compact(force=True)
        library.add([document_from_text("b.txt", "The ferry runs twice a day.")])
        copy.mkdir()  # as a copy of a folder in use may have it: one of what stands beside the catalogue, or nothing
        if left == "index":
            shutil.copytree(folder / left, copy / left)
        elif left:
            shutil.copyfile(folder / left, copy / left)
    if empty:
        (copy / FILE_NAME).touch()
    if not left:  # null control: an empty folder, or one that was just begun, is no loss
        with Library(copy, tiny, writable=True) as library:
            assert library.counts().documents == 0
        return
    with pytest.raises(DataDamaged) as refused:
        Library(copy, tiny, writable=True)
    assert refused.value.code in {"data_damaged", "not_a_data_folder"}
    with pytest.raises((DataDamaged, DataFolderMissing)):
        Library(copy, tiny, writable=False)
