from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from index import Library
from service.answer import AnswerPolicy
from service.app import BODY_BYTES, build_app
from service.refusals import OPENAI_PATHS
from service.routes import AppState


@pytest.fixture
def client(open_library: Callable[..., Library]) -> Iterator[TestClient]:
    state = AppState(open_library(), AnswerPolicy(min_confidence=0.0))
    with TestClient(build_app(state), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def add(
    client: TestClient, source: str = "bridge.txt", text: str = "The bridge closes in October.", **more: object
) -> dict[str, Any]:
    response = client.post("/v1/documents", json={"source": source, "text": text, **more})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()["documents"][0]
    return document


def code(response: Any) -> str:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "hint"}
    return str(body["error"]["code"])


def test_the_whole_way_over_http(client: TestClient) -> None:
    document = add(client, text="Ein Fährmann heißt Jörg 😀. Die Brücke schließt im Oktober.")
    answer = client.post("/v1/ask", json={"question": "Wann schließt die Brücke?"}).json()
    assert answer["answerable"] is True
    assert set(answer) == {
        "question", "searched", "answerable", "confidence", "answer", "answer_kind", "written", "citations",
        "closest", "generation",
        "timings_ms",
    }  # fmt: skip
    citation = answer["citations"][0]
    text = client.get(f"/v1/documents/{citation['document_id']}/text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text[citation["start"] : citation["end"]] == citation["quote"]
    passage = citation["passage"]
    assert text.text[passage["start"] : passage["end"]] == passage["text"]
    assert client.post("/v1/citations/verify", json=citation["receipt"]).json()["status"] == "valid"
    assert client.delete(f"/v1/documents/{document['id']}").status_code == 204
    assert client.post("/v1/citations/verify", json=citation["receipt"]).json()["status"] == "deleted"
    assert client.post("/v1/ask", json={"question": "Wann schließt die Brücke?"}).json()["answerable"] is False


def test_documents_have_the_fields_of_the_contract(client: TestClient) -> None:
    document = add(client)
    assert set(document) == {
        "id", "collection", "source", "title", "language", "sha256", "characters", "passages", "format", "pages",
        "metadata", "status",
    }  # fmt: skip
    assert document["status"] == "added"
    assert add(client)["status"] == "unchanged"
    assert add(client, text="It opens again.")["status"] == "updated"
    assert client.get(f"/v1/documents/{document['id']}").json()["id"] == document["id"]


def test_search(client: TestClient) -> None:
    add(client)
    body = client.post("/v1/search", json={"query": "bridge", "top_k": 3}).json()
    assert set(body) == {"passages", "generation", "timings_ms"}
    assert set(body["passages"][0]) == {
        "document_id", "source", "title", "language", "start", "end", "text", "score", "location",
    }  # fmt: skip


def test_documents_are_listed_by_what_they_are(client: TestClient) -> None:
    add(client, "letters/Ärger.txt", "Der Bürgermeister ärgert sich über die gesperrte Brücke und ihre Kosten.")
    add(client, "notes/bridge.md", "# The bridge\n\nThe bridge over the Tess closes on 5 October for eleven months.")

    def listed(query: str) -> list[str]:
        body = client.get(f"/v1/documents?limit=1&{query}").json()
        found = [document["source"] for document in body["documents"]]
        while body["next_cursor"]:
            total = body["total"]
            body = client.get(f"/v1/documents?limit=1&{query}&cursor={body['next_cursor']}").json()
            found += [document["source"] for document in body["documents"]]
            assert body["total"] == total
        assert len(found) == body["total"]
        return found

    assert listed("") == ["letters/Ärger.txt", "notes/bridge.md"]
    assert listed("q=ÄRGER") == ["letters/Ärger.txt"]
    assert listed("q=the%20Bridge") == ["notes/bridge.md"]
    assert listed("q=%25") == []  # no pattern, just a sign
    assert listed("language=de") == ["letters/Ärger.txt"]
    assert listed("format=markdown") == ["notes/bridge.md"]
    assert listed("format=pdf&language=de") == []


def test_a_file_is_handed_out_as_it_came_in_and_never_shown(client: TestClient) -> None:
    page = "<title>Brücke</title><script>alert(1)</script><p>Die Brücke ist gesperrt.</p>".encode("cp1252")
    body = client.post("/v1/documents", files=[("file", ('a "b"/Brücke.html', page, "text/html"))]).json()
    (document,) = body["documents"]
    assert document["format"] == "html"
    original = client.get(f"/v1/documents/{document['id']}/original")
    assert original.content == page
    assert original.headers["content-type"] == "application/octet-stream"
    assert original.headers["content-disposition"] == "attachment; filename*=UTF-8''Br%C3%BCcke.html"
    assert original.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in original.headers["content-security-policy"]
    assert client.get("/v1/documents/0000000000000000/original").status_code == 404
    assert client.get(f"/v1/documents/{document['id']}/text").text == "Die Brücke ist gesperrt."


def test_documents_are_filtered_by_ranges(client: TestClient) -> None:
    for number, (date, year) in enumerate((("2013-12-31", 2013), ("2014-05", 2014), ("2014-12-31", 2014.5))):
        add(
            client, f"{number}.txt", f"The bridge was closed, report {number}.", metadata={"date": date, "year": year}
        )
    add(client, "none.txt", "The bridge was closed, report without a date.")

    def found(filters: object) -> list[str]:
        response = client.post("/v1/search", json={"query": "bridge report", "top_k": 10, "filters": filters})
        assert response.status_code == 200, response.text
        return sorted(passage["source"][0] for passage in response.json()["passages"])

    assert found({"date": {"from": "2014"}}) == ["1", "2"]
    assert found({"date": {"to": "2014"}}) == ["0", "1", "2"]
    assert found({"date": {"from": "2013-12-31", "to": "2014-06"}}) == ["0", "1"]
    assert found({"date": "2014-05"}) == ["1"]
    assert found({"metadata.year": {"from": 2014}}) == ["1", "2"]
    assert found({"metadata.year": {"to": 2014}}) == ["0", "1"]
    assert found({"metadata.year": {"from": "2014"}}) == []  # a number is no text
    assert found({"source": {"from": "1", "to": "1"}}) == ["1"]
    for wrong in ({}, {"from": None}, {"from": 1, "to": "2"}, {"between": 1}, {"from": True}):
        response = client.post("/v1/search", json={"query": "bridge", "filters": {"date": wrong}})
        assert response.json()["error"]["code"] == "filter_invalid", wrong
    response = client.post("/v1/search", json={"query": "bridge", "filters": {"nothing": {"from": 1}}})
    assert response.json()["error"]["code"] == "filter_invalid"


def test_documents_are_listed_in_pages(client: TestClient) -> None:
    for number in range(5):
        add(client, f"{number}.txt", f"Document number {number}.")
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/documents", params=query).json()
        seen += [document["source"] for document in page["documents"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"{number}.txt" for number in range(5)]
    assert code(client.get("/v1/documents", params={"cursor": "nonsense"})) == "cursor_invalid"


def test_upload_of_several_files_reports_each(client: TestClient) -> None:
    files = [
        ("file", ("eins.txt", "Die Brücke ist alt.".encode("cp1252") * 5, "text/plain")),
        ("file", ("zwei.md", "# Zwei\n\nDie Fähre fährt.".encode(), "text/markdown")),
        ("file", ("bild.png", b"\x89PNG", "image/png")),
        ("file", ("leer.txt", b"", "text/plain")),
    ]
    body = client.post("/v1/documents", files=files).json()
    assert [document["source"] for document in body["documents"]] == ["eins.txt", "zwei.md"]
    assert {item["source"]: item["error"]["code"] for item in body["rejected"]} == {
        "bild.png": "document_format",
        "leer.txt": "document_empty",
    }


@pytest.mark.parametrize(
    ("name", "content", "status", "expected"),
    [
        ("leer.txt", b"", 422, "document_empty"),
        ("bild.txt", b"\x89PNG\0\0", 422, "document_binary"),
        ("falsch.txt", b"\xef\xbb\xbf\xff", 422, "document_encoding"),
        ("bild.png", b"text", 415, "document_format"),
        ("gross.txt", b"a" * (51 * 2**20), 413, "document_too_large"),
    ],
)
def test_files_that_cannot_be_used(client: TestClient, name: str, content: bytes, status: int, expected: str) -> None:
    response = client.post("/v1/documents", files={"file": (name, content)})
    assert (response.status_code, code(response)) == (status, expected)
    assert client.get("/v1/documents").json()["documents"] == []


def test_a_200_mb_upload_is_cut_off(client: TestClient) -> None:
    response = client.post("/v1/documents", files={"file": ("gross.txt", b"a" * (200 * 2**20))})
    assert (response.status_code, code(response)) == (413, "body_too_large")


def test_a_long_single_line_is_a_document(client: TestClient) -> None:
    document = add(client, "zeile.txt", "Die Fähre fährt alle zwanzig Minuten und " * 5000)
    assert document["passages"] > 100


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"question": ""}, "question_empty"),
        ({"question": "a" * 10_000}, "question_too_long"),
        ({"question": 5}, "request_invalid"),
        ({"question": None}, "request_invalid"),
        ({"question": ["a"]}, "request_invalid"),
        ({"question": "x", "top_k": 0}, "request_invalid"),
        ({"question": "x", "top_k": "3"}, "request_invalid"),
        ({"question": "x", "topk": 3}, "request_invalid"),
        ({"question": "x", "collection": "No Such Name"}, "request_invalid"),
        ({"question": "x", "filters": {"writer": "y"}}, "filter_invalid"),
        ({}, "request_invalid"),
        ([], "request_invalid"),
    ],
)
def test_questions_that_cannot_be_used(client: TestClient, body: object, expected: str) -> None:
    response = client.post("/v1/ask", json=body)
    assert (response.status_code, code(response)) == (422, expected)


