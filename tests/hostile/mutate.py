"""Files damaged by chance: numbered, the same for the same seed and number.

    python -m tests.hostile.mutate SEED NUMBER > file

A corpus of small files of all five formats is changed by one to eight strokes: flipped bits, bytes overwritten,
ranges cut out, repeated or exchanged, words of the format put in, two files spliced. Half of the Word and PDF files
are changed on the inside: in the XML of a sound archive, in the objects and unpacked streams of a sound PDF.
Otherwise hardly any change would get past the container.
"""

from __future__ import annotations

import base64
import io
import random
import re
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import docx
from reportlab import rl_config
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from tests.files import Article, as_bytes
from tests.hostile.packed import Pdf, archive, entry

LARGEST = 2**20
"""Bytes beyond which a mutated file is cut off."""

_ARTICLES = (
    Article(
        "Die Gerberbrücke bleibt gesperrt",
        (
            "Der Stadtrat hat am Dienstag beschlossen, die Gerberbrücke erst im Oktober wieder zu öffnen.",
            "Die Sanierung kostet 4,2 Millionen Euro. Davon trägt das Land die Hälfte.",
            "Bis dahin fährt eine Fähre. Sie verkehrt werktags alle zwanzig Minuten.",
        ),
        {1: "Kosten", 2: "Verkehr"},
        pages=(2,),
    ),
    Article("Hops", ("Nineteen hectares were flooded.", "Farmers expect no profit this year."), {1: "Loss"}),
)
_BOUNDARY = (0, 1, 127, 128, 255, 10, 13, 32, 60, 62, 40, 41)
_TOKENS: dict[str, tuple[bytes, ...]] = {
    "txt": (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0", b"\r", b"\n\n", b"\x0c", b"\xe2\x80\xa8", b"\xc2\xad"),
    "md": (
        b"---\n", b"# ", b"## a ##\n", b"```\n", b"===\n", b"\r\n", b"title: ", b"[a](", b"|",
        b"> ", b"\t", b"~~~",
    ),
    "html": (
        *(f"<{tag}>".encode() for tag in "table tr td h1 p div a pre nav main article template svg math br".split()),
        *(f"</{tag}>".encode() for tag in "table tr td h1 p div a pre body html script".split()),
        b"<!--", b"-->", b"<![CDATA[", b"<plaintext>", b"<script type='application/ld+json'>{\"headline\": [",
        b"&#0;", b"&#xD800;", b"<meta charset=utf-16>", b"<meta charset=gb18030>", b" hidden",
        b" style='display:none'", b"='", b"<frameset>", b"<select><option>", b"\0",
    ),
    "docx": (
        b"<w:p>", b"</w:p>", b"<w:tbl><w:tr><w:tc>", b"</w:tc></w:tr></w:tbl>", b"<w:r>", b"<w:t>", b"</w:t></w:r>",
        b"<w:del>", b"<w:vanish/>", b"<w:pStyle w:val='Heading1'/>", b"<w:outlineLvl w:val='0'/>", b"<w:br/>",
        b"&#0;", b"&lt;", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"]]>", b"<?xml version='1.1'?>", b"xmlns:w=''",
        b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\xff\xff\xff\xff", b"\0\0", b"<w:softHyphen/>", b"<w:tab/>",
        b"\xed\xa0\x80",
    ),
    "pdf": (
        b" obj\n", b"endobj\n", b"stream\n", b"endstream\n", b"xref\n", b"trailer\n", b"startxref\n", b"<<", b">>",
        b"[", b"]", b"(", b")", b" 0 R", b"1 0 R", b"4 0 R", b"/Kids", b"/Parent", b"/Count -1", b"/Length 0",
        b"/Prev 0", b"/Type /Pages", b"/Filter /LZWDecode", b"/FlateDecode", b"/ASCII85Decode",
        b"/DecodeParms << /Predictor 12 /Columns 5 >>", b" Tj", b" T*", b" Td", b" Tm", b"BT", b"ET", b" cm", b"q",
        b"Q", b" Do", b"BI", b"ID ", b" EI", b"/F1 1e9 Tf", b"-1", b"NaN", b"99999999999999999999", b"1e308",
        b"<D800>", b"beginbfrange <00> <ff> <0041> endbfrange", b"/Encrypt", b"true", b"null", b"/ToUnicode",
        b"/Identity-H", b"%%EOF", b"\\ddd", b"<FEFFD800>", b"/Outlines", b"/First", b"/Next", b"/Dests",
    ),
}  # fmt: skip
_KINDS = tuple(_TOKENS)
_WEIGHTS = (1, 1, 3, 3, 3)


@dataclass(frozen=True, slots=True)
class Mutated:
    """One damaged file."""

    name: str
    data: bytes
    how: str


def mutated(seed: int, number: int) -> Mutated:
    """Return the file of this number."""
    draw = random.Random(f"{seed} {number}")
    kind = draw.choices(_KINDS, _WEIGHTS)[0]
    whole = draw.choice(_corpus()[kind])
    inside = _INSIDE.get(kind)
    if inside is not None and draw.random() < 0.6:
        data, how = inside(whole, draw)
    else:
        data, how = _strokes(whole, kind, draw)
    ending = draw.choice(_KINDS) if draw.random() < 0.03 else kind
    return Mutated(f"m{number:06d}.{ending}", data[:LARGEST], how)


def _strokes(data: bytes, kind: str, draw: random.Random) -> tuple[bytes, str]:
    names: list[str] = []
    for _ in range(min(8, 1 + int(draw.expovariate(0.6)))):
        stroke = draw.choice(_STROKES)
        names.append(stroke.__name__.strip("_"))
        data = stroke(data or b" ", kind, draw)[:LARGEST]
    return data, " ".join(names)


def _range(data: bytes, draw: random.Random) -> tuple[int, int]:
    """Return a range, most often a short one."""
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + int(2 ** draw.uniform(0, 12)))


