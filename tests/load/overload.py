"""R12: ten times as many questions as the service can answer: it answers as many as ever, and refuses the rest well.

Its capacity is measured with clients that wait for each answer. Then questions come at ten times that rate, whether
or not the ones before are answered (an open loop: a closed one would hide what overload does). Both take turns, ten
seconds of overload at a time, so that a machine with other guests is as slow for the one as for the other; the median
of these rounds is judged, all of them are in the figures. Wanted: at least 90 % of the capacity answered; refusals
are 503 with Retry-After within 50 ms (p99); those let in are answered within 2 s (p99); "is it alive" within 100 ms
(p99); nothing else fails; and afterwards all is as before.

A question costs a fixed time here, waited and not computed, so that the figures say something about the service and
not about what else the machine does.

    python -m tests.load.overload --trials 10        (trials: seconds of overload)
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.durability.client import Client, start
from tests.durability.common import ROOT, finish, parse_arguments

RESULTS = ROOT / "docs" / "results" / "load"
BREAKS = ("no-limit",)
"""Null control: the line has no end."""
TIMES = 10
COST = 0.05
"""Seconds a question takes; two are worked on at a time."""
_CLOSED = 16
_ROUND = 10.0
"""Seconds of overload at a time."""
_REST = 3.0
"""Seconds in which those who wait are answered."""
_BODY = json.dumps({"question": "When does the bridge close?"}).encode()
_ASK = (
    b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    + f"Content-Length: {len(_BODY)}\r\n\r\n".encode()
    + _BODY
)
_ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Seen:
    """Latencies by status, in seconds."""

    taken: dict[int, list[float]] = field(default_factory=dict)
    without_advice: int = 0
    """Refusals that do not say when to come again."""
    failed: Counter[str] = field(default_factory=Counter)

    def note(self, status: int, seconds: float, head: bytes) -> None:
        """Write one answer down."""
        self.taken.setdefault(status, []).append(seconds)
        if status in {429, 503} and b"retry-after" not in head.lower():
            self.without_advice += 1

    def percentile(self, status: int, share: float) -> float:
        """Return a percentile of the latencies with a status, 0 if there are none."""
        taken = sorted(self.taken.get(status, []))
        return taken[min(len(taken) - 1, int(share * len(taken)))] if taken else 0.0


class Connections:
    """Connections that are kept and used again; as many as there are requests at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes, seen: Seen) -> None:
        """Send one request and note what comes."""
        begun = time.perf_counter()
        try:
            reader, writer = (
                self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
            )
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            seen.note(int(head.split()[1]), time.perf_counter() - begun, head)
            self._idle.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            seen.failed[type(error).__name__] += 1

    def close(self) -> None:
        """Close them all."""
        for _, writer in self._idle:
            writer.close()


async def _closed_loop(port: int, seconds: float, clients: int = _CLOSED) -> tuple[float, Seen]:
    """Return answers a second with so many clients that wait for each answer."""
    seen, connections = Seen(), Connections(port)
    ends = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < ends:
            await connections.send(_ASK, seen)

    await asyncio.gather(*(client() for _ in range(clients)))
    connections.close()
    return len(seen.taken.get(200, [])) / seconds, seen


async def _open_loop(port: int, seconds: float, rate: float) -> tuple[float, Seen, Seen]:
    """Send at ``rate``, whatever comes back; return answers a second, what was seen, and what watching saw."""
    seen, watched = Seen(), Seen()
    connections, watching = Connections(port), Connections(port)
    tasks: set[asyncio.Task[None]] = set()
    begun = time.perf_counter()
    sent = looks = 0
    while (now := time.perf_counter() - begun) < seconds:
        while sent < now * rate:
            sent += 1
            tasks.add(task := asyncio.create_task(connections.send(_ASK, seen)))
            task.add_done_callback(tasks.discard)
        if looks < now * 20:
            looks += 1
            tasks.add(task := asyncio.create_task(watching.send(_ALIVE, watched)))
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.002)
    goodput = len(seen.taken.get(200, [])) / seconds
    await asyncio.gather(*tasks)
    connections.close()
    watching.close()
    return goodput, seen, watched


@dataclass
class _Round:
    """What one round showed."""

    capacity: float
    goodput: float
    calm: Seen
    overloaded: Seen
    watched: Seen

    def figures(self) -> dict[str, float]:
        """Return what is judged."""
        return {
            "capacity": round(self.capacity, 1),
            "goodput_share": round(self.goodput / self.capacity, 3),
            "answered_p99_ms": round(self.overloaded.percentile(200, 0.99) * 1000),
            "calm_p99_ms": round(self.calm.percentile(200, 0.99) * 1000),
            "refused_p50_ms": round(self.overloaded.percentile(503, 0.5) * 1000, 1),
            "refused_p99_ms": round(self.overloaded.percentile(503, 0.99) * 1000, 1),
            "alive_p99_ms": round(self.watched.percentile(200, 0.99) * 1000, 1),
        }


def _round(port: int, seconds: float) -> _Round:
    capacity, calm = asyncio.run(_closed_loop(port, seconds / 2))
    goodput, overloaded, watched = asyncio.run(_open_loop(port, seconds, TIMES * capacity))
    time.sleep(_REST)
    return _Round(capacity, goodput, calm, overloaded, watched)


def run(seconds: int, control: str | None = None) -> dict[str, Any]:
    """Return figures of so many seconds of overload."""
    with tempfile.TemporaryDirectory() as name:
        options = ["--cost", str(COST), *(["--break", control] if control else [])]
        with start(Path(name) / "data", options) as server:
            with Client(server.port) as client:
                client.put("bridge.txt", "The bridge closes in October.")
            asyncio.run(_closed_loop(server.port, 1))
            rounds = [_round(server.port, min(_ROUND, seconds)) for _ in range(max(1, round(seconds / _ROUND)))]
            after, later = asyncio.run(_closed_loop(server.port, _ROUND / 2))
    by_round = [each.figures() for each in rounds]
    median = {name: statistics.median(each[name] for each in by_round) for name in by_round[0]}
    overloaded = [each.overloaded for each in rounds]
    everything = [seen for each in rounds for seen in (each.calm, each.overloaded, each.watched)]
    refused = sum(len(seen.taken.get(503, [])) for seen in overloaded)
    others = Counter(str(status) for seen in everything for status in seen.taken if status not in {200, 503})
    failed = sum((seen.failed for seen in [*everything, later]), Counter[str]())
    wrong = {
        "goodput": median["goodput_share"] < 0.9,
        "refusals are slow": median["refused_p99_ms"] > 50,
        "nobody is refused": not refused,
        "refusals give no advice": any(seen.without_advice for seen in overloaded),
        "those let in wait": median["answered_p99_ms"] > 2000,
        "it does not say that it is alive": median["alive_p99_ms"] > 100,
        "other failures": bool(others or failed),
        "it does not recover": after < 0.8 * median["capacity"],
    }
    problems = [name for name, bad in wrong.items() if bad]
    return {
        "id": "R12",
        "trials": seconds,
        "violations": len(problems),
        "examples": problems,
        **median,
        "answered": sum(len(seen.taken.get(200, [])) for seen in overloaded),
        "refused": refused,
        "share_afterwards": round(after / median["capacity"], 3),
        "rounds": by_round,
        "other": dict(others),
        "failed": dict(failed),
    }


def main() -> None:
    """Overload a server for as many seconds as asked for."""
    arguments = parse_arguments(__doc__, 10, BREAKS)
    began = time.monotonic()
    finish(arguments, run(arguments.trials, arguments.control), began, folder=RESULTS)


if __name__ == "__main__":
    main()
