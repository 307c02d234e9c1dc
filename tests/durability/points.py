"""R03: every operation is killed at every named point on its way; the folder must be as before it or as after it.

    python -m tests.durability.points [--rounds 1] [--recovery 0] [--only STEP/POINT/N] [--count] [--seed S] [--save]

The points are those of ``index.faults``. A step is an operation on a folder that was prepared by a random workload:
every change, opening (a new folder, a whole one, one without an index, one of format 1), a backup, a restore. It is
run once to count the points it passes, then once for each point and occurrence (the first three), and killed there. A
point that no step passes is a violation: nobody would test it. ``--recovery`` kills that many operations at a random
point, and then the opening that follows, at a random point or moment. ``--count`` kills nothing.

The null controls: ``early-ack`` acknowledges before the call, ``split`` replaces a document by deleting and adding
it, ``in-place`` writes the name of the current index where it belongs instead of renaming a finished file,
``blind`` does not see the points of a restore.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from unittest import mock

from index import Library, faults
from index.backup import back_up, restore
from index.errors import BackupRefused, FundstelleError
from index.faults import Point
from tests.durability.common import ROOT, Ended, finish, parse_arguments, run_forked
from tests.durability.kills import Findings, in_parallel
from tests.durability.workload import (
    COLLECTIONS,
    KINDS,
    MODELS,
    OPTIONS,
    ORIGINS,
    SOURCES,
    Expected,
    Journal,
    Operation,
    State,
    Version,
    Violation,
    Write,
    check,
    journal,
    last_words,
    open_and_close,
    operations,
    replay,
    work,
)
from tests.tiny import TinyEncoder

OCCURRENCES = 3
RECOVERIES_PER_UNIT = 25
_OPENING = 0.015
"""About the seconds that opening a folder takes."""

CHANGES = ("add", "update", "delete", "delete_where", "retain", "store", "compact", "compact_again", "change_model")
OPENINGS = ("create", "open", "rebuild", "migrate")
STEPS = (*CHANGES, *OPENINGS, "back_up", "restore")


class Fuse:
    """Counts the points that are passed, and kills the process at one of them."""

    def __init__(self, point: Point | None = None, occurrence: int = 0, blind: bool = False) -> None:
        """Kill at the ``occurrence``-th passing of ``point``, or of any point if that is ``None``; never at 0."""
        self.passed: Counter[str] = Counter()
        self._point, self._left, self._blind = point, occurrence, blind

    def __call__(self, point: Point) -> None:
        if self._blind and point.startswith("restore."):
            return
        self.passed[point] += 1
        if self._point in (None, point):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Scene:
    """Folders as they are before a step."""

    folder: Path
    state: State
    backup: Path
    format_1: Path
    operations: dict[str, Operation]
    """What each change is."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The folders of one trial."""

    data: Path
    target: Path
    """What a backup or a restore makes."""
    backup: Path


# ---- what there is before a step ----------------------------------------------------------------------------


def prepare(scratch: Path, draw: random.Random) -> Scene:
    """Make a folder with a past: documents that were replaced and deleted, an index on disk and changes since."""
    folder, backup, format_1 = scratch / "scene", scratch / "scene-backup", scratch / "format-1"
    todo = _past(draw)
    ended = run_forked(work, folder, todo)
    made = replay(ended.output, {})
    if ended.status != 0 or made.reached != "closed":
        raise RuntimeError(f"the folder could not be prepared: {ended.output[-2000:]!r}")
    _answer(back_up, folder, backup)
    format_1.mkdir()
    connection = sqlite3.connect(format_1 / "fundstelle.db")
    connection.executescript((ROOT / "tests" / "data" / "format-1.sql").read_text("utf-8"))
    connection.close()
    return Scene(folder, made.before, backup, format_1, _changes(draw, made.before))


def _past(draw: random.Random) -> list[Operation]:
    first = tuple((source, _version(draw, f"zqfirst{place}")) for place, source in enumerate(SOURCES[:6]))
    todo = [Operation("add", collection, _renamed(first, collection)) for collection in COLLECTIONS]
    state: State = {}
    for operation in todo:
        state = operation.after(state)
    todo += operations(draw, state, "zqpast", 6)
    last = tuple((source, _version(draw, f"zqlast{place}", ORIGINS[1])) for place, source in enumerate(SOURCES[3:8]))
    return [*todo, Operation("compact"), Operation("add", COLLECTIONS[0], last)]