def _flip(data: bytes, kind: str, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 30))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, kind: str, draw: random.Random) -> bytes:
    start, end = _range(data, draw)
    length = min(end - start, 64)
    new = bytes([draw.choice(_BOUNDARY)]) * length if draw.random() < 0.5 else draw.randbytes(length)
    return data[:start] + new + data[start + length :]


def _cut_out(data: bytes, kind: str, draw: random.Random) -> bytes:
    start, end = _range(data, draw)
    return data[:start] + data[end:]


def _cut_off(data: bytes, kind: str, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def _repeat(data: bytes, kind: str, draw: random.Random) -> bytes:
    start, end = _range(data, draw)
    return data[:end] + data[start:end] * draw.choice((1, 2, 50)) + data[end:]


def _exchange(data: bytes, kind: str, draw: random.Random) -> bytes:
    first, second, third, fourth = sorted(draw.randrange(len(data) + 1) for _ in range(4))
    return data[:first] + data[third:fourth] + data[second:third] + data[first:second] + data[fourth:]


def _put_in(data: bytes, kind: str, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 10))):
        place = draw.randrange(len(data) + 1)
        data = data[:place] + draw.choice(_TOKENS[kind]) * draw.choice((1, 1, 1, 300)) + data[place:]
    return data


def _number(data: bytes, kind: str, draw: random.Random) -> bytes:
    """Change a number that is written in figures."""
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return data
    match = draw.choice(found)
    new = draw.choice((b"0", b"-1", b"1", b"65536", b"2147483648", b"99999999999999999999", b"0.5", b"1e9"))
    return data[: match.start()] + new + data[match.end() :]


def _splice(data: bytes, kind: str, draw: random.Random) -> bytes:
    other = draw.choice(_corpus()[draw.choice((kind, kind, *_KINDS))])
    return data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other)) :]


_STROKES: tuple[Callable[[bytes, str, random.Random], bytes], ...] = (
    _flip, _overwrite, _cut_out, _cut_off, _repeat, _exchange, _put_in, _put_in, _number, _splice,
)  # fmt: skip


# ---- on the inside -------------------------------------------------------------------------------------------------


def _inside_word(whole: bytes, draw: random.Random) -> tuple[bytes, str]:
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    usual = ("word/document.xml", "word/document.xml", "word/styles.xml", "docProps/core.xml")
    name = draw.choice((*usual, *sorted(members)))
    members[name], how = _strokes(members[name], "docx", draw)
    return archive([entry(each, data) for each, data in members.items()]), f"{name}: {how}"


def _inside_pdf(whole: bytes, draw: random.Random) -> tuple[bytes, str]:
    objects = _objects(whole)
    number = draw.choice(sorted(objects))
    head, stream = objects[number]
    if stream is not None and draw.random() < 0.8:
        stream, how = _strokes(stream, "pdf", draw)
    else:
        head, how = _strokes(head, "pdf", draw)
    objects[number] = head, stream
    file = Pdf()
    for each, (about, content) in objects.items():
        file.objects[each] = about
        if content is not None:
            packed = zlib.compress(content)
            length = b"/Length %d /Filter /FlateDecode >>\nstream\n" % len(packed)
            file.objects[each] = about + length + packed + b"\nendstream"
    root = next((each for each, (about, _) in objects.items() if b"/Catalog" in about), 1)
    info = next((each for each, (about, _) in objects.items() if b"/CreationDate" in about), 0)
    file.trailer = b"/Info %d 0 R" % info
    return file.write(root=root), f"object {number}: {how}"


_INSIDE: dict[str, Callable[[bytes, random.Random], tuple[bytes, str]]] = {"docx": _inside_word, "pdf": _inside_pdf}


