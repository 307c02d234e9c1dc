"""R16: backups taken by another process while two threads write, restored and compared.

The writers note after each acknowledged change what must be there. A backup's manifest names a generation; since
every change advances it by exactly one, the restored state must be what the first i changes of one thread and the
first j of the other leave, where i + j is that number. Nothing that was acknowledged before the backup began may be
missing.

    python -m tests.durability.backups --trials 100
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

from index import Library, Options
from index.backup import MANIFEST, back_up, restore
from index.catalogue_file import FILE_NAME
from index.errors import FundstelleError
from index.records import Metadata, RawDocument
from tests import tiny
from tests.durability.common import finish, parse_arguments, run_forked
from tests.tiny import TinyEncoder

COLLECTIONS = ("default", "private")
BIG_BYTES = 20 * 2**20
BALLAST = "ballast.txt"
"""Source of the documents that make a folder big."""
BIG_EVERY = 10
"""One trial in that many is made with a big folder, the first included."""
LONGEST_BACKUP = 30.0
"""Seconds; a backup that takes longer is starved by the writers, who do 20 MB in less than one."""

Key: TypeAlias = tuple[str, str]
State: TypeAlias = Mapping[Key, tuple[str, Metadata]]
"""Collection and source to text and metadata."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One change of one thread: its number lies above ``before`` and not above ``after``."""

    before: int
    after: int
    state: State
    """All documents of this thread once the change was made."""


class Writer:
    """A thread that changes documents of its own without pause and notes what was acknowledged."""

    def __init__(self, name: str, library: Library, seed: int) -> None:
        self.done: list[Acknowledged] = []
        self.problem = ""
        self._name = name
        self._library = library
        self._rng = random.Random(seed)
        self._state: dict[Key, tuple[str, Metadata]] = {}
        self._ids: dict[Key, str] = {}
        self._written = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def after(self, changes: int) -> State:
        return self.done[changes - 1].state if changes else {}

    def may_have_done(self, changes: int, generation: int) -> bool:
        """Say whether ``generation`` can be one that has exactly that many changes of this thread."""
        return not (changes and self.done[changes - 1].before >= generation) and not (
            changes < len(self.done) and self.done[changes].after <= generation
        )

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                before = self._library.generation
                self._change()
                self.done.append(Acknowledged(before, self._library.generation, dict(self._state)))
        except Exception as error:  # told to the parent, which counts it
            self.problem = f"{type(error).__name__}: {error}"

    def _change(self) -> None:
        collection = self._rng.choice(COLLECTIONS)
        there = [key for key in self._state if key[0] == collection]
        if self._rng.random() < 0.05:
            self._library.compact()
        if not there or self._rng.random() < 0.7:
            self._write(collection)
        elif self._rng.random() < 0.7:
            self._forget([self._rng.choice(there)], one=True)
        else:
            self._forget(self._rng.sample(there, min(3, len(there))), one=False)

    def _write(self, collection: str) -> None:
        raws = []
        for number in self._rng.sample(range(12), self._rng.choice([1, 1, 1, 3])):
            self._written += 1
            word = f"zq{self._name}{self._written}w"
            filler = "The mill by the river is old. " * self._rng.choice([1, 1, 10, 100])
            text = f"{filler}At the end comes {word}."
            metadata: Metadata = {"year": 1900 + self._written % 50, "word": word}
            digest = sha256(text.encode()).hexdigest()
            raws.append(RawDocument(f"{self._name}{number}.txt", text, word, "en", digest, metadata))
        for raw, added in zip(raws, self._library.add(raws, collection), strict=True):
            self._state[collection, raw.source] = raw.text, raw.metadata
            self._ids[collection, raw.source] = added.document.id

    def _forget(self, keys: Sequence[Key], *, one: bool) -> None:
        if one:
            self._library.delete(self._ids[keys[0]])
        else:
            self._library.delete_where({"source": [source for _, source in keys]}, keys[0][0])
        for key in keys:
            del self._state[key]


