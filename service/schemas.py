"""Request and response bodies: the contract other programs rely on, with bounds and examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StrictFloat, StrictInt, StrictStr

from index import Document, Hit, SearchResult
from index.errors import ReceiptsRejected
from index.records import Location, Span
from service.answer import Answer, Citation
from service.outcome import Written
from service.receipts import Receipt, Verdict

MOST_EXACT = 2**53 - 1
"""The largest whole number that every reader of JSON takes as it is."""


def _whole(value: object) -> object:
    """Take 5.0 for 5: in JSON, and so in its schemas, they are one number. Not so "5" and true."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= MOST_EXACT else value


WHOLE = BeforeValidator(_whole)
"""Stands last, so that bounds are described."""
Scalar = StrictStr | StrictInt | StrictFloat | bool | None
FilterRange = Annotated[
    dict[StrictStr, Scalar], Field(description="'from' and 'to', both inclusive; one may be left out.")
]
FilterValues = dict[StrictStr, Scalar | list[Scalar] | FilterRange]
COLLECTION = r"^[a-z0-9][a-z0-9_-]{0,63}$"
CollectionName = Annotated[str, Field(pattern=COLLECTION, description="Documents that are searched together.")]
TopK = Annotated[StrictInt, Field(ge=1, le=100), WHOLE]
AsOf = Annotated[
    Annotated[StrictInt, Field(ge=0, le=MOST_EXACT), WHOLE] | None,
    Field(description="Generation to answer from, if it is still kept; the newest if not given."),
]

_RECEIPT_EXAMPLE: dict[str, JsonValue] = {
    "document_id": "5f0c1d2e3a4b5c6d",
    "source": "deutschland-frankreich-hilfe.txt",
    "document_sha256": "9f2b" * 16,
    "generation": 1,
    "start": 289,
    "end": 421,
    "quote_sha256": "04ac" * 16,
}
_LOCATION_EXAMPLE: dict[str, JsonValue] = {"page": 7, "last_page": None, "section": "Zusagen", "paragraph": 12}
_PASSAGE_EXAMPLE: dict[str, JsonValue] = {
    "document_id": "5f0c1d2e3a4b5c6d",
    "source": "deutschland-frankreich-hilfe.txt",
    "title": "Berlin stellt Paris Hilfe im Irak und in Mali in Aussicht",
    "language": "de",
    "start": 289,
    "end": 528,
    "text": "Deutschland hat Frankreich angeboten, die kurdischen Peschmerga im Norden des Irak weiter ...",
    "score": 0.82,
    "location": _LOCATION_EXAMPLE,
}
_DOCUMENT_EXAMPLE: dict[str, JsonValue] = {
    "id": "5f0c1d2e3a4b5c6d",
    "collection": "default",
    "source": "deutschland-frankreich-hilfe.txt",
    "title": "Berlin stellt Paris Hilfe im Irak und in Mali in Aussicht",
    "language": "de",
    "sha256": "9f2b" * 16,
    "characters": 1504,
    "passages": 2,
    "format": "text",
    "pages": None,
    "metadata": {},
    "status": "added",
}
_TIMINGS_EXAMPLE: dict[str, JsonValue] = {"embed": 6.1, "search": 0.6, "rank": 1.9, "total": 8.8}
ANSWER_EXAMPLE: dict[str, JsonValue] = {
    "question": "what did Germany offer France?",
    "searched": "what did Germany offer France?",
    "answerable": True,
    "confidence": 0.93,
    "answer": "Deutschland hat Frankreich angeboten, die kurdischen Peschmerga im Norden des Irak "
    "weiter zu schulen und logistisch zu unterstützen.",
    "citations": [
        {
            **{key: _PASSAGE_EXAMPLE[key] for key in ("document_id", "source", "title", "language")},
            "number": 1,
            "start": 289,
            "end": 421,
            "quote": "Deutschland hat Frankreich angeboten, die kurdischen Peschmerga im Norden des "
            "Irak weiter zu schulen und logistisch zu unterstützen.",
            "passage": {key: _PASSAGE_EXAMPLE[key] for key in ("start", "end", "text")},
            "score": 0.87,
            "location": _LOCATION_EXAMPLE,
            "receipt": _RECEIPT_EXAMPLE,
            "same_as": None,
            "differs_from": None,
        }
    ],
    "closest": [],
    "generation": 1,
    "timings_ms": _TIMINGS_EXAMPLE,
    "answer_kind": "extractive",
    "written": None,
}
_ERROR_EXAMPLE: dict[str, JsonValue] = {
    "error": {
        "code": "question_empty",
        "message": "The question is empty.",
        "hint": "Ask a question of at least one letter or digit.",
    }
}


