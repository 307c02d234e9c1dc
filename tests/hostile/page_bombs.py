"""Hostile web pages: nesting, floods, tricks with encodings."""

from __future__ import annotations

import codecs
from pathlib import Path

from tests.hostile.bomb import COMPLEX, DAMAGED, EMPTY, ENCODING, FILE, LARGE, READ, Bombs

PAGE = Bombs("html")

_TEXT = b"<p>The ferry leaves every twenty minutes.</p>"


@PAGE.add("M47: a million parts, one inside of the other", COMPLEX)
def _nested_parts(host: Path) -> bytes:
    return b"<div>" * 10**6 + b"text"


@PAGE.add("50,000 tags of bold and italics that never end, each opened again in each paragraph", COMPLEX)
def _open_formats(host: Path) -> bytes:
    opened = b"".join(b"<b id=%d>" % number for number in range(5000))
    return opened + b"<p>x</p>" * 5000


@PAGE.add("links in links in tables, which the parser has to take apart", COMPLEX, READ)
def _misplaced(host: Path) -> bytes:
    return b"<table><a><b><tr><i><td><a>" * 20_000 + b"text"


@PAGE.add("an attribute of 10 MB", READ)
def _huge_attribute(host: Path) -> bytes:
    value = b"nav " * 2_500_000
    return b"<div class='" + value + b"' style='" + b"display " * 100_000 + b"'>" + _TEXT + b"</div>"


@PAGE.add("a million attributes", READ, COMPLEX)
def _many_attributes(host: Path) -> bytes:
    attributes = b" ".join(b"a%d=b" % number for number in range(10**6))
    return b"<div " + attributes + b">" + _TEXT


@PAGE.add("100,000 attributes of 50 letters on each of ten elements that are looked at", READ, COMPLEX)
def _looked_at_attributes(host: Path) -> bytes:
    attributes = b" ".join(b"a%d=%b" % (number, b"x" * 50) for number in range(100_000))
    return (b"<p " + attributes + b">text</p>") * 7


@PAGE.add("5 million tags that are never closed", DAMAGED, COMPLEX)
def _open_tags(host: Path) -> bytes:
    return b"<i>" * 5_000_000 + b"text"


@PAGE.add("a comment that never ends", READ, EMPTY)
def _open_comment(host: Path) -> bytes:
    return _TEXT + b"<!-- " + b"<!-" * 3_000_000


@PAGE.add("a CDATA section that never ends, in a drawing", READ, EMPTY)
def _open_section(host: Path) -> bytes:
    return _TEXT + b"<svg><![CDATA[" + b"]]" * 3_000_000


@PAGE.add("a tag that never ends", READ, EMPTY, COMPLEX)
def _open_tag(host: Path) -> bytes:
    return _TEXT + b"<a href='" + b"x" * 10**7


@PAGE.add("a script, a title, a text field that never end", READ, EMPTY)
def _open_script(host: Path) -> bytes:
    return _TEXT + b"<script>" + b"</scrip" * 10**6


@PAGE.add("text up to the file's end whatever follows", READ)
def _plain_text(host: Path) -> bytes:
    return _TEXT + b"<plaintext><script>alert(1)</script>" + b"</plaintext>" * 1000


@PAGE.add("a million entities, half of them wrong", READ)
def _entities(host: Path) -> bytes:
    return b"<p>" + b"&amp;&#x110000;&#55296;&notit;&CounterClockwiseContourIntegral;&" * 50_000


@PAGE.add("tables in tables, as deep as is allowed, around a large one", READ, COMPLEX)
def _nested_tables(host: Path) -> bytes:
    rows = b"<tr><td>a cell<td>another</tr>" * 30_000
    return b"<table><tr><td>" * 240 + b"<table>" + rows + b"</table>"


@PAGE.add("a row of 200,000 cells with two paragraphs each", READ, COMPLEX)
def _many_cells(host: Path) -> bytes:
    return b"<table><tr>" + b"<td><p>a</p><p>b</p></td>" * 200_000 + b"</table>"


@PAGE.add("one cell of 400,000 pieces", READ, COMPLEX)
def _long_cell(host: Path) -> bytes:
    return b"<table><tr><td>short<td>" + b"<p>x</p>" * 150 + b"</table>" + b"<table><td>" + b"<p>x</p>" * 400_000


@PAGE.add("5 million links", COMPLEX, DAMAGED, READ)
def _many_links(host: Path) -> bytes:
    return b"<ul>" + b"<li><a>x" * 5_000_000


@PAGE.add("a million headings", COMPLEX)
def _many_headings(host: Path) -> bytes:
    return b"<h1>H</h1>" * 10**6


@PAGE.add("a million paragraphs of one letter", READ, COMPLEX)
def _many_paragraphs(host: Path) -> bytes:
    return b"<p>x" * 10**6


@PAGE.add("a million line breaks in text that keeps them", READ, COMPLEX)
def _many_breaks(host: Path) -> bytes:
    return b"<pre>" + b"x<br>\n" * 10**6


@PAGE.add("a million statements of the author", READ, COMPLEX)
def _many_statements(host: Path) -> bytes:
    return b"<meta name=author content='x'>" * 10**6 + _TEXT


