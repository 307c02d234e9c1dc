"""Every call of the service as a function from arguments to a :class:`Call`; both clients are made of these.

``None`` leaves a field out: the service's own default counts.
"""

from __future__ import annotations

import codecs
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import httpx

from service.client_exchange import CODES, Call, NotReached, NotUnderstood, Refused, request_id
from service.client_records import (
    Added,
    Answer,
    AnswerEvent,
    Deleted,
    Document,
    DocumentPage,
    EarlyAnswer,
    FinalAnswer,
    Health,
    Receipt,
    Refusal,
    SearchResult,
    VerifiedReceipt,
    WrittenSentence,
    read,
)

T = TypeVar("T")
Filters: TypeAlias = Mapping[str, Any]
"""Field to a value, a list of values, or a range ``{"from": ..., "to": ...}``."""
File: TypeAlias = str | Path | tuple[str, bytes]
"""A path, whose last part names the document; or a name and what is in the file."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its terms."""

    question: str
    top_k: int | None = None
    collection: str | None = None
    filters: Filters | None = None
    as_of: int | None = None
    previous: str | None = None
    write: bool | None = None


def ask(
    question: str,
    *,
    top_k: int | None = None,
    collection: str | None = None,
    filters: Filters | None = None,
    as_of: int | None = None,
    previous: str | None = None,
    write: bool | None = None,
) -> Call[Answer]:
    """Answer a question with cited evidence, or say that the documents do not.

    Args:
        question: in any language.
        top_k: how many passages evidence is drawn from, 1 to 100.
        collection: which documents to ask.
        filters: narrows them further.
        as_of: generation to answer from, if it is still kept.
        previous: ``searched`` of the answer before, if this may be a follow-up.
        write: whether a written answer is wanted, if the service can write one.
    """
    body = _given(asdict(Question(question, top_k, collection, filters, as_of, previous, write)))
    return Call("POST", "/v1/ask", _json(Answer), json=body)


def ask_stream(
    question: str,
    *,
    top_k: int | None = None,
    collection: str | None = None,
    filters: Filters | None = None,
    as_of: int | None = None,
    previous: str | None = None,
    write: bool | None = None,
) -> Call[Answer]:
    """Yield an answer as it comes: ``EarlyAnswer``, written sentences, ``FinalAnswer``; terms are those of ``ask``.

    If the stream breaks before its last event, that is raised, and nothing of it may stand as the answer.
    """
    call = ask(
        question, top_k=top_k, collection=collection, filters=filters, as_of=as_of, previous=previous, write=write
    )
    return call.with_headers(Accept="text/event-stream")


def ask_batch(questions: Iterable[str | Question]) -> Call[tuple[Answer | Refusal, ...]]:
    """Answer up to 64 questions with one call, in their order; where one was refused, its refusal stands there."""
    asked = [each if isinstance(each, Question) else Question(each) for each in questions]

    def answers(response: httpx.Response) -> tuple[Answer | Refusal, ...]:
        given = _object(response)["answers"]
        return tuple(read(Refusal, each["error"]) if "error" in each else read(Answer, each) for each in given)

    body = {"questions": [_given(asdict(each)) for each in asked]}
    return Call("POST", "/v1/ask/batch", _strictly(answers), json=body)


def search(
    query: str,
    *,
    top_k: int | None = None,
    collection: str | None = None,
    filters: Filters | None = None,
    as_of: int | None = None,
) -> Call[SearchResult]:
    """Find the passages nearest to a query, without the decision whether they answer it."""
    body = _given({"query": query, "top_k": top_k, "collection": collection, "filters": filters, "as_of": as_of})
    return Call("POST", "/v1/search", _json(SearchResult), json=body)


def verify(receipt: Receipt | Mapping[str, Any]) -> Call[VerifiedReceipt]:
    """Check a citation's receipt against the documents as they are now."""
    body = asdict(receipt) if isinstance(receipt, Receipt) else dict(receipt)
    return Call("POST", "/v1/citations/verify", _json(VerifiedReceipt), json=body)


def add_text(
    source: str,
    text: str,
    *,
    title: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    collection: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Added]:
    """Add a document given as text, or update the one of the same source.

    When it returns, the document is durable and searchable. If the answer gets lost, the change is sent again with
    the same key and is not made twice.
    """
    body = _given({
        "source": source, "text": text, "title": title, "metadata": metadata, "collection": collection
    })  # fmt: skip
    call = Call("POST", "/v1/documents", _json(Added), json=body, slow=True)
    return _once(call, idempotency_key)


def add_files(
    files: Iterable[File], *, collection: str | None = None, idempotency_key: str | None = None
) -> Call[Added]:
    """Add or update documents given as files; those that cannot be read are in ``rejected``.

    The files are read into memory first, so that the same bytes can be sent again.
    """
    parts = tuple(
        (each[0], each[1]) if isinstance(each, tuple) else (Path(each).name, Path(each).read_bytes())
        for each in files
    )
    if not parts:
        raise ValueError("there is no file to add")
    form = {} if collection is None else {"collection": collection}
    return _once(Call("POST", "/v1/documents", _json(Added), files=parts, form=form, slow=True), idempotency_key)


