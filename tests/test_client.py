"""The client for Python programs: checked against the OpenAPI document, and talking to a really served app."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import logging
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import httpx
import pytest

from index import Library
from service import client as module
from service import client_records as records
from service.access import Scope
from service.answer import AnswerPolicy
from service.app import build_app
from service.client import AsyncFundstelle, CallFailed, Fundstelle, NotFound, NotReached, NotUnderstood, Refused
from service.client_calls import Events, ask_stream
from service.client_exchange import CODES, MOST_PAUSE
from service.guard import Admission
from service.keys import KeyRing
from service.routes import AppState
from service.schemas import ANSWER_EXAMPLE
from tests.browser.chromium import serving
from tests.conftest import ROOT, TEXTS
from tests.tiny import TinyEncoder
from tests.writer.told import Endpoint, writer_for

QUESTION = "How much does the repair of the bridge cost?"
ODD = "Ein Fährmann 😀 zählt.\u2028Danach kostet die Überfahrt über den Fluß drei Taler.\r\nUnd zwei Groschen."
KEY = "fst_" + "Canary0123456789" * 3

METHODS = {
    "healthz": "health",
    "readyz": "ready",
    "metrics": "metrics",
    "ask": "ask",
    "ask_batch": "ask_batch",
    "search": "search",
    "verify_citation": "verify",
    "add_documents": "add_text",
    "list_documents": "list_documents",
    "get_document": "document",
    "get_text": "text",
    "get_original": "original",
    "delete_document": "delete",
    "delete_documents": "delete_where",
}
"""Operation of the OpenAPI document, and the method that calls it."""
EXCEPTIONS = {"list_models", "complete_chat"}
"""OpenAI's calls, which have OpenAI's client."""
LEFT_OUT = {"If-None-Match"}
"""Parameters of caches; this client keeps nothing."""
RECORDS: dict[str, Any] = {
    "healthz": records.Health,
    "readyz": records.Health,
    "ask": records.Answer,
    "search": records.SearchResult,
    "verify_citation": records.VerifiedReceipt,
    "add_documents": records.Added,
    "list_documents": records.DocumentPage,
    "get_document": records.Document,
    "delete_documents": records.Deleted,
}
OWN = {"Document.tag"}
"""Fields that do not come from the body."""
ALL: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ask": (
        ("q",),
        {"top_k": 1, "collection": "c", "filters": {}, "as_of": 0, "previous": "p", "write": False},
    ),
    "search": (("q",), {"top_k": 1, "collection": "c", "filters": {}, "as_of": 0}),
    "verify": ((records.Receipt("d", "s", "0" * 64, 0, 0, 1, "0" * 64),), {}),
    "add_text": (
        ("s", "t"),
        {"title": "t", "metadata": {}, "collection": "c", "idempotency_key": "k"},
    ),
    "add_files": (([("a.txt", b"a")],), {"collection": "c", "idempotency_key": "k"}),
    "list_documents": (
        (),
        {"limit": 1, "cursor": "c", "collection": "c", "q": "q", "language": "de", "format": "text"},
    ),
    "delete": (("d",), {"if_match": '"t"'}),
    "delete_where": (({"source": "s"},), {"collection": "c", "idempotency_key": "k"}),
    "document": (("d",), {}),
    "text": (("d",), {}),
    "original": (("d",), {}),
}  # fmt: skip
"""Arguments that use every parameter of a method."""


# ---- a service, and what stands in between -----------------------------------------------------------------------


def app_of(library: Library, **more: Any) -> Any:
    return build_app(AppState(library, **{"policy": AnswerPolicy(min_confidence=0.0), **more}))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One library for the whole module; each test adds to a collection of its own."""
    with Library(tmp_path_factory.mktemp("client") / "data", TinyEncoder(), writable=True) as library:
        yield library


@pytest.fixture(scope="module")
def address(shared: Library) -> Iterator[str]:
    with serving(app_of(shared)) as where:
        yield where


@pytest.fixture(scope="module")
def openapi(shared: Library) -> dict[str, Any]:
    return build_app(AppState(shared)).openapi()


