"""The OpenAPI document: every call named, described, guarded, with all its refusals and with examples that hold.

Each rule is a function over a document; its null control is the same document with one thing broken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest

from index import Library
from service.access import POLICIES, Scope
from service.app import build_app
from service.errors import PROTOCOL, STATUS
from service.guard import Admission
from service.keys import KeyRing
from service.openapi import TAGS
from service.routes import AppState
from tests.tiny import TinyEncoder

Document = dict[str, Any]

OPERATIONS = {
    "GET /healthz": "healthz",
    "GET /readyz": "readyz",
    "GET /metrics": "metrics",
    "POST /v1/ask": "ask",
    "POST /v1/ask/batch": "ask_batch",
    "POST /v1/search": "search",
    "POST /v1/citations/verify": "verify_citation",
    "POST /v1/documents": "add_documents",
    "GET /v1/documents": "list_documents",
    "GET /v1/documents/{document_id}": "get_document",
    "GET /v1/documents/{document_id}/text": "get_text",
    "GET /v1/documents/{document_id}/original": "get_original",
    "DELETE /v1/documents/{document_id}": "delete_document",
    "POST /v1/documents/delete": "delete_documents",
    "GET /v1/models": "list_models",
    "POST /v1/chat/completions": "complete_chat",
}
"""Generated clients name their functions after these: a change breaks whoever generated one."""

BYTES = "application/octet-stream"
"""The one kind of content without an example: it is whatever was handed in."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Document]:
    """Made once; whoever breaks it breaks a copy."""
    with Library(tmp_path_factory.mktemp("openapi") / "data", TinyEncoder(), writable=True) as library:
        yield build_app(AppState(library)).openapi()