HOSTILE_JSON = [
    b"",
    b"{",
    b'{"question": "\\ud800"}',
    b'{"question": "a\\u0000b"}',
    b'{"question": NaN}',
    b'{"question": "x", "top_k": 9223372036854775808}',
    b'{"question": "x", "top_k": 1e999}',
    b'{"question": "x", "filters": {"metadata.a": 1e999}}',
    b'{"question": "x", "filters": {"metadata.a": 99999999999999999999999999}}',
    b'{"question": "x", "filters": {"source": "\\udfff"}}',
    b'{"question": "\xff"}',
    b"[" * 20_000,
    b'{"question": "x", "question": 1}',
]


@pytest.mark.parametrize("path", ["/v1/ask", "/v1/search", "/v1/documents", "/v1/citations/verify"])
@pytest.mark.parametrize("body", HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_hostile_json_is_refused_politely(client: TestClient, path: str, body: bytes) -> None:
    add(client)
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert 200 <= response.status_code < 500, response.text
    if response.status_code >= 400:
        code(response)


@pytest.mark.parametrize(
    "metadata", ['{"a": NaN}', '{"a": 1e999}', '{"a": [1]}', '{"a": "\\ud800"}', '{"a": 123456789012345678901}']
)
def test_hostile_metadata(client: TestClient, metadata: str) -> None:
    body = f'{{"source": "a.txt", "text": "Text", "metadata": {metadata}}}'
    response = client.post("/v1/documents", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (201, 422), response.text
    assert client.get("/v1/documents").status_code == 200


def test_a_body_beyond_the_limit_is_refused(client: TestClient) -> None:
    response = client.post("/v1/ask", json={"question": "a" * (BODY_BYTES + 1)})
    assert (response.status_code, code(response)) == (413, "body_too_large")


def test_other_content_types_are_refused(client: TestClient) -> None:
    response = client.post("/v1/documents", content=b"x", headers={"content-type": "text/csv"})
    assert (response.status_code, code(response)) == (415, "media_type_unsupported")


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/nothing", 404, "route_not_found"),
        ("DELETE", "/v1/ask", 405, "method_not_allowed"),
        ("GET", "/v1/documents/absent", 404, "document_not_found"),
        ("GET", "/v1/documents/absent/text", 404, "document_not_found"),
        ("DELETE", "/v1/documents/absent", 404, "document_not_found"),
        ("GET", "/v1/documents?limit=0", 422, "request_invalid"),
    ],
)
def test_wrong_addresses(client: TestClient, method: str, path: str, status: int, expected: str) -> None:
    response = client.request(method, path)
    assert (response.status_code, code(response)) == (status, expected)


def test_an_unexpected_failure_shows_nothing_of_its_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("service.reach.answer_question", fail)
    response = client.post("/v1/ask", json={"question": "x"})
    assert (response.status_code, code(response)) == (500, "internal_error")
    assert "secret" not in response.text


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_the_page_has_a_strict_policy(client: TestClient) -> None:
    for path in ("/", "/static/main.js", "/static/base.css"):
        headers = client.get(path).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
            "img-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'", "trusted-types": "'none'",
        }  # fmt: skip
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-cache"


def test_openapi_is_complete_and_its_examples_hold(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, call in methods.items():
            assert call["summary"], (path, method)
            for status, response in call["responses"].items():
                if int(status) >= 400:
                    form = "/ChatErrorBody" if path.startswith(OPENAI_PATHS) else "/ErrorBody"
                    assert response["content"]["application/json"]["schema"]["$ref"].endswith(form), path
    from service import schemas

    for name in ("AskRequest", "SearchRequest", "DocumentRequest", "AskResponse", "SearchResponse", "DocumentsAdded"):
        model = getattr(schemas, name)
        for example in model.model_config["json_schema_extra"]["examples"]:
            model.model_validate_json(json.dumps(example))
