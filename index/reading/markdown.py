"""Markdown: the text stays as it is; its headings and what its front matter says are noted."""

from __future__ import annotations

import re

from index.layout import Heading, Layout
from index.reading.parsed import Parsed, clean, iso_date

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_ATX = re.compile(r" {0,3}(?P<marks>#{1,6})[ \t]+(?P<title>[^\r\n]*?)[ \t]*(?:[ \t]#+)?[ \t]*[\r\n]*$")
_UNDERLINE = re.compile(r" {0,3}(?P<mark>=+|-+)[ \t]*[\r\n]*$")
_FENCE = re.compile(r" {0,3}(?P<mark>```+|~~~+)")
_FIELD = re.compile(r"(?P<key>[A-Za-z]+):[ \t]+(?P<value>\S[^\r\n]*)")
_FRONT_MATTER_LINES = 50


def read_markdown(text: str) -> Parsed:
    """Return ``text`` itself with its headings; title, author, date and language of its front matter."""
    lines = [(match.start(), match.group()) for match in _LINE.finditer(text) if match.group()]
    said, body = _front_matter([line for _, line in lines])
    headings = _headings(lines[body:])
    title = said.get("title", "")
    if not title and headings:
        title = text[headings[0].start : headings[0].end]
    return Parsed(
        text,
        Layout(headings=tuple(headings)),
        clean(title),
        clean(said.get("author", "")),
        iso_date(said.get("date", "")),
        clean(said.get("lang", said.get("language", ""))),
    )


def _headings(lines: list[tuple[int, str]]) -> list[Heading]:
    """Find headings of both kinds outside of fenced code (CommonMark 0.31, sections 4.2, 4.3 and 4.5)."""
    found: list[Heading] = []
    fence = ""
    before: tuple[int, str] | None = None
    for start, line in lines:
        mark = _FENCE.match(line)
        if fence:
            if mark and mark["mark"].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
            before = None
            continue
        if mark:
            fence, before = mark["mark"], None
            continue
        heading = _ATX.match(line)
        underline = _UNDERLINE.match(line)
        if heading and heading["title"].strip():
            begin = start + heading.start("title")
            found.append(Heading(begin, begin + len(heading["title"]), len(heading["marks"])))
            before = None
        elif underline and before:
            at, title = before
            begin = at + len(title) - len(title.lstrip())
            found.append(Heading(begin, at + len(title.rstrip()), 1 if underline["mark"][0] == "=" else 2))
            before = None
        else:
            # Only a line of its own: the last line of a longer paragraph above dashes is not worth the doubt.
            alone = before is None and line.strip() and not line.startswith(("    ", "\t", "-", "*", "+", ">", "|"))
            before = (start, line) if alone else None
            if line.strip() and not alone:
                before = None
    return found


def _front_matter(lines: list[str]) -> tuple[dict[str, str], int]:
    """Return plain fields between two lines of dashes at the very beginning, and the number of the line after."""
    if not lines or lines[0].rstrip() != "---":
        return {}, 0
    said: dict[str, str] = {}
    for number, line in enumerate(lines[1:_FRONT_MATTER_LINES], start=1):
        if line.rstrip() in {"---", "..."}:
            return said, number + 1
        if field := _FIELD.match(line):
            said.setdefault(field["key"].lower(), field["value"].strip().strip("\"'"))
    return {}, 0
