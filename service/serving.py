"""The server under the application: uvicorn, with patience that ends and a farewell in good order.

uvicorn waits for ever for a request that never becomes whole, and for a client that never reads its answer. Both are
given some seconds here. When the service is told to end, it first says so (readiness, "Connection: close") while it
still takes what comes, then ends what it began.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import signal
import socket
import struct
import sys
import time
from collections import Counter
from contextlib import suppress
from types import FrameType
from typing import Any, ClassVar

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from service.errors import PROTOCOL
from service.headers import DATA
from service.life import Life
from service.refusals import refusal

HEAD_BYTES = 16 * 2**10
"""Request line and headers; more are refused."""
HEAD_SECONDS = 10.0
"""In which a request's head has to come, from the connection or its first byte on."""
BODY_SECONDS, BODY_RATE = 30.0, 64 * 2**10
"""A body may take so long, and longer if more than so many bytes a second come in."""
READ_SECONDS = 30.0
"""In which a client has to read some of its answer."""
CONNECTIONS, CONNECTIONS_OF_ONE = 1000, 500
"""At a time, in all and from one address; more are closed at once."""
DRAIN_SECONDS = 1.0
"""Between saying that the service ends and closing the door."""
HALF_SECONDS = 2.0
"""In which the rest of a body has to come once the service ends."""
KNOCK_SECONDS = 0.05
"""In which a connection that is being made has to be there once no new ones are let in."""
_SO_ATTACH_FILTER = 26
LAST_SECONDS = 0.3
"""Between closing the door and closing idle connections."""
END_SECONDS = 8
"""In which what was begun has to end."""
_TURN_SECONDS = 0.001
"""For which a thread keeps Python to itself while others wait. A question changes hands some hundred times, a refusal
waits for the event loop's thread; by itself Python would let them wait five milliseconds each time."""


class PatientProtocol(H11Protocol):
    """A connection that is closed when its client keeps it waiting."""

    _addresses: ClassVar[Counter[str]] = Counter()
    _timer: asyncio.TimerHandle | None = None
    _began = 0.0
    _received = 0
    _body_of: object = None
    """The request whose body began then."""

    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self.conn = _OneReading(h11.SERVER, self.config.h11_max_incomplete_event_size or HEAD_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        self.flow = _ImpatientFlow(transport, self.loop)
        address = self.client[0] if self.client else ""
        self._addresses[address] += 1
        if len(self.connections) > CONNECTIONS or self._addresses[address] > CONNECTIONS_OF_ONE:
            transport.abort()
            return
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        address = self.client[0] if self.client else ""
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._received += len(data)
        super().data_received(data)

    def handle_events(self) -> None:
        """Go on with what has come, and see whether it comes fast enough; also what came with the request before."""
        super().handle_events()
        match self.conn.their_state:
            case h11.IDLE:
                if self._timer is None and self.conn.trailing_data[0]:  # the first bytes of another request
                    self._wait(HEAD_SECONDS)
            case h11.SEND_BODY:
                if self._body_of is not self.cycle:
                    self._body_of, self._began, self._received = self.cycle, time.monotonic(), 0
                left = self._began + BODY_SECONDS + self._received / BODY_RATE - time.monotonic()
                self._wait(max(0.0, left))
            case _:
                self._wait(None)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the form of all refusals, unless an answer has begun; then close."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            error = sys.exception()
            too_large = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431
            code = "head_too_large" if too_large else "http_malformed"
            status, message, hint = PROTOCOL[code]
            more = {"Connection": "close", "X-Request-ID": secrets.token_hex(8)}
            response = refusal(status, code, message, hint, DATA | more)
            head = h11.Response(status_code=status, headers=response.raw_headers, reason=STATUS_PHRASES[status])
            for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True  # whatever is at work on it has nobody to tell
        self.transport.close()

    def shutdown(self) -> None:
        """End the connection once what was begun is done; half a request is not waited for as long as usual."""
        super().shutdown()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._wait(HALF_SECONDS)

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()


class _OneReading(h11.Connection):
    """Refuses a request whose end can be seen in two places, since a proxy in front might see the other one.

    A request with both kinds of length may be read as chunks, but then its connection has to be closed; a proxy of
    HTTP/1.0 knows no chunks at all. Heads that are too large are refused also if they come all at once.
    """

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what came next.

        Raises:
            h11.RemoteProtocolError: if it cannot be understood, or in two ways.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if b"transfer-encoding" in names and (b"content-length" in names or event.http_version < b"1.1"):
                raise h11.RemoteProtocolError("a length and chunks")
            if len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers) > HEAD_BYTES:
                raise h11.RemoteProtocolError("a large head", error_status_hint=431)
        return event


