"""R10: the index is compacted and the model changed, again and again, while questions come in at a steady rate.

    python -m tests.durability.swaps [--trials 20] [--seed S] [--break mixed | mixed-models] [--save]

A trial is a swap. One writer replaces documents and notes in which generations each version was the current one.
No request may fail, and every passage of an answer must be of a version that was current in the answer's generation.
"""

from __future__ import annotations

import math
import random
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.durability import client
from tests.durability.client import Client, Reply, Server
from tests.durability.common import finish, parse_arguments
from tests.durability.texts import Version, key_word, versions_in

DOCUMENTS = 60
CLIENTS = 4
REQUESTS_PER_SECOND = 50
WRITES_PER_SECOND = 10
QUIET_SECONDS = (3.0, 20.0)
"""For so long the same load runs without swaps, to compare with: at least, and at most if there are many swaps."""
PAUSE = 0.2
"""Between one swap and the next."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: which document it was about, its generation, what it showed, and how long it took."""

    key: int
    generation: int
    shown: frozenset[Version]
    seconds: float
    swapping: bool


@dataclass
class Log:
    """What happened."""

    written: dict[int, list[tuple[int, int, Version]]] = field(default_factory=dict)
    """By key: a generation before the version was stored, one in which it was there, the version."""
    answers: list[Answered] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    not_kept: int = 0
    swapping: bool = False


