"""R05: system calls fail while a library works: nothing acknowledged is lost, nothing refused is half there.

A forked child attaches strace to itself, which makes one chosen call (or all from it on) return an error: the disk
failed, it is full, the quota is used up, a signal came. The child then works as if nothing were wrong. What it was
told must be true: an operation that returned is there, one that raised is there as a whole or not at all, reads go
on, and once the fault is over writing works again in the same process. Another child reads what is left.

    python -m tests.durability.faults_io --trials 100
"""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from index import Library, Options, document_from_text
from index.backup import back_up, restore
from index.errors import FundstelleError
from tests import tiny
from tests.durability.common import finish, parse_arguments, run_forked
from tests.durability.texts import Version
from tests.tiny import TinyEncoder

State = dict[str, str]
"""What a library holds: by source, the mark of its text."""

ERRORS = ("EIO", "ENOSPC", "EDQUOT")
INTERRUPTIBLE = ("write", "pwrite64", "openat")
CALLS = (
    "fsync", "fdatasync", "pwrite64", "write", "openat", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "ftruncate",
)  # fmt: skip
RECOVERS_WITHIN = 5.0
"""Seconds after the end of a fault within which writing works again."""

_WORD = re.compile(r"\bv\d+x\d+\b")
_PR_SET_PTRACER = 0x59616D61
_ANYBODY = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a trial."""

    kind: str
    texts: Mapping[str, str] = field(default_factory=dict)
    """By source, of documents to add."""
    sources: tuple[str, ...] = ()
    """Of documents to delete."""

    def applied(self, state: State) -> State:
        """Return what ``state`` becomes."""
        after = {**state, **{source: mark(text) for source, text in self.texts.items()}}
        return {source: marked for source, marked in after.items() if source not in self.sources}


@dataclass(frozen=True, slots=True)
class Fault:
    """The error that strace returns instead of doing the call."""

    call: str
    error: str
    when: str
    """Which of the calls: "7" the seventh, "7+" all from it on."""

    def options(self) -> list[str]:
        """Say it in strace's words."""
        return ["-e", f"trace=?{self.call}", "-e", f"inject=?{self.call}:error={self.error}:when={self.when}"]


@dataclass(slots=True)
class Seen:
    """What a child saw: everything its parent needs to judge."""

    possible: list[State] = field(default_factory=lambda: [{}])
    """The states that the next one to open the folder may find."""
    backups: list[tuple[str, State]] = field(default_factory=list)
    acknowledged: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    reads: int = 0
    reads_refused: int = 0
    violations: list[str] = field(default_factory=list)
    recovery: float = 0.0


def count(counts: dict[str, int], what: str, times: int = 1) -> None:
    """Count something."""
    counts[what] = counts.get(what, 0) + times


@cache
def mark(text: str) -> str:
    """Return what identifies a text: its own word, by which it is found, and its hash."""
    word = _WORD.search(text)
    return f"{word[0] if word else '?'} {sha256(text.encode()).hexdigest()}"


def read_state(library: Library) -> State:
    """Read all documents through one view."""
    with library.view() as view:
        state: State = {}
        documents, _ = view.documents(10_000)
        for document in documents:
            state[document.source] = mark(view.text(document.id))
        return state


def finds(library: Library, source: str, marked: str) -> bool:
    """Say whether a search for a document's own word finds it first."""
    word = marked.split(maxsplit=1)[0]
    hits = library.search(word, 3).hits
    return bool(hits) and hits[0].document.source == source and word in hits[0].text


def unlike(state: State, expected: Sequence[State]) -> str:
    """Say how a state differs from the nearest one that is possible."""
    best = min(expected, key=lambda each: len(state.items() ^ each.items()))
    return f"there: {sorted(state.items() - best.items())}, not there: {sorted(best.items() - state.items())}"[:600]


# ---- the child under fault -----------------------------------------------------------------------------------


