"""Refusals as they go out: one form for all, whatever refused, and at some addresses the form of OpenAI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from index.errors import FundstelleError
from service.errors import PROTOCOL, STATUS

OPENAI_PATHS = ("/v1/chat/", "/v1/models")
"""Beginnings of the addresses whose clients expect errors in OpenAI's form."""
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ProtocolError(Exception):
    """A request that is refused as HTTP, before any of Fundstelle's own errors; ``code`` is one of ``PROTOCOL``.

    Attributes:
        headers: go out with the refusal.
        param: the parameter that is to blame, where there is one.
    """

    def __init__(self, code: str, headers: Mapping[str, str] | None = None, param: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.headers = dict(headers or {})
        self.param = param


class Refusal(JSONResponse):
    """A refusal, in the form that the address it goes out from has for errors."""

    def __init__(
        self,
        status: int,
        detail: tuple[str, str, str],
        headers: Mapping[str, str] | None = None,
        param: str | None = None,
    ) -> None:
        code, message, hint = detail
        super().__init__({"error": {"code": code, "message": message, "hint": hint}}, status, headers=headers)
        self._openai = openai_error(status, detail, param)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        if scope["path"].startswith(OPENAI_PATHS):
            self.body = self.render(self._openai)
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def openai_error(status: int, detail: tuple[str, str, str], param: str | None = None) -> dict[str, dict[str, object]]:
    """Return an error as OpenAI's clients read it, with our code."""
    code, message, hint = detail
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": f"{message} {hint}", "type": kind, "param": param, "code": code}}


def refusal(
    status: int,
    code: str,
    message: str,
    hint: str,
    headers: Mapping[str, str] | None = None,
    param: str | None = None,
) -> Refusal:
    """Return the one form that every error has."""
    return Refusal(status, (code, message, hint), headers, param)


def said_by(error: FundstelleError | ProtocolError) -> tuple[int, tuple[str, str, str]]:
    """Return the status of ``error``, and its code, message and hint."""
    if isinstance(error, FundstelleError):
        return STATUS[error.code], (error.code, error.message, error.hint)
    status, message, hint = PROTOCOL[error.code]
    return status, (error.code, message, hint)


def refusal_of(error: FundstelleError | ProtocolError) -> Refusal:
    """Return the response that says what ``error`` says."""
    status, detail = said_by(error)
    if isinstance(error, ProtocolError):
        return Refusal(status, detail, error.headers, error.param)
    return Refusal(status, detail)


def what_is_wrong(problems: Sequence[Mapping[str, Any]]) -> str:
    """Name the places that a validation complains of, but never the values: huge, secret or not even encodable."""
    places = {place_of(problem): str(problem["msg"]) for problem in problems[:5]}
    return _safe("; ".join(f"{place}: {text}" if place else text for place, text in places.items()))


def place_of(problem: Mapping[str, Any]) -> str:
    """Return where a problem is, with dots between the steps."""
    return _safe(".".join(str(step) for step in problem["loc"]))


def _safe(text: str) -> str:
    """Return ``text`` without half characters, which no JSON encoder takes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:1000]