@pytest.fixture
def service(address: str) -> Iterator[Fundstelle]:
    with Fundstelle(address) as client:
        yield client


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds the client wanted to sleep; it does not."""
    asked: list[float] = []
    monkeypatch.setattr("service.client.time.sleep", asked.append)
    return asked


def scripted(*said: httpx.Response | Exception, seen: list[httpx.Request] | None = None) -> httpx.MockTransport:
    """Answer with each of ``said`` in turn, and with the last one for ever."""
    script = list(said)

    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        step = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(step, Exception):
            raise step
        return httpx.Response(step.status_code, headers=step.headers, content=step.content)

    return httpx.MockTransport(answer)


def refusal(status: int, code: str = "overloaded", **headers: str) -> httpx.Response:
    body = {"error": {"code": code, "message": "No.", "hint": "Later."}}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): each for name, each in headers.items()})


@contextmanager
def losing(address: str, lost: int) -> Iterator[str]:
    """Stand before a service and keep the first answers to oneself: the request got through, its answer did not."""
    place = urlsplit(address)
    listener = socket.create_server(("127.0.0.1", 0))
    left = [lost]

    def request_of(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
        return head.replace(b"Connection: keep-alive", b"Connection: close") + b"\r\n\r\n" + body

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, socket.create_connection((place.hostname or "", place.port or 0)) as behind:
                behind.sendall(request_of(connection))
                answer = b"".join(iter(lambda: behind.recv(65536), b""))
                if left[0] > 0:
                    left[0] -= 1
                else:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


# ---- what it loads -----------------------------------------------------------------------------------------------

LOADED = """
import sys
before = set(sys.modules)
import {name}
new = {{module.partition(".")[0] for module in set(sys.modules) - before}} - sys.stdlib_module_names
own = {{module for module in sys.modules if module.startswith(("service.", "index", "eval"))}}
print(sorted(new - {{"service"}}), sorted(own))
"""


def loaded(name: str) -> tuple[set[str], set[str]]:
    """Return the third-party packages and the modules of this project that an import loads."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(name=name)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    packages, own = re.findall(r"\[.*?\]", done.stdout)
    return set(json.loads(packages.replace("'", '"'))), set(json.loads(own.replace("'", '"')))


def test_it_loads_httpx_and_what_that_needs_and_nothing_else() -> None:
    packages, own = loaded("service.client")
    assert "httpx" in packages
    httpxs = {"anyio", "certifi", "h11", "httpcore", "idna", "sniffio", "typing_extensions"}
    # What httpx itself tries to load if it happens to be there: its command line, and the terminal library of that.
    assert packages <= {"httpx", *httpxs, "click", "rich", "pygments", "socksio", "h2", "brotli", "zstandard"}
    assert own == {f"service.{name}" for name in ("client", "client_calls", "client_exchange", "client_records")}
    packages, own = loaded("service.schemas")
    assert {"pydantic", "numpy"} & packages and "index" in own, "the null control"


# ---- checked against the OpenAPI document ------------------------------------------------------------------------


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        for call in methods.values():
            yield call["operationId"], call


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def uncovered(document: dict[str, Any], client: Any) -> list[str]:
    """Return the operations without a method, and methods without an operation."""
    there = {name for name, _ in operations(document)}
    found = [f"{name}: no method" for name in there - METHODS.keys() - EXCEPTIONS]
    found += [f"{name}: no operation" for name in (METHODS.keys() | EXCEPTIONS) - there]
    return found + [f"{name}: no method {method}" for name, method in METHODS.items() if not hasattr(client, method)]


