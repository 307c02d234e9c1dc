"""R07: damaged files: whatever is done to them, no answer is wrong.

A data folder with known answers is copied, one of its files is damaged, and the copy is opened and asked everything.
Damage to the index must be noticed and mended from the catalogue. Damage to the catalogue must end in an error when
it is opened, when it is checked or when the damaged part is read; an answer that differs without an error is a
violation. The end of a damaged write-ahead log is dropped by SQLite: the folder is then in an earlier state, which
must be one that was once acknowledged, as a whole.

    python -m tests.durability.corruption --trials 500
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

from index import Library, Span, document_from_text
from index.encoder import EncodedQuery
from index.errors import DataDamaged, FundstelleError, StorageUnavailable
from index.records import Scalar
from index.view import View
from tests import tiny
from tests.durability.common import finish, parse_arguments, run_forked
from tests.durability.faults_io import remember_words, steady_ids
from tests.durability.texts import Version, key_word

DATABASE = "fundstelle.db"
LOG = "fundstelle.db-wal"
CHUNK = 50
"""Trials in one child, so that a crash is contained."""
_MEMORY = 8 * 2**30
_HANGS_AFTER = 30
"""Seconds."""

Answers = dict[str, Any]
"""What a library says, by question; plain enough for JSON."""


@dataclass(frozen=True, slots=True)
class Known:
    """A prepared folder: what it answers, now and in the states before."""

    folder: Path
    older_index: Path
    """The index folder as it once was."""
    older_database: Path
    newest: int
    answers: dict[int, Answers]
    """By generation."""
    questions: Questions
    places: dict[str, list[tuple[int, int]]]
    """Where in the database something lies that is worth damaging."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked in each state."""

    searches: tuple[str, ...]
    documents: tuple[str, ...]
    """Ids of all documents there ever were."""
    sources: tuple[str, ...]
    filtered: tuple[str, ...]
    """Sources of documents that are searched by themselves."""
    quotes: tuple[tuple[str, int, int], ...]

    def some(self, rng: random.Random) -> Questions:
        """Choose a few, so that a trial is short; over many trials all are asked."""
        return Questions(
            tuple(rng.sample(self.searches, 3)),
            tuple(rng.sample(self.documents, 6)),
            tuple(rng.sample(self.sources, 6)),
            tuple(rng.sample(self.filtered, 1)),
            tuple(rng.sample(self.quotes, 6)),
        )


class RememberingEncoder(tiny.TinyEncoder):
    """Encodes each query once; what is measured here is files, not arithmetic."""

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        return [_encoded(text) for text in texts]


@cache
def _encoded(text: str) -> EncodedQuery:
    return tiny.TinyEncoder().encode_queries([text])[0]


# ---- questions and answers -----------------------------------------------------------------------------------


def ask(library: Library, questions: Questions) -> Answers:
    """Ask all questions; an error of the right kind is an answer too."""
    answers: Answers = {}
    with library.view() as view:
        for key, question in _all_questions(view, questions):
            try:
                answers[key] = question()
            except (DataDamaged, StorageUnavailable) as error:
                answers[key] = f"refused: {error.code}"
            except FundstelleError as error:
                answers[key] = error.code
    return answers


def _all_questions(view: View, questions: Questions) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "number", lambda: view.generation
    yield "counts", lambda: str(view.counts())
    yield "documents", lambda: str(view.documents(1000))
    for query in questions.searches:
        yield f"search {query}", partial(_hits, view, query)
    for source in questions.filtered:
        yield f"filtered {source}", partial(_hits, view, "bridge river", {"source": source})
    for id_ in questions.documents:
        yield f"document {id_}", partial(_described, view.document, id_)
        yield f"text {id_}", partial(view.text, id_)
    for source in questions.sources:
        yield f"source {source}", partial(_described, view.find_source, source)
    for id_, start, end in questions.quotes:
        yield f"quote {id_} {start}", partial(view.quote, id_, Span(start, end))


def _described(read: Callable[[str], object], name: str) -> str:
    return str(read(name))


