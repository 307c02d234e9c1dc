"""A02: tenants of one service see nothing of one another, whatever they send.

A world is three collections in one data folder, each with a key of its own and documents whose words, names, titles
and metadata hold a secret of that tenant. They share words, so that a search finds all of them, and sources, so that
names collide. Each tenant then does things at random, with ids, receipts, cursors, sources and collections of the
others. Wherever a secret or an id of another tenant shows, in a body or a header, the world is a violation; so is a
foreign id that is answered in other words than one that never was, a document that changed although its tenant did
nothing, and a tenant that finds less of its own because of the others.

    python -m tests.security.tenants --trials 300
"""

from __future__ import annotations

import json
import random
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from starlette.testclient import TestClient

from index import Library
from service import reach
from service.access import EVERYBODY, Scope
from service.answer import AnswerPolicy
from service.app import build_app
from service.guard import Admission
from service.keys import KeyRing
from service.receipts import verify_receipt
from service.routes import AppState
from tests.durability.common import finish, parse_arguments
from tests.tiny import TinyEncoder

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "security"
WORLDS_IN_A_FOLDER = 25
STEPS = 24
BREAKS = ("documents", "collections", "receipts", "lists", "models")
"""Null controls: which check is switched off."""

_WORDS = "bridge ferry ward harvest budget council mayor repair engine letter market winter".split()


@dataclass
class Tenant:
    """One collection with its key, and what must never leave it."""

    collection: str
    headers: dict[str, str]
    secret: str
    ids: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def marks(self) -> list[str]:
        """What shows that something of this tenant was seen."""
        return [self.secret, *self.ids]