def differing(document: dict[str, Any], kind: Any, schema: dict[str, Any], place: str) -> list[str]:
    """Compare a Python type with the schema of what it is read from."""
    schema = resolved(document, schema)
    if "anyOf" in schema:
        rest = [each for each in schema["anyOf"] if each != {"type": "null"}]
        if len(rest) < len(schema["anyOf"]):
            if get_origin(kind) not in (Union, types.UnionType) or types.NoneType not in get_args(kind):
                return [f"{place}: may be null"]
            (kind,) = [each for each in get_args(kind) if each is not types.NoneType]
        (schema,) = [resolved(document, each) for each in rest]
    if is_dataclass(kind):
        assert isinstance(kind, type)
        hints = get_type_hints(kind)
        found = [f"{kind.__name__}.{name} is missing" for name in schema["properties"].keys() - hints.keys()]
        extra = hints.keys() - schema["properties"].keys()
        found += [
            f"{kind.__name__}.{name} is not in the schema" for name in extra if f"{kind.__name__}.{name}" not in OWN
        ]
        for name, each in schema["properties"].items():
            if name in hints:
                found += differing(document, hints[name], each, f"{kind.__name__}.{name}")
        return found
    if get_origin(kind) is tuple:
        if schema.get("type") != "array":
            return [f"{place}: is not a list"]
        return differing(document, get_args(kind)[0], schema["items"], f"{place}[]")
    if get_origin(kind) is not None:
        return [] if schema.get("type") == "object" else [f"{place}: is not an object"]
    names = {"integer": int, "number": float, "boolean": bool, "string": str}
    return [] if names.get(schema.get("type", "")) is kind else [f"{place}: {kind} is not {schema}"]


def misread(document: dict[str, Any]) -> list[str]:
    """Return the fields of responses that the records do not have, or not so."""
    found = []
    for name, call in operations(document):
        if name in RECORDS:
            (content,) = [
                each["content"]["application/json"]
                for status, each in call["responses"].items()
                if status in ("200", "201")
            ]
            found += differing(document, RECORDS[name], content["schema"], name)
    (answer, error) = resolved(document, {"$ref": "/BatchResponse"})["properties"]["answers"]["items"]["anyOf"]
    found += differing(document, records.Answer, answer, "ask_batch")
    return found + differing(document, records.Refusal, resolved(document, error)["properties"]["error"], "ask_batch")


def sent(method: str) -> tuple[str, str, set[str]]:
    """Return method, path and the names of all that a method sends if it is given everything."""
    seen: list[httpx.Request] = []
    positional, named = ALL.get(method, ((), {}))
    transport = scripted(refusal(404), seen=seen)
    with Fundstelle("http://x", "", retries=0, transport=transport) as client, suppress(CallFailed):
        getattr(client, method)(*positional, **named)
    (request,) = seen
    names = set(request.url.params) | {name.title() for name in request.headers}
    if request.headers.get("content-type", "").startswith("multipart/"):
        names |= set(re.findall(r' name="(\w+)"', request.content.decode()))
    elif request.content:
        names |= set(json.loads(request.content))
    return request.method.lower(), request.url.path, names


def unreachable(document: dict[str, Any]) -> list[str]:
    """Return what of requests no argument of a method leads to."""
    found = []
    for operation, call in operations(document):
        if operation in EXCEPTIONS or operation == "ask_batch":
            continue
        methods = [METHODS[operation]] + (["add_files"] if operation == "add_documents" else [])
        bodies = list(call.get("requestBody", {}).get("content", {}).values()) or [{"schema": {"properties": {}}}]
        for method, body in zip(methods, bodies, strict=True):
            parameters = {each["name"] for each in call.get("parameters", ()) if each["in"] != "path"}
            wanted = parameters | resolved(document, body["schema"])["properties"].keys()
            verb, path, names = sent(method)
            template = next(path for path, all_ in document["paths"].items() if call in all_.values())
            if (
                not re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
                or verb not in document["paths"][template]
            ):
                found.append(f"{method}: calls {verb} {path}")
            found += [f"{method}: {name} cannot be given" for name in sorted(wanted - names - LEFT_OUT)]
    asked = resolved(document, {"$ref": "/AskRequest"})["properties"].keys()
    return found + [f"Question.{name}" for name in asked - get_type_hints(module.Question).keys()]


def test_every_call_every_field_and_every_parameter_is_covered(openapi: dict[str, Any]) -> None:
    assert uncovered(openapi, Fundstelle) == uncovered(openapi, AsyncFundstelle) == []
    assert misread(openapi) == []
    assert unreachable(openapi) == []


def breaks_path(document: dict[str, Any]) -> None:
    document["paths"]["/v1/new"] = {"get": {"operationId": "new"}}


def drops_path(document: dict[str, Any]) -> None:
    del document["paths"]["/v1/search"]


