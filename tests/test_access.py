"""Who may do what over HTTP: a matrix of every route and every state of a credential (A01), hosts, origins, rates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from index import Library, document_from_text
from index.errors import SettingsRejected
from service.access import POLICIES, Scope, undeclared
from service.admission import admission_of
from service.answer import AnswerPolicy
from service.app import build_app
from service.guard import Admission, declared
from service.keys import KeyRing
from service.limits import RateLimit
from service.routes import AppState
from service.settings import Settings

BASE = "http://localhost"
CREDENTIALS = (
    "none", "empty", "malformed", "basic", "doubled", "wrong", "expired", "revoked", "elsewhere", "reader", "writer",
    "admin",
)  # fmt: skip
"""States of a credential; "elsewhere" is a good key of another collection."""

BODIES: dict[str, dict[str, Any]] = {
    "/v1/ask": {"question": "When does the bridge close?"},
    "/v1/ask/batch": {"questions": [{"question": "When does the bridge close?"}]},
    "/v1/search": {"query": "bridge"},
    "/v1/chat/completions": {
        "model": "fundstelle",
        "messages": [{"role": "user", "content": "When does the bridge close?"}],
    },
    "/mcp": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "ask", "arguments": {"question": "When does the bridge close?"}},
    },
    "/v1/documents": {"source": "new.txt", "text": "A new ferry leaves at noon."},
    "/v1/documents/delete": {"filters": {"source": "hospital.txt"}},
}
_SCOPE = {"reader": Scope.READ, "writer": Scope.WRITE, "admin": Scope.ADMIN}


@dataclass
class World:
    """A service, its keys, a document and a receipt of it."""

    client: TestClient
    headers: dict[str, list[tuple[str, str]]]
    document: str
    receipt: dict[str, Any]
    library: Library
    touched: list[str]


@pytest.fixture
def world(open_library: Callable[..., Library], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    library = open_library()
    library.add([document_from_text("bridge.txt", "The bridge closes in October. It opens in May.")])
    library.add([document_from_text("hospital.txt", "The hospital opens a ward. Twelve nurses came.")])
    now = "2026-01-01T00:00:00Z"
    ring = KeyRing(tmp_path / "data", clock=lambda: now)
    secrets = {name: ring.create(name, scope)[1] for name, scope in _SCOPE.items()}
    secrets["expired"] = ring.create("expired", Scope.WRITE, days=1)[1]
    key, secrets["revoked"] = ring.create("revoked", Scope.WRITE)
    ring.revoke(key.id)
    secrets["elsewhere"] = ring.create("elsewhere", Scope.WRITE, ["other"])[1]
    now = "2026-02-01T00:00:00Z"
    headers = {name: [("Authorization", f"Bearer {secret}")] for name, secret in secrets.items()}
    headers |= {
        "none": [],
        "empty": [("Authorization", "")],
        "malformed": [("Authorization", secrets["admin"])],
        "basic": [("Authorization", f"Basic {secrets['admin']}")],
        "doubled": headers["admin"] * 2,
        "wrong": [("Authorization", f"Bearer {secrets['admin'][:-2]}zz")],
    }
    touched: list[str] = []
    for name in ("view", "add", "delete", "delete_where", "counts", "index_state"):
        real = getattr(Library, name)

        def spy(self: Library, *args: object, _real: Any = real, _name: str = name, **named: object) -> object:
            touched.append(_name)
            return _real(self, *args, **named)

        monkeypatch.setattr(Library, name, spy)
    with TestClient(app_of(library, Admission(ring)), base_url=BASE, raise_server_exceptions=False) as client:
        answer = client.post(
            "/v1/ask", json={"question": "When does the bridge close?"}, headers=dict(headers["reader"])
        ).json()
        citation = answer["citations"][0]
        yield World(client, headers, citation["document_id"], citation["receipt"], library, touched)
    ring.close()


def app_of(library: Library, admission: Admission) -> FastAPI:
    return build_app(AppState(library, AnswerPolicy(min_confidence=0.0), admission=admission))


def send(world: World, method: str, path: str, credential: str) -> tuple[int, str]:
    """Send a good request to a route; return status and error code."""
    target = path.replace("{document_id}", world.document)
    if path == "/static":
        target = "/static/main.js"
    body = world.receipt if path == "/v1/citations/verify" else BODIES.get(path)
    response = world.client.request(
        method, target, headers=world.headers[credential], json=body if method == "POST" else None
    )
    try:
        code = response.json()["error"]["code"] if response.status_code >= 400 else ""
        if (method, path) == ("POST", "/mcp") and not code:  # a tool refuses in its result
            code = response.json()["result"].get("_meta", {}).get("fundstelle/error", {}).get("code", "")
    except (ValueError, KeyError):
        code = "?"
    return response.status_code, code


_PASSED = {(200, ""), (201, ""), (204, "")}
_WITHOUT_COLLECTION = {
    ("GET", "/v1/documents"),
    ("GET", "/v1/models"),
    ("GET", "/mcp"),
    ("POST", "/v1/ask/batch"),
    ("POST", "/v1/citations/verify"),
}
"""Calls that name neither a collection nor a document: each sees its own. A batch is refused in its parts."""


_OWN_WORDS = {
    ("POST", "/v1/chat/completions"): (404, "model_not_found"),
    ("POST", "/mcp"): (200, "collection_forbidden"),
}
"""What is out of reach, in the protocols of others: a collection is a model, and a tool refuses in its result."""


def expected(method: str, path: str, needed: Scope, credential: str) -> set[tuple[int, str]]:
    """Return what may come back; written apart from the code that it judges."""
    if needed is Scope.PUBLIC:
        return _PASSED
    if credential not in {*_SCOPE, "elsewhere"}:
        return {(401, "key_missing" if credential == "none" else "key_wrong")}
    if _SCOPE.get(credential, Scope.WRITE) < needed:
        return {(403, "scope_insufficient")}
    if credential == "elsewhere" and (method, path) in _OWN_WORDS:
        return {_OWN_WORDS[method, path]}
    if credential == "elsewhere" and (method, path) not in _WITHOUT_COLLECTION:
        return {(404, "document_not_found") if "{document_id}" in path else (403, "collection_forbidden")}
    return {(405, "method_not_allowed")} if (method, path) == ("GET", "/mcp") else _PASSED


def matrix(world: World) -> list[str]:
    """Return every cell of the matrix that is not as it should be."""
    wrong: list[str] = []
    cells = 0
    # What removes comes last.
    for (method, path), needed in sorted(POLICIES.items(), key=lambda item: (item[0][0] == "DELETE", item[0])):
        for credential in sorted(CREDENTIALS, key=lambda name: name in _SCOPE):
            del world.touched[:]
            found = send(world, method, path, credential)
            cells += 1
            allowed = expected(method, path, needed, credential)
            if found[0] == 404 and (method, credential) == ("DELETE", "admin"):
                allowed = {(404, "document_not_found")}  # the writer removed it
            if found not in allowed:
                wrong.append(f"{method} {path} {credential}: {found}")
            if allowed <= {(401, "key_missing"), (401, "key_wrong"), (403, "scope_insufficient")} and world.touched:
                wrong.append(f"{method} {path} {credential}: touched {world.touched}")
    assert cells == len(POLICIES) * len(CREDENTIALS)
    return wrong


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong keys are counted, but never too many."""
    monkeypatch.setattr("service.guard.FAILURES", "100000/minute")


