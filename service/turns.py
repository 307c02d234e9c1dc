"""Work waits for its turn: few at a time on threads of their own, a bounded number waiting, none of them for ever.

Whoever comes when the line is full is refused at once and told when to try again. That keeps those who are let in
quick, and the event loop free for them and for whoever asks whether the service is alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.refusals import ProtocolError

T = TypeVar("T")
RETRY_AFTER = "1"
_WEIGHT = 0.1
"""Of the newest interval between two ends, in their moving average."""


@dataclass
class Line:
    """How a line is doing; read by monitoring."""

    running: int = 0
    waiting: int = 0
    refused: int = 0
    expired: int = 0
    abandoned: int = 0


class Turns:
    """One kind of work.

    Args:
        kind: names its threads and figures.
        at_once: pieces of work at a time.
        most: how many may wait for one of those places.
        seconds: how long each may wait.
        patience: how long the line may be, in seconds that the last in it is expected to wait; as many as work at
            once may wait in any case.
    """

    def __init__(self, kind: str, at_once: int, most: int, seconds: float, patience: float = float("inf")) -> None:
        self.kind = kind
        self.line = Line()
        self._patience = patience
        self._pace = 0.0  # seconds between two ends while others wait, a moving average
        self._ended: float | None = None
        self._at_once = at_once
        self._most = most
        self._seconds = seconds
        self._places = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=kind)
        self._followed: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        """Say whether the next one would be refused."""
        waiting = self.line.waiting
        long = waiting >= self._at_once and waiting * self._pace >= self._patience
        return self._places.locked() and (waiting >= self._most or long)

    def refuse(self) -> ProtocolError:
        """Return the refusal of one who comes when the line is full."""
        self.line.refused += 1
        return ProtocolError("overloaded", {"Retry-After": RETRY_AFTER})

    async def run(self, work: Callable[[], T], gone: Callable[[], Awaitable[bool]] | None = None) -> T:
        """Do ``work`` on a thread when its turn comes.

        Args:
            work: what is to be done.
            gone: says whether whoever wanted it has left meanwhile; then it is not begun.

        Raises:
            ProtocolError: if the line is full, the turn did not come in time, or nobody is there any more.
        """
        async with self.place(gone):
            context = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)

    async def follow(
        self, work: Callable[[], Generator[T]], gone: Callable[[], Awaitable[bool]] | None = None
    ) -> Following[T]:
        """Do ``work`` on a thread when its turn comes; return what it yields, as it comes.

        The first item is there when this returns, so that what is refused is refused before an answer begins. The
        turn ends with the work, however slowly its items are read.

        Raises:
            ProtocolError: as :meth:`run` says.
            Exception: whatever the work raises before its first item.
        """
        following: Following[T] = Following()
        task = asyncio.create_task(following.fill(self, work, gone))
        self._followed.add(task)
        task.add_done_callback(self._followed.discard)
        try:
            await following.begin()
        except BaseException:
            following.leave()
            raise
        return following

    def place(self, gone: Callable[[], Awaitable[bool]] | None = None) -> Place:
        """Return a context that holds a place in the line, and then a turn."""
        return Place(self, gone)

    def ended(self) -> None:
        """Note that a piece of work has come to its end, and with that how fast the line moves on."""
        now = time.monotonic()
        if self._ended is not None:
            self._pace += _WEIGHT * (now - self._ended - self._pace)
        self._ended = now if self.line.waiting else None

    def close(self) -> None:
        """End the threads, once they are done with what they do."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class Following(Generic[T]):
    """What a piece of work yields, as it comes; see :meth:`Turns.follow`."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue()
        self._first: tuple[T] | None = None
        self._left = threading.Event()

    def leave(self) -> None:
        """Say that nobody reads on: the work ends at its next item."""
        self._left.set()

    async def begin(self) -> None:
        """Wait for the first item."""
        self._first = await self._next()

    async def items(self, pause: float) -> AsyncIterator[tuple[T] | None]:
        """Yield the items, and ``None`` whenever none came for ``pause`` seconds.

        Raises:
            Exception: whatever the work raises.
        """
        item = self._first
        while item is not None:
            yield item
            waiting = asyncio.ensure_future(self._next())
            try:
                while not (await asyncio.wait([waiting], timeout=pause))[0]:
                    yield None
            finally:
                waiting.cancel()
            item = waiting.result()

    async def fill(
        self, turns: Turns, work: Callable[[], Generator[T]], gone: Callable[[], Awaitable[bool]] | None
    ) -> None:
        """Do the work and keep what it yields."""
        loop = asyncio.get_running_loop()

        def produce() -> None:
            with closing(work()) as items:
                for item in items:
                    loop.call_soon_threadsafe(self._items.put_nowait, (item,))
                    if self._left.is_set():
                        break

        try:
            await turns.run(produce, gone)
        except Exception as error:
            self._items.put_nowait(error)
        else:
            self._items.put_nowait(None)

    async def _next(self) -> tuple[T] | None:
        item = await self._items.get()
        if isinstance(item, Exception):
            raise item
        return item


class Place:
    """A place in a line; entered, it is a turn."""

    def __init__(self, turns: Turns, gone: Callable[[], Awaitable[bool]] | None) -> None:
        self._turns = turns
        self._gone = gone

    async def __aenter__(self) -> None:
        """Wait for the turn.

        Raises:
            ProtocolError: as :meth:`Turns.run` says.
        """
        turns, line = self._turns, self._turns.line
        places = turns._places
        if turns.full:
            raise turns.refuse()
        line.waiting += 1
        try:
            async with asyncio.timeout(turns._seconds):
                await places.acquire()
        except TimeoutError:
            line.expired += 1
            raise ProtocolError("deadline_exceeded", {"Retry-After": RETRY_AFTER}) from None
        finally:
            line.waiting -= 1
        if self._gone is not None and await self._gone():
            places.release()
            line.abandoned += 1
            raise ProtocolError("client_gone")
        line.running += 1

    async def __aexit__(self, *_: object) -> None:
        """Give the turn to the next one."""
        self._turns.line.running -= 1
        self._turns.ended()
        self._turns._places.release()