def field_of(schema: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        properties = document["components"]["schemas"][schema]["properties"]
        if value is None:
            del properties[name]
        else:
            properties[name] = value

    return change


def parameter(document: dict[str, Any]) -> None:
    document["paths"]["/v1/documents"]["get"]["parameters"].append({"name": "sort", "in": "query"})


@pytest.mark.parametrize(
    ("rule", "change", "said"),
    [
        (lambda document: uncovered(document, Fundstelle), breaks_path, "new: no method"),
        (lambda document: uncovered(document, Fundstelle), drops_path, "search: no operation"),
        (lambda document: uncovered(document, object), lambda _: None, "search: no method search"),
        (misread, field_of("CitationBody", "page", {"type": "integer"}), "Citation.page is missing"),
        (misread, field_of("CitationBody", "quote", None), "Citation.quote is not in the schema"),
        (misread, field_of("ReceiptBody", "start", {"type": "string"}), "Receipt.start"),
        (
            misread,
            field_of("DocumentBody", "source", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
            "Document.source: may be null",
        ),
        (misread, field_of("AskResponse", "closest", {"type": "object"}), "Answer.closest: is not a list"),
        (unreachable, field_of("AskRequest", "tone", {"type": "string"}), "ask: tone cannot be given"),
        (unreachable, field_of("DeleteRequest", "dry", {"type": "string"}), "delete_where: dry cannot be given"),
        (unreachable, parameter, "list_documents: sort cannot be given"),
    ],
)
def test_what_is_not_covered_is_reported(
    openapi: dict[str, Any], rule: Callable[[Any], list[str]], change: Callable[[Any], None], said: str
) -> None:
    broken = copy.deepcopy(openapi)
    change(broken)
    found = rule(broken)
    assert any(line.startswith(said) for line in found), found


def test_both_clients_have_the_same_methods_and_say_what_they_take() -> None:
    def shown(client: type) -> Mapping[str, inspect.Signature]:
        methods = {name: each for name, each in vars(client).items() if callable(each) and not name.startswith("_")}
        return {name: inspect.signature(each).replace(return_annotation="") for name, each in methods.items()}

    assert {name: list(each.parameters) for name, each in shown(Fundstelle).items()} == {
        name: list(each.parameters) for name, each in shown(AsyncFundstelle).items()
    }
    assert list(shown(Fundstelle)["search"].parameters) == [
        "self",
        "query",
        "top_k",
        "collection",
        "filters",
        "as_of",
    ]
    assert all(inspect.getdoc(getattr(Fundstelle, name)) for name in shown(Fundstelle))


# ---- records -----------------------------------------------------------------------------------------------------


def test_what_a_newer_service_adds_is_passed_over_and_what_is_missing_is_not() -> None:
    example: Any = copy.deepcopy(ANSWER_EXAMPLE)
    answer = records.read(records.Answer, example)
    newer = copy.deepcopy(example)
    newer["mood"] = newer["citations"][0]["receipt"]["colour"] = newer["citations"][0]["passage"]["x"] = [1]
    assert records.read(records.Answer, newer) == answer
    assert asdict(answer.citations[0].receipt) == example["citations"][0]["receipt"]
    for place, wrong in (
        ("confidence", "0.9"), ("answerable", 1), ("generation", True), ("citations", {}), ("question", None),
        ("timings_ms", {"embed": "x"}), ("citations", [{}]), ("written", []),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"Answer\.{place}"):
            records.read(records.Answer, {**example, place: wrong})
    del example["searched"]
    with pytest.raises(ValueError, match=r"Answer\.searched is missing"):
        records.read(records.Answer, example)


def test_a_quote_stands_only_where_it_stands() -> None:
    answer = records.read(records.Answer, ANSWER_EXAMPLE)
    citation = answer.citations[0]
    text = "😀" * citation.start + citation.quote
    assert citation.stands_in(text)
    for wrong in (text[1:], "x" + text, text[:-1], "", text.replace("Frankreich", "Schweden")):
        assert not citation.stands_in(wrong)
    assert not replace(citation, start=5, end=5, quote="").stands_in(text), "nothing proves nothing"


# ---- the whole way -----------------------------------------------------------------------------------------------


def test_the_whole_way_with_a_running_service(service: Fundstelle, tmp_path: Path, shared: Library) -> None:
    assert (service.health().status, service.ready().status) == ("ok", "ready")
    added = service.add_text("ferry.txt", ODD, title="Fähre", metadata={"year": 1848, "by": None}, collection="way")
    (ferry,) = added.documents
    assert (ferry.title, ferry.status, dict(ferry.metadata)) == ("Fähre", "added", {"year": 1848, "by": None})
    (tmp_path / "Brücke „neu“.txt").write_text(TEXTS["bridge.txt"], "utf-8")
    files: list[module.File] = [
        tmp_path / "Brücke „neu“.txt",
        ("sub/h.txt", TEXTS["hospital.txt"].encode()),
        ("x.txt", b""),
    ]
    uploaded = service.add_files(files, collection="way")
    assert [each.source for each in uploaded.documents] == ["Brücke „neu“.txt", "sub/h.txt"]
    assert [(each.source, each.error.code) for each in uploaded.rejected] == [("x.txt", "document_empty")]

    listed = list(service.documents(collection="way", page_size=1))
    assert [each.id for each in listed] == [each.id for each in (*added.documents, *uploaded.documents)]
    assert [each.id for each in service.documents(q="fähre", collection="way")] == [ferry.id]
    assert service.list_documents(limit=1, collection="way").total == 3

    assert service.text(ferry.id) == ODD and service.original(ferry.id) == ODD.encode()
    answer = service.ask("Was kostet die Überfahrt über den Fluß?", top_k=2, collection="way")
    citation = answer.citations[0]
    assert answer.answerable and citation.document_id == ferry.id and "drei Taler" in citation.quote
    assert service.check(citation)
    assert not service.check(replace(citation, start=citation.start + 1, end=citation.end + 1)), "the null control"
    assert not service.check(replace(citation, quote=citation.quote.replace("drei", "vier")))
    assert not service.check(replace(citation, document_id="none"))
    (passage, *_) = service.search("Überfahrt", collection="way", filters={"metadata.year": 1848}).passages
    assert passage.document_id == ferry.id and service.check(passage)

    assert service.verify(citation.receipt).status == "valid"
    assert service.verify(json.loads(json.dumps(asdict(citation.receipt)))).quote == citation.quote
    asked = [module.Question(each, collection="way") for each in ("Was kostet die Überfahrt?", QUESTION)]
    first, refused, second = service.ask_batch([asked[0], "?", asked[1]])
    assert isinstance(first, module.Answer) and isinstance(second, module.Answer)
    assert isinstance(refused, module.Refusal) and refused.code == "question_empty"

    tag = service.document(ferry.id).tag
    before = shared.generation
    service.add_text("ferry.txt", "Die Fähre fährt nicht mehr.", collection="way")
    assert not service.check(citation) and service.verify(citation.receipt).status == "changed"
    then = service.ask("Was kostet die Überfahrt über den Fluß?", collection="way", as_of=before)
    assert then.citations[0].quote == citation.quote
    with pytest.raises(Refused) as failed:
        service.delete(ferry.id, if_match=tag)
    assert (failed.value.code, failed.value.status) == ("precondition_failed", 412)
    assert re.fullmatch("[0-9a-f]{16}", failed.value.request_id or "")
    service.delete(ferry.id, if_match=service.document(ferry.id).tag)
    with pytest.raises(NotFound) as gone:
        service.delete(ferry.id)
    assert gone.value.code == "document_not_found" and "document_not_found" in str(gone.value)
    assert service.verify(citation.receipt).status == "deleted"
    assert service.delete_where({"language": ["de", "en", "und"]}, collection="way").deleted == 2
    assert "fundstelle_documents" in service.metrics()


def test_the_whole_way_awaited(address: str) -> None:
    async def way() -> None:
        async with AsyncFundstelle(address) as service:
            assert (await service.ready()).status == "ready"
            for name, text in TEXTS.items():
                await service.add_text(name, text, collection="awaited")
            answers = await asyncio.gather(*(service.ask(QUESTION, collection="awaited") for _ in range(5)))
            assert len({each.citations[0].quote for each in answers}) == 1
            assert await service.check(answers[0].citations[0])
            assert not await service.check(replace(answers[0].citations[0], quote="No."))
            found = [each.source async for each in service.documents(collection="awaited", page_size=2)]
            assert found == list(TEXTS)
            events = [each async for each in service.ask_stream(QUESTION, collection="awaited")]
            assert [type(each) for each in events] == [module.EarlyAnswer, module.FinalAnswer]
            assert (await service.delete_where({"format": "text"}, collection="awaited")).deleted == 3
            with pytest.raises(Refused) as failed:
                await service.ask("?")
            assert failed.value.code == "question_empty"
            with pytest.raises(Refused):
                async for _ in service.ask_stream("?"):
                    raise AssertionError

    asyncio.run(way())


def test_a_written_answer_comes_in_parts(library: Library) -> None:
    endpoint = Endpoint(["Its repair costs four million euros. [1]\n"])
    with serving(app_of(library, writer=writer_for(endpoint))) as address, Fundstelle(address) as service:
        first, sentence, last = service.ask_stream(QUESTION)
    assert isinstance(first, module.EarlyAnswer) and first.answer.answer_kind == "extractive"
    assert isinstance(last, module.FinalAnswer) and last.answer.written is not None
    assert sentence == last.answer.written.sentences[0] and last.answer.answer_kind == "written"


def test_a_key_opens_the_door_and_is_seen_nowhere(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ring = KeyRing(library.folder)
    _, key = ring.create("reader", Scope.READ)
    said = []
    with serving(app_of(library, admission=Admission(ring))) as address:
        for given, code in (("", "key_missing"), (KEY, "key_wrong"), (None, "key_missing")):
            with Fundstelle(address, given) as client, pytest.raises(Refused) as closed:
                client.ask(QUESTION)
            assert closed.value.code == code
            said += [repr(client), str(closed.value), repr(closed.value)]
        monkeypatch.setenv("FUNDSTELLE_API_KEY", f"{key}\n")
        with Fundstelle(address) as client:
            assert client.ask(QUESTION).citations, "the null control: the key was sent"
            with pytest.raises(Refused) as failed:
                client.add_text("a.txt", "No.")
            assert failed.value.code == "scope_insufficient"
            with pytest.raises(NotFound) as absent:
                client.text("none")
            said += [repr(client), str(failed.value), repr(absent.value), repr(vars(client._terms)["address"])]
    with pytest.raises(ValueError, match="characters") as wrong:
        Fundstelle("http://x", f"{key}é")
    with pytest.raises(ValueError, match="without a key"):
        Fundstelle(f"http://me:{key}@x")
    ring.close()
    everything = " ".join([*said, str(wrong.value), caplog.text])
    assert "http" in caplog.text
    assert not [each for each in (key, key[4:12], KEY, KEY[4:20]) if each in everything]


# ---- sent again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [True, False])
def test_a_change_whose_answer_is_lost_is_made_once(
    address: str, pauses: list[float], keyed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not keyed:  # the null control: without the key, it is made again
        monkeypatch.setattr("service.client_calls._once", lambda call, key: call)
    with losing(address, 2) as through, Fundstelle(through) as service:
        added = service.add_text("once.txt", TEXTS["bridge.txt"], collection=f"keyed-{keyed}".lower())
        files = service.add_files([("file.txt", TEXTS["harvest.txt"].encode())], collection=f"keyed-{keyed}".lower())
    assert len(pauses) == 2
    assert added.documents[0].status == ("added" if keyed else "unchanged")
    assert files.documents[0].status == "added"


def test_what_was_removed_before_the_answer_got_lost_is_removed(address: str, pauses: list[float]) -> None:
    with Fundstelle(address) as service:
        document = service.add_text("gone.txt", TEXTS["bridge.txt"], collection="gone").documents[0].id
        with losing(address, 1) as through, Fundstelle(through) as again:
            again.delete(document)
        with pytest.raises(NotFound):
            service.delete(document)
    assert len(pauses) == 1


@pytest.mark.parametrize(
    ("said", "tries"),
    [
        (refusal(429, "rate_limited", Retry_After="2"), 4),
        (refusal(503, Retry_After="1"), 4),
        (refusal(503), 4),
        (refusal(409, "idempotency_in_progress", Retry_After="1"), 4),
        (httpx.Response(502, text="<html>"), 4),
        (httpx.ConnectError("refused"), 4),
        (httpx.ReadError("reset"), 4),
        (httpx.RemoteProtocolError("closed"), 4),
        (httpx.ReadTimeout("late"), 1),
        (refusal(429, "rate_limited", Retry_After=str(int(MOST_PAUSE) + 1)), 1),
        (refusal(409, "idempotency_conflict"), 1),
        (refusal(422, "question_empty"), 1),
        (refusal(500, "internal_error"), 1),
        (refusal(507, "storage_full"), 1),
        (httpx.Response(302, headers={"Location": "http://elsewhere/"}), 1),
    ],
    ids=str,
)
def test_what_says_later_is_tried_again_within_bounds(
    said: httpx.Response | Exception, tries: int, pauses: list[float]
) -> None:
    seen: list[httpx.Request] = []
    with Fundstelle("http://x", KEY, transport=scripted(said, seen=seen)) as client:
        with pytest.raises(CallFailed) as failed:
            client.add_text("a.txt", "A.")
        assert len(seen) == tries and len(pauses) == tries - 1
        for header in ("Idempotency-Key", "X-Request-ID"):
            assert len({request.headers[header] for request in seen}) == 1
        assert {request.url.host for request in seen} == {"x"}, "the key goes nowhere else"
        assert failed.value.idempotency_key == seen[0].headers["Idempotency-Key"]
        assert failed.value.request_id == seen[0].headers["X-Request-ID"]
        seen.clear()
        with pytest.raises(CallFailed):
            client.health()
        assert len(seen) == 1, "whoever asks whether it lives wants to know"
    asked = said.headers.get("Retry-After") if isinstance(said, httpx.Response) else None
    if tries > 1:
        assert all(0.2 <= pause <= 10 for pause in pauses)
        assert all(pause >= float(asked) for pause in pauses) if asked else pauses == sorted(pauses)
    copied = pickle.loads(pickle.dumps(failed.value))  # noqa: S301 - our own
    assert vars(copied) == vars(failed.value)


def test_the_number_of_tries_can_be_chosen_and_success_ends_them(pauses: list[float]) -> None:
    good = httpx.Response(200, json=ANSWER_EXAMPLE)
    for retries, failures, works in ((0, 0, True), (0, 1, False), (2, 2, True), (2, 3, False)):
        said = [refusal(503)] * failures + [good]
        with Fundstelle("http://x", transport=scripted(*said), retries=retries) as client:
            if works:
                assert client.ask("q").answerable
            else:
                with pytest.raises(Refused):
                    client.ask("q")
    with pytest.raises(ValueError, match="retries"):
        Fundstelle("http://x", retries=-1)


def test_a_pause_can_be_given_as_a_date(pauses: list[float]) -> None:
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 5))
    for given, low, high in ((soon, 3, 6), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("soon", 0.2, 1), ("-5", 0.2, 1)):
        pauses.clear()
        transport = scripted(refusal(503, Retry_After=given), httpx.Response(200, json=ANSWER_EXAMPLE))
        with Fundstelle("http://x", transport=transport) as client:
            client.ask("q")
        assert low <= pauses[0] <= high, given


def test_a_service_that_does_not_answer_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with Fundstelle(where, timeout=0.3, change_timeout=0.5) as client:
            with pytest.raises(NotReached) as late:
                client.ask(QUESTION)
            with pytest.raises(NotReached) as later:
                client.add_text("a.txt", "A.", idempotency_key="mine")
        assert time.monotonic() - begun < 20
    assert (late.value.code, late.value.status) == ("timed_out", None) and late.value.request_id
    assert (later.value.code, later.value.idempotency_key) == ("timed_out", "mine")
    with Fundstelle(where, retries=0) as client, pytest.raises(NotReached) as nobody:
        client.ask(QUESTION)
    assert nobody.value.code == "unreachable"
    assert {"timed_out", "unreachable"} <= CODES.keys()


# ---- what is no answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={"question": "q"}),
        httpx.Response(200, content=b"[" * 100_000),
        httpx.Response(404, text="<html>"),
        httpx.Response(400, json={"error": "no"}),
    ],
    ids=lambda said: said.text[:20],
)
def test_another_program_at_the_address_is_noticed(said: httpx.Response) -> None:
    with Fundstelle("http://x", transport=scripted(said)) as client, pytest.raises(NotUnderstood) as failed:
        client.ask("q")
    assert (failed.value.code, failed.value.status) == ("response_invalid", said.status_code)