@PAGE.add("linked data nested 100,000 deep, huge numbers, keys without end", READ)
def _linked_data(host: Path) -> bytes:
    script = b"<script type='application/ld+json'>%b</script>"
    values = (
        b"[" * 100_000,
        b'{"a":' * 30_000,
        b'{"headline": %b}' % (b"9" * 90_000),
        b'{"headline": 1e99999, "author": NaN, "datePublished": Infinity}',
        b'{"headline": "\\ud800", "datePublished": "\\u0000", "author": ["\\udfff"]}',
    )
    return b"".join(script % value for value in values) + _TEXT


@PAGE.add("UTF-7, by name, with a script in it", READ)
def _utf_7(host: Path) -> bytes:
    return b"<meta charset=utf-7>" + _TEXT + b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-"


@PAGE.add("encodings of Python that are none of the web", READ)
def _odd_encodings(host: Path) -> bytes:
    return b"<meta charset=punycode>" + _TEXT + b"-" + b"a9b8" * 100_000


@PAGE.add("an encoding that decodes escapes", READ)
def _escapes(host: Path) -> bytes:
    return b"<meta charset=unicode_escape>" + _TEXT + b"\\x3cscript\\x3e \\N{LATIN SMALL LETTER A}" * 1000


@PAGE.add("an encoding that refuses everything", READ)
def _undefined_encoding(host: Path) -> bytes:
    return b"<meta charset=undefined>" + _TEXT


@PAGE.add("an encoding for host names, which is quadratic", READ)
def _idna(host: Path) -> bytes:
    return b"<meta charset=idna>" + _TEXT + b"xn--" + b"a" * 10**6


@PAGE.add("UTF-16 without a mark, said to be UTF-16", ENCODING, READ)
def _utf_16_unmarked(host: Path) -> bytes:
    return ("<meta charset=utf-16>" + "<p>Text ä" * 1000).encode("utf-16-le")


@PAGE.add("UTF-16 with a mark, an odd number of bytes and half characters", READ, ENCODING)
def _utf_16_odd(host: Path) -> bytes:
    return codecs.BOM_UTF16_LE + "<p>Text".encode("utf-16-le") + b"\x00\xd8" * 5000 + b"x"


@PAGE.add("ISO 2022, whose escapes hide a tag", READ, ENCODING)
def _iso_2022(host: Path) -> bytes:
    return b"<meta charset=iso-2022-jp>" + _TEXT + b"\x1b$B<script>\x1b(B" * 10_000


@PAGE.add("zero bytes everywhere", READ, EMPTY)
def _zero_bytes(host: Path) -> bytes:
    return b"\0".join(bytes([letter]) for letter in b"<p>Text of a page</p>" * 1000) + b"\0" * 10**6


@PAGE.add("3 million characters of text in one line", READ, COMPLEX)
def _long_text(host: Path) -> bytes:
    return b"<p>" + b"word " * 600_000


@PAGE.add("30 million characters of text", LARGE, COMPLEX)
def _too_long_text(host: Path) -> bytes:
    return (b"<p>" + b"word " * 10_000) * 600


@PAGE.add("addresses to go to, pages to load, files of the host to show", READ)
def _outside(host: Path) -> bytes:
    return (
        f"<meta http-equiv=refresh content='0; url=http://127.0.0.1:9'><base href='{FILE}{host}'>"
        f"<link rel=stylesheet href='{host}'><iframe src='{FILE}{host}'></iframe><img src='{host}'>"
        f"<object data='{FILE}{host}'></object><?xml-stylesheet href='{host}'?><p>Text</p>"
    ).encode()


@PAGE.add("pictures of 20 MB inside of the page", READ)
def _data_addresses(host: Path) -> bytes:
    return b"<img src='data:image/png;base64," + b"A" * 20_000_000 + b"'>" + _TEXT


@PAGE.add("drawings and formulas in each other, 100,000 deep", COMPLEX, READ, EMPTY)
def _drawings(host: Path) -> bytes:
    return _TEXT + b"<svg><foreignObject><math><mtext>" * 100_000 + b"text"


@PAGE.add("templates in templates, 100,000 deep", DAMAGED, COMPLEX, READ, EMPTY)
def _templates(host: Path) -> bytes:
    return _TEXT + b"<template>" * 100_000 + b"text"


@PAGE.add("frames and no body", EMPTY, READ)
def _frames(host: Path) -> bytes:
    return b"<frameset><frame src=x>" * 1000 + b"</frameset><noframes>text</noframes>"


@PAGE.add("choices in choices, 100,000", READ, EMPTY, COMPLEX)
def _choices(host: Path) -> bytes:
    return _TEXT + b"<select><option><optgroup><select>" * 100_000 + b"text"


@PAGE.add("a dozen kinds of content, all hidden", EMPTY, READ)
def _all_hidden(host: Path) -> bytes:
    return (
        b"<body hidden>" + b"<main hidden><article aria-hidden=true style='display:none'>text</article></main>" * 1000
    )


@PAGE.add("pre-formatted text of 5 million spaces and line ends", READ, EMPTY, COMPLEX)
def _white_space(host: Path) -> bytes:
    return b"<pre>x" + b" \n\t\r\n" * 10**6 + b"x</pre>"


@PAGE.add("10,000 main parts, articles and roles to choose from", READ, COMPLEX)
def _many_mains(host: Path) -> bytes:
    return b"<main><article itemprop=articleBody role=main><p>x</article></main>" * 10_000
