"""F04: no value of a field is too nasty: it is taken as it is or refused in the documented form, and nothing breaks.

Requests (:mod:`tests.security.nasty`) go to a server of its own, four at a time. Wanted: 2xx or a refusal that the
OpenAPI document has for that call, in the form of errors, with a code of docs/errors.md; what is no JSON is refused;
every answer is JSON in UTF-8 with no lone surrogate and no number that JSON has not; a document that was taken has
the text, name, title and metadata that were sent, each number to its last digit; each passage and quote is the text
at the place it names. At the end the documents of the beginning are there, unchanged, and no exception was uncaught.

    python -m tests.security.values --trials 1000
"""

from __future__ import annotations

import functools
import http.client
import json
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.durability.client import Client
from tests.durability.common import ROOT, finish, parse_arguments
from tests.security.broken import VALUES
from tests.security.nasty import Nasty, nasties
from tests.security.served import Served, serving

RESULTS = ROOT / "docs" / "results" / "security"
BREAKS = tuple(VALUES)
AT_ONCE = 4
SLOWEST = 30.0
"""Seconds that no answer may take."""
ENOUGH = 100
"""Problems; then it ends."""
_BASE = {
    "base/bridge.txt": "The bridge over the Tess is closed in October. Brücken werden im Herbst gesperrt. 橋は閉鎖。",
    "base/ferry.txt": "The ferry leaves at noon. \U0001f600 It takes bicycles, too. Ｆｕｌｌ width, a\u0301ccents.",
}
_PLACE = {"document_id", "source", "start", "end"}
_OF_CHAT = {"/v1/chat/completions"}


@dataclass
class Seen:
    """What was seen, by all who send."""

    problems: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    came_back: int = 0
    """Documents that were stored and read again."""
    quotes: int = 0
    slowest: float = 0.0


@dataclass(frozen=True, slots=True)
class Came:
    """One answer."""

    status: int
    kind: str
    body: bytes


class _Sender:
    """Sends one request after the other over a connection of its own, and looks at what comes back."""

    def __init__(self, port: int, described: Mapping[str, Any], seen: Seen) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2 * SLOWEST)
        self._described = described
        self._seen = seen
        self._texts: dict[str, str] = {}

    def send(self, nasty: Nasty) -> None:
        """Send one request; note what is wrong with its answer."""
        begun = time.perf_counter()
        try:
            came = self._call(nasty.operation[0].upper(), nasty.target, nasty.body, nasty.headers)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._seen.problems.append(f"{nasty.name}: {error!r}")
            return
        seconds = time.perf_counter() - begun
        self._seen.slowest = max(self._seen.slowest, seconds)
        self._seen.statuses[str(came.status)] += 1
        problems = list(self._judge(nasty, came))
        if seconds > SLOWEST:
            problems.append(f"took {seconds:.0f} s")
        self._seen.problems += [f"{nasty.name}: {came.status}: {each}"[:600] for each in problems]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Came:
        self._connection.request(method, target, body, dict(headers))
        response = self._connection.getresponse()
        return Came(response.status, response.headers.get_content_type(), response.read())

    def _judge(self, nasty: Nasty, came: Came) -> Iterator[str]:
        """Yield what is wrong with an answer."""
        if came.status >= 500:
            yield f"{came.body[:200]!r}"
            return
        operation = self._described["paths"].get(nasty.operation[1], {}).get(nasty.operation[0])
        if operation is not None and str(came.status) not in operation["responses"]:
            yield "this status is not documented"
        if came.status in {202, 204, 304} or came.kind not in {"application/json", "text/plain", "text/event-stream"}:
            return
        try:
            said = strict_json(came.body) if came.kind == "application/json" else came.body.decode()
        except ValueError as error:
            yield f"the answer is no JSON: {error}"
            return
        if came.status >= 400:
            yield from self._refused(nasty, came, said)
            return
        if nasty.operation[1] == "/mcp" and "error" in said:
            return
        if not nasty.right:
            yield f"taken, though it is no JSON: {came.body[:200]!r}"
        if nasty.operation == ("post", "/v1/documents"):
            yield from self._stored(nasty.sent, said)
        else:
            yield from self._verbatim(said)

    def _refused(self, nasty: Nasty, came: Came, said: Any) -> Iterator[str]:
        if nasty.operation[1] == "/mcp" and came.kind == "application/json" and "jsonrpc" in said:
            return  # refused in the form of that protocol
        error = said.get("error") if isinstance(said, dict) else None
        if not isinstance(error, dict) or error.get("code") not in codes():
            yield f"not refused in the documented form: {came.body[:200]!r}"
            return
        wanted = (
            {"message", "type", "param", "code"} if nasty.operation[1] in _OF_CHAT else {"code", "message", "hint"}
        )
        if not wanted <= error.keys():
            yield f"the refusal lacks something: {error}"
        self._seen.codes[error["code"]] += 1

    def _stored(self, sent: Mapping[str, Any] | None, said: Any) -> Iterator[str]:
        """Compare what was stored with what was sent, and remove it."""
        for document in said["documents"]:
            text = self._call("GET", f"/v1/documents/{quote(document['id'], safe='')}/text", None, {})
            if sent is not None and text.status == 200:
                self._seen.came_back += 1
                expected = {
                    "text": sent["text"].removeprefix("\ufeff"),
                    "source": sent["source"],
                    "title": sent.get("title"),
                }
                found = {"text": text.body.decode(), "source": document["source"], "title": document["title"]}
                if expected["title"] is None:
                    del expected["title"]
                for name, value in expected.items():
                    if found[name] != value:
                        yield f"{name} came back as {found[name][:80]!r}"
                if canonical(document["metadata"]) != canonical(sent.get("metadata", {})):
                    yield f"metadata came back as {str(document['metadata'])[:80]!r}"
            self._call("DELETE", f"/v1/documents/{quote(document['id'], safe='')}", None, {})

    def _verbatim(self, said: Any) -> Iterator[str]:
        """Hold each passage and quote against the text of its document, if that is one of those that stay."""
        for found in _places(said):
            text = self._texts.get(found["document_id"]) or self._text(found)
            if text is None:
                continue
            self._seen.quotes += 1
            shown = found.get("quote", found.get("text"))
            if text[found["start"] : found["end"]] != shown:
                yield f"{shown!r} is not at {found['start']}"

    def _text(self, found: Mapping[str, Any]) -> str | None:
        if found["source"] not in _BASE:
            return None  # it may be gone by now
        came = self._call("GET", f"/v1/documents/{found['document_id']}/text", None, {})
        if came.status == 200:
            self._texts[found["document_id"]] = came.body.decode()
        return self._texts.get(found["document_id"])


