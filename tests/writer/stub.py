"""An endpoint for chat completions on this machine that does what it is told, also every kind of wrong.

The name of the model in the request decides what happens, so that one server serves all trials at once.
"""

from __future__ import annotations

import json
import random
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 1.5
"""Seconds after which a stub that dawdles gives up, whatever the client does; longer than any deadline in tests."""


@dataclass
class Seen:
    """What arrived at a stub."""

    requests: int = 0
    keys: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Stub(socketserver.ThreadingTCPServer):
    """A server at ``url``; ``answers`` gives the text for a model name that is no fault."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answers: Callable[[dict[str, Any]], str], elsewhere: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.elsewhere = elsewhere
        self.seen = Seen()

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what is tested."""


@contextmanager
def serving(answers: Callable[[dict[str, Any]], str], elsewhere: str = "") -> Iterator[Stub]:
    """Run a stub until the block ends."""
    stub = Stub(answers, elsewhere)
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        stub.server_close()
        thread.join(5)


class _Handler(socketserver.BaseRequestHandler):
    server: Stub
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(PATIENCE)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head, body = self._read()
        if not head:
            return
        key = next(
            (
                line.partition(":")[2].strip()
                for line in head.split("\r\n")
                if line.lower().startswith("authorization:")
            ),
            "",
        )
        asked = json.loads(body) if body else {}
        with self.server.seen.lock:
            self.server.seen.requests += 1
            self.server.seen.keys.append(key)
            self.server.seen.bodies.append(asked)
        kind = str(asked.get("model", ""))
        with suppress(OSError):
            FAULTS.get(kind, good)(self, asked)

    def _read(self) -> tuple[str, bytes]:
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                block = self.request.recv(65536)
                if not block:
                    return "", b""
                data += block
                if data[0] == 0x16:  # somebody begins with TLS: this server has none
                    self.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                    return "", b""
            head, _, body = data.partition(b"\r\n\r\n")
            text = head.decode("latin-1")
            length = next(
                (
                    int(line.partition(":")[2])
                    for line in text.split("\r\n")
                    if line.lower().startswith("content-length:")
                ),
                0,
            )
            while len(body) < length:
                body += self.request.recv(65536)
        except OSError:
            return "", b""
        return text, body

    def send(self, text: str | bytes) -> None:
        """Send as it is."""
        self.request.sendall(text.encode() if isinstance(text, str) else text)

    def head(self, kind: str = "text/event-stream", *, status: str = "200 OK", more: Sequence[str] = ()) -> None:
        """Send a head that leaves the end of the body to the end of the connection."""
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close", *more]
        self.send("\r\n".join(lines) + "\r\n\r\n")

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait, but not longer than the client stays."""
        ends = time.monotonic() + seconds
        self.request.settimeout(0.05)
        while time.monotonic() < ends:
            try:
                if not self.request.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return


def event(text: str | None, reason: str | None = None) -> str:
    """Return one server-sent event."""
    delta = {} if text is None else {"content": text}
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': reason}]})}\n\n"


def events(text: str) -> list[str]:
    """Return a whole stream, a few characters at a time."""
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    return [*(event(piece) for piece in pieces), event(None, "stop"), "data: [DONE]\n\n"]


def good(handler: _Handler, asked: dict[str, Any]) -> None:
    """Answer properly."""
    handler.head()
    for each in events(handler.server.answers(asked)):
        handler.send(each)


def whole(handler: _Handler, asked: dict[str, Any]) -> None:
    """Answer properly, but all at once."""
    handler.head("application/json")
    message = {"role": "assistant", "content": handler.server.answers(asked)}
    handler.send(json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))


def _reset(handler: _Handler, asked: dict[str, Any]) -> None:
    if random.random() < 0.5:
        handler.head()
        handler.send(event("The "))
    handler.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.request.close()


def _status(line: str) -> Callable[[_Handler, dict[str, Any]], None]:
    def answer(handler: _Handler, asked: dict[str, Any]) -> None:
        handler.head("application/json", status=line)
        handler.send('{"error": {"message": "no", "key": "' + "x" * 50 + '"}}')

    return answer


def _silent(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.wait()


def _stall(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.head()
    whole_answer = events(handler.server.answers(asked))
    for each in whole_answer[: random.randrange(len(whole_answer) - 2)]:
        handler.send(each)
    handler.wait()


def _drip(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.head()
    ends = time.monotonic() + PATIENCE
    for letter in "".join(events(handler.server.answers(asked))):
        handler.send(letter)
        if time.monotonic() > ends:
            return
        time.sleep(0.03)


def _huge(handler: _Handler, asked: dict[str, Any]) -> None:
    way = random.choice(("length", "stream", "event"))
    if way == "length":
        handler.head("application/json", more=[f"Content-Length: {2**30}"])
        handler.send("{" + " " * 60_000)
        handler.wait(0.2)
        return
    handler.head()
    if way == "event":
        handler.send('data: {"choices": [{"index": 0, "delta": {"content": "')
    ends = time.monotonic() + PATIENCE
    block = event("word " * 2000) if way == "stream" else "x" * 65536
    for _ in range(2**30 // len(block)):
        handler.send(block)
        if time.monotonic() > ends:
            return


def _bad_json(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.head("application/json")
    handler.send(
        random.choice(
            (
                '{"choices": [',
                "not json",
                "[1, 2]",
                '{"choices": {"a": 1}}',
                '{"choices": [{"message": {"content": 5}}]}',
                "null",
                '{"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}], "choices": []}',
                "[" * 100_000,
                '{"choices": [{"index": 0, "message": {"content": "\\ud800 It is. [1]"}, "finish_reason": "stop"}]}',
                '{"choices": [{"index": 0, "message": {"tool_calls": [{}]}, "finish_reason": "tool_calls"}]}',
                '{"error": {"message": "overloaded"}}',
                '{"choices": []}',
                '{"choices": [{}, {}]}',
                "NaN",
            )
        )
    )


def _bad_events(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.head()
    stream = events(handler.server.answers(asked))
    way = random.choice(("cut", "garbage", "no_data", "no_stop", "two", "type", "half"))
    if way == "cut":
        stream = stream[: len(stream) - 2]
    elif way == "garbage":
        stream.insert(random.randrange(len(stream) - 1), "data: {oops\n\n")
    elif way == "no_data":
        stream = [each.replace("data:", "date:") for each in stream]
    elif way == "no_stop":
        stream.pop(-2)
    elif way == "two":
        stream.insert(1, 'data: {"choices": [{"index": 1, "delta": {"content": "x"}}]}\n\n')
    elif way == "type":
        stream.insert(1, 'data: {"choices": [{"index": 0, "delta": {"content": ["x"]}}]}\n\n')
    else:
        stream[-1] = "data: [DO"
        stream.pop(-2)
    for each in stream:
        handler.send(each)


def _wrong_type(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.head(random.choice(("text/html", "text/plain", "application/octet-stream", "image/png")))
    for each in events(handler.server.answers(asked)):
        handler.send(each)


def _redirect(handler: _Handler, asked: dict[str, Any]) -> None:
    status = random.choice(("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"))
    handler.head(
        "text/plain",
        status=status,
        more=[f"Location: {handler.server.elsewhere}/chat/completions", "Content-Length: 0"],
    )


def _truncated_utf8(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.head()
    handler.send(event("The bridge "))
    handler.send(b'data: {"choices": [{"index": 0, "delta": {"content": "\xc3')
    if random.random() < 0.5:
        handler.send(b'"}}]}\n\n' + event(None, "stop").encode() + b"data: [DONE]\n\n")


def _empty(handler: _Handler, asked: dict[str, Any]) -> None:
    way = random.choice(("nothing", "head", "no_text", "blank"))
    if way == "nothing":
        return
    handler.head(random.choice(("application/json", "text/event-stream")) if way == "head" else "text/event-stream")
    if way == "no_text":
        handler.send(event(None, "stop") + "data: [DONE]\n\n")
    elif way == "blank":
        handler.send(event("  \n ") + event(None, "stop") + "data: [DONE]\n\n")


def _endless(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.head()
    pieces = random.choice(
        ((": still there\n\n",), (event("and so on "),), tuple(events(handler.server.answers(asked))[:-2]))
    )
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        for each in pieces:
            handler.send(each)
        time.sleep(0.002)


def _duplicate(handler: _Handler, asked: dict[str, Any]) -> None:
    handler.head()
    stream = events(handler.server.answers(asked))
    for each in (*stream, *stream) if random.random() < 0.5 else (*stream[:-1], *stream):
        handler.send(each)


def _slow_headers(handler: _Handler, asked: dict[str, Any]) -> None:
    ends = time.monotonic() + PATIENCE
    for letter in "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + "X-Filler: aaaaaaaa\r\n" * 50:
        handler.send(letter)
        if time.monotonic() > ends:
            return
        time.sleep(0.02)


def _wrong_length(handler: _Handler, asked: dict[str, Any]) -> None:
    body = "".join(events(handler.server.answers(asked)))
    length = random.choice((len(body) + 50, len(body) // 2, -1, 5))
    handler.head(more=[f"Content-Length: {length}", *(["Content-Length: 7"] if random.random() < 0.3 else [])])
    handler.send(body)


FAULTS: dict[str, Callable[[_Handler, dict[str, Any]], None]] = {
    "reset": _reset,
    "status_401": _status("401 Unauthorized"),
    "status_429": _status("429 Too Many Requests"),
    "status_500": _status("500 Internal Server Error"),
    "silent": _silent,
    "stall": _stall,
    "drip": _drip,
    "huge": _huge,
    "bad_json": _bad_json,
    "bad_events": _bad_events,
    "wrong_type": _wrong_type,
    "redirect": _redirect,
    "truncated_utf8": _truncated_utf8,
    "empty": _empty,
    "endless": _endless,
    "duplicate": _duplicate,
    "slow_headers": _slow_headers,
    "wrong_length": _wrong_length,
    "whole": whole,
}
"""By model name; "refused" and "tls" need another address."""

KINDS = (*(kind for kind in FAULTS if kind != "whole"), "refused", "tls")
"""All twenty."""
