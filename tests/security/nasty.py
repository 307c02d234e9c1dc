"""Nasty JSON and Unicode, in every field of every call: the values, the places, and the requests made of them.

A value is the bytes of a JSON text, right or not. A place is a field of a call that is otherwise right, a key of it,
the whole body, or a part of the address or of a header. Each value comes to each place it fits before any comes
twice; after that two places of a call are taken at a time.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

_EDGE = b"edge-of-a-part"
_NOTE, _NUMBERS = b"nasty/note.txt", itertools.count()
_MARK = "\x1a\x1a{}\x1a\x1a"
"""Stands for a value in a body until the body is JSON; the control characters come out as escapes."""


@dataclass(frozen=True, slots=True)
class Value:
    """What is put somewhere.

    Attributes:
        name: in figures.
        literal: the bytes that stand in the body.
        right: whether they are JSON (RFC 8259) in UTF-8 that says one thing only, in Unicode.
    """

    name: str
    literal: bytes
    right: bool = True

    @property
    def meaning(self) -> object:
        """What it says, if it is right."""
        return json.loads(self.literal)


@dataclass(frozen=True, slots=True)
class Nasty:
    """One request.

    Attributes:
        name: of the call, the places and the values.
        operation: method and path as the OpenAPI document has them.
        target: what is asked for.
        headers: those it needs.
        body: its bytes.
        right: whether its body is JSON; a body that is not has to be refused.
        sent: what the body says if it adds one document and is JSON.
    """

    name: str
    operation: tuple[str, str]
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    right: bool = True
    sent: Mapping[str, Any] | None = None


# ---- values --------------------------------------------------------------------------------------------------


def _text(name: str, value: str) -> Value:
    return Value(name, json.dumps(value, ensure_ascii=False).encode())


def _texts() -> Iterator[Value]:
    """Yield texts: characters that programs stumble over, and sizes."""
    for name, value in {
        "empty": "", "blank": " \t\r\n", "nul": "\0", "nul within": "The bridge\0is closed",
        "escape": "\x1b[2J\x1b]0;x\x07",
        "delete": "\x7f bridge", "c1": "\x85\x9b bridge", "bom": "\ufeffbridge", "bom within": "bri\ufeffdge",
        "override": "\u202ebridge\u202c closed", "isolates": "\u2066\u2067bridge\u2069",
        "arabic": "\u200fالجسر مغلق\u200e",
        "zero width": "b\u200br\u200ci\u200dd\u2060ge", "soft hyphens": "bri\u00addge is clo\u00adsed",
        "marks": "bridge" + "\u0301" * 2000, "only marks": "\u0301" * 50,
        "noncharacters": "\ufffe\uffff\U0010ffff bridge",
        "private": "\ue000\U000f0000 bridge", "tags": "\U000e0001\U000e0062\U000e0072 bridge",
        "separators": "bridge\u2028closed\u2029", "ligature": "ﬃ ﬄ ĳ ǆ ﷺ" * 20,
        "grows": "İ" * 500 + "ŉ" * 500 + "ΐ" * 500,
        "jamo": "\u1112\u1161\u11ab" * 200, "family": "👩‍👩‍👧‍👦" * 100, "astral": "𝒷𝓇𝒾𝒹𝑔𝑒 𐀀 𠜎",
        "replacement": "\ufffd bridge", "variants": "bridge\ufe0f\U000e0100", "composed": "Brücke",
        "decomposed": "Bru\u0308cke",
        "full width": "ｂｒｉｄｇｅ", "look-alike": "brіdgе", "turkish": "KÖPRÜ ISI ıI", "thai": "สะพานปิดแล้ว" * 50,
        "digits": "٣٤ ३४ 𝟛𝟜 ⅷ ²", "spaces": "bridge\u00a0\u3000\u1680closed", "question marks": "?" * 4096,
        "as long as may be": "bridge " * 585 + "?", "a character more": "x" * 4097, "path": "../../../etc/passwd",
        "drive": "C:\\con\\nul", "template": "{{7*7}}${7*7}<%= 7*7 %>#{7*7}", "sql": "'; DROP TABLE documents; --",
        "match": '" OR NEAR("bridge" closed) AND * ^ :', "markup": "<script>alert(1)</script>",
        "format": "%s%n%x {0.__class__}",
        "header": "x\r\nX-Injected: 1", "log": 'x\n{"level": "error"}', "quotes": "\"'`“”„«»",
        "backslashes": "\\" * 300,
        "query: ": "query: query: passage: bridge", "special tokens": "<s></s><pad><mask><unk> [CLS] [SEP]",
        "number": "5", "none": "null", "word": "bridge", "closed": "When is the bridge closed?",
    }.items():  # fmt: skip
        yield _text(name, value)
    for name, literal in {
        "escaped pair": rb'"\ud83d\ude00 bridge"', "escaped nul": rb'"bridge\u0000"', "escaped slash": rb'"a\/b"',
        "escaped letters": b'"' + b"".join(rb"\u%04x" % ord(each) for each in "bridge closed") + b'"',
    }.items():  # fmt: skip
        yield Value(name, literal)


def _no_texts() -> Iterator[Value]:
    """Yield what looks like a text and is none."""
    for name, literal in {
        "half a pair": rb'"bridge \ud83d"', "other half": rb'"\ude00 bridge"', "pair reversed": rb'"\ude00\ud83d"',
        "half and letter": rb'"\ud800A"', "latin-1": b'"Br\xfccke"', "overlong": b'"\xc0\xafbridge"',
        "pair in utf-8": b'"\xed\xa0\xbd\xed\xb8\x80"',
        "beyond": b'"\xf4\x90\x80\x80"', "cut": b'"bridge \xe2\x82"', "continuation": b'"\x80\x80"',
        "ff": b'"\xff\xfe"',
        "raw nul": b'"bri\0dge"', "raw line": b'"bridge\nclosed"', "raw tab": b'"bridge\tclosed"',
        "bad escape": rb'"\x41"',
        "short escape": rb'"\u12"', "braced escape": rb'"\u{62}"', "no end": b'"bridge',
        "single quotes": b"'bridge'", "no quotes": b"bridge",
    }.items():  # fmt: skip
        yield Value(name, literal, right=False)


def _numbers() -> Iterator[Value]:
    """Yield numbers: edges of 31 to 64 bits, too large and too small ones, and words."""
    edges = [sign * 2**bits + off for bits in (15, 31, 32, 53, 63, 64) for off in (-1, 0, 1) for sign in (1, -1)]
    for number in (0, 1, 2, 3, 100, 101, -1, *edges, 10**100):
        yield Value(str(number)[:24], str(number).encode())
    for literal in (b"-0", b"1.0", b"2.5", b"1e0", b"5E-1", b"1e400", b"-1e400", b"1e-400", b"0.1e1",
    b"1.7976931348623157e308",
                    b"4.9e-324", b"9007199254740993.0", b"1" * 4299, b"1" * 5000, b"0." + b"3" * 5000,
                    b"1e99999999999",
                    b"true", b"false", b"null"):  # fmt: skip
        yield Value(literal[:24].decode(), literal)
    for literal in (b"NaN", b"Infinity", b"-Infinity", b"0x10", b"01", b"1.", b".5", b"+1", b"1_000", b"1e", b"--1",
    b"\xef\xbc\x95",
                    b"True", b"None", b"undefined", b"1n", b"-", b"TRUE"):  # fmt: skip
        yield Value(literal.decode(), literal, right=False)


def _containers() -> Iterator[Value]:
    """Yield arrays and objects: empty, deep, wide, with keys that are twice there or no names."""
    for name, literal in {
        "[]": b"[]", "{}": b"{}", "[null]": b"[null]", "nested": b'{"a": {"b": [1, {"c": null}]}}', "[[]]": b"[[]]",
        "prototype": b'{"__proto__": {"x": 1}, "constructor": 1, "__class__": 1}', "no name": b'{"": 1}',
        "range": b'{"from": 1, "to": 0}', "range of kinds": b'{"from": "a", "to": 5}',
        "dotted": b'{"metadata.a.b": 1}',
        "hundred deep": b"[" * 100 + b"]" * 100, "deep": b"[" * 5000 + b"]" * 5000,
        "deep objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
        "wide": b"[" + b",".join(b"%d" % each for each in range(20_000)) + b"]",
        "mixed": b'["bridge", 1, null, true, 2.5]',
        "many keys": b"{" + b",".join(b'"k%d": %d' % (each, each) for each in range(5000)) + b"}",
        "long key": b'{"' + b"k" * 100_000 + b'": 1}',
        "odd keys": '{"\u202e": 1, "\ufeff": 2, "\\u0000": 3, "k\u0301": 4}'.encode(),
        "big values": b'{"a": 18446744073709551616, "b": -9223372036854775809, "c": 9007199254740993}',
        "small": b'{"a": 1, "b": "\xc3\xbc", "c": null, "d": true, "e": -0.0, "f": 1e-7, "h": 1.0}',
    }.items():  # fmt: skip
        yield Value(name, literal)
    for name, literal in {
        "half a pair as key": rb'{"\ud800": 1}', "bytes as key": b'{"\xff": 1}', "number as key": b"{1: 1}",
        "trailing comma": b"[1,]",
        "comment": b"[1 /* one */]", "no value": b'{"a":}', "no comma": b"[1 2]", "open": b"[1, [2",
        "very deep": b"[" * 200_000,
        "closed twice": b"[1]]", "colon": b'{"a" = 1}', "nan within": b"[NaN]",
    }.items():  # fmt: skip
        yield Value(name, literal, right=False)


@functools.cache
def values() -> tuple[Value, ...]:
    """Return all of them but the largest."""
    return (*_texts(), *_no_texts(), *_numbers(), *_containers())


@functools.cache
def _large() -> tuple[Value, ...]:
    """Return what is large: ten megabytes of this and that."""
    return (
        _text("10 MB", "The bridge is closed. " * 450_000), _text("10 MB of one letter", "x" * 10_000_000),
        _text("10 MB of marks", "a" + "\u0301" * 5_000_000), _text("10 MB of emoji", "😀" * 2_500_000),
        Value("10 MB of escapes", b'"' + rb"\u0062" * 1_600_000 + b'"'), Value("10 MB of digits", b"7" * 10_000_000),
        Value("10 MB of arrays", b"[" * 10_000_000, right=False), Value("10 MB of blanks", b" " * 10_000_000 + b"1"),
    )  # fmt: skip


# ---- places --------------------------------------------------------------------------------------------------

_ASK: dict[str, Any] = {
    "question": "When is the bridge closed?", "top_k": 3, "collection": "default", "as_of": None,
    "previous": "the bridge", "write": False, "filters": {"language": ["en", "de"], "metadata.year": {"from": 1,
    "to": 9}},
}  # fmt: skip
_RECEIPT = {
    "document_id": "0" * 16, "source": "bridge.txt", "document_sha256": "0" * 64, "generation": 1, "start": 0,
    "end": 5,
    "quote_sha256": "0" * 64,
}  # fmt: skip
_CHAT = {
    "model": "fundstelle", "messages": [{"role": "user", "content": "the bridge"}, {"role": "assistant",
    "content": "yes"},
    {"role": "user", "content": [{"type": "text", "text": "When is the bridge closed?"}]}], "stream": False, "n": 1,
    "stream_options": {"include_usage": True}, "tools": [], "modalities": ["text"],
    "response_format": {"type": "text"},
    "temperature": 0.5, "user": "me",
}  # fmt: skip
_TOOL = {
    "jsonrpc": "2.0", "id": 1, "method": "tools/call",
    "params": {"name": "ask", "arguments": {"question": "When is the bridge closed?", "collection": "default"}},
}  # fmt: skip
_DOCUMENT = {
    "source": "nasty/note.txt", "text": "The ferry leaves at noon. It takes bicycles, too.", "title": "Ferry",
    "metadata": {"year": 5, "author": "Ann"}, "collection": "default",
}  # fmt: skip
_TEMPLATES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("/v1/ask", _ASK),
    (
        "/v1/search",
        {"query": "the bridge", **{key: _ASK[key] for key in ("top_k", "collection", "as_of", "filters")}},
    ),
    ("/v1/ask/batch", {"questions": [{"question": "the bridge?"}, _ASK]}),
    ("/v1/citations/verify", _RECEIPT),
    ("/v1/documents", _DOCUMENT),
    ("/v1/documents/delete", {"filters": {"metadata.year": 77, "source": ["none.txt"]}, "collection": "default"}),
    ("/v1/chat/completions", _CHAT),
    ("/mcp", _TOOL),
)
Path = tuple[str | int, ...]


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the place of each part of a body, the whole included."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _paths(part, (*path, key))


def _with(body: Any, path: Path, part: Callable[[Any], Any]) -> Any:
    """Return ``body`` with something else at a place."""
    if not path:
        return part(body)
    key, rest = path[0], path[1:]
    if isinstance(body, dict):
        return {each: _with(inner, rest, part) if each == key else inner for each, inner in body.items()}
    return [_with(inner, rest, part) if index == key else inner for index, inner in enumerate(body)]


def _filled(body: Any, chosen: Sequence[Value]) -> bytes:
    """Return JSON with values where their marks stand."""
    data = json.dumps(body, ensure_ascii=False).encode()
    for number, value in enumerate(chosen):
        data = data.replace(json.dumps(_MARK.format(number)).encode(), value.literal)
    return data.replace(_NOTE, b"nasty/%d.txt" % next(_NUMBERS))  # so that nobody updates another one's document


def _said(data: bytes) -> Mapping[str, Any] | None:
    """Return what a body says, if it is an object."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):  # digits beyond what Python reads, or too deep for it
        return None
    return found if isinstance(found, dict) else None


