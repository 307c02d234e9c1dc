"""The HTTP calls: thin, typed, each one a few lines around the library or the answer function.

Handlers that compute are plain functions, which FastAPI runs on worker threads; a gate lets no more of them compute
at once than there are cores to compute on. The two that read bodies of several forms are coroutines and hand their
work to the same threads.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from index import DEFAULT_COLLECTION, FundstelleError, Library, RawDocument, document_from_bytes, document_from_text
from index.errors import DocumentRejected, NotFound
from index.stored import Listing
from service import schemas
from service.answer import AnswerPolicy, answer_question
from service.metrics import EXPOSITION_TYPE, exposition
from service.receipts import verify_receipt
from service.schemas import ErrorBody, ErrorDetail

if TYPE_CHECKING:  # loaded only by a service that writes
    from service.writer import Writer

UPLOAD_BYTES = 64 * 2**20
"""A whole upload; a single file has its own, lower limit."""

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description}
    for status, description in (
        (404, "Not found"),
        (410, "Not kept any more"),
        (413, "Too large"),
        (415, "Wrong format"),
        (422, "Not usable"),
        (503, "Not ready"),
        (507, "Disk full or failing: nothing was written"),
    )
}
_DOCUMENT_ID = Annotated[str, Path(min_length=1, max_length=64, examples=["5f0c1d2e3a4b5c6d"])]


@dataclass(frozen=True, slots=True)
class AppState:
    """Everything handlers need; made once, before the app."""

    library: Library
    policy: AnswerPolicy = field(default_factory=AnswerPolicy)
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(2))
    """Held while computing: latency is set by how many questions run at once, not by how many wait."""
    writer: Writer | None = None
    """Writes answers if an endpoint is configured; its endpoint is waited for outside of the gate."""


router = APIRouter()


def _state(request: Request) -> AppState:
    state: AppState = request.app.state.fundstelle
    return state


@router.get("/healthz", tags=["operation"], summary="Is the process alive?")
async def healthz() -> schemas.Health:
    """Say that the process is alive."""
    return schemas.Health(status="ok")


@router.get("/readyz", tags=["operation"], summary="Can it answer questions?")
async def readyz() -> schemas.Health:
    """Say that questions can be answered: documents, index and model are open before the service listens."""
    return schemas.Health(status="ready")


@router.post("/v1/ask", tags=["questions"], summary="Answer a question with cited evidence", responses=_REFUSALS)
def ask(request: Request, body: schemas.AskRequest) -> schemas.AskResponse:
    """Answer a question with cited evidence, or say that the documents do not."""
    state = _state(request)
    with state.gate:
        answer = answer_question(
            state.library,
            body.question,
            top_k=body.top_k,
            collection=body.collection,
            filters=body.filters,
            policy=state.policy,
            as_of=body.as_of,
            previous=body.previous,
        )
    written = state.writer.answer(answer, state.library.encoder, state.gate) if state.writer and body.write else None
    return schemas.ask_response(answer, written)


@router.post("/v1/search", tags=["questions"], summary="Find the nearest passages", responses=_REFUSALS)
def search(request: Request, body: schemas.SearchRequest) -> schemas.SearchResponse:
    """Find the nearest passages."""
    state = _state(request)
    with state.gate, state.library.view(body.as_of) as view:
        result = view.search(body.query, body.top_k, body.collection, body.filters)
        locations = view.locations([(hit.document.id, hit.passage.span) for hit in result.hits])
    return schemas.search_response(result, locations)


@router.post("/v1/citations/verify", tags=["questions"], summary="Check a citation's receipt", responses=_REFUSALS)
def verify_citation(request: Request, receipt: schemas.ReceiptBody) -> schemas.VerifyResponse:
    """Check a citation's receipt against the documents as they are now."""
    return schemas.verify_response(verify_receipt(_state(request).library, receipt.to_record()))


