"""A text model behind an OpenAI-compatible endpoint, over httpx, the only place that knows it.

Whatever the endpoint does, a call ends within its deadline: with text, or with a fault that has a stable code. All
of it runs on one event loop in a thread of its own, because only there a total deadline can be laid around slow
headers and dripping bodies. Redirects are not followed, no proxy of the environment is used, and the key is sent to
the one configured address only.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
import queue
import ssl
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeAlias

import httpx

Messages: TypeAlias = Sequence[Mapping[str, str]]

MOST_BYTES = 2**20
"""Of one response; an answer of five sentences is a few thousand, and a streamed token costs two hundred."""
MOST_CHARACTERS = 20_000
MOST_TOKENS = 500
AT_ONCE = 4
"""Calls at the same time; more are refused at once, since each holds a thread of the service."""

_AFTER_END = 0.2
"""Seconds in which anything after the end of a stream is noticed."""
_CONNECT = 5.0

_log = logging.getLogger("fundstelle")


class WriterFault(Exception):
    """The endpoint gave no usable answer; ``code`` says why and is one of ``FAULTS``."""

    def __init__(self, code: str, *, theirs: bool = True) -> None:
        super().__init__(code)
        self.code = code
        self.theirs = theirs
        """Whether it says something about the endpoint; not so if this service is busy itself."""


FAULTS: dict[str, str] = {
    "writer_unreachable": "The connection could not be made, or broke.",
    "writer_timeout": "The answer was not complete within the setting 'llm_deadline'.",
    "writer_refused": "The endpoint refused the request (4xx), or sent it elsewhere (3xx).",
    "writer_failed": "The endpoint reported an error of its own (5xx).",
    "writer_invalid": "The answer has not the form of an answer, or is too long.",
    "writer_busy": "Too many answers are being written at once, here or there (429, 503).",
    "writer_paused": "The endpoint failed several times in a row and is left alone for a while.",
}


class Endpoint:
    """An endpoint for chat completions.

    Args:
        url: base address, such as ``http://127.0.0.1:11434/v1``.
        model: name of the model there.
        key: sent as a bearer token; ``None`` sends none.
        deadline: seconds that a call may take in all.
        at_once: calls at the same time.
    """

    def __init__(self, url: str, model: str, key: str | None, deadline: float, at_once: int = AT_ONCE) -> None:
        self.model = model
        self.deadline = deadline
        self._address = url.rstrip("/") + "/chat/completions"
        self._key = key
        self._places = threading.BoundedSemaphore(at_once)
        self._loop = _LoopThread()
        self._client: httpx.AsyncClient | None = None

    def complete(self, messages: Messages) -> Iterator[str]:
        """Yield the model's answer in pieces, as they come.

        Raises:
            WriterFault: whenever no complete answer comes within the deadline.
        """
        if not self._places.acquire(blocking=False):
            raise WriterFault("writer_busy", theirs=False)
        try:
            yield from self._pieces(messages, time.monotonic() + self.deadline)
        finally:
            self._places.release()

    def close(self) -> None:
        """Drop all connections and end the thread."""
        self._loop.close(self._client)

    def _pieces(self, messages: Messages, ends_at: float) -> Iterator[str]:
        pieces: queue.SimpleQueue[str | WriterFault | None] = queue.SimpleQueue()
        task = self._loop.start(self._exchange(messages, ends_at, pieces))
        try:
            while True:
                try:
                    piece = pieces.get(timeout=max(0.0, ends_at - time.monotonic()) + 0.05)
                except queue.Empty:
                    raise WriterFault("writer_timeout") from None
                if piece is None:
                    return
                if isinstance(piece, WriterFault):
                    raise piece
                yield piece
        finally:
            task.cancel()

    async def _exchange(
        self, messages: Messages, ends_at: float, pieces: queue.SimpleQueue[str | WriterFault | None]
    ) -> None:
        try:
            async with asyncio.timeout(ends_at - time.monotonic()):
                await self._talk(messages, pieces)
            pieces.put(None)
        except WriterFault as fault:
            pieces.put(fault)
        except (TimeoutError, httpx.TimeoutException):
            pieces.put(WriterFault("writer_timeout"))
        except (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.CloseError, OSError):
            pieces.put(WriterFault("writer_unreachable"))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever an endpoint can make a library do, it ends here
            if not isinstance(error, httpx.HTTPError | ValueError | RecursionError | httpx.InvalidURL):
                _log.error("the writer's endpoint caused an unexpected %s", type(error).__name__)
            pieces.put(WriterFault("writer_invalid"))

    async def _talk(self, messages: Messages, pieces: queue.SimpleQueue[str | WriterFault | None]) -> None:
        request = {
            "model": self.model,
            "messages": list(messages),
            "stream": True,
            "temperature": 0,
            "max_tokens": MOST_TOKENS,
        }
        client = self._open_client()
        client.cookies.clear()
        async with client.stream("POST", self._address, json=request, headers=self._headers()) as response:
            reader = _reader_for(response)
            size = length = 0
            blocks = response.aiter_raw()
            async for block in blocks:
                size += len(block)
                if size > MOST_BYTES:
                    raise WriterFault("writer_invalid")
                for piece in reader.feed(block):
                    length += len(piece)
                    if length > MOST_CHARACTERS:
                        raise WriterFault("writer_invalid")
                    pieces.put(piece)
                if reader.finished:
                    await _see_nothing_more(blocks, reader)
                    return
            for piece in reader.end():
                pieces.put(piece)

    def _open_client(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=_trusted() if self._address.startswith("https:") else False,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(None, connect=_CONNECT),
            )
        return self._client

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers


def _trusted() -> ssl.SSLContext:
    """Return whom to trust: the known authorities, and those that this machine was told to trust."""
    context = httpx.create_ssl_context(trust_env=False)
    with suppress(OSError):
        context.load_default_certs()
    return context


class _LoopThread:
    """An event loop in a thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Run a coroutine there."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="writer", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, client: httpx.AsyncClient | None) -> None:
        """End the loop once its connections are closed."""
        with self._lock:
            if self._loop is None or self._thread is None:
                return
            with suppress(Exception):
                asyncio.run_coroutine_threadsafe(_wind_up(client), self._loop).result(timeout=2)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=2)
            if not self._thread.is_alive():
                self._loop.close()
            self._loop = self._thread = None


