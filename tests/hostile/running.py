"""The real service as a process of its own, watched from outside: memory, children, log, answers to questions."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from index.encoder import default_models_folder
from tests.durability.common import ROOT

MIB = 2**20
_START = 300  # seconds; a model may have to be converted


@dataclass(slots=True)
class Service:
    """A running service."""

    process: subprocess.Popen[str]
    port: int = 0
    log: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "", timeout: float = 600) -> Reply:
        """Make one call on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"content-type": kind} if kind else {})
            response = connection.getresponse()
            return Reply(response.status, response.read())
        finally:
            connection.close()

    def ask(self, question: str, timeout: float = 120) -> Reply:
        """Ask a question."""
        return self.call("POST", "/v1/ask", json.dumps({"question": question}).encode(), "application/json", timeout)

    def upload(self, files: Sequence[tuple[str, bytes]], collection: str = "default", timeout: float = 600) -> Reply:
        """Upload files in one request."""
        edge = "----hostile-edge-7c1f0a"
        parts = [
            f'--{edge}\r\ncontent-disposition: form-data; name="collection"\r\n\r\n{collection}\r\n'.encode(),
            *(
                f'--{edge}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
                + data
                + b"\r\n"
                for name, data in files
            ),
            f"--{edge}--\r\n".encode(),
        ]
        return self.call("POST", "/v1/documents", b"".join(parts), f"multipart/form-data; boundary={edge}", timeout)

    @property
    def troubles(self) -> list[str]:
        """Lines of the log that tell of something that was not expected."""
        return [line for line in self.log if re.search(r"Traceback|ERROR|CRITICAL|Exception", line)]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        """What the JSON says."""
        value: dict[str, Any] = json.loads(self.content)
        return value


@contextmanager
def serving(scratch: Path, command: Sequence[str] = ("-m", "service")) -> Iterator[Service]:
    """Serve the data folder ``scratch/data``, with home, temporary and working folders of its own.

    Args:
        scratch: has ``data``, ``home``, ``tmp`` and ``cwd``.
        command: what Python runs.
    """
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "tmp"),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "FUNDSTELLE_MODELS_DIR": os.environ.get("FUNDSTELLE_MODELS_DIR", str(default_models_folder())),
    }
    process = subprocess.Popen(
        [sys.executable, *command, "serve", "--data", str(scratch / "data"), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=scratch / "cwd",
        env=environment,
    )
    service = Service(process)
    listening = threading.Event()
    reader = threading.Thread(target=_read_log, args=(service, listening), daemon=True)
    reader.start()
    try:
        if not listening.wait(_START) or not service.port:
            raise RuntimeError("the service did not start:\n" + "".join(service.log[-20:]))
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(10)


def _read_log(service: Service, listening: threading.Event) -> None:
    assert service.process.stderr is not None
    for line in service.process.stderr:
        service.log.append(line)
        if not service.port and (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)):
            service.port = int(found[1])
            listening.set()
    listening.set()


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes held at one moment."""

    service: int
    """By the service for itself alone: not what is mapped from files."""
    readers: int
    """By the processes that wait for files to read, in the same way."""
    resident: int
    """By the service, with what is mapped from files."""

    @property
    def held(self) -> int:
        """What counts: service and readers."""
        return self.service + self.readers

    def figures(self) -> dict[str, int]:
        """Return it in MiB."""
        return {name: round(getattr(self, name) / MIB) for name in ("service", "readers", "resident")}


def _status(pid: int) -> dict[str, int]:
    """Return the sizes that Linux knows of a process, in bytes; zeros once it has ended."""
    sizes = {"RssAnon": 0, "VmRSS": 0}
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return sizes
    for line in lines:
        name, _, value = line.partition(":")
        if name in sizes:
            sizes[name] = int(value.split()[0]) * 1024
    return sizes


class Watch:
    """Looks at the service's memory and at its descendants, several times a second."""

    def __init__(self, service: Service, seconds: float = 0.1) -> None:
        self._process = psutil.Process(service.process.pid)
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peak = 0
        """Of the service's own resident memory since the last :meth:`reset`, in bytes."""
        self.largest_child = 0
        """Resident memory of the largest descendant ever seen, in bytes."""
        self.seen: dict[int, float] = {}
        """Descendants by their number, with the time each began."""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def at_rest(self) -> Memory:
        """Return the memory of the service and its descendants; the least of a second, since it breathes."""
        found = []
        for _ in range(10):
            found.append(self._memory())
            time.sleep(0.1)
        return min(found, key=lambda each: each.held)

    def _memory(self) -> Memory:
        readers = [_status(child.pid) for child in self._process.children(recursive=True)]
        own = _status(self._process.pid)
        return Memory(own["RssAnon"], sum(each["RssAnon"] for each in readers), own["VmRSS"])

    def reset(self) -> None:
        """Begin to look for a new peak."""
        self.peak = 0

    def left(self, seconds: float) -> list[int]:
        """Return the descendants that still run ``seconds`` from now; for after the end of the service."""
        until = time.monotonic() + seconds
        while (running := [pid for pid in self.seen if self._runs(pid)]) and time.monotonic() < until:
            time.sleep(0.2)
        return running

    def _runs(self, pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            return process.create_time() == self.seen[pid] and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.peak = max(self.peak, self._process.memory_info().rss)
                for child in self._process.children(recursive=True):
                    self._look_at(child)
            except psutil.NoSuchProcess:
                return

    def _look_at(self, child: psutil.Process) -> None:
        try:
            self.seen.setdefault(child.pid, child.create_time())
            self.largest_child = max(self.largest_child, child.memory_info().rss)
        except psutil.NoSuchProcess:
            pass


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: when, how long until the answer, what status, and whether files were being read meanwhile."""

    began: float
    seconds: float
    status: int
    busy: bool


class Asking:
    """Asks questions at a steady pace, whatever else happens."""

    def __init__(self, service: Service, questions: Sequence[str], seconds: float) -> None:
        self._service = service
        self._questions = questions
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.busy: bool | None = None
        """Whether files are being read; ``None`` while that changes: such a question is not counted."""
        self.asked: list[Asked] = []

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        due = time.monotonic()
        while not self._stop.is_set():
            before, began = self.busy, time.monotonic()
            try:
                status = self._service.ask(self._questions[number % len(self._questions)]).status
            except (OSError, http.client.HTTPException):
                status = 0
            if before is not None and before is self.busy:
                self.asked.append(Asked(began, time.monotonic() - began, status, before))
            number += 1
            due = max(due + self._seconds, time.monotonic() - self._seconds)
            self._stop.wait(max(0.0, due - time.monotonic()))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextmanager
def scratch_folder(secret: str) -> Iterator[tuple[Path, Path]]:
    """Lend a folder with what :func:`serving` needs, and a file of the host that nobody may read."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for part in ("home", "tmp", "cwd"):
            (scratch / part).mkdir()
        host = scratch / "host.txt"
        host.write_text(f"The secret word is {secret}.\n", "utf-8")
        yield scratch, host


def listing(scratch: Path) -> dict[str, tuple[int, int]]:
    """Return every file outside of the data folder with its size and time of change."""
    return {
        str(file.relative_to(scratch)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in scratch.rglob("*")
        if file.is_file() and not file.is_relative_to(scratch / "data")
    }
