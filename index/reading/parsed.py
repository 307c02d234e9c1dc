"""What a reader makes of a file, and the builder all readers share."""

from __future__ import annotations

import datetime
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from index.errors import DocumentRejected
from index.layout import Heading, Layout

MAX_CHARACTERS = 20 * 2**20
"""The longest text a document may have."""

_SPACE = re.compile(r"[^\S\u00a0\u2007\u202f]+")
"""White space, but no-break spaces stay what they are: they are part of what was written."""
_DATE = re.compile(r"(?:D:)?(\d{4})(?:-?(\d{2})(?:-?(\d{2}))?)?")
_MAX_NAME = 255


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
            DocumentRejected: if the text grows too long.
        """
        block = _writable(block).strip("\n\r\t ")
        if not block.strip():
            return
        if self._length:
            self._append("\n\n")
        start = self._length
        self._append(block)
        if level:
            self._headings.append(Heading(start, self._length, min(level, 9)))

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


def to_json(parsed: Parsed) -> dict[str, Any]:
    """Return a form that can be sent from one process to another."""
    return asdict(parsed)


def from_json(value: dict[str, Any]) -> Parsed:
    """Return what :func:`to_json` was given; what comes from a reader's process is checked, not believed.

    Raises:
        ValueError: if it has another shape.
    """
    try:
        layout = value.pop("layout")
        headings = tuple(
            Heading(*(int(each[key]) for key in ("start", "end", "level"))) for each in layout["headings"]
        )
        pages = tuple(int(page) for page in layout["pages"])
        if not all(isinstance(part, str) for part in value.values()):
            raise ValueError("not text")
        return Parsed(layout=Layout(pages, headings), **value)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("not a parsed document") from error