async def _wind_up(client: httpx.AsyncClient | None) -> None:
    """End all that still runs on this loop."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if client is not None:
        await client.aclose()


def _reader_for(response: httpx.Response) -> _Events | _Whole:
    """Look at status and headers, and return what understands the body."""
    status = response.status_code
    if status in {429, 503}:
        raise WriterFault("writer_busy")
    if status >= 500:
        raise WriterFault("writer_failed")
    if status >= 300:
        raise WriterFault("writer_refused")
    if status != 200:
        raise WriterFault("writer_invalid")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise WriterFault("writer_invalid")  # a small body may unpack to any size
    length = response.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MOST_BYTES:
        raise WriterFault("writer_invalid")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return _Events()
    if kind == "application/json":
        return _Whole()
    raise WriterFault("writer_invalid")


async def _see_nothing_more(blocks: AsyncIterator[bytes], reader: _Events | _Whole) -> None:
    """Refuse an answer after whose end something else comes, such as the same once more."""
    if reader.rest():
        raise WriterFault("writer_invalid")
    with suppress(TimeoutError):
        async with asyncio.timeout(_AFTER_END):
            async for block in blocks:
                if block.strip():
                    raise WriterFault("writer_invalid")


class _Events:
    """Reads server-sent events that each hold a piece of the answer."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._buffer = ""
        self._data: list[str] = []
        self._stopped = False
        self.finished = False

    def feed(self, block: bytes) -> Iterator[str]:
        """Yield the pieces of text that have become complete."""
        self._buffer += self._decoder.decode(block)
        while not self.finished:
            line, newline, rest = self._buffer.partition("\n")
            if not newline:
                return
            self._buffer = rest
            line = line.rstrip("\r")
            if line.startswith("data:"):
                self._data.append(line[5:].strip())
            elif not line and self._data:
                event, self._data = "\n".join(self._data), []
                yield from self._event(event)

    def rest(self) -> str:
        """Return what came after the end."""
        return self._buffer.strip()

    def end(self) -> Iterator[str]:
        """See that the stream ended as it should: some endpoints say so only with the last piece."""
        self._decoder.decode(b"", final=True)
        if self._data or self._buffer.strip() not in {"", "data: [DONE]", "data:[DONE]"} or not self._stopped:
            raise WriterFault("writer_invalid")
        yield from ()

    def _event(self, event: str) -> Iterator[str]:
        if event == "[DONE]":
            if not self._stopped:
                raise WriterFault("writer_invalid")
            self.finished = True
            return
        choice = _choice(_parse(event))
        if choice is None:
            return
        if self._stopped:
            raise WriterFault("writer_invalid")
        text = _text(choice.get("delta"))
        self._stopped = _has_stopped(choice)
        if text:
            yield text


class _Whole:
    """Reads an answer that comes as one JSON object."""

    finished = False

    def __init__(self) -> None:
        self._body = bytearray()

    def feed(self, block: bytes) -> Iterator[str]:
        """Collect."""
        self._body += block
        yield from ()

    def rest(self) -> str:
        """Nothing can follow."""
        return ""

    def end(self) -> Iterator[str]:
        """Yield the answer."""
        choice = _choice(_parse(bytes(self._body).decode("utf-8")))
        if choice is None or not _has_stopped(choice):
            raise WriterFault("writer_invalid")
        text = _text(choice.get("message"))
        if not text:
            raise WriterFault("writer_invalid")
        yield text


def _parse(text: str) -> dict[str, Any]:
    value = json.loads(text, object_pairs_hook=_no_doubles)
    if not isinstance(value, dict):
        raise WriterFault("writer_invalid")
    if value.get("error"):
        raise WriterFault("writer_failed")
    return value


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise WriterFault("writer_invalid")
    return value


def _choice(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the one choice of an event; ``None`` for events that only report usage."""
    choices = value.get("choices")
    if not isinstance(choices, list) or len(choices) > 1:
        raise WriterFault("writer_invalid")
    if not choices:
        return None
    (choice,) = choices
    if not isinstance(choice, dict) or choice.get("index", 0) != 0:
        raise WriterFault("writer_invalid")
    return choice


def _text(message: object) -> str:
    if message is None:
        return ""
    if not isinstance(message, dict) or message.get("tool_calls") or message.get("function_call"):
        raise WriterFault("writer_invalid")
    content = message.get("content")
    if content is None:
        return ""
    if not isinstance(content, str):
        raise WriterFault("writer_invalid")
    content.encode("utf-8")  # half a character is an error here, not later
    return content


def _has_stopped(choice: Mapping[str, Any]) -> bool:
    reason = choice.get("finish_reason")
    if reason is None:
        return False
    if reason not in {"stop", "length", "eos", "end_turn"}:
        raise WriterFault("writer_invalid")
    return True