class Workload:
    """Does operations on a library as a service would, and notes what may be true after each."""

    def __init__(
        self,
        root: Path,
        options: Options | None = None,
        *,
        ack_anyway: bool = False,
        reads_may_fail: bool = False,
    ) -> None:
        self.seen = Seen()
        self._folder, self._backups = root / "data", root / "backups"
        self._options = options or Options()
        self._ack_anyway, self._reads_may_fail = ack_anyway, reads_may_fail
        self._library: Library | None = None
        self._visible: State | None = None

    def do(self, operation: Operation) -> str:
        """Do one operation, whatever comes of it; return "" if it was acknowledged, else the error's code."""
        visible = self._visible
        refusal = self._attempt(operation)
        done = self._ack_anyway or not refusal
        self.seen.acknowledged += done
        changes = operation.kind == "add" or (visible is not None and operation.applied(visible) != visible)
        if changes or visible is None or not done:
            before = [] if done else self.seen.possible
            self.seen.possible = _unique([*before, *map(operation.applied, self.seen.possible)])
        # What was done on top of what is there, or was read by a new start, ends all doubt.
        self.look(decides=not refusal and (changes or operation.kind == "reopen"))
        return refusal

    def look(self, *, decides: bool = False) -> None:
        """Read: everything that must be there is there and is found."""
        self._visible = None
        if self._library is None:
            return
        self.seen.reads += 1
        try:
            state = read_state(self._library)
            lost = [source for source in list(state)[-2:] if not finds(self._library, source, state[source])]
        except FundstelleError as error:
            self.seen.reads_refused += 1
            if not self._reads_may_fail:
                self._violation(f"a read was refused: {error!r}")
            return
        except Exception as error:
            self._violation(f"a read raised {error!r}")
            return
        if lost:
            self._violation(f"search does not find {lost}")
        if state not in self.seen.possible:
            self._violation(f"the process reads a wrong state; {unlike(state, self.seen.possible)}")
        elif decides:
            self.seen.possible = [state]
        self._visible = state

    def recover(self) -> None:
        """The fault is over: within seconds everything works again."""
        began = time.monotonic()
        self._reads_may_fail = False
        fresh = Operation("add", {Version(99, 1).source: Version(99, 1).text})
        while self.do(fresh):
            if time.monotonic() - began > RECOVERS_WITHIN:
                self._violation(f"writing did not work again within {RECOVERS_WITHIN} s: {self.seen.refused}")
                return
            time.sleep(0.05)
        self.seen.recovery = time.monotonic() - began
        for operation in (Operation("delete", sources=(Version(99, 1).source,)), Operation("compact")):
            if self.do(operation):
                self._violation(f"{operation.kind} was refused after the recovery: {self.seen.refused}")

    def close(self) -> None:
        """Close the library; without a fault this must work."""
        try:
            if self._library is not None:
                self._library.close()
        except Exception as error:
            self._violation(f"close raised {error!r}")

    def _attempt(self, operation: Operation) -> str:
        try:
            self._perform(operation)
        except FundstelleError as error:
            count(self.seen.refused, f"{operation.kind}: {error.code}")
            return error.code
        except Exception as error:
            self._violation(f"{operation.kind} raised {error!r}")
            return "raw error"
        return ""

    def _perform(self, operation: Operation) -> None:
        if operation.kind == "reopen" and self._library is not None:
            library, self._library = self._library, None
            library.close()
        if self._library is None:
            self._library = Library(self._folder, TinyEncoder(), writable=True, options=self._options)
        match operation.kind:
            case "add":
                documents = [document_from_text(source, text) for source, text in operation.texts.items()]
                self._library.add(documents)
            case "delete":
                self._delete(operation.sources[0])
            case "delete_where":
                self._library.delete_where({"source": list(operation.sources)})
            case "compact":
                self._library.compact(force=True)
            case "back_up":
                self._back_up()

    def _delete(self, source: str) -> None:
        assert self._library is not None
        with self._library.view() as view:
            document = view.find_source(source)
        if document is not None:
            self._library.delete(document.id)

    def _back_up(self) -> None:
        target = self._backups / f"{len(self.seen.backups)}-{time.monotonic_ns()}"
        back_up(self._folder, target)
        if self._visible is not None:
            self.seen.backups.append((str(target), self._visible))

    def _violation(self, text: str) -> None:
        self.seen.violations.append(text)


@contextmanager
def failing(options: Sequence[str], log: Path) -> Iterator[None]:
    """Let strace, attached to this process, do what ``options`` say inside the block."""
    _let_children_trace()
    command = ["strace", "-f", "-y", "-s", "0", "-o", str(log), *options, "-p", str(os.getpid())]
    strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert strace.stderr is not None
    line = strace.stderr.readline().decode(errors="replace")
    if "attached" not in line:
        raise RuntimeError(f"strace does not attach: {line.strip()}")
    try:
        yield
    finally:
        strace.send_signal(signal.SIGTERM)
        strace.wait()


@contextmanager
def steady_ids(seed: object) -> Iterator[None]:
    """Let ids be drawn from a seed, so that a run can be replayed byte by byte."""
    rng = random.Random(str(seed))
    with mock.patch("secrets.token_hex", lambda size: rng.randbytes(size).hex()):
        yield


