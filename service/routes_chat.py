"""The HTTP calls that programs written for OpenAI's chat completions make."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from typing import Any

from fastapi import APIRouter, Request, Response

from index import DEFAULT_COLLECTION
from index.encoder import Encoder
from service import chat
from service.answer import Answer
from service.asking import Step
from service.events import EventStream, frame
from service.guard import CALLER
from service.outcome import WrittenSentence
from service.reach import Question, Reach
from service.refusals import ProtocolError, openai_error
from service.routes import AppState
from service.routes_strict import StrictRoute
from service.schemas import ask_response

CHAT_BYTES = 2**20
"""A chat is sent whole with every question."""

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": chat.ChatErrorBody, "description": description}
    for status, description in (
        (401, "No key, or a wrong one"),
        (403, "Not with this key, or not from this origin"),
        (404, "No such model"),
        (413, "Too large"),
        (421, "Not a name of this service"),
        (422, "Not usable"),
        (429, "Too many requests"),
        (503, "Not ready"),
    )
}

_STREAM_EXAMPLE = 'data: {"object": "chat.completion.chunk", ...}\n\ndata: [DONE]\n\n'

router = APIRouter(tags=["chat"], route_class=StrictRoute)


def _state(request: Request) -> AppState:
    state: AppState = request.app.state.fundstelle
    return state


def _reach(request: Request) -> Reach:
    state = _state(request)
    return Reach(state.library, request.scope[CALLER], state.computing)


@router.get("/v1/models", summary="What can be asked, as models", responses=_REFUSALS)
async def list_models(request: Request) -> chat.ModelList:
    """List what the caller can ask: the default collection as "fundstelle", the others by their names."""
    reach = _reach(request)
    collections = await _state(request).reads.run(reach.collections)
    return chat.model_list(collections, default=reach.reaches(DEFAULT_COLLECTION))


@router.post(
    "/v1/chat/completions",
    operation_id="complete_chat",
    summary="Answer the last question of a chat",
    response_model=chat.ChatResponse,
    responses=_REFUSALS | {200: {"content": {"text/event-stream": {"example": _STREAM_EXAMPLE}}}},
    max_body_size=CHAT_BYTES,
)
async def complete(request: Request, body: chat.ChatRequest) -> Response | chat.ChatResponse:
    """Answer the last question of a chat with cited evidence."""
    state, reach = _state(request), _reach(request)
    text, previous = chat.asked(body)
    collection = chat.collection_of(body.model)
    if collection is None or not reach.reaches(collection):
        raise ProtocolError("model_not_found", param="model")
    question = Question(text, collection, previous=previous)
    completion, encoder = chat.Completion(body.model), state.library.encoder

    def expect_model() -> None:
        if collection != DEFAULT_COLLECTION and collection not in reach.collections():
            raise ProtocolError("model_not_found", param="model")

    if not body.stream:

        def work() -> chat.ChatResponse:
            expect_model()
            return completion.whole(state.asking.outcome(reach, question), encoder)

        return await state.questions.run(work, request.is_disconnected)

    counted = bool(body.stream_options and body.stream_options.include_usage)

    def parts() -> Generator[str]:
        expect_model()
        yield from _parts(state.asking.steps(reach, question), completion, encoder if counted else None)

    return EventStream(await state.questions.follow(parts, request.is_disconnected), _broken)


def _parts(steps: Generator[Step], completion: chat.Completion, encoder: Encoder | None) -> Generator[str]:
    """Yield a completion in parts; with an ``encoder``, the tokens are counted as well."""
    pieces = chat.Pieces()
    with closing(steps):
        for step in steps:
            if isinstance(step, Answer):
                yield _frame(completion.chunk({"role": "assistant", "content": ""}))
            elif isinstance(step, WrittenSentence):
                yield _frame(completion.chunk({"content": pieces.sentence(step)}))
            else:
                for piece in pieces.rest(step):
                    yield _frame(completion.chunk({"content": piece}))
                shown = ask_response(step.answer, step.written).model_dump(mode="json")
                yield _frame(completion.chunk({}, fundstelle=shown))
                if encoder is not None:
                    yield _frame(completion.usage_chunk(chat.usage(encoder, step.answer.searched, pieces.text)))
    yield frame("[DONE]")


def _broken(status: int, detail: tuple[str, str, str]) -> str:
    return _frame(openai_error(status, detail))


def _frame(part: dict[str, Any]) -> str:
    return frame(json.dumps(part, ensure_ascii=False, separators=(",", ":")))
