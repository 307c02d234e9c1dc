"""Answers in parts as server-sent events, and several questions with one call."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from index import Library, document_from_text
from service import schemas
from service.access import Scope
from service.answer import AnswerPolicy
from service.app import build_app
from service.guard import Admission
from service.keys import KeyRing
from service.refusals import ProtocolError
from service.routes import BATCH_AT_ONCE, AppState
from service.turns import Turns
from tests.browser.chromium import serving
from tests.writer.told import Endpoint, writer_for

QUESTION = "How much does the repair of the bridge cost?"
GOOD = "Its repair costs four million euros. [1]\n"
FALSE = "Its repair costs nine million euros. [1]\n"
EVENTS = {"Accept": "text/event-stream"}


def app_of(library: Library, **more: Any) -> Any:
    return build_app(AppState(library, **{"policy": AnswerPolicy(min_confidence=0.0), **more}))


def client_of(library: Library, **more: Any) -> TestClient:
    return TestClient(app_of(library, **more), base_url="http://localhost", raise_server_exceptions=False)


def parsed(text: str) -> list[tuple[str, Any]]:
    """Return the events of a stream, comments left out."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            event, data = lines
            found.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def without_times(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "timings_ms"}


def ask(client: TestClient, **more: Any) -> list[tuple[str, Any]]:
    response = client.post("/v1/ask", json={"question": QUESTION, **more}, headers=EVENTS)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return parsed(response.text)


# ---- in parts ----------------------------------------------------------------------------------------------------


def test_the_quotes_come_first_and_the_whole_at_last(library: Library) -> None:
    with client_of(library) as client:
        (first, answer), (last, done) = ask(client)
        plain = client.post("/v1/ask", json={"question": QUESTION}).json()
    assert (first, last) == ("answer", "done")
    assert without_times(done) == without_times(plain) == without_times(answer)
    schemas.AskResponse.model_validate(done)


def test_written_sentences_come_one_by_one_before_the_model_has_ended(library: Library) -> None:
    endpoint = Endpoint([GOOD, FALSE, "The old bridge closes in October. [1]\n"])
    endpoint.go.clear()
    seen = ""
    with (
        serving(app_of(library, writer=writer_for(endpoint))) as address,
        httpx.stream("POST", f"{address}/v1/ask", json={"question": QUESTION}, headers=EVENTS) as response,
    ):
        for text in response.iter_text():
            seen += text
            if "event: sentence" in seen and not endpoint.go.is_set():
                assert not endpoint.ended.is_set()
                endpoint.go.set()
    names = [name for name, _ in parsed(seen)]
    assert names == ["answer", "sentence", "sentence", "done"]
    (_, answer), (_, one), (_, two), (_, done) = parsed(seen)
    assert (answer["answer_kind"], done["answer_kind"]) == ("extractive", "written")
    assert done["written"]["sentences"] == [one, two] and done["written"]["withheld"] == 1


def problems(events: Sequence[tuple[str, Any]]) -> list[str]:
    """Return what a stream should not be."""
    names = [name for name, _ in events]
    found = [] if names[-1] in ("done", "error") else ["no end"]
    if sum(name in ("done", "error") for name in names) > 1:
        found.append("several ends")
    if names[0] != "answer" or names.count("answer") != 1:
        found.append("the quotes are not first")
    return found + ["false" for name, data in events if name == "sentence" and "nine" in data["text"]]


def test_nothing_unchecked_comes_and_every_stream_ends_once(library: Library) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(10):
        sentences = chance.choices([GOOD, FALSE, "Nobody knows.\n"], k=4)
        with client_of(library, writer=writer_for(Endpoint(sentences))) as client:
            assert problems(ask(client)) == [], f"seed {seed}: {sentences}"
    with client_of(library, writer=writer_for(Endpoint([GOOD, FALSE]), checks=())) as client:
        assert problems(ask(client)) == ["false"], "the null control"


def test_what_is_refused_before_the_first_event_has_its_status(library: Library) -> None:
    with client_of(library) as client:
        for body, status, code in (
            ({"question": "?"}, 422, "question_empty"),
            ({"question": QUESTION, "as_of": 99}, 410, "generation_not_kept"),
            ({"question": QUESTION, "topk": 3}, 422, "request_invalid"),
        ):
            response = client.post("/v1/ask", json=body, headers=EVENTS)
            assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        for accept in ("*/*", "application/json", "text/event-streams", ""):
            response = client.post("/v1/ask", json={"question": QUESTION}, headers={"Accept": accept})
            assert response.headers["content-type"] == "application/json"
        several = {"Accept": "application/json;q=0.1, Text/Event-Stream; q=1"}
        assert parsed(client.post("/v1/ask", json={"question": QUESTION}, headers=several).text)[-1][0] == "done"


