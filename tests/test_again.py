"""What is sent again: tags of documents, and changes with a key that are made once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from index import Library
from index.errors import StorageUnavailable
from service import schemas
from service.access import Scope
from service.answer import AnswerPolicy
from service.app import build_app
from service.guard import Admission
from service.idempotency import FILE, KEPT_SECONDS, Change, Replies, change_of
from service.keys import KeyRing
from service.refusals import ProtocolError
from service.routes import AppState
from service.tags import is_known, is_meant, tag_of

TEXT = "The bridge closes in October."


@pytest.fixture
def state(open_library: Callable[..., Library]) -> AppState:
    return AppState(open_library(), AnswerPolicy(min_confidence=0.0))


@pytest.fixture
def client(state: AppState) -> Iterator[TestClient]:
    with TestClient(build_app(state), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def add(client: TestClient, text: str = TEXT, key: str | None = None, **more: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/v1/documents", json={"source": "a.txt", "text": text, **more}, headers=headers)


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# ---- tags --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["", "/text", "/original"])
def test_a_reader_is_not_sent_what_they_have(client: TestClient, part: str) -> None:
    address = f"/v1/documents/{add(client).json()['documents'][0]['id']}{part}"
    first = client.get(address)
    tag = first.headers["etag"]
    assert tag == tag_of(first.content)
    for given in (tag, f'"other", W/{tag}', "*"):
        again = client.get(address, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for given in ('"other"', tag.strip('"'), f"{tag} {tag}", ""):
        assert client.get(address, headers={"If-None-Match": given}).status_code == 200
    add(client, "The bridge opens in May.")
    changed = client.get(address, headers={"If-None-Match": tag})
    assert changed.status_code == 200 and changed.headers["etag"] != tag


def test_the_tag_of_a_document_changes_with_all_it_shows(client: TestClient) -> None:
    document = add(client).json()["documents"][0]["id"]
    tags = set()
    for more in ({}, {"title": "Bridge"}, {"metadata": {"year": 2025}}, {"text": "It opens."}):
        client.post("/v1/documents", json={"source": "a.txt", "text": TEXT, **more})
        tags.add(client.get(f"/v1/documents/{document}").headers["etag"])
    assert len(tags) == 4


def test_only_the_document_that_was_meant_is_removed(client: TestClient, state: AppState) -> None:
    address = f"/v1/documents/{add(client).json()['documents'][0]['id']}"
    old = client.get(address).headers["etag"]
    add(client, "The bridge opens in May.")
    for given in (old, '"x"', "", f"W/{client.get(address).headers['etag']}"):
        assert code(client.delete(address, headers={"If-Match": given})) == (412, "precondition_failed")
        assert client.get(address).status_code == 200
    assert client.delete("/v1/documents/none", headers={"If-Match": old}).status_code == 404
    new = client.get(address).headers["etag"]
    assert client.delete(address, headers={"If-Match": f'"x", {new}'}).status_code == 204
    add(client)
    again = f"/v1/documents/{client.get('/v1/documents').json()['documents'][0]['id']}"
    assert client.delete(again, headers={"If-Match": "*"}).status_code == 204


@pytest.mark.parametrize("asked", [True, False])
def test_a_change_in_between_is_noticed(
    client: TestClient, state: AppState, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    address = f"/v1/documents/{add(client).json()['documents'][0]['id']}"
    headers = {"If-Match": client.get(address).headers["etag"]} if asked else {}
    real = Library.delete

    def late(self: Library, document_id: str, **more: Any) -> bool:
        add(client, "The bridge opens in May.")
        return real(self, document_id, **more)

    monkeypatch.setattr(Library, "delete", late)
    status = client.delete(address, headers=headers).status_code
    monkeypatch.setattr(Library, "delete", real)
    # Without the header, whatever is there by then is removed.
    assert (status, client.get(address).status_code) == ((412, 200) if asked else (204, 404))


def test_tags_are_compared_as_the_standard_says() -> None:
    assert is_known('"a"', 'W/"a"') and not is_meant('"a"', 'W/"a"')
    assert is_known('"a"', '"b" , "a"') and is_meant('"a"', '"b","a"')
    assert not is_known('"a"', None) and not is_known('"a"', '"a')
    assert not is_known('"a"', '"x""a"') and not is_meant('"a"', "a")


# ---- keys --------------------------------------------------------------------------------------------------------


def test_a_change_with_a_key_is_made_once(client: TestClient, state: AppState) -> None:
    first = add(client, key="k1")
    generation = state.library.generation
    again = add(client, key="k1")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    schemas.DocumentsAdded.model_validate(again.json())
    assert again.json()["documents"][0]["status"] == "added", "the answer of then"
    assert add(client).json()["documents"][0]["status"] == "unchanged", "the null control: without the key"
    assert state.library.generation == generation
    body = {"filters": {"source": "a.txt"}}
    removed = [client.post("/v1/documents/delete", json=body, headers={"Idempotency-Key": "k2"}) for _ in range(2)]
    assert [each.json()["deleted"] for each in removed] == [1, 1]
    assert client.post("/v1/documents/delete", json=body).json()["deleted"] == 0, "the null control"
    assert code(add(client, key="k1")) == (410, "idempotency_forgotten"), "what was removed since does not come back"
    assert client.get("/v1/documents").json()["total"] == 0


@pytest.mark.parametrize("way", ["one", "filter", "null control"])
def test_what_is_removed_is_forgotten_here_too(client: TestClient, state: AppState, way: str) -> None:
    body = {"source": "secret-name.txt", "text": "The old bridge closes.", "metadata": {"note": "secret-note"}}
    added = client.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}).json()["documents"][0]
    assert add(client, key="other").status_code == 201
    kept = state.library.folder / FILE
    assert b"secret-name" in kept.read_bytes()
    if way == "one":
        assert client.delete(f"/v1/documents/{added['id']}").status_code == 204
    elif way == "filter":
        client.post("/v1/documents/delete", json={"filters": {"metadata.note": "secret-note"}})
    else:
        state.library.delete(added["id"])
    assert (b"secret" in kept.read_bytes()) == (way == "null control")
    assert add(client, key="other").headers["idempotency-replayed"] == "true", "other answers stay"


def test_a_key_stands_for_one_change(client: TestClient) -> None:
    assert add(client, key="k").status_code == 201
    assert code(add(client, "Something else.", key="k")) == (409, "idempotency_conflict")
    body = {"filters": {"source": "a.txt"}}
    response = client.post("/v1/documents/delete", json=body, headers={"Idempotency-Key": "k"})
    assert code(response) == (409, "idempotency_conflict")
    assert client.get("/v1/documents").json()["total"] == 1
    assert add(client, "Something else.", key="K").status_code == 201


def test_an_upload_counts_by_its_files_not_by_its_form(client: TestClient) -> None:
    def upload(data: bytes, boundary: str, collection: str = "default") -> Any:
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Idempotency-Key": "u"}
        lines = [
            f"--{boundary}", 'Content-Disposition: form-data; name="collection"', "", collection,
            f"--{boundary}", 'Content-Disposition: form-data; name="file"; filename="b.txt"', "",
            data.decode(), f"--{boundary}--", "",
        ]  # fmt: skip
        return client.post("/v1/documents", content="\r\n".join(lines).encode(), headers=headers)

    first, again = upload(b"A ferry leaves.", "one"), upload(b"A ferry leaves.", "two")
    assert first.status_code == 201 and again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert code(upload(b"No ferry leaves.", "one")) == (409, "idempotency_conflict")
    assert code(upload(b"A ferry leaves.", "one", "other")) == (409, "idempotency_conflict")


def test_what_was_refused_may_be_tried_again(client: TestClient) -> None:
    assert add(client, "", key="k").status_code == 422
    assert add(client, key="k").status_code == 201


@pytest.mark.parametrize("key", ["", "é", "a\x7f", "x" * 256])
def test_a_key_is_printable_and_short(client: TestClient, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    response = client.post("/v1/documents", json={"source": "a.txt", "text": TEXT}, headers=headers)
    assert code(response) == (422, "request_invalid")
    assert client.get("/v1/documents").json()["total"] == 0


def test_keys_of_callers_have_nothing_to_do_with_one_another(
    open_library: Callable[..., Library], tmp_path: Path
) -> None:
    library = open_library()
    ring = KeyRing(tmp_path / "data")
    callers = [{"Authorization": f"Bearer {ring.create('x', Scope.WRITE, [name])[1]}"} for name in ("one", "two")]
    with TestClient(build_app(AppState(library, admission=Admission(ring))), base_url="http://localhost") as client:
        answers = []
        for headers, name in zip(callers, ("one", "two"), strict=True):
            body = {"source": "a.txt", "text": f"{TEXT} {name}", "collection": name}
            answers.append(client.post("/v1/documents", json=body, headers=headers | {"Idempotency-Key": "same"}))
        assert [each.status_code for each in answers] == [201, 201]
        assert answers[0].json()["documents"][0]["collection"] == "one"
        assert answers[1].json()["documents"][0]["collection"] == "two"


# ---- the file ----------------------------------------------------------------------------------------------------


def change(key: str, what: bytes = b"x") -> Change:
    return change_of("me", key, what)


def test_answers_outlive_the_process_and_then_a_day(tmp_path: Path) -> None:
    now = 1000.0
    made: list[str] = []

    def make(text: str) -> Callable[[], bytes]:
        def made_now() -> bytes:
            made.append(text)
            return text.encode()

        return made_now

    assert Replies(tmp_path, lambda: now).once(change("k"), make("first")) == (b"first", False)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    now += KEPT_SECONDS - 1
    assert Replies(tmp_path, lambda: now).once(change("k"), make("second")) == (b"first", True)
    now += 2
    assert Replies(tmp_path, lambda: now).once(change("k", b"y"), make("third")) == (b"third", False)
    assert made == ["first", "third"]
    Replies(tmp_path, lambda: now).once(change("other"), make("more"))
    assert b"first" not in (tmp_path / FILE).read_bytes(), "what is too old is erased"
    (tmp_path / FILE).unlink()
    assert Replies(tmp_path, lambda: now).once(change("k"), make("fourth")) == (b"fourth", False), "the null control"


def test_what_is_under_way_is_not_begun_again(tmp_path: Path) -> None:
    replies, begun, go = Replies(tmp_path), threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        assert go.wait(10)
        return b"done"

    thread = threading.Thread(target=replies.once, args=(change("k"), slow))
    thread.start()
    assert begun.wait(10)
    with pytest.raises(ProtocolError) as refused:
        replies.once(change("k"), lambda: b"again")
    assert (refused.value.code, refused.value.headers) == ("idempotency_in_progress", {"Retry-After": "1"})
    assert replies.once(change("other"), lambda: b"other") == (b"other", False)
    go.set()
    thread.join()
    assert replies.once(change("k"), lambda: b"again") == (b"done", True)

    def fails() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        replies.once(change("fails"), fails)
    assert replies.once(change("fails"), lambda: b"then") == (b"then", False)


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.idempotency.MOST", 3)
    monkeypatch.setattr("service.idempotency.MOST_BYTES", 100)
    now = 1000.0
    replies = Replies(tmp_path, lambda: now)

    def kept(keys: str) -> str:
        found = ""
        for key in keys:
            with replies._open() as connection:
                found += key if connection.execute("SELECT 1 FROM replies WHERE key = ?", (key,)).fetchone() else ""
        return found

    for key in "abcde":
        now += 1
        replies.once(change(key), lambda: b"x" * 10)
    assert kept("abcde") == "cde"
    now += 1
    replies.once(change("f"), lambda: b"x" * 85)
    assert kept("abcdef") == "ef"


def test_a_change_is_not_made_if_nobody_can_tell_whether_it_was(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b"done"

    with pytest.raises(StorageUnavailable):
        Replies(tmp_path).once(change("k"), make)
    assert made == []


def test_a_change_that_was_made_is_answered_even_if_the_answer_cannot_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replies = Replies(tmp_path)

    def make() -> bytes:
        (tmp_path / FILE).write_bytes(b"not a database" * 100)
        return b"done"

    assert replies.once(change("k"), make) == (b"done", False)
    assert "storage_failed" in caplog.text