class Body(BaseModel):
    """Base of request bodies: a misspelt field is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class AskRequest(Body):
    """A question to be answered from the documents."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"question": "what did Germany offer France?", "top_k": 5}]}
    )

    question: Annotated[StrictStr, Field(description="In any language; 4,096 characters at most.")]
    top_k: Annotated[TopK, Field(description="How many passages evidence is drawn from.")] = 5
    collection: CollectionName = "default"
    filters: Annotated[
        FilterValues | None,
        Field(
            description="Field ('source', 'language', 'format', 'date', 'author', 'document_id', 'metadata.KEY') "
            "to one value, a list, or a range {'from': ..., 'to': ...}."
        ),
    ] = None
    as_of: AsOf = None
    previous: Annotated[
        StrictStr | None,
        Field(
            max_length=4096,
            description="What was searched before in the same conversation; carried over if the question follows up.",
        ),
    ] = None
    write: Annotated[
        bool, Field(strict=True, description="Whether a written answer is wanted, if the service can write one.")
    ] = True


class SearchRequest(Body):
    """A query for passages, without the decision whether they answer it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "UN mission in Mali", "top_k": 3}]}
    )

    query: Annotated[StrictStr, Field(description="In any language; 4,096 characters at most.")]
    top_k: TopK = 10
    collection: CollectionName = "default"
    filters: FilterValues | None = None
    as_of: AsOf = None


class DeleteRequest(Body):
    """Which documents to remove."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"filters": {"metadata.year": 2019}, "collection": "default"}]},
    )

    filters: Annotated[FilterValues, Field(min_length=1, description="As for questions; at least one.")]
    collection: CollectionName = "default"


class DocumentRequest(Body):
    """A document given as text."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "source": "notes/bridge.txt",
                    "text": "The bridge over the Tess closes on 5 October for eleven months.",
                    "metadata": {"year": 2025},
                }
            ]
        },
    )

    source: StrictStr
    text: StrictStr
    title: StrictStr | None = None
    metadata: dict[StrictStr, Any] = Field(default_factory=dict)
    collection: CollectionName = "default"


class DocumentBody(BaseModel):
    """A stored document, without its text."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DOCUMENT_EXAMPLE]})

    id: str
    collection: str
    source: str
    title: str
    language: Annotated[str, Field(description="ISO 639-1 code, 'und' if it cannot be told.")]
    sha256: str
    characters: int
    passages: int
    format: Annotated[str, Field(description="'text', 'markdown', 'html', 'pdf' or 'docx'.")]
    pages: Annotated[int | None, Field(description="Null for what has no pages.")]
    metadata: Annotated[dict[str, Any], Field(description="Own, and 'author' and 'date' as the file has them.")]
    status: Annotated[str, Field(description="'added', 'updated', 'unchanged' or, when read, 'indexed'.")]


class PartBody(BaseModel):
    """A window of a document: ``text`` is its text from ``start`` to ``end``, in code points."""

    document: DocumentBody
    start: int
    end: int
    text: str
    left: Annotated[int, Field(description="Characters of the text after 'end'.")]
    location: Annotated[LocationBody | None, Field(description="Where 'start' is.")]


class RejectedBody(BaseModel):
    """A file of an upload that was not taken in, and why."""

    source: str
    error: ErrorDetail


class DocumentsAdded(BaseModel):
    """What became of an upload: acknowledged means durable and searchable."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"documents": [_DOCUMENT_EXAMPLE], "rejected": [], "generation": 1}]}
    )

    documents: list[DocumentBody]
    rejected: list[RejectedBody]
    generation: int


class DocumentsDeleted(BaseModel):
    """How many documents were removed: acknowledged means erased and never found again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"deleted": 3, "generation": 8}]})

    deleted: int
    generation: int


class DocumentList(BaseModel):
    """A page of documents; ``next_cursor`` leads to the next one, null on the last."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"documents": [{**_DOCUMENT_EXAMPLE, "status": "indexed"}], "next_cursor": None, "total": 1}]
        }
    )

    documents: list[DocumentBody]
    next_cursor: str | None
    total: Annotated[int, Field(description="How many there are on all pages.")]


class LocationBody(BaseModel):
    """Where something is in its document. Numbers begin with 1; what a document does not have is null."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LOCATION_EXAMPLE]})

    page: int | None
    last_page: Annotated[int | None, Field(description="Only if it goes on to another page.")]
    section: Annotated[str | None, Field(description="The nearest heading above.")]
    paragraph: int | None


