"""The application, assembled in one place from one state object."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index import FundstelleError
from service.errors import PROTOCOL, STATUS
from service.routes import AppState, ProtocolError, router

BODY_BYTES = 64 * 2**10
"""Limit of every request body but an upload's."""

_STATIC = Path(__file__).parent / "static"
_PAGE_HEADERS = {
    # Nothing from elsewhere, nothing inline, no HTML out of a string (trusted types), no form that leaves the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    # The page is many small files: all of them are of one version.
    "Cache-Control": "no-cache",
}
_BY_STATUS = {
    404: "route_not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "media_type_unsupported",
}

_log = logging.getLogger("fundstelle")


def build_app(state: AppState) -> FastAPI:
    """Return the application that answers from ``state``; nothing is opened or started here."""
    app = _Application(
        title="Fundstelle",
        version=version("fundstelle"),
        description="Answers questions from your documents and proves every answer: document, place, quote.",
        max_body_size=BODY_BYTES,
        docs_url=None,
        redoc_url=None,
    )
    app.state.fundstelle = state
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    _add_error_handlers(app)
    return app


class _Application(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        # Around everything: the body limit answers from outside of all middleware that can be added.
        return EveryResponse(super().build_middleware_stack())


class EveryResponse:
    """Gives the page its security headers, and refusals made below the application the form of all others."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at what comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        replaced = False

        async def look(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if scope["path"] == "/" or scope["path"].startswith("/static/"):
                    headers.update(_PAGE_HEADERS)
                status = message["status"]
                if status in _BY_STATUS and not headers.get("content-type", "").startswith("application/json"):
                    replaced = True
                    _, text, hint = PROTOCOL[_BY_STATUS[status]]
                    await _refusal(status, _BY_STATUS[status], text, hint)(scope, receive, send)
            if not replaced:
                await send(message)

        await self.app(scope, receive, look)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(FundstelleError)
    async def refused(request: Request, error: FundstelleError) -> JSONResponse:
        status = STATUS[error.code]
        if status >= 500:
            _log.error("%s: %s", error.code, error.message)
        return _refusal(status, error.code, error.message, error.hint)

    @app.exception_handler(ProtocolError)
    async def wrong_protocol(request: Request, error: ProtocolError) -> JSONResponse:
        status, message, hint = PROTOCOL[error.code]
        return _refusal(status, error.code, message, hint)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        status, message, hint = PROTOCOL["request_invalid"]
        # Name the places but never echo the values: they may be huge, secret or not even encodable.
        places = {".".join(str(part) for part in problem["loc"]): problem["msg"] for problem in error.errors()[:5]}
        details = "; ".join(f"{place}: {text}" for place, text in places.items())
        return _refusal(status, "request_invalid", ascii_safe(f"{message} {details}".strip()), hint)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = _BY_STATUS.get(error.status_code, "request_invalid")
        _, message, hint = PROTOCOL[code]
        return _refusal(error.status_code, code, message, hint, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        status, message, hint = PROTOCOL["internal_error"]
        return _refusal(status, "internal_error", message, hint)


def ascii_safe(text: str) -> str:
    """Return ``text`` without half characters, which no JSON encoder takes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:1000]


def _refusal(status: int, code: str, message: str, hint: str, headers: object = None) -> JSONResponse:
    kept = {name: str(value) for name, value in dict(headers).items()} if isinstance(headers, dict) else None
    return JSONResponse({"error": {"code": code, "message": message, "hint": hint}}, status, headers=kept)