class OtherProcess:
    """A process that backs a folder up when told to. Made before the library is opened: FAISS survives no fork."""

    def __init__(self, copy: Callable[[Path, Path], object], folder: Path, target: Path) -> None:
        waiting, self._go = os.pipe()
        self._answer, answering = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._go)
            os.read(waiting, 1)
            began, problem = time.monotonic(), ""
            try:
                copy(folder, target)
            except BaseException as error:  # told to the parent, which counts it
                problem = f"{type(error).__name__}: {error}"
            os.write(answering, json.dumps([time.monotonic() - began, problem]).encode())
            os._exit(0)
        os.close(waiting)
        os.close(answering)

    def back_up(self) -> tuple[float, str]:
        """Return how long the backup took, and what went wrong."""
        os.write(self._go, b"!")
        answer = os.read(self._answer, 65536)
        os.waitpid(self._child, 0)
        seconds, problem = json.loads(answer or b'[0, "killed"]')
        return float(seconds), str(problem)


def copy_the_file(folder: Path, target: Path) -> None:
    """Null control: copy the database as any file, and describe the copy as a backup would."""
    manifest = back_up(folder, target)
    data = (folder / FILE_NAME).read_bytes()
    (target / FILE_NAME).write_bytes(data)
    described = {**asdict(manifest), "bytes": len(data), "sha256": sha256(data).hexdigest()}
    (target / MANIFEST).write_text(json.dumps(described))


def one_trial(
    write: Callable[[bytes], int], room: Path, template: Path | None, seed: int, control: str | None
) -> None:
    """Write and back up at the same time, restore, compare; what was found goes to the parent as JSON."""
    rng = random.Random(seed)
    folder, target = room / "data", room / "backup"
    if template is not None:
        shutil.copytree(template, folder)
    other = OtherProcess(copy_the_file if control == "copy" else back_up, folder, target)
    with Library(
        folder, TinyEncoder(), writable=True, options=Options(keep_generations=rng.choice([0, 10]))
    ) as library:
        first = library.generation
        writers = [Writer(name, library, rng.randrange(2**32)) for name in "ab"]
        for writer in writers:
            writer.start()
        time.sleep(rng.uniform(0.02, 0.4))
        acknowledged = library.generation
        seconds, problem = other.back_up()
        during = library.generation - acknowledged
        time.sleep(rng.uniform(0, 0.1))
        for writer in writers:
            writer.stop()
    found = [problem, *(writer.problem for writer in writers)]
    if seconds > LONGEST_BACKUP:
        found.append(f"starved: {seconds:.0f} s")
    if not problem:
        try:
            found += differences(target, room / "restored", writers, first, acknowledged)
        except FundstelleError as error:
            found.append(f"refused: {type(error).__name__}: {error}")
    outcome = {
        "found": [each for each in found if each],
        "seconds": round(seconds, 3),
        "changes": sum(len(writer.done) for writer in writers),
        "changes_during_backup": during,
        "bytes": (target / FILE_NAME).stat().st_size if target.exists() else 0,
    }
    write(json.dumps(outcome).encode())


def differences(
    backup: Path, folder: Path, writers: Sequence[Writer], first: int, acknowledged: int
) -> Iterator[str]:
    """Restore a backup and say in what it is not the state that its manifest names."""
    manifest = restore(backup, folder)
    if manifest.generation < acknowledged:
        yield f"stale: generation {manifest.generation}, {acknowledged} was acknowledged before"
    with Library(folder, TinyEncoder(), writable=True) as library:
        if library.generation != manifest.generation:
            yield f"generation {library.generation}, but the manifest says {manifest.generation}"
        restored = read_all(library)
        if restored not in possible_states(writers, first, manifest.generation):
            yield f"different: {len(restored)} documents that were never together at {manifest.generation}"
        yield from library.problems()
        for (collection, source), (text, metadata) in restored.items():
            hits = library.search(str(metadata["word"]), 1, collection).hits
            if not hits or hits[0].document.source != source or hits[0].text not in text:
                yield f"unfound: {metadata['word']} of {source}"
        raw = RawDocument("new.txt", "A new zqnew.", "new", "en", sha256(b"A new zqnew.").hexdigest())
        library.add([raw])
        if library.generation != manifest.generation + 1 or library.search("zqnew", 1).hits[0].text != raw.text:
            yield "the restored folder does not take a new document"


