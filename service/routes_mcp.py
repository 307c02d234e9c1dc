"""The address that assistants call tools at; what it takes for that is loaded when the first one comes."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from service.refusals import ProtocolError
from service.routes import AppState
from service.strict_json import parse

if TYPE_CHECKING:  # takes seconds and 25 MB, and needs a package that may not be there
    from service.tool_server import ToolServer

PATH = "/mcp"
_NO_JSON = -32700
"""Code of JSON-RPC 2.0 for what is none."""

_log = logging.getLogger("fundstelle")


def tool_route(state: AppState) -> Route:
    """Return the route; the application finds it by path and method, like all others."""
    return Route(PATH, _Door(state), methods=["GET", "POST"], include_in_schema=False)


class _Door:
    def __init__(self, state: AppState) -> None:
        self._state = state
        self._server: ToolServer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = self._server
        if server is None:
            server = self._server = await self._state.reads.run(self._load)
        request = Request(scope, receive)
        if request.method != "POST":  # nothing is ever sent without being asked for
            raise ProtocolError("method_not_allowed", {"Allow": "POST"})
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ProtocolError("media_type_unsupported")
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        try:
            parse(body)
        except json.JSONDecodeError as error:  # the SDK takes what is nearly JSON
            said = {"jsonrpc": "2.0", "id": None, "error": {"code": _NO_JSON, "message": f"Parse error: {error.msg}"}}
            await JSONResponse(said, 400)(scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        await server(scope, replayed, send)

    def _load(self) -> ToolServer:
        try:
            from service.tool_server import ToolServer
        except ImportError as error:
            _log.warning("the tools cannot be loaded: %s", error)
            raise ProtocolError("mcp_missing") from error
        return ToolServer(self._state)