def _renamed(documents: tuple[tuple[str, Version], ...], name: str) -> tuple[tuple[str, Version], ...]:
    return tuple((source, replace(version, word=f"{version.word}{name}")) for source, version in documents)


def _version(draw: random.Random, word: str, origin: str = "") -> Version:
    return Version(word, draw.randint(1, 3), origin)


def _changes(draw: random.Random, state: State) -> dict[str, Operation]:
    """Return an operation for each change, each of which changes something in ``state``."""
    place = COLLECTIONS[0]
    present = sorted(source for collection, source in state if collection == place)
    imported = [source for source in present if state[place, source].origin == ORIGINS[1]]
    several = tuple(draw.sample(present, 3))
    fresh = tuple((f"new-{number}.txt", _version(draw, f"zqfresh{number}")) for number in range(draw.randint(1, 3)))
    replaced = tuple((source, _version(draw, f"zqreplaced{number}")) for number, source in enumerate(several))
    return {
        "add": Operation("add", place, fresh),
        "update": Operation("add", place, replaced),
        "delete": Operation("delete", place, sources=(draw.choice(present),)),
        "delete_where": Operation("delete_where", place, sources=several),
        "retain": Operation("retain", place, sources=tuple(imported[:1]), origin=ORIGINS[1]),
        "store": Operation("store", place, (*fresh, *replaced)),
        "compact": Operation("compact"),
        "compact_again": Operation("compact"),
        "change_model": Operation("change_model"),
    }


@cache
def _format_1_state() -> State:
    """What ``tests/data/format-1.sql`` holds."""
    with tempfile.TemporaryDirectory() as scratch:
        connection = sqlite3.connect(Path(scratch, "old.db"))
        connection.executescript((ROOT / "tests" / "data" / "format-1.sql").read_text("utf-8"))
        rows = connection.execute("SELECT collection, source, text FROM documents").fetchall()
        connection.close()
    return {
        (collection, source): Version(text.split()[-1].strip("."), given=text) for collection, source, text in rows
    }


# ---- what happens in the process that is killed -------------------------------------------------------------


def act(write: Write, stage: Stage, step: str, operation: Operation | None, fuse: Fuse, control: str | None) -> None:
    """Take a step, watched by ``fuse``; the points it passed are the last line of the journal."""
    if control == "in-place":
        mock.patch("index.generation_files.replace_file", _replace_in_place).start()
    if step in OPENINGS:
        faults.hook = fuse
        open_and_close(write, stage.data)
    elif operation is None:
        faults.hook = fuse
        _copy(step, stage)
        write(b"copied\n")
    else:
        _change(write, stage, step, operation, fuse, control)
    faults.hook = None
    write(f"passed {json.dumps(fuse.passed)}\n".encode())


def _change(write: Write, stage: Stage, step: str, operation: Operation, fuse: Fuse, control: str | None) -> None:
    with Library(stage.data, TinyEncoder(), writable=True, options=OPTIONS) as library:
        if step == "compact_again":
            library.compact(force=True)
        faults.hook = fuse
        journal(write, library, operation, control)
        if operation.kind == "store":
            journal(write, library, Operation("refresh"), control)
        faults.hook = None


def _copy(step: str, stage: Stage) -> None:
    if step == "back_up":
        back_up(stage.data, stage.target)
    else:
        restore(stage.backup, stage.target)


def _replace_in_place(file: Path, data: bytes) -> None:
    """Null control: what replaces a file in one step, done in two."""
    with file.open("wb", buffering=0) as stream:
        stream.write(data[:30])
        faults.reach(Point.INDEX_CURRENT_WRITTEN)
        stream.write(data[30:])
        faults.reach(Point.INDEX_CURRENT_RENAMED)


# ---- trials -------------------------------------------------------------------------------------------------


