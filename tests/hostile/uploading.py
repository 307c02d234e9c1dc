"""What is uploaded and in which order, what became of it, and all that was found wrong."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from index.errors import all_codes
from index.sandbox import Limits
from service.errors import PROTOCOL
from tests.hostile.bomb import COMPLEX, READ
from tests.hostile.bombs import BOMBS
from tests.hostile.mutate import mutated
from tests.hostile.running import Reply, Service

SECRET = "quittenmarmelade-4711"
"""Stands in the file of the host that bombs try to get at, and must stand in no document."""
NAMES = 400
"""Mutated files take turns with so many names: most replace an earlier one, and the folder does not grow."""
UPLOADERS = 3
_TO_EMBED = 120.0
"""Seconds that embedding and storing what one request brings may take, waiting for the other two included."""
_MOST_EXAMPLES = 20
_TAKEN = frozenset({"added", "updated", "unchanged"})
_CODES = frozenset({*all_codes(), *PROTOCOL}) - {"internal_error"}
_ENDS = {f"bomb-{bomb.name}": bomb.ends for bomb in BOMBS}

Files = list[tuple[str, bytes]]


@dataclass
class Findings:
    """What was counted, and what went wrong."""

    ends: Counter[str] = field(default_factory=Counter)
    """By format and final state or code."""
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    files: int = 0
    requests: int = 0
    slowest: float = 0.0
    tight: bool = False
    """Whether files have so little time that any may be too complex."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, detail: str) -> None:
        """Count a violation and keep the first ones."""
        with self.lock:
            self.kinds[kind] += 1
            if len(self.examples) < _MOST_EXAMPLES:
                self.examples.append(f"{kind}: {detail[:300]}")

    def judge(self, files: Files, reply: Reply, seconds: float) -> None:
        """Look at what became of one request."""
        names = [name for name, _ in files]
        with self.lock:
            self.files += len(files)
            self.requests += 1
            self.slowest = max(self.slowest, seconds)
        if reply.status >= 500:
            self.note("status", f"{reply.status} for {names}: {reply.content[:200]!r}")
        if seconds > allowed(files):
            self.note("late", f"{seconds:.0f} s for {names}")
        ends = _ends(reply, names)
        with self.lock:
            for name in names:
                self.ends[f"{name.rpartition('.')[2]} {ends.get(name, 'nothing')}"] += 1
        for name in names:
            end = ends.get(name, "nothing")
            if end not in _TAKEN and end not in _CODES:
                self.note("no_end", f"{name}: {reply.status} {reply.content[:200]!r}")
            expected = _ENDS.get(name)
            if expected is None or (self.tight and end == COMPLEX):
                continue
            if (READ if end in _TAKEN else end) not in expected:
                self.note("bomb", f"{name} ends with {end}")
        if SECRET.encode() in reply.content:
            self.note("secret", f"in the answer for {names}")


def allowed(files: Files) -> float:
    """Return the seconds a request may take: its files one after the other, each behind another request's."""
    limits = Limits()
    walls = (limits.cpu(len(data)) * limits.wall_factor for _, data in files)
    return _TO_EMBED + 2 * sum(walls)


def _ends(reply: Reply, names: Sequence[str]) -> dict[str, str]:
    """Return the final state of each file, or its code; a refusal of the request is the refusal of all its files."""
    try:
        body = reply.body
        if reply.status == 201:
            taken = {each["source"]: each["status"] for each in body["documents"]}
            left = {each["source"]: each["error"]["code"] for each in body["rejected"]}
            return {**taken, **left}
        code = body["error"]["code"]
        return dict.fromkeys(names, code) if 400 <= reply.status < 500 else {}
    except (KeyError, TypeError, ValueError):
        return {}


def bombs(seed: int, host: Path, only: str = "", most: int | None = None) -> Iterator[Files]:
    """Yield the files made by hand, each in a request of its own.

    Args:
        seed: of their order.
        host: a folder whose content must never show.
        only: those with this in their name.
        most: so many at most, the first ones of their order.
    """
    waiting = [bomb for bomb in BOMBS if only in bomb.name]
    random.Random(f"bombs {seed}").shuffle(waiting)
    for bomb in waiting[:most]:
        yield [(f"bomb-{bomb.name}", bomb.make(host))]


def damaged(trials: int, seed: int, first: int = 0) -> Iterator[Files]:
    """Yield requests with one to six of the mutated files ``first`` to ``trials``; at times a good one among them."""
    draw = random.Random(f"requests {seed} {first}")
    number = first
    while number < trials:
        size = min(draw.choice((1, 1, 1, 2, 3, 6)), trials - number)
        files = []
        for each in range(number, number + size):
            made = mutated(seed, each)
            files.append((f"m{each % NAMES:03d}.{made.name.rpartition('.')[2]}", made.data))
        number += size
        if draw.random() < 0.3:  # a good one among them
            files.insert(
                draw.randrange(len(files) + 1), (f"good{number % 5}.txt", f"Die Fähre {number} fährt.".encode())
            )
        yield files


class Uploading:
    """Uploads requests from several threads, which pause when told to."""

    def __init__(self, service: Service, todo: Iterator[Files], findings: Findings) -> None:
        self._service = service
        self._findings = findings
        self._todo = todo
        self._ready: queue.Queue[Files | None] = queue.Queue(2 * UPLOADERS)
        self._go = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(UPLOADERS)]
        self._maker = threading.Thread(target=self._make, daemon=True)
        self._busy = 0
        self._lock = threading.Condition()

    def start(self) -> None:
        """Begin, paused."""
        for thread in (self._maker, *self._threads):
            thread.start()

    @property
    def done(self) -> bool:
        """Whether all is uploaded."""
        return not any(thread.is_alive() for thread in self._threads)

    def go_on(self) -> None:
        """Upload."""
        self._go.set()

    def pause(self) -> None:
        """Send nothing more and wait until all is answered."""
        self._go.clear()
        with self._lock:
            self._lock.wait_for(lambda: not self._busy)

    def _make(self) -> None:
        for files in self._todo:
            self._ready.put(files)
        for _ in self._threads:
            self._ready.put(None)

    def _run(self) -> None:
        while (files := self._ready.get()) is not None:
            while True:
                self._go.wait()
                with self._lock:
                    if self._go.is_set():
                        self._busy += 1
                        break
            began = time.monotonic()
            try:
                reply = self._service.upload(files, timeout=allowed(files) + 60)
                self._findings.judge(files, reply, time.monotonic() - began)
            except OSError as error:
                self._findings.note("no_answer", f"{[name for name, _ in files]}: {error!r}")
            finally:
                with self._lock:
                    self._busy -= 1
                    self._lock.notify_all()