class PassageBody(BaseModel):
    """A passage with its place: ``text`` is the document's text from ``start`` to ``end``, in code points."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PASSAGE_EXAMPLE]})

    document_id: str
    source: str
    title: str
    language: str
    start: int
    end: int
    text: str
    score: float
    location: LocationBody | None


class SearchResponse(BaseModel):
    """The passages nearest to a query, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"passages": [_PASSAGE_EXAMPLE], "generation": 1, "timings_ms": _TIMINGS_EXAMPLE}]
        }
    )

    passages: list[PassageBody]
    generation: int
    timings_ms: dict[str, float]


class SurroundingBody(BaseModel):
    """The passage a quote stands in."""

    start: int
    end: int
    text: str


class ReceiptBody(Body):
    """Everything needed to check a citation later."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_RECEIPT_EXAMPLE]})

    document_id: Annotated[StrictStr, Field(max_length=64)]
    source: Annotated[StrictStr, Field(max_length=1024)]
    document_sha256: Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
    generation: Annotated[StrictInt, Field(ge=0, le=MOST_EXACT), WHOLE]
    start: Annotated[StrictInt, Field(ge=0, lt=2**31), WHOLE]
    end: Annotated[StrictInt, Field(ge=0, lt=2**31), WHOLE]
    quote_sha256: Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]

    def to_record(self) -> Receipt:
        """Return the receipt as the service's record."""
        return Receipt(**self.model_dump())


class CitationBody(BaseModel):
    """One piece of evidence: ``quote`` is the document's text from ``start`` to ``end``, in code points."""

    number: int
    document_id: str
    source: str
    title: str
    language: str
    start: int
    end: int
    quote: str
    passage: SurroundingBody
    score: float
    location: LocationBody | None
    receipt: ReceiptBody
    same_as: Annotated[
        int | None,
        Field(description="Number of the citation that has all of these words: another source of one statement."),
    ]
    differs_from: Annotated[
        int | None, Field(description="Number of the citation of another document that says nearly the same.")
    ]


class WrittenSentenceBody(BaseModel):
    """One sentence that passed every check."""

    text: str
    citations: Annotated[list[int], Field(description="Numbers of the citations it rests on.")]


class WrittenBody(BaseModel):
    """What became of the written answer."""

    sentences: list[WrittenSentenceBody]
    model: str
    withheld: Annotated[int, Field(description="Sentences that failed a check and are not shown.")]
    problem: Annotated[str | None, Field(description="Why the answer is extractive all the same; null if it is not.")]


class AskResponse(BaseModel):
    """An answer with its evidence, or the honest statement that the documents do not give one."""

    model_config = ConfigDict(json_schema_extra={"examples": [ANSWER_EXAMPLE]})

    question: str
    searched: Annotated[str, Field(description="What was searched: the question, after a follow-up's earlier words.")]
    answerable: bool
    confidence: Annotated[float, Field(ge=0, le=1)]
    answer: str | None
    citations: list[CitationBody]
    closest: Annotated[list[PassageBody], Field(description="When not answerable: nearest, but not an answer.")]
    generation: int
    timings_ms: dict[str, float]
    answer_kind: Annotated[
        Literal["extractive", "written"], Field(description="Whether 'answer' is quotes, or checked sentences.")
    ]
    written: Annotated[WrittenBody | None, Field(description="Null if no answer was to be written.")]


class BatchRequest(Body):
    """Several questions, each with its own terms."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"questions": [{"question": "what did Germany offer France?"}, {"question": "?"}]}]
        },
    )

    questions: Annotated[list[AskRequest], Field(min_length=1, max_length=64)]


class BatchResponse(BaseModel):
    """Their answers in the same order; where a question was refused, its error."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"answers": [ANSWER_EXAMPLE, _ERROR_EXAMPLE]}]})

    answers: list[AskResponse | ErrorBody]


class VerifyResponse(BaseModel):
    """What became of a quoted place."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "valid",
                    "document_id": "5f0c1d2e3a4b5c6d",
                    "source": "deutschland-frankreich-hilfe.txt",
                    "start": 289,
                    "end": 421,
                    "quote": "Deutschland hat ...",
                }
            ]
        }
    )

    status: Annotated[str, Field(description="'valid', 'moved', 'changed' or 'deleted'.")]
    document_id: Annotated[str | None, Field(description="The document that was looked at; null if it is gone.")]
    source: str | None
    start: int | None
    end: int | None
    quote: str | None


class Health(BaseModel):
    """Whether the service lives, or is ready."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str


class ErrorDetail(BaseModel):
    """A stable code, what happened, and what to do."""

    code: str
    message: str
    hint: str


