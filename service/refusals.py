"""Refusals as they go out: one form for all, whatever refused."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from index.errors import FundstelleError
from service.errors import PROTOCOL, STATUS


class ProtocolError(Exception):
    """A request that is refused as HTTP, before any of Fundstelle's own errors; ``code`` is one of ``PROTOCOL``."""

    def __init__(self, code: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.headers = dict(headers or {})


def refusal(
    status: int, code: str, message: str, hint: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the one form that every error has."""
    return JSONResponse({"error": {"code": code, "message": message, "hint": hint}}, status, headers=headers)


def refusal_of(error: FundstelleError | ProtocolError) -> JSONResponse:
    """Return the response that says what ``error`` says."""
    if isinstance(error, FundstelleError):
        return refusal(STATUS[error.code], error.code, error.message, error.hint)
    status, message, hint = PROTOCOL[error.code]
    return refusal(status, error.code, message, hint, error.headers)
