"""The commands that keep a data folder in order: mirroring folders, removing, looking back, backups, other models.

They run in this process on tiny models that are opened by name, so that a command takes milliseconds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from index import EMBEDDED_MODEL, Library, document_from_text
from index.encoder import EncodedPassages, EncoderInfo, TokenStates, Vectors
from index.errors import ModelUnavailable
from index.stored import Listing
from service.cli import app
from tests.conftest import ROOT
from tests.tiny import DIMENSION, TinyEncoder


class Useless(TinyEncoder):
    """Puts the numbers of passages into another order than those of questions."""

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        encoded = super().encode_passages(texts)
        states = (TokenStates(np.roll(each.codes, 1, axis=1), each.starts) for each in encoded.tokens)
        return EncodedPassages(np.roll(encoded.vectors, 1, axis=1), tuple(states))

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        rolled: Vectors = np.roll(super().encode_sentences(texts), 1, axis=1)
        return rolled


class Models:
    """What ``open_encoder`` gives by name, and what was opened."""

    def __init__(self) -> None:
        self.opened: list[TinyEncoder] = []
        self.unavailable: set[str] = set()
        self.recomputed: set[str] = set()

    def open(self, name: str = EMBEDDED_MODEL, *_: object) -> TinyEncoder:
        if name in self.unavailable:
            raise ModelUnavailable("model_unavailable", f"There is no model '{name}'.")
        encoder = Useless(name) if name == "useless" else TinyEncoder(name)
        if name in self.recomputed:
            encoder.info = EncoderInfo(name, f"new-{name}", DIMENSION, 10_000, DIMENSION, "hash")
        self.opened.append(encoder)
        return encoder


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    made = Models()
    monkeypatch.setattr("index.open_encoder", made.open)
    monkeypatch.setenv("FUNDSTELLE_MIN_CONFIDENCE", "0")
    return made


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    write(folder, "bridge.txt", "The bridge closes in October.")
    write(folder, "harbour.txt", "The harbour has twelve boats.")
    write(folder, "sub/ferry.txt", "The ferry leaves every twenty minutes.")
    return folder


@pytest.fixture
def data(tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that every command of the test uses, with three documents of the folder docs."""
    folder = tmp_path / "data"
    monkeypatch.setenv("FUNDSTELLE_DATA", str(folder))
    assert "3 added" in run("index", docs).stdout
    return folder


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def run(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    assert "Traceback" not in done.output
    return done


def as_json(*arguments: object) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return shown


def sources(data: Path, collection: str = "default", model: str = EMBEDDED_MODEL) -> set[str]:
    with Library(data, TinyEncoder(model), writable=False) as library:
        assert library.problems() == []
        return {document.source for document in library.documents(100, listing=Listing(frozenset({collection})))[0]}


def found(query: str, *arguments: object) -> list[str]:
    return [passage["source"] for passage in as_json("search", query, *arguments)["passages"]]


# ---- mirroring folders ---------------------------------------------------------------------------------------

ALL = {"bridge.txt", "harbour.txt", "sub/ferry.txt"}


def test_what_vanished_is_removed_if_it_is_asked_for(data: Path, docs: Path) -> None:
    (docs / "harbour.txt").unlink()
    write(docs, "bridge.txt", "The bridge opens in May.")
    done = run("index", docs)
    assert "0 added, 1 updated, 1 unchanged, 0 left out." in done.stdout
    assert sources(data) == ALL, "null control: without --sync it stays"
    done = run("index", docs, "--sync")
    assert "0 added, 0 updated, 2 unchanged, 1 removed, 0 left out." in done.stdout
    assert sources(data) == ALL - {"harbour.txt"}
    assert "harbour.txt" not in found("harbour boats")
    assert "0 removed" in run("index", docs, "--sync").stdout


def test_what_cannot_be_read_is_kept(data: Path, docs: Path) -> None:
    write(docs, "harbour.txt", b"\0\1\2")
    (docs / "sub" / "ferry.txt").unlink()
    (docs / "sub" / "ferry.txt").symlink_to("/etc/hostname")
    done = run("index", docs, "--sync")
    assert "1 unchanged, 0 removed, 2 left out." in done.stdout
    assert "document_binary" in done.stderr
    assert "document_unreadable" in done.stderr
    assert sources(data) == ALL
    assert found("harbour boats")[0] == "harbour.txt", "as it was last read"


def test_a_folder_that_cannot_be_listed_keeps_its_documents(
    data: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is away for a moment must not empty a collection."""
    listed = os.scandir

    def scandir(path: str = ".") -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    with monkeypatch.context() as patched:
        patched.setattr("os.scandir", scandir)
        done = CliRunner().invoke(app, ["index", str(docs), "--sync"])
    assert sources(data) == ALL, done.output


def test_what_came_from_elsewhere_is_kept(data: Path, docs: Path, tmp_path: Path) -> None:
    with Library(data, TinyEncoder(EMBEDDED_MODEL), writable=True) as library:
        library.add([document_from_text("handed-in.txt", "A windmill turns.")])
    letters = write(tmp_path / "letters", "letter.txt", "Dear reader.").parent
    run("index", letters)
    run("index", docs, "--collection", "second")
    (docs / "bridge.txt").unlink()
    assert "1 removed" in run("index", docs, "--sync").stdout
    assert sources(data) == {"harbour.txt", "sub/ferry.txt", "handed-in.txt", "letter.txt"}
    assert sources(data, "second") == ALL
    (letters / "letter.txt").unlink()
    write(letters, "new.txt", "Dear new reader.")
    assert "1 added, 0 updated, 0 unchanged, 1 removed" in run("index", letters, "--sync").stdout
    assert sources(data) == {"harbour.txt", "sub/ferry.txt", "handed-in.txt", "new.txt"}


def test_a_part_of_a_folder_is_another_folder(data: Path, docs: Path) -> None:
    run("index", docs / "sub", "--sync")
    assert sources(data) == ALL | {"ferry.txt"}
    run("index", docs / "bridge.txt", "--sync")
    assert sources(data) == ALL | {"ferry.txt"}, "naming a file mirrors no folder"


def test_a_folder_is_the_same_however_it_is_named(
    data: Path, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "bridge.txt").unlink()
    (tmp_path / "link").symlink_to(docs)
    monkeypatch.chdir(docs)
    run("index", tmp_path / "link", "--sync")
    assert sources(data) == ALL - {"bridge.txt"}
    (docs / "harbour.txt").unlink()
    run("index", ".", "--sync")
    assert sources(data) == {"sub/ferry.txt"}


def test_two_folders_mirrored_together(data: Path, docs: Path, tmp_path: Path) -> None:
    letters = write(tmp_path / "letters", "letter.txt", "Dear reader.").parent
    run("index", docs, letters)
    (letters / "letter.txt").unlink()
    write(letters, "other.txt", "Dear other reader.")
    (docs / "bridge.txt").rename(letters / "bridge.txt")
    done = run("index", docs, letters, "--sync")
    assert "1 added, 0 updated, 3 unchanged, 1 removed" in done.stdout
    assert sources(data) == ALL | {"other.txt"}
    (letters / "bridge.txt").unlink()
    run("index", letters, "--sync")
    assert sources(data) == (ALL | {"other.txt"}) - {"bridge.txt"}, "it belonged to the folder it had moved to"


def test_one_of_two_folders_without_files_removes_nothing(data: Path, docs: Path, tmp_path: Path) -> None:
    letters = write(tmp_path / "letters", "letter.txt", "Dear reader.").parent
    run("index", docs, letters)
    (docs / "bridge.txt").unlink()
    (letters / "letter.txt").unlink()
    assert "nothing_readable" in run("index", docs, letters, "--sync", code=1).stderr
    assert sources(data) == ALL | {"letter.txt"}


@pytest.mark.parametrize("left", [None, ".hidden.txt"])
def test_a_folder_without_files_removes_nothing(data: Path, docs: Path, left: str | None) -> None:
    for file in [*docs.rglob("*.txt")]:
        file.unlink()
    if left:
        write(docs, left, "Hidden.")
    done = run("index", docs, "--sync", code=1)
    assert "fundstelle: nothing_readable: There are no files in" in done.stderr
    assert sources(data) == ALL


def test_a_folder_that_is_gone_removes_nothing(data: Path, docs: Path, tmp_path: Path) -> None:
    docs.rename(tmp_path / "away")
    assert "nothing_readable" in run("index", docs, "--sync", code=1).stderr
    assert sources(data) == ALL


def test_all_that_is_left_is_unreadable(data: Path, docs: Path) -> None:
    for name in ("harbour.txt", "sub/ferry.txt"):
        (docs / name).unlink()
    write(docs, "bridge.txt", b"\0")
    assert "0 unchanged, 2 removed, 1 left out." in run("index", docs, "--sync").stdout
    assert sources(data) == {"bridge.txt"}


# ---- removing ------------------------------------------------------------------------------------------------


def add_years(data: Path) -> None:
    with Library(data, TinyEncoder(EMBEDDED_MODEL), writable=True) as library:
        for year in (1900, 1950, "1950"):
            metadata = {"year": year}
            library.add([document_from_text(f"{year!r}.txt", f"The tower in {year}.", metadata=metadata)])


def test_removing_by_filter(data: Path) -> None:
    add_years(data)
    assert run("delete", "--filter", "metadata.year=1950").stdout == "1 removed.\n"
    assert sources(data) == ALL | {"1900.txt", "'1950'.txt"}
    assert run("delete", "--filter", 'metadata.year="1950"').stdout == "1 removed.\n"
    filters = ("--filter", "source=bridge.txt", "--filter", "source=harbour.txt")
    assert run("delete", *filters, "--filter", "metadata.year=1900").stdout == "0 removed.\n", "all must match"
    assert run("delete", *filters).stdout == "2 removed.\n"
    assert sources(data) == {"sub/ferry.txt", "1900.txt"}
    assert run("delete", "--filter", "source=bridge.txt").stdout == "0 removed.\n"
    assert "all in order" in run("verify").stdout


def test_removing_touches_one_collection(data: Path, docs: Path) -> None:
    run("index", docs, "--collection", "second")
    run("delete", "--filter", "source=bridge.txt", "--collection", "second")
    assert (sources(data), sources(data, "second")) == (ALL, ALL - {"bridge.txt"})


@pytest.mark.parametrize(
    ("filters", "code", "expected"),
    [
        ((), 2, "Say which documents"),
        (("--filter", "bridge.txt"), 2, "is not FIELD=VALUE"),
        (("--filter", "=bridge.txt"), 2, "is not FIELD=VALUE"),
        (("--filter", "writer=x"), 1, "fundstelle: filter_invalid:"),
        (("--filter", "metadata.=x"), 1, "fundstelle: filter_invalid:"),
        (("--filter", "source=bridge.txt", "--filter", "nothing=1"), 1, "fundstelle: filter_invalid:"),
    ],
)
def test_filters_that_cannot_be_used_remove_nothing(
    data: Path, filters: tuple[str, ...], code: int, expected: str
) -> None:
    assert expected in " ".join(run("delete", *filters, code=code).stderr.split())
    assert sources(data) == ALL


# ---- looking at some of it, or at the past -------------------------------------------------------------------


def test_asking_some_documents_only(data: Path) -> None:
    add_years(data)
    assert set(found("the", "--filter", "source=harbour.txt")) == {"harbour.txt"}
    several = ("--filter", "metadata.year=1900", "--filter", "metadata.year=1950")
    assert set(found("tower", *several)) == {"1900.txt", "1950.txt"}
    answer = as_json("ask", "when does the bridge close?", "--filter", "source=sub/ferry.txt")
    assert {citation["source"] for citation in answer["citations"]} == {"sub/ferry.txt"}
    assert "harbour.txt [0:29]" in run("search", "boats", "--filter", "source=harbour.txt").stdout
    assert "filter_invalid" in run("ask", "x", "--filter", "text=x", code=1).stderr


def test_asking_the_past(data: Path, docs: Path) -> None:
    before = as_json("info")["generation"]
    write(docs, "bridge.txt", "The tunnel opens in May.")
    write(docs, "windmill.txt", "A windmill turns.")
    run("index", docs)
    assert as_json("info")["generation"] > before
    past = as_json("ask", "when does the bridge close?", "--as-of", before)
    assert past["citations"][0]["quote"] == "The bridge closes in October."
    assert past["generation"] == past["citations"][0]["receipt"]["generation"] == before
    assert "The bridge closes in October." in run("ask", "when does the bridge close?", "--as-of", before).stdout
    assert "windmill.txt" not in found("windmill", "--as-of", before)
    assert found("windmill")[0] == "windmill.txt", "null control: the present has it"
    run("delete", "--filter", "source=bridge.txt")
    assert "bridge.txt" not in found("bridge", "--as-of", before), "what was erased is gone from the past too"


@pytest.mark.parametrize("as_of", [99, -1])
def test_a_past_that_is_not_kept(data: Path, as_of: int) -> None:
    for command in ("ask", "search"):
        assert "fundstelle: generation_not_kept:" in run(command, "bridge", "--as-of", as_of, code=1).stderr


def test_how_much_of_the_past_is_kept_is_a_setting(data: Path, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNDSTELLE_KEEP_GENERATIONS", "2")
    for number in range(4):
        write(docs, "bridge.txt", f"The bridge is number {number}.")
        run("index", docs)
    shown = as_json("info")
    assert shown["generation"] - shown["oldest_generation"] == 2
    assert as_json("ask", "bridge", "--as-of", shown["oldest_generation"])["citations"][0]["quote"].endswith("1.")
    run("ask", "bridge", "--as-of", shown["oldest_generation"] - 1, code=1)


# ---- backups -------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from index import EMBEDDED_MODEL, Library, document_from_text
from tests.tiny import TinyEncoder

with Library(Path(sys.argv[1]), TinyEncoder(EMBEDDED_MODEL), writable=True) as library:
    for number in range(100_000):
        library.add([document_from_text(f"{number}.txt", f"Boat number {number}.")])
        print(number, flush=True)
"""


@pytest.fixture
def writer(data: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that adds documents until it is killed, and says so after each."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(data)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_backup_is_made_while_another_process_writes(
    data: Path, tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    assert writer.stdout is not None
    assert "data_folder_in_use" in run("search", "bridge", code=1).stderr
    said = 0
    for name in ("first", "second"):
        acknowledged = said
        done = run("backup", tmp_path / name)
        while (said := int(writer.stdout.readline())) < acknowledged + 5:
            pass
        assert (match := re.search(r"holds generation (\d+), [\d,]+ bytes", done.stdout))
        restored = tmp_path / f"restored-{name}"
        assert f"generation {match[1]}" in run("restore", tmp_path / name, "--data", restored).stdout
        assert "all in order" in run("verify", "--data", restored).stdout
        numbers = {int(source.removesuffix(".txt")) for source in sources(restored) if source[0].isdigit()}
        assert numbers == set(range(len(numbers))), "a moment between two changes"
        assert len(numbers) > acknowledged, "all that was acknowledged before it began"
        assert set(found("bridge", "--data", restored, "--filter", "source=bridge.txt")) == {"bridge.txt"}
    assert writer.poll() is None, "the writer was not disturbed"


def test_a_restored_folder_is_the_one_that_was_backed_up(data: Path, docs: Path, tmp_path: Path) -> None:
    add_years(data)
    before, generation = as_json("search", "tower in town"), as_json("info")["generation"]
    run("backup", tmp_path / "backup")
    write(docs, "bridge.txt", "The tunnel opens.")
    run("index", docs)
    restored = tmp_path / "restored"
    run("restore", tmp_path / "backup", "--data", restored)
    again = as_json("search", "tower in town", "--data", restored)
    assert (again["passages"], again["generation"]) == (before["passages"], generation)
    assert found("tunnel", "--data", restored, "--filter", "source=bridge.txt") == ["bridge.txt"]
    assert as_json("search", "tunnel", "--data", restored)["passages"][0]["text"] != "The tunnel opens."
    assert "1 updated" in run("index", docs, "--data", restored).stdout


def test_backups_that_cannot_be_written_or_restored(data: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "backup")
    assert "fundstelle: backup_target:" in run("backup", tmp_path / "backup", code=1).stderr
    assert "fundstelle: backup_target:" in run("restore", tmp_path / "backup", "--data", data, code=1).stderr
    assert "data_folder_missing" in run("backup", tmp_path / "b", "--data", tmp_path / "absent", code=1).stderr
    database = tmp_path / "backup" / "fundstelle.db"
    content = bytearray(database.read_bytes())
    content[len(content) // 2] ^= 1
    database.write_bytes(content)
    assert "backup_refused" in run("restore", tmp_path / "backup", "--data", tmp_path / "new", code=1).stderr
    assert not (tmp_path / "new").exists()
    assert sources(data) == ALL


# ---- other models --------------------------------------------------------------------------------------------


def stored_models(data: Path, model: str) -> list[str]:
    with Library(data, TinyEncoder(model), writable=False) as library:
        return [each.name for each in library.catalogue.models()]


def test_a_model_is_changed_and_the_old_vectors_erased(data: Path, models: Models) -> None:
    generation = as_json("info")["generation"]
    done = run("model", "change", "--model", "other")
    assert f"is searched with 'other' from generation {generation + 1} on." in done.stdout
    assert sources(data, model="other") == ALL
    assert "fundstelle: model_mismatch:" in run("ask", "bridge", code=1).stderr
    assert found("bridge", "--model", "other")[0] == "bridge.txt"
    assert as_json("info", "--model", "other")["model"]["name"] == "other"
    assert stored_models(data, "other") == [EMBEDDED_MODEL, "other"]
    models.opened.clear()
    run("model", "change")
    assert [encoder.texts_encoded for encoder in models.opened] == [0, 0], "changing back embeds nothing"
    run("model", "change", "--model", "other")
    assert "Only the vectors of the model in use" in run("model", "prune", "--model", "other").stdout
    assert stored_models(data, "other") == ["other"]
    assert "all in order" in run("verify", "--model", "other").stdout
    models.opened.clear()
    run("model", "change")
    assert sum(encoder.texts_encoded for encoder in models.opened) == 3


def test_only_the_model_in_use_prunes(data: Path) -> None:
    run("model", "change", "--model", "other")
    assert "model_mismatch" in run("model", "prune", code=1).stderr
    assert stored_models(data, "other") == [EMBEDDED_MODEL, "other"]


def test_a_model_that_is_gone_is_replaced(data: Path, models: Models) -> None:
    run("model", "change", "--model", "other")
    models.unavailable.add("other")
    assert "model_unavailable" in run("ask", "bridge", "--model", "other", code=1).stderr
    run("model", "change", "--model", "third")
    assert found("bridge", "--model", "third")[0] == "bridge.txt"


def test_a_model_that_computes_otherwise_now_is_another_model(data: Path, models: Models) -> None:
    run("model", "change", "--model", "other")
    models.recomputed.add("other")
    assert "model_mismatch" in run("ask", "bridge", "--model", "other", code=1).stderr
    run("model", "change", "--model", "other")
    assert found("bridge", "--model", "other")[0] == "bridge.txt"
    assert as_json("info", "--model", "other")["model"]["fingerprint"] == "new-other"


def test_a_model_that_cannot_be_had_changes_nothing(data: Path, models: Models) -> None:
    models.unavailable.add("no/such")
    assert "model_unavailable" in run("model", "change", "--model", "no/such", code=1).stderr
    assert found("bridge")[0] == "bridge.txt"
    assert stored_models(data, EMBEDDED_MODEL) == [EMBEDDED_MODEL]


@pytest.fixture
def cases(data: Path, docs: Path, tmp_path: Path) -> Path:
    """Ten documents with a question about each."""
    things = ("anchor", "buoy", "canal", "dyke", "fjord", "groyne", "headland", "island", "jetty", "kelp")
    lines = []
    for thing in things:
        text = f"The {thing} is old. It was painted {thing}red in spring."
        write(docs, f"{thing}.txt", text)
        evidence = [{"doc": f"{thing}.txt", "start": 0, "end": len(text)}]
        lines.append({"id": thing, "lang": "en", "question": f"how old is the {thing}?", "evidence": evidence})
    run("index", docs)
    return write(tmp_path, "cases.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))


def test_a_model_that_answers_worse_is_not_used(data: Path, cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("model", "change", "--model", "useless", "--cases", cases, code=1)
    assert "fundstelle: model_not_promoted: 'useless' is not used:" in done.stderr
    assert re.search(r"hit@1 1\.000 -> 0\.\d", done.stderr)
    assert found("anchor")[0] == "anchor.txt"
    monkeypatch.setenv("FUNDSTELLE_CASES", str(cases))
    run("model", "change", "--model", "useless", code=1)
    run("model", "change", "--model", "other")  # null control: one that is as good is used
    assert found("anchor", "--model", "other")[0] == "anchor.txt"
    monkeypatch.delenv("FUNDSTELLE_CASES")
    run("model", "change", "--model", "useless")  # null control: without cases nobody objects
    assert as_json("info", "--model", "useless")["model"]["name"] == "useless"


def test_cases_that_cannot_be_read_change_nothing(data: Path, tmp_path: Path) -> None:
    file = write(tmp_path, "cases.jsonl", "{")
    assert "cases_invalid" in run("model", "change", "--model", "other", "--cases", file, code=1).stderr
    assert found("bridge")[0] == "bridge.txt"


# ---- interrupted imports -------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
import index, service.cli
from index import faults
from tests.tiny import TinyEncoder

reached = 0
deadly, times = faults.Point(sys.argv[1]), int(sys.argv[2])

def hook(point):
    global reached
    reached += point is deadly
    if reached == times:
        os.kill(os.getpid(), signal.SIGKILL)

faults.hook = hook
index.open_encoder = lambda name, *_: TinyEncoder(name)
service.cli._BATCH_CHARACTERS = 100
sys.argv[1:] = ["index", *sys.argv[3:]]
service.cli.main()
"""


@pytest.mark.parametrize(("point", "stored"), [("change.written", 3), ("change.before-commit", 3)])
def test_an_import_that_was_killed_goes_on_where_it_stopped(
    tmp_path: Path, models: Models, point: str, stored: int
) -> None:
    """Killed in its fourth batch of one document each; both other kinds of change (2) come before the first."""
    folder, data = tmp_path / "many", tmp_path / "data"
    for number in range(10):
        write(folder, f"{number}.txt", f"The boat number {number} lies in the harbour. " * 3)
    times = 4 + (2 if point == "change.before-commit" else 0)
    command = [sys.executable, "-c", KILLED, point, str(times), str(folder), "--data", str(data)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sources(data) == {f"{number}.txt" for number in range(stored)}
    done = run("index", folder, "--data", data)
    assert f"{10 - stored} added, 0 updated, {stored} unchanged, 0 left out." in done.stdout
    assert models.opened[-1].texts_encoded == 10 - stored
    assert sources(data) == {f"{number}.txt" for number in range(10)}
    assert len(found("boat harbour", "--data", data)) == 10


def test_an_import_that_ends_by_itself_leaves_nothing_to_do(tmp_path: Path, models: Models) -> None:
    """The null control of the test above: the program's hook alone changes nothing."""
    folder, data = tmp_path / "many", tmp_path / "data"
    for number in range(10):
        write(folder, f"{number}.txt", f"The boat number {number} lies in the harbour. " * 3)
    command = [sys.executable, "-c", KILLED, "change.written", "99", str(folder), "--data", str(data)]
    assert "10 added" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "0 added, 0 updated, 10 unchanged" in run("index", folder, "--data", data).stdout
    assert models.opened[-1].texts_encoded == 0


@pytest.mark.parametrize("command", ["delete", "backup", "restore", "model change", "model prune"])
def test_help_has_an_example(command: str) -> None:
    help_text = " ".join(run(*command.split(), "--help").stdout.split())
    assert f"Example: fundstelle {command}" in help_text