@pytest.mark.usefixtures("patient")
def test_every_route_with_every_credential(world: World) -> None:
    assert matrix(world) == []


@pytest.mark.usefixtures("patient")
def test_a_route_that_demands_too_little_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    weaker = dict(POLICIES) | {("DELETE", "/v1/documents/{document_id}"): Scope.READ}
    monkeypatch.setattr("service.guard.POLICIES", weaker)
    assert any("reader" in line for line in matrix(world))


def test_a_route_without_a_policy_fails_the_start(library: Library) -> None:
    app = app_of(library, Admission())
    assert undeclared(declared(app.router.routes)) == []

    @app.get("/v1/secrets")
    def secrets() -> None: ...

    assert undeclared(declared(app.router.routes)) == ["GET /v1/secrets: no policy"]
    with pytest.raises(SettingsRejected, match=r"/v1/secrets: no policy"), TestClient(app, base_url=BASE):
        pass
    assert undeclared([]) == sorted(f"{method} {path}: no route" for method, path in POLICIES)


def test_nothing_of_a_body_is_read_before_the_key(world: World) -> None:
    def reads(credential: str) -> int:
        count = 0

        def body() -> Iterator[bytes]:
            nonlocal count
            for _ in range(3):
                count += 1
                yield b" " * 1000

        headers = {"Content-Type": "application/json", **dict(world.headers[credential])}
        app = world.client.app
        messages = iter(body())
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            chunk = next(messages, None)
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        async def send_(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/v1/documents", "raw_path": b"/v1/documents", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost"), *((n.lower().encode(), v.encode()) for n, v in headers.items())],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        import anyio

        anyio.run(app, scope, receive, send_)
        return count

    assert reads("none") == reads("wrong") == reads("reader") == 0
    assert reads("writer") > 0