def _hits(view: View, query: str, filters: Mapping[str, Any] | None = None) -> list[list[Any]]:
    return [
        [str(hit.document), hit.passage.span.start, hit.passage.span.end, hit.text, round(hit.score, 5)]
        for hit in view.search(query, 5, filters=filters).hits
    ]


def wrong_answers(got: Answers, expected: Answers) -> list[str]:
    """Return the questions that were answered, and not as they should have been."""
    return [key for key, answer in got.items() if answer != expected[key] and not _refused(answer)]


def _refused(answer: Any) -> bool:
    return isinstance(answer, str) and answer.startswith("refused: ")


# ---- the folders that will be damaged ------------------------------------------------------------------------


def _prepare(write: Callable[[bytes], int], scratch: Path) -> None:
    """Build a folder with a past, closed cleanly, and a second one whose newest changes are in the log only."""
    closed, live, states = scratch / "closed", scratch / "live", scratch / "states"
    with steady_ids(0):
        _build(closed, scratch)
        shutil.copytree(closed, scratch / "growing")
        _grow(scratch / "growing", states)
    newest = max(states.iterdir())
    shutil.copytree(newest, live)
    questions = _questions(newest)
    moments = {"closed": [closed], "live": [closed, *sorted(states.iterdir())]}
    write(
        json.dumps({name: _known(scratch / name, folders, questions) for name, folders in moments.items()}).encode()
    )


def _build(folder: Path, scratch: Path) -> None:
    with Library(folder, RememberingEncoder(), writable=True) as library:
        _add(library, [Version(key, 1) for key in range(8)])
        library.compact(force=True)
        shutil.copytree(folder / "index", scratch / "older_index")
        _add(library, [Version(1, 2)])
        _delete(library, 2)
    shutil.copy(folder / DATABASE, scratch / "older_database")
    with Library(folder, RememberingEncoder(), writable=True) as library:
        _add(library, [Version(8, 1), Version(3, 2)])
        library.compact(force=True)
        _add(library, [Version(9, 1)])
        _add(library, [Version(4, 2)])
        _delete(library, 5)
        _add(library, [Version(10, 1), Version(11, 1), Version(12, 1)])


def _grow(folder: Path, states: Path) -> None:
    """Change a folder further, and keep a copy of all its files after each change, as a crash would leave them."""
    states.mkdir()
    steps: list[Callable[[Library], object]] = [
        lambda library: _add(library, [Version(13, 1)]),
        lambda library: _add(library, [Version(0, 2)]),
        lambda library: _delete(library, 9),
        lambda library: library.compact(force=True),
        lambda library: _add(library, [Version(14, 1), Version(6, 2)]),
        lambda library: _delete(library, 7),
        lambda library: _add(library, [Version(15, 1)]),
    ]
    with Library(folder, RememberingEncoder(), writable=True) as library:
        for number, step in enumerate(steps):
            step(library)
            leave_out = shutil.ignore_patterns("*-shm", "lock")
            shutil.copytree(folder, states / f"{number:02d}", ignore=leave_out)
    shutil.rmtree(folder)


def _add(library: Library, versions: Sequence[Version]) -> None:
    metadata: dict[str, Scalar] = {"year": 1900, "town": "Köln"}
    library.add([document_from_text(each.source, each.text, f"On {each.word}", metadata) for each in versions])


def _delete(library: Library, key: int) -> None:
    with library.view() as view:
        document = view.find_source(Version(key, 0).source)
    assert document is not None
    library.delete(document.id)


def _questions(folder: Path) -> Questions:
    words = [Version(key, number).word for key, number in ((0, 1), (1, 2), (2, 1), (3, 2), (8, 1), (11, 1), (15, 1))]
    searches = [*words, key_word(4), key_word(7), "people cross this old bridge", "iron rails"]
    quotes = []
    with _undamaged(folder) as library, library.view() as view:
        # The history of a document keeps its id when it is deleted.
        with closing(sqlite3.connect(library.folder / DATABASE)) as connection:
            ids = sorted({row[0] for row in connection.execute("SELECT document FROM history")})
        for id_ in ids:
            hits = view.search("bridge river", 1, filters={"document_id": id_}).hits
            quotes += [(id_, hit.passage.span.start, hit.passage.span.end) for hit in hits]
    sources = tuple(Version(key, 0).source for key in range(16))
    return Questions(tuple(searches), tuple(ids), sources, sources[:12:3], tuple(quotes))