class World:
    """Three tenants, one client, and what went wrong."""

    def __init__(self, client: TestClient, tenants: list[Tenant], chance: random.Random) -> None:
        self.client = client
        self.tenants = tenants
        self.chance = chance
        self.problems: list[str] = []
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Fill the collections, then let everyone try everything."""
        for tenant in self.tenants:
            for number in range(self.chance.randrange(1, 4)):
                self.add(tenant, f"{self.chance.choice(_WORDS)}{number}.txt")
        before = {tenant.collection: self.inventory(tenant) for tenant in self.tenants}
        for _ in range(STEPS):
            tenant = self.chance.choice(self.tenants)
            other = self.chance.choice([each for each in self.tenants if each is not tenant])
            action = self.chance.choice(ACTIONS)
            self.done[action] += 1
            getattr(self, action)(tenant, other)
        for tenant in self.tenants:
            if self.inventory(tenant) != before[tenant.collection]:
                self.problems.append("a document changed although its tenant did nothing")

    def send(self, tenant: Tenant, method: str, path: str, *, asked: str = "", **more: Any) -> Any:
        """Send a request as ``tenant`` and look for others in whatever comes back; ``asked`` was sent, so no find."""
        response = self.client.request(method, path, headers=tenant.headers, **more)
        shown = response.content.decode("utf-8", "replace") + json.dumps(dict(response.headers))
        for other in self.tenants:
            if other is not tenant:
                for mark in other.marks:
                    if mark in shown.replace(asked, "") if asked else mark in shown:
                        self.problems.append(f"{method} {path.partition('?')[0]}: shows something of another tenant")
        if response.status_code >= 500:
            self.problems.append(f"{method} {path}: {response.status_code}")
        return response

    def add(self, tenant: Tenant, source: str) -> None:
        words = " ".join(self.chance.choices(_WORDS, k=12))
        body = {
            "source": source,
            "title": f"Title {tenant.secret}",
            "text": f"The {words} of {tenant.secret}. The council met about the bridge.",
            "collection": tenant.collection,
            "metadata": {"owner": tenant.secret, "number": self.chance.randrange(9)},
        }
        response = self.send(tenant, "POST", "/v1/documents", json=body)
        tenant.ids.append(response.json()["documents"][0]["id"])
        tenant.sources.append(source)

    def inventory(self, tenant: Tenant) -> list[tuple[str, str]]:
        listed = self.send(tenant, "GET", "/v1/documents?limit=500").json()
        if listed["total"] != len(tenant.ids):
            self.problems.append("a list counts what it does not show")
        return sorted((each["id"], each["sha256"]) for each in listed["documents"])

    # ---- what tenants try -------------------------------------------------------------------------------------

    def ask(self, tenant: Tenant, _other: Tenant) -> None:
        question = " ".join(self.chance.choices(_WORDS, k=4))
        body = {"question": question, "collection": tenant.collection, "top_k": 100}
        answer = self.send(tenant, "POST", "/v1/ask", json=body).json()
        tenant.receipts += [citation["receipt"] for citation in answer["citations"]]

    def find_all_that_is_mine(self, tenant: Tenant, _other: Tenant) -> None:
        body = {"query": "the council met about the bridge", "collection": tenant.collection, "top_k": 100}
        found = self.send(tenant, "POST", "/v1/search", json=body).json()["passages"]
        if {each["document_id"] for each in found} != set(tenant.ids):
            self.problems.append("a tenant does not find all of its own")

    def ask_there(self, tenant: Tenant, other: Tenant) -> None:
        body = {"question": other.secret, "collection": other.collection}
        self.expect(self.send(tenant, "POST", "/v1/ask", json=body, asked=other.secret), 403)

    def search_there(self, tenant: Tenant, other: Tenant) -> None:
        body = {"query": "bridge", "collection": other.collection}
        self.expect(self.send(tenant, "POST", "/v1/search", json=body), 403)

    def filter_there(self, tenant: Tenant, other: Tenant) -> None:
        filters = self.chance.choice([
            {"document_id": self.chance.choice(other.ids)},
            {"source": other.sources},
            {"metadata.owner": other.secret},
        ])  # fmt: skip
        body = {"query": "bridge", "collection": tenant.collection, "filters": filters, "top_k": 100}
        found = self.send(tenant, "POST", "/v1/search", json=body).json()["passages"]
        if {each["document_id"] for each in found} - set(tenant.ids):
            self.problems.append("a filter reaches over")

    def list_there(self, tenant: Tenant, other: Tenant) -> None:
        self.expect(self.send(tenant, "GET", f"/v1/documents?collection={other.collection}"), 403)

    def list_by_words(self, tenant: Tenant, other: Tenant) -> None:
        listed = self.send(tenant, "GET", f"/v1/documents?q={other.secret}").json()
        if listed["documents"] or listed["total"]:
            self.problems.append("a list finds another tenant's title")

    def walk_the_list(self, tenant: Tenant, _other: Tenant) -> None:
        seen: list[str] = []
        cursor = ""
        while True:
            body = self.send(tenant, "GET", f"/v1/documents?limit=1{cursor}").json()
            seen += [each["id"] for each in body["documents"]]
            if body["next_cursor"] is None:
                break
            cursor = f"&cursor={body['next_cursor']}"
        if sorted(seen) != sorted(tenant.ids):
            self.problems.append("a walk through the list is not what the tenant has")

    def open_foreign(self, tenant: Tenant, other: Tenant) -> None:
        part = self.chance.choice(("", "/text", "/original"))
        self.same_as_unknown(tenant, "GET", self.chance.choice(other.ids), part)

    def delete_foreign(self, tenant: Tenant, other: Tenant) -> None:
        self.same_as_unknown(tenant, "DELETE", self.chance.choice(other.ids), "")

    def delete_by_filter_there(self, tenant: Tenant, other: Tenant) -> None:
        body = {"collection": other.collection, "filters": {"source": other.sources}}
        self.expect(self.send(tenant, "POST", "/v1/documents/delete", json=body), 403)

    def delete_by_foreign_id(self, tenant: Tenant, other: Tenant) -> None:
        body = {"collection": tenant.collection, "filters": {"document_id": other.ids}}
        response = self.send(tenant, "POST", "/v1/documents/delete", json=body)
        if response.json().get("deleted") != 0:
            self.problems.append("a filter deletes over")

    def write_there(self, tenant: Tenant, other: Tenant) -> None:
        body = {"source": self.chance.choice(other.sources), "text": "Overwritten.", "collection": other.collection}
        self.expect(self.send(tenant, "POST", "/v1/documents", json=body), 403)

    def upload_there(self, tenant: Tenant, other: Tenant) -> None:
        files = [("file", (self.chance.choice(other.sources), b"Overwritten.", "text/plain"))]
        response = self.send(tenant, "POST", "/v1/documents", files=files, data={"collection": other.collection})
        self.expect(response, 403)

    def verify_foreign(self, tenant: Tenant, other: Tenant) -> None:
        if other.receipts:
            receipt = self.chance.choice(other.receipts)
            unknown = receipt | {"document_id": secrets.token_hex(8)}
            found, never = (self.send(tenant, "POST", "/v1/citations/verify", json=each).json()
                            for each in (receipt, unknown))  # fmt: skip
            if found != never:
                self.problems.append("a receipt tells that a document exists elsewhere")

    def verify_mine(self, tenant: Tenant, _other: Tenant) -> None:
        if tenant.receipts:
            receipt = self.chance.choice(tenant.receipts)
            verdict = self.send(tenant, "POST", "/v1/citations/verify", json=receipt).json()
            if verdict["status"] != "valid":
                self.problems.append(f"a tenant's own receipt is {verdict['status']}")

    def ask_a_batch(self, tenant: Tenant, other: Tenant) -> None:
        questions = [
            {"question": other.secret, "collection": other.collection},
            {"question": "the council met about the bridge", "collection": tenant.collection, "top_k": 100},
        ]
        response = self.send(tenant, "POST", "/v1/ask/batch", json={"questions": questions}, asked=other.secret)
        there, mine = response.json()["answers"]
        if there.get("error", {}).get("code") != "collection_forbidden" or not mine.get("citations"):
            self.problems.append("a batch reaches over, or does not reach one's own")

    def look_at_models(self, tenant: Tenant, _other: Tenant) -> None:
        listed = self.send(tenant, "GET", "/v1/models").json()["data"]
        if [each["id"] for each in listed] != [f"fundstelle/{tenant.collection}"]:
            self.problems.append("a tenant's models are not its collection")

    def chat(self, tenant: Tenant, _other: Tenant) -> None:
        response = self.chat_with(tenant, tenant.collection, "the council met about the bridge")
        self.expect(response, 200)
        if not response.json().get("fundstelle", {}).get("citations"):
            self.problems.append("a chat does not find one's own")

    def chat_there(self, tenant: Tenant, other: Tenant) -> None:
        there = self.chat_with(tenant, other.collection, "bridge")
        never = self.chat_with(tenant, f"never-{secrets.token_hex(4)}", "bridge")
        if (there.status_code, there.content) != (404, never.content):
            self.problems.append("another tenant's model is answered unlike one that never was")

    def chat_with(self, tenant: Tenant, collection: str, text: str) -> Any:
        body = {"model": f"fundstelle/{collection}", "messages": [{"role": "user", "content": text}]}
        return self.send(tenant, "POST", "/v1/chat/completions", json=body)

    def use_tools(self, tenant: Tenant, _other: Tenant) -> None:
        words = "the council met about the bridge"
        asked = self.tool(tenant, "ask", question=words, collection=tenant.collection)["structuredContent"]
        tenant.receipts += [citation["receipt"] for citation in asked["citations"]]
        found = self.tool(tenant, "search", query=words, collection=tenant.collection, k=20)["structuredContent"]
        if {each["document_id"] for each in found["passages"]} != set(tenant.ids):
            self.problems.append("a tool does not find all of a tenant's own")
        opened = self.tool(tenant, "open_document", document_id=self.chance.choice(tenant.ids))
        if tenant.secret not in opened.get("structuredContent", {}).get("text", ""):
            self.problems.append("a tool does not open a tenant's own")

    def use_tools_there(self, tenant: Tenant, other: Tenant) -> None:
        for tool, words in (("ask", "question"), ("search", "query")):
            result = self.tool(tenant, tool, **{words: "bridge", "collection": other.collection})
            if "collection_forbidden" not in str(result):
                self.problems.append(f"the tool {tool} reaches over")
            narrowed = {"document_id": self.chance.choice(other.ids)}
            more: dict[str, Any] = {words: "bridge", "collection": tenant.collection, "filters": narrowed}
            body = self.tool(tenant, tool, **more)["structuredContent"]
            if body.get("passages") or body.get("citations") or body.get("closest"):
                self.problems.append(f"a filter of the tool {tool} reaches over")
        foreign, unknown = self.chance.choice(other.ids), secrets.token_hex(8)
        there = json.dumps(self.tool(tenant, "open_document", asked=foreign, document_id=foreign))
        never = json.dumps(self.tool(tenant, "open_document", document_id=unknown))
        if there.replace(foreign, "ID") != never.replace(unknown, "ID"):
            self.problems.append("a tool answers to a foreign id unlike to one that never was")

    def tool(self, tenant: Tenant, name: str, *, asked: str = "", **arguments: Any) -> Any:
        """Call a tool, and return its result."""
        params = {"name": name, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        response = self.send(tenant, "POST", "/mcp", json=body, asked=asked)
        self.expect(response, 200)
        return response.json()["result"]

    def look_at_figures(self, tenant: Tenant, _other: Tenant) -> None:
        self.expect(self.send(tenant, "GET", "/metrics"), 403)

    # ---- checks ------------------------------------------------------------------------------------------------

    def expect(self, response: Any, status: int) -> None:
        if response.status_code != status:
            self.problems.append(f"{response.request.method} {response.url.path}: {response.status_code}")

    def same_as_unknown(self, tenant: Tenant, method: str, foreign: str, part: str) -> None:
        unknown = secrets.token_hex(8)
        there = self.send(tenant, method, f"/v1/documents/{foreign}{part}", asked=foreign)
        never = self.send(tenant, method, f"/v1/documents/{unknown}{part}")
        same = there.text.replace(foreign, "ID") == never.text.replace(unknown, "ID")
        if not (there.status_code == never.status_code == 404 and same):
            self.problems.append(f"{method} {part}: a foreign id is answered unlike one that never was")


ACTIONS = [
    "ask", "find_all_that_is_mine", "ask_there", "search_there", "filter_there", "list_there", "list_by_words",
    "walk_the_list", "open_foreign", "delete_foreign", "delete_by_filter_there", "delete_by_foreign_id",
    "write_there", "upload_there", "verify_foreign", "verify_mine", "look_at_figures", "ask_a_batch",
    "look_at_models", "chat", "chat_there", "use_tools", "use_tools_there",
]  # fmt: skip


def broken(control: str | None) -> AbstractContextManager[Any]:
    """Switch one check off."""
    listed = reach.Reach.documents

    def lists_everything(self: Any, *args: Any) -> Any:
        return listed(reach.Reach(self._library, EVERYBODY), *args)

    def lists_all_collections(self: Any) -> list[str]:
        with self._library.view() as view:
            return list(view.collections())

    match control:
        case "documents":
            return mock.patch.object(reach.Reach, "_reached", _all_of_it)
        case "collections":
            return mock.patch.object(reach.Reach, "expect", lambda _self, collection: collection)
        case "receipts":
            return mock.patch.object(
                reach, "verify_receipt", lambda library, receipt, _: verify_receipt(library, receipt)
            )
        case "models":
            return mock.patch.object(reach.Reach, "collections", lists_all_collections)
        case "lists":
            return mock.patch.object(reach.Reach, "documents", lists_everything)
        case _:
            return nullcontext()


@contextmanager
def _all_of_it(self: Any, document_id: str) -> Iterator[Any]:
    with self._library.view() as view:
        yield view, view.document(document_id)


def run(trials: int, seed: int, control: str | None = None) -> dict[str, Any]:
    """Return figures of so many worlds."""
    violations: list[str] = []
    done: Counter[str] = Counter()
    for first in range(0, trials, WORLDS_IN_A_FOLDER):
        with tempfile.TemporaryDirectory() as name, broken(control):
            count = min(WORLDS_IN_A_FOLDER, trials - first)
            _folder_of_worlds(Path(name), seed, range(first, first + count), violations, done)
    return {
        "id": "A02",
        "trials": trials,
        "violations": len(violations),
        "examples": violations[:5],
        "requests": sum(done.values()),
        "done": dict(sorted(done.items())),
    }


def _folder_of_worlds(folder: Path, seed: int, numbers: range, violations: list[str], done: Counter[str]) -> None:
    with (
        closing(KeyRing(folder)) as ring,
        Library(folder, TinyEncoder(), writable=True) as library,
        TestClient(
            build_app(AppState(library, AnswerPolicy(min_confidence=0.0), admission=Admission(ring))),
            base_url="http://localhost",
            raise_server_exceptions=False,
        ) as client,
    ):
        for number in numbers:
            chance = random.Random(f"{seed}/{number}")
            tenants: list[Tenant] = []
            for letter in "abc":
                collection = f"world-{number}-{letter}"
                _, secret = ring.create(collection, Scope.WRITE, [collection])
                mark = f"canary{chance.randrange(10**12):012d}"
                tenants.append(Tenant(collection, {"Authorization": f"Bearer {secret}"}, mark))
            world = World(client, tenants, chance)
            world.run()
            done.update(world.done)
            violations += [f"world {number}: {problem}" for problem in dict.fromkeys(world.problems)]


def main() -> None:
    """Run as many worlds as asked for."""
    arguments = parse_arguments(__doc__, 300, BREAKS)
    began = time.monotonic()
    finish(arguments, run(arguments.trials, arguments.seed, arguments.control), began, folder=RESULTS)


if __name__ == "__main__":
    main()
