"""The tools over the Model Context Protocol, by its official SDK (mcp).

Nothing is kept between two requests: no session, no stream, no task. Each request has a transport of its own that
ends with it, so that it does not matter which replica answers, or whether the service was restarted.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp.types import Tool as Described
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from service.guard import CALLER
from service.routes import AppState
from service.tools import INSTRUCTIONS, TOOLS, Call, Refused, Tool, call_tool

ERROR = "fundstelle/error"
"""Where a failed call has its error for programs, in ``_meta``."""
_KEPT_MS = 300_000
"""For so long a client need not ask again which tools there are."""


class ToolServer:
    """Answers requests of the protocol from ``state``."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        described = {tool.name: _described(tool) for tool in TOOLS.values()}

        async def list_tools(_: ServerRequestContext, __: PaginatedRequestParams | None) -> ListToolsResult:
            return ListToolsResult(tools=[*described.values()])

        def input_schema(name: str) -> Mapping[str, Any] | None:
            return described[name].input_schema if name in described else None

        self._server: Server[Any] = Server(
            "fundstelle",
            version=version("fundstelle"),
            title="Fundstelle",
            instructions=INSTRUCTIONS,
            cache_hints={"tools/list": CacheHint(_KEPT_MS, "public")},
            get_tool_input_schema=input_schema,
            on_list_tools=list_tools,
            on_call_tool=self._call,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose body is whole."""
        manager = StreamableHTTPSessionManager(self._server, json_response=True, stateless=True)
        failed: Exception | None = None
        async with manager.run():
            try:
                await manager.handle_request(scope, receive, send)
            except Exception as error:  # raised in here, it would come out as a group
                failed = error
        if failed is not None:
            raise failed

    async def _call(self, context: ServerRequestContext, params: CallToolRequestParams) -> CallToolResult:
        tool = TOOLS.get(params.name)
        request = context.request
        if tool is None or request is None:
            raise MCPError(INVALID_PARAMS, "There is no tool of this name.")
        call = Call(self._state, request.scope[CALLER], request.is_disconnected)
        said = await call_tool(tool, params.arguments or {}, call)
        if isinstance(said, Refused):
            return _refusal(said)
        return CallToolResult(
            content=[TextContent(type="text", text=said.text)], structured_content=said.body.model_dump(mode="json")
        )


def _refusal(refused: Refused) -> CallToolResult:
    """Say why; nothing structured, for a reader may hold that against the form of an answer."""
    error: dict[str, object] = {"code": refused.code, "message": refused.message, "hint": refused.hint}
    if refused.retry_after is not None:
        error["retry_after"] = refused.retry_after
    text = f"{refused.code}: {refused.message} {refused.hint}"
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True, _meta={ERROR: error})


def _described(tool: Tool) -> Described:
    return Described(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=_schema(tool.arguments),
        output_schema=_schema(tool.result),
        annotations=ToolAnnotations(
            title=tool.title, read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        ),
    )


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema: dict[str, Any] = _short(model.model_json_schema())
    return schema


def _short(value: Any, *, names: bool = False) -> Any:
    """Return a schema without titles and examples, which would fill a model's memory; ``names``: keys are fields'."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = (
        value.items() if names else ((key, each) for key, each in value.items() if key not in ("title", "examples"))
    )
    return {key: _short(each, names=not names and key in ("properties", "$defs")) for key, each in kept}