def test_what_breaks_on_the_way_ends_with_an_error(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Iterator[Any]:
        raise RuntimeError("a secret of the inside")
        yield

    writer = writer_for(Endpoint([GOOD]))
    monkeypatch.setattr(writer, "follow", broken)
    with client_of(library, writer=writer) as client:
        events = ask(client)
        assert problems(events) == []
        assert (events[-1][0], events[-1][1]["error"]["code"]) == ("error", "internal_error")
        assert "secret" not in json.dumps(events)


def outcomes_after_leaving(library: Library) -> dict[str, int]:
    endpoint = Endpoint([GOOD, "The old bridge closes in October. [1]\n", *[FALSE] * 5])
    endpoint.go.clear()
    writer, turns = writer_for(endpoint), Turns("question", 2, 2, 10)
    with serving(app_of(library, writer=writer, questions=turns)) as address:
        with httpx.stream("POST", f"{address}/v1/ask", json={"question": QUESTION}, headers=EVENTS) as response:
            seen = ""
            for text in response.iter_text():
                seen += text
                if "event: sentence" in seen:
                    break
        time.sleep(0.3)
        endpoint.go.set()
        assert endpoint.ended.wait(5)
        deadline = time.monotonic() + 5
        while turns.line.running and time.monotonic() < deadline:
            time.sleep(0.02)
        assert turns.line.running == 0
    return writer.tally().outcomes


def test_whoever_leaves_ends_the_work(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes_after_leaving(library) == {"abandoned": 1}
    monkeypatch.setattr("service.turns.Following.leave", lambda self: None)
    assert outcomes_after_leaving(library) == {"written": 1}, "the null control"


def test_a_slow_reader_holds_no_turn() -> None:
    async def scenario() -> None:
        turns = Turns("test", 1, 0, 1)
        following = await turns.follow(lambda: (number for number in range(1000)))
        while turns.line.running:  # nobody has read anything yet
            await asyncio.sleep(0.01)
        assert await turns.run(lambda: "next") == "next"
        assert [item and item[0] async for item in following.items(1)] == list(range(1000))

        def fails() -> Generator[int]:
            yield 1
            raise ZeroDivisionError

        def slow() -> Generator[int]:
            time.sleep(0.2)
            yield 1

        failing = (await turns.follow(fails)).items(1)
        assert await anext(failing) == (1,)
        with pytest.raises(ZeroDivisionError):
            await anext(failing)
        with pytest.raises(ProtocolError, match="overloaded"):
            await asyncio.gather(*(turns.follow(slow) for _ in range(2)))
        turns.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


# ---- several questions -------------------------------------------------------------------------------------------


def batch(client: TestClient, *questions: dict[str, Any], **more: Any) -> list[Any]:
    response = client.post("/v1/ask/batch", json={"questions": list(questions)}, **more)
    assert response.status_code == 200, response.text
    schemas.BatchResponse.model_validate(response.json())
    answers: list[Any] = response.json()["answers"]
    return answers


def test_answers_come_in_the_order_of_the_questions(library: Library) -> None:
    asked = [
        {"question": f"{word}?", "top_k": 1 + number % 3} for number, word in enumerate("bridge ferry".split() * 20)
    ]
    with client_of(library) as client:
        answers = batch(client, *asked)
        alone = [client.post("/v1/ask", json=each).json() for each in asked[:4]]
    assert [answer["question"] for answer in answers] == [each["question"] for each in asked]
    assert [without_times(answer) for answer in answers[:4]] == [without_times(answer) for answer in alone]


def test_what_refuses_one_leaves_the_others_alone(library: Library, tmp_path: Path) -> None:
    library.add([document_from_text("a.txt", "The secret bridge closes in May.")], "secret")
    ring = KeyRing(tmp_path / "data")
    headers = {"Authorization": f"Bearer {ring.create('x', Scope.READ, ['default'])[1]}"}
    with client_of(library, admission=Admission(ring)) as client:
        answers = batch(
            client,
            {"question": QUESTION},
            {"question": "bridge?", "collection": "secret"},
            {"question": "bridge?", "collection": "never"},
            {"question": "!"},
            {"question": QUESTION, "as_of": 99},
            {"question": QUESTION},
            headers=headers,
        )
    codes = [each.get("error", {}).get("code", "answered") for each in answers]
    assert codes == [
        "answered", "collection_forbidden", "collection_forbidden", "question_empty", "generation_not_kept",
        "answered",
    ]  # fmt: skip
    assert answers[1] == answers[2] and "May" not in json.dumps(answers)


def test_a_batch_has_bounds(library: Library) -> None:
    with client_of(library) as client:
        for questions, status in (([], 422), ([{"question": "x"}] * 64, 200), ([{"question": "x"}] * 65, 422)):
            assert client.post("/v1/ask/batch", json={"questions": questions}).status_code == status
        misspelt = client.post("/v1/ask/batch", json={"questions": [{"question": "x"}, {"query": "x"}]})
        assert misspelt.status_code == 422 and "questions.1" in misspelt.json()["error"]["message"]
        assert client.post("/v1/ask/batch", content=b"[" + b" " * 2**20).status_code == 413


def most_in_line(library: Library, monkeypatch: pytest.MonkeyPatch, at_once: int) -> int:
    monkeypatch.setattr("service.routes.BATCH_AT_ONCE", at_once)
    turns = Turns("question", 1, 64, 10)
    most, real = 0, Turns.run

    async def run(self: Turns, work: Callable[[], Any], gone: Any = None) -> Any:
        nonlocal most

        def watched() -> Any:
            nonlocal most
            time.sleep(0.01)
            most = max(most, turns.line.running + turns.line.waiting)
            return work()

        return await real(self, watched, gone)

    monkeypatch.setattr(Turns, "run", run)
    with client_of(library, questions=turns) as client:
        batch(client, *[{"question": "bridge?"}] * 12)
    monkeypatch.setattr(Turns, "run", real)
    return most


def test_a_batch_leaves_room_in_the_line(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_in_line(library, monkeypatch, BATCH_AT_ONCE) == BATCH_AT_ONCE
    assert most_in_line(library, monkeypatch, 100) > BATCH_AT_ONCE, "the null control"


def test_questions_that_find_the_line_full_are_refused_alone(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count, lock = Turns.run, 0, threading.Lock()

    async def run(self: Turns, work: Callable[[], Any], gone: Any = None) -> Any:
        nonlocal count
        with lock:
            count += 1
            if count == 2:
                raise self.refuse()
        return await real(self, work, gone)

    monkeypatch.setattr(Turns, "run", run)
    with client_of(library) as client:
        answers = batch(client, *[{"question": "bridge?"}] * 4)
    assert [each.get("error", {}).get("code") for each in answers] == [None, "overloaded", None, None]
