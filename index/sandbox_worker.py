"""The process that reads files, or cuts long texts: it waits for one, forks, the child works under limits and goes.

It is started by :mod:`index.sandbox`, answers on its standard output and ends with its standard input. The parent of
the children never looks into a file itself; it only carries bytes. A request is four bytes of length and a JSON
header, then the file; an answer is four bytes of length, then :data:`PARSED` and what was read, or JSON: a word for
what failed, or code, message and hint of a refusal.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from index.errors import DocumentRejected
from index.reading.parsed import MAX_CHARACTERS, Parsed, to_bytes

LENGTH = struct.Struct("<I")
PARSED = b"\0"
"""What an answer begins with that is a text; JSON never does."""
MAX_ANSWER = 4 * MAX_CHARACTERS + 2**24
"""Bytes: the longest text in the longest letters, and all the places it may have."""

_PR_SET_PDEATHSIG = 1
_OUT_OF_CPU = signal.SIGXCPU


def main() -> None:
    """Read files until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while (asked := _receive(requests)) is not None:
        answer = _read_in_child(*asked)
        asked = None
        answers.write(LENGTH.pack(len(answer)))
        answers.write(answer)
        answers.flush()
        answer = b""  # it may be as long as a text can be, and the next file as far as next week


def _receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    prefix = stream.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        return None
    header = json.loads(stream.read(*LENGTH.unpack(prefix)))
    data = stream.read(header["bytes"])
    return (header, data) if len(data) == header["bytes"] else None


def _read_in_child(header: Mapping[str, Any], data: bytes) -> bytes:
    """Fork a child that reads the file; return what it says, or why it could not."""
    read = _reader(header["format"])  # before the fork, so that no child has to import it
    reading, writing = os.pipe()
    gc.freeze()
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(reading)
            _confine(header)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(_answer(read, data))
            status = 0
        os._exit(status)
    os.close(writing)
    answer, overdue = _collect(reading, header["seconds"])
    os.close(reading)
    if overdue:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if overdue or os.WIFSIGNALED(status):
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        reason = "time" if overdue or killed in {_OUT_OF_CPU, signal.SIGKILL} else "crash"
        return json.dumps(reason).encode()
    return answer or json.dumps("memory" if status else "crash").encode()


def _reader(kind: str) -> Callable[[bytes], bytes]:
    """Import what reads a format, or cuts a text; return a function from what was sent to what is answered."""
    if kind == "cut":
        from index.apart import answer, load

        load()

        return answer
    read = _format_reader(kind)
    return lambda data: to_bytes(read(data))


def _format_reader(kind: str) -> Callable[[bytes], Parsed]:
    match kind:
        case "html":
            from index.reading.html import read_html

            return read_html
        case "pdf":
            from index.reading.pdf import read_pdf

            return read_pdf
        case "docx":
            from index.reading.docx import read_docx

            return read_docx
        case _:
            raise ValueError(kind)


def _collect(pipe: int, seconds: float) -> tuple[bytes, bool]:
    """Return what comes through a pipe, and whether it took too long, was too much, or nobody waits any more."""
    pieces: list[bytes] = []
    size = 0
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        # Nothing is asked before this is answered, so the standard input can be ready only if it has ended.
        if left <= 0 or select.select([pipe, sys.stdin], [], [], left)[0] != [pipe]:
            return b"", True
        piece = os.read(pipe, 2**20)
        if not piece:
            return b"".join(pieces), False
        size += len(piece)
        if size > MAX_ANSWER:
            return b"", True
        pieces.append(piece)


def _confine(header: Mapping[str, Any]) -> None:
    """Take from this process what a reader does not need: time, memory, files, the network, outliving its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for descriptor in (0, 1):  # the worker's own line to whoever asked
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    limits = {
        resource.RLIMIT_CPU: int(header["cpu_seconds"]),
        resource.RLIMIT_AS: int(header["memory"]),
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 32,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    os.nice(10)
    allowed = tuple(os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, Path(__file__).parent))

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode = arguments[0], arguments[1]
            reads = isinstance(mode, str) and not set(mode) & set("wax+")
            if isinstance(path, int) or (reads and os.path.realpath(os.fsdecode(path)).startswith(allowed)):
                return
        elif not event.startswith(_FORBIDDEN):
            return
        raise PermissionError(f"a reader may not do this: {event}")

    sys.addaudithook(refuse)


_FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
    "os.truncate",
    "os.kill",
    "shutil.",
    "pty.",
    "ctypes.dlopen",
    "webbrowser.",
    "urllib.",
    "ftplib.",
    "smtplib.",
    "http.client",
    "sqlite3.",
)
"""Audit events (PEP 578) of what no reader has to do. C libraries do not raise them: this is only a second wall."""


def _answer(read: Callable[[bytes], bytes], data: bytes) -> bytes:
    try:
        return PARSED + read(data)
    except DocumentRejected as error:
        return json.dumps([error.code, error.message, error.hint]).encode()
    except (MemoryError, RecursionError):
        return json.dumps("memory").encode()
    except Exception:  # a fault of the reader, or something it may not do
        return json.dumps("crash").encode()