def test_a_text_that_is_not_utf_8_is_no_text() -> None:
    with Fundstelle("http://x", transport=scripted(httpx.Response(200, content=b"\xff"))) as client:
        with pytest.raises(NotUnderstood):
            client.text("d")
        for nowhere in ("", ".", ".."):
            with pytest.raises(ValueError, match="no such document id"):
                client.delete(nowhere)


def test_an_id_cannot_lead_to_another_call() -> None:
    seen: list[httpx.Request] = []
    with Fundstelle("http://x", transport=scripted(refusal(404), seen=seen)) as client:
        for tricky in ("../models", "a/text", "a?x=1", "a#b", "%2e%2e", "ä"):
            with pytest.raises(NotFound):
                client.document(tricky)
    assert all(request.url.raw_path.startswith(b"/v1/documents/") for request in seen)
    assert all(request.url.raw_path.count(b"/") == 3 and b"?" not in request.url.raw_path for request in seen)


# ---- streams -----------------------------------------------------------------------------------------------------


def frame(event: str, data: Any) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def stream(*frames: bytes) -> httpx.Response:
    return httpx.Response(200, content=b"".join(frames), headers={"Content-Type": "text/event-stream"})


ODD_ANSWER: Any = {**copy.deepcopy(ANSWER_EXAMPLE), "answer": "zählt 😀.\u2028\u0085Danach"}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_events_are_whole_however_the_bytes_come(size: int) -> None:
    data = frame("answer", ODD_ANSWER) + b": \n\n" + frame("new", {}) + frame("done", ODD_ANSWER)
    assert len(data.decode().splitlines()) > data.count(b"\n"), "the null control: lines of Unicode are others"
    for given in (data, data.replace(b"\n", b"\r\n")):
        events = Events(ask_stream("q"), httpx.Response(200))
        found = [each for at in range(0, len(given), size) for each in events.feed(given[at : at + size])]
        events.expect_end()
        assert [type(each) for each in found] == [module.EarlyAnswer, module.FinalAnswer]
        assert isinstance(found[1], module.FinalAnswer) and found[1].answer.answer == ODD_ANSWER["answer"]


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (stream(frame("answer", ODD_ANSWER)), NotReached, "stream_broken"),
        (stream(frame("answer", ODD_ANSWER), frame("done", ODD_ANSWER)[:-9]), NotReached, "stream_broken"),
        (
            stream(frame("answer", ODD_ANSWER), frame("error", json.loads(refusal(500, "internal_error").content))),
            Refused,
            "internal_error",
        ),
        (stream(frame("done", {"question": "q"})), NotUnderstood, "response_invalid"),
        (httpx.Response(200, json=ANSWER_EXAMPLE), NotReached, "stream_broken"),
        (refusal(422, "question_empty"), Refused, "question_empty"),
    ],
)
def test_a_stream_without_its_end_is_no_answer(said: httpx.Response, kind: type[CallFailed], code: str) -> None:
    with Fundstelle("http://x", transport=scripted(said)) as client, pytest.raises(kind) as failed:
        assert not [each for each in client.ask_stream("q") if isinstance(each, module.FinalAnswer)]
    assert failed.value.code == code
    whole = scripted(stream(frame("answer", ODD_ANSWER), frame("done", ODD_ANSWER)))
    with Fundstelle("http://x", transport=whole) as client:
        assert len(list(client.ask_stream("q"))) == 2, "the null control"


def test_whoever_leaves_a_stream_ends_it() -> None:
    class Body(httpx.SyncByteStream):
        closed = False

        def __iter__(self) -> Iterator[bytes]:
            yield frame("answer", ODD_ANSWER)
            raise AssertionError("nobody asked for more")

        def close(self) -> None:
            self.closed = True

    body = Body()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=body))
    with Fundstelle("http://x", transport=transport) as client:
        events = client.ask_stream("q")
        assert isinstance(next(events), module.EarlyAnswer)
        assert not body.closed, "the null control"
        events.close()
        assert body.closed