def _in_json(address: str, body: Any, chosen: Sequence[Value], where: str) -> Nasty:
    data = _filled(body, chosen)
    right = all(value.right for value in chosen)
    headers = {"content-type": "application/json"}
    if address == "/mcp":
        headers["accept"] = "application/json, text/event-stream"
    name = f"{address} {where}: " + ", ".join(value.name for value in chosen)
    sent = _said(data) if right and address == "/v1/documents" else None
    return Nasty(name, ("post", address), address, headers, data, right, sent)


def _one_place() -> Iterator[tuple[str, Callable[[Value], Nasty]]]:
    """Yield what puts a value to each place of each body, and what gives its objects another key, with its name."""
    mark = _MARK.format(0)

    def another_key(part: Any) -> Any:
        return {**part, mark: 1} if isinstance(part, dict) else part

    for address, template in _TEMPLATES:
        for path in _paths(template):
            where = ".".join(map(str, path)) or "body"
            yield f"{address} {where}", functools.partial(_put, address, _with(template, path, lambda _: mark), where)
            with_key = _with(template, path, another_key)
            if with_key != template:
                yield f"{address} {where} key", functools.partial(_put_key, address, with_key, f"{where} key")


def _put(address: str, body: Any, where: str, value: Value) -> Nasty:
    return _in_json(address, body, [value], where)


