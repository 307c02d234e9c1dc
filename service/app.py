"""The application, assembled in one place from one state object."""

from __future__ import annotations

import errno
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from index import FundstelleError
from index.errors import StorageUnavailable
from service.errors import PROTOCOL
from service.guard import Guard
from service.headers import BY_STATUS, EveryResponse
from service.openapi import TAGS, complete
from service.refusals import ProtocolError, place_of, refusal, refusal_of, what_is_wrong
from service.routes import AppState, router
from service.routes_chat import router as chat_router
from service.routes_mcp import tool_route

BODY_BYTES = 64 * 2**10
"""Limit of every request body but an upload's."""

QUESTIONS = ("/v1/ask", "/v1/ask/batch", "/v1/search", "/v1/chat/completions")
"""Calls that wait in the line of questions."""

_STATIC = Path(__file__).parent / "static"
_log = logging.getLogger("fundstelle")


def build_app(state: AppState) -> FastAPI:
    """Return the application that answers from ``state``; nothing is opened or started here."""
    app = _Application(
        state,
        title="Fundstelle",
        version=version("fundstelle"),
        description="Answers questions from your documents and proves every answer: document, place, quote.",
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_tags=TAGS,
        generate_unique_id_function=lambda route: route.name,
        max_body_size=BODY_BYTES,
        docs_url=None,
        redoc_url=None,
    )
    app.state.fundstelle = state
    app.include_router(router)
    app.include_router(chat_router)
    app.router.routes.append(tool_route(state))
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    _add_error_handlers(app)
    return app


class _Application(FastAPI):
    def __init__(self, state: AppState, **settings: Any) -> None:
        super().__init__(**settings)
        self._state = state
        self._described: dict[bool, dict[str, Any]] = {}

    def openapi(self) -> dict[str, Any]:
        key_needed = self._state.admission.keys.required()
        if key_needed not in self._described:
            self._described[key_needed] = complete(super().openapi(), key_needed=key_needed)
        return self._described[key_needed]

    def build_middleware_stack(self) -> ASGIApp:
        lines = {("POST", path): self._state.questions for path in QUESTIONS}
        # The guard stands outside of everything that can read a body; the headers go on what it refuses, too.
        stack: ASGIApp = Guard(super().build_middleware_stack(), self.router.routes, self._state.admission, lines)
        if self._state.admission.origins:
            stack = CORSMiddleware(
                stack,
                allow_origins=sorted(self._state.admission.origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=[
                    "Authorization",
                    "Content-Type",
                    "Idempotency-Key",
                    "If-Match",
                    "If-None-Match",
                    "Mcp-Method",
                    "Mcp-Name",
                    "Mcp-Protocol-Version",
                    "X-Request-ID",
                ],
                expose_headers=["ETag", "Idempotency-Replayed", "Retry-After", "X-Request-ID"],
            )
        return EveryResponse(stack, self._state.life)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(FundstelleError)
    async def refused(request: Request, error: FundstelleError) -> JSONResponse:
        response = refusal_of(error)
        if response.status_code >= 500:
            _log.error("%s: %s", error.code, error.message)
        return response

    @app.exception_handler(ProtocolError)
    async def wrong_protocol(request: Request, error: ProtocolError) -> JSONResponse:
        return refusal_of(error)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return refusal_of(ProtocolError("client_gone"))  # whoever left before the end of what they sent

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        status, message, hint = PROTOCOL["request_invalid"]
        problems = error.errors()
        param = place_of(problems[0]).removeprefix("body.") if problems else None
        said = f"{message} {what_is_wrong(problems)}".strip()
        return refusal(status, "request_invalid", said, hint, param=param)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = BY_STATUS.get(error.status_code, "request_invalid")
        status, message, hint = PROTOCOL[code]  # a body that is no JSON, or no UTF-8, is 400 to the libraries
        return refusal(status, code, message, hint, error.headers)

    @app.exception_handler(OSError)
    async def no_room(request: Request, error: OSError) -> JSONResponse:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise error
        # Of the folder for temporary files, where large uploads wait: the library reports its own disk.
        return await refused(request, StorageUnavailable("storage_full", f"There is no room: {error.strerror}."))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        status, message, hint = PROTOCOL["internal_error"]
        return refusal(status, "internal_error", message, hint)
