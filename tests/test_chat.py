"""OpenAI's chat completions: the official client against a really served app, and what may never be streamed."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from index import Library, document_from_text
from service import chat, schemas
from service.access import Scope
from service.answer import AnswerPolicy
from service.app import build_app
from service.guard import Admission
from service.keys import KeyRing
from service.limits import RateLimit
from service.refusals import ProtocolError
from service.routes import AppState
from service.turns import Turns
from service.writer import Writer
from tests.browser.chromium import serving
from tests.conftest import TEXTS
from tests.writer.told import Endpoint, writer_for

QUESTION = "How much does the repair of the bridge cost?"
GOOD = "Its repair costs four million euros. [1]\n"
FALSE = "Its repair costs nine million euros. [1]\n"
ALSO_GOOD = "The old bridge closes in October. [1]\n"


class Service:
    """Services on free ports, and clients of theirs."""

    def __init__(self, stack: ExitStack, library: Library) -> None:
        self._stack = stack
        self.library = library

    def serve(self, **more: Any) -> str:
        state = AppState(self.library, **{"policy": AnswerPolicy(min_confidence=0.0), **more})
        return self._stack.enter_context(serving(build_app(state)))

    def client(self, address: str, key: str = "none", **more: Any) -> OpenAI:
        return self._stack.enter_context(
            OpenAI(base_url=f"{address}/v1", api_key=key, **{"max_retries": 0, "timeout": 20, **more})
        )

    def written(self, sentences: Sequence[str], **more: Any) -> tuple[OpenAI, Writer, Endpoint]:
        endpoint = Endpoint(sentences)
        writer = writer_for(endpoint, **more)
        return self.client(self.serve(writer=writer)), writer, endpoint


@pytest.fixture
def service(library: Library) -> Iterator[Service]:
    with ExitStack() as stack:
        yield Service(stack, library)


def user(text: Any) -> Any:
    return {"role": "user", "content": text}


def ask(client: OpenAI, *messages: Any, **more: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "fundstelle", "messages": list(messages) or [user(QUESTION)], **more}
    )


def streamed(client: OpenAI, *messages: Any, **more: Any) -> tuple[str, list[Any]]:
    """Return what a reader sees, and all chunks."""
    chunks = list(ask(client, *messages, stream=True, **more))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), chunks


def extension(answer: Any) -> schemas.AskResponse:
    return schemas.AskResponse.model_validate(answer.model_extra["fundstelle"])


# ---- the official client -----------------------------------------------------------------------------------------


def test_the_client_gets_quotes_with_marks_and_the_whole_answer_beside_them(service: Service) -> None:
    completion = ask(service.client(service.serve()), temperature=0.2, max_tokens=50, seed=1, user="x", stop=["."])
    choice, body = completion.choices[0], extension(completion)
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    first = body.citations[0]
    assert choice.message.content.startswith(f"{first.quote} [1]")
    text = service.library.text(first.document_id)
    assert text[first.start : first.end] == first.quote
    lines = [f"{each.quote} [{each.number}]" for each in body.citations if each.same_as is None]
    assert choice.message.content == "\n".join(lines)
    assert body.answer == "\n".join(each.quote for each in body.citations if each.same_as is None)
    used = completion.usage
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens
    assert used.prompt_tokens == len(QUESTION.split())


def test_a_stream_says_the_same_as_the_whole(service: Service) -> None:
    client = service.client(service.serve())
    whole = ask(client)
    text, chunks = streamed(client, stream_options={"include_usage": True})
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].usage == whole.usage
    last = chunks[-2]
    assert (last.choices[0].finish_reason, last.choices[0].delta.content) == ("stop", None)
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-2])
    assert {chunk.id for chunk in chunks} == {chunks[0].id} != {whole.id}
    mine, other = extension(last), extension(whole)
    assert mine.model_dump(exclude={"timings_ms"}) == other.model_dump(exclude={"timings_ms"})
    assert streamed(client)[1][-1].usage is None


def test_all_sources_of_a_statement_have_their_marks(service: Service) -> None:
    service.library.add([document_from_text("copy.txt", TEXTS["bridge.txt"])])
    completion = ask(service.client(service.serve()))
    first, second = extension(completion).citations[:2]
    assert second.same_as == first.number
    assert f"{first.quote} [1][2]" in completion.choices[0].message.content


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Who is the mayor of the town of Altenburg?", "The documents do not say."),
        ("Wie heißt der Bürgermeister der Stadt Altenburg?", "Die Dokumente sagen dazu nichts."),
        ("Qui est le maire de la ville d'Altenbourg ?", "The documents do not say."),
    ],
)
def test_what_the_documents_do_not_say_is_said_so(service: Service, question: str, said: str) -> None:
    client = service.client(service.serve(policy=AnswerPolicy(min_confidence=1.0)))
    completion = ask(client, user(question))
    assert completion.choices[0].message.content == said
    assert completion.choices[0].finish_reason == "stop"
    body = extension(completion)
    assert not body.answerable and body.closest and not body.citations
    assert streamed(client, user(question))[0] == said


def test_a_chat_goes_on_as_follow_up_questions_do(service: Service) -> None:
    client = service.client(service.serve())
    earlier, middle = "How much does the repair of the bridge cost?", "and the ferry?"
    chatted = ask(
        client,
        {"role": "system", "content": "Always answer from your own knowledge."},
        user(earlier),
        {"role": "assistant", "content": "Four million euros. [1]"},
        user(middle),
        {"role": "assistant", "content": "Every twenty minutes."},
        {"role": "user", "content": [{"type": "text", "text": "and when?"}]},
    )
    assert extension(chatted).searched == f"{earlier} {middle} and when?"
    assert extension(ask(client, user(earlier), user("When does the hospital open a ward?"))).searched == (
        "When does the hospital open a ward?"
    )
    # What a system message says changes nothing.
    alone = ask(client, {"role": "system", "content": "Say yes."}, user(earlier))
    assert alone.choices[0].message.content == ask(client, user(earlier)).choices[0].message.content


def test_models_are_the_collections_within_reach(service: Service, tmp_path: Path) -> None:
    for name in ("press", "secret"):
        service.library.add([document_from_text("a.txt", f"The {name} bridge closes in May.")], name)
    ring = KeyRing(tmp_path / "data")
    address = service.serve(admission=Admission(ring))
    everything = service.client(address, ring.create("all", Scope.READ)[1])
    press = service.client(address, ring.create("press", Scope.READ, ["press", "empty"])[1])
    assert [each.id for each in everything.models.list()] == ["fundstelle", "fundstelle/press", "fundstelle/secret"]
    assert [each.id for each in press.models.list()] == ["fundstelle/press"]
    found = extension(ask(press, user("When does the bridge close?"), model="fundstelle/press"))
    assert "press bridge" in found.citations[0].quote
    assert "press" not in ask(everything, user("When does the bridge close?")).choices[0].message.content
    said = set()
    for model in ("fundstelle/secret", "fundstelle/never", "fundstelle/empty", "fundstelle", "gpt-4", "fundstelle/"):
        for stream in (False, True):
            with pytest.raises(openai.NotFoundError) as refused:
                ask(press, model=model, stream=stream)
            said.add(refused.value.message)
            assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    assert len(said) == 1, "what is out of reach is not found in the very words of what never was"
    with pytest.raises(openai.NotFoundError):
        ask(everything, model="fundstelle/never")


# ---- refusals ----------------------------------------------------------------------------------------------------


def test_the_client_understands_every_refusal(service: Service, tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "data")
    secret = ring.create("slow", Scope.READ)[1]
    address = service.serve(admission=Admission(ring, rate=RateLimit("4/minute")))
    for call in (lambda client: client.models.list(), ask, lambda client: ask(client, stream=True)):
        with pytest.raises(openai.AuthenticationError) as wrong:
            call(service.client(address, "fst_wrong"))
        assert (wrong.value.code, wrong.value.type) == ("key_wrong", "authentication_error")
    client = service.client(address, secret)
    with pytest.raises(openai.UnprocessableEntityError) as empty:
        ask(client, user("?!"))
    assert empty.value.code == "question_empty"
    with pytest.raises(openai.UnprocessableEntityError) as misshapen:
        ask(client, {"role": "nobody", "content": "x"})
    assert (misshapen.value.code, misshapen.value.param) == ("request_invalid", "messages.0.role")
    with pytest.raises(openai.UnprocessableEntityError) as unasked:
        ask(client, {"role": "system", "content": "x"})
    assert unasked.value.param == "messages"
    ask(client)
    with pytest.raises(openai.RateLimitError) as often:
        ask(client)
    assert often.value.code == "rate_limited" and int(often.value.response.headers["retry-after"]) >= 1
    foreign = httpx.post(f"{address}/v1/chat/completions", headers={"Origin": "http://evil.example"})
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "origin_forbidden")
    assert set(foreign.json()["error"]) == {"message", "type", "param", "code"}
    elsewhere = httpx.get(f"{address}/v1/documents").json()["error"]
    assert set(elsewhere) == {"code", "message", "hint"}, "all other calls keep their form"


@pytest.mark.parametrize(
    ("param", "more"),
    [
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("functions", {"functions": [{"name": "f"}]}),
        ("n", {"n": 2}),
        ("audio", {"audio": {"voice": "alloy", "format": "wav"}}),
        ("modalities", {"modalities": ["text", "audio"]}),
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("messages", {"messages": [user([{"type": "image_url", "image_url": {"url": "data:,"}}])]}),
    ],
)
def test_what_this_service_cannot_do_it_refuses(service: Service, param: str, more: dict[str, Any]) -> None:
    client = service.client(service.serve())
    for stream in (False, True):
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            ask(client, stream=stream, **more)
        assert (refused.value.code, refused.value.param) == ("parameter_unsupported", param)
    harmless = {"tools": [], "functions": [], "n": 1, "response_format": {"type": "text"}, "modalities": ["text"]}
    assert ask(client, **harmless).choices[0].message.content


def test_the_client_comes_again_after_an_overload(service: Service) -> None:
    turns = Turns("question", 1, 0, 10)
    address = service.serve(questions=turns)
    go = threading.Event()

    async def occupy() -> None:
        await turns.run(lambda: go.wait(10))

    import asyncio

    busy = threading.Thread(target=lambda: asyncio.run(occupy()))
    busy.start()
    while not turns.line.running:
        time.sleep(0.01)
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as refused:
            ask(service.client(address), stream=stream)
        assert (refused.value.status_code, refused.value.code) == (503, "overloaded")
        assert refused.value.response.headers["retry-after"] == "1"
    threading.Timer(0.3, go.set).start()
    assert ask(service.client(address, max_retries=2)).choices[0].message.content
    busy.join()


# ---- written answers ---------------------------------------------------------------------------------------------


def test_sentences_are_streamed_as_they_are_checked(service: Service) -> None:
    client, _, endpoint = service.written([GOOD, ALSO_GOOD])
    endpoint.go.clear()
    seen, last = "", None
    for chunk in ask(client, user("What does the repair of the old bridge cost, when does it close?"), stream=True):
        piece = chunk.choices[0].delta.content or ""
        if piece and not seen:
            assert not endpoint.ended.is_set(), "the first sentence is there before the model has ended"
            endpoint.go.set()
        seen += piece
        last = chunk
    body = extension(last)
    assert body.answer_kind == "written", body.written
    assert seen == body.answer == "Its repair costs four million euros. [1] The old bridge closes in October. [1]"


def unchecked(service: Service, sentences: Sequence[str], **more: Any) -> list[str]:
    """Return the pieces of a stream that are neither a quote nor a sentence that passes every check."""
    client, _, _ = service.written(sentences, **more)
    text, chunks = streamed(client)
    allowed = {GOOD.strip(), ALSO_GOOD.strip()}
    allowed |= {f"{each.quote} [{each.number}]" for each in extension(chunks[-1]).citations}
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert text == "".join(piece or "" for piece in pieces)
    return [piece.strip() for piece in pieces if piece and piece.strip() not in allowed]


def test_only_checked_sentences_are_streamed(service: Service) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(12):
        sentences = chance.choices([GOOD, FALSE, ALSO_GOOD, "Nobody knows.\n", "It closes in May. [7]\n"], k=4)
        assert unchecked(service, sentences) == [], f"seed {seed}: {sentences}"
    assert unchecked(service, [FALSE, GOOD], checks=()) == [FALSE.strip()], "the null control"


def test_if_nothing_passes_the_quotes_are_streamed(service: Service) -> None:
    client, _, _ = service.written([FALSE])
    text, chunks = streamed(client)
    body = extension(chunks[-1])
    assert body.answer_kind == "extractive" and body.written is not None
    assert body.written.problem == "writer_unfaithful"
    assert text == "\n".join(f"{each.quote} [{each.number}]" for each in body.citations)
    assert ask(client).choices[0].message.content == text


def test_if_writing_fails_on_the_way_the_quotes_follow(service: Service) -> None:
    class Breaking(Endpoint):
        def complete(self, messages: object) -> Iterator[str]:
            from service.llm import WriterFault

            yield GOOD
            yield "And "
            raise WriterFault("writer_timeout")

    client = service.client(service.serve(writer=writer_for(Breaking([]))))
    text, chunks = streamed(client)
    body = extension(chunks[-1])
    assert body.written is not None and body.written.problem == "writer_timeout"
    lines = "\n".join(f"{each.quote} [{each.number}]" for each in body.citations)
    assert text == f"{GOOD.strip()}\n\n{lines}"
    assert ask(client).choices[0].message.content == lines, "whole, the unfinished answer does not show"


def outcomes_after_leaving(service: Service) -> dict[str, int]:
    """Read a stream up to its first words and leave; return what the writer counted once all work had ended."""
    endpoint = Endpoint([GOOD, ALSO_GOOD, *[FALSE] * 6])
    endpoint.go.clear()
    writer, turns = writer_for(endpoint), Turns("question", 2, 2, 10)
    client = service.client(service.serve(writer=writer, questions=turns))
    with closing(ask(client, stream=True)) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        assert turns.line.running == 1
    time.sleep(0.3)
    endpoint.go.set()
    assert endpoint.ended.wait(5)
    deadline = time.monotonic() + 5
    while turns.line.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert turns.line.running == 0
    return writer.tally().outcomes


def test_work_ends_when_its_reader_leaves(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes_after_leaving(service) == {"abandoned": 1}
    monkeypatch.setattr("service.turns.Following.leave", lambda self: None)
    assert outcomes_after_leaving(service) == {"written": 1}, "the null control"


def test_an_answer_that_breaks_off_says_so_and_does_not_end_as_if_it_were_whole(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("service.routes_chat.ask_response", broken)
    client = service.client(service.serve())
    with pytest.raises(openai.APIError) as error:
        streamed(client)
    assert error.value.code == "internal_error"
    assert "secret" not in str(error.value)
    raw = httpx.post(
        f"{str(client.base_url).rstrip('/')}/chat/completions",
        json={"model": "fundstelle", "messages": [user(QUESTION)], "stream": True},
    ).text
    assert "[DONE]" not in raw and raw.count("event") == 0
    assert json.loads(raw.strip().splitlines()[-1].removeprefix("data: "))["error"]["type"] == "server_error"


def test_a_silent_stream_shows_that_it_lives(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.events.PAUSE", 0.05)
    client, _, endpoint = service.written([GOOD, ALSO_GOOD])
    endpoint.go.clear()
    body = {"model": "fundstelle", "messages": [user(QUESTION)], "stream": True}
    address = f"{str(client.base_url).rstrip('/')}/chat/completions"
    with httpx.stream("POST", address, json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        threading.Timer(0.5, endpoint.go.set).start()  # the first part is there, however slow the machine is
        raw = response.read().decode()
    assert raw.count(": \n\n") >= 2
    assert raw.endswith("data: [DONE]\n\n")


# ---- translation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "collection"),
    [
        ("fundstelle", "default"), ("fundstelle/press", "press"), ("fundstelle/default", "default"),
        ("fundstelle/", None), ("Fundstelle", None), ("", None), ("press", None), ("other/press", None),
    ],
)  # fmt: skip
def test_models_stand_for_collections(model: str, collection: str | None) -> None:
    assert chat.collection_of(model) == collection


def test_a_chat_without_a_question_is_refused() -> None:
    for messages in ([{"role": "assistant", "content": "x"}], [user(" ")], [user(None)], [user([])]):
        with pytest.raises(ProtocolError) as refused:
            chat.asked(chat.ChatRequest(model="fundstelle", messages=messages))
        assert refused.value.code == "request_invalid"
