"""The HTTP calls: thin, typed, each one a few lines around the library or the answer function.

The event loop only takes requests in and hands answers out. Whatever computes or touches the disk waits for its turn
(:mod:`service.turns`) and runs on a thread.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from index import (
    DEFAULT_COLLECTION,
    Document,
    FundstelleError,
    Library,
    RawDocument,
    document_from_bytes,
    document_from_text,
)
from index.errors import DocumentRejected, NotFound
from index.stored import Listing
from service import schemas
from service.answer import Answer, AnswerPolicy
from service.asking import Asking
from service.events import EventStream, frame
from service.guard import CALLER, Admission
from service.idempotency import Replies, change_of
from service.life import Life
from service.metrics import EXPOSITION_TYPE, Measured, exposition
from service.outcome import WrittenSentence
from service.reach import Question, Reach
from service.refusals import ProtocolError, said_by
from service.routes_strict import StrictRoute
from service.schemas import ErrorBody, ErrorDetail
from service.strict_json import parse
from service.tags import is_known, is_meant, tag_of
from service.together import Computing
from service.turns import Turns

if TYPE_CHECKING:  # loaded only by a service that writes
    from service.writer import Writer

DEADLINE = 30.0
"""Seconds that a request waits for its turn."""
PATIENCE = 1.2
"""Seconds that the last in the line of questions may be expected to wait: whoever asks is better told than kept."""
_SMALL = 2**20
"""Bytes; uploads up to this size wait in memory."""
MOST_HEADER = 255
"""Characters of a header that we describe."""
BATCH_BYTES = 2**20
BATCH_AT_ONCE = 4
"""Questions of one batch that are in the line at a time: it must not fill the line for all others."""
UPLOAD_BYTES = 64 * 2**20
"""A whole upload; a single file has its own, lower limit."""

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description}
    for status, description in (
        (401, "No key, or a wrong one"),
        (403, "Not with this key, or not from this origin"),
        (404, "Not found"),
        (410, "Not kept any more"),
        (413, "Too large"),
        (415, "Wrong format"),
        (421, "Not a name of this service"),
        (422, "Not usable"),
        (429, "Too many requests"),
        (503, "Not ready"),
        (507, "Disk full or failing: nothing was written"),
    )
}
_KNOWN: dict[int | str, dict[str, Any]] = {304: {"description": "The reader has it already"}}
_EVENTS_EXAMPLE = 'event: answer\ndata: {"question": "...", ...}\n\nevent: done\ndata: {"question": "...", ...}\n\n'
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"example": _EVENTS_EXAMPLE}}}}
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": ErrorBody, "description": "In conflict with another"}}


def _in_json(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return some refusals, for calls that answer in another format when they do not refuse."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    return {status: {"description": _REFUSALS[status]["description"], "content": content} for status in statuses}


def _header_parameter(name: str, description: str, **more: str | int) -> dict[str, Any]:
    schema = {"type": "string", **more}
    return {"parameters": [{"name": name, "in": "header", "description": description, "schema": schema}]}


_IDEMPOTENT = _header_parameter(
    "Idempotency-Key",
    "1 to 255 characters: sent again, it is answered again.",
    minLength=1,
    maxLength=MOST_HEADER,
    pattern="^[!-~]([ -~]*[!-~])?$",
)
_UNLESS_KNOWN = _header_parameter("If-None-Match", "Tags the reader has: with one of them, 304.")
_DOCUMENT_ID = Annotated[
    str, Path(min_length=1, max_length=64, description="'id' of a document.", examples=["5f0c1d2e3a4b5c6d"])
]


@dataclass(frozen=True, slots=True)
class AppState:
    """Everything handlers need; made once, before the app."""

    library: Library
    policy: AnswerPolicy = field(default_factory=AnswerPolicy)
    writer: Writer | None = None
    """Writes answers if an endpoint is configured; its endpoint is waited for outside of the gate."""
    computing: Computing = field(default_factory=Computing)
    questions: Turns = field(default_factory=lambda: Turns("question", 8, 64, DEADLINE, PATIENCE))
    reads: Turns = field(default_factory=lambda: Turns("read", 4, 64, DEADLINE))
    writes: Turns = field(default_factory=lambda: Turns("write", 2, 64, DEADLINE))
    uploads: Turns = field(default_factory=lambda: Turns("upload", 2, 2, DEADLINE))
    """A large upload holds a place from its first byte on, so that few of them are in memory."""
    life: Life = field(default_factory=Life)
    measured: Measured = field(default_factory=Measured)
    admission: Admission = field(default_factory=Admission)
    replies: Replies = field(init=False)
    """Answers of changes that were sent with a key."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "replies", Replies(self.library.folder))

    @property
    def asking(self) -> Asking:
        """What questions are answered with."""
        return Asking(self.policy, self.writer, self.library.encoder, self.computing, self.measured)


