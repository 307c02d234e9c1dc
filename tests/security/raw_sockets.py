"""F03: whatever bytes come over a connection, nothing is executed that was not clearly asked for.

Streams (:mod:`tests.security.streams`) are sent to a server of its own, two dozen at a time: framing that can be read
in two ways, heads that are none, other protocols, pipelines, requests that end in the middle. Wanted: no 5xx; what is
in a body is never executed; each request is answered at most once, in order, and in whole; a request behind is
answered exactly once, or the connection is closed; nothing that was cut off is stored. In between, the server answers
an ordinary question; at the end it holds no connection, task or socket more than in the beginning.

    python -m tests.security.raw_sockets --trials 5000
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.durability.client import Client
from tests.durability.common import ROOT, finish, parse_arguments
from tests.security.broken import RAW
from tests.security.served import PATIENCE, Served, serving
from tests.security.streams import Maker, Place, Stream

RESULTS = ROOT / "docs" / "results" / "security"
BREAKS = tuple(RAW)
AT_ONCE = 24
BATCH = 500
"""Streams between two ordinary questions."""
ENOUGH = 100
"""Problems; then it ends."""
_HANGS = 12.0
"""Seconds after which a connection that should have been closed counts as forgotten."""
_ENDED = struct.pack("ii", 1, 0)
"""Of SO_LINGER: cut the connection, do not end it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, the id of the request that it names, and its body."""

    status: int
    identity: str
    kind: str
    body: bytes


@dataclass
class Seen:
    """What was seen."""

    problems: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    """Connections that were closed without a word."""
    slowest: float = 0.0


def read_answers(data: bytes) -> tuple[list[Answer], bytes]:
    """Return all whole answers at the beginning of ``data``, and what follows them."""
    answers: list[Answer] = []
    while data:
        head, separator, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status_line = lines[0].split(b" ", 2)
        if not separator or len(status_line) < 2 or not status_line[1].isdigit():
            break
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        status, identity = int(status_line[1]), headers.get(b"x-request-id", b"").decode("latin-1")
        if status < 200:
            data = rest
            continue
        if identity.startswith("h-") or status in {204, 304}:
            body = b""
        elif headers.get(b"transfer-encoding") == b"chunked":
            pieces, place = [], rest
            while True:
                size, separator, place = place.partition(b"\r\n")
                if not separator or len(place) < int(size, 16) + 2:
                    return answers, data
                pieces.append(place[: int(size, 16)])
                place = place[int(size, 16) + 2 :]
                if not pieces[-1]:
                    break
            body, rest = b"".join(pieces), place
        else:
            length = int(headers[b"content-length"])
            if len(rest) < length:
                break
            body, rest = rest[:length], rest[length:]
        answers.append(Answer(status, identity, headers.get(b"content-type", b"").decode("latin-1"), body))
        data = rest
    return answers, data


def judge(stream: Stream, number: int, data: bytes) -> list[str]:
    """Return what is wrong with all that came back."""
    answers, rest = read_answers(data)
    identities = [answer.identity for answer in answers]
    last = f"behind-{number}"
    named = [each for each in identities if each == last or each in stream.ids]
    expected = [*stream.ids, last]
    problems = [f"{answer.status}" for answer in answers if answer.status >= 500]
    if any("smuggled" in identity for identity in identities):
        problems.append("what was smuggled is executed")
    if named != [each for each in expected if each in named]:
        problems.append("answered twice, or out of order")
    if rest and stream.ending == "behind" and stream.wanted != "refused":
        problems.append("half an answer")
    if stream.wanted in {"answered", "denied"} and identities != expected:
        problems.append(f"not all was answered: {len(answers)} of {len(expected)}")
    succeeded = [answer for answer in answers if answer.status < 400 and answer.identity in stream.ids]
    if stream.wanted in {"denied", "refused"} and succeeded:
        problems.append("accepted")
    if stream.wanted == "refused" and last in identities:
        problems.append("the connection goes on")
    if last in identities and answers[identities.index(last)].status != 200:
        problems.append("the request behind is not understood")
    problems += [
        f"{each.status} without its reason" for each in answers if each.status >= 400 and not _says_why(each)
    ]
    return problems


def _says_why(answer: Answer) -> bool:
    if answer.identity.startswith("h-"):
        return True
    try:
        return answer.kind == "application/json" and bool(json.loads(answer.body)["error"]["code"])
    except (ValueError, KeyError):
        return False


async def send(port: int, stream: Stream, behind: bytes) -> tuple[bytes, bool]:
    """Send a stream and return all that came back, and whether the other side closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    try:
        writer.transport.set_write_buffer_limits(2**20)
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (*stream.parts, *([behind] if stream.ending == "behind" else [])):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if stream.ending == "half":
            writer.write_eof()
        elif stream.ending == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ENDED)
            return b"", True
        async with asyncio.timeout(_HANGS):
            while piece := await reader.read(2**16):
                received += piece
    except TimeoutError:
        return bytes(received), False
    except OSError:  # cut by the other side, which is one way to refuse
        return bytes(received), True
    finally:
        writer.transport.abort()
    return bytes(received), True