@dataclass
class Trials:
    """Steps from one scene."""

    scratch: Path
    seed: int
    control: str | None = None
    findings: Findings = field(default_factory=Findings)
    made: int = 0

    def __post_init__(self) -> None:
        self.scene = prepare(self.scratch, random.Random(self.seed))

    def passed(self, step: str) -> Counter[Point]:
        """Take a step without a kill, check it, and return the points it passes."""
        stage = self._stage(step)
        ended = self._take(stage, step, Fuse(blind=self.control == "blind"))
        self._check(stage, step, ended, f"--seed {self.seed}, {step} without a kill")
        lines = [line for line in ended.output.decode().splitlines() if line.startswith("passed ")]
        points = json.loads(lines[-1].partition(" ")[2]) if lines else {}
        return Counter({Point(point): count for point, count in points.items()})

    def kill(self, step: str, point: Point | None, occurrence: int, recover: random.Random | None = None) -> None:
        """Take a step, kill it at a point, perhaps kill its recovery too, and check."""
        stage, where = self._stage(step), f"--seed {self.seed} --only {step}/{point}/{occurrence}"
        ended = self._take(stage, step, Fuse(point, occurrence))
        if ended.signal == signal.SIGKILL:
            self.findings.counts["kills"] += 1
            self.findings.counts[f"at {point}"] += point is not None
        elif point is not None:
            self.findings.note(Violation("failed", f"not reached again: {ended.output[-1000:]!r}"), where)
        if recover is not None:
            self._recover(stage, step, recover)
        self._check(stage, step, ended, where)

    def _stage(self, step: str) -> Stage:
        self.made += 1
        place = self.scratch / str(self.made)
        place.mkdir()
        stage = Stage(place / "data", place / "target", self.scene.backup)
        if step == "migrate":
            shutil.copytree(self.scene.format_1, stage.data)
        elif step != "create":
            shutil.copytree(self.scene.folder, stage.data)
        if step == "rebuild":
            shutil.rmtree(stage.data / "index")
        return stage

    def _take(self, stage: Stage, step: str, fuse: Fuse) -> Ended:
        self.findings.counts["trials"] += 1
        return run_forked(act, stage, step, self.scene.operations.get(step), fuse, self.control)

    def _recover(self, stage: Stage, step: str, draw: random.Random) -> None:
        """Open what the kill left, and kill that, at a random point or at a random moment."""
        models = MODELS if step == "change_model" else MODELS[:1]
        again = True
        while again:
            moment = draw.uniform(0, _OPENING) if draw.random() < 0.5 else None
            fuse = Fuse(None, 0 if moment is not None else draw.randint(1, 8))
            ended = run_forked(_open, stage.data, fuse, models, kill_after=moment)
            self.findings.counts["kills_during_recovery"] += ended.signal == signal.SIGKILL
            again = draw.random() < 0.3

    def _check(self, stage: Stage, step: str, ended: Ended, where: str) -> None:
        if ended.status:
            self.findings.note(Violation("failed", last_words(ended)), where)
        for violation in self._violations(stage, step, ended):
            self.findings.note(violation, where)
        shutil.rmtree(stage.data.parent)

    def _violations(self, stage: Stage, step: str, ended: Ended) -> list[Violation]:
        at_first = {"create": {}, "migrate": _format_1_state()}.get(step, self.scene.state)
        told = replay(ended.output, at_first) if step in CHANGES else Journal(at_first)
        models: tuple[str, ...] = MODELS[:1]
        if step == "change_model":
            models = MODELS if told.in_flight is not None else MODELS[1:]
            models = models if told.acknowledged or told.in_flight else MODELS[:1]
        earlier = (*told.versions, *at_first.values())
        expected = Expected(told.before, told.after, earlier, told.generation, models)
        violations = list(check(stage.data, expected, run_forked).violations)
        done = b"copied\n" in ended.output
        if step == "back_up":
            violations += _backup_problems(stage, expected, done)
        elif step == "restore":
            violations += _restored_problems(stage.backup, stage.target, expected, done)
        return violations


def _open(write: Write, folder: Path, fuse: Fuse, models: tuple[str, ...]) -> None:
    faults.hook = fuse
    open_and_close(write, folder, models)


