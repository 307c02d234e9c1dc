"""Work waits for its turn: few at a time on threads of their own, a bounded number waiting, none of them for ever.

Whoever comes when the line is full is refused at once and told when to try again. That keeps those who are let in
quick, and the event loop free for them and for whoever asks whether the service is alive.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from service.refusals import ProtocolError

T = TypeVar("T")
RETRY_AFTER = "1"


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
    """

    def __init__(self, kind: str, at_once: int, most: int, seconds: float) -> None:
        self.kind = kind
        self.line = Line()
        self._at_once = at_once
        self._most = most
        self._seconds = seconds
        self._places = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=kind)

    @property
    def full(self) -> bool:
        """Say whether the next one would be refused."""
        return self._places.locked() and self.line.waiting >= self._most

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

    def place(self, gone: Callable[[], Awaitable[bool]] | None = None) -> Place:
        """Return a context that holds a place in the line, and then a turn."""
        return Place(self, gone)

    def close(self) -> None:
        """End the threads, once they are done with what they do."""
        self._threads.shutdown(wait=True, cancel_futures=True)


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
        self._turns._places.release()