def _let_children_trace() -> None:
    """Allow it where only parents may trace (the Yama module); elsewhere the call has no effect."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANYBODY), 0, 0, 0)


def _unique(states: Sequence[State]) -> list[State]:
    return list({frozenset(state.items()): state for state in states}.values())


def _under_fault(
    write: Callable[[bytes], int], root: Path, plan: Sequence[Operation], fault: Fault, control: str | None
) -> None:
    work = Workload(root, ack_anyway=control == "ack-anyway", reads_may_fail=fault.call == "openat")
    with steady_ids(0), failing(fault.options(), root / "strace.log"):
        for operation in plan:
            work.do(operation)
    work.recover()
    work.close()
    write(json.dumps(asdict(work.seen)).encode())


def _unharmed(write: Callable[[bytes], int], root: Path, plan: Sequence[Operation]) -> None:
    work = Workload(root)
    with steady_ids(0), failing(["-e", "trace=" + ",".join(f"?{call}" for call in CALLS)], root / "strace.log"):
        for operation in plan:
            work.do(operation)
    work.recover()
    work.close()
    if work.seen.violations or work.seen.refused:
        raise AssertionError(f"without a fault: {work.seen}")
    imported = [name for name, module in sys.modules.items() if getattr(module, "__spec__", None)]
    write("\n".join(imported).encode())


# ---- the child afterwards ------------------------------------------------------------------------------------


def inspect(folder: Path, possible: Sequence[State]) -> list[str]:
    """Open a folder anew and say what is wrong with it."""
    found: list[str] = []
    with Library(folder, TinyEncoder(), writable=True) as library:
        state = read_state(library)
        if state not in possible:
            found.append(f"a fresh process reads a wrong state; {unlike(state, possible)}")
        found += [f"a fresh process does not find {each}" for each in state if not finds(library, each, state[each])]
        found += [f"problems(): {problem}" for problem in library.problems()]
        if library.index_problem:
            found.append(f"index_problem after opening: {library.index_problem}")
        found += [f"left over: {entry.name}" for entry in (folder / "index").glob(".*")]
    return found


def _afterwards(write: Callable[[bytes], int], root: Path, seen: Seen) -> None:
    found = inspect(root / "data", seen.possible)
    for number, (backup, state) in enumerate(seen.backups):
        restored = root / f"restored-{number}"
        restore(Path(backup), restored)
        found += [f"restored backup: {problem}" for problem in inspect(restored, [state])]
    write(json.dumps(found).encode())


# ---- the parent ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """Sums over all trials."""

    hit: int = 0
    by_call: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    reads_refused: int = 0
    backups_restored: int = 0
    longest_recovery: float = 0.0
    violations: list[str] = field(default_factory=list)


def make_plan(rng: random.Random) -> list[Operation]:
    """Make a short random workload in which every kind of operation occurs."""
    numbers = iter(range(1, 1000))

    def add(count: int) -> Operation:
        versions = [Version(key, next(numbers)) for key in rng.sample(range(6), count)]
        return Operation("add", {version.source: version.text for version in versions})

    def sources(count: int) -> tuple[str, ...]:
        return tuple(Version(key, 0).source for key in rng.sample(range(6), count))

    rest = [
        add(1),
        add(1),
        Operation("delete", sources=sources(1)),
        Operation("delete_where", sources=sources(2)),
        Operation("compact"),
        Operation("back_up"),
        Operation("reopen"),
    ]
    rng.shuffle(rest)
    return [add(3), add(2), *rest, add(1)]


def calls_within(log: Path, root: Path) -> dict[str, list[int]]:
    """Return, by name of the call, which of its occurrences in strace's log concern files below ``root``."""
    ordinals: dict[str, list[int]] = {}
    seen: dict[str, int] = {}
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"\d+ +(\w+)\(", line)
        if match:
            count(seen, match[1])
            if str(root) in line:
                ordinals.setdefault(match[1], []).append(seen[match[1]])
    return ordinals


def choose_fault(rng: random.Random, ordinals: dict[str, list[int]]) -> Fault:
    """Choose a call that a workload makes on the library's files, an error and how long it lasts."""
    call = rng.choice(sorted(ordinals))
    first = rng.choice(ordinals[call])
    if call in INTERRUPTIBLE and rng.random() < 0.15:
        return Fault(call, "EINTR", f"{first}..{first + rng.randint(0, 3)}")
    return Fault(call, rng.choice(ERRORS), f"{first}+" if rng.random() < 0.35 else str(first))


