"""What the client hands out: frozen records, read from the JSON of the service.

A field that a record does not know is passed over, so that an older client works with a newer service. A field that
is missing or of another kind is an error: nothing is guessed.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Metadata: TypeAlias = Mapping[str, str | int | float | bool | None]
"""What is known of a document besides its text."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was refused: a stable code, what happened, and what to do."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Location:
    """Where something is, for a reader with the document in hand; ``None`` for what the document does not have."""

    page: int | None
    last_page: int | None
    section: str | None
    paragraph: int | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is needed to check a citation later. It contains hashes, no text; keep it beside what you quote."""

    document_id: str
    source: str
    document_sha256: str
    generation: int
    start: int
    end: int
    quote_sha256: str


@dataclass(frozen=True, slots=True)
class Surrounding:
    """The passage that a quote stands in."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage: ``text`` is the document's text from ``start`` to ``end``, in Unicode code points."""

    document_id: str
    source: str
    title: str
    language: str
    start: int
    end: int
    text: str
    score: float
    location: Location | None

    def stands_in(self, text: str) -> bool:
        """Say whether a document's text has exactly these words at this place."""
        return self.end > self.start and text[self.start : self.end] == self.text


@dataclass(frozen=True, slots=True)
class Citation:
    """One piece of evidence: ``quote`` is the document's text from ``start`` to ``end``, in Unicode code points.

    Attributes:
        score: orders the evidence of one answer; not a probability.
        same_as: number of the citation that has all of these words: another source of one statement.
        differs_from: number of a better one, of another document, that says nearly the same.
    """

    number: int
    document_id: str
    source: str
    title: str
    language: str
    start: int
    end: int
    quote: str
    passage: Surrounding
    score: float
    location: Location | None
    receipt: Receipt
    same_as: int | None
    differs_from: int | None

    def stands_in(self, text: str) -> bool:
        """Say whether a document's text has exactly this quote at this place."""
        return self.end > self.start and text[self.start : self.end] == self.quote


@dataclass(frozen=True, slots=True)
class WrittenSentence:
    """A written sentence that passed every check; ``citations`` are the numbers of those it rests on."""

    text: str
    citations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a written answer; ``problem`` says why the answer is extractive all the same."""

    sentences: tuple[WrittenSentence, ...]
    model: str
    withheld: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its evidence, or the honest statement that the documents do not give one.

    Attributes:
        searched: what was searched; the ``previous`` of a question that follows up on this one.
        confidence: estimated probability, 0 to 1, that the evidence answers the question.
        answer: ``None`` if not ``answerable``.
        closest: if not answerable: the nearest passages, which are not an answer.
        answer_kind: "extractive" if ``answer`` is quotes, "written" if it is checked sentences.
    """

    question: str
    searched: str
    answerable: bool
    confidence: float
    answer: str | None
    citations: tuple[Citation, ...]
    closest: tuple[Passage, ...]
    generation: int
    timings_ms: Mapping[str, float]
    answer_kind: str
    written: Written | None


@dataclass(frozen=True, slots=True)
class EarlyAnswer:
    """First event of a stream: the answer from the quotes."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """Last event of a stream: the whole answer. Only this one may stand."""

    answer: Answer


AnswerEvent: TypeAlias = EarlyAnswer | WrittenSentence | FinalAnswer


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The passages nearest to a query, best first."""

    passages: tuple[Passage, ...]
    generation: int
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document, without its text.

    Attributes:
        status: "added", "updated" or "unchanged" after adding; "indexed" when read.
        tag: names exactly this state, for ``delete(..., if_match=...)``; known only of a document read on its own.
    """

    id: str
    collection: str
    source: str
    title: str
    language: str
    sha256: str
    characters: int
    passages: int
    format: str
    pages: int | None
    metadata: Metadata
    status: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file of an upload that was not taken in, and why."""

    source: str
    error: Refusal


@dataclass(frozen=True, slots=True)
class Added:
    """What became of an upload: it is durable and searchable."""

    documents: tuple[Document, ...]
    rejected: tuple[Rejected, ...]
    generation: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many documents were removed."""

    deleted: int
    generation: int


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Some documents; ``next_cursor`` leads to the next ones, ``total`` counts all."""

    documents: tuple[Document, ...]
    next_cursor: str | None
    total: int


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What became of a quoted place: ``status`` is "valid", "moved", "changed" or "deleted"."""

    status: str
    document_id: str | None
    source: str | None
    start: int | None
    end: int | None
    quote: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """What the service says of itself: "ok", or "ready"."""

    status: str


def read(kind: type[T], value: object) -> T:
    """Make a record of ``kind`` from parsed JSON.

    Raises:
        ValueError: if a field is missing or of another kind; it names the field, not its value.
    """
    return cast(T, _read(kind, value, kind.__name__))


def _read(kind: Any, value: Any, place: str) -> Any:  # noqa: PLR0911 - one line for each kind there is
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _record(kind, value, place)
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in inner:
            return None
        rest = [each for each in inner if each is not types.NoneType]
        if len(rest) > 1:  # scalars only: records are never left to choose among
            return _scalar(tuple(rest), value, place)
        return _read(rest[0], value, place)
    if origin is tuple:
        _expect(value, list, place)
        return tuple(_read(inner[0], each, f"{place}[{number}]") for number, each in enumerate(value))
    if origin is not None:  # a mapping
        _expect(value, dict, place)
        return {name: _read(inner[1], each, f"{place}.{name}") for name, each in value.items()}
    if kind is float:
        return float(_scalar((float, int), value, place))
    return _scalar((kind,), value, place)


def _record(kind: Any, value: Any, place: str) -> Any:
    _expect(value, dict, place)
    given = {}
    for name, inner, needed in _fields(kind):
        if name in value:
            given[name] = _read(inner, value[name], f"{place}.{name}")
        elif needed:
            raise ValueError(f"{place}.{name} is missing")
    return kind(**given)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(kind)
    return tuple((each.name, hints[each.name], each.default is MISSING) for each in fields(kind))


def _scalar(kinds: tuple[type, ...], value: Any, place: str) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{place} is not {' or '.join(kind.__name__ for kind in kinds)}")
    return value


def _expect(value: Any, kind: type, place: str) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{place} is not a {kind.__name__}")