def possible_states(writers: Sequence[Writer], first: int, generation: int) -> list[State]:
    """Return what both threads' changes can have made of the documents at ``generation``: mostly one state."""
    one, other = writers
    states: list[State] = []
    for i in range(len(one.done) + 1):
        j = generation - first - i
        if 0 <= j <= len(other.done) and one.may_have_done(i, generation) and other.may_have_done(j, generation):
            states.append({**one.after(i), **other.after(j)})
    return states


def read_all(library: Library) -> State:
    """Read every document but the ballast of a big folder."""
    found: dict[Key, tuple[str, Metadata]] = {}
    with library.view() as view:
        after: int | None = 0
        while after is not None:
            documents, after = view.documents(100, after)
            for document in documents:
                if document.source != BALLAST:
                    found[document.collection, document.source] = view.text(document.id), dict(document.metadata)
    return found


def make_big(_write: Callable[[bytes], int], folder: Path) -> None:
    """Make a data folder of more than 20 MB."""
    text = "".join(f"{number} {'x' * 390}. " for number in range(2000))
    with Library(folder, TinyEncoder(), writable=True) as library:
        for place in range(100):
            if (folder / FILE_NAME).stat().st_size > BIG_BYTES:
                break
            raw = RawDocument(
                BALLAST, text + str(place), "ballast", "en", sha256((text + str(place)).encode()).hexdigest()
            )
            library.add([raw], f"ballast-{place}")


def run_trial(room: Path, template: Path | None, seed: int, control: str | None) -> dict[str, Any]:
    """Run one trial in a child; return what it found, or that it hangs or died."""
    room.mkdir()
    try:
        ended = run_forked(one_trial, room, template, seed, control, timeout=4 * LONGEST_BACKUP)
    except TimeoutError as error:
        return {"found": [f"starved: {error}"]}
    finally:
        shutil.rmtree(room, ignore_errors=True)
    if ended.status != 0:
        return {"found": [f"died: {ended.signal or ended.status}: {ended.output.decode()[-2000:]}"]}
    outcome: dict[str, Any] = json.loads(ended.output)
    return outcome


def main() -> None:
    arguments = parse_arguments(__doc__, trials=5, breaks=["copy"])
    began = time.monotonic()
    rng = random.Random(arguments.seed)
    outcomes: list[dict[str, Any]] = []
    with mock.patch.object(tiny, "direction", cache(tiny.direction)), tempfile.TemporaryDirectory() as scratch:
        big = Path(scratch) / "big"
        made = run_forked(make_big, big, timeout=120)
        if made.status != 0:
            sys.exit(made.output.decode())
        for trial in range(arguments.trials):
            template = big if trial % BIG_EVERY == 0 else None
            seed = rng.randrange(2**32)
            outcome = run_trial(Path(scratch) / f"trial-{trial}", template, seed, arguments.control)
            outcomes.append(outcome)
            for line in outcome["found"]:
                print(f"trial {trial}: {line}", file=sys.stderr)
    figures = {
        "id": "R16",
        "trials": len(outcomes),
        "violations": sum(bool(outcome["found"]) for outcome in outcomes),
        "kinds": dict(Counter(line.split(":")[0] for outcome in outcomes for line in outcome["found"])),
        "changes": sum(outcome.get("changes", 0) for outcome in outcomes),
        "changes_during_backups": sum(outcome.get("changes_during_backup", 0) for outcome in outcomes),
        "seconds_longest_backup": max(outcome.get("seconds", 0) for outcome in outcomes),
        "mb_largest_backup": round(max(outcome.get("bytes", 0) for outcome in outcomes) / 2**20, 1),
    }
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
