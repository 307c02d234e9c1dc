"""Streams of bytes that a careful server must not be confused by, and what each of them may lead to.

A stream is a request, or something like one, made at random from a seed. What it smuggles is a request that removes
a document and is part of a body, however wrongly that body's length is told: it must never be executed. Every
request that may be executed has an id, which the service repeats in its answer; so has the smuggled one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Wanted = Literal["answered", "denied", "refused", "any"]
Ending = Literal["behind", "half", "reset", "silent"]


@dataclass(frozen=True, slots=True)
class Stream:
    """What is sent over one connection.

    Attributes:
        kind: names it in figures.
        parts: sent one by one, so that the server sees the seams.
        ids: of the requests that may be executed, in order; "h-" before those whose answer has no body.
        wanted: "answered": each of them once, in order; "denied": the same, none with success; "refused": none with
            success, and the connection is closed; "any": any of these.
        ending: "behind": one more request follows, with which the connection is to be closed; "half": we have no
            more to say; "reset": the connection is cut; "silent": nothing more is done.
    """

    kind: str
    parts: tuple[bytes, ...]
    ids: tuple[str, ...]
    wanted: Wanted
    ending: Ending


@dataclass(frozen=True, slots=True)
class Place:
    """What is there to be asked for, and to be removed.

    Attributes:
        kept: id of a document that is read.
        victim: id of the document that smuggled requests remove.
    """

    kept: str
    victim: str


class Maker:
    """Makes streams.

    Args:
        place: what they ask for.
        seed: the same one makes the same streams.
    """

    def __init__(self, place: Place, seed: str) -> None:
        self.place = place
        self.seed = seed
        self.chance = random.Random(seed)
        self.number = 0

    def make(self, number: int) -> Stream:
        """Return one stream."""
        self.number, self.chance = number, random.Random(f"{self.seed}/{number}")
        kind = self.chance.choices([each for each, _ in KINDS], [weight for _, weight in KINDS])[0]
        return kind(self)

    def behind(self) -> bytes:
        """Return the request that follows a stream."""
        return self.get(f"behind-{self.number}", b"Connection: close\r\n")

    def id(self, index: int = 0) -> str:
        """Return the id of one of a stream's requests."""
        return f"sent-{self.number}-{index}"

    def get(self, identity: str, more: bytes = b"", path: str | None = None) -> bytes:
        """Return a request that reads."""
        where = path or f"/v1/documents/{self.place.kept}"
        return f"GET {where} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {identity}\r\n".encode() + more + b"\r\n"

    def post(self, *lengths: bytes, body: bytes, path: str = "/v1/search", version: bytes = b"1.1") -> bytes:
        """Return a request with a body whose length is told as ``lengths`` says."""
        head = f"POST {path} HTTP/".encode() + version + b"\r\nHost: localhost\r\n"
        named = f"X-Request-ID: {self.id()}\r\nContent-Type: application/json\r\n".encode()
        return head + named + b"".join(each + b"\r\n" for each in lengths) + b"\r\n" + body

    def query(self) -> bytes:
        """Return the body of a search."""
        return json.dumps({"query": self.chance.choice(("bridge", "ferry", "ward")), "top_k": 1}).encode()

    def smuggled(self) -> bytes:
        """Return what must never be executed."""
        return (
            f"DELETE /v1/documents/{self.place.victim} HTTP/1.1\r\nHost: localhost\r\n"
            f"X-Request-ID: smuggled-{self.number}\r\n\r\n"
        ).encode()

    def chunks(self, body: bytes) -> bytes:
        """Return ``body`` in chunks, as is allowed."""
        out, place = b"", 0
        while place < len(body):
            piece = body[place : place + self.chance.randrange(1, 200)]
            extension = self.chance.choice((b"", b"", b";a=b", b";x"))
            size = self.chance.choice((b"%x", b"%X", b"0%x", b"000%x")) % len(piece)
            out += size + extension + b"\r\n" + piece + b"\r\n"
            place += len(piece)
        trailer = self.chance.choice((b"", b"", b"X-After: 1\r\n", b"Content-Length: 5\r\n"))
        return out + b"0\r\n" + trailer + b"\r\n"

    def cut(self, data: bytes) -> tuple[bytes, ...]:
        """Return ``data`` in a few pieces."""
        if self.chance.random() < 0.7 or len(data) < 4:
            return (data,)
        seams = sorted(self.chance.sample(range(1, len(data)), min(3, len(data) - 1)))
        return tuple(data[a:b] for a, b in zip([0, *seams], [*seams, len(data)], strict=True))


