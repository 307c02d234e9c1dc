"""R11: the signal TERM under load drops no request, and the process ends within ten seconds.

Clients ask, add and upload as fast as they can, some with half-sent bodies. In the middle of it the server gets TERM.
Every request whose last byte was sent before the connection was refused or closed in order must get its whole answer:
a connection that breaks after that is a dropped request. Then readiness is asked for: it must say no within 100 ms.
The data folder must open afterwards and hold every acknowledged document.

    python -m tests.load.farewell --trials 20
"""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from index import Library
from tests.durability.client import start
from tests.durability.common import ROOT, finish, parse_arguments
from tests.tiny import TinyEncoder

RESULTS = ROOT / "docs" / "results" / "load"
CLIENTS = 8
BREAKS = ("at-once",)
"""Null control: the process is killed instead."""
_ENDS_WITHIN = 10.0
_NOT_READY_WITHIN = 0.1
_IDLE = 0.25
"""Seconds after which a kept connection may be closed without a word."""


class Load:
    """Clients that go on until nobody answers any more."""

    def __init__(self, port: int, seed: str) -> None:
        self.port = port
        self.answered: Counter[int] = Counter()
        self.acknowledged: set[str] = set()
        self.dropped: list[str] = []
        self.refused = 0
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(number, random.Random(f"{seed}/{number}")), daemon=True)
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until every client has found nobody."""
        for thread in self._threads:
            thread.join(30)

    def _work(self, client: int, chance: random.Random) -> None:
        number, answered = 0, 0.0
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while True:
            number += 1
            method, path, body = _request(chance, client, number)
            kept = connection.sock is not None
            try:
                if not kept:
                    connection.connect()
            except OSError:
                self.refused += 1  # the door is closed: nothing was sent
                return
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                connection.close()
                if kept and time.monotonic() - answered > _IDLE:
                    continue  # it was idle and closed in order, as HTTP allows: ask again on a new one
                self._note_dropped(f"{method} {path}: {type(error).__name__}, kept: {kept}")
                return
            except (OSError, http.client.HTTPException) as error:
                self._note_dropped(f"{method} {path}: {error!r}")
                return
            answered = time.monotonic()
            with self._lock:
                self.answered[response.status] += 1
                if response.status == 201:
                    self.acknowledged.add(json.loads(content)["documents"][0]["id"])
            if response.getheader("Connection") == "close":
                connection.close()

    def _note_dropped(self, text: str) -> None:
        with self._lock:
            self.dropped.append(text)


def _request(chance: random.Random, client: int, number: int) -> tuple[str, str, bytes | None]:
    kind = chance.choice(("ask", "ask", "search", "list", "add"))
    if kind == "list":
        return "GET", "/v1/documents?limit=5", None
    bodies: dict[str, dict[str, Any]] = {
        "ask": {"question": "When does the bridge close?"},
        "search": {"query": "bridge", "top_k": 3},
        "add": {"source": f"{client}-{number}.txt", "text": f"Bridge {client} closes on day {number}."},
    }
    path = {"ask": "/v1/ask", "search": "/v1/search", "add": "/v1/documents"}[kind]
    return "POST", path, json.dumps(bodies[kind]).encode()


@contextmanager
def _half_sent(port: int) -> Iterator[None]:
    """Hold connections whose requests are not whole; they must not keep the process alive."""
    held = []
    for data in (b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{", b"GET /heal"):
        held.append(socket.create_connection(("127.0.0.1", port)))
        held[-1].sendall(data)
    try:
        yield
    finally:
        for each in held:
            each.close()


def _seconds_until_not_ready(port: int) -> float:
    begun = time.monotonic()
    while time.monotonic() - begun < 5:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
            connection.close()
            if status == 503:
                return time.monotonic() - begun
            continue
        return time.monotonic() - begun  # nobody there: not ready either
    return 5.0


def trial(folder: Path, seed: str, control: str | None, not_ready_within: float) -> dict[str, Any]:
    """End one server under load; return what was seen."""
    chance = random.Random(seed)
    problems: list[str] = []
    with start(folder) as server:
        load = Load(server.port, seed)
        with _half_sent(server.port):
            load.start()
            time.sleep(0.3 + chance.random())
            begun = time.monotonic()
            server.send(signal.SIGKILL if control else signal.SIGTERM)
            not_ready = _seconds_until_not_ready(server.port)
            code = server.wait(30)
            seconds = time.monotonic() - begun
        load.join()
    problems += [f"dropped: {each}" for each in load.dropped]
    if code != 0:
        problems.append(f"exit status {code}")
    if seconds > _ENDS_WITHIN:
        problems.append(f"ended after {seconds:.1f} s")
    if not_ready > not_ready_within:
        problems.append(f"not ready was said after {not_ready * 1000:.0f} ms")
    problems += [f"status {status}" for status in load.answered if status not in {200, 201, 503}]
    with Library(folder, TinyEncoder(), writable=True) as library:
        there = {document.id for document in library.documents(100_000)[0]}
    if lost := load.acknowledged - there:
        problems.append(f"{len(lost)} acknowledged documents are lost")
    return {"problems": problems, "answered": sum(load.answered.values()), "seconds": seconds, "not_ready": not_ready}


def run(
    trials: int, seed: int, control: str | None = None, not_ready_within: float = _NOT_READY_WITHIN
) -> dict[str, Any]:
    """Return figures of so many farewells; ``not_ready_within`` so many seconds each has to say that it ends."""
    problems: list[str] = []
    answered, seconds, not_ready = 0, [0.0], [0.0]
    for number in range(trials):
        with tempfile.TemporaryDirectory() as name:
            seen = trial(Path(name) / "data", f"{seed}/{number}", control, not_ready_within)
        problems += [f"{number}: {problem}" for problem in seen["problems"]]
        answered += seen["answered"]
        seconds.append(seen["seconds"])
        not_ready.append(seen["not_ready"])
    return {
        "id": "R11",
        "trials": trials,
        "violations": len(problems),
        "examples": problems[:5],
        "answered": answered,
        "longest_end_seconds": round(max(seconds), 2),
        "longest_until_not_ready_ms": round(max(not_ready) * 1000, 1),
    }


def main() -> None:
    """End as many servers as asked for."""
    arguments = parse_arguments(__doc__, 20, BREAKS)
    began = time.monotonic()
    finish(arguments, run(arguments.trials, arguments.seed, arguments.control), began, folder=RESULTS)


if __name__ == "__main__":
    main()
