"""Questions in the form of OpenAI's chat completions: their bodies, and what a chat becomes here.

The last message of the user is the question. The ones before count as for any follow-up (:mod:`service.followup`).
What other messages say is not read: nobody can tell this service to answer from anything but documents.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from index import DEFAULT_COLLECTION
from index.encoder import Encoder
from index.language import detect_language
from service.answer import Answer
from service.asking import Outcome
from service.followup import searched_query
from service.outcome import WrittenSentence
from service.refusals import ProtocolError
from service.schemas import ANSWER_EXAMPLE, WHOLE, AskResponse, ask_response

MODEL = "fundstelle"
NOT_SAID = {"en": "The documents do not say.", "de": "Die Dokumente sagen dazu nichts."}
"""What is said when nothing answers, by the question's language; English for all others."""

_CHAT_EXAMPLE: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "what did Germany offer France?"}],
}


class ChatPart(BaseModel):
    """A part of a message."""

    type: StrictStr
    text: StrictStr | None = None


class ChatMessage(BaseModel):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: StrictStr | list[ChatPart] | None = None


class StreamOptions(BaseModel):
    """What else is to be streamed."""

    include_usage: StrictBool | None = None


class ChatRequest(BaseModel):
    """A chat; parameters that are not listed are ignored."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHAT_EXAMPLE]})

    model: Annotated[StrictStr, Field(max_length=100, description="One of 'GET /v1/models'.")]
    messages: Annotated[
        list[ChatMessage], Field(min_length=1, max_length=2000, description="The last of the user is the question.")
    ]
    stream: Annotated[StrictBool | None, Field(description="Whether the answer comes in parts.")] = None
    stream_options: StreamOptions | None = None
    n: Annotated[Annotated[StrictInt, WHOLE] | None, Field(description="1 only.")] = None
    tools: Annotated[list[Any] | None, Field(description="None only.")] = None
    functions: Annotated[list[Any] | None, Field(description="None only.")] = None
    modalities: Annotated[list[str] | None, Field(description="'text' only.")] = None
    audio: Annotated[dict[str, Any] | None, Field(description="None only.")] = None
    response_format: Annotated[dict[str, Any] | None, Field(description="{'type': 'text'} only.")] = None


class AnswerMessage(BaseModel):
    """The answer as a message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The one choice there is."""

    index: int = 0
    message: AnswerMessage
    finish_reason: Literal["stop"] = "stop"
    logprobs: None = None


class Usage(BaseModel):
    """Tokens as the embedding model counts them: of what was searched, and of the answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatResponse(BaseModel):
    """An answer as a chat completion; ``fundstelle`` is the same as :class:`AskResponse`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "chatcmpl-2b6e9d0c1f2a394857b6e9d0",
                    "object": "chat.completion",
                    "created": 1767225600,
                    "model": MODEL,
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": f"{ANSWER_EXAMPLE['answer']} [1]"},
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": {"prompt_tokens": 8, "completion_tokens": 34, "total_tokens": 42},
                    "fundstelle": ANSWER_EXAMPLE,
                }
            ]
        }
    )

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    fundstelle: AskResponse


class Model(BaseModel):
    """A collection that can be asked, as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["fundstelle"] = "fundstelle"


class ModelList(BaseModel):
    """The collections that can be asked."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "fundstelle"}],
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[Model]


class ChatErrorDetail(BaseModel):
    """What happened, in OpenAI's form; ``code`` is ours."""

    message: str
    type: str
    param: str | None
    code: str


class ChatErrorBody(BaseModel):
    """Every refusal at OpenAI's addresses has this form."""

    error: ChatErrorDetail


def model_list(collections: list[str], *, default: bool) -> ModelList:
    """Return the models for some collections; ``default``: whether the default collection is within reach."""
    names = [MODEL] if default else []
    names += [f"{MODEL}/{name}" for name in collections if name != DEFAULT_COLLECTION]
    return ModelList(data=[Model(id=name, created=0) for name in names])