def _objects(whole: bytes) -> dict[int, tuple[bytes, bytes | None]]:
    """Take a PDF apart, as reportlab writes it: each object's text, and its stream unpacked."""
    found: dict[int, tuple[bytes, bytes | None]] = {}
    for match in re.finditer(rb"(?m)^(\d+) 0 obj\r?\n(.*?)\r?\nendobj", whole, re.S):
        head, mark, rest = match[2].partition(b"stream\n")
        stream = rest[: rest.rindex(b"endstream")].rstrip(b"\r\n") if mark else None
        if stream is not None:
            if b"ASCII85Decode" in head:
                stream = base64.a85decode(stream.strip().removesuffix(b"~>"))
            if b"FlateDecode" in head:
                stream = zlib.decompress(stream)
            head = re.sub(rb"/Filter\s*(\[.*?\]|/\w+)|/Length\s+\d+", b"", head).rstrip()
            head = head.removesuffix(b">>")
        found[int(match[1])] = head, stream
    return found


# ---- the corpus ----------------------------------------------------------------------------------------------------


@cache
def _corpus() -> dict[str, tuple[bytes, ...]]:
    """Return the sound files by format; the same bytes each time."""
    before, rl_config.invariant = rl_config.invariant, 1
    try:
        made = {kind: [as_bytes(article, kind) for article in _ARTICLES] for kind in _KINDS}
        made["pdf"].append(_rich_pdf())
    finally:
        rl_config.invariant = before
    made["docx"] = [_undated(data) for data in (*made["docx"], _rich_word())]
    made["html"].append(_RICH_PAGE)
    made["md"].append(_RICH_MARKDOWN)
    return {kind: tuple(files) for kind, files in made.items()}


def _undated(whole: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        return archive([entry(name, opened.read(name)) for name in opened.namelist()])


def _rich_pdf() -> bytes:
    """A file with an embedded font and its map of characters, a table of contents, a form and two columns."""
    pdfmetrics.registerFont(TTFont("Vera", "Vera.ttf"))
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(595, 842), invariant=1)
    canvas.setTitle("Brücken")
    canvas.setAuthor("Ada Beispiel")
    canvas.beginForm("stamp")
    canvas.setFont("Helvetica", 9)
    canvas.drawString(0, 0, "Archiv")
    canvas.endForm()
    for page in range(3):
        canvas.bookmarkPage(f"p{page}")
        canvas.addOutlineEntry(f"Kapitel {page}", f"p{page}", 0)
        canvas.setFont("Vera", 16)
        canvas.drawString(70, 760, f"Kapitel {page}")
        canvas.setFont("Vera", 11)
        for row in range(8):
            canvas.drawString(70, 720 - 14 * row, f"Zeile {row} der linken Spalte über die Brücke")
            canvas.drawString(320, 720 - 14 * row, f"Zeile {row} der rechten Spalte, Straße")
        canvas.saveState()
        canvas.translate(70, 30)
        canvas.rotate(5)
        canvas.doForm("stamp")
        canvas.restoreState()
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def _rich_word() -> bytes:
    document = docx.Document()
    document.add_heading("Gebühren", 1)
    table = document.add_table(3, 2)
    for row, cells in enumerate(table.rows):
        for column, cell in enumerate(cells.cells):
            cell.text = f"Zelle {row} {column}"
    table.cell(2, 1).add_table(1, 1).cell(0, 0).text = "innen"
    for number in range(3):
        document.add_paragraph(f"Punkt {number}", style="List Bullet")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


_RICH_PAGE = (
    "<!doctype html><html lang=de><head><meta charset=utf-8><title>Gebühren | Amt</title>"
    '<script type="application/ld+json">{"@graph": [{"headline": "Gebühren", "author": {"name": "Ada"}}]}</script>'
    "<body><nav><a href=/>Start</a></nav><main><h1>Gebühren</h1><p>Die <b>Fähre</b> kostet&nbsp;2&shy;00 &euro;."
    "<table><tr><th>Jahr<th>Summe<tr><td>2014<td>3,2 Millionen</table><pre>a\n  b</pre><ul><li>eins<li>zwei</ul>"
    "<h2>Verkehr</h2>"
    "<p>Sie fährt <time datetime=2014-11-18>heute</time>.<svg><title>x</title></svg></main><footer>Amt</footer>"
).encode()
_RICH_MARKDOWN = (
    "---\ntitle: Gebühren\nauthor: Ada\ndate: 2014-11-18\nlang: de\n---\n\nGebühren\n========\n\n"
    "Die Fähre kostet 2 €.\n\n## Verkehr ##\n\n```\n# kein Titel\n```\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\nTafel\n-----\n\n> Zitat\n\n- [x] erledigt\n"
).encode()


if __name__ == "__main__":
    sys.stdout.buffer.write(mutated(int(sys.argv[1]), int(sys.argv[2])).data)