class _ImpatientFlow(FlowControl):
    """Closes a connection whose client does not read."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport)
        self._connection = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Begin to wait."""
        super().pause_writing()
        if self._timer is None:
            self._timer = self._loop.call_later(READ_SECONDS, self._connection.abort)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Farewell(uvicorn.Server):
    """A server that, on the signal TERM, goes on for a moment while it sends everyone away."""

    def __init__(self, config: uvicorn.Config, life: Life, drain: float = DRAIN_SECONDS) -> None:
        super().__init__(config)
        self._life = life
        self._drain = drain
        self._closes_at: float | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal says to end."""
        sys.setswitchinterval(_TURN_SECONDS)
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note that it is time to end; a second signal ends it at once."""
        first = not self._life.ending
        self._life.ending = True
        if first and sig == signal.SIGTERM:
            self._captured_signals.append(sig)
            self._closes_at = time.monotonic() + self._drain
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Say whether to close the door."""
        if self._closes_at is not None and time.monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door behind the last who stand before it, then end as uvicorn does."""
        self._life.ending = True
        await self._take_the_last()
        await asyncio.sleep(LAST_SECONDS)  # whoever is in may still say what they want
        await super().shutdown(sockets)

    async def _take_the_last(self) -> None:
        """Take the connections that the kernel holds for us: to close the door alone would reset them."""
        loop = asyncio.get_running_loop()
        last: list[socket.socket] = []
        for server in self.servers:
            for listening in server.sockets:
                _let_nobody_knock(listening.fileno())
        await asyncio.sleep(KNOCK_SECONDS)  # who has knocked may come in
        for server in self.servers:
            for listening in server.sockets:
                with socket.socket(fileno=os.dup(listening.fileno())) as door, suppress(OSError):
                    door.setblocking(False)
                    while True:
                        last.append(door.accept()[0])
            server.close()
        for connection in last:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return PatientProtocol(self.config, self.server_state, self.lifespan.state)


def _let_nobody_knock(listening: int) -> None:
    """Have the kernel ignore new connections, which then find the door closed, not open for a moment too long.

    Between taking the last connection and closing the door another one could come: its client would be connected,
    send its request, and be reset. A filter (``SO_ATTACH_FILTER``, of Linux) that drops what begins a connection
    leaves no such moment; clients repeat it after a second.
    """
    drop_syn = b"".join(
        struct.pack("HBBI", *step)
        for step in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
    )  # flags of TCP; with SYN: nothing of it; else all of it
    program = ctypes.create_string_buffer(drop_syn)
    with suppress(OSError), socket.socket(fileno=os.dup(listening)) as door:
        door.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 4, ctypes.addressof(program)))


def configured(app: ASGIApp, host: str, port: int, **more: Any) -> uvicorn.Config:
    """Return how ``app`` is served; ``more`` for :class:`uvicorn.Config`."""
    settings: dict[str, Any] = {
        "http": PatientProtocol,
        "ws": "none",
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": 15,
        "timeout_graceful_shutdown": END_SECONDS,
    }
    return uvicorn.Config(app, host=host, port=port, **settings | more)


def serve(app: ASGIApp, host: str, port: int, life: Life) -> None:
    """Serve until a signal says to end; ``life`` is told when the end is near."""
    Farewell(configured(app, host, port), life).run()