def _backup_problems(stage: Stage, expected: Expected, done: bool) -> list[Violation]:
    """A backup that was interrupted is whole, or refused, or not there; and the next one works."""
    problems: list[Violation] = []
    if done and not stage.target.is_dir():
        problems.append(Violation("lost", "the backup is not there"))
    if stage.target.exists():
        answer = _answer(restore, stage.target, stage.data.with_name("restored"))
        if answer == "done":
            problems += check(stage.data.with_name("restored"), expected, run_forked).violations
        elif done or answer != "refused":
            problems.append(Violation("failed", f"the backup is of no use: {answer}"))
    again = stage.target.with_name("again") if stage.target.exists() else stage.target
    answer = _answer(back_up, stage.data, again)
    if answer != "done":
        return [*problems, Violation("failed", f"the next backup does not work: {answer}")]
    return problems + _restored_problems(again, stage.data.with_name("restored-again"), expected, False)


def _restored_problems(backup: Path, target: Path, expected: Expected, done: bool) -> list[Violation]:
    """A restored folder is whole, or cannot be opened and the restore can be repeated."""
    opens = _answer(_read, target)
    if opens != "done" and done:
        return [Violation("lost", f"the restored folder cannot be opened: {opens}")]
    if opens != "done" and (answer := _answer(restore, backup, target)) != "done":
        return [Violation("failed", f"the restore cannot be repeated: {answer}")]
    return list(check(target, expected, run_forked).violations)


def _read(folder: Path) -> None:
    Library(folder, TinyEncoder(), writable=False, options=OPTIONS).close()


def _answer(call: Callable[..., object], *paths: Path) -> str:
    """Make a call in a process of its own and say how it ended."""

    def made(write: Write) -> None:
        try:
            call(*paths)
        except BackupRefused:
            write(b"refused")
        except FundstelleError as error:
            write(error.code.encode())
        else:
            write(b"done")

    return run_forked(made).output.decode(errors="replace")


# ---- the program --------------------------------------------------------------------------------------------


def take(seed: int, control: str | None, only: str, round_: int, step: int) -> Findings:
    """Kill one step at each of its points; a negative ``step`` means that many recoveries."""
    with tempfile.TemporaryDirectory() as scratch:
        trials = Trials(Path(scratch), seed + round_, control)
        if step < 0:
            _kill_recoveries(trials, random.Random(seed + round_), -step)
            return trials.findings
        name = STEPS[step]
        for point, count in trials.passed(name).items():
            trials.findings.counts[f"passed {point}"] += count
            for occurrence in range(1, min(count, OCCURRENCES) + 1):
                if only in f"{name}/{point}/{occurrence}":
                    trials.kill(name, point, occurrence)
    return trials.findings


def _kill_recoveries(trials: Trials, draw: random.Random, count: int) -> None:
    for _ in range(count):
        trials.kill(draw.choice(STEPS), None, draw.randint(1, 5), draw)


def main() -> None:
    """Run the trials and report."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--recovery", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--count", action="store_true")
    own, sys.argv[1:] = parser.parse_known_args()
    arguments = parse_arguments(__doc__, 1, ["early-ack", "split", "in-place", "blind"])
    began = time.monotonic()
    rounds = range(own.rounds if own.rounds is not None else arguments.trials)
    only = "nothing" if own.count else own.only
    units = [(round_, step) for round_ in rounds for step in range(len(STEPS)) if STEPS[step] in (own.only or STEPS)]
    for first in range(0, own.recovery, RECOVERIES_PER_UNIT):
        units.append((first, -min(RECOVERIES_PER_UNIT, own.recovery - first)))
    findings = in_parallel(own.jobs, partial(take, arguments.seed, arguments.control, only), units)
    if rounds and not own.only:
        for point in Point:
            if not findings.counts[f"passed {point}"]:
                findings.note(Violation("unreached", f"no step passes {point}"), "all steps")
    for example in findings.examples:
        print(example)
    trials = findings.counts["trials"]
    figures: dict[str, object] = {
        "id": "R03",
        "trials": trials,
        "violations": findings.kinds.total(),
        **{kind: findings.kinds[kind] for kind in (*KINDS, "unreached")},
        "rounds": len(rounds),
        "points": len(Point),
        "kills_at": {point: findings.counts[f"at {point}"] for point in Point},
        "kills": findings.counts["kills"],
        "kills_during_recovery": findings.counts["kills_during_recovery"],
        "ms_per_trial": round((time.monotonic() - began) * 1000 / max(trials, 1), 1),
    }
    if findings.examples:
        figures["examples"] = findings.examples[:3]
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
