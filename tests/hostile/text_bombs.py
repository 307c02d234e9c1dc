"""Hostile text and Markdown: what makes patterns, segmenters and tables of places work without end."""

from __future__ import annotations

import codecs
from pathlib import Path

from tests.hostile.bomb import BINARY, COMPLEX, EMPTY, ENCODING, FILE, LARGE, READ, Bombs

TEXT = Bombs("txt")
MARKDOWN = Bombs("md")

# ---- Markdown ------------------------------------------------------------------------------------------------------


@MARKDOWN.add("M48: 50,000 links that never end", READ)
def _open_links(host: Path) -> bytes:
    return b"[a](" * 50_000


@MARKDOWN.add("M48: 50,000 emphases that never end", READ)
def _open_emphases(host: Path) -> bytes:
    return b"**a*" * 50_000


@MARKDOWN.add("a heading of 100,000 spaces and no end", READ)
def _spaced_heading(host: Path) -> bytes:
    return b"# a" + b" " * 100_000 + b"b"


@MARKDOWN.add("a heading of 100,000 closing marks", READ)
def _closed_heading(host: Path) -> bytes:
    return b"# a" + b" #" * 50_000 + b"b"


@MARKDOWN.add("a heading of nothing but tabs", READ)
def _tabbed_heading(host: Path) -> bytes:
    return b"#" + b"\t" * 100_000 + b"\x0b\n\ntext"


@MARKDOWN.add("a million headings", COMPLEX)
def _many_headings(host: Path) -> bytes:
    return b"# a\n" * 10**6


@MARKDOWN.add("front matter of 400 KB, with every field 20,000 times", READ)
def _front_matter(host: Path) -> bytes:
    return b"---\n" + b"title: x\nauthor: " + b"y" * 2 * 10**5 + b"\n" + b"date: 2014\n" * 20_000 + b"---\ntext"


@MARKDOWN.add("a title of 200,000 letters", READ)
def _long_title(host: Path) -> bytes:
    return (
        b"---\ntitle: " + b"T" * 2 * 10**5 + b"\nlang: " + b"x" * 10**5 + b"\n---\n# " + b"H" * 2 * 10**5 + b"\ntext"
    )


@MARKDOWN.add("20 million line ends", READ, COMPLEX)
def _line_ends(host: Path) -> bytes:
    return b"a" + b"\n" * 20_000_000


@MARKDOWN.add("fences and underlines by the hundred thousand", READ, COMPLEX)
def _fences(host: Path) -> bytes:
    return b"```\n~~~\na\n---\n===\n" * 30_000


@MARKDOWN.add("quotes and lists in each other, 100,000 deep", READ)
def _deep_quotes(host: Path) -> bytes:
    return b"> - " * 100_000 + b"text"


@MARKDOWN.add("a page with a script inside", READ)
def _page_inside(host: Path) -> bytes:
    return f"# <script>alert(1)</script>\n\n![x]({FILE}{host})\n\n<iframe src='{host}'>\n\n[a](javascript:b)".encode()


# ---- text ----------------------------------------------------------------------------------------------------------


@TEXT.add("a first line that looks like a heading of 100,000 marks", READ)
def _marks(host: Path) -> bytes:
    return b"# " + b"#" * 100_000 + b"a"


@TEXT.add("a first line of 100,000 spaces between two letters", READ)
def _spaces(host: Path) -> bytes:
    return b"# a" + b" " * 100_000 + b"b"


@TEXT.add("opening quotation marks that are never closed", READ)
def _quotation_marks(host: Path) -> bytes:
    return ("«" * 100_000 + " text " + "“" * 100_000).encode()


@TEXT.add("one line of 100,000 sentences of one letter", READ)
def _short_sentences(host: Path) -> bytes:
    return b"a. " * 100_000


@TEXT.add("one line of sentences that all end with a number", READ)
def _ordinals(host: Path) -> bytes:
    return b"This is the sentence of number 12. " * 10_000


@TEXT.add("one line of sentences that all begin in lower case", READ)
def _lower_case(host: Path) -> bytes:
    return b"A sentence begins here? and goes on in lower case! " * 8_000


@TEXT.add("20 million line ends around a letter", READ, COMPLEX)
def _line_ends_around(host: Path) -> bytes:
    return b"\n" * 10_000_000 + b"a" + b"\n" * 10_000_000


