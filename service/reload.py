"""Long work that a running service begins on a signal, one piece at a time, beside answering questions."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from index import FundstelleError

_log = logging.getLogger("fundstelle")


@contextmanager
def on_hangup(work: Callable[[], None], at_once: Callable[[], None] | None = None) -> Iterator[None]:
    """Run ``work`` in a thread of its own whenever the process gets the signal HUP.

    What goes wrong in it is logged and changes nothing: the service goes on as it was.

    Args:
        work: what the signal asks for.
        at_once: other work of this kind that is begun right away.
    """
    turns = threading.Lock()

    def begin(piece: Callable[[], None]) -> None:
        threading.Thread(target=_run, args=(turns, piece), name="reload", daemon=True).start()

    def handle(_number: int, _frame: FrameType | None) -> None:
        begin(work)

    before = signal.signal(signal.SIGHUP, handle)
    try:
        if at_once is not None:
            begin(at_once)
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _run(turns: threading.Lock, piece: Callable[[], None]) -> None:
    with turns:
        try:
            piece()
        except FundstelleError as error:
            _log.error("%s: %s", error.code, error)
        except Exception:
            _log.exception("what the signal HUP asked for failed; nothing has changed")
