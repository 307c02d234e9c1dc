"""What a running service writes about itself: one line for each request and event, for people or for programs.

A line says who (the key's id), what (the route, not the address with its ids and words), how it ended and how long it
took. Questions, documents and keys are never in it; each line of a request carries the request's id.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

REQUEST: ContextVar[str] = ContextVar("request", default="")
"""Id of the request that is being worked on."""

FIELDS = ("method", "route", "status", "milliseconds", "key")
"""What a line about a request says beside its message, in this order."""

_QUIET = ("uvicorn.access", "pypdf", "httpx", "httpx2", "httpcore", "mcp")


class TextLines(logging.Formatter):
    """For people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the traceback below it if there is one."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S")
        parts = [time, record.levelname.lower(), _message(record), *map(str, _details(record).values())]
        if request := REQUEST.get():
            parts.append(f"[{request}]")
        if record.exc_info:
            parts.append("\n" + self.formatException(record.exc_info))
        return " ".join(parts)


class JsonLines(logging.Formatter):
    """For programs: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_details(record),
        }
        if request := REQUEST.get():
            line["request_id"] = request
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(form: str, level: str) -> None:
    """Have all lines written to stderr from now on.

    Args:
        form: "text" or "json".
        level: "debug", "info", "warning" or "error".
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _details(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS if getattr(record, name, "") != ""}


def _message(record: logging.LogRecord) -> str:
    """Return the message on one line: what is in it may come from outside."""
    text = record.getMessage()
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
