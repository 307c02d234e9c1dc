"""Answers in the service's form, made up for the page: states that the real service seldom is in, or cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from playwright.sync_api import BrowserContext, Page, Request, Route

Body = dict[str, Any]

TEXT = (
    "Kosten\n\nDie Sanierung der Gerberbrücke 🎉 ist mit 4,2 Millionen Euro veranschlagt. Das Land trägt 60 Prozent."
    "\n\nEnde August soll der Verkehr wieder rollen. Die Pfeiler behalten ihre grüne Farbe."
)
QUOTE = "Die Sanierung der Gerberbrücke 🎉 ist mit 4,2 Millionen Euro veranschlagt."


def document(number: int = 1, **changes: Any) -> Body:
    """Describe a document; a report in PDF if nothing else is said."""
    return {
        "id": f"{number:016x}",
        "collection": "default",
        "source": f"berichte/bruecke-{number}.pdf",
        "title": f"Bericht {number} über die Gerberbrücke",
        "language": "de",
        "sha256": "0" * 64,
        "characters": len(TEXT),
        "passages": 2,
        "format": "pdf",
        "pages": 12,
        "metadata": {"date": "2024-05-01", "author": "Jost Kämmerling"},
        "status": "indexed",
    } | changes


def citation(number: int = 1, **changes: Any) -> Body:
    """Cite :data:`QUOTE` from page 7 of a document."""
    start = TEXT.index(QUOTE)
    return {
        "number": number,
        "document_id": f"{number:016x}",
        "source": f"berichte/bruecke-{number}.pdf",
        "title": f"Bericht {number} über die Gerberbrücke",
        "language": "de",
        "start": start,
        "end": start + len(QUOTE),
        "quote": QUOTE,
        "passage": {"start": 0, "end": len(TEXT), "text": TEXT},
        "score": 0.87,
        "location": {"page": 7, "last_page": None, "section": "Kosten", "paragraph": 12},
        "receipt": {},
        "same_as": None,
        "differs_from": None,
    } | changes


def passage(number: int = 1, **changes: Any) -> Body:
    """Return a passage as among the closest."""
    kept = ("document_id", "source", "title", "language", "score", "location")
    return {key: citation(number)[key] for key in kept} | {"start": 0, "end": len(TEXT), "text": TEXT} | changes


def answer(question: str, citations: list[Body] | None = None, **changes: Any) -> Body:
    """Answer with citations, extractively."""
    cited = [citation(1), citation(2, same_as=1), citation(3, differs_from=1)] if citations is None else citations
    return {
        "question": question,
        "searched": question,
        "answerable": True,
        "confidence": 0.93,
        "answer": "\n".join(each["quote"] for each in cited),
        "answer_kind": "extractive",
        "written": None,
        "citations": cited,
        "closest": [],
        "generation": 1,
        "timings_ms": {"total": 8.8},
    } | changes


def written(question: str, **changes: Any) -> Body:
    """Answer in written sentences; one was withheld."""
    sentences = [
        {"text": "The repair is estimated at 4.2 million euros.", "citations": [1, 2]},
        {"text": "Another report differs.", "citations": [3]},
    ]
    told = {"sentences": sentences, "model": "small-model-7b", "withheld": 1, "problem": None}
    return answer(question, answer_kind="written", written=told, **changes)


def refusal(question: str, confidence: float = 0.08) -> Body:
    """Say that the documents do not answer."""
    nothing: Body = {"answerable": False, "answer": None, "closest": [passage(1), passage(2)]}
    return answer(question, [], confidence=confidence, **nothing)


def error(
    code: str = "internal_error", message: str = "Something went wrong inside.", hint: str = "Try again."
) -> Body:
    """Refuse in the form of all errors."""
    return {"error": {"code": code, "message": message, "hint": hint}}


@dataclass
class FakeApi:
    """What ``/v1`` answers; each attribute can be replaced at any time."""

    ask: Callable[[Body], tuple[int, Body]] = lambda asked: (200, answer(asked["question"]))
    documents: list[Body] = field(default_factory=lambda: [document(number) for number in range(1, 4)])
    text: Callable[[str], str] = lambda _: TEXT
    """Text of a document, by its id."""
    upload: Callable[[Request], tuple[int, Body]] = lambda _: (
        201,
        {"documents": [document(9, status="added")], "rejected": []},
    )
    asked: list[Body] = field(default_factory=list)
    """Bodies of the questions that came."""
    listed: list[dict[str, list[str]]] = field(default_factory=list)
    """Queries of the lists that were asked for."""

    def serve(self, target: Page | BrowserContext) -> None:
        """Answer the calls of a page, or of all pages of a context."""
        target.route("**/v1/**", self._handle)

    def _handle(self, route: Route) -> None:
        request = route.request
        path = urlsplit(request.url).path
        parts = path.removeprefix("/v1/").split("/")
        if path == "/v1/ask":
            body: Body = request.post_data_json or {}
            self.asked.append(body)
            reply(route, *self.ask(body))
        elif path == "/v1/documents" and request.method == "POST":
            reply(route, *self.upload(request))
        elif path == "/v1/documents":
            self.listed.append(parse_qs(urlsplit(request.url).query))
            reply(route, 200, self._page(self.listed[-1]))
        elif parts[-1] == "text":
            route.fulfill(
                status=200, content_type="text/plain; charset=utf-8", body=self.text(unquote(parts[1])).encode()
            )
        elif request.method == "DELETE":
            self.documents = [each for each in self.documents if each["id"] != unquote(parts[1])]
            route.fulfill(status=204)
        else:
            found = [each for each in self.documents if each["id"] == unquote(parts[1])]
            reply(route, 200, found[0] if found else document(1, id=unquote(parts[1])))

    def _page(self, query: dict[str, list[str]]) -> Body:
        found = [
            each
            for each in self.documents
            if all(query.get(key, [each[key]]) == [each[key]] for key in ("language", "format"))
            and query.get("q", [""])[0].casefold() in f"{each['source']} {each['title']}".casefold()
        ]
        at, limit = int(query.get("cursor", ["0"])[0]), int(query.get("limit", ["50"])[0])
        following = str(at + limit) if at + limit < len(found) else None
        return {"documents": found[at : at + limit], "next_cursor": following, "total": len(found)}


def reply(route: Route, status: int, body: Body) -> None:
    """Answer with JSON."""
    route.fulfill(status=status, content_type="application/json", body=json.dumps(body).encode("utf-8", "replace"))