router = APIRouter(route_class=StrictRoute)


def _state(request: Request) -> AppState:
    state: AppState = request.app.state.fundstelle
    return state


def _reach(request: Request) -> Reach:
    state = _state(request)
    return Reach(state.library, request.scope[CALLER], state.computing)


@router.get("/healthz", tags=["operation"], summary="Is the process alive?", responses=_in_json(421))
async def healthz() -> schemas.Health:
    """Say that the process is alive."""
    return schemas.Health(status="ok")


@router.get("/readyz", tags=["operation"], summary="Can it answer questions?", responses=_in_json(421, 503))
async def readyz(request: Request) -> schemas.Health:
    """Say whether questions can be answered: not any more once the service was told to end."""
    if _state(request).life.ending:
        raise ProtocolError("shutting_down", {"Retry-After": "5"})
    return schemas.Health(status="ready")


@router.post(
    "/v1/ask",
    tags=["questions"],
    summary="Answer a question with cited evidence",
    description="With 'Accept: text/event-stream', the answer comes in parts: 'answer', 'sentence' ..., 'done'.",
    response_model=schemas.AskResponse,
    responses=_REFUSALS | _EVENTS,
)
async def ask(request: Request, body: schemas.AskRequest) -> Response | schemas.AskResponse:
    """Answer a question with cited evidence, or say that the documents do not."""
    state, reach = _state(request), _reach(request)
    if _wants_events(request):
        following = await state.questions.follow(lambda: _ask_events(state, reach, body), request.is_disconnected)
        return EventStream(following, _broken)
    return await state.questions.run(lambda: _ask(state, reach, body), request.is_disconnected)


@router.post(
    "/v1/ask/batch",
    tags=["questions"],
    summary="Answer several questions",
    responses=_REFUSALS,
    max_body_size=BATCH_BYTES,
)
async def ask_batch(request: Request, body: schemas.BatchRequest) -> schemas.BatchResponse:
    """Answer several questions, each in its turn; what refuses one leaves the others alone."""
    state, reach = _state(request), _reach(request)
    places = asyncio.Semaphore(BATCH_AT_ONCE)

    async def one(asked: schemas.AskRequest) -> schemas.AskResponse | ErrorBody:
        async with places:
            try:
                return await state.questions.run(lambda: _ask(state, reach, asked), request.is_disconnected)
            except (ProtocolError, FundstelleError) as error:
                _, (code, message, hint) = said_by(error)
                return ErrorBody(error=ErrorDetail(code=code, message=message, hint=hint))

    return schemas.BatchResponse(answers=await asyncio.gather(*(one(asked) for asked in body.questions)))


@router.post("/v1/search", tags=["questions"], summary="Find the nearest passages", responses=_REFUSALS)
async def search(request: Request, body: schemas.SearchRequest) -> schemas.SearchResponse:
    """Find the passages nearest to a query, without the decision whether they answer it."""
    query = Question(body.query, body.collection, body.top_k, body.filters, body.as_of)
    reach = _reach(request)
    return await _state(request).questions.run(
        lambda: schemas.search_response(*reach.search(query)), request.is_disconnected
    )


@router.post("/v1/citations/verify", tags=["questions"], summary="Check a citation's receipt", responses=_REFUSALS)
async def verify_citation(request: Request, receipt: schemas.ReceiptBody) -> schemas.VerifyResponse:
    """Check a citation's receipt against the documents as they are now."""
    reach = _reach(request)
    return await _state(request).reads.run(lambda: schemas.verify_response(reach.verify(receipt.to_record())))