# ---- odd, but right: must be answered ------------------------------------------------------------------------


def odd(maker: Maker) -> Stream:
    """Return a request that is unusual and allowed."""
    body, chance = maker.query(), maker.chance
    length = b"Content-Length: %d" % len(body)
    ways: list[Callable[[], bytes]] = [
        lambda: maker.post(b"cOnTeNt-LeNgTh:\t %d \t" % len(body), body=body),
        lambda: maker.post(b"Content-Length: 000%d" % len(body), body=body),
        lambda: maker.post(length, length, body=body),
        lambda: maker.post(b"transfer-encoding:CHUNKED", body=maker.chunks(body)),
        lambda: maker.post(b"Transfer-Encoding: \t chunked", body=maker.chunks(body)),
        lambda: maker.post(b"X-Long: " + b"x" * chance.randrange(1, 12_000), length, body=body),
        lambda: maker.post(*(b"X-%d: y" % each for each in range(chance.randrange(1, 300))), length, body=body),
        lambda: maker.post(b"X-Empty:", b"X-Odd: \x80\xff", length, body=body),
        lambda: maker.post(b"X-Folded: a\r\n b\r\n\tc", length, body=body),
        lambda: maker.post(b"Expect: 100-continue", length, body=body),
        lambda: maker.post(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", length, body=body),
        lambda: maker.post(b"Upgrade: websocket", b"Connection: Upgrade", length, body=body),
        lambda: maker.get(maker.id(), b"Range: bytes=0-,0-,0-\r\nTE: trailers\r\n"),
        lambda: maker.get(maker.id(), path=f"/v1/documents/{maker.place.kept}?" + "a=b&" * chance.randrange(2000)),
        lambda: maker.get(maker.id(), b"Content-Length: %d\r\n" % len(maker.smuggled())) + maker.smuggled(),
        lambda: maker.post(
            b"Content-Length: %d" % len(maker.smuggled()), body=maker.smuggled(), path="/nowhere"
        ),
        lambda: maker.post(b"Transfer-Encoding: chunked", body=maker.chunks(maker.smuggled() * 3), path="/nowhere"),
        lambda: maker.post(b"Content-Length: %d" % len(maker.smuggled()), body=maker.smuggled()),
    ]  # fmt: skip
    made = chance.choice(ways)()
    return Stream("odd", maker.cut(made), (maker.id(),), "answered", "behind")


def pipelined(maker: Maker) -> Stream:
    """Return several requests at once."""
    ids, data = [], b""
    for index in range(maker.chance.randrange(2, 9)):
        match maker.chance.randrange(4):
            case 0:
                ids.append(f"h-{maker.id(index)}")
                data += maker.get(ids[-1], path="/healthz").replace(b"GET", b"HEAD", 1)
            case 1:
                ids.append(maker.id(index))
                body = maker.chunks(maker.query())
                head = f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {ids[-1]}\r\n"
                data += head.encode() + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + body
            case _:
                ids.append(maker.id(index))
                data += maker.get(ids[-1], path=maker.chance.choice((None, "/healthz", "/nowhere", "/")))
    return Stream("pipelined", maker.cut(data), tuple(ids), "answered", "behind")


# ---- two ends of one body: must be refused -------------------------------------------------------------------

_WRONG_LENGTHS = (
    b"+%d", b"-%d", b"0x%x", b"%d.0", b"%d,", b"%d, 5", b"%de0", b"\xef\xbc\x95%d", b"%d\x0b", b"%d 5", b'"%d"', b"",
    b"9" * 30 + b"%d", b"_%d", b"%d_0", b"NaN%d", b"%d;", b"\x00%d",
)  # fmt: skip
_WRONG_CODINGS = (
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\x00", b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:", b"Transfer-Encoding: chunk", b"Transfer-Encoding: chunked\r\r\n X: y",
    b"Transfer\x00-Encoding: chunked", b"Transfer-Encoding\t: chunked", b"Transfer-Encoding: ch\r\n unked",
)  # fmt: skip


def both_lengths(maker: Maker) -> Stream:
    """Return a request with a length and chunks, so that one reading has another request in it."""
    coding = maker.chance.choice((
        b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding:\r\n chunked", b"X: y\nTransfer-Encoding: chunked",
    ))  # fmt: skip
    if maker.chance.random() < 0.5:  # by its length, all of it is a body; by its chunks, it ends at once
        body = b"0\r\n\r\n" + maker.smuggled()
        told = maker.chance.choice((len(body), 5))
    else:  # by its chunks, it is all a body; by its length, it ends before the smuggled request
        head = b"%x\r\n" % len(maker.smuggled())
        body = head + maker.smuggled() + b"\r\n0\r\n\r\n"
        told = maker.chance.choice((len(head), 0))
    lengths = [b"Content-Length: %d" % told, coding]
    maker.chance.shuffle(lengths)
    return Stream("both lengths", maker.cut(maker.post(*lengths, body=body)), (maker.id(),), "refused", "behind")


def wrong_length(maker: Maker) -> Stream:
    """Return a request whose length is no number, or two."""
    body = maker.query() + maker.smuggled()
    if maker.chance.random() < 0.3:
        lengths = [b"Content-Length: %d" % len(body), b"Content-Length: %d" % (len(body) - len(maker.smuggled()))]
        maker.chance.shuffle(lengths)
    else:
        form = maker.chance.choice(_WRONG_LENGTHS)
        lengths = [b"Content-Length: " + (form % len(body) if b"%" in form else form)]
    return Stream("wrong length", maker.cut(maker.post(*lengths, body=body)), (maker.id(),), "refused", "behind")


def wrong_coding(maker: Maker) -> Stream:
    """Return a request with a coding that is none, or hidden."""
    body = maker.chunks(maker.query()) + maker.smuggled()
    lengths = [maker.chance.choice(_WRONG_CODINGS)]
    if maker.chance.random() < 0.5:
        lengths.append(b"Content-Length: %d" % len(body))
        maker.chance.shuffle(lengths)
    return Stream("wrong coding", maker.cut(maker.post(*lengths, body=body)), (maker.id(),), "refused", "behind")


def old_chunks(maker: Maker) -> Stream:
    """Return chunks in a version that has none."""
    body = maker.chunks(maker.query()) + maker.smuggled()
    made = maker.post(b"Transfer-Encoding: chunked", body=body, version=maker.chance.choice((b"1.0", b"0.9", b"0.0")))
    return Stream("old chunks", maker.cut(made), (maker.id(),), "refused", "behind")


def wrong_chunks(maker: Maker) -> Stream:
    """Return a body in chunks that are none."""
    smuggled = maker.smuggled()
    size = len(smuggled)
    body = maker.chance.choice((
        b"0x%x\r\n%s\r\n0\r\n\r\n" % (size, smuggled), b"-%x\r\n%s\r\n0\r\n\r\n" % (size, smuggled),
        b"+%x\r\n%s\r\n0\r\n\r\n" % (size, smuggled), b" %x\r\n%s\r\n0\r\n\r\n" % (size, smuggled),
        b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (size, smuggled), b"%x\n%s\n0\n\n" % (size, smuggled),
        b"%x\r%s\r0\r\r" % (size, smuggled), b"%x\r\n%sXX0\r\n\r\n" % (size, smuggled),
        b"5\r\n{}   \n\n0\r\n\r\n" + smuggled, b"g\r\n" + smuggled, b"\r\n" + smuggled,
        b"f" * 21 + b"\r\n" + smuggled, b";\r\n" + smuggled, b"2 2\r\n{}\r\n0\r\n\r\n" + smuggled,
        b"2\x00\r\n{}\r\n0\r\n\r\n" + smuggled, b"2\r\n{}0\r\n\r\n" + smuggled, b"2_0\r\n{}\r\n0\r\n\r\n" + smuggled,
    ))  # fmt: skip
    made = maker.post(b"Transfer-Encoding: chunked", body=body)
    return Stream("wrong chunks", maker.cut(made), (maker.id(),), "refused", "behind")


# ---- no requests at all --------------------------------------------------------------------------------------


def wrong_head(maker: Maker) -> Stream:
    """Return a request with a head that is none."""
    chance, identity = maker.chance, maker.id()
    good = maker.get(identity)
    line, _, rest = good.partition(b"\r\n")
    ways: list[Callable[[], bytes]] = [
        lambda: line + b"\r\n" + chance.choice((
            b" X: y\r\n", b": y\r\n", b"X y\r\n", b"X Y: z\r\n", b"X\x00: y\r\n", b"X: y\x00z\r\n", b"X: a\rb\r\n",
            b"\xffX: y\r\n", b"X(: y\r\n", b"X: \x0b\r\n", b"X : y\r\n", b"\tX: y\r\n", b"X: y\r\r\n",
        )) + rest,
        lambda: chance.choice((b"", b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1",
            b"GET /a b HTTP/1.1", b"GET /\xe4 HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET\t/\tHTTP/1.1",
            b"G\xc3T / HTTP/1.1",
            b"GET / HTTP/11", b"GET / HTTP/1.", b"GET / http/1.1", b"GET / HTTP/ 1.1", b"GET / HTTX/1.1",
            b"(GET) / HTTP/1.1",
            b"GET / HTTP/1.1\x0b", b"GET / HTTP/1.1\r", b"HTTP/1.1 200 OK", b"GET / HTTP/-1.1",
        )) + b"\r\n" + rest,
        lambda: line + b"\r\nHost: localhost\r\n" + rest,
        lambda: line + b"\r\n" + rest.replace(b"Host: localhost", b"X: y"),
        lambda: line + b"\r\nX: " + b"x" * chance.choice((17_000, 70_000, 300_000)) + b"\r\n" + rest,
        lambda: b"GET /" + b"a" * chance.choice((17_000, 70_000)) + b" HTTP/1.1\r\n" + rest,
        lambda: line + b"\r\n" + b"".join(b"X-%d: y\r\n" % each for each in range(5000)) + rest,
    ]  # fmt: skip
    made = chance.choice(ways)()
    return Stream("wrong head", maker.cut(made), (identity,), "refused", "behind")


def wrong_host(maker: Maker) -> Stream:
    """Return a request to somebody else."""
    host = maker.chance.choice((
        b"Host: evil.example", b"Host:", b"Host: localhost, evil.example", b"Host: localhost@evil.example",
        b"Host: localhost/", b"Host: localhost:port", b"Host: loc%61lhost", b"Host: \xff", b"Host: [::1",
        b"Host: localhost#", b"Host: localhost?", b"Host: local\r\n host", b"Host: xn--localhost",
    ))  # fmt: skip
    made = maker.get(maker.id()).replace(b"Host: localhost", host)
    return Stream("wrong host", maker.cut(made), (maker.id(),), "denied", "behind")


def other_protocols(maker: Maker) -> Stream:
    """Return the beginning of something else."""
    chance = maker.chance
    data = chance.choice((
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + maker.get(maker.id()), b"EHLO x\r\nMAIL FROM:<a@b>\r\n",
        b"\x05\x01\x00", b"SSH-2.0-x\r\n", b"\x00" * 100, b"\r\n" * 100, b"\n" * 3000, b"*1\r\n$4\r\nPING\r\n",
        b"OPTIONS sip:a@b SIP/2.0\r\n\r\n", bytes(chance.randrange(256) for _ in range(chance.randrange(1, 400))),
        b"\xff\xfe" + maker.get(maker.id()).decode().encode("utf-16-le"), b"\xef\xbb\xbf" + maker.get(maker.id()),
    ))  # fmt: skip
    ending: Ending = chance.choice(("half", "reset"))
    return Stream("other protocols", maker.cut(data), (maker.id(),), "any", ending)


def odd_targets(maker: Maker) -> Stream:
    """Return a request for something that is no path of ours, with a method that may be none."""
    target = maker.chance.choice((
        "*", "http://localhost/healthz", "http://evil.example/v1/documents", "localhost:80", "//evil.example/",
        "/../../etc/passwd", "/static/../../service/app.py", "/static/%2e%2e/%2e%2e/x", "/static/%00", "/%", "/%zz",
        "/%ff%fe", "/v1/documents/%00", "/v1/documents/%0d%0aX-Request-ID:%20smuggled", "/v1//documents",
        "/v1/documents/",
        "/v1/documents/" + "%F0%9F%98%80" * 64, "/?%00=%00", "/v1/documents?limit=%00",
        "/v1/documents?cursor=" + "A" * 999,
        "/v1/documents?q=%ed%a0%80", "/static/", "/static", "/static/app.js/x", "/#fragment", "/;x", "/\\..\\..",
    ))  # fmt: skip
    method = maker.chance.choice(
        ("GET", "GET", "OPTIONS", "TRACE", "CONNECT", "PATCH", "QUERY", "get", "X" * 200, "!")
    )
    made = maker.get(maker.id(), path=target).replace(b"GET", method.encode(), 1)
    return Stream("odd targets", maker.cut(made), (maker.id(),), "any", "behind")


def mutated(maker: Maker) -> Stream:
    """Return right requests with some bytes changed, left out, doubled or moved."""
    data = bytearray(maker.post(b"Transfer-Encoding: chunked", body=maker.chunks(maker.query())))
    if maker.chance.random() < 0.5:
        body = maker.query()
        data = bytearray(maker.post(b"Content-Length: %d" % len(body), body=body))
    for _ in range(maker.chance.randrange(1, 6)):
        place = maker.chance.randrange(len(data))
        match maker.chance.randrange(5):
            case 0:
                data[place] = maker.chance.randrange(256)
            case 1:
                del data[place : place + maker.chance.randrange(1, 5)]
            case 2:
                data[place:place] = maker.chance.choice(
                    (b"\r", b"\n", b"\r\n", b"\x00", b" ", b":", b"\t", b"\xff", b"0")
                )
            case 3:
                data[place:place] = data[place : place + maker.chance.randrange(1, 40)]
            case _:
                data[place] ^= 1 << maker.chance.randrange(8)
    return Stream("mutated", maker.cut(bytes(data)), (maker.id(),), "any", "half")


# ---- whoever leaves ------------------------------------------------------------------------------------------


def cut_off(maker: Maker) -> Stream:
    """Return the beginning of a request that would change something, or takes long, and then nothing more."""
    name = f"cut-{maker.number}.txt"
    edge = b"edge"
    file = b"--%s\r\nContent-Disposition: form-data; name=file; filename=%s\r\n\r\nThe bridge.\r\n--%s--\r\n"
    upload = file % (edge, name.encode(), edge)
    document = json.dumps({"source": name, "text": "The bridge is closed. " * 20}).encode()
    asked = json.dumps({"question": "Is the bridge closed?"}).encode()
    chat = json.dumps({"model": "fundstelle", "stream": True, "messages": [{"role": "user", "content": "bridge?"}]})
    whole = maker.chance.choice((
        maker.post(b"Content-Length: %d" % len(document), body=document, path="/v1/documents"),
        maker.post(b"Transfer-Encoding: chunked", body=maker.chunks(document), path="/v1/documents"),
        maker.post(b"Content-Length: %d" % len(upload), body=upload, path="/v1/documents").replace(
            b"application/json", b"multipart/form-data; boundary=" + edge),
        maker.smuggled(),
        maker.get(maker.id()),
    ))  # fmt: skip
    if maker.chance.random() < 0.2:  # whole, but whoever asked does not wait for the answer
        path, body = maker.chance.choice((("/v1/ask", asked), ("/v1/chat/completions", chat.encode())))
        made = maker.post(b"Accept: text/event-stream", b"Content-Length: %d" % len(body), body=body, path=path)
    else:
        made = whole[: maker.chance.randrange(len(whole))]
    ending: Ending = maker.chance.choice(("half", "reset"))
    return Stream("cut off", maker.cut(made), (maker.id(),), "any", ending)


def silent(maker: Maker) -> Stream:
    """Return part of a request, alone or behind a whole one, by somebody who then says nothing more."""
    before = maker.get(maker.id(1)) if maker.chance.random() < 0.6 else b""
    body = maker.query()
    begun = maker.chance.choice((
        b"", b"GET /healthz HT", b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\n",
        maker.post(b"Content-Length: 500", body=body), maker.post(b"Transfer-Encoding: chunked", body=b"5\r\nab"),
        maker.post(b"Content-Length: 70000000", body=body), maker.post(b"Expect: 100-continue",
        b"Content-Length: 9", body=b""),
    ))  # fmt: skip
    return Stream("silent", (before + begun,), (maker.id(1), maker.id()), "any", "silent")


KINDS: Sequence[tuple[Callable[[Maker], Stream], float]] = (
    (odd, 16), (pipelined, 8), (both_lengths, 10), (wrong_length, 8), (wrong_coding, 8), (old_chunks, 3),
    (wrong_chunks, 10), (wrong_head, 8), (wrong_host, 2), (other_protocols, 6), (odd_targets, 8), (mutated,
    10), (cut_off, 10),
    (silent, 1),
)  # fmt: skip
