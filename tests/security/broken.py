"""Null controls of the programs that send nasty things: each breaks one promise of the service, and is noticed."""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import h11
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from index import document_from_text
from service import reach, schemas
from service.access import EVERYBODY
from service.guard import Guard
from service.serving import PatientProtocol

# ---- of raw sockets ------------------------------------------------------------------------------------------


def _believe_the_length() -> None:
    """Of two lengths, take the one that proxies do not: what they take for a body is executed."""
    receive = PatientProtocol.data_received

    def without_chunks(self: PatientProtocol, data: bytes) -> None:
        if b"Content-Length" in data:
            data = re.sub(rb"(?i)\r\ntransfer-encoding: *chunked(?=\r\n)", b"", data)
        receive(self, data)

    mock.patch.object(PatientProtocol, "data_received", without_chunks).start()


def _read_both_ways() -> None:
    """Read a request with two lengths, and go on with the connection."""
    mock.patch("service.serving._OneReading", h11.Connection).start()


def _swallow() -> None:
    """Forget what came behind a request."""
    complete = H11Protocol.on_response_complete

    def forgetting(self: H11Protocol) -> None:
        self.conn._receive_buffer = type(self.conn._receive_buffer)()
        complete(self)

    mock.patch.object(H11Protocol, "on_response_complete", forgetting).start()


def _wait_for_ever() -> None:
    """Never drop whoever keeps it waiting."""
    mock.patch.object(PatientProtocol, "_wait", lambda *_: None).start()


def _stumble() -> None:
    """Fail on a target in absolute form."""
    admit = Guard._admit

    def stumbling(self: Guard, scope: Any, headers: Any, route: Any) -> Any:
        if scope["path"].startswith("http:"):
            raise RuntimeError("what is this?")
        return admit(self, scope, headers, route)

    mock.patch.object(Guard, "_admit", stumbling).start()


def _complain() -> None:
    """Take it for a fault of ours if somebody leaves in the middle of a request."""
    mock.patch("starlette.requests.ClientDisconnect", type("Fault", (Exception,), {})).start()


def _make_room() -> None:
    """Take heads of any size that come at once."""
    mock.patch("service.serving.HEAD_BYTES", 2**30).start()


RAW: dict[str, Callable[[], None]] = {
    "length": _believe_the_length,
    "both": _read_both_ways,
    "swallow": _swallow,
    "patient": _wait_for_ever,
    "stumble": _stumble,
    "loud": _complain,
    "roomy": _make_room,
}

# ---- of calls as they are described --------------------------------------------------------------------------


def _fail_on_one() -> None:
    """Answer 500 to one value of one field."""
    search = reach.Reach.search

    def failing(self: reach.Reach, query: reach.Question) -> Any:
        if query.top_k == 1:
            raise RuntimeError("one is none")
        return search(self, query)

    mock.patch.object(reach.Reach, "search", failing).start()


def _accept_anything() -> None:
    """Take fields that no form has."""
    for form in (schemas.SearchRequest, schemas.AskRequest, schemas.BatchRequest):
        form.model_config["extra"] = "ignore"
        form.model_rebuild(force=True)
        form.model_json_schema()
    describe = FastAPI.openapi

    def strict(self: FastAPI) -> dict[str, Any]:
        described = describe(self)
        for name in ("SearchRequest", "AskRequest", "BatchRequest"):
            described["components"]["schemas"][name]["additionalProperties"] = False
        return described

    mock.patch.object(FastAPI, "openapi", strict).start()


def _ignore_keys() -> None:
    """Let everybody in who shows no key, or any."""
    mock.patch.object(Guard, "_identify", lambda *_: EVERYBODY).start()


def _show_others() -> None:
    """Let tenants read one another's documents."""

    @contextmanager
    def all_of_it(self: Any, document_id: str) -> Iterator[Any]:
        with self._library.view() as view:
            yield view, view.document(document_id)

    mock.patch.object(reach.Reach, "_reached", all_of_it).start()


def _name_one_method() -> None:
    """Name the methods of an address as the router does, those of the first route."""
    mock.patch.object(Guard, "_methods", lambda *_: ["GET"]).start()


DESCRIBED: dict[str, Callable[[], None]] = {
    "fault": _fail_on_one,
    "anything": _accept_anything,
    "no-keys": _ignore_keys,
    "others": _show_others,
    "methods": _name_one_method,
}

# ---- of nasty values -----------------------------------------------------------------------------------------


def _fail_on_the_unseen() -> None:
    """Answer 500 to questions with characters that nobody sees."""
    search = reach.Reach.search

    def failing(self: reach.Reach, query: reach.Question) -> Any:
        if any(unicodedata.category(each) in {"Cc", "Cf", "Co", "Cn"} for each in query.text):
            raise RuntimeError("what is this?")
        return search(self, query)

    mock.patch.object(reach.Reach, "search", failing).start()


def _compose() -> None:
    """Store texts in another form of Unicode than they were sent in."""
    given = document_from_text

    def composing(source: str, text: str, *rest: Any, **more: Any) -> Any:
        return given(source, unicodedata.normalize("NFKC", text), *rest, **more)

    mock.patch("service.routes.document_from_text", composing).start()


def _round() -> None:
    """Keep numbers of metadata as floating-point numbers."""
    given = document_from_text

    def rounding(*arguments: Any, **more: Any) -> Any:
        document = given(*arguments, **more)
        kept = {key: float(value) if type(value) is int else value for key, value in document.metadata.items()}
        return replace(document, metadata=kept)

    mock.patch("service.routes.document_from_text", rounding).start()


def _guess() -> None:
    """Take what is nearly JSON."""
    mock.patch.object(json, "loads", functools.partial(json.loads, strict=False)).start()


VALUES: dict[str, Callable[[], None]] = {
    "unseen": _fail_on_the_unseen,
    "composed": _compose,
    "rounded": _round,
    "lenient": _guess,
}

CONTROLS = {**RAW, **DESCRIBED, **VALUES}