@router.post(
    "/v1/documents",
    status_code=201,
    tags=["documents"],
    summary="Add or update documents",
    description="JSON for one document given as text, or multipart/form-data with one or more fields 'file'. "
    "When it returns, the documents are durable and searchable. A file of the same name replaces the earlier one.",
    response_model=schemas.DocumentsAdded,
    responses=_REFUSALS | _CONFLICT,
    max_body_size=UPLOAD_BYTES,
    openapi_extra=_IDEMPOTENT
    | {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schemas.DocumentRequest.model_json_schema()},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"type": "string", "format": "binary"},
                            },
                            "collection": {
                                "type": "string",
                                "pattern": schemas.COLLECTION,
                                "default": DEFAULT_COLLECTION,
                            },
                        },
                        "additionalProperties": False,
                    },
                    "example": {"file": ["(what is in the file)"], "collection": DEFAULT_COLLECTION},
                },
            },
        }
    },
)
async def add_documents(request: Request) -> Response:
    """Add or update documents given as JSON or as files."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "multipart/form-data"}:
        raise ProtocolError("media_type_unsupported")
    reach = _reach(request)
    async with _state(request).uploads.place() if _is_large(request) else nullcontext():
        if kind == "application/json":
            body = await request.body()
            return await _once(request, 201, [body], lambda: _add_json(reach, body))
        async with request.form(max_files=1000, max_fields=10) as form:
            files: list[tuple[str, bytes]] = []
            collections: list[str] = []
            for field_name, part in form.multi_items():
                if field_name == "file" and isinstance(part, UploadFile):
                    files.append((part.filename or "", await part.read()))
                elif field_name == "collection" and isinstance(part, str):
                    collections.append(part)
                else:
                    raise ProtocolError("request_invalid")
        if not files or len(collections) > 1:
            raise ProtocolError("request_invalid")
        collection = collections[0] if collections else DEFAULT_COLLECTION
        names = [collection, *(name for name, _ in files)]
        parts = [*(name.encode("utf-8", "surrogatepass") for name in names), *(data for _, data in files)]
        return await _once(request, 201, parts, lambda: _add_files(reach, files, collection))


@router.get("/v1/documents", tags=["documents"], summary="List documents", responses=_REFUSALS)
async def list_documents(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 50,
    cursor: Annotated[str | None, Query(max_length=64, description="'next_cursor' of the page before.")] = None,
    collection: Annotated[schemas.CollectionName | None, Query(description="One collection instead of all.")] = None,
    q: Annotated[str, Query(max_length=255, description="Part of the source or the title.")] = "",
    language: Annotated[str | None, Query(max_length=16, description="ISO 639 code, 'und' for none.")] = None,
    format_: Annotated[str | None, Query(alias="format", max_length=16, description="How they were read.")] = None,
) -> schemas.DocumentList:
    """List documents, a page at a time."""
    wanted = {"language": language, "format": format_}
    filters = {field: value for field, value in wanted.items() if value is not None}
    listing = Listing(None if collection is None else frozenset({collection}), q, filters)
    after, reach = _read_cursor(cursor), _reach(request)
    documents, following, total = await _state(request).reads.run(lambda: reach.documents(limit, after, listing))
    return schemas.DocumentList(
        documents=[schemas.document_body(document) for document in documents],
        next_cursor=None if following is None else _write_cursor(following),
        total=total,
    )


@router.get(
    "/v1/documents/{document_id}",
    tags=["documents"],
    summary="One document",
    response_model=schemas.DocumentBody,
    openapi_extra=_UNLESS_KNOWN,
    responses=_REFUSALS | _KNOWN,
)
async def get_document(request: Request, document_id: _DOCUMENT_ID) -> Response:
    """Describe one document, without its text."""
    reach = _reach(request)
    document = await _state(request).reads.run(lambda: reach.document(document_id))
    return _unless_known(request, Response(_shown(document), media_type="application/json"))


@router.get(
    "/v1/documents/{document_id}/text",
    tags=["documents"],
    summary="A document's text, exactly as cited",
    response_class=PlainTextResponse,
    openapi_extra=_UNLESS_KNOWN,
    responses=_KNOWN
    | _in_json(401, 403, 404, 421, 422, 429, 503)
    | {200: {"content": {"text/plain": {"example": "The bridge over the Tess closes on 5 October."}}}},
)
async def get_text(request: Request, document_id: _DOCUMENT_ID) -> Response:
    """Return the text that offsets count in: Unicode code points, line ends as they are."""
    reach = _reach(request)
    _, text = await _state(request).reads.run(lambda: reach.text(document_id))
    return _unless_known(request, PlainTextResponse(text))


@router.get(
    "/v1/documents/{document_id}/original",
    tags=["documents"],
    summary="The file a document was read from",
    response_class=Response,
    openapi_extra=_UNLESS_KNOWN,
    responses={
        200: {"description": "The file", "content": {"application/octet-stream": {}}},
        **_in_json(401, 403, 404, 421, 422, 429, 503),
        **_KNOWN,
    },
)
async def get_original(request: Request, document_id: _DOCUMENT_ID) -> Response:
    """Return the bytes a document was read from, to be saved and not shown: they may be a page with scripts."""
    reach = _reach(request)
    document, data = await _state(request).reads.run(lambda: reach.original(document_id))
    name = PurePosixPath(document.source).name
    response = Response(
        data,
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )
    return _unless_known(request, response)


@router.delete(
    "/v1/documents/{document_id}",
    status_code=204,
    tags=["documents"],
    summary="Remove a document",
    openapi_extra=_header_parameter(
        "If-Match", "Tags of which the document must have one; else 412.", maxLength=MOST_HEADER
    ),
    responses=_REFUSALS | {412: {"model": ErrorBody, "description": "Not as it was meant"}},
)
async def delete_document(request: Request, document_id: _DOCUMENT_ID) -> Response:
    """Erase a document and all that was derived from it; no search that starts afterwards finds it."""
    reach = _reach(request)
    expected = _header(request, "if-match")
    if expected is not None and len(expected) > MOST_HEADER:
        raise ProtocolError("request_invalid", param="If-Match")

    def meant(document: Document) -> bool:
        return is_meant(tag_of(_shown(document)), expected or "")

    def work() -> None:
        reach.delete(document_id, None if expected is None else meant)
        _state(request).replies.forget([document_id])

    await _state(request).writes.run(work)
    return Response(status_code=204)


@router.post(
    "/v1/documents/delete",
    tags=["documents"],
    summary="Remove all documents that match",
    response_model=schemas.DocumentsDeleted,
    openapi_extra=_IDEMPOTENT,
    responses=_REFUSALS | _CONFLICT,
)
async def delete_documents(request: Request, body: schemas.DeleteRequest) -> Response:
    """Remove all documents of a collection that match, at once."""
    reach = _reach(request)

    def work() -> schemas.DocumentsDeleted:
        removed = reach.delete_where(body.filters, body.collection)
        _state(request).replies.forget([document.id for document in removed])
        return schemas.DocumentsDeleted(deleted=len(removed), generation=reach.generation)

    return await _once(request, 200, [await request.body()], work)


@router.get(
    "/metrics",
    tags=["operation"],
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
    responses=_in_json(401, 403, 421, 429, 503)
    | {200: {"content": {"text/plain": {"example": "fundstelle_documents 16.0\n"}}}},
)
async def metrics(request: Request) -> Response:
    """Return what a monitoring system collects."""
    state = _state(request)
    lines = (state.questions, state.reads, state.writes, state.uploads)
    return Response(
        await state.reads.run(lambda: exposition(state.library, state.writer, state.measured, lines)),
        media_type=EXPOSITION_TYPE,
    )


def _question(body: schemas.AskRequest) -> Question:
    return Question(body.question, body.collection, body.top_k, body.filters, body.as_of, body.previous)


def _ask(state: AppState, reach: Reach, body: schemas.AskRequest) -> schemas.AskResponse:
    outcome = state.asking.outcome(reach, _question(body), write=body.write)
    return schemas.ask_response(outcome.answer, outcome.written)


def _ask_events(state: AppState, reach: Reach, body: schemas.AskRequest) -> Generator[str]:
    """Yield an answer as events; the last is the body that would come without them."""
    with closing(state.asking.steps(reach, _question(body), write=body.write)) as steps:
        for step in steps:
            if isinstance(step, Answer):
                yield frame(schemas.ask_response(step).model_dump_json(), "answer")
            elif isinstance(step, WrittenSentence):
                sentence = schemas.WrittenSentenceBody(text=step.text, citations=list(step.citations))
                yield frame(sentence.model_dump_json(), "sentence")
            else:
                yield frame(schemas.ask_response(step.answer, step.written).model_dump_json(), "done")


def _wants_events(request: Request) -> bool:
    kinds = (part.partition(";")[0] for part in request.headers.get("accept", "").split(","))
    return any(kind.strip().lower() == "text/event-stream" for kind in kinds)


def _broken(status: int, detail: tuple[str, str, str]) -> str:
    code, message, hint = detail
    return frame(ErrorBody(error=ErrorDetail(code=code, message=message, hint=hint)).model_dump_json(), "error")


async def _once(request: Request, status: int, parts: Sequence[bytes], make: Callable[[], BaseModel]) -> Response:
    """Make a change in its turn and answer; if its key was sent before, answer as then.

    Args:
        parts: all that the call was given.
    """
    state, caller = _state(request), request.scope[CALLER].id
    key = _header(request, "idempotency-key")
    if key is None:
        body = await state.writes.run(lambda: make().model_dump_json().encode())
        return Response(body, status, media_type="application/json")
    path = str(request.scope["path"]).encode()
    body, again = await state.writes.run(
        lambda: state.replies.once(change_of(caller, key, path, *parts), lambda: make().model_dump_json().encode())
    )
    headers = {"Idempotency-Replayed": "true"} if again else None
    return Response(body, status, headers, "application/json")


def _shown(document: Document) -> bytes:
    return schemas.document_body(document).model_dump_json().encode()


def _unless_known(request: Request, response: Response) -> Response:
    """Return ``response`` with its tag, or nothing but that if the reader has it already."""
    tag = tag_of(bytes(response.body))
    if is_known(tag, _header(request, "if-none-match")):
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def _header(request: Request, name: str) -> str | None:
    given = request.headers.getlist(name)
    return ", ".join(given) if given else None


def _is_large(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    return not length.isdigit() or int(length) > _SMALL


def _add_json(reach: Reach, body: bytes) -> schemas.DocumentsAdded:
    try:
        request = schemas.DocumentRequest.model_validate(parse(body))
    except (ValidationError, ValueError) as error:
        raise ProtocolError("request_invalid") from error
    raw = document_from_text(request.source, request.text, request.title, request.metadata)
    return _add(reach, [raw], request.collection, [])


def _add_files(reach: Reach, files: list[tuple[str, bytes]], collection: str) -> schemas.DocumentsAdded:
    try:
        name = schemas.AskRequest(question="-", collection=collection).collection
    except ValidationError as error:
        raise ProtocolError("request_invalid") from error
    reach.expect(name)  # before a file is opened
    documents: list[RawDocument] = []
    rejected: list[tuple[str, FundstelleError]] = []
    for source, data in files:
        try:
            documents.append(document_from_bytes(source, data))
        except DocumentRejected as error:
            rejected.append((source, error))
    if not documents:
        raise rejected[0][1]
    return _add(reach, documents, name, rejected)


def _add(
    reach: Reach, documents: list[RawDocument], collection: str, rejected: list[tuple[str, FundstelleError]]
) -> schemas.DocumentsAdded:
    added = reach.add(documents, collection)
    return schemas.DocumentsAdded(
        documents=[schemas.document_body(item.document, item.outcome) for item in added],
        rejected=[
            schemas.RejectedBody(
                source=source.encode("utf-8", "replace").decode("utf-8"),
                error=ErrorDetail(code=error.code, message=error.message, hint=error.hint),
            )
            for source, error in rejected
        ],
        generation=reach.generation,
    )


def _write_cursor(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        number = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not 0 <= number < 2**63:
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise NotFound("cursor_invalid", "The cursor is not one that this service gave out.") from error
    return number
