"""Markdown: the text stays as it is; its headings and what its front matter says are noted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from index.layout import Heading, Layout
from index.reading.parsed import LONGEST_HEADING, MAX_HEADINGS, Parsed, clean, expect_few_headings, iso_date

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_MARK = re.compile(r"(?<![^\r\n]) {0,3}(?:(?P<atx>#{1,6})[ \t]|(?P<fence>```+|~~~+)|(?P<under>[=-]))")
"""What a line begins with that makes a heading or code; all other lines are passed over quickly."""
_LINE_END = re.compile(r"[\r\n]|\Z")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*\Z")
_FIELD = re.compile(r"(?P<key>[A-Za-z]+):[ \t]+(?P<value>\S[^\r\n]*)")
_FRONT_MATTER_LINES = 50
_NO_TITLE = ("    ", "\t", "-", "*", "+", ">", "|")
_WINDOW = 2**18
"""Characters searched at once: a search keeps everything else in the process waiting."""
_LONGEST_LINE = LONGEST_HEADING + 50
"""Beyond this a line is no heading, and is not looked at; white space and closing marks included."""


def read_markdown(text: str) -> Parsed:
    """Return ``text`` itself with its headings; title, author, date and language of its front matter.

    Raises:
        DocumentRejected: if it has too many headings.
    """
    said, body = _front_matter(text)
    headings = list(islice(_headings(text, body), MAX_HEADINGS + 1))
    expect_few_headings(len(headings))
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


def atx_title(line: str) -> str:
    """Return the title of a line that is a heading with number signs; empty if it is none."""
    mark = _MARK.match(line) if len(line) <= _LONGEST_LINE else None
    return _without_closing(line[mark.end() :]) if mark and mark["atx"] else ""


def first_headings(text: str) -> tuple[Heading, ...]:
    """Return the headings of a text, as many as a document may have."""
    return tuple(islice(_headings(text, _front_matter(text)[1]), MAX_HEADINGS))


def _headings(text: str, body: int) -> Iterator[Heading]:
    """Find headings of both kinds outside of fenced code (CommonMark 0.31, sections 4.2, 4.3 and 4.5).

    Args:
        text: the whole of it.
        body: where the front matter ends.
    """
    fence = ""
    free = body  # where the line after the last heading or fence begins
    for mark in _marks(text, body):
        end = _end_of_line(text, mark.end())
        heading: Heading | None = None
        if mark["fence"]:
            if not fence:
                fence, free = mark["fence"], _next_line(text, end)
            elif mark["fence"].startswith(fence) and not text[mark.end() : end].strip():
                fence, free = "", _next_line(text, end)
        elif fence or end - mark.start() > _LONGEST_LINE:
            continue
        elif mark["atx"]:
            heading = _atx(text, mark, end)
        elif _UNDERLINE.match(text[mark.start() : end]):
            heading = _underlined(text, mark.start(), free, 1 if mark["under"] == "=" else 2)
        if heading:
            yield heading
            free = _next_line(text, end)


def _marks(text: str, begin: int) -> Iterator[re.Match[str]]:
    for window in range(begin, len(text), _WINDOW):
        after = window + _WINDOW
        for mark in _MARK.finditer(text, window, after + 10):  # a mark may stand across the edge
            if window <= mark.start() < after:
                yield mark


def _end_of_line(text: str, place: int) -> int:
    end = _LINE_END.search(text, place)
    return end.start() if end else len(text)


def _next_line(text: str, end: int) -> int:
    return end + (2 if text.startswith("\r\n", end) else 1)


def _line_before(text: str, place: int, begin: int) -> tuple[int, int] | None:
    """Return where the line before the one at ``place`` begins and ends; ``None`` if it is long or there is none."""
    if place <= begin:
        return None
    end = place - (2 if text.startswith("\r\n", place - 2) else 1)
    earliest = max(begin, end - _LONGEST_LINE)
    start = 1 + max(text.rfind("\n", earliest, end), text.rfind("\r", earliest, end))
    if start:
        return start, end
    return (begin, end) if earliest == begin else None


def _atx(text: str, mark: re.Match[str], end: int) -> Heading | None:
    rest = text[mark.end() : end]
    title = _without_closing(rest)
    begin = mark.end() + len(rest) - len(rest.lstrip())
    fits = 0 < len(title) <= LONGEST_HEADING
    return Heading(begin, begin + len(title), len(mark["atx"])) if fits else None


def _without_closing(rest: str) -> str:
    title = rest.strip()
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else title


def _underlined(text: str, place: int, free: int, level: int) -> Heading | None:
    """Return the heading above an underline at ``place``.

    Only a line of its own counts: the last line of a longer paragraph above dashes is not worth the doubt.
    """
    line = _line_before(text, place, free)
    if line is None:
        return None
    above = _line_before(text, line[0], free)
    alone = line[0] <= free or (above is not None and not text[above[0] : above[1]].strip())
    title = text[line[0] : line[1]]
    if not alone or not title.strip() or len(title) > LONGEST_HEADING or title.startswith(_NO_TITLE):
        return None
    begin = line[0] + len(title) - len(title.lstrip())
    return Heading(begin, line[0] + len(title.rstrip()), level)


def _front_matter(text: str) -> tuple[dict[str, str], int]:
    """Return plain fields between two lines of dashes at the very beginning, and where the line after begins."""
    said: dict[str, str] = {}
    for number, match in enumerate(islice(_LINE.finditer(text), _FRONT_MATTER_LINES)):
        line = match.group()
        if not number:
            if line.rstrip() != "---":
                break
        elif line.rstrip() in {"---", "..."}:
            return said, match.end()
        elif field := _FIELD.match(line):
            said.setdefault(field["key"].lower(), field["value"].strip().strip("\"'"))
    return {}, 0
