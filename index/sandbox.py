"""Files that others made are read in a process that can be killed: this is the side that asks.

A worker process is kept; for each file it forks a child with limits on time, memory and files, so that a file made
to exhaust whoever reads it costs one child. Children run at low priority: questions go first.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.errors import DocumentRejected
from index.memory import THRIFT
from index.reading.parsed import Parsed, from_bytes
from index.sandbox_worker import LENGTH, MAX_ANSWER, PARSED

_ROOT = Path(__file__).parent.parent
_START = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from index.sandbox_worker import main; main()"
_LONGEST_MESSAGE = 500
_PATIENCE = 10.0
"""Seconds beyond the child's own limit after which the worker itself is given up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one file may take."""

    cpu_seconds: float = 20.0
    cpu_seconds_a_mebibyte: float = 4.0
    """More for large files: a book of a thousand pages takes a minute."""
    most_cpu_seconds: float = 120.0
    wall_factor: float = 3.0
    """Seconds on the clock for each of the processor: children wait for questions."""
    memory: int = 2**30
    """Bytes of address space."""

    def cpu(self, size: int) -> float:
        """Return the seconds of processor time for a file of ``size`` bytes."""
        return min(self.most_cpu_seconds, self.cpu_seconds + self.cpu_seconds_a_mebibyte * size / 2**20)


class Sandbox:
    """Reads files in other processes; safe to use from any thread."""

    def __init__(self, workers: int = 2, limits: Limits | None = None) -> None:
        """Prepare; the first file starts a process.

        Args:
            workers: how many files are read at the same time.
            limits: for each of them.
        """
        self.limits = limits or Limits()
        self._free = threading.Semaphore(workers)
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()

    def read(self, kind: str, data: bytes) -> Parsed:
        """Read a file.

        Args:
            kind: ``html``, ``pdf`` or ``docx``.
            data: the file.

        Raises:
            DocumentRejected: if it is damaged, encrypted, empty, or takes more than the limits allow.
        """
        try:
            return from_bytes(self.ask(kind, data))
        except (ValueError, TypeError, KeyError, RecursionError) as error:  # a reader may be in a file's hands
            raise _failure("crash") from error

    def ask(self, kind: str, data: bytes) -> bytes:
        """Have ``data`` worked on; return what comes of it, not yet looked at.

        Raises:
            DocumentRejected: as :meth:`read` says.
        """
        with self._worker() as worker:
            answer = worker.ask(kind, data, self.limits)
        if answer.startswith(PARSED):
            return answer.removeprefix(PARSED)
        try:
            reason = json.loads(answer)
            if isinstance(reason, str):
                raise _failure(reason)
            code, message, hint = (str(part)[:_LONGEST_MESSAGE] for part in reason)
        except (ValueError, TypeError, RecursionError) as error:
            raise _failure("crash") from error
        raise DocumentRejected(code, message, hint)

    def close(self) -> None:
        """End the idle processes; a later file starts another."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    @contextlib.contextmanager
    def _worker(self) -> Iterator[_Worker]:
        with self._free:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is not None and not worker.lives():  # no file's fault: it was idle
                worker.end()
                worker = None
            worker = worker or _Worker()
            try:
                yield worker
            except BaseException:
                worker.end()
                raise
            with self._lock:
                self._idle.append(worker)


class _Worker:
    """One process that reads one file at a time."""

    def __init__(self) -> None:
        # Its own process group: a Ctrl-C at the terminal reaches us, and the pipe's end reaches it. Not its own
        # session: Linux may share processor time among sessions first, and low priority count inside of one only.
        # Nothing of our environment is any business of a file's reader.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8", **THRIFT},
            process_group=0,
        )

    def lives(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def ask(self, kind: str, data: bytes, limits: Limits) -> bytes:
        """Send a file and wait for what becomes of it, as the worker says it.

        Raises:
            DocumentRejected: if the process is lost.
        """
        cpu = limits.cpu(len(data))
        wall = cpu * limits.wall_factor
        header = {
            "format": kind,
            "bytes": len(data),
            "cpu_seconds": max(1, round(cpu)),
            "seconds": wall,
            "memory": limits.memory,
        }
        encoded = json.dumps(header).encode()
        overdue = threading.Timer(wall + _PATIENCE, self._process.kill)
        overdue.start()
        try:
            assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101
            self._process.stdin.write(LENGTH.pack(len(encoded)) + encoded)
            self._process.stdin.write(data)
            self._process.stdin.flush()
            (length,) = LENGTH.unpack(_exactly(self._process.stdout, LENGTH.size))
            if length > MAX_ANSWER:
                raise OSError("too long")
            return _exactly(self._process.stdout, length)
        except (OSError, ValueError) as error:
            raise _failure("crash") from error
        finally:
            overdue.cancel()

    def end(self) -> None:
        """End the process and whatever it started; it may be in the middle of something."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, 9)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait()


def _exactly(stream: Any, size: int) -> bytes:
    data: bytes = stream.read(size)
    if len(data) != size:
        raise OSError("the reading process is gone")
    return data


def _failure(reason: str) -> DocumentRejected:
    if reason == "time":
        return DocumentRejected("document_too_complex", "The file takes too long to read.")
    if reason == "memory":
        return DocumentRejected("document_too_complex", "The file takes too much memory to read.")
    return DocumentRejected("document_damaged", "The file makes its reader crash.")


_shared: Sandbox | None = None
_making = threading.Lock()


def _start_anew() -> None:
    """In a forked child: the processes are those of its parent, and answers would reach whoever reads first."""
    global _shared, _making
    _shared, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_start_anew)


def shared() -> Sandbox:
    """Return the sandbox of this process."""
    global _shared  # noqa: PLW0603 - one pool of processes, whoever asks
    with _making:
        if _shared is None:
            _shared = Sandbox()
            atexit.register(_shared.close)
        return _shared
