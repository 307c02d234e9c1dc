"""R06: the disk is full: reading goes on, writing is refused with one clear error, and space heals without a restart.

A small file system in memory, in a mount namespace of its own, holds a data folder and a ballast file. Documents go
in until there is no room; every second cycle keeps a reserve, so that the library refuses before the disk does. While
it is full everything can be read and each write is refused the same way. Then the ballast goes away, and writing
works again in the same process. Another process finds what was acknowledged, and nothing else.

    python -m tests.durability.disk_full --trials 5
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from index import Library, Options
from service.answer import AnswerPolicy
from service.app import build_app
from service.routes import AppState
from tests import tiny
from tests.durability.common import finish, parse_arguments, run_forked
from tests.durability.faults_io import (
    RECOVERS_WITHIN,
    Operation,
    Seen,
    Workload,
    cannot_run,
    count,
    inspect,
    remember_words,
)
from tests.durability.texts import Version

SIZE = 24 * 2**20
BALLAST = 10 * 2**20
"""More than the write-ahead log can grow to (8 MB): it is folded into the database before its room is used again."""
RESERVE = 4 * 2**20
FULL = "storage_full"
_AFTER_A_PROBE = 0.22
"""Seconds to wait for an honest attempt: after a refusal the library refuses at once for a moment."""
_INSIDE = "TESTS_DISK_FULL_INSIDE"


@dataclass(slots=True)
class Cycle:
    """What one cycle saw beside the state: tried and succeeded, while the disk was full."""

    seen: Seen
    documents: int = 0
    bytes_left: int = 0
    deletes: int = 0
    deletes_done: int = 0
    compactions: dict[str, int] = field(default_factory=dict)
    backups: dict[str, int] = field(default_factory=dict)


def long_text(key: int, number: int, parts: int) -> str:
    """Make a text of so many parts; its own word is in the first."""
    return "\n\n".join(Version(key, 1000 * number + part).text for part in range(parts))


# ---- one cycle, in a child -----------------------------------------------------------------------------------


def _cycle(write: Callable[[bytes], int], root: Path, seed: str, reserve: int, ack_anyway: bool) -> None:
    rng = random.Random(seed)
    work = Workload(root, Options(disk_reserve=reserve), ack_anyway=ack_anyway)
    cycle = Cycle(work.seen)
    _fill(work, rng)
    cycle.documents, cycle.bytes_left = len(work.seen.possible[0]), _free(root)
    _stay_full(work, cycle, rng)
    (root / "ballast").unlink()
    work.recover()
    work.close()
    write(json.dumps(asdict(cycle)).encode())


def _fill(work: Workload, rng: random.Random) -> None:
    """Add, update and delete until not even a small document fits."""
    number = 0
    for parts in (40, 12, 3, 1):
        refusal = ""
        while not refusal:
            number += 1
            refusal = work.do(_random_step(rng, number, parts))
            if refusal not in {"", FULL}:
                work.seen.violations.append(f"a full disk is called {refusal}")
        time.sleep(_AFTER_A_PROBE)


def _random_step(rng: random.Random, number: int, parts: int) -> Operation:
    drawn = rng.random()
    if drawn < 0.05:
        return Operation("delete", sources=(Version(rng.randrange(number), 0).source,))
    if drawn < 0.08:
        return Operation("compact")
    key = rng.randrange(number) if drawn < 0.2 else number
    size = max(1, rng.randint(parts // 2, parts))
    return Operation("add", {Version(key, 0).source: long_text(key, number, size)})


def _stay_full(work: Workload, cycle: Cycle, rng: random.Random) -> None:
    """While there is no room: writes are refused as before, reads answer (``do`` reads after each step)."""
    for parts in (40, 40, 40):
        refusal = work.do(Operation("add", {"9999.txt": long_text(9999, 1, parts)}))
        if refusal != FULL:
            work.seen.violations.append(f"a large document on a full disk: {refusal or 'accepted'}")
        time.sleep(_AFTER_A_PROBE / 3)
    count(cycle.backups, work.do(Operation("back_up")) or "done")
    count(cycle.compactions, work.do(Operation("compact")) or "done")
    time.sleep(_AFTER_A_PROBE)
    for source in rng.sample(sorted(work.seen.possible[0]), 3):
        cycle.deletes += 1
        cycle.deletes_done += not work.do(Operation("delete", sources=(source,)))
        time.sleep(_AFTER_A_PROBE)


def _afterwards(write: Callable[[bytes], int], root: Path, seen: Seen) -> None:
    found = inspect(root / "data", seen.possible)
    kept = {Path(target).name for target, _ in seen.backups}
    found += [f"half a backup: {entry.name}" for entry in (root / "backups").iterdir() if entry.name not in kept]
    write(json.dumps(found).encode())


# ---- over HTTP -----------------------------------------------------------------------------------------------


def _over_http(write: Callable[[bytes], int], root: Path) -> None:
    """Fill by uploads: 507 with the right code, while everything can be read; then 201 again."""
    found: list[str] = []
    with Library(root / "data", tiny.TinyEncoder(), writable=True) as library:
        app = build_app(AppState(library, AnswerPolicy(min_confidence=0.0)))
        with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
            stored = _fill_over_http(client, found)
            _read_over_http(client, stored, found)
            _expect_full(client, found)
            (root / "ballast").unlink()
            _recover_over_http(client, found)
    write(json.dumps(found).encode())


def _post(client: TestClient, key: int) -> Any:
    return client.post("/v1/documents", json={"source": Version(key, 0).source, "text": long_text(key, 1, 25)})


def _fill_over_http(client: TestClient, found: list[str]) -> dict[str, str]:
    stored: dict[str, str] = {}
    for key in range(1000):
        response = _post(client, key)
        if response.status_code == 201:
            stored[response.json()["documents"][0]["id"]] = long_text(key, 1, 25)
        else:
            found += _unless_full(response)
            return stored
    found.append("a thousand documents did not fill the disk")
    return stored


def _expect_full(client: TestClient, found: list[str]) -> None:
    for key in range(2000, 2005):
        found += _unless_full(_post(client, key))


def _unless_full(response: Any) -> list[str]:
    if response.status_code == 507 and response.json()["error"]["code"] == FULL:
        return []
    return [f"an upload to a full disk: {response.status_code} {response.text[:300]}"]


def _read_over_http(client: TestClient, stored: dict[str, str], found: list[str]) -> None:
    for document_id, text in stored.items():
        read = client.get(f"/v1/documents/{document_id}/text")
        if (read.status_code, read.text) != (200, text):
            found.append(f"a text on a full disk: {read.status_code}")
        word = text.split()[1]
        searched = client.post("/v1/search", json={"query": word, "top_k": 3})
        if searched.status_code != 200 or word not in searched.text:
            found.append(f"a search on a full disk: {searched.status_code}")
    for path in ("/v1/documents", "/readyz"):
        status = client.get(path).status_code
        if status != 200:
            found.append(f"{path} on a full disk: {status}")


def _recover_over_http(client: TestClient, found: list[str]) -> None:
    began = time.monotonic()
    while (response := _post(client, 3000)).status_code != 201:
        if time.monotonic() - began > RECOVERS_WITHIN:
            found.append(f"no upload {RECOVERS_WITHIN} s after there was room: {response.text[:300]}")
            return
        time.sleep(0.05)


# ---- the parent ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """Sums over all cycles."""

    documents: int = 0
    reads: int = 0
    reads_refused: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    least_bytes_left: dict[str, int] = field(default_factory=dict)
    deletes_while_full: dict[str, str] = field(default_factory=dict)
    compactions_while_full: dict[str, int] = field(default_factory=dict)
    backups_while_full: dict[str, int] = field(default_factory=dict)
    longest_recovery: float = 0.0
    violations: list[str] = field(default_factory=list)

    def take(self, cycle: dict[str, Any], reserve: int) -> None:
        """Add what one cycle saw."""
        seen, kind = cycle["seen"], f"reserve {reserve}"
        self.documents += cycle["documents"]
        self.reads += seen["reads"]
        self.reads_refused += seen["reads_refused"]
        for counts, more in (
            (self.refused, seen["refused"]),
            (self.compactions_while_full, cycle["compactions"]),
            (self.backups_while_full, cycle["backups"]),
        ):
            for what, times in more.items():
                count(counts, what, times)
        left = cycle["bytes_left"]
        self.least_bytes_left[kind] = min(left, self.least_bytes_left.get(kind, left))
        done, tried = map(int, self.deletes_while_full.get(kind, "0 of 0").split(" of "))
        self.deletes_while_full[kind] = f"{done + cycle['deletes_done']} of {tried + cycle['deletes']}"
        self.longest_recovery = max(self.longest_recovery, round(seen["recovery"], 3))


@contextmanager
def small_disk(where: Path) -> Iterator[Path]:
    """Mount a small file system with a ballast file on it."""
    where.mkdir()
    options = f"size={SIZE},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)], check=True)
    try:
        (where / "ballast").write_bytes(bytes(BALLAST))
        (where / "backups").mkdir()
        yield where
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


def why_not() -> str:
    """Say why a file system cannot be mounted here; empty if it can."""
    try:
        done = subprocess.run(
            [
                *_namespace(),
                "sh",
                "-c",
                'd=$(mktemp -d) && mount -t tmpfs tmpfs "$d" && umount "$d"; s=$?; rmdir "$d"; exit $s',
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "unshare is not installed"
    return "" if done.returncode == 0 else f"a file system cannot be mounted: {done.stderr.strip()}"


def _namespace() -> list[str]:
    """Return the command that runs another with mounts of its own; a plain user becomes root in there."""
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def _run_cycle(scratch: Path, seed: str, reserve: int, tally: Tally, ack_anyway: bool) -> None:
    found: list[str] = []
    with small_disk(scratch / "disk") as root:
        try:
            ended = run_forked(_cycle, root, seed, reserve, ack_anyway, timeout=120)
            if ended.status == 0:
                cycle = json.loads(ended.output)
                tally.take(cycle, reserve)
                found += cycle["seen"]["violations"]
                after = run_forked(_afterwards, root, Seen(**cycle["seen"]))
                found += json.loads(after.output) if after.status == 0 else [f"a fresh process failed: {after}"]
            else:
                found.append(f"the process ended with {ended}")
        except TimeoutError as error:
            found.append(str(error))
    (scratch / "disk").rmdir()
    tally.violations += [f"reserve {reserve}: {each}"[:1500] for each in found]


def _run_http(scratch: Path, tally: Tally) -> None:
    with small_disk(scratch / "disk") as root:
        ended = run_forked(_over_http, root, timeout=120)
        found = json.loads(ended.output) if ended.status == 0 else [f"the process ended with {ended}"]
    (scratch / "disk").rmdir()
    tally.violations += [f"HTTP: {each}" for each in found]


def main() -> None:
    """Run the cycles."""
    arguments = parse_arguments(__doc__, 5, ["ack-anyway"])
    if _INSIDE not in os.environ:
        problem = why_not()
        if problem:
            cannot_run("R06", problem)
        command = [*_namespace(), sys.executable, "-m", "tests.durability.disk_full", *sys.argv[1:]]
        os.execvpe(command[0], [*command, "--seed", str(arguments.seed)], {**os.environ, _INSIDE: "1"})  # noqa: S606
    began, tally = time.monotonic(), Tally()
    remember_words()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for trial in range(arguments.trials):
            reserve = RESERVE if trial % 2 else 0
            before = len(tally.violations)
            _run_cycle(scratch, f"{arguments.seed} {trial}", reserve, tally, arguments.control == "ack-anyway")
            for violation in tally.violations[before:]:
                print(f"cycle {trial}: {violation}", flush=True)
        if not arguments.control:
            _run_http(scratch, tally)
    figures = {
        **asdict(tally),
        "id": "R06",
        "trials": arguments.trials,
        "violations": len(tally.violations),
        "examples": tally.violations[:3],
    }
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
