"""Documents over HTTP in the course of time: collections, removal, the past, a full disk, monitoring."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from index import Library, Options
from service.answer import AnswerPolicy
from service.app import build_app
from service.routes import AppState
from service.together import Computing
from tests import full_disk
from tests.full_disk import Disk
from tests.tiny import TinyEncoder


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return full_disk.install(monkeypatch)


@pytest.fixture
def library(tmp_path: Path, disk: Disk) -> Iterator[Library]:
    with Library(tmp_path / "data", TinyEncoder(), writable=True, options=Options(keep_generations=3)) as library:
        yield library


@pytest.fixture
def client(library: Library) -> Iterator[TestClient]:
    state = AppState(library, AnswerPolicy(min_confidence=0.0))
    with TestClient(build_app(state), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def add(client: TestClient, source: str, text: str, **more: object) -> dict[str, Any]:
    response = client.post("/v1/documents", json={"source": source, "text": text, **more})
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def sources(client: TestClient, **query: str) -> list[str]:
    response = client.get("/v1/documents", params=query)
    assert response.status_code == 200, response.text
    return [document["source"] for document in response.json()["documents"]]


def found(client: TestClient, query: str, **more: object) -> list[str]:
    response = client.post("/v1/search", json={"query": query, **more})
    assert response.status_code == 200, response.text
    return [passage["source"] for passage in response.json()["passages"]]


def refusal(response: Any) -> tuple[int, str]:
    body = response.json()
    assert set(body["error"]) == {"code", "message", "hint"}
    return response.status_code, body["error"]["code"]


def figure(client: TestClient, name: str) -> float:
    for family in text_string_to_metric_families(client.get("/metrics").text):
        if family.name == f"fundstelle_{name}":
            return float(family.samples[0].value)
    raise AssertionError(f"there is no figure {name}")


# ---- collections ---------------------------------------------------------------------------------------------


def test_collections_are_apart(client: TestClient) -> None:
    add(client, "a.txt", "The harbour is old.")
    added = add(client, "a.txt", "The harbour is secret.", collection="private")
    assert added["documents"][0]["collection"] == "private"
    files = {"file": ("b.txt", b"The harbour has boats.")}
    uploaded = client.post("/v1/documents", files=files, data={"collection": "private"}).json()["documents"][0]
    assert (uploaded["collection"], uploaded["status"]) == ("private", "added")
    assert sources(client) == ["a.txt", "a.txt", "b.txt"]
    assert sources(client, collection="private") == ["a.txt", "b.txt"]
    assert sources(client, collection="default") == ["a.txt"]
    assert sources(client, collection="nobody") == []
    assert found(client, "harbour", collection="private", filters={"source": "b.txt"}) == ["b.txt"]
    assert found(client, "harbour") == ["a.txt"]
    answer = client.post("/v1/ask", json={"question": "what about the harbour?", "collection": "private"}).json()
    assert {citation["quote"] for citation in answer["citations"]} <= {
        "The harbour is secret.", "The harbour has boats.",
    }  # fmt: skip
    assert answer["citations"]


def test_a_collection_is_listed_in_pages(client: TestClient) -> None:
    for number in range(5):
        add(client, f"{number}.txt", f"Boat {number}.", collection="odd" if number % 2 else "even")
    first = client.get("/v1/documents", params={"collection": "even", "limit": 2}).json()
    second = client.get("/v1/documents", params={"collection": "even", "cursor": first["next_cursor"]}).json()
    assert [document["source"] for page in (first, second) for document in page["documents"]] == [
        "0.txt", "2.txt", "4.txt",
    ]  # fmt: skip
    assert second["next_cursor"] is None


@pytest.mark.parametrize("name", ["", "No", "a b", "-a", "../etc", "a" * 65, "ä"])
def test_names_that_no_collection_has(client: TestClient, name: str) -> None:
    wrong = (422, "request_invalid")
    assert refusal(client.get("/v1/documents", params={"collection": name})) == wrong
    body = {"source": "a.txt", "text": "The harbour.", "collection": name}
    assert refusal(client.post("/v1/documents", json=body)) == wrong
    files = {"file": ("a.txt", b"The harbour.")}
    assert refusal(client.post("/v1/documents", files=files, data={"collection": name})) == wrong
    assert refusal(client.post("/v1/ask", json={"question": "harbour", "collection": name})) == wrong
    deletion = {"filters": {"source": "a.txt"}, "collection": name}
    assert refusal(client.post("/v1/documents/delete", json=deletion)) == wrong
    assert sources(client) == []


# ---- removing ------------------------------------------------------------------------------------------------


def test_all_that_match_are_removed(client: TestClient) -> None:
    for year in (1900, 1950, 2000):
        add(client, f"{year}.txt", f"The tower in {year}.", metadata={"year": year})
    generation = add(client, "1900.txt", "The tower.", metadata={"year": 1900}, collection="second")["generation"]
    response = client.post("/v1/documents/delete", json={"filters": {"metadata.year": [1900, 1950]}})
    assert (response.status_code, response.json()) == (200, {"deleted": 2, "generation": generation + 1})
    assert sources(client, collection="default") == ["2000.txt"]
    assert sources(client, collection="second") == ["1900.txt"]
    assert found(client, "tower") == ["2000.txt"]
    again = client.post("/v1/documents/delete", json={"filters": {"metadata.year": [1900, 1950]}})
    assert again.json() == {"deleted": 0, "generation": generation + 1}
    body = {"filters": {"metadata.year": 1900}, "collection": "second"}
    assert client.post("/v1/documents/delete", json=body).json()["deleted"] == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "request_invalid"),
        ({"filters": {}}, "request_invalid"),
        ({"filters": None}, "request_invalid"),
        ({"filters": []}, "request_invalid"),
        ({"filters": {"source": {"not": "a.txt"}}}, "filter_invalid"),
        ({"filters": {"source": "a.txt"}, "all": True}, "request_invalid"),
        ({"filters": {"source": []}}, "filter_invalid"),
        ({"filters": {"writer": "x"}}, "filter_invalid"),
        ({"filters": {"metadata.": "x"}}, "filter_invalid"),
        ({"filters": {"source": "a.txt", "x' OR 1=1 --": "x"}}, "filter_invalid"),
    ],
)
def test_removals_that_cannot_be_understood_remove_nothing(client: TestClient, body: object, expected: str) -> None:
    add(client, "a.txt", "The harbour.")
    assert refusal(client.post("/v1/documents/delete", json=body)) == (422, expected)
    assert sources(client) == ["a.txt"]


# ---- the past ------------------------------------------------------------------------------------------------


def test_the_past_can_be_asked(client: TestClient) -> None:
    before = add(client, "bridge.txt", "The bridge closes in October.")["generation"]
    add(client, "bridge.txt", "The tunnel opens in May.")
    now = add(client, "windmill.txt", "A windmill turns.")["generation"]
    body = {"question": "when does the bridge close?", "as_of": before}
    answer = client.post("/v1/ask", json=body).json()
    assert answer["generation"] == before
    assert [citation["quote"] for citation in answer["citations"]] == ["The bridge closes in October."]
    receipt = answer["citations"][0]["receipt"]
    assert receipt["generation"] == before
    assert client.post("/v1/citations/verify", json=receipt).json()["status"] == "changed", "it says what is now"
    past = client.post("/v1/search", json={"query": "windmill", "as_of": before}).json()
    assert (past["generation"], [passage["source"] for passage in past["passages"]]) == (before, ["bridge.txt"])
    assert found(client, "windmill", as_of=now)[0] == found(client, "windmill")[0] == "windmill.txt"
    assert found(client, "windmill", as_of=None)[0] == "windmill.txt"
    assert found(client, "windmill", as_of=0) == [], "before anything was there"


def test_a_past_that_is_not_kept(client: TestClient) -> None:
    newest = [add(client, "bridge.txt", f"The bridge is number {number}.")["generation"] for number in range(7)][-1]
    for as_of in (0, newest - 4, newest + 1, 2**53 - 1):
        for path, question in (("ask", "question"), ("search", "query")):
            response = client.post(f"/v1/{path}", json={question: "bridge", "as_of": as_of})
            assert refusal(response) == (410, "generation_not_kept"), as_of
            assert f"Generations {newest - 3} to {newest} are kept" in response.json()["error"]["message"]
    assert found(client, "bridge", as_of=newest - 3) == ["bridge.txt"]


@pytest.mark.parametrize("as_of", [-1, 2**53, 1.5, "1", True, [1], {"a": 1}])
def test_a_past_that_makes_no_sense(client: TestClient, as_of: object) -> None:
    add(client, "bridge.txt", "The bridge.")
    for path, question in (("ask", "question"), ("search", "query")):
        response = client.post(f"/v1/{path}", json={question: "bridge", "as_of": as_of})
        assert refusal(response) == (422, "request_invalid")


# ---- a full disk ---------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_writing_and_nothing_else(
    client: TestClient, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = add(client, "bridge.txt", "The bridge closes in October.")["documents"][0]
    address = f"/v1/documents/{document['id']}"
    assert figure(client, "read_only") == 0
    disk.full = True
    full = (507, "storage_full")
    assert refusal(client.post("/v1/documents", json={"source": "a.txt", "text": "The windmill."})) == full
    assert refusal(client.post("/v1/documents", files={"file": ("a.txt", b"The windmill.")})) == full
    assert refusal(client.post("/v1/documents/delete", json={"filters": {"source": "bridge.txt"}})) == full
    assert refusal(client.delete(address)) == full
    assert sources(client) == ["bridge.txt"]
    assert client.get(address).json()["sha256"] == document["sha256"]
    assert client.get(f"{address}/text").text == "The bridge closes in October."
    assert found(client, "windmill") == ["bridge.txt"]
    answer = client.post("/v1/ask", json={"question": "when does the bridge close?"}).json()
    assert client.post("/v1/citations/verify", json=answer["citations"][0]["receipt"]).json()["status"] == "valid"
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 200)
    assert (figure(client, "read_only"), figure(client, "documents")) == (1, 1)
    disk.full = False
    monkeypatch.setattr("index.catalogue_file._PROBE_SECONDS", 0.0)
    assert add(client, "a.txt", "The windmill.")["documents"][0]["status"] == "added"
    assert (figure(client, "read_only"), figure(client, "documents")) == (0, 2)
    assert client.delete(address).status_code == 204
    assert found(client, "windmill") == ["a.txt"]


def test_unchanged_documents_are_no_writing(client: TestClient, disk: Disk) -> None:
    add(client, "bridge.txt", "The bridge closes in October.")
    disk.full = True
    assert add(client, "bridge.txt", "The bridge closes in October.")["documents"][0]["status"] == "unchanged"


# ---- monitoring ----------------------------------------------------------------------------------------------


def test_monitoring_follows_what_happens(client: TestClient, library: Library) -> None:
    assert (figure(client, "generation"), figure(client, "documents")) == (0, 0)
    add(client, "a.txt", "The bridge.")
    add(client, "b.txt", "The windmill.")
    assert (figure(client, "generation"), figure(client, "documents"), figure(client, "passages")) == (2, 2, 2)
    assert figure(client, "index_unsettled_passages") == 2
    library.compact(force=True)
    assert (figure(client, "index_unsettled_passages"), figure(client, "index_layers")) == (0, 1)
    client.post("/v1/documents/delete", json={"filters": {"source": "a.txt"}})
    assert (figure(client, "documents"), figure(client, "index_unsettled_passages")) == (1, 1)


def test_monitoring_does_not_wait_for_questions(client: TestClient, library: Library) -> None:
    """Questions wait for one another when there are many; what watches the service must not wait with them."""
    state = AppState(library, AnswerPolicy(min_confidence=0.0), computing=Computing(threading.Semaphore(1)))
    add(client, "a.txt", "The bridge.")
    with TestClient(build_app(state), base_url="http://localhost") as busy, state.computing.gate:
        assert busy.get("/metrics").status_code == 200
        assert busy.get("/readyz").status_code == 200
        assert busy.get("/v1/documents").status_code == 200