def test_the_last_key_of_all_can_be_revoked_at_any_moment(world: World, tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "data")
    headers = dict(world.headers["reader"])
    assert world.client.get("/v1/documents", headers=headers).status_code == 200
    for key in ring.listed():
        ring.revoke(key.id)
    assert world.client.get("/v1/documents", headers=headers).status_code == 401


def test_wrong_keys_are_slowed_down_and_right_ones_are_not(world: World) -> None:
    statuses = [
        world.client.get("/v1/documents", headers=dict(world.headers["wrong"])).status_code for _ in range(15)
    ]
    assert statuses[:10] == [401] * 10
    assert statuses[-1] == 429
    refused = world.client.get("/v1/documents", headers=dict(world.headers["wrong"]))
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert world.client.get("/v1/documents", headers=dict(world.headers["reader"])).status_code == 200


def test_rates_are_for_each_key(
    open_library: Callable[..., Library], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time() // 60 * 60 + 10  # stands still: at the turn of the minute there would be one more
    monkeypatch.setattr("time.time", lambda: now)
    ring = KeyRing(tmp_path / "data")
    one, other = ({"Authorization": f"Bearer {ring.create('x', Scope.READ)[1]}"} for _ in range(2))
    library = open_library()
    with TestClient(app_of(library, Admission(ring, rate=RateLimit("5/minute"))), base_url=BASE) as client:
        statuses = [client.get("/v1/documents", headers=one).status_code for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        refused = client.get("/v1/documents", headers=one)
        assert refused.json()["error"]["code"] == "rate_limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert client.get("/v1/documents", headers=other).status_code == 200
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("localhost:8000", True), ("127.0.0.1", True), ("[::1]:8000", True), ("10.1.2.3:80", True),
        ("docs.example.org", True), ("DOCS.example.org:443", True), ("evil.example", False), ("", False),
        ("localhost.evil.example", False), ("docs.example.org.evil", False), ("localhost@evil.example", False),
        ("localhost:80:80", False), ("localhost/x", False), ("a b", False), ("localhost:", False),
        ("[::1", False), ("%6c", False), ("localhost\t", False),
    ],
)  # fmt: skip
def test_only_names_of_this_service_are_answered_to(library: Library, host: str, good: bool) -> None:
    admission = Admission(hosts=frozenset({"docs.example.org"}))
    with TestClient(app_of(library, admission), base_url=BASE, raise_server_exceptions=False) as client:
        response = client.get("/v1/documents", headers={"Host": host})
    assert response.status_code == (200 if good else 421)
    if not good:
        assert response.json()["error"]["code"] == "host_unknown"


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://app.example.org"}, True),
        ({"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Origin": "https://app.example.org.evil"}, False),
        ({"Origin": "http://localhost:8001"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_pages_of_other_origins_change_nothing(library: Library, headers: dict[str, str], good: bool) -> None:
    admission = Admission(origins=frozenset({"https://app.example.org"}))
    with TestClient(app_of(library, admission), base_url=BASE) as client:
        response = client.post(
            "/v1/documents",
            files=[("file", ("x.txt", b"A new ferry leaves at noon.", "text/plain"))],
            headers=headers,
        )
        assert response.status_code == (201 if good else 403)
        allowed = response.headers.get("access-control-allow-origin")
        assert allowed == (headers["Origin"] if headers.get("Origin", "").endswith("app.example.org") else None)
        assert "access-control-allow-credentials" not in response.headers


def test_no_origin_is_let_in_unasked(library: Library) -> None:
    preflight = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
    with TestClient(app_of(library, Admission()), base_url=BASE) as client:
        for origin in ("https://app.example.org", "null", "http://localhost:1", "*", "http://127.0.0.1"):
            response = client.get("/v1/documents", headers={"Origin": origin})
            assert not any(name.startswith("access-control-") for name in response.headers)
        assert client.options("/v1/ask", headers=preflight).status_code == 405
    admission = Admission(origins=frozenset({"https://app.example.org"}))
    with TestClient(app_of(library, admission), base_url=BASE) as client:
        allowed = client.options("/v1/ask", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.org"
        assert client.options("/v1/ask", headers=preflight | {"Origin": "null"}).status_code == 400


def test_requests_have_ids(library: Library) -> None:
    with TestClient(app_of(library, Admission()), base_url=BASE) as client:
        assert client.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
        made = {
            client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"]
            for bad in ("", "a b", "x" * 65, "a/b", "<b>")
        }
        assert len(made) == 5
        assert all(len(each) == 16 for each in made)
        assert client.get("/nothing", headers={"X-Request-ID": "abc"}).headers["x-request-id"] == "abc"
        assert (
            client.post("/v1/ask", content=b"x" * 100_000, headers={"X-Request-ID": "abc"}).headers["x-request-id"]
            == "abc"
        )


def test_every_response_has_its_headers(world: World) -> None:
    paths = [("GET", path) for method, path in POLICIES if method == "GET"] + [
        ("GET", "/nothing"),
        ("PUT", "/v1/ask"),
    ]
    for credential in ("none", "admin"):
        for method, path in paths:
            target = path.replace("{document_id}", world.document).replace("/static", "/static/main.js")
            response = world.client.request(method, target, headers=world.headers[credential])
            headers = response.headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "default-src 'none'" in headers["content-security-policy"]
            page = path in {"/", "/static"}
            assert headers["cache-control"] == ("no-cache" if page else "no-store")
            assert "server" not in headers


def test_a_websocket_is_closed(library: Library) -> None:
    from starlette.websockets import WebSocketDisconnect

    with TestClient(app_of(library, Admission()), base_url=BASE) as client:
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/v1/ask"):
            pass
        assert closed.value.code == 1008


@pytest.mark.parametrize(
    "wrong",
    [
        {"allowed_hosts": "a b"},
        {"allowed_hosts": "*"},
        {"allowed_origins": "*"},
        {"allowed_origins": "null"},
        {"allowed_origins": "https://example.org/"},
        {"allowed_origins": "example.org"},
        {"rate_limit": "many"},
    ],
)
def test_settings_that_open_everything_are_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsRejected):
        admission_of(Settings(**wrong), KeyRing(tmp_path))


def test_settings_say_whom_to_let_in(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ring.create("x", Scope.READ)
    settings = Settings(host="Docs.Example.org", allowed_hosts="a.example, B.example", allowed_origins="https://c.de")
    admission = admission_of(settings, ring)
    assert admission.hosts == {"docs.example.org", "a.example", "b.example"}
    assert admission.origins == {"https://c.de"}
    assert replace(admission, keys=ring) == admission


def test_a_receipt_of_another_collection_counts_as_deleted(world: World) -> None:
    def status(credential: str, receipt: dict[str, Any]) -> Any:
        return world.client.post("/v1/citations/verify", json=receipt, headers=dict(world.headers[credential])).json()

    assert status("reader", world.receipt)["status"] == "valid"
    foreign = status("elsewhere", world.receipt)
    unknown = status("elsewhere", world.receipt | {"document_id": "0" * 16})
    assert foreign["status"] == "deleted"
    assert json.dumps(foreign) == json.dumps(unknown)