def list_documents(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    collection: str | None = None,
    q: str | None = None,
    language: str | None = None,
    format: str | None = None,  # noqa: A002 - as the service calls it
) -> Call[DocumentPage]:
    """List documents, a page at a time: ``next_cursor`` of one page is ``cursor`` of the next."""
    params = _given({
        "limit": limit, "cursor": cursor, "collection": collection, "q": q, "language": language, "format": format
    })  # fmt: skip
    return Call("GET", "/v1/documents", _json(DocumentPage), params=params)


def document(document_id: str) -> Call[Document]:
    """Describe one document; its ``tag`` names the state that it is in."""

    def tagged(response: httpx.Response) -> Document:
        return replace(read(Document, _object(response)), tag=response.headers.get("ETag"))

    return Call("GET", _address(document_id), tagged)


def text(document_id: str) -> Call[str]:
    """Return a document's text, exactly as cited: offsets count its Unicode code points."""
    return Call("GET", _address(document_id, "/text"), lambda response: response.content.decode("utf-8"))


def original(document_id: str) -> Call[bytes]:
    """Return the file that a document was read from."""
    return Call("GET", _address(document_id, "/original"), lambda response: response.content)


def delete(document_id: str, *, if_match: str | None = None) -> Call[None]:
    """Erase a document; with ``if_match``, only if it is still in the state of that ``tag``."""
    headers = {} if if_match is None else {"If-Match": if_match}
    return Call("DELETE", _address(document_id), lambda _: None, headers=headers, slow=True, gone_is_done=True)


def delete_where(
    filters: Filters, *, collection: str | None = None, idempotency_key: str | None = None
) -> Call[Deleted]:
    """Erase all documents of a collection that match, in one change."""
    body = _given({"filters": filters, "collection": collection})
    return _once(Call("POST", "/v1/documents/delete", _json(Deleted), json=body, slow=True), idempotency_key)


def health() -> Call[Health]:
    """Return that the process is alive, or raise."""
    return Call("GET", "/healthz", _json(Health), repeats=False)


def ready() -> Call[Health]:
    """Return that questions can be answered, or raise."""
    return Call("GET", "/readyz", _json(Health), repeats=False)


def metrics() -> Call[str]:
    """Return figures for monitoring, in the text format of Prometheus; needs an admin's key."""
    return Call("GET", "/metrics", lambda response: response.content.decode("utf-8"))


class Events:
    """The events of a streamed answer, out of the bytes as they come.

    Lines are divided by line feeds alone: a quote may well contain what Unicode calls a line separator.

    Args:
        call, response: named in what is raised.
    """

    def __init__(self, call: Call[Answer], response: httpx.Response) -> None:
        self._call = call
        self._response = response
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self.ended = False
        """Whether the last event has come."""

    def feed(self, data: bytes) -> Iterator[AnswerEvent]:
        """Yield the events that are whole by now.

        Raises:
            Refused: if the service says that something broke.
            NotUnderstood: if it is no stream of events.
        """
        try:
            self._rest = (self._rest + self._decoder.decode(data)).replace("\r\n", "\n")
            *blocks, self._rest = self._rest.split("\n\n")
            for block in blocks:
                lines = [line.partition(":") for line in block.split("\n")]
                said = {name: value.removeprefix(" ") for name, _, value in lines if name}
                if "data" in said and not self.ended:
                    yield from self._event(said.get("event", ""), said["data"])
        except (ValueError, RecursionError) as error:
            raise self._failed(NotUnderstood, "response_invalid", CODES["response_invalid"]) from error

    def expect_end(self) -> None:
        """Raise NotReached unless the last event has come."""
        if not self.ended:
            raise self._failed(NotReached, "stream_broken", CODES["stream_broken"], "Ask again.")

    def _event(self, name: str, data: str) -> Iterator[AnswerEvent]:
        if name == "answer":
            yield EarlyAnswer(read(Answer, json.loads(data)))
        elif name == "sentence":
            yield read(WrittenSentence, json.loads(data))
        elif name == "done":
            self.ended = True
            yield FinalAnswer(read(Answer, json.loads(data)))
        elif name == "error":
            self.ended = True
            said = read(_Error, json.loads(data)).error
            raise self._failed(Refused, said.code, said.message, said.hint)

    def _failed(
        self, kind: type[Refused | NotReached | NotUnderstood], code: str, message: str, hint: str = ""
    ) -> Exception:
        return kind(code, message, hint, self._response.status_code, request_id(self._call, self._response))


@dataclass(frozen=True, slots=True)
class _Error:
    error: Refusal


def _once(call: Call[T], idempotency_key: str | None) -> Call[T]:
    return call.with_headers(**{"Idempotency-Key": idempotency_key or str(uuid.uuid4())})


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _address(document_id: str, part: str = "") -> str:
    if document_id in {"", ".", ".."}:  # a path would lose them
        raise ValueError("there is no such document id")
    return f"/v1/documents/{quote(document_id, safe='')}{part}"


def _object(response: httpx.Response) -> dict[str, Any]:
    value = json.loads(response.content)
    if not isinstance(value, dict):
        raise ValueError("The body is not an object")
    return value


def _json(kind: type[T]) -> Callable[[httpx.Response], T]:
    return lambda response: read(kind, _object(response))


def _strictly(reader: Callable[[httpx.Response], T]) -> Callable[[httpx.Response], T]:
    def strict(response: httpx.Response) -> T:
        try:
            return reader(response)
        except (KeyError, TypeError) as error:
            raise ValueError("A field is missing or of another kind") from error

    return strict
