"""What a reader makes of a file, and the builder all readers share."""

from __future__ import annotations

import datetime
import json
import re
import struct
from dataclasses import dataclass, field

from index.errors import DataDamaged, DocumentRejected
from index.layout import Heading, Layout, pack, unpack

MAX_CHARACTERS = 20 * 2**20
"""The longest text a document may have."""
MAX_HEADINGS = 50_000
MAX_PARAGRAPHS = 200_000
"""All places of a document are read whenever it is cited; so many take some 30 ms."""
MAX_LINES = 500_000
"""A line is a sentence of its own if it is no part of a paragraph, so a million lines would be a million vectors."""
LONGEST_HEADING = 300
"""What is longer is a paragraph, whatever the file says; headings are shown with each citation."""

_SPACE = re.compile(r"[^\S\u00a0\u2007\u202f]+")
"""White space, but no-break spaces stay what they are: they are part of what was written."""
_DATE = re.compile(r"(?:D:)?(\d{4})(?:-?(\d{2})(?:-?(\d{2}))?)?")
_MAX_NAME = 255
_PARTS = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text with its layout, and what the file says of itself; empty where it does not."""

    text: str
    layout: Layout = field(default_factory=Layout)
    title: str = ""
    author: str = ""
    date: str = ""
    """ISO 8601: a year, a month or a day."""
    language: str = ""
    """As the file has it, for example ``de-AT``."""


class TextBuilder:
    """Builds a text of paragraphs with blank lines between, and notes where pages and headings begin."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._pages: list[int] = []
        self._headings: list[Heading] = []

    def __len__(self) -> int:
        return self._length

    def add(self, block: str, level: int = 0) -> None:
        """Add a paragraph, or a heading if ``level`` is not 0.

        Raises:
            DocumentRejected: if the text grows too long, or has too many headings.
        """
        block = _writable(block).strip("\n\r\t ")
        if not block or block.isspace():
            return
        if self._length:
            self._append("\n\n")
        start = self._length
        self._append(block)
        if level and len(block) <= LONGEST_HEADING:
            self._headings.append(Heading(start, self._length, min(level, 9)))
            expect_few_headings(len(self._headings))

    def page(self) -> None:
        """Begin a new page with what is added next."""
        self._pages.append(self._length + 2 if self._length else 0)

    def page_inside(self, offset: int) -> None:
        """Note a page that begins inside the paragraph that was added last."""
        self._pages.append(offset)

    def parsed(self, **said: str) -> Parsed:
        """Return what was built, with what the file says of itself."""
        text = "".join(self._pieces)
        pages = tuple(min(start, len(text)) for start in self._pages)
        known = {name: clean(value) for name, value in said.items()}
        return Parsed(text, Layout(pages, tuple(self._headings)), **known)

    def first_heading(self) -> str:
        """Return the first heading; empty if there is none."""
        if not self._headings:
            return ""
        heading = self._headings[0]
        return "".join(self._pieces)[heading.start : heading.end]

    def _append(self, piece: str) -> None:
        self._length += len(piece)
        if self._length > MAX_CHARACTERS:
            message = f"The file has more than {MAX_CHARACTERS:,} characters of text."
            raise DocumentRejected("document_too_large", message)
        self._pieces.append(piece)


def _writable(text: str) -> str:
    """Return ``text`` without control characters, and with half characters joined or marked as lost."""
    if text.isprintable():
        return text
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.translate(_CONTROLS)


_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def collapse(text: str) -> str:
    """Return ``text`` with each run of white space as one space."""
    return _SPACE.sub(" ", text)


def clean(value: object) -> str:
    """Return a short printable line, or nothing if there is none."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return line[:_MAX_NAME].strip()


def iso_date(value: object) -> str:
    """Return the date that ``value`` begins with as ISO 8601; empty if it is none. Understands PDF's ``D:`` form."""
    match = _DATE.match(str(value).strip())
    if match is None:
        return ""
    year, month, day = match.groups()
    try:
        datetime.date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return ""
    return "-".join(part for part in (year, month, day) if part)


def expect_few_headings(count: int) -> None:
    """See that there are not more headings than a document may have.

    Raises:
        DocumentRejected: if there are.
    """
    if count > MAX_HEADINGS:
        raise DocumentRejected("document_too_complex", f"The file has more than {MAX_HEADINGS:,} headings.")


def to_bytes(parsed: Parsed) -> bytes:
    """Return a form that can be sent from one process to another: three lengths, JSON, layout, text."""
    said = (parsed.title, parsed.author, parsed.date, parsed.language)
    parts = json.dumps(said).encode(), pack(parsed.layout), parsed.text.encode("utf-8", "replace")
    return _PARTS.pack(*map(len, parts)) + b"".join(parts)


def from_bytes(data: bytes) -> Parsed:
    """Return what :func:`to_bytes` was given; what comes from a reader's process is checked, not believed.

    Raises:
        ValueError: if it has another shape.
    """
    try:
        said, layout, text = _PARTS.unpack_from(data)
        first, second = _PARTS.size + said, _PARTS.size + said + layout
        if len(data) != second + text or said > 10 * _MAX_NAME * 4 or layout > _LARGEST_LAYOUT:
            raise ValueError("lengths")
        title, author, date, language = map(str, json.loads(data[_PARTS.size : first]))
        places = unpack(data[first:second])
        return Parsed(data[second:].decode("utf-8"), places, *map(clean, (title, author, date, language)))
    except (struct.error, DataDamaged, RecursionError) as error:
        raise ValueError("not a parsed document") from error


_LARGEST_LAYOUT = 4 * (4 + MAX_PARAGRAPHS + 3 * MAX_HEADINGS)
"""Bytes of places that a reader may return."""