def _put_key(address: str, body: Any, where: str, value: Value) -> Nasty:
    is_name = value.right and value.literal.startswith(b'"')  # nothing but a string is one
    return _in_json(address, body, [replace(value, right=is_name)], where)


def _forms(chance: random.Random) -> Iterator[Nasty]:
    """Yield bodies that are wrong as a whole, and some that are right."""
    for address, template in _TEMPLATES:
        good = json.dumps(template).encode()
        (first, value), *_ = template.items()
        pair = json.dumps(first).encode() + b": " + json.dumps(value).encode()
        twice = b"{" + pair + b", " + good[1:]
        cut = good[: chance.randrange(1, len(good) - 1)]
        place = chance.randrange(1, len(good) - 1)
        for name, body, right in (
            ("cut", cut, False), ("two", good + good, False), ("nothing", b"", False), ("blank", b"  \n", False),
            ("byte order mark", b"\xef\xbb\xbf" + good, False), ("utf-16", good.decode().encode("utf-16"), False),
            ("utf-16 without mark", good.decode().encode("utf-16-le"), False),
            ("utf-32", good.decode().encode("utf-32-be"), False),
            ("twice a key", twice, False), ("spaces", b" \r\n\t" + good + b"\n " * 1000, True),
            ("a byte behind", good + b"\0", False), ("lines", good + b"\n" + good, False), ("xml",
            b"<a>1</a>", False),
            ("a byte within", good[:place] + b"\xfe" + good[place:], False), ("form",
            b"question=bridge&top_k=3", False),
        ):  # fmt: skip
            headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
            yield Nasty(f"{address} form: {name}", ("post", address), address, headers, body, right)