def remember_words() -> None:
    """Do once what each forked child would do: encode common words, load the detector of languages."""
    tiny.direction = cache(tiny.direction)
    texts = [Version(key, 1).text for key in range(50)]
    TinyEncoder().encode_passages(texts)
    document_from_text("first.txt", texts[0])


def cannot_run(name: str, problem: str) -> NoReturn:
    """Say so, as figures, and exit with 2."""
    print(json.dumps({"id": name, "cannot_run": problem}), flush=True)
    sys.exit(2)


def why_not() -> str:
    """Say why faults cannot be injected here; empty if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with tempfile.TemporaryDirectory() as folder:
        ended = run_forked(_try_to_attach, Path(folder) / "strace.log")
    return "" if ended.status == 0 else f"strace cannot attach here: {ended.output[-300:].decode(errors='replace')}"


def _try_to_attach(write: Callable[[bytes], int], log: Path) -> None:
    with failing(["-e", "trace=none"], log):
        pass


def _measure(root: Path, seed: int) -> dict[str, list[int]]:
    """Run once without a fault: learn which calls are made, and import now what is imported late."""
    root.mkdir(parents=True)
    (root / "backups").mkdir()
    plan = make_plan(random.Random(f"{seed} measure"))
    ended = run_forked(_unharmed, root, plan)
    if ended.status != 0:
        raise AssertionError(ended.output.decode(errors="replace"))
    for name in ended.output.decode().split("\n"):
        if name not in sys.modules:
            importlib.import_module(name)
    return calls_within(root / "strace.log", root)


def _run_trial(
    root: Path, rng: random.Random, ordinals: dict[str, list[int]], tally: Tally, control: str | None
) -> None:
    (root / "backups").mkdir(parents=True)
    fault = choose_fault(rng, ordinals)
    plan = make_plan(rng)
    found: list[str] = []
    try:
        ended = run_forked(_under_fault, root, plan, fault, control)
        injected = [line for line in _log_lines(root) if "(INJECTED)" in line and str(root) in line]
        tally.hit += bool(injected)
        if injected:
            count(tally.by_call, f"{fault.call} {fault.error}")
        if ended.status != 0:
            found.append(f"the process ended with {ended}")
        else:
            seen = Seen(**json.loads(ended.output))
            found += seen.violations + _check_afterwards(root, seen)
            tally.acknowledged += seen.acknowledged
            for what, times in seen.refused.items():
                count(tally.refused, what, times)
            tally.reads_refused += seen.reads_refused
            tally.backups_restored += len(seen.backups)
            tally.longest_recovery = max(tally.longest_recovery, round(seen.recovery, 3))
    except TimeoutError as error:
        found.append(str(error))
    if found:
        tally.violations.append(f"{fault}: {'; '.join(found)}"[:2000])


def _log_lines(root: Path) -> list[str]:
    return (root / "strace.log").read_text(errors="replace").splitlines()


def _check_afterwards(root: Path, seen: Seen) -> list[str]:
    ended = run_forked(_afterwards, root, seen)
    if ended.status != 0:
        return [f"a fresh process failed: {ended}"]
    found: list[str] = json.loads(ended.output)
    return found


def main() -> None:
    """Run the trials."""
    arguments = parse_arguments(__doc__, 100, ["ack-anyway"])
    problem = why_not()
    if problem:
        cannot_run("R05", problem)
    began, tally = time.monotonic(), Tally()
    remember_words()
    with tempfile.TemporaryDirectory() as scratch:
        ordinals = _measure(Path(scratch) / "measure", arguments.seed)
        for trial in range(arguments.trials):
            root = Path(scratch) / f"trial-{trial}"
            before = len(tally.violations)
            _run_trial(root, random.Random(f"{arguments.seed} {trial}"), ordinals, tally, arguments.control)
            shutil.rmtree(root)
            for violation in tally.violations[before:]:
                print(f"trial {trial}: {violation}", flush=True)
    if not arguments.control and tally.hit <= arguments.trials // 2:
        tally.violations.append(f"only {tally.hit} trials met their fault")
    figures: dict[str, Any] = {
        **asdict(tally),
        "id": "R05",
        "trials": arguments.trials,
        "violations": len(tally.violations),
        "examples": tally.violations[:3],
        "calls_on_its_files": {call: len(found) for call, found in sorted(ordinals.items())},
    }
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
