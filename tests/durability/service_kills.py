"""R02: the whole service is killed under load, again and again; what it acknowledged must be there each time.

    python -m tests.durability.service_kills [--trials 30] [--seed S] [--jobs 2] [--exec] [--break early-ack] [--save]

A trial: four clients add, replace, delete, search, ask and read at once, each its own documents, so that each knows
exactly what must be there. SIGKILL comes at a random moment, often during a compaction or a change of the model. The
next server on the same folder is asked through the API alone: every acknowledged change must be there, the one that
was under way wholly or not at all, and no word of a deleted or replaced text may be found. Servers are forks of one
process that has the imports behind it; with ``--exec`` each is a process of its own.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.durability import client
from tests.durability.client import BROKEN, Client, Reply, Server
from tests.durability.common import finish, parse_arguments
from tests.durability.texts import Version

CLIENTS = 4
KEYS = 8
"""Documents a client has at most."""
KILLS_PER_FOLDER = 20
_CALLS = 30
"""A kill waits for up to so many answers."""
_REMEMBERED = 5
"""So many words of older trials are looked for again after each kill."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A version that was acknowledged, and the document it is in."""

    version: Version
    document_id: str


@dataclass
class Findings:
    """What went wrong and what was measured."""

    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    ready: list[float] = field(default_factory=list)

    def violation(self, kind: str, detail: str) -> None:
        """Note a violation."""
        self.kinds[kind] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{kind}: {detail}"[:600])

    def expect(self, holds: bool, kind: str, detail: object) -> bool:
        """Note a violation unless ``holds``, and return that."""
        if not holds:
            self.violation(kind, str(detail))
        return holds

    def add(self, other: Findings) -> None:
        """Take over what another found."""
        self.kinds += other.kinds
        self.examples += other.examples
        self.counts += other.counts
        self.ready += other.ready


