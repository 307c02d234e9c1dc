"""The description of the HTTP calls for programs: what the routes say of themselves, and what holds for all of them.

The application reads the routes. Keys, refusals before a route is reached, headers, and an example of each refusal
are the same everywhere, so they are added here and cannot be forgotten with the next route.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from index.errors import all_codes
from service import chat, schemas
from service.access import POLICIES, Scope
from service.errors import PROTOCOL, STATUS
from service.refusals import OPENAI_PATHS, openai_error

Description = dict[str, Any]

TAGS: list[dict[str, Any]] = [
    {"name": "questions", "description": "Ask, search, and check what was cited."},
    {"name": "documents", "description": "Add, list, read and remove documents."},
    {"name": "chat", "description": "The same answers for programs written for OpenAI's chat completions."},
    {"name": "operation", "description": "For whoever runs the service."},
]

_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key that 'fundstelle keys create' made. While a service has none, it is open to whoever "
    "reaches it, and listens on its own machine alone.",
}
_EVERYWHERE = {421: "Not a name of this service", 500: "Something went wrong inside"}
_BEHIND_THE_GUARD = {
    401: "No key, or a wrong one",
    403: "Not with this key, or not from this origin",
    429: "Too many requests",
    503: "Not ready, or too many are waiting",
}
_CODES = {
    401: "key_missing",
    403: "scope_insufficient",
    404: "document_not_found",
    409: "idempotency_conflict",
    410: "generation_not_kept",
    412: "precondition_failed",
    413: "body_too_large",
    415: "media_type_unsupported",
    421: "host_unknown",
    422: "request_invalid",
    429: "rate_limited",
    500: "internal_error",
    503: "overloaded",
    507: "storage_full",
}
"""A code to show for each status."""
_SAID = {
    "document_not_found": "There is no such document.",
    "generation_not_kept": "Generation 3 is not kept.",
    "storage_full": "The disk is full.",
}
"""Messages of codes that the library has; they are made where they arise."""


def complete(described: Mapping[str, Any], *, key_needed: bool) -> Description:
    """Return what the application says of its routes, with all that holds everywhere.

    Args:
        described: an OpenAPI document; it is left as it is.
        key_needed: whether there are keys, so that one is needed.
    """
    document = copy.deepcopy(dict(described))
    document.setdefault("components", {})["securitySchemes"] = {"key": _KEY}
    for name, schema in document["components"]["schemas"].items():
        _restore_examples(name, schema)
    for method, path, call in _calls(document):
        scope = POLICIES[method, path]
        closed: list[dict[str, list[str]]] = [{"key": []}]
        call["security"] = [] if scope is Scope.PUBLIC else closed if key_needed else [*closed, {}]
        if scope is not Scope.PUBLIC:
            call["description"] = f"{call['description']}\n\nA key needs the scope '{scope.name.lower()}'."
        _add_refusals(path, call, _EVERYWHERE if scope is Scope.PUBLIC else _EVERYWHERE | _BEHIND_THE_GUARD)
        _add_headers(call)
    return document


def _calls(document: Description) -> Iterator[tuple[str, str, Description]]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield method.upper(), path, call


def _restore_examples(name: str, schema: Description) -> None:
    """Put back the nulls that FastAPI leaves out of examples, without which they lack fields."""
    model = getattr(schemas, name, None) or getattr(chat, name, None)
    if "examples" in schema and model is not None:
        schema["examples"] = copy.deepcopy(model.model_config["json_schema_extra"]["examples"])


def _add_refusals(path: str, call: Description, added: Mapping[int, str]) -> None:
    form = "ChatErrorBody" if path.startswith(OPENAI_PATHS) else "ErrorBody"
    responses = call["responses"]
    for status, description in added.items():
        responses.setdefault(str(status), {"description": description})
    for status, response in responses.items():
        if int(status) >= 400:
            content = response.setdefault("content", {}).setdefault("application/json", {})
            content.setdefault("schema", {"$ref": f"#/components/schemas/{form}"})
            content.setdefault("example", _example(path, int(status)))
    call["responses"] = dict(sorted(responses.items()))


def _example(path: str, status: int) -> Description:
    code = _CODES[status]
    if status == 404 and "{document_id}" not in path:
        code = "model_not_found" if path.startswith(OPENAI_PATHS) else "route_not_found"
    if status == 503 and path == "/readyz":
        code = "shutting_down"
    _, message, hint = PROTOCOL.get(code) or (STATUS[code], _SAID[code], all_codes()[code])
    if path.startswith(OPENAI_PATHS):
        return openai_error(status, (code, message, hint))
    return {"error": {"code": code, "message": message, "hint": hint}}


def _add_headers(call: Description) -> None:
    sent = {parameter["name"] for parameter in call.get("parameters", ())}
    for status, response in call["responses"].items():
        headers = {"X-Request-ID": _header("Names the request: yours, if you sent one.", "9f86d081884c7d65")}
        if status == "401":
            headers["WWW-Authenticate"] = _header("How to show a key.", "Bearer")
        if status in {"429", "503"}:
            headers["Retry-After"] = _header("Seconds after which to come again.", "1")
        if "If-None-Match" in sent and status in {"200", "304"}:
            headers["ETag"] = _header("Changes with the content.", f'"{"9f2b" * 16}"')
        if "Idempotency-Key" in sent and status in {"200", "201"}:
            headers["Idempotency-Replayed"] = _header("'true' if this is the answer of before.", "true")
        response.setdefault("headers", {}).update(headers)


def _header(description: str, example: str) -> Description:
    return {"description": description, "schema": {"type": "string"}, "example": example}