@contextmanager
def _undamaged(folder: Path) -> Iterator[Library]:
    """Open a copy, because to open is to change: a log is folded in."""
    copy = folder.with_name("undamaged")
    shutil.copytree(folder, copy)
    with _reader(copy) as library:
        yield library
    shutil.rmtree(copy)


def _known(folder: Path, moments: Sequence[Path], questions: Questions) -> dict[str, Any]:
    answers: dict[int, Answers] = {}
    for moment in moments:
        with _undamaged(moment) as library:
            answers[library.generation] = ask(library, questions)
    refused = [key for state in answers.values() for key, answer in state.items() if _refused(answer)]
    if refused:
        raise AssertionError(f"an undamaged folder refuses {refused}")
    return {
        "newest": max(answers),
        "answers": answers,
        "questions": asdict(questions),
        "places": _places((folder / DATABASE).read_bytes(), questions),
    }


def _places(data: bytes, questions: Questions) -> dict[str, list[tuple[int, int]]]:
    page = page_size(data)
    names = [*questions.documents, *questions.sources, "generation", "fingerprint-of", "On v"]
    return {
        "header": [(0, 100)],
        "page head": [(start, start + 48) for start in range(0, len(data), page)],
        "name": [place for name in names for place in _around(data, name.encode(), 60)],
        "text": [place for name in ("Brücke ", "old bridge") for place in _around(data, name.encode(), 30)],
        "anywhere": [(start, start + 64) for start in range(0, len(data), 64) if any(data[start : start + 64])],
    }


def _around(data: bytes, wanted: bytes, margin: int) -> list[tuple[int, int]]:
    places, at = [], data.find(wanted)
    while at >= 0:
        places.append((max(0, at - margin), min(len(data), at + len(wanted) + margin)))
        at = data.find(wanted, at + 1)
    return places


def page_size(data: bytes) -> int:
    """Return the size of a database's pages."""
    return int.from_bytes(data[16:18], "big")


def _reader(folder: Path) -> Library:
    return Library(folder, RememberingEncoder(), writable=False)


# ---- damage --------------------------------------------------------------------------------------------------