def _quoted(literal: bytes) -> str:
    """Return a value as it can stand in an address."""
    return quote(literal[:3000].strip(b'"'), safe="")


def _addresses(value: Value) -> Iterator[Nasty]:
    """Yield calls with a value in the address or in a header."""
    text = _quoted(value.literal)
    for name in ("limit", "cursor", "collection", "q", "language", "format", text[:500] or "x"):
        yield Nasty(
            f"list {name[:20]}: {value.name}", ("get", "/v1/documents"), f"/v1/documents?{name}={text}", {}, None
        )
    yield Nasty(f"id: {value.name}", ("get", "/v1/documents/{document_id}"), f"/v1/documents/{text or 'x'}", {}, None)
    for end in ("text", "original"):
        path = "/v1/documents/{document_id}/" + end
        yield Nasty(f"{end}: {value.name}", ("get", path), f"/v1/documents/{text or 'x'}/{end}", {}, None)
    yield Nasty(
        f"remove: {value.name}", ("delete", "/v1/documents/{document_id}"), f"/v1/documents/{text or 'x'}", {}, None
    )
    raw = bytes(byte for byte in value.literal[:300] if byte not in b"\r\n\0").decode("latin-1").strip()
    for name in ("if-none-match", "x-request-id", "accept", "authorization", "origin"):
        yield Nasty(f"{name}: {value.name}", ("get", "/v1/documents"), "/v1/documents", {name: raw}, None)
    body = json.dumps(_DOCUMENT).encode()
    for name in ("idempotency-key", "content-type"):
        headers = {"content-type": "application/json"} | {name: raw}
        yield Nasty(f"{name}: {value.name}", ("post", "/v1/documents"), "/v1/documents", headers, body)


