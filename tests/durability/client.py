"""The other side of the line: starts a server process on a data folder and talks to it."""

from __future__ import annotations

import ctypes
import http.client
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.durability.common import ROOT

BROKEN = (OSError, http.client.HTTPException)
"""What a call raises when the server dies before it has answered."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body: what the JSON says, or the text where the call returns text."""

    status: int
    body: Any


class Client:
    """One client with one connection, which it keeps; not for several threads."""

    def __init__(self, port: int, timeout: float = 30) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: object = None) -> Reply:
        """Make one call; raises one of ``BROKEN`` if the connection breaks."""
        data = None if body is None else json.dumps(body).encode()
        return self._send(method, path, data, {} if data is None else {"content-type": "application/json"})

    def put(self, source: str, text: str, metadata: Mapping[str, object] | None = None) -> Reply:
        """Add or update one document."""
        return self.call("POST", "/v1/documents", {"source": source, "text": text, "metadata": metadata or {}})

    def upload(self, files: Mapping[str, str]) -> Reply:
        """Add or update several documents in one call."""
        edge = "durability-edge"
        head = f'--{edge}\r\ncontent-disposition: form-data; name="file"; filename='
        parts = [f'{head}"{name}"\r\ncontent-type: text/plain\r\n\r\n{text}\r\n' for name, text in files.items()]
        data = ("".join(parts) + f"--{edge}--\r\n").encode()
        return self._send("POST", "/v1/documents", data, {"content-type": f"multipart/form-data; boundary={edge}"})

    def delete(self, document_id: str) -> Reply:
        """Delete one document."""
        return self.call("DELETE", f"/v1/documents/{document_id}")

    def delete_where(self, filters: Mapping[str, object]) -> Reply:
        """Delete every document that the filters match."""
        return self.call("POST", "/v1/documents/delete", {"filters": filters})

    def search(self, query: str, top_k: int = 10, as_of: int | None = None, source: str | None = None) -> Reply:
        """Search for passages, in an earlier generation if ``as_of`` is given, of one document if ``source`` is."""
        past = {} if as_of is None else {"as_of": as_of}
        within = {} if source is None else {"filters": {"source": source}}
        return self.call("POST", "/v1/search", {"query": query, "top_k": top_k, **past, **within})

    def ask(self, question: str, top_k: int = 5) -> Reply:
        """Ask a question."""
        return self.call("POST", "/v1/ask", {"question": question, "top_k": top_k})

    def text(self, document_id: str) -> Reply:
        """Read a document's text."""
        return self.call("GET", f"/v1/documents/{document_id}/text")

    def documents(self, limit: int = 500) -> Reply:
        """List all documents, as many pages as it takes; the body is the list."""
        found: list[Any] = []
        query: dict[str, object] = {"limit": limit}
        while True:
            reply = self.call("GET", f"/v1/documents?{urlencode(query)}")
            if reply.status != 200:
                return reply
            found += reply.body["documents"]
            query["cursor"] = reply.body["next_cursor"]
            if query["cursor"] is None:
                return Reply(200, found)

    def _send(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> Reply:
        try:
            self._connection.request(method, path, data, dict(headers))
            response = self._connection.getresponse()
            content = response.read()
        except BaseException:
            self._connection.close()
            raise
        if response.headers.get_content_type() == "application/json":
            return Reply(response.status, json.loads(content))
        return Reply(response.status, content.decode())


class Server:
    """A server process of :mod:`tests.durability.server`; entering the context waits until it is ready."""

    def __init__(self, pid: int, output: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.port = 0
        self.seconds_to_ready = math.nan
        """From the end of the imports until it listened."""
        self.last_lines: list[str] = []
        """After the end: what it printed and nobody had asked for."""
        self._output = output
        self._process = process
        self._rest = b""
        self._ended = False

    def __enter__(self) -> Server:
        try:
            port, seconds = self.line(60).split()
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        self.port, self.seconds_to_ready = int(port), float(seconds)
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Wait for the end of a server that was started as a process; return its exit status."""
        if self._process is None:
            raise RuntimeError("a fork has no status to wait for")
        return self._process.wait(timeout)

    def line(self, timeout: float) -> str:
        """Return the next line the server prints.

        Raises:
            RuntimeError: if it ends instead, or says nothing for ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._output, 65536) if ready else b""
            if not data:
                raise RuntimeError(f"the server {'ended' if ready else 'hangs'}: {self._rest!r}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def end(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end; doing so twice is fine."""
        if self._ended:
            return
        self._ended = True
        if self._process is None or self._process.poll() is None:
            self.send(number)
        if self._process:
            self._process.wait(30)
        else:
            os.waitpid(self.pid, 0)
        with os.fdopen(self._output, "rb") as output:
            self.last_lines = (self._rest + output.read()).decode().splitlines()


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, however that happens."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def start(folder: Path, options: Sequence[str] = ()) -> Server:
    """Start a server as a process of its own."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "tests.durability.server", str(folder), *options]
    with os.fdopen(writing, "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output)
    return Server(process.pid, reading, process)


def fork(folder: Path, options: Sequence[str] = ()) -> Server:
    """Start a server as a fork of this process, which saves the second that the imports take.

    This process must have no other threads and must never have searched: FAISS's threads do not survive a fork.
    """
    from tests.durability import server

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(writing, 1)
        server.run([str(folder), *options])
    os.close(writing)
    return Server(child, reading)
