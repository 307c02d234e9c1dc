"""HTML, parsed by selectolax (lexbor), the only place that knows it: a page's own text without what surrounds it.

What a page marks as not its content (navigation, sidebars, scripts, hidden parts) is left out, and so are lists that
are nothing but links. If too little would remain, everything that is visible is kept: a word too many is found by
nobody, a word too few is missed.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from index.errors import DocumentRejected
from index.reading.parsed import Parsed, TextBuilder, clean, collapse, iso_date

MAX_DEPTH = 1000
"""Deeper nesting than this is no page that somebody wrote."""

_NEVER = frozenset(
    "script style noscript template iframe object embed svg canvas audio video map head button select textarea"
    " option datalist input progress meter dialog".split()
)
_AROUND = frozenset("nav aside footer menu".split())
_ROLES = frozenset("navigation banner contentinfo complementary search menu menubar dialog alertdialog".split())
_BLOCKS = frozenset(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure"
    " footer form header hgroup hr html legend li main menu nav ol p pre section summary table tbody td tfoot th"
    " thead tr ul h1 h2 h3 h4 h5 h6".split()
)
_CELLS = frozenset({"td", "th"})
_LAYOUT = frozenset("table h1 h2 h3 h4 h5 h6".split())
_LISTS = frozenset("ul ol div section p table".split())
_MARKED = frozenset("ul ol div section p header span".split())
_HEADING = re.compile(r"h([1-6])$")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SURROUNDING = re.compile(
    r"(?:^|[\s_-])(?:cookies?|consent|breadcrumbs?|pagination|sidebar|share|sharing|social|newsletter|advert\w*|ads?"
    r"|promo|related|skip-?link|nav(?:bar|igation)?|site-?(?:header|footer)|masthead)(?:$|[\s_-])",
    re.IGNORECASE,
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]{2,40})", re.IGNORECASE)
_CHARSET_WITHIN = 4096
_ENCODINGS = frozenset(
    "utf-8 ascii koi8-r koi8-u mac-roman mac-cyrillic cp866 cp874 cp932 cp949 tis-620 gbk gb18030 big5 big5hkscs"
    " euc_jp euc_kr shift_jis iso2022_jp".split()
) | {
    f"{family}{number}"
    for family, numbers in (("iso8859-", range(2, 17)), ("cp", range(1250, 1259)))
    for number in numbers
}
"""Those of the web by their names in Python, which knows others that are quadratic or mean something else."""
_MEANT = {
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "iso-8859-9": "cp1254",
    "gb2312": "gb18030",
    "shift_jis": "cp932",
    "euc-kr": "cp949",
}
"""As browsers read them (WHATWG Encoding Standard)."""
_ENOUGH = 0.25
"""Share of the visible text that must remain once the surroundings are left out."""
_LARGEST_SURROUNDING = 0.4
"""Share of the text above which something is content, whatever its class says."""
_LINKS_ONLY = 0.8
_LONGEST_CELL = 400
_REPLACED = 0.01


def read_html(data: bytes) -> Parsed:
    """Read a page.

    Raises:
        DocumentRejected: if its encoding is broken, or it is nested too deeply.
    """
    tree = LexborHTMLParser(decode_html(data))
    body = tree.body
    if body is None:
        return Parsed("")
    _expect_shallow(body)
    said = _said(tree)
    lengths = _Lengths(body)
    content = _content(body, lengths)
    builder = _Walk(lengths, tidy=True).read(content)
    if len(builder) < _ENOUGH * lengths.of(body):
        builder = _Walk(lengths, tidy=False).read(body)
    said["title"] = said["title"] or builder.first_heading() or said.pop("name", "")
    said.pop("name", None)
    return builder.parsed(**said)


def decode_html(data: bytes) -> str:
    """Decode a page: byte order mark, then what it declares, then UTF-8, then the encoding of the early web.

    Raises:
        DocumentRejected: if more than a hundredth of it cannot be decoded.
    """
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding)
    declared = _CHARSET.search(data[:_CHARSET_WITHIN])
    if declared:
        name = declared[1].decode("ascii").lower()
        name = _MEANT.get(name, name)
        name = "utf-8" if name.startswith("utf-16") else name  # a page that can be read as ASCII is not in UTF-16
        try:
            if codecs.lookup(name).name in _ENCODINGS:
                return _decoded(data, name)
        except LookupError:
            pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _decoded(data, "utf-8" if data.count(b"\xc3") > len(data) // 200 else "cp1252")


def _decoded(data: bytes, encoding: str) -> str:
    text = data.decode(encoding, "replace")
    if text.count("\ufffd") > max(1, _REPLACED * len(text)):
        raise DocumentRejected("document_encoding", f"The page is said to be {encoding} but is not.")
    return text


def _expect_shallow(body: LexborNode) -> None:
    depth = 0
    for entering, node in _events(body):
        depth += 1 if entering else -1
        if depth > MAX_DEPTH:
            raise DocumentRejected("document_too_complex", f"The page is nested more than {MAX_DEPTH} deep.")
        del node


def _events(root: LexborNode) -> Iterator[tuple[bool, LexborNode]]:
    """Yield (True, node) when a node begins and (False, node) when it ends, without recursion."""
    node: LexborNode | None = root
    while node is not None:
        yield True, node
        child = node.first_child
        if child is not None:
            node = child
            continue
        while node is not None:
            yield False, node
            if node == root:
                return
            if node.next is not None:
                node = node.next
                break
            node = node.parent


class _Lengths:
    """How much text each element has, how much of it is in links, which tables have data; counted once, bottom up."""

    def __init__(self, root: LexborNode) -> None:
        self._counts: dict[int, tuple[int, int]] = {}
        self._data: set[int] = set()
        stack: list[list[int]] = [[0, 0]]
        tables: list[_Table] = []
        links = skipped = written = 0
        for entering, node in _events(root):
            tag = node.tag or ""
            if entering:
                stack.append([0, 0])
                links += tag == "a"
                skipped += tag in _NEVER
                if tag == "-text":
                    text = node.text_content or ""
                    written += len(text)
                    if not skipped:
                        length = len(text.strip())
                        stack[-1] = [length, length if links else 0]
                elif tables:
                    tables[-1].begin(tag, written)
                if tag == "table":
                    tables.append(_Table())
                continue
            links -= tag == "a"
            skipped -= tag in _NEVER
            total, linked = stack.pop()
            stack[-1][0] += total
            stack[-1][1] += linked
            if tag != "-text":
                self._counts[node.mem_id] = total, linked
            if tag == "table" and tables.pop().is_data():
                self._data.add(node.mem_id)
            elif tables:
                tables[-1].end(tag, written)

    def is_data(self, table: LexborNode) -> bool:
        """Whether a table has short cells in rows, rather than a page's layout."""
        return table.mem_id in self._data

    def of(self, node: LexborNode) -> int:
        """Return how many characters of text there are in ``node``."""
        return self._counts.get(node.mem_id, (0, 0))[0]

    def only_links(self, node: LexborNode) -> bool:
        """Whether nearly all text of ``node`` is in links."""
        total, linked = self._counts.get(node.mem_id, (0, 0))
        return total > 0 and linked >= _LINKS_ONLY * total


