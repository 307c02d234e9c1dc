"""R04, without a disk: the system calls of acknowledged changes come in an order that outlasts a power cut.

    python -m tests.durability.fsync_order [--trials 30] [--seed S] [--break no-sync] [--save]

A kill leaves the kernel's cache alone; a power cut does not. A process makes ``trials`` random changes under strace
and writes a line to a file after each. In the trace, with everything that was written but not synced lost:

- at each acknowledgement, no write of the data folder is without its fsync, and each new name is in a synced folder;
- a file, or all of a folder, is synced before it is renamed, and the folder of the new name before the next rename;
- SQLite's log is synced before the database is written, and the database before the log is begun anew.

What the disk does after it said that it has synced is up to the disk. The null controls: ``no-sync`` has SQLite not
sync, ``no-fsync`` leaves out every fsync of our own.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from index.backup import back_up, restore
from tests.durability.common import ROOT, finish, parse_arguments
from tests.durability.workload import Operation, operations, work

TRACED = "--traced"
"""First argument of the process under strace."""

CALLS = (
    "write,writev,pwrite64,pwritev,pwritev2,sendfile,copy_file_range,ftruncate,truncate,fallocate,fsync,fdatasync,"
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,openat,open,creat,link,linkat,symlink,symlinkat"
)
_LINE = re.compile(r"(?P<process>\d+) +(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")
_UNFINISHED = re.compile(r"(?P<process>\d+) +(?P<call>\w+)\((?P<arguments>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(?P<process>\d+) +<\.\.\. (?P<call>\w+) resumed>(?P<arguments>.*)\) += (?P<result>-?\d+|\?)")
_DESCRIPTOR = re.compile(r"-?\w+<(?P<path>[^>]*)>")
_STRING = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"')
_WRITES = {
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "fallocate",
    "sendfile",
    "copy_file_range",
}
_PASSING = ("-shm", "/lock")
"""Ends of the names of files that mean nothing after a restart."""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that succeeded, in the order in which they ended."""

    name: str
    arguments: str
    began: int
    ended: int

    @property
    def descriptors(self) -> list[str]:
        """Paths of the descriptors among the arguments, in order."""
        return [found["path"] for found in _DESCRIPTOR.finditer(_STRING.sub('""', self.arguments))]

    @property
    def paths(self) -> list[str]:
        """Paths among the arguments, made absolute by the descriptor before each if they are relative."""
        paths: list[str] = []
        for found in _STRING.finditer(self.arguments):
            bases = [base["path"] for base in _DESCRIPTOR.finditer(self.arguments[: found.start()])]
            paths.append(os.path.normpath(Path(bases[-1] if bases else "/", found["text"])))
        return paths

    @property
    def offset(self) -> int:
        """Where a ``pwrite64`` writes."""
        return int(self.arguments.rpartition(",")[2])