def collection_of(model: str) -> str | None:
    """Return the collection that a model's name stands for, if it has the form of one."""
    name, slash, collection = model.partition("/")
    if name != MODEL or (slash and not collection):
        return None
    return collection or DEFAULT_COLLECTION


def asked(request: ChatRequest) -> tuple[str, str | None]:
    """Return the question of a chat, and what was searched before it.

    Raises:
        ProtocolError: if there is no question, or something is wanted that is not to be had here.
    """
    for name, wanted in (
        ("n", request.n not in (None, 1)),
        ("tools", bool(request.tools)),
        ("functions", bool(request.functions)),
        ("modalities", bool(set(request.modalities or ()) - {"text"})),
        ("audio", request.audio is not None),
        ("response_format", (request.response_format or {}).get("type", "text") != "text"),
    ):
        if wanted:
            raise ProtocolError("parameter_unsupported", param=name)
    *earlier, question = [_text(message) for message in request.messages if message.role == "user"] or [""]
    if not question.strip():
        raise ProtocolError("request_invalid", param="messages")
    searched: str | None = None
    for text in earlier:
        searched = searched_query(text, searched)
    return question, searched


def quotes(answer: Answer) -> Iterator[str]:
    """Yield each quote with the marks of all citations that have it."""
    for each in answer.citations:
        if each.same_as is None:
            numbers = [other.number for other in answer.citations if each.number in (other.number, other.same_as)]
            yield f"{each.quote} {''.join(f'[{number}]' for number in numbers)}"


def content(outcome: Outcome) -> str:
    """Return the whole answer as text."""
    answer, written = outcome.answer, outcome.written
    if not answer.answerable:
        return NOT_SAID.get(detect_language(answer.question), NOT_SAID["en"])
    if written is not None and written.sentences:
        return written.text
    return "\n".join(quotes(answer))


def usage(encoder: Encoder, searched: str, text: str) -> Usage:
    """Count the tokens of a question and its answer."""
    prompt, completion = encoder.count_tokens([searched, text])
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


@dataclass
class Completion:
    """One completion as it goes out; whole, or in parts."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, outcome: Outcome, encoder: Encoder) -> ChatResponse:
        """Return all of it."""
        text = content(outcome)
        return ChatResponse(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[Choice(message=AnswerMessage(content=text))],
            usage=usage(encoder, outcome.answer.searched, text),
            fundstelle=ask_response(outcome.answer, outcome.written),
        )

    def chunk(self, delta: dict[str, str], **more: object) -> dict[str, Any]:
        """Return one part."""
        finish = "stop" if not delta else None
        choices = [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
        return self._part(choices=choices, **more)

    def usage_chunk(self, counted: Usage) -> dict[str, Any]:
        """Return the part that says how long it was."""
        return self._part(choices=[], usage=counted.model_dump())

    def _part(self, **more: object) -> dict[str, Any]:
        head = {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}
        return head | more


class Pieces:
    """The text of an answer, in the pieces in which it becomes known; together they are what a reader sees.

    If writing fails after sentences are out, they stay, each of them being faithful to its evidence, and the quotes
    follow after an empty line.
    """

    def __init__(self) -> None:
        self.text = ""

    def sentence(self, sentence: WrittenSentence) -> str:
        """Return the piece for a checked sentence."""
        marks = "".join(f"[{number}]" for number in sentence.citations)
        return self._add(f"{sentence.text} {marks}", " ")

    def rest(self, outcome: Outcome) -> Iterator[str]:
        """Yield what is still to be said when all is known."""
        if outcome.written is not None and outcome.written.sentences:
            return
        between = "\n\n"
        for line in content(outcome).split("\n") if not outcome.answer.answerable else quotes(outcome.answer):
            yield self._add(line, between)
            between = "\n"

    def _add(self, text: str, between: str) -> str:
        piece = f"{between}{text}" if self.text else text
        self.text += piece
        return piece


def _text(message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part.type not in ("text", "input_text"):
            raise ProtocolError("parameter_unsupported", param="messages")
    return "\n".join(part.text or "" for part in message.content)