@dataclass(slots=True)
class _Table:
    """What is looked at to tell data from layout."""

    cells: int = 0
    longest: int = 0
    layout: bool = False
    """Whether it has headings or tables inside."""
    begun: int = 0
    """Characters of the page before the present cell."""

    def begin(self, tag: str, written: int) -> None:
        """Note an element inside, and how many characters there were before."""
        if tag in _CELLS:
            self.cells += 1
            self.begun = written
        elif tag in _LAYOUT:
            self.layout = True

    def end(self, tag: str, written: int) -> None:
        """Note the end of an element inside."""
        if tag in _CELLS:
            self.longest = max(self.longest, written - self.begun)

    def is_data(self) -> bool:
        """Whether there are short cells in rows."""
        return not self.layout and self.cells > 1 and self.longest <= _LONGEST_CELL


def _content(body: LexborNode, lengths: _Lengths) -> LexborNode:
    """Return the element that is the page's content: what it marks as such if that is a good part of the text."""
    for selector in ("main", "[role=main]", "article", "[itemprop=articleBody]"):
        found = body.css(selector)
        if len(found) == 1 and lengths.of(found[0]) >= _LARGEST_SURROUNDING * lengths.of(body):
            return found[0]
    return body


class _Walk:
    """Goes through a page in reading order and builds its text."""

    def __init__(self, lengths: _Lengths, *, tidy: bool) -> None:
        self._lengths = lengths
        self._tidy = tidy
        self._builder = TextBuilder()
        self._line: list[str] = []
        self._rows: list[str] = []
        self._cells: list[str] = []
        self._level = 0
        self._pre = 0
        self._tables = 0

    def read(self, root: LexborNode) -> TextBuilder:
        """Return the text below ``root``."""
        self._total = max(1, self._lengths.of(root))
        skipping: LexborNode | None = None
        for entering, node in _events(root):
            if skipping is not None:
                if not entering and node == skipping:
                    skipping = None
                continue
            if entering:
                if node.tag == "-text":
                    self._text(node.text_content or "")
                elif node != root and self._leave_out(node):
                    skipping = node
                    if node.tag in _BLOCKS:
                        self._flush()
                else:
                    self._begin(node)
            elif node.tag != "-text":
                self._end(node)
        self._flush()
        return self._builder

    def _text(self, text: str) -> None:
        self._line.append(text if self._pre else collapse(text))

    def _begin(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "br":
            self._line.append("\n")
        elif tag == "table" and self._lengths.is_data(node):
            self._flush()
            self._tables += 1
        elif self._tables and tag in {"td", "th", "tr"}:
            self._flush()
        elif tag in _BLOCKS:
            self._flush()
            if heading := _HEADING.match(tag):
                self._level = int(heading[1])
            self._pre += tag == "pre"

    def _end(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag in {"td", "th"} and self._tables:
            self._flush()
            self._cells.append("")
        elif tag == "tr" and self._tables:
            self._flush()
            if row := "\t".join(cell for cell in self._cells if cell):
                self._rows.append(row)
            self._cells = []
        elif tag == "table" and self._tables:
            self._flush()
            self._tables -= 1
            self._builder.add("\n".join(self._rows))
            self._rows = []
        elif tag in _BLOCKS:
            self._flush()
            if _HEADING.match(tag):
                self._level = 0
            self._pre -= tag == "pre"

    def _flush(self) -> None:
        """End the paragraph that is being read; inside of a table it goes to its cell."""
        text = "".join(self._line)
        self._line = []
        lines = [line.rstrip() if self._pre else collapse(line).strip(" ") for line in text.split("\n")]
        text = "\n".join(line for line in lines if line or self._pre)
        if not text.strip():
            return
        if self._tables:
            joined = " ".join(text.split("\n"))
            if self._cells and self._cells[-1]:
                self._cells[-1] += " " + joined
            elif self._cells:
                self._cells[-1] = joined
            else:
                self._cells.append(joined)
            return
        self._builder.add(text, self._level)

    def _leave_out(self, node: LexborNode) -> bool:
        if (node.tag or "") in _NEVER or (node.tag or "").startswith("-") or _is_hidden(node):
            return True
        if not self._tidy:
            return False
        if node.tag in _AROUND or (node.attributes.get("role") or "").lower() in _ROLES:
            return True
        small = self._lengths.of(node) < _LARGEST_SURROUNDING * self._total
        return small and (_is_marked(node) or (node.tag in _LISTS and self._lengths.only_links(node)))


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    hidden = "hidden" in attributes or (attributes.get("aria-hidden") or "").lower() == "true"
    return hidden or _HIDDEN.search((attributes.get("style") or "")[:1000]) is not None


def _is_marked(node: LexborNode) -> bool:
    """Whether its class or id names a part of a page that is not its content."""
    attributes = node.attributes
    marked = f"{(attributes.get('class') or '')[:500]} {(attributes.get('id') or '')[:100]}"
    return node.tag in _MARKED and _SURROUNDING.search(marked) is not None


def _said(tree: LexborHTMLParser) -> dict[str, str]:
    """Collect what the page says of itself; the first that says it counts."""
    metas: dict[str, str] = {}
    for node in tree.css("meta")[:500]:
        attributes = node.attributes
        key = attributes.get("property") or attributes.get("name") or attributes.get("itemprop") or ""
        if content := clean(attributes.get("content") or ""):
            metas.setdefault(key.lower(), content)
    linked = _linked_data(tree)
    title = tree.css_first("title")
    root = tree.css_first("html")
    time = tree.css_first("time[datetime]")
    dates = (
        metas.get("article:published_time"),
        linked.get("datePublished"),
        metas.get("datepublished"),
        metas.get("dcterms.date"),
        metas.get("dc.date"),
        metas.get("date"),
        time.attributes.get("datetime") if time else None,
    )
    return {
        "title": metas.get("og:title") or linked.get("headline", ""),
        "name": clean(title.text()) if title else "",
        "author": metas.get("author") or metas.get("dc.creator") or linked.get("author", ""),
        "date": next((date for value in dates if value and (date := iso_date(value))), ""),
        "language": (root.attributes.get("lang") if root else "") or metas.get("og:locale", "").replace("_", "-"),
    }


def _linked_data(tree: LexborHTMLParser) -> dict[str, str]:
    """Return headline, date and author of the page's JSON-LD, if it is of the usual shape."""
    found: dict[str, str] = {}
    for node in tree.css("script[type='application/ld+json']")[:10]:
        try:
            value: Any = json.loads(node.text()[:100_000])
        except (ValueError, RecursionError):
            continue
        entries = value.get("@graph", [value]) if isinstance(value, dict) else value
        for entry in entries[:50] if isinstance(entries, list) else []:
            if not isinstance(entry, dict):
                continue
            author = entry.get("author")
            author = author[0] if isinstance(author, list) and author else author
            author = author.get("name") if isinstance(author, dict) else author
            for key, said in (("headline", entry.get("headline")), ("datePublished", entry.get("datePublished"))):
                if isinstance(said, str):
                    found.setdefault(key, said)
            if isinstance(author, str):
                found.setdefault("author", author)
    return found