class Owner:
    """A client and its documents: what it was told, and what it asked for last without hearing back."""

    def __init__(self, number: int, random_: random.Random) -> None:
        self.keys = [number * KEYS + key for key in range(KEYS)]
        self.stored: dict[int, Stored] = {}
        self.under_way: dict[int, Version | None] = {}
        """By key, what the call that was not answered would have made of it."""
        self.changed: set[int] = set()
        self.dead: list[Version] = []
        self.generation = 0
        self.findings = Findings()
        self.calls = 0
        """Answered since the last start."""
        self._random = random_
        self._written = Counter[int]()
        self._kinds: dict[Callable[[Client], None], int] = {
            self._put: 35,
            self._upload: 5,
            self._delete: 14,
            self._delete_where: 6,
            self._search: 20,
            self._ask: 5,
            self._read: 15,
        }

    def work(self, port: int) -> None:
        """Make calls until the server is gone."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        with Client(port) as server:
            try:
                while not self.under_way:
                    call = self._random.choices(kinds, weights)[0] if self.stored else self._put
                    call(server)
                    self.calls += 1
            except BROKEN:
                return
            except Exception as error:
                self.findings.violation("unexpected", repr(error))

    def versions(self) -> list[Version]:
        """Return every version that may be met again, or must not be."""
        current = [stored.version for stored in self.stored.values()]
        return [*self.dead, *current, *(version for version in self.under_way.values() if version)]

    def settle(self, present: Mapping[int, Stored]) -> None:
        """Compare what is listed with what must be; from here on, what is listed is what is known."""
        own = {key: present[key] for key in self.keys if key in present}
        before = {key: stored.version for key, stored in self.stored.items()}
        after = {key: version for key, version in (before | self.under_way).items() if version}
        listed = {key: stored.version for key, stored in own.items()}
        if listed not in (before, after):
            partly = all(listed.get(key) in (before.get(key), after.get(key)) for key in self.keys)
            wrong = {key for key in self.keys if listed.get(key) not in (before.get(key), after.get(key))}
            kind = "torn" if partly else "resurrected" if all(key not in before for key in wrong) else "lost"
            self.findings.violation(kind, f"expected {before} or {after}, found {listed}")
        self.findings.counts["under way"] += bool(self.under_way)
        self.findings.counts["under way and stored"] += bool(self.under_way) and listed != before
        known = {version for version in (*before.values(), *self.under_way.values()) if version}
        self.dead += [version for version in known if version not in listed.values()]
        self.changed |= set(self.under_way)
        self.stored, self.under_way = own, {}

    # ---- calls ----------------------------------------------------------------------------------------------

    def _put(self, server: Client) -> None:
        key = self._random.choice(self.keys)
        version = self._next_version(key)
        self.under_way = {key: version}
        reply = server.put(version.source, version.text, {"owner": self.keys[0]})
        if self._expect(reply, 201, "put"):
            self._acknowledged(reply)

    def _upload(self, server: Client) -> None:
        versions = [self._next_version(key) for key in self._random.sample(self.keys, 3)]
        self.under_way = {version.key: version for version in versions}
        reply = server.upload({version.source: version.text for version in versions})
        if self._expect(reply, 201, "upload"):
            self._acknowledged(reply)

    def _acknowledged(self, reply: Reply) -> None:
        bodies = {body["source"]: body for body in reply.body["documents"]}
        for key, version in self.under_way.items():
            body = bodies.get(version.source) if version else None
            if version is None or body is None:
                self.findings.violation("answer", f"{version} is not in {reply}")
                continue
            before = self.stored.get(key)
            status = "updated" if before else "added"
            same_id = before is None or before.document_id == body["id"]
            self.findings.expect(body["status"] == status and same_id, "answer", f"{body}, not {status}")
            self.stored[key] = Stored(version, body["id"])
            self._bury(before)
            self.changed.add(key)
        self._answered(reply)

    def _delete(self, server: Client) -> None:
        key, stored = self._random.choice(list(self.stored.items()))
        self.under_way = {key: None}
        if self._expect(server.delete(stored.document_id), 204, "delete"):
            self._gone()

    def _delete_where(self, server: Client) -> None:
        keys = self._random.sample(self.keys, 3)
        self.under_way = dict.fromkeys(keys)
        reply = server.delete_where({"source": [Version(key, 0).source for key in keys]})
        if self._expect(reply, 200, "delete by filter"):
            met = sum(key in self.stored for key in keys)
            self.findings.expect(reply.body["deleted"] == met, "answer", f"{reply}, not {met}")
            self._gone()
            self._answered(reply)

    def _gone(self) -> None:
        for key in self.under_way:
            self._bury(self.stored.pop(key, None))
            self.changed.add(key)
        self._answered(None)

    def _search(self, server: Client) -> None:
        if self.dead and self._random.random() < 0.4:
            check_dead(server, self._random.choice(self.dead[-10:]), self.findings)
        else:
            self.generation = check_found(server, self._any(), self.findings, self.generation)

    def _ask(self, server: Client) -> None:
        check_asked(server, self._any(), self.findings)

    def _read(self, server: Client) -> None:
        check_text(server, self._any(), self.findings)

    def _any(self) -> Stored:
        return self._random.choice(list(self.stored.values()))

    def _next_version(self, key: int) -> Version:
        self._written[key] += 1
        return Version(key, self._written[key])

    def _bury(self, stored: Stored | None) -> None:
        if stored:
            self.dead.append(stored.version)

    def _answered(self, reply: Reply | None) -> None:
        self.under_way = {}
        self.findings.counts["acknowledged"] += 1
        if reply is not None:
            number = reply.body["generation"]
            self.findings.expect(number >= self.generation, "generation", f"{number} after {self.generation}")
            self.generation = number

    def _expect(self, reply: Reply, status: int, call: str) -> bool:
        return self.findings.expect(reply.status == status, "status", f"{call}: {reply}")


# ---- what must hold, asked through the API ------------------------------------------------------------------


def check_found(server: Client, stored: Stored, findings: Findings, least_generation: int = 0) -> int:
    """A version must be found by its word, each passage once, in its own words; returns the generation."""
    version = stored.version
    reply = server.search(version.word)
    if not findings.expect(reply.status == 200, "status", f"search: {reply}"):
        return least_generation
    spans = set()
    for hit in reply.body["passages"]:
        exact = hit["source"] != version.source or hit["text"] == version.text[hit["start"] : hit["end"]]
        findings.expect(exact, "text", f"{version} has a passage {hit}")
        if version.word in hit["text"].split():
            findings.expect(hit["document_id"] == stored.document_id, "phantom", hit)
            findings.expect((hit["start"], hit["end"]) not in spans, "duplicate", hit)
            spans.add((hit["start"], hit["end"]))
    whole = len(spans) == version.passages
    findings.expect(whole, "not found", f"{len(spans)} of {version.passages} passages of {version}")
    number: int = reply.body["generation"]
    findings.expect(number >= least_generation, "generation", f"{number} after {least_generation}")
    return number


def check_dead(server: Client, version: Version, findings: Findings) -> None:
    """No passage may have the word of a version that was replaced or deleted."""
    reply = server.search(version.word)
    if findings.expect(reply.status == 200, "status", f"search: {reply}"):
        found = [hit for hit in reply.body["passages"] if version.word in hit["text"].split()]
        findings.expect(not found, "dead word found", found[:1])


def check_text(server: Client, stored: Stored, findings: Findings) -> None:
    """The text of a version must be what was sent."""
    reply = server.text(stored.document_id)
    findings.expect(reply == Reply(200, stored.version.text), "text", f"{stored}: {str(reply)[:200]}")


def check_asked(server: Client, stored: Stored, findings: Findings, verify: bool = False) -> None:
    """An answer must quote exactly what the text says, and its receipts must hold."""
    reply = server.ask(stored.version.word)
    if not findings.expect(reply.status == 200 and reply.body["citations"], "status", f"ask: {str(reply)[:200]}"):
        return
    own = [each for each in reply.body["citations"] if each["document_id"] == stored.document_id]
    findings.expect(bool(own), "not found", f"{stored} is not cited in {reply}")
    for citation in own:
        slice_ = stored.version.text[citation["start"] : citation["end"]]
        findings.expect(citation["quote"] == slice_ != "", "quote", f"{citation['quote']!r} is not {slice_!r}")
        if verify:
            verdict = server.call("POST", "/v1/citations/verify", citation["receipt"])
            findings.expect(verdict.status == 200 and verdict.body["status"] == "valid", "quote", verdict)


def check_restarted(server: Client, owners: Sequence[Owner], draw: random.Random, findings: Findings) -> None:
    """Compare everything with what the clients know, after a restart."""
    findings.expect(server.call("GET", "/readyz").status == 200, "not ready", "")
    known = {version.sha256: version for owner in owners for version in owner.versions()}
    present = _listed(server, draw.choice((3, 7, 500)), known, findings)
    for owner in owners:
        owner.settle(present)
        settled = [key for key in owner.stored if key not in owner.changed]
        owner.changed.update(draw.sample(settled, min(2, len(settled))))
        changed = [stored for key, stored in owner.stored.items() if key in owner.changed]
        for stored in changed:
            owner.generation = check_found(server, stored, findings, owner.generation)
            check_text(server, stored, findings)
        for stored in changed[:1]:
            check_asked(server, stored, findings, verify=True)
        for version in owner.dead:
            check_dead(server, version, findings)
        owner.dead = draw.sample(owner.dead, min(_REMEMBERED, len(owner.dead)))
        owner.changed.clear()


def _listed(server: Client, limit: int, known: Mapping[str, Version], findings: Findings) -> dict[int, Stored]:
    """Return what is listed, by key; every document must be one that somebody sent."""
    reply = server.documents(limit)
    if not findings.expect(reply.status == 200, "status", f"list: {reply}"):
        return {}
    present: dict[int, Stored] = {}
    for body in reply.body:
        version = known.get(body["sha256"])
        if version is None or version.source != body["source"]:
            findings.violation("phantom", str(body))
            continue
        findings.expect(version.key not in present, "duplicate", body)
        sizes = (body["passages"], body["characters"])
        findings.expect(sizes == (version.passages, len(version.text)), "torn", body)
        present[version.key] = Stored(version, body["id"])
    return present


# ---- trials -------------------------------------------------------------------------------------------------


def kill_again_and_again(trials: int, seed: int, options: Sequence[str], fork: bool) -> Findings:
    """Kill a server ``trials`` times, with a new folder after every ``KILLS_PER_FOLDER``."""
    client.end_with_parent()
    findings = Findings()
    draw = random.Random(seed)
    start = partial(client.fork if fork else client.start, options=options)
    for first in range(0, trials, KILLS_PER_FOLDER):
        with tempfile.TemporaryDirectory() as scratch:
            owners = [Owner(number, random.Random(draw.random())) for number in range(CLIENTS)]
            for _ in range(first, min(first + KILLS_PER_FOLDER, trials)):
                if draw.random() < 0.2:
                    _kill_while_it_starts(start(Path(scratch, "data")), draw.uniform(0, 0.25))
                    findings.counts["killed while starting"] += 1
                with start(Path(scratch, "data")) as server:
                    _check(server, owners, draw, findings)
                    _load(server, owners, draw)
                for line in server.last_lines:
                    findings.expect(not line.startswith("failed"), "swap", line)
                    findings.counts[line.split()[0]] += 1
            with start(Path(scratch, "data")) as server:
                _check(server, owners, draw, findings)
        for owner in owners:
            findings.add(owner.findings)
    return findings


def _kill_while_it_starts(server: Server, seconds: float) -> None:
    time.sleep(seconds)
    server.end(signal.SIGKILL)


def _check(server: Server, owners: Sequence[Owner], draw: random.Random, findings: Findings) -> None:
    findings.ready.append(server.seconds_to_ready)
    with Client(server.port) as caller:
        check_restarted(caller, owners, draw, findings)


def _load(server: Server, owners: Sequence[Owner], draw: random.Random) -> None:
    threads = [threading.Thread(target=owner.work, args=(server.port,)) for owner in owners]
    for owner, thread in zip(owners, threads, strict=True):
        owner.calls = 0
        thread.start()
    left = draw.uniform(0.05, 0.6)
    swap = draw.choice((signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2, None, None))
    if swap:
        before = draw.uniform(0, left)
        time.sleep(before)
        server.send(swap)
        left -= before
    time.sleep(left)
    # On a slow machine, too, something must have happened that could be lost.
    calls, deadline = draw.randrange(_CALLS), time.monotonic() + 10
    while sum(owner.calls for owner in owners) < calls and time.monotonic() < deadline:
        time.sleep(0.002)
    server.end(signal.SIGKILL)
    for thread in threads:
        thread.join()


def main() -> None:
    """Run the trials and report."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--exec", action="store_true")
    own, sys.argv[1:] = parser.parse_known_args()
    arguments = parse_arguments(__doc__, 30, ["early-ack"])
    began = time.monotonic()
    options = ["--background"] + (["--break", arguments.control] if arguments.control else [])
    share = math.ceil(arguments.trials / own.jobs)
    shares = [min(share, arguments.trials - share * job) for job in range(own.jobs)]
    findings = Findings()
    with ProcessPoolExecutor(own.jobs, multiprocessing.get_context("fork")) as pool:
        jobs = [
            pool.submit(kill_again_and_again, trials, arguments.seed + job, options, not own.exec)
            for job, trials in enumerate(shares)
            if trials > 0
        ]
        for job in jobs:
            findings.add(job.result())
    for example in findings.examples:
        print(example)
    seconds = time.monotonic() - began
    figures = {
        "id": "R02",
        "trials": arguments.trials,
        "violations": findings.kinds.total(),
        "kinds": dict(findings.kinds),
        **findings.counts,
        "server": "process" if own.exec else "fork",
        "seconds_per_kill": round(seconds / arguments.trials, 2),
        "seconds_to_ready": {
            "median": round(statistics.median(findings.ready), 3),
            "max": round(max(findings.ready), 3),
        },
    }
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