def strict_json(data: bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: if it is not JSON in UTF-8, has a number that JSON has not, or half a surrogate pair.
    """

    def no_number(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    text = data.decode("utf-8")
    said = json.loads(text, parse_constant=no_number)
    json.dumps(said, ensure_ascii=False).encode("utf-8")
    return said


def canonical(value: object) -> str:
    """Return one form for what JSON values mean; 1 and 1.0 are two, as they are in Python."""
    return json.dumps(value, sort_keys=True)


def _places(said: Any) -> Iterator[Mapping[str, Any]]:
    """Yield everything in an answer that names a place of a document and shows what is there."""
    if isinstance(said, dict):
        if isinstance(said.get("start"), int) and said.keys() >= _PLACE and ("quote" in said or "text" in said):
            yield said
        for part in said.values():
            yield from _places(part)
    elif isinstance(said, list):
        for part in said:
            yield from _places(part)


@functools.cache
def codes() -> frozenset[str]:
    """Return the codes of docs/errors.md."""
    return frozenset(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.M))


def _state(served: Served) -> dict[str, str]:
    """Return the hashes of the documents that are to stay, by source."""
    with Client(served.port) as client:
        return {
            document["source"]: document["sha256"]
            for document in client.documents().body
            if document["source"] in _BASE
        }


def _send_all(served: Served, requests: Iterator[Nasty], seen: Seen) -> None:
    with Client(served.port) as client:
        described = client.call("GET", "/openapi.json").body
    lock = threading.Lock()

    def work() -> None:
        sender = _Sender(served.port, described, seen)
        while len(seen.problems) < ENOUGH:
            with lock:
                nasty = next(requests, None)
                seen.sent += nasty is not None
            if nasty is None:
                break
            try:
                sender.send(nasty)
            except Exception as error:  # an answer of another form than ours
                seen.problems.append(f"{nasty.name}: {error!r}")
        sender.close()

    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(trials: int, seed: int, control: str | None = None, only: str = "") -> dict[str, Any]:
    """Send so many requests, or all values to one place ``only``; return figures."""
    seen, problems = Seen(), []
    with tempfile.TemporaryDirectory() as name:
        with serving(Path(name), *(["--break", control] if control else [])) as served:
            with Client(served.port) as client:
                for source, text in _BASE.items():
                    client.put(source, text)
            before = _state(served)
            _send_all(served, nasties(trials, seed, only), seen)
            if (after := _state(served)) != before or len(before) != len(_BASE):
                problems.append(f"documents are not what they were: {before}, {after}")
            with Client(served.port) as client:
                if (reply := client.call("GET", "/readyz")).status != 200:
                    problems.append(f"not ready afterwards: {reply}")
        problems += [f"an exception that nobody caught: {each}" for each in served.faults()]
    problems = seen.problems + problems
    return {
        "id": "F04",
        "trials": seen.sent,
        "violations": len(problems),
        "examples": problems[:20],
        "statuses": dict(sorted(seen.statuses.items())),
        "codes": dict(sorted(seen.codes.items())),
        "documents_read_again": seen.came_back,
        "quotes_checked": seen.quotes,
        "slowest_s": round(seen.slowest, 2),
    }


def main() -> None:
    """Send as many requests as asked for."""
    arguments = parse_arguments(__doc__, 1000, BREAKS)
    began = time.monotonic()
    finish(arguments, run(arguments.trials, arguments.seed, arguments.control), began, folder=RESULTS)


if __name__ == "__main__":
    main()