@router.post(
    "/v1/documents",
    status_code=201,
    tags=["documents"],
    summary="Add or update documents",
    description="JSON for one document given as text, or multipart/form-data with one or more fields 'file'. "
    "When it returns, the documents are durable and searchable. A file of the same name replaces the earlier one.",
    responses=_REFUSALS,
    max_body_size=UPLOAD_BYTES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schemas.DocumentRequest.model_json_schema()},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                            "collection": {"type": "string", "default": DEFAULT_COLLECTION},
                        },
                    }
                },
            },
        }
    },
)
async def add_documents(request: Request) -> schemas.DocumentsAdded:
    """Add or update documents given as JSON or as files."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await run_in_threadpool(_add_json, _state(request), await request.body())
    if kind == "multipart/form-data":
        async with request.form(max_files=1000, max_fields=10) as form:
            files = [
                (part.filename or "", await part.read())
                for part in form.getlist("file")
                if isinstance(part, UploadFile)
            ]
            collection = form.get("collection", DEFAULT_COLLECTION)
        if not files:
            raise ProtocolError("request_invalid")
        return await run_in_threadpool(_add_files, _state(request), files, str(collection))
    raise ProtocolError("media_type_unsupported")


@router.get("/v1/documents", tags=["documents"], summary="List documents", responses=_REFUSALS)
def list_documents(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    collection: Annotated[schemas.CollectionName | None, Query()] = None,
    q: Annotated[str, Query(max_length=255, description="Part of the source or the title.")] = "",
    language: Annotated[str | None, Query(max_length=16)] = None,
    format_: Annotated[str | None, Query(alias="format", max_length=16)] = None,
) -> schemas.DocumentList:
    """List documents, a page at a time."""
    wanted = {"language": language, "format": format_}
    listing = Listing(collection, q, {field: value for field, value in wanted.items() if value is not None})
    with _state(request).library.view() as view:
        documents, following = view.documents(limit, _read_cursor(cursor), listing)
        total = view.count_documents(listing)
    return schemas.DocumentList(
        documents=[schemas.document_body(document) for document in documents],
        next_cursor=None if following is None else _write_cursor(following),
        total=total,
    )


@router.get("/v1/documents/{document_id}", tags=["documents"], summary="One document", responses=_REFUSALS)
def get_document(request: Request, document_id: _DOCUMENT_ID) -> schemas.DocumentBody:
    """Describe one document."""
    return schemas.document_body(_state(request).library.document(document_id))


@router.get(
    "/v1/documents/{document_id}/text",
    tags=["documents"],
    summary="A document's text, exactly as cited",
    response_class=PlainTextResponse,
    responses={
        404: {
            "description": "Not found",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}},
        },
        422: {
            "description": "Not usable",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}},
        },
    },
)
def get_text(request: Request, document_id: _DOCUMENT_ID) -> PlainTextResponse:
    """Return a document's text, exactly as cited."""
    text = _state(request).library.text(document_id)
    return PlainTextResponse(text)


@router.get(
    "/v1/documents/{document_id}/original",
    tags=["documents"],
    summary="The file a document was read from",
    response_class=Response,
    responses={
        200: {"description": "The file", "content": {"application/octet-stream": {}}},
        **{status: _REFUSALS[status] for status in (404, 422)},
    },
)
def get_original(request: Request, document_id: _DOCUMENT_ID) -> Response:
    """Return the bytes a document was read from, to be saved and not shown: they may be a page with scripts."""
    library = _state(request).library
    with library.view() as view:
        name = PurePosixPath(view.document(document_id).source).name
        data = view.original(document_id)
    return Response(
        data,
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )


@router.delete(
    "/v1/documents/{document_id}",
    status_code=204,
    tags=["documents"],
    summary="Remove a document",
    responses=_REFUSALS,
)
def delete_document(request: Request, document_id: _DOCUMENT_ID) -> Response:
    """Remove a document."""
    _state(request).library.delete(document_id)
    return Response(status_code=204)


@router.post(
    "/v1/documents/delete", tags=["documents"], summary="Remove all documents that match", responses=_REFUSALS
)
def delete_documents(request: Request, body: schemas.DeleteRequest) -> schemas.DocumentsDeleted:
    """Remove all documents of a collection that match, at once."""
    library = _state(request).library
    removed = library.delete_where(body.filters, body.collection)
    return schemas.DocumentsDeleted(deleted=len(removed), generation=library.generation)


@router.get("/metrics", tags=["operation"], summary="Figures for Prometheus", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Return what a monitoring system collects."""
    return Response(exposition(_state(request).library, _state(request).writer), media_type=EXPOSITION_TYPE)


class ProtocolError(Exception):
    """A request that is wrong as HTTP, before any of Fundstelle's own errors; ``code`` is one of ``PROTOCOL``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _add_json(state: AppState, body: bytes) -> schemas.DocumentsAdded:
    try:
        request = schemas.DocumentRequest.model_validate(json.loads(body))
    except (ValidationError, ValueError, RecursionError) as error:
        raise ProtocolError("request_invalid") from error
    raw = document_from_text(request.source, request.text, request.title, request.metadata)
    return _add(state, [raw], request.collection, [])


def _add_files(state: AppState, files: list[tuple[str, bytes]], collection: str) -> schemas.DocumentsAdded:
    try:
        name = schemas.AskRequest(question="-", collection=collection).collection
    except ValidationError as error:
        raise ProtocolError("request_invalid") from error
    documents: list[RawDocument] = []
    rejected: list[tuple[str, FundstelleError]] = []
    for source, data in files:
        try:
            documents.append(document_from_bytes(source, data))
        except DocumentRejected as error:
            rejected.append((source, error))
    if not documents:
        raise rejected[0][1]
    return _add(state, documents, name, rejected)


def _add(
    state: AppState, documents: list[RawDocument], collection: str, rejected: list[tuple[str, FundstelleError]]
) -> schemas.DocumentsAdded:
    added = state.library.add(documents, collection)
    return schemas.DocumentsAdded(
        documents=[schemas.document_body(item.document, item.outcome) for item in added],
        rejected=[
            schemas.RejectedBody(
                source=source.encode("utf-8", "replace").decode("utf-8"),
                error=ErrorDetail(code=error.code, message=error.message, hint=error.hint),
            )
            for source, error in rejected
        ],
        generation=state.library.generation,
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
