"""A client for Python programs, over httpx and nothing else of this project.

    with Fundstelle("http://127.0.0.1:8000") as service:
        answer = service.ask("When is the bridge closed?")
        for citation in answer.citations:
            assert service.check(citation)

:class:`AsyncFundstelle` has the same methods to be awaited. Whatever goes wrong is a :class:`CallFailed`. What may be
sent again is sent again: after a broken connection, 429 and 503, as long as the service asks to wait; changes carry
an idempotency key for it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import closing
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from service import client_calls as calls
from service.client_calls import Events, File, Filters, Question
from service.client_exchange import (
    CONNECT_SECONDS,
    Call,
    CallFailed,
    NotFound,
    NotReached,
    NotUnderstood,
    Pause,
    Refused,
    clean_key,
    exchange,
    understood,
    unreached,
)
from service.client_records import (
    Added,
    Answer,
    AnswerEvent,
    Citation,
    Deleted,
    Document,
    DocumentPage,
    EarlyAnswer,
    FinalAnswer,
    Health,
    Location,
    Passage,
    Receipt,
    Refusal,
    Rejected,
    SearchResult,
    Surrounding,
    VerifiedReceipt,
    Written,
    WrittenSentence,
)

__all__ = [
    "Added",
    "Answer",
    "AnswerEvent",
    "AsyncFundstelle",
    "CallFailed",
    "Citation",
    "Deleted",
    "Document",
    "DocumentPage",
    "EarlyAnswer",
    "File",
    "Filters",
    "FinalAnswer",
    "Fundstelle",
    "Health",
    "Location",
    "NotFound",
    "NotReached",
    "NotUnderstood",
    "Passage",
    "Question",
    "Receipt",
    "Refusal",
    "Refused",
    "Rejected",
    "SearchResult",
    "Surrounding",
    "VerifiedReceipt",
    "Written",
    "WrittenSentence",
]

ADDRESS = "http://127.0.0.1:8000"
KEY_VARIABLE = "FUNDSTELLE_API_KEY"

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(build: Callable[P, Call[T]]) -> Callable[Concatenate[Fundstelle, P], T]:
    """Make a method out of a call."""

    @wraps(build)
    def method(self: Fundstelle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._send(build(*args, **kwargs))

    return _as_method(method, build)


def _awaited(build: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncFundstelle, P], Awaitable[T]]:
    """Make a method to be awaited out of a call."""

    @wraps(build)
    async def method(self: AsyncFundstelle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._send(build(*args, **kwargs))

    return _as_method(method, build)


def _in_parts(build: Callable[P, Call[Answer]]) -> Callable[Concatenate[Fundstelle, P], Generator[AnswerEvent]]:
    """Make a method that yields events out of a call."""

    @wraps(build)
    def method(self: Fundstelle, /, *args: P.args, **kwargs: P.kwargs) -> Generator[AnswerEvent]:
        return self._events(build(*args, **kwargs))

    return _as_method(method, build)


def _awaited_in_parts(
    build: Callable[P, Call[Answer]],
) -> Callable[Concatenate[AsyncFundstelle, P], AsyncGenerator[AnswerEvent]]:
    """Make a method that yields events to be awaited out of a call."""

    @wraps(build)
    def method(self: AsyncFundstelle, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[AnswerEvent]:
        return self._events(build(*args, **kwargs))

    return _as_method(method, build)


def _as_method(method: T, build: Callable[..., object]) -> T:
    """Let ``help`` show the method's own parameters."""
    signature = inspect.signature(build)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    vars(method)["__signature__"] = signature.replace(parameters=[own, *signature.parameters.values()])
    return method