def _parts(value: Value) -> Iterator[Nasty]:
    """Yield uploads with a value in the name of a file, a field, or what fields hold."""
    raw = value.literal[:20_000].strip(b'"')
    name = bytes(byte for byte in raw[:300] if byte not in b'\r\n"')

    def part(headers: bytes, content: bytes) -> bytes:
        return b"--%s\r\ncontent-disposition: form-data; %s\r\n\r\n%s\r\n" % (_EDGE, headers, content)

    file = part(b'name="file"; filename="nasty.txt"', b"The ferry leaves at noon.")
    for where, body in {
        "file name": part(b'name="file"; filename="%s.txt"' % name, b"The ferry leaves at noon."),
        "extended name": part(b"name=\"file\"; filename*=UTF-8''" + _quoted(name).encode() + b".txt",
        b"The ferry leaves."),
        "field": part(b'name="%s"' % name, b"x") + file, "collection": part(b'name="collection"', raw) + file,
        "metadata": part(b'name="metadata"', value.literal[:20_000]) + file,
        "content": part(b'name="file"; filename="nasty.txt"', raw),
        "title": part(b'name="title"', raw) + file,
        "part's header": part(b'name="file"; filename="n.txt"\r\nx-y: ' + name, b"The ferry."),
    }.items():  # fmt: skip
        headers = {"content-type": f"multipart/form-data; boundary={_EDGE.decode()}"}
        whole = body + b"--%s--\r\n" % _EDGE
        yield Nasty(f"upload {where}: {value.name}", ("post", "/v1/documents"), "/v1/documents", headers, whole)


# ---- all of it -----------------------------------------------------------------------------------------------


def _two_places(chance: random.Random) -> Nasty:
    """Return a call with two values in two places, none of which is part of the other."""
    address, template = chance.choice(_TEMPLATES)
    places = [path for path in _paths(template) if path]
    while True:
        first, second = chance.sample(places, 2)
        if first[: len(second)] != second and second[: len(first)] != first:
            break
    body = _with(_with(template, first, lambda _: _MARK.format(0)), second, lambda _: _MARK.format(1))
    where = " and ".join(".".join(map(str, path)) for path in (first, second))
    return _in_json(address, body, chance.choices(values(), k=2), where)


def _only(place: Callable[[Value], Nasty], value: Value) -> list[Nasty]:
    return [place(value)]


def _some(chance: random.Random, make: Callable[[Value], Iterator[Nasty]], value: Value, count: int) -> list[Nasty]:
    return chance.sample(list(make(value)), count)


def nasties(trials: int, seed: int, only: str = "") -> Iterator[Nasty]:
    """Yield so many requests; one in two hundred is large.

    Args:
        trials: how many.
        seed: the same one makes the same requests.
        only: put every value to this one place, and yield no more than that.
    """
    chance = random.Random(seed)
    bodies = [place for name, place in _one_place() if only in ("", name)]
    makers: list[Callable[[], list[Nasty]]] = []
    for value in values():
        makers += [functools.partial(_only, place, value) for place in bodies]
        if not only:
            makers.append(functools.partial(_some, chance, _addresses, value, 6))
            makers.append(functools.partial(_some, chance, _parts, value, 4))
    if not only:
        makers += [lambda: chance.sample(list(_forms(chance)), 6) for _ in range(20)]
    chance.shuffle(makers)
    waiting = itertools.chain.from_iterable(make() for make in makers)
    if only:
        yield from itertools.islice(waiting, trials)
        return
    for number in range(trials):
        if number % 200 == 100:
            yield chance.choice(bodies)(chance.choice(_large()))
        else:
            yield next(waiting, None) or _two_places(chance)