class ErrorBody(BaseModel):
    """Every refusal has this form."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ERROR_EXAMPLE]})

    error: ErrorDetail


def document_body(document: Document, status: str = "indexed") -> DocumentBody:
    """Show a document."""
    return DocumentBody(
        id=document.id,
        collection=document.collection,
        source=document.source,
        title=document.title,
        language=document.language,
        sha256=document.sha256,
        characters=document.characters,
        passages=document.passages,
        format=document.format,
        pages=document.pages,
        metadata=dict(document.metadata),
        status=status,
    )


def location_body(location: Location | None) -> LocationBody | None:
    """Show where something is."""
    return None if location is None else LocationBody(**asdict(location))


def part_body(document: Document, span: Span, text: str, location: Location) -> PartBody:
    """Show a part of a document's text."""
    return PartBody(
        document=document_body(document),
        start=span.start,
        end=span.end,
        text=text,
        left=document.characters - span.end,
        location=location_body(location),
    )


def passage_body(hit: Hit, location: Location | None) -> PassageBody:
    """Show a hit."""
    return PassageBody(
        document_id=hit.document.id,
        source=hit.document.source,
        title=hit.document.title,
        language=hit.document.language,
        start=hit.passage.span.start,
        end=hit.passage.span.end,
        text=hit.text,
        score=round(hit.score, 4),
        location=location_body(location),
    )


def search_response(result: SearchResult, locations: Sequence[Location]) -> SearchResponse:
    """Show the outcome of a search with the locations of its hits."""
    return SearchResponse(
        passages=[passage_body(hit, location) for hit, location in zip(result.hits, locations, strict=True)],
        generation=result.generation,
        timings_ms=_rounded(dict(result.timings_ms)),
    )


def ask_response(answer: Answer, written: Written | None = None) -> AskResponse:
    """Show an answer, in the writer's words if there are any that passed."""
    timings = dict(answer.timings_ms)
    if written is not None:
        timings["write"] = written.seconds * 1000
        timings["total"] += timings["write"]
    is_written = written is not None and bool(written.sentences)
    return AskResponse(
        question=answer.question,
        searched=answer.searched,
        answerable=answer.answerable,
        confidence=round(answer.confidence, 4),
        answer=written.text if written is not None and is_written else answer.text,
        citations=[_citation_body(citation) for citation in answer.citations],
        closest=[passage_body(hit, location) for hit, location in zip(answer.closest, answer.locations, strict=True)],
        generation=answer.generation,
        timings_ms=_rounded(timings),
        answer_kind="written" if is_written else "extractive",
        written=None if written is None else _written_body(written),
    )


def verify_response(verdict: Verdict) -> VerifyResponse:
    """Show the outcome of checking a receipt."""
    return VerifyResponse(
        status=verdict.status.value,
        document_id=verdict.document.id if verdict.document else None,
        source=verdict.document.source if verdict.document else None,
        start=verdict.span.start if verdict.span else None,
        end=verdict.span.end if verdict.span else None,
        quote=verdict.quote,
    )


def read_receipts(file: Path) -> Iterator[tuple[int, Receipt]]:
    """Read receipts from JSON lines, each with the number of its line; a line may also be a whole answer.

    Raises:
        ReceiptsRejected: if the file or one of its lines cannot be read.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReceiptsRejected("receipts_invalid", f"'{file}' cannot be read.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            receipts = [each["receipt"] for each in value["citations"]] if "citations" in value else [value]
            for receipt in receipts:
                yield number, ReceiptBody.model_validate(receipt).to_record()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ReceiptsRejected("receipts_invalid", f"Line {number} of '{file}' is not a receipt.") from error


def _written_body(written: Written) -> WrittenBody:
    return WrittenBody(
        sentences=[WrittenSentenceBody(text=each.text, citations=list(each.citations)) for each in written.sentences],
        model=written.model,
        withheld=written.withheld,
        problem=written.problem,
    )


def _citation_body(citation: Citation) -> CitationBody:
    receipt = citation.receipt
    return CitationBody(
        number=citation.number,
        document_id=citation.hit.document.id,
        source=citation.hit.document.source,
        title=citation.hit.document.title,
        language=citation.hit.document.language,
        start=citation.span.start,
        end=citation.span.end,
        quote=citation.quote,
        passage=SurroundingBody(
            start=citation.hit.passage.span.start, end=citation.hit.passage.span.end, text=citation.hit.text
        ),
        score=round(citation.score, 4),
        location=location_body(citation.location),
        receipt=ReceiptBody(
            document_id=receipt.document_id,
            source=receipt.source,
            document_sha256=receipt.document_sha256,
            generation=receipt.generation,
            start=receipt.start,
            end=receipt.end,
            quote_sha256=receipt.quote_sha256,
        ),
        same_as=citation.same_as,
        differs_from=citation.differs_from,
    )


def _rounded(timings: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in timings.items()}


PartBody.model_rebuild()
RejectedBody.model_rebuild()
BatchResponse.model_rebuild()
