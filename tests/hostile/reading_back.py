"""What was taken in is read again: every document, and quotes of each by way of a question, with their receipts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tests.hostile.running import Service
from tests.hostile.uploading import SECRET, Findings

_WORDS = re.compile(r"[^\W\d_]{3,20}")
_IN_A_QUESTION = 8
_LOOKED_AT = 20_000
"""Characters of a document that a question is made of."""


def read_everything(service: Service, findings: Findings) -> tuple[int, int]:
    """Read every document and quotes of each; the host's secret must be nowhere.

    Returns:
        How many documents there are, and how many quotes were checked.
    """
    documents = quotes = 0
    for document in _documents(service, findings):
        documents += 1
        reply = service.call("GET", f"/v1/documents/{document['id']}/text")
        if reply.status != 200:
            findings.note("status", f"{reply.status} for the text of {document['source']}")
            continue
        if SECRET.encode() in reply.content or SECRET in json.dumps(document):
            findings.note("secret", f"in {document['source']}")
        quotes += _quotes(service, findings, document, reply.content.decode("utf-8"))
    return documents, quotes


def remove_everything(service: Service, findings: Findings, begins: str = "") -> None:
    """Remove every document whose name begins so."""
    for document in list(_documents(service, findings)):
        if not document["source"].startswith(begins):
            continue
        reply = service.call("DELETE", f"/v1/documents/{document['id']}")
        if reply.status != 204:
            findings.note("status", f"{reply.status} for the removal of {document['source']}")


def _documents(service: Service, findings: Findings) -> Iterator[dict[str, Any]]:
    cursor: str | None = ""
    while cursor is not None:
        query = urlencode({"limit": 500, **({"cursor": cursor} if cursor else {})})
        reply = service.call("GET", f"/v1/documents?{query}")
        if reply.status != 200:
            findings.note("status", f"{reply.status} for the list")
            return
        yield from reply.body["documents"]
        cursor = reply.body["next_cursor"]


def _quotes(service: Service, findings: Findings, document: dict[str, Any], text: str) -> int:
    """Ask for words of a document in it alone, and hold what is quoted against its text."""
    middle = max(0, len(text) // 2 - _LOOKED_AT // 2)
    words = _WORDS.findall(text[middle : middle + _LOOKED_AT])[:_IN_A_QUESTION]
    if not words:
        return 0
    asked = {"question": " ".join(words), "filters": {"document_id": document["id"]}}
    reply = service.call("POST", "/v1/ask", json.dumps(asked).encode(), "application/json")
    if reply.status != 200:
        findings.note("status", f"{reply.status} for a question to {document['source']}")
        return 0
    found = 0
    for quoted in (*reply.body["citations"], *reply.body["closest"]):
        found += 1
        if text[quoted["start"] : quoted["end"]] != quoted.get("quote", quoted.get("text")):
            findings.note("quote", f"of {document['source']} at {quoted['start']}")
        if receipt := quoted.get("receipt"):
            said = service.call("POST", "/v1/citations/verify", json.dumps(receipt).encode(), "application/json")
            if said.status != 200 or said.body["status"] != "valid":
                findings.note("receipt", f"of {document['source']}: {said.content[:200]!r}")
    if not found:
        findings.note("quote", f"none of {document['source']}")
    return found
