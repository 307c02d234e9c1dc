"""What is logged, and that no question, document, key or setting's secret ever is (A07)."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index import Library
from service.access import Scope
from service.answer import AnswerPolicy
from service.app import build_app
from service.guard import Admission
from service.keys import KeyRing
from service.logs import JsonLines, TextLines, configure
from service.routes import AppState

CANARY = "Zyxwvutsrq"
"""In questions, documents, names and titles."""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that is logged, at DEBUG, as JSON."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    configure("json", "debug")
    yield written
    root.handlers[:] = before
    root.setLevel(level)


def test_a_request_is_one_line_with_route_status_time_key_and_id(
    lines: io.StringIO, open_library: Callable[..., Library], tmp_path: Path
) -> None:
    key, secret = KeyRing(tmp_path / "data").create("x", Scope.READ)
    state = AppState(open_library(), admission=Admission(KeyRing(tmp_path / "data")))
    with TestClient(build_app(state), base_url="http://localhost") as client:
        client.get("/healthz")
        client.get(
            "/v1/documents/0123456789abcdef", headers={"Authorization": f"Bearer {secret}", "X-Request-ID": "r1"}
        )
        client.get("/v1/documents?q=secret", headers={"X-Request-ID": "r2"})
        client.request("BREW", "/coffee", headers={"X-Request-ID": "r3"})
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    requests = [line for line in said if line["logger"] == "fundstelle.access"]
    assert all(isinstance(line.pop("milliseconds"), float) and line.pop("time") for line in requests)
    common = {"level": "info", "logger": "fundstelle.access", "message": "request"}
    assert requests == [
        common
        | {"method": "GET", "route": "/v1/documents/{document_id}", "status": 404, "key": key.id, "request_id": "r1"},
        common | {"method": "GET", "route": "/v1/documents", "status": 401, "request_id": "r2"},
        common | {"method": "?", "route": "?", "status": 404, "request_id": "r3"},
    ]


def secrets_in(text: str, secret: str) -> list[str]:
    """Return the pieces of eight characters of a secret that ``text`` holds, plain or in base 64."""
    coded = base64.b64encode(secret.encode()).decode().rstrip("=")
    pieces = {each[at : at + 8] for each in (secret, coded) for at in range(len(each) - 7)}
    return sorted(piece for piece in pieces if piece in text)


def exercise(client: TestClient, secret: str) -> list[str]:
    """Do everything once, rightly and wrongly; return the bodies and headers of what came back."""
    headers = {"Authorization": f"Bearer {secret}"}
    seen: list[str] = []

    def send(method: str, path: str, **more: object) -> dict[str, object]:
        response = client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]
        seen.append(response.text + str(dict(response.headers)))
        is_json = response.content and "json" in response.headers.get("content-type", "")
        return response.json() if is_json else {}

    body = {"source": f"{CANARY}.txt", "title": CANARY, "text": f"The {CANARY} closes in October."}
    send("POST", "/v1/documents", json=body)
    send("POST", "/v1/documents", json={"source": CANARY, "text": 7})
    send("POST", "/v1/documents", content=f"{{{CANARY}".encode())
    send("POST", "/v1/documents", files=[("file", (f"{CANARY}.pdf", CANARY.encode(), "application/pdf"))])
    answer = send("POST", "/v1/ask", json={"question": f"When does the {CANARY} close?"})
    send("POST", "/v1/ask", json={"question": f"{CANARY}\0"})
    send("POST", "/v1/search", json={"query": CANARY, "filters": {CANARY: CANARY}})
    send("GET", f"/v1/documents?q={CANARY}&cursor={CANARY}")
    send("GET", f"/v1/documents/{CANARY}")
    send("GET", "/metrics")
    for name, arguments in (("ask", {"question": CANARY}), ("ask", {CANARY: CANARY}), (CANARY, {})):
        called = {"jsonrpc": "2.0", "id": CANARY, "method": "tools/call"}
        send("POST", "/mcp", json=called | {"params": {"name": name, "arguments": arguments}})
        headers["Mcp-Protocol-Version"] = "2026-07-28"
        send("POST", "/mcp", json=called | {"params": {"name": name, "arguments": arguments}})
        del headers["Mcp-Protocol-Version"]
    for malformed in ({"method": CANARY}, {"id": 1, "method": CANARY, "params": CANARY}, {CANARY: CANARY}):
        send("POST", "/mcp", json={"jsonrpc": "2.0"} | malformed)
    send("GET", f"/{CANARY}?key={secret}")
    citations = answer["citations"]
    assert isinstance(citations, list) and citations
    send("POST", "/v1/citations/verify", json=citations[0]["receipt"])
    return seen


def test_no_log_line_holds_a_word_of_a_user_or_a_piece_of_a_key(
    lines: io.StringIO, open_library: Callable[..., Library], tmp_path: Path
) -> None:
    _, secret = KeyRing(tmp_path / "data").create("x", Scope.ADMIN)
    state = AppState(
        open_library(), AnswerPolicy(min_confidence=0.0), admission=Admission(KeyRing(tmp_path / "data"))
    )
    with TestClient(build_app(state), base_url="http://localhost", raise_server_exceptions=False) as client:
        seen = exercise(client, secret)
    written = lines.getvalue()
    assert written.count('"fundstelle.access"') == len(seen)
    assert CANARY not in written
    assert secrets_in(written, secret) == []
    assert [body for body in seen if secrets_in(body, secret)] == [], "nor does any answer"
    metrics = next(body for body in seen if "fundstelle_documents" in body)
    assert CANARY not in metrics
    logging.getLogger("fundstelle").info("null control %s %s", CANARY, secret)
    assert CANARY in lines.getvalue()
    assert secrets_in(lines.getvalue(), secret)


def test_a_message_stays_on_its_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "one\nERROR two\x1b[31m", None, None)
    for form in (TextLines(), JsonLines()):
        assert "\n" not in form.format(record)
        assert "\x1b" not in form.format(record)


def test_people_read_a_line() -> None:
    record = logging.LogRecord("fundstelle.access", logging.INFO, "", 0, "request", None, None)
    vars(record).update(method="POST", route="/v1/ask", status=200, milliseconds=31.2, key="")
    assert TextLines().format(record).endswith(" info request POST /v1/ask 200 31.2")