def read_trace(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the calls of a trace of strace; those of several threads are put together again."""
    begun: dict[tuple[str, str], tuple[str, int]] = {}
    for number, line in enumerate(lines):
        if found := _UNFINISHED.match(line):
            begun[found["process"], found["call"]] = found["arguments"], number
            continue
        began, first = number, ""
        if found := _RESUMED.match(line):
            first, began = begun.pop((found["process"], found["call"]))
        else:
            found = _LINE.match(line)
        if found and not found["result"].startswith(("-", "?")):
            yield Call(found["call"], first + found["arguments"], began, number)


@dataclass
class Disk:
    """What of a folder a power cut would leave, followed call by call."""

    folder: str
    acknowledgements: str
    """Path of the file to which a line is written after each change."""
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _unsynced: dict[str, int] = field(default_factory=dict)
    """Files with writes that are not on the disk yet, and when the last of them ended."""
    _unnamed: dict[str, int] = field(default_factory=dict)
    """Names that are not in a synced folder yet, and when they came."""
    _known: set[str] = field(default_factory=set)
    _empty: set[str] = field(default_factory=set)
    """Logs that nothing was written to: they may vanish."""
    _renamed: list[str] = field(default_factory=list)
    """New names of renames whose folder is not synced yet."""

    def follow(self, call: Call) -> None:
        """Take in one call."""
        if call.name in _WRITES:
            self._wrote(call)
        elif call.name in {"fsync", "fdatasync"}:
            self._synced(call)
        elif call.name.startswith("rename"):
            self._rename(call)
        elif call.name.startswith(("mkdir", "creat", "link", "symlink")) or "O_CREAT" in call.arguments:
            self._made(call)
        elif call.name.startswith(("unlink", "rmdir")):
            for path in call.paths:
                self._forget(path)

    def _mine(self, path: str) -> bool:
        return path == self.folder or path.startswith(self.folder + "/")

    def _wrote(self, call: Call) -> None:
        # the file that is written comes last among the descriptors of copy_file_range, first everywhere else
        path = call.descriptors[-1 if call.name == "copy_file_range" else 0]
        if path == self.acknowledgements:
            self._acknowledged()
        elif self._mine(path) and not path.endswith(_PASSING):
            self.counts["writes"] += 1
            self._empty.discard(path)
            log = path if path.endswith("-wal") else path + "-wal"
            if path.endswith("-wal") and call.name == "pwrite64" and call.offset == 0:
                self._expect(
                    path.removesuffix("-wal") not in self._unsynced, f"{path} is begun before its database is synced"
                )
            if path != log and log in self._known:
                self._expect(log not in self._unsynced, f"{path} is written before its log is synced")
            self._unsynced[path] = call.ended

    def _synced(self, call: Call) -> None:
        path = call.descriptors[0]
        if not self._mine(path) and path != str(Path(self.folder).parent):
            return
        self.counts["syncs"] += 1
        if self._unsynced.get(path, call.began) < call.began:
            del self._unsynced[path]
        for name, came in list(self._unnamed.items()):
            if str(Path(name).parent) == path and came < call.began:
                del self._unnamed[name]

    def _rename(self, call: Call) -> None:
        old, new = call.paths
        if not self._mine(new):
            return
        self.counts["renames"] += 1
        inside = [path for path in self._unsynced if path == old or path.startswith(old + "/")]
        self._expect(not inside, f"{old} is renamed before {inside} is synced")
        names = [path for path in self._unnamed if path.startswith(old + "/")]
        self._expect(not names, f"{old} is renamed before its folder is synced")
        pending = [path for path in self._renamed if path in self._unnamed]
        self._expect(not pending, f"{old} is renamed before the folder of {pending} is synced")
        self._forget(old)
        self._known.add(new)
        self._unnamed[new] = call.ended
        self._renamed = [new]

    def _made(self, call: Call) -> None:
        path = call.paths[-1]
        if self._mine(path) and path not in self._known:
            self._known.add(path)
            if not path.endswith(_PASSING):
                self._unnamed[path] = call.ended
            if path.endswith("-wal"):
                self._empty.add(path)

    def _forget(self, gone: str) -> None:
        for path in [
            path for path in {*self._unsynced, *self._unnamed, *self._known} if (path + "/").startswith(gone + "/")
        ]:
            self._unsynced.pop(path, None)
            self._unnamed.pop(path, None)
            self._known.discard(path)

    def _acknowledged(self) -> None:
        self.counts["acknowledged"] += 1
        number = self.counts["acknowledged"]
        self._expect(not self._unsynced, f"{sorted(self._unsynced)} not synced at acknowledgement {number}")
        names = sorted(name for name in self._unnamed if name not in self._empty)
        self._expect(not names, f"the names of {names} not synced at acknowledgement {number}")
        for name in names:  # once reported is enough
            del self._unnamed[name]

    def _expect(self, holds: bool, detail: str) -> None:
        if not holds:
            self.violations.append(detail.replace(self.folder, "DATA"))


# ---- the process under strace -------------------------------------------------------------------------------


class _Careless(sqlite3.Connection):
    """Null control: a connection that does not sync."""

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous = FULL", "synchronous = OFF"), *arguments)  # type: ignore[arg-type]


def _change(folder: Path, acknowledgements: Path, seed: str, count: int, control: str) -> None:
    """Make ``count`` changes, a backup and a restore of it, with a line to a file after each."""
    connect = sqlite3.connect
    if control == "no-sync":
        mock.patch("sqlite3.connect", lambda *args, **options: connect(*args, **options, factory=_Careless)).start()
    elif control == "no-fsync":
        mock.patch("os.fsync", lambda _descriptor: None).start()
    file = os.open(acknowledgements, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(line: bytes) -> None:
        if line.startswith(b"ack"):
            os.write(file, line)

    data = folder / "data"
    for part in range(3):  # closing and opening are part of the order
        todo = [*operations(random.Random(f"{seed} {part}"), {}, f"zqpart{part}", count // 3), Operation("compact")]
        work(write, data, todo if part < 2 else [*todo, Operation("change_model")])
    back_up(data, folder / "backup")
    os.write(file, b"ack backup\n")
    restore(folder / "backup", folder / "restored")
    os.write(file, b"ack restore\n")


def trace(seed: int, changes: int, control: str) -> Disk:
    """Make changes in a process under strace and follow what it does."""
    with tempfile.TemporaryDirectory() as scratch:
        root, calls, acknowledgements = (Path(scratch).resolve() / name for name in ("root", "calls", "acks"))
        root.mkdir()
        watched = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(calls)]
        program = [sys.executable, "-m", "tests.durability.fsync_order", TRACED, str(root), str(acknowledgements)]
        subprocess.run([*watched, *program, str(seed), str(changes), control], cwd=ROOT, check=True, timeout=300)
        disk = Disk(str(root), str(acknowledgements))
        with calls.open(errors="replace") as lines:
            for call in read_trace(lines):
                disk.follow(call)
    return disk


def main() -> None:
    """Trace a process and report."""
    if sys.argv[1:2] == [TRACED]:
        root, acknowledgements, seed, count, control = sys.argv[2:]
        _change(Path(root), Path(acknowledgements), seed, int(count), control)
        return
    arguments = parse_arguments(__doc__, 30, ["no-sync", "no-fsync"])
    if shutil.which("strace") is None:
        sys.exit("strace is missing: install it to see the order of fsyncs")
    began = time.monotonic()
    disk = trace(arguments.seed, arguments.trials, arguments.control or "")
    for example in disk.violations[:10]:
        print(example)
    figures: dict[str, object] = {
        "id": "R04-order",
        "trials": disk.counts["acknowledged"],
        "violations": len(disk.violations),
        **disk.counts,
    }
    if disk.violations:
        figures["examples"] = disk.violations[:3]
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