def damage_bytes(rng: random.Random, data: bytes, place: tuple[int, int]) -> tuple[bytes, str]:
    """Damage some bytes within ``place``."""
    start, end = place
    at = rng.randrange(start, end)
    changed = bytearray(data)
    match rng.choice(["flip", "overwrite", "zero"]):
        case "flip":
            for _ in range(rng.choice([1, 1, 2, 8])):
                changed[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
            kind = "bits flipped"
        case "overwrite":
            length = min(rng.randint(1, 32), end - at)
            changed[at : at + length] = rng.randbytes(length)
            kind = "bytes overwritten"
        case _:
            length = min(rng.choice([4, 64, 512, 4096]), len(data) - at)
            changed[at : at + length] = bytes(length)
            kind = f"{length} bytes zeroed"
    return bytes(changed), f"{kind} near {at}"


def damage_length(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Cut the end off, or add one."""
    if rng.random() < 0.6:
        length = rng.choice([0, rng.randrange(len(data)), len(data) // 4096 // 2 * 4096, len(data) - 1])
        return data[:length], f"truncated to {length}"
    more = rng.choice([1, 100, 4096, 8192])
    return data + rng.randbytes(more), f"{more} bytes appended"


def damage_any(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Damage a file of no special form."""
    if rng.random() < 0.3:
        return damage_length(rng, data)
    start = rng.randrange(len(data))
    return damage_bytes(rng, data, (start, min(start + 4096, len(data))))


def rewrite(path: Path, change: Callable[[bytes], tuple[bytes, str]]) -> str:
    """Change a file for certain; say how."""
    before = path.read_bytes()
    while True:
        after, how = change(before)
        if after != before:
            path.write_bytes(after)
            return f"{path.name}: {how}"


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done to a folder."""

    target: str
    """index, database, lost write or log."""
    what: str
    harmless: bool = False
    """By construction: nothing was lost or changed that means something."""


def damage_index_file(rng: random.Random, folder: Path, known: Known) -> Damage:
    """Damage one of the files of the current generation."""
    current = _current(folder)
    path = rng.choice(sorted(each for each in current.iterdir() if each.name != "manifest.json"))
    older = next(each for each in known.older_index.iterdir() if each.is_dir()) / path.name
    match rng.choice(["bytes"] * 6 + ["delete", "swap", "older", "folder"]):
        case "bytes":
            return Damage("index", rewrite(path, lambda data: damage_any(rng, data)))
        case "delete":
            path.unlink()
            return Damage("index", f"{path.name}: deleted")
        case "swap":
            other = rng.choice([each for each in sorted(current.iterdir()) if each != path])
            mine, its = path.read_bytes(), other.read_bytes()
            path.write_bytes(its)
            other.write_bytes(mine)
            return Damage("index", f"{path.name} and {other.name}: swapped", harmless=mine == its)
        case "older":
            return Damage("index", rewrite(path, lambda _: (older.read_bytes(), "an older generation's")))
        case _:
            shutil.rmtree(current)
            return Damage("index", "the generation's folder: deleted")


def damage_manifest(rng: random.Random, folder: Path, _known: Known) -> Damage:
    """Damage the manifest: its bytes, or what it says."""
    path = _current(folder) / "manifest.json"
    before = json.loads(path.read_bytes())
    if rng.random() < 0.4:
        what = rewrite(path, lambda data: damage_any(rng, data))
        return Damage("index", what, harmless=_as_json(path) == before)
    keys = _keys(before)
    *parents, key = rng.choice(keys)
    changed = json.loads(json.dumps(before))
    owner = changed
    for parent in parents:
        owner = owner[parent]
    owner[key] = _another(rng, owner[key])
    what = f"manifest.json: {'.'.join([*parents, key])} = {json.dumps(owner[key])[:80]}"
    if rng.random() < 0.2:
        del owner[key]
        what = f"manifest.json: {'.'.join([*parents, key])} removed"
    path.write_text(json.dumps(changed, indent=1) + "\n")
    return Damage("index", what, harmless=changed == before)


def _keys(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return []
    return [each for key in value for each in [(*path, key), *_keys(value[key], (*path, key))]]


def _another(rng: random.Random, value: Any) -> Any:
    """Return another value in its place: a near one, an absurd one or one of another type."""
    choices: list[Any] = [None, -1, 2**70, "", "../..", [], {}, [value], True, 1.5]
    if isinstance(value, int):
        choices += [value + 1, value - 1, 0, float(value) + 0.5] * 3
    if isinstance(value, str) and value:
        choices += [value[:-1], value[::-1], "f" + value[1:], value.upper() + "X"] * 3
    return rng.choice([each for each in choices if each != value])


def _as_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def damage_current(rng: random.Random, folder: Path, known: Known) -> Damage:
    """Let CURRENT name something else."""
    path = folder / "index" / "CURRENT"
    name, _, rest = path.read_bytes().partition(b" ")
    match rng.choice(["bytes", "bytes", "delete", "older", "elsewhere"]):
        case "bytes":
            return Damage("index", rewrite(path, lambda data: damage_any(rng, data)))
        case "delete":
            path.unlink()
            return Damage("index", "CURRENT: deleted")
        case "older":
            shutil.copytree(known.older_index, folder / "index", dirs_exist_ok=True)
            # A complete older index is a right one: what came since is read from the catalogue.
            return Damage("index", "CURRENT: names a complete older one", harmless=True)
        case _:
            targets = [b"..", b".", b"/", b"", name + b"/../..", b"../index/" + name, b"generation-99999999", b"a\0b"]
            target = rng.choice(targets)
            path.write_bytes(target + b" " + rest)
            return Damage("index", f"CURRENT: names {target!r}")


def add_strangers(rng: random.Random, folder: Path, _known: Known) -> Damage:
    """Put files and folders beside the index that do not belong there."""
    name = rng.choice([".generation-00000099-1", "generation-00000099", "x.txt", "generation-00000000"])
    stranger = folder / "index" / name
    if rng.random() < 0.5:
        stranger.mkdir()
        (stranger / "passages.faiss").write_bytes(rng.randbytes(100))
    else:
        stranger.write_bytes(rng.randbytes(100))
    return Damage("index", f"{name}: added", harmless=True)


def damage_database(rng: random.Random, folder: Path, known: Known) -> Damage:
    """Damage the catalogue's file."""
    path = folder / DATABASE
    kind = rng.choice(["header"] + ["page head", "name", "text", "anywhere"] * 4 + ["length", "pages", "delete"])
    match kind:
        case "length":
            return Damage("database", rewrite(path, lambda data: damage_length(rng, data)))
        case "pages":
            return Damage("database", rewrite(path, lambda data: damage_pages(rng, data)))
        case "delete":
            path.unlink()
            return Damage("database", "deleted")
        case _:
            place = rng.choice(known.places[kind])
            return Damage("database", f"{kind}, {rewrite(path, lambda data: damage_bytes(rng, data, place))}")


def damage_pages(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Zero a page, or exchange two, as a disk does that writes to the wrong place."""
    page = page_size(data)
    one, other = (page * rng.randrange(len(data) // page) for _ in range(2))
    changed = bytearray(data)
    if rng.random() < 0.5:
        changed[one : one + page] = bytes(page)
        return bytes(changed), f"page at {one} zeroed"
    changed[one : one + page], changed[other : other + page] = data[other : other + page], data[one : one + page]
    return bytes(changed), f"pages at {one} and {other} exchanged"


def lose_a_write(rng: random.Random, folder: Path, known: Known) -> Damage:
    """Bring a page of the catalogue back as it once was: the disk said that it wrote, and did not."""
    older = known.older_database.read_bytes()

    def change(data: bytes) -> tuple[bytes, str]:
        page = page_size(data)
        start = page * rng.randrange(min(len(data), len(older)) // page)
        return data[:start] + older[start : start + page] + data[start + page :], f"page at {start} as it once was"

    return Damage("lost write", rewrite(folder / DATABASE, change))


def damage_log(rng: random.Random, folder: Path, _known: Known) -> Damage:
    """Damage the write-ahead log."""
    path = folder / LOG
    if rng.random() < 0.05:
        path.unlink()
        return Damage("log", "deleted")
    if rng.random() < 0.1:
        return Damage("log", rewrite(path, lambda data: damage_bytes(rng, data, (0, 32))))
    return Damage("log", rewrite(path, lambda data: damage_any(rng, data)))


def _current(folder: Path) -> Path:
    return folder / "index" / (folder / "index" / "CURRENT").read_text("ascii").split()[0]


Damaging = Callable[[random.Random, Path, Known], Damage]
DAMAGES: dict[str, list[tuple[Damaging, int]]] = {
    "closed": [
        (damage_index_file, 25),
        (damage_manifest, 15),
        (damage_current, 7),
        (add_strangers, 3),
        (damage_database, 48),
        (lose_a_write, 2),
    ],
    "live": [(damage_index_file, 10), (damage_manifest, 5), (damage_database, 30), (damage_log, 55)],
}


# ---- one trial -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a damage."""

    outcome: str
    violations: tuple[str, ...] = ()


def judge(folder: Path, known: Known, damage: Damage, questions: Questions, *, writable: bool) -> Verdict:
    """Open a damaged folder, ask everything, and say whether all was right."""
    try:
        library = Library(folder, RememberingEncoder(), writable=writable)
    except FundstelleError as error:
        if damage.target == "index":
            return Verdict("violation", (f"a damaged index stops the library: {error!r}",))
        return Verdict("detected when opened")
    with library:
        got = ask(library, questions)
        if damage.target == "index":
            return _judge_index(got, known, damage, library.index_problem, writable)
        if damage.target == "log":
            return _judge_log(got, known)
        return _judge_database(got, known, damage, library)


def _judge_database(got: Answers, known: Known, damage: Damage, library: Library) -> Verdict:
    expected = known.answers[known.newest]
    checked = any(map(_refused, got.values())) or library.problems()
    if not checked:  # then really everything must be as it was
        got = ask(library, known.questions)
    wrong = wrong_answers(got, expected)
    if wrong and damage.target == "lost write" and library.problems():
        # Each page by itself is as it was written; only a check of the whole can tell, and it does.
        return Verdict("wrong answers, but detected by problems()")
    if wrong:
        return _wrong(wrong, got, expected)
    if any(map(_refused, got.values())):
        return Verdict("detected when read")
    return Verdict("detected by problems()" if checked else "undetected and harmless")


def _judge_index(got: Answers, known: Known, damage: Damage, problem: str, writable: bool) -> Verdict:
    expected = known.answers[known.newest]
    different = [key for key, answer in got.items() if answer != expected[key]]
    if different:
        return _wrong(different, got, expected)
    if writable:
        return Verdict("mended")
    if problem:
        return Verdict("detected")
    return Verdict("harmless") if damage.harmless else Verdict("violation", ("not detected",))


def _judge_log(got: Answers, known: Known) -> Verdict:
    expected = known.answers.get(got["number"])
    if expected is None:
        return Verdict("violation", (f"generation {got['number']} never was",))
    wrong = wrong_answers(got, expected)
    if wrong:
        return _wrong(wrong, got, expected)
    if any(map(_refused, got.values())):
        return Verdict("detected when read")
    return Verdict("undetected and harmless" if got["number"] == known.newest else "an earlier state")


def _wrong(keys: Sequence[str], got: Answers, expected: Answers) -> Verdict:
    first = keys[0]
    detail = f"{len(keys)} wrong answers, such as {first}: {got[first]!r:.250} instead of {expected[first]!r:.250}"
    return Verdict("violation", (detail,))


def goes_on(folder: Path, known: Known, damage: Damage, questions: Questions) -> list[str]:
    """After a writer was here: the index is whole again, and what is added stays."""
    fresh = [Version(90 + number, 1) for number in range(4)] if damage.target == "log" else []
    with Library(folder, RememberingEncoder(), writable=True) as library:
        for version in fresh:  # their generations have numbers that were used before what was lost
            library.add([document_from_text(version.source, version.text)])
    with _reader(folder) as library:
        found = library.problems()
        for version in fresh:
            hits = library.search(version.word, 1).hits
            if not hits or version.word not in hits[0].text:
                found.append(f"{version.word}, added afterwards, is not found")
        if not fresh:
            got = ask(library, questions)
            found += [f"differs after mending: {key}" for key in got if got[key] != known.answers[known.newest][key]]
    return found


def run_trial(
    rng: random.Random, scratch: Path, prepared: Mapping[str, Known], *, ask_all: bool = False
) -> tuple[Damage, Verdict, bool]:
    """Damage a fresh copy and judge."""
    variant = "closed" if rng.random() < 0.75 else "live"
    known, folder = prepared[variant], scratch / "copy"
    shutil.copytree(known.folder, folder, copy_function=shutil.copyfile)
    functions, weights = zip(*DAMAGES[variant], strict=True)
    damage = rng.choices(functions, weights)[0](rng, folder, known)
    writable = rng.random() < 0.2
    questions = known.questions if ask_all else known.questions.some(rng)
    try:
        verdict = judge(folder, known, damage, questions, writable=writable)
        if verdict.outcome in {"mended", "an earlier state"} and writable:
            found = goes_on(folder, known, damage, questions)
            if found:
                verdict = Verdict("violation", tuple(found))
    except Exception as error:
        verdict = Verdict("violation", (f"raised {error!r}",))
    shutil.rmtree(folder)
    return damage, verdict, writable


# ---- many trials, in children --------------------------------------------------------------------------------


def _trials(
    write: Callable[[bytes], int],
    scratch: Path,
    prepared: Mapping[str, Known],
    seed: int,
    numbers: Sequence[int],
    control: str | None,
) -> None:
    # A damaged index must not eat the machine if its hash is not looked at.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with ExitStack() as broken:
        for patch in _CONTROLS.get(control or "", []):
            broken.enter_context(patch())
        for number in numbers:
            write(f"{number}\n".encode())
            signal.alarm(_HANGS_AFTER)
            rng = random.Random(f"{seed} {number}")
            damage, verdict, writable = run_trial(rng, scratch, prepared, ask_all=control is not None)
            how = "written to" if writable else "read"
            line = [damage.target, verdict.outcome, f"{damage.what}, {how}: {'; '.join(verdict.violations)}"]
            write(json.dumps(line).encode() + b"\n")


def _run_chunk(
    scratch: Path, prepared: Mapping[str, Known], seed: int, numbers: Sequence[int], control: str | None
) -> Iterator[tuple[int, str, str, str]]:
    """Yield number, target, outcome and details of each trial; one that crashes does not stop the others."""
    left = list(numbers)
    while left:
        shutil.rmtree(scratch / "copy", ignore_errors=True)
        ended = run_forked(_trials, scratch, prepared, seed, left, control, timeout=CHUNK * _HANGS_AFTER)
        done, number = 0, left[0]
        for line in ended.output.decode(errors="replace").splitlines():
            if line.startswith("["):
                target, outcome, details = json.loads(line)
                yield number, target, outcome, details
                done += 1
            elif line.isdigit():
                number = int(line)
        if ended.status != 0:
            how = f"status {ended.status}, signal {ended.signal}: {ended.output[-1000:].decode(errors='replace')}"
            yield number, "process", "violation", f"the process ended with {how}"
            done += 1
        left = left[done:]


def _load_known(scratch: Path, prepared: Mapping[str, Any]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for name, each in prepared.items():
        asked = {what: tuple(values) for what, values in each["questions"].items()}
        asked["quotes"] = tuple(map(tuple, asked["quotes"]))
        known[name] = Known(
            scratch / name,
            scratch / "older_index",
            scratch / "older_database",
            each["newest"],
            {int(number): answers for number, answers in each["answers"].items()},
            Questions(**asked),
            {kind: [(start, end) for start, end in places] for kind, places in each["places"].items()},
        )
    return known


def fast_folder() -> Path | None:
    """Return a folder in memory, where there is one: this is about what files say, not about the disk."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None


def _accept(*_values: object) -> None:
    """Find nothing wrong."""


@contextmanager
def _unverified(folder: Path, expected: Mapping[str, Any]) -> Iterator[dict[str, BinaryIO]]:
    """Open the files of an index without a look at their hashes."""
    with ExitStack() as opened:
        yield {file: opened.enter_context((folder / file).open("rb")) for file in expected}


_CONTROLS: dict[str, list[Callable[[], Any]]] = {
    "no-check": [lambda: mock.patch("index.generation_files._verified", _unverified)],
    "no-row-check": [
        lambda: mock.patch("index.rows.expect", _accept),
        lambda: mock.patch("index.rows.expect_digest", _accept),
    ],
}


def main() -> None:
    """Run the trials."""
    arguments = parse_arguments(__doc__, 500, sorted(_CONTROLS))
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    violations: list[str] = []
    remember_words()
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        scratch = Path(folder)
        ended = run_forked(_prepare, scratch)
        if ended.status != 0:
            raise AssertionError(ended.output.decode(errors="replace"))
        prepared = _load_known(scratch, json.loads(ended.output))
        size = sum(path.stat().st_size for path in (scratch / "closed").rglob("*") if path.is_file())
        for first in range(0, arguments.trials, CHUNK):
            numbers = range(first, min(first + CHUNK, arguments.trials))
            for number, target, outcome, details in _run_chunk(
                scratch, prepared, arguments.seed, numbers, arguments.control
            ):
                outcomes[f"{target}: {outcome}"] += 1
                if outcome == "violation":
                    violations.append(details)
                    print(f"trial {number}: {details}", flush=True)
    figures = {
        "id": "R07",
        "trials": arguments.trials,
        "violations": len(violations),
        "examples": violations[:3],
        "outcomes": dict(sorted(outcomes.items())),
        "folder_bytes": size,
        "milliseconds_each": round((time.monotonic() - began) * 1000 / arguments.trials, 1),
    }
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
