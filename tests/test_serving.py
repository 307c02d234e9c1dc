"""The server under the application: patience that ends, too many connections, and R11 in small."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from index import Library, document_from_text
from service.answer import AnswerPolicy
from service.app import build_app
from service.routes import AppState
from tests.browser.chromium import serving
from tests.load import farewell

HEAD = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience, so that the tests need little, too."""
    monkeypatch.setattr("service.serving.HEAD_SECONDS", 0.6)
    monkeypatch.setattr("service.serving.BODY_SECONDS", 0.6)
    monkeypatch.setattr("service.serving.BODY_RATE", 1000)


@pytest.fixture
def port(library: Library) -> Iterator[int]:
    with serving(build_app(AppState(library, AnswerPolicy(min_confidence=0.0)))) as address:
        yield int(address.rpartition(":")[2])


def seconds_until_closed(port: int, data: bytes, pause: float = 0.1, most: float = 6.0) -> float:
    """Send ``data`` byte by byte with pauses; return when the other side closed, ``most`` if it did not."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(pause)
        place = 0
        while time.monotonic() - begun < most:
            try:
                connection.send(data[place : place + 1])
                place += 1
                if connection.recv(1000) == b"":
                    return time.monotonic() - begun
            except TimeoutError:
                continue
            except OSError:
                return time.monotonic() - begun
    return most


def asks(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = json.dumps({"query": "bridge"})
    connection.request("POST", "/v1/search", body, {"Content-Type": "application/json"})
    with closing(connection):
        return connection.getresponse().status


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "data",
    [b"", HEAD * 50, HEAD + b"Content-Length: 500\r\n\r\n" + b" " * 500],
    ids=["nothing", "a head without end", "a body drop by drop"],
)
def test_who_keeps_it_waiting_is_left(port: int, data: bytes) -> None:
    assert seconds_until_closed(port, data) < 5
    assert asks(port) == 200


@pytest.mark.usefixtures("quick")
def test_who_keeps_it_waiting_with_the_next_request_is_left_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(8)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while not received.endswith(b"}"):
            received += connection.recv(1000)
        assert b"200 OK" in received
        connection.sendall(b"GET /heal")
        begun = time.monotonic()
        assert connection.recv(1000) == b""
        assert time.monotonic() - begun < 4


def test_with_the_usual_patience_a_slow_client_is_served(port: int) -> None:
    """The null control of the tests above: half a second is not too slow."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(10)
        for part in (b"GET /heal", b"thz HTTP/1.1\r\n", b"Host: localhost\r\n\r\n"):
            connection.sendall(part)
            time.sleep(0.5)
        assert b"200 OK" in connection.recv(1000)


def test_who_does_not_read_the_answer_is_left(port: int, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.serving.READ_SECONDS", 0.5)
    (added,) = library.add([document_from_text("long.txt", "The bridge closes in October. " * 400_000)])
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        path = f"/v1/documents/{added.document.id}/text"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(4)
        connection.settimeout(5)
        received = 0
        with suppress(OSError):
            while data := connection.recv(2**20):
                received += len(data)
        assert received < 11_000_000


def test_a_head_that_is_too_large_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(10)
        with suppress(OSError):
            connection.sendall(HEAD + b"X-Long: " + b"x" * 40_000 + b"\r\n\r\n")
        with suppress(OSError):
            assert b" 4" in connection.recv(1000)[:13]
    assert asks(port) == 200


@pytest.mark.parametrize("limit", ["CONNECTIONS", "CONNECTIONS_OF_ONE"])
def test_too_many_connections_are_closed_at_once(port: int, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"service.serving.{limit}", 5)
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    time.sleep(0.3)
    closed = 0
    for connection in held:
        connection.settimeout(0.2)
        try:
            closed += connection.recv(1) == b""
        except TimeoutError:
            pass
        except OSError:
            closed += 1
    assert closed == 3
    for connection in held:
        connection.close()
    time.sleep(0.3)
    assert asks(port) == 200


@pytest.mark.alone
def test_term_under_load_drops_nothing() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    figures = farewell.run(20, seed, not_ready_within=0.4)  # the machine does other things, too
    assert figures["violations"] == 0, figures


def test_a_kill_under_load_is_noticed() -> None:
    assert farewell.run(1, 1, "at-once")["violations"] > 0