class Load:
    """Clients that ask at a steady rate, and one that writes, until they are stopped."""

    def __init__(self, port: int, seed: int, log: Log) -> None:
        self._port = port
        self._seed = seed
        self._log = log
        self._stop = threading.Event()
        self._generation = 0

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(CLIENTS + 1)
        with Client(self._port) as server:
            for key in range(DOCUMENTS):
                self._write(server, Version(key, 0))
        rate = REQUESTS_PER_SECOND / CLIENTS
        self._threads = [
            self._pool.submit(self._repeat, rate, partial(self._read, random.Random(f"{self._seed} {number}")))
            for number in range(CLIENTS)
        ]
        writes = self._versions(random.Random(f"{self._seed} writer"))
        self._threads.append(
            self._pool.submit(self._repeat, WRITES_PER_SECOND, lambda server: self._write(server, next(writes)))
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for thread in self._threads:
            thread.result()

    def _repeat(self, rate: float, call: Callable[[Client], None]) -> None:
        with Client(self._port) as server:
            due = time.perf_counter()
            while not self._stop.wait(max(0.0, due - time.perf_counter())):
                # No burst to catch up after a slow call: latency is what one caller sees at this rate.
                due = max(due + 1 / rate, time.perf_counter())
                try:
                    call(server)
                except Exception as error:
                    self._log.failures.append(repr(error))

    def _read(self, draw: random.Random, server: Client) -> None:
        key = draw.randrange(DOCUMENTS)
        past = max(1, self._generation - draw.randrange(5))
        calls: list[tuple[Callable[[], Reply], int | None]] = [
            (lambda: server.search(key_word(key)), None),
            (lambda: server.search(key_word(key), as_of=past), past),
            (lambda: server.ask(key_word(key)), None),
        ]
        ((call, asked),) = draw.choices(calls, [5, 1, 4])
        swapping = self._log.swapping
        began = time.perf_counter()
        reply = call()
        seconds = time.perf_counter() - began
        if asked is not None and reply.status == 410:
            self._log.not_kept += 1  # ten newer ones were made before this one was read
        elif self._succeeded(reply, 200):
            shown = frozenset(_shown(reply.body))
            generation = reply.body["generation"]
            if asked not in (None, generation):
                self._log.failures.append(f"asked for generation {asked}, got {generation}")
            self._log.answers.append(Answered(key, generation, shown, seconds, swapping))

    def _versions(self, draw: random.Random) -> Iterator[Version]:
        for number in range(1, 2**31):
            yield Version(draw.randrange(DOCUMENTS), number)

    def _write(self, server: Client, version: Version) -> None:
        reply = server.put(version.source, version.text)
        if self._succeeded(reply, 201):
            before, self._generation = self._generation, reply.body["generation"]
            self._log.written.setdefault(version.key, []).append((before, self._generation, version))

    def _succeeded(self, reply: Reply, status: int) -> bool:
        if reply.status != status:
            self._log.failures.append(str(reply)[:600])
        return reply.status == status


def _shown(body: dict[str, Any]) -> Iterator[Version]:
    """Yield every version that some words of an answer are of."""
    for hit in [*body.get("passages", []), *body.get("closest", [])]:
        yield from versions_in(hit["text"])
    for citation in body.get("citations", []):
        yield from versions_in(citation["quote"])
        yield from versions_in(citation["passage"]["text"])


def alive(written: list[tuple[int, int, Version]], generation: int) -> set[Version]:
    """Return which versions of a document can be the current one in ``generation``.

    That is one, or two for a generation between the last known without the newer one and the first known with it:
    a change of the model has a generation of its own.
    """
    certain = [version for _, known, version in written if known <= generation]
    possible = {version for before, known, version in written if before < generation < known}
    return {*certain[-1:], *possible}


def check(log: Log) -> Counter[str]:
    """Count what is wrong, by kind; print the first ten of it."""
    kinds = Counter(failed=len(log.failures))
    examples = list(log.failures)
    for answer in log.answers:
        wrong = [each for each in answer.shown if each not in alive(log.written[each.key], answer.generation)]
        if wrong:
            kinds["other generation"] += 1
            examples.append(f"{wrong} in an answer of {answer.generation}: {log.written[wrong[0].key]}")
        if all(version.key != answer.key for version in answer.shown):
            kinds["not found"] += 1
            examples.append(f"{answer} lacks its document")
    for example in examples[:10]:
        print(example[:1000])
    return +kinds


def _swap(server: Server, number: int) -> float:
    """Swap, and return the seconds that took."""
    began = time.perf_counter()
    server.send(signal.SIGUSR2 if number % 2 else signal.SIGUSR1)
    line = server.line(60)
    if line.startswith("failed"):
        raise RuntimeError(line)
    return time.perf_counter() - began


def _percentile_99(answers: list[Answered], *, swapping: bool) -> float:
    seconds = sorted(each.seconds for each in answers if each.swapping is swapping)
    return seconds[len(seconds) * 99 // 100] * 1000 if seconds else math.nan


def main() -> None:
    """Swap under load, check every answer, and report."""
    arguments = parse_arguments(__doc__, 20, ["mixed", "mixed-models"])
    began = time.monotonic()
    options = ["--break", arguments.control] if arguments.control else []
    log = Log()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()), "data")
        server = stack.enter_context(client.start(folder, options))
        with Load(server.port, arguments.seed, log):
            least, most = QUIET_SECONDS
            time.sleep(0.5 if arguments.control else min(most, least + arguments.trials * PAUSE / 4))
            log.swapping = True
            seconds = []
            for number in range(arguments.trials):
                try:
                    seconds.append(_swap(server, number))
                except RuntimeError as error:
                    log.failures.append(repr(error))
                    break
                time.sleep(PAUSE)
    kinds = check(log)
    quiet, swapping = (_percentile_99(log.answers, swapping=which) for which in (False, True))
    figures = {
        "id": "R10",
        "trials": arguments.trials,
        "violations": kinds.total(),
        "kinds": dict(kinds),
        "swaps": len(seconds),
        "requests": len(log.answers),
        "not_kept": log.not_kept,
        "writes": sum(len(written) for written in log.written.values()),
        "milliseconds_a_swap": round(statistics.fmean(seconds) * 1000) if seconds else None,
        "p99_ms": {"quiet": round(quiet, 1), "swapping": round(swapping, 1)},
        "p99_ratio": round(swapping / quiet, 2),
    }
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