@TEXT.add("7 million paragraphs of one letter", COMPLEX)
def _paragraphs(host: Path) -> bytes:
    return "ä\n\n".encode() * 6_900_000


@TEXT.add("10 million lines of one letter", COMPLEX)
def _lines(host: Path) -> bytes:
    return b"a\n" * 10_000_000


@TEXT.add("a blank line of 200,000 spaces, again and again", READ, COMPLEX)
def _blank_lines(host: Path) -> bytes:
    return (b"a\n" + b" \t" * 100_000) * 10 + b"\r" * 1000


@TEXT.add("one word of 300,000 letters", READ)
def _long_word(host: Path) -> bytes:
    return b"a" * 3 * 10**5


@TEXT.add("100,000 accents on one letter, in the worst order", READ)
def _accents(host: Path) -> bytes:
    return ("a" + "\u0301\u0316" * 50_000 + " b").encode()


@TEXT.add("soft hyphens, marks of no width and of direction everywhere", READ)
def _invisible(host: Path) -> bytes:
    return "a\u00ad\u200b\u202e\u2066\ufeff\u2060".encode() * 50_000


@TEXT.add("hyphens at the ends of 100,000 lines", READ)
def _hyphens(host: Path) -> bytes:
    return b"ab-\n" * 100_000


@TEXT.add("ligatures that stand for eighteen letters", READ)
def _ligatures(host: Path) -> bytes:
    return "\ufdfa \ufb03\u0301 ".encode() * 20_000


@TEXT.add("a script without spaces, in one line", READ)
def _without_spaces(host: Path) -> bytes:
    return "สะพานปิดในเดือนตุลาคม橋は閉鎖される".encode() * 3000


@TEXT.add("faces joined to one another without end", READ)
def _joined_faces(host: Path) -> bytes:
    return ("\U0001f468\u200d" * 30_000 + " a").encode()


@TEXT.add("control characters: few enough to pass as text", READ)
def _few_controls(host: Path) -> bytes:
    return (b"x" * 99 + b"\x1b") * 5000 + b"end"


@TEXT.add("control characters: too many", BINARY)
def _controls(host: Path) -> bytes:
    return b"text\x01\x02\x03" * 100_000


@TEXT.add("zero bytes", BINARY)
def _zero_bytes(host: Path) -> bytes:
    return b"text\0" * 100_000


@TEXT.add("half characters, written as UTF-8 may not", ENCODING)
def _half_characters(host: Path) -> bytes:
    return b"Text \xed\xa0\x80 and \xc3\xa4"


@TEXT.add("UTF-16 with an odd number of bytes", ENCODING)
def _utf_16_odd(host: Path) -> bytes:
    return codecs.BOM_UTF16_LE + "Text".encode("utf-16-le") + b"x"


@TEXT.add("UTF-32 with characters that do not exist", ENCODING)
def _utf_32(host: Path) -> bytes:
    return codecs.BOM_UTF32_LE + b"\xff\xff\xff\x7f" * 1000


@TEXT.add("a mark of an encoding and nothing else", EMPTY)
def _only_a_mark(host: Path) -> bytes:
    return codecs.BOM_UTF8


@TEXT.add("bytes of no encoding, to be guessed", READ, BINARY, ENCODING)
def _to_be_guessed(host: Path) -> bytes:
    return bytes(range(128, 256)) * 10_000


@TEXT.add("no letter and no digit, 20 million times", EMPTY)
def _no_letters(host: Path) -> bytes:
    return b".-_" * 6_900_000


@TEXT.add("one character more than a document may have", LARGE)
def _one_too_many(host: Path) -> bytes:
    return b"a " * (10 * 2**20) + b"a"


@TEXT.add("one byte more than a file may have", LARGE)
def _too_many_bytes(host: Path) -> bytes:
    return b"a" * (50 * 2**20 + 1)


@TEXT.add("line ends of every kind", READ)
def _every_line_end(host: Path) -> bytes:
    return "a\r\n\rb\n\r\u2028c\u2029\x85d\x0b\x0c".encode() * 20_000 + b"\x1c\x1d\x1e"


@TEXT.add("figures of all scripts, where numbers are looked for", READ)
def _figures(host: Path) -> bytes:
    return "\u0663\u00b2\u2460\U0001d7d8. \u0967. ".encode() * 20_000