class _Terms:
    """What both clients are told: where the service is, the key, how long to wait, how often to send again."""

    def __init__(
        self, address: str, api_key: str | None, timeout: float, change_timeout: float, retries: int
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
            raise ValueError("the address has to be like 'http://127.0.0.1:8000', without a key in it")
        if retries < 0:
            raise ValueError("retries is 0 or more")
        self.address = address.rstrip("/")
        self.retries = retries
        self._timeout = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        self._change_timeout = httpx.Timeout(change_timeout, connect=min(change_timeout, CONNECT_SECONDS))
        key = clean_key(os.environ.get(KEY_VARIABLE) if api_key is None else api_key)
        self.headers = {"User-Agent": "fundstelle-client"}
        if key is not None:
            self.headers["Authorization"] = f"Bearer {key}"

    def timeout(self, call: Call[Any]) -> httpx.Timeout:
        """Return how long a call may take."""
        return self._change_timeout if call.slow else self._timeout


def _named(call: Call[T]) -> Call[T]:
    """Give a call the name that it has in the service's log, however often it is sent."""
    return call.with_headers(**{"X-Request-ID": secrets.token_hex(8)})


class Fundstelle:
    """A service, as seen from a program. Safe from any thread; close it, or use it as a context manager.

    Args:
        address: where the service listens.
        api_key: shown with every call; by default the variable ``FUNDSTELLE_API_KEY``, "" for none.
        timeout: seconds without a sign of the service after which a call fails.
        change_timeout: the same for adding and removing, which takes longer.
        retries: how often a call is sent again at most.
        transport: how connections are made, for proxies, certificates or sockets of your own (httpx).
    """

    def __init__(
        self,
        address: str = ADDRESS,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        change_timeout: float = 600.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._terms = _Terms(address, api_key, timeout, change_timeout, retries)
        self._client = httpx.Client(base_url=self._terms.address, headers=self._terms.headers, transport=transport)

    ask = _blocking(calls.ask)
    ask_batch = _blocking(calls.ask_batch)
    search = _blocking(calls.search)
    verify = _blocking(calls.verify)
    add_text = _blocking(calls.add_text)
    add_files = _blocking(calls.add_files)
    list_documents = _blocking(calls.list_documents)
    document = _blocking(calls.document)
    text = _blocking(calls.text)
    original = _blocking(calls.original)
    delete = _blocking(calls.delete)
    delete_where = _blocking(calls.delete_where)
    health = _blocking(calls.health)
    ready = _blocking(calls.ready)
    metrics = _blocking(calls.metrics)
    ask_stream = _in_parts(calls.ask_stream)

    def _events(self, asked: Call[Answer]) -> Generator[AnswerEvent]:
        call = _named(asked)
        response = self._exchange(call, stream=True)
        with closing(response):
            events = Events(call, response)
            try:
                for data in response.iter_bytes():
                    yield from events.feed(data)
            except httpx.HTTPError as error:
                raise unreached(call, error) from error
            events.expect_end()

    def documents(
        self,
        *,
        page_size: int = 100,
        collection: str | None = None,
        q: str | None = None,
        language: str | None = None,
        format: str | None = None,  # noqa: A002 - as the service calls it
    ) -> Generator[Document]:
        """Yield all documents, however many pages it takes; narrowed as in ``list_documents``."""
        cursor: str | None = None
        while True:
            page = self.list_documents(
                limit=page_size, cursor=cursor, collection=collection, q=q, language=language, format=format
            )
            yield from page.documents
            cursor = page.next_cursor
            if cursor is None:
                return

    def check(self, proof: Citation | Passage) -> bool:
        """Say whether a document's text, read now, has exactly what was quoted at its place.

        If not, or if the document is gone, ``verify`` of the receipt tells what became of it.
        """
        try:
            return proof.stands_in(self.text(proof.document_id))
        except NotFound:
            return False

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._terms.address!r})"

    def _send(self, call: Call[T]) -> T:
        named = _named(call)
        return understood(named, self._exchange(named))

    def _exchange(self, call: Call[Any], *, stream: bool = False) -> httpx.Response:
        steps = exchange(call, self._terms.retries)
        step = next(steps)
        while True:
            outcome: httpx.Response | httpx.HTTPError | None = None
            if isinstance(step, Pause):
                time.sleep(step.seconds)
            else:
                try:
                    outcome = self._client.send(step.request(self._client, self._terms.timeout(step)), stream=stream)
                    if stream and not outcome.is_success:
                        outcome.read()
                        outcome.close()
                except httpx.HTTPError as error:
                    outcome = error
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                response: httpx.Response = done.value
                return response


class AsyncFundstelle:
    """:class:`Fundstelle` with methods to be awaited."""

    def __init__(
        self,
        address: str = ADDRESS,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        change_timeout: float = 600.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._terms = _Terms(address, api_key, timeout, change_timeout, retries)
        self._client = httpx.AsyncClient(
            base_url=self._terms.address, headers=self._terms.headers, transport=transport
        )

    ask = _awaited(calls.ask)
    ask_batch = _awaited(calls.ask_batch)
    search = _awaited(calls.search)
    verify = _awaited(calls.verify)
    add_text = _awaited(calls.add_text)
    add_files = _awaited(calls.add_files)
    list_documents = _awaited(calls.list_documents)
    document = _awaited(calls.document)
    text = _awaited(calls.text)
    original = _awaited(calls.original)
    delete = _awaited(calls.delete)
    delete_where = _awaited(calls.delete_where)
    health = _awaited(calls.health)
    ready = _awaited(calls.ready)
    metrics = _awaited(calls.metrics)
    ask_stream = _awaited_in_parts(calls.ask_stream)

    async def _events(self, asked: Call[Answer]) -> AsyncGenerator[AnswerEvent]:
        call = _named(asked)
        response = await self._exchange(call, stream=True)
        try:
            events = Events(call, response)
            try:
                async for data in response.aiter_bytes():
                    for event in events.feed(data):
                        yield event
            except httpx.HTTPError as error:
                raise unreached(call, error) from error
            events.expect_end()
        finally:
            await response.aclose()

    async def documents(
        self,
        *,
        page_size: int = 100,
        collection: str | None = None,
        q: str | None = None,
        language: str | None = None,
        format: str | None = None,  # noqa: A002 - as the service calls it
    ) -> AsyncGenerator[Document]:
        """Yield all documents, however many pages it takes; narrowed as in ``list_documents``."""
        cursor: str | None = None
        while True:
            page = await self.list_documents(
                limit=page_size, cursor=cursor, collection=collection, q=q, language=language, format=format
            )
            for each in page.documents:
                yield each
            cursor = page.next_cursor
            if cursor is None:
                return

    async def check(self, proof: Citation | Passage) -> bool:
        """Say whether a document's text, read now, has exactly what was quoted; see :meth:`Fundstelle.check`."""
        try:
            return proof.stands_in(await self.text(proof.document_id))
        except NotFound:
            return False

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._terms.address!r})"

    async def _send(self, call: Call[T]) -> T:
        named = _named(call)
        return understood(named, await self._exchange(named))

    async def _exchange(self, call: Call[Any], *, stream: bool = False) -> httpx.Response:
        steps = exchange(call, self._terms.retries)
        step = next(steps)
        while True:
            outcome: httpx.Response | httpx.HTTPError | None = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            else:
                request = step.request(self._client, self._terms.timeout(step))
                try:
                    outcome = await self._client.send(request, stream=stream)
                    if stream and not outcome.is_success:
                        await outcome.aread()
                        await outcome.aclose()
                except httpx.HTTPError as error:
                    outcome = error
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                response: httpx.Response = done.value
                return response
