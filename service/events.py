"""Answers that come in parts, as server-sent events."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from index.errors import FundstelleError
from service.errors import PROTOCOL
from service.refusals import ProtocolError, said_by
from service.turns import Following

PAUSE = 10.0
"""Seconds after which a sign of life goes out, for whatever stands between and ends what is silent."""
_ALIVE = ": \n\n"

_log = logging.getLogger("fundstelle")


def frame(data: str, event: str = "") -> str:
    """Return one event; ``data`` is JSON, which has no line ends."""
    return f"event: {event}\ndata: {data}\n\n" if event else f"data: {data}\n\n"


class EventStream(StreamingResponse):
    """Sends the frames that a piece of work yields, and tells the work when its reader has left.

    Args:
        following: the work.
        broken: makes the last frame if the work fails after its first: from status, and code, message and hint.
    """

    media_type = "text/event-stream"

    def __init__(self, following: Following[str], broken: Callable[[int, tuple[str, str, str]], str]) -> None:
        self._following = following
        super().__init__(_frames(following, broken), headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._following.leave()


async def _frames(
    following: Following[str], broken: Callable[[int, tuple[str, str, str]], str]
) -> AsyncIterator[str]:
    try:
        async for item in following.items(PAUSE):
            yield _ALIVE if item is None else item[0]
    except (ProtocolError, FundstelleError) as error:  # the status is out: all that is left is to say it here
        yield broken(*said_by(error))
    except Exception:
        _log.exception("a streamed answer broke off")
        status, message, hint = PROTOCOL["internal_error"]
        yield broken(status, ("internal_error", message, hint))