async def _all(port: int, maker: Maker, trials: int, seen: Seen) -> None:
    """Send so many streams, ordinary questions in between, and wait for all who were silent."""
    silent: set[asyncio.Task[None]] = set()
    for first in range(0, trials, BATCH):
        waiting = iter(range(first, min(first + BATCH, trials)))

        async def one_after_the_other(numbers: Iterator[int]) -> None:
            for number in numbers:
                stream = maker.make(number)
                one = _one(port, stream, number, maker.behind(), seen)
                if stream.ending == "silent":
                    silent.add(asyncio.create_task(one))
                else:
                    await one

        await asyncio.gather(*(one_after_the_other(waiting) for _ in range(AT_ONCE)))
        seen.problems += await asyncio.to_thread(_control, port, maker.place)
        if len(seen.problems) > ENOUGH:
            break
    await asyncio.gather(*silent)


async def _one(port: int, stream: Stream, number: int, behind: bytes, seen: Seen) -> None:
    begun = time.perf_counter()
    try:
        data, closed = await send(port, stream, behind)
    except OSError as error:
        seen.problems.append(f"stream {number}, {stream.kind}: no connection: {error!r}")
        return
    seen.kinds[stream.kind] += 1
    if stream.ending != "silent":
        seen.slowest = max(seen.slowest, time.perf_counter() - begun)
    problems = judge(stream, number, data)
    if not closed:
        problems.append("the connection is not closed")
    seen.problems += [f"stream {number}, {stream.kind}: {problem}" for problem in problems]
    seen.statuses.update(str(answer.status) for answer in read_answers(data)[0])
    seen.unanswered += not data


def _prepare(port: int) -> Place:
    with Client(port) as client:
        kept, victim = (
            client.put(f"{name}.txt", f"The bridge of {name} closes in October.").body["documents"][0]["id"]
            for name in ("kept", "victim")
        )
    return Place(kept, victim)


def _control(port: int, place: Place) -> list[str]:
    """Ask ordinary questions; return what is wrong with the answers."""
    problems: list[str] = []
    try:
        with Client(port) as client:
            if client.call("GET", f"/v1/documents/{place.victim}").status != 200:
                problems.append("a document was removed by what was smuggled")
            listed = client.documents().body
            if sorted(each["id"] for each in listed) != sorted((place.kept, place.victim)):
                problems.append("a request that was cut off was executed")
            if client.search("bridge").status != 200:
                problems.append("an ordinary question is not answered")
    except OSError as error:
        problems.append(f"the server does not answer: {error!r}")
    return problems


def _left_behind(served: Served, before: dict[str, int]) -> list[str]:
    """Return what the server holds more than before, after it had time to drop it."""
    deadline = time.monotonic() + 3 * PATIENCE + 4
    while True:
        now = served.held()
        more = {name: count - before[name] for name, count in now.items() if count > before[name]}
        if not more or time.monotonic() > deadline:
            return [f"left behind: {count} {name}" for name, count in more.items()]
        time.sleep(0.2)


def run(trials: int, seed: int, control: str | None = None) -> dict[str, Any]:
    """Return figures of so many streams."""
    seen = Seen()
    with (
        tempfile.TemporaryDirectory() as name,
        serving(Path(name), "--impatient", *(["--break", control] if control else [])) as served,
    ):
        place = _prepare(served.port)
        _control(served.port, place)
        before = served.held()
        maker = Maker(place, str(seed))
        asyncio.run(_all(served.port, maker, trials, seen))
        with contextlib.suppress(RuntimeError):
            seen.problems += _left_behind(served, before)
        seen.problems += [f"nobody caught: {fault}" for fault in served.faults()]
    return {
        "id": "F03",
        "trials": sum(seen.kinds.values()),
        "violations": len(seen.problems),
        "examples": [*dict.fromkeys(seen.problems)][:10],
        "kinds": dict(sorted(seen.kinds.items())),
        "statuses": dict(sorted(seen.statuses.items())),
        "closed_without_a_word": seen.unanswered,
        "slowest_ms": round(seen.slowest * 1000),
    }


def main() -> None:
    """Send as many streams as asked for."""
    arguments = parse_arguments(__doc__, 5000, BREAKS)
    began = time.monotonic()
    finish(arguments, run(arguments.trials, arguments.seed, arguments.control), began, folder=RESULTS)


if __name__ == "__main__":
    main()