def calls(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield f"{method.upper()} {path}", call


def contents(call: Document) -> Iterator[tuple[str, str, Document]]:
    """Yield where it is, the kind, and schema with examples, of everything a call takes and gives."""
    for kind, content in call.get("requestBody", {}).get("content", {}).items():
        yield "request", kind, content
    for status, response in call["responses"].items():
        for kind, content in response.get("content", {}).items():
            yield status, kind, content


def resolved(document: Document, schema: Document) -> Document:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def examples(document: Document, content: Document) -> list[Any]:
    own = [content["example"]] if "example" in content else []
    return own + list(resolved(document, content.get("schema", {})).get("examples", []))


# ---- the rules ---------------------------------------------------------------------------------------------------


def undescribed(document: Document) -> list[str]:
    """Return what a reader would have to guess."""
    found = []
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, call in calls(document):
        if not call.get("summary") or not call.get("description"):
            found.append(f"{name}: summary or description")
        elif call["description"].rstrip(".").startswith(f"{call['summary']}.\n"):
            found.append(f"{name}: the description says what the summary says")
        if not set(call.get("tags", ())) & tags:
            found.append(f"{name}: tag")
        found += [f"{name}: {each['name']}" for each in call.get("parameters", ()) if not each.get("description")]
        found += [f"{name}: {status}" for status, each in call["responses"].items() if not each["description"]]
    return found


def unguarded(document: Document) -> list[str]:
    """Return the calls that do not say what they really ask of a caller."""
    found = []
    for name, call in calls(document):
        method, path = name.split()
        public = POLICIES[method, path] is Scope.PUBLIC
        if (call.get("security") == []) != public:
            found.append(f"{name}: security")
        if not public and f"'{POLICIES[method, path].name.lower()}'" not in call["description"]:
            found.append(f"{name}: scope")
        needed = {"421", "500"} | (set() if public else {"401", "403", "429", "503"})
        needed |= {"413", "422"} if "requestBody" in call else set()
        found += [f"{name}: {status}" for status in sorted(needed - call["responses"].keys())]
        for status, response in call["responses"].items():
            form = "ChatErrorBody" if path.startswith(("/v1/chat", "/v1/models")) else "ErrorBody"
            schema = response.get("content", {}).get("application/json", {}).get("schema", {})
            if int(status) >= 400 and schema != {"$ref": f"#/components/schemas/{form}"}:
                found.append(f"{name}: form of {status}")
            if "X-Request-ID" not in response["headers"]:
                found.append(f"{name}: X-Request-ID of {status}")
    scheme = document["components"]["securitySchemes"].get("key", {})
    return found + ([] if (scheme.get("type"), scheme.get("scheme")) == ("http", "bearer") else ["no bearer keys"])


STREAM = "text/event-stream"


def unexampled(document: Document) -> list[str]:
    """Return what has no example, or one that is not of its form."""
    found = []
    for name, call in calls(document):
        for place, kind, content in contents(call):
            if kind == BYTES:
                continue
            shown = examples(document, content)
            if not shown:
                found.append(f"{name}: {place} {kind} has no example")
            if kind == STREAM:  # its form, event by event, is in docs/http.md: OpenAPI 3.1 has no words for it
                continue
            schema = {"components": document["components"], **content["schema"]}
            for example in shown:
                for problem in jsonschema_rs.Draft202012Validator(schema).iter_errors(example):
                    found.append(f"{name}: {place} {kind}: {problem.message}")
    return found


def wrong_codes(document: Document) -> list[str]:
    """Return examples of refusals whose code does not have the status they stand at."""
    statuses = STATUS | {code: status for code, (status, *_) in PROTOCOL.items()}
    found = []
    for name, call in calls(document):
        for status, response in call["responses"].items():
            if int(status) >= 400:
                code = response["content"]["application/json"]["example"]["error"]["code"]
                if statuses.get(code) != int(status):
                    found.append(f"{name}: {status} {code}")
    return found


# ---- the document ------------------------------------------------------------------------------------------------


def test_operations_have_names_that_stay(document: Document) -> None:
    assert {name: call["operationId"] for name, call in calls(document)} == OPERATIONS


@pytest.mark.parametrize("rule", [undescribed, unguarded, unexampled, wrong_codes])
def test_the_document_is_whole(document: Document, rule: Callable[[Document], list[str]]) -> None:
    assert rule(document) == []


@pytest.mark.parametrize(
    ("rule", "breaks", "said"),
    [
        (undescribed, lambda ask, _: ask.pop("summary"), "POST /v1/ask: summary"),
        (undescribed, lambda ask, _: ask.update(description=f"{ask['summary']}.\n\nMore."), "POST /v1/ask: the desc"),
        (undescribed, lambda ask, _: ask.update(tags=["none"]), "POST /v1/ask: tag"),
        (undescribed, lambda ask, _: ask.update(parameters=[{"name": "x"}]), "POST /v1/ask: x"),
        (unguarded, lambda ask, _: ask.update(security=[]), "POST /v1/ask: security"),
        (unguarded, lambda ask, _: ask.update(description="?"), "POST /v1/ask: scope"),
        (unguarded, lambda ask, _: ask["responses"].pop("429"), "POST /v1/ask: 429"),
        (unguarded, lambda ask, _: ask["responses"]["422"]["content"].clear(), "POST /v1/ask: form of 422"),
        (unguarded, lambda ask, _: ask["responses"]["200"]["headers"].clear(), "POST /v1/ask: X-Request-ID of 200"),
        (unguarded, lambda _, all_: all_["components"]["securitySchemes"].clear(), "no bearer keys"),
        (
            unexampled,
            lambda _, all_: all_["components"]["schemas"]["AskRequest"].pop("examples"),
            "POST /v1/ask: request application/json has no example",
        ),
        (
            unexampled,
            lambda _, all_: all_["components"]["schemas"]["AskRequest"]["examples"][0].pop("question"),
            'POST /v1/ask: request application/json: "question" is a required property',
        ),
        (
            unexampled,
            lambda _, all_: all_["components"]["schemas"]["Health"]["properties"]["status"].update(type="null"),
            "GET /healthz: 200 application/json",
        ),
        (
            wrong_codes,
            lambda ask, _: ask["responses"].update({"422": ask["responses"]["429"]}),
            "POST /v1/ask: 422 rate_limited",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_reported(
    document: Document, rule: Callable[[Document], list[str]], breaks: Callable[[Any, Any], None], said: str
) -> None:
    broken = copy.deepcopy(document)
    breaks(broken["paths"]["/v1/ask"]["post"], broken)
    assert any(line.startswith(said) for line in rule(broken)), rule(broken)


def test_the_quotes_of_the_examples_are_as_long_as_their_places(document: Document) -> None:
    places = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            words = value.get("quote") or value.get("text")
            if words and "start" in value and "..." not in words:
                places.append((value["end"] - value["start"], len(words)))
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    for _, call in calls(document):
        for _, kind, content in contents(call):
            walk(examples(document, content) if kind != BYTES else None)
    assert places and all(length == words for length, words in places), places


def test_a_key_is_demanded_where_one_is_needed_and_may_be_shown_where_none_is(library: Library) -> None:
    ring = KeyRing(library.folder)
    app = build_app(AppState(library, admission=Admission(ring)))
    before = {name: call["security"] for name, call in calls(app.openapi())}
    assert before["POST /v1/ask"] == [{"key": []}, {}] and before["GET /healthz"] == []
    ring.create("first", Scope.READ)
    after = {name: call["security"] for name, call in calls(app.openapi())}
    ring.close()
    assert after["POST /v1/ask"] == [{"key": []}] and after["GET /healthz"] == []


def test_tags_are_used_and_described(document: Document) -> None:
    used = {tag for _, call in calls(document) for tag in call["tags"]}
    assert [tag["name"] for tag in document["tags"]] == [tag["name"] for tag in TAGS]
    assert used == {tag["name"] for tag in TAGS}
    assert document["info"]["license"]["identifier"] == "MIT"
