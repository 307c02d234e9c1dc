"""PDF, read by pypdf, the only place that knows it: lines with their places become paragraphs, headings and pages.

A PDF has no paragraphs, only strings at places. Lines are put together again by their distance, size and indent; a
paragraph goes on across a column or a page if its last line does not end a sentence. The line break after a hyphen is
kept, since nobody can tell for certain whether the hyphen belongs to the word; search reads both parts as one.
"""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import attrgetter
from statistics import median
from typing import Any

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError, LimitReachedError, PyPdfError

from index.errors import DocumentRejected
from index.reading.parsed import Parsed, TextBuilder, clean, collapse, iso_date

MAX_PAGES = 10_000
_LARGEST = 1e6
"""Points from a page's corner; no page is as large."""
_LONGEST_NAME = 200

_FAILURES = (
    PyPdfError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""A damaged file makes pypdf fail in every way that Python has."""

_HEADING_SIZE = 1.12
"""From so many times the size of the text on, a line is a heading."""
_SAME_SIZE = 0.08
_GAP = 1.3
"""A larger share of the usual distance of lines begins a paragraph."""
_INDENT = 0.8  # of the size of the letters
_SAME_ROW = 0.2  # of the size of the letters
_FULL = 0.75  # of the longest lines' length
_LONGEST_HEADING = 160
_MARGIN = 0.12
"""Share of a page at its top and bottom where running titles and page numbers are looked for."""
_ROWS = 2
_OFTEN = 0.5
_ENDS = re.compile(r"[.!?:;…][\"'»«”“’)\]]*$")
_HYPHEN = re.compile(r"\w[-\u2010\u00ad]$")
_PAGE_NUMBER = re.compile(
    r"^\W*(?:(?:page|seite|s\.|p\.|стр\.|página|pagina|side|sida)\s*)?(?:\d{1,4}|[ivxlc]{1,7})"
    r"(?:\s*(?:/|of|von|de|sur|из|di)\s*\d{1,4})?\W*$",
    re.IGNORECASE,
)
_NO_TITLE = re.compile(
    r"^(?:microsoft (?:word|powerpoint|excel)\b.*|untitled.*|unbenannt.*|print|do[ck]ument\d*|slide \d+"
    r"|.*\.(?:docx?|rtf|odt|indd|qxd|tex|dvi|pdf|pptx?|xlsx?))$",
    re.IGNORECASE,
)
_BOLD = re.compile(r"bold|black|heavy|semib|demi|-b$", re.IGNORECASE)


@dataclass(slots=True)
class _Line:
    """A line of text where it stands, in points from the page's lower left corner."""

    page: int
    x: float = 0.0
    y: float = 0.0
    size: float = -1.0
    """Of its letters; less than 0 while it has none."""
    bold: bool = True
    text: str = ""
    margin: bool = False
    """Whether it is at the very top or bottom of its page."""


@dataclass(slots=True)
class _Block:
    """Lines that make a paragraph."""

    lines: list[_Line] = field(default_factory=list)
    column: int = 0
    """How many of them are in the last column."""
    left: float = 0.0
    """Where the last column begins."""

    def add(self, line: _Line) -> None:
        """Add the next line."""
        if not self.lines or _turns(self.lines[-1], line):
            self.column, self.left = 0, line.x
        self.column += 1
        self.left = min(self.left, line.x)
        self.lines.append(line)


def read_pdf(data: bytes) -> Parsed:
    """Read a document.

    Raises:
        DocumentRejected: if it is none, encrypted, without text, or built to exhaust whoever reads it.
    """
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader: PdfReader | None = None
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        _decrypt(reader)
        count = len(reader.pages)
        if count > MAX_PAGES:
            raise DocumentRejected("document_too_complex", f"The file has more than {MAX_PAGES:,} pages.")
        lines = [line for number, page in enumerate(reader.pages) for line in _lines(page, number)]
        said = _said(reader)
        marks = _outline(reader)
    except DocumentRejected:
        raise
    except LimitReachedError as error:
        raise DocumentRejected("document_too_complex", "The file goes in circles, or grows far too large.") from error
    except DependencyError as error:
        if reader is not None and reader.is_encrypted:
            message = "The file is encrypted in a way that cannot be read."
            raise DocumentRejected("document_encrypted", message) from error
        raise DocumentRejected(
            "document_damaged", "The file's text is packed in a way that cannot be read."
        ) from error
    except _FAILURES as error:
        raise DocumentRejected("document_damaged", "The file is not a PDF that can be read.") from error
    if not any(character.isalnum() for line in lines for character in line.text):
        raise DocumentRejected(
            "document_empty", "The file has no text, only images perhaps.", "Run text recognition (OCR) on it first."
        )
    return _build(_without_running_titles(lines, count), count, said, marks)


def _decrypt(reader: PdfReader) -> None:
    """Open a file that only forbids printing or copying; one that asks for a password stays closed."""
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentRejected("document_encrypted", "The file asks for a password.")


def _lines(page: PageObject, number: int) -> list[_Line]:
    """Return the lines of a page in the order they were written."""
    found: list[_Line] = []
    line = _Line(number)
    pieces: list[str] = []

    def end() -> None:
        nonlocal line
        line.text = collapse("".join(pieces)).strip(" ")
        if line.text.strip():
            found.append(line)
        line = _Line(number)
        pieces.clear()

    def visit(text: str, matrix: Sequence[float], placed: Sequence[float], font: Any, size: float) -> None:
        for part in text.splitlines(keepends=True):
            body = part.rstrip("\r\n")
            if body.strip():
                if line.size < 0:
                    line.x = _finite(placed[4] * matrix[0] + placed[5] * matrix[2] + matrix[4])
                    line.y = _finite(placed[4] * matrix[1] + placed[5] * matrix[3] + matrix[5])
                name = str((font or {}).get("/BaseFont", ""))[:_LONGEST_NAME]
                scale = (abs(placed[0] * placed[3]) * abs(matrix[0] * matrix[3])) ** 0.5
                line.size = max(line.size, round(_finite(abs(size or 0) * (scale or 1)), 1))
                line.bold = line.bold and bool(_BOLD.search(name))
            pieces.append(body)
            if part != body:
                end()

    page.extract_text(visitor_text=visit)
    end()
    low, high = _finite(page.mediabox.bottom), _finite(page.mediabox.top)
    edge = _MARGIN * (high - low)
    for each in found:
        each.margin = each.y < low + edge or each.y > high - edge
    return found


def _finite(value: float) -> float:
    """Return a coordinate or size; 0 for what is none."""
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if abs(number) <= _LARGEST else 0.0


def _without_running_titles(lines: list[_Line], pages: int) -> list[_Line]:
    """Leave out page numbers at the edges of pages, and what stands there at the same place on most of them."""
    by_page = groupby(lines, key=attrgetter("page"))
    edges = [line for _, on_page in by_page for line in _outermost(list(on_page))]
    seen = Counter({(line.page, _running(line)): 1 for line in edges})
    often = Counter(running for _, running in seen)
    most = max(2, _OFTEN * pages)
    gone = {id(line) for line in edges if _PAGE_NUMBER.match(line.text) or often[_running(line)] >= most}
    return [line for line in lines if id(line) not in gone]


def _outermost(lines: list[_Line]) -> list[_Line]:
    """Return what stands in the margins in one of the two highest or lowest rows of a page."""
    rows = sorted({round(line.y) for line in lines})
    outer = {*rows[:_ROWS], *rows[-_ROWS:]}
    return [line for line in lines if line.margin and round(line.y) in outer]


def _running(line: _Line) -> tuple[str, int, int]:
    """Return what running titles have in common from page to page: place and words, but not numbers."""
    return _folded(line.text), round(line.x / 4) if not _PAGE_NUMBER.match(line.text) else 0, round(line.y / 4)


def _folded(text: str) -> str:
    return re.sub(r"\d+|\b[ivxlc]+\b", "#", text.casefold())


def _build(lines: list[_Line], pages: int, said: dict[str, str], marks: dict[int, dict[str, int]]) -> Parsed:
    usual = _usual_size(lines)
    levels = {size: place for place, size in enumerate(_heading_sizes(lines, usual), start=1)}
    builder = TextBuilder()
    turned = 0
    largest = ""
    for block in _blocks(lines, usual):
        text, offsets = _join(block.lines)
        first = block.lines[0]
        while turned <= first.page:
            builder.page()
            turned += 1
        start = len(builder) + 2 if len(builder) else 0
        level = marks.get(first.page, {}).get(_words(text)) or _level(block, text, usual, levels)
        builder.add(text, level)
        for line, offset in zip(block.lines, offsets, strict=True):
            while turned <= line.page:
                builder.page_inside(start + offset)
                turned += 1
        if level and first.page == 0 and first.size == max(levels, default=0):
            largest = largest or text
    while turned < pages:
        builder.page()
        turned += 1
    title = said["title"]
    said["title"] = (largest if _NO_TITLE.match(title) else title) or largest or builder.first_heading()
    return builder.parsed(**said)


def _usual_size(lines: Sequence[_Line]) -> float:
    """Return the size most letters have."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[line.size] += len(line.text)
    return max(sizes.items(), key=lambda item: item[1])[0] if sizes else 0.0


def _heading_sizes(lines: Sequence[_Line], usual: float) -> list[float]:
    sizes = {line.size for line in lines if line.size > usual * _HEADING_SIZE and len(line.text) <= _LONGEST_HEADING}
    return sorted(sizes, reverse=True)


def _level(block: _Block, text: str, usual: float, levels: dict[float, int]) -> int:
    """Return how deep a heading is by its size; bold lines of the usual size are the deepest; 0 if it is none."""
    size = block.lines[0].size
    if len(text) > _LONGEST_HEADING or not any(character.isalpha() for character in text):
        return 0
    if size > usual * _HEADING_SIZE:
        return levels.get(size, len(levels) + 1)
    bold = all(line.bold for line in block.lines) and not text.endswith((".", ",", ";"))
    return len(levels) + 1 if bold and size >= usual * (1 - _SAME_SIZE) and len(block.lines) <= 2 else 0


def _blocks(lines: Sequence[_Line], usual: float) -> Iterator[_Block]:
    """Put lines together that belong to one paragraph."""
    if not lines:
        return
    distances = _distances(lines)
    longest = sorted(len(line.text) for line in lines if abs(line.size - usual) <= _SAME_SIZE * usual) or [0]
    full = longest[int(0.9 * (len(longest) - 1))]
    block = _Block()
    block.add(lines[0])
    for before, after in pairwise(lines):
        if not _goes_on(block, before, after, distances, full):
            yield block
            block = _Block()
        block.add(after)
    yield block


def _distances(lines: Sequence[_Line]) -> dict[float, float]:
    """Return the usual distance from line to line for each size of letters."""
    found: dict[float, list[float]] = {}
    for before, after in pairwise(lines):
        down = before.y - after.y
        if before.page == after.page and before.size == after.size and 0 < down < 3 * before.size:
            found.setdefault(before.size, []).append(down)
    # Most lines are inside of paragraphs, so a low quantile is safe against those between.
    return {size: median(sorted(downs)[: max(1, (len(downs) + 1) * 2 // 3)]) for size, downs in found.items()}


def _goes_on(  # noqa: PLR0911 - one rule after the other
    block: _Block, before: _Line, after: _Line, distances: dict[float, float], full: int
) -> bool:
    if abs(before.size - after.size) > _SAME_SIZE * max(before.size, after.size):
        return False
    broken = _HYPHEN.search(before.text) is not None
    long = len(before.text) >= _FULL * full
    if _turns(before, after):
        unfinished = not _ENDS.search(before.text) and long and before.bold == after.bold
        return broken or unfinished
    if before.bold and not after.bold and len(block.lines) == 1 and not long:  # a heading
        return False
    down = before.y - after.y
    if down > _GAP * distances.get(before.size, 1.5 * before.size):
        return False
    if abs(down) <= _SAME_ROW * before.size:
        return True
    if block.column > 1 and after.x > block.left + _INDENT * after.size:
        return broken
    return long or not _ENDS.search(before.text) or after.text[:1].islower()


def _turns(before: _Line, after: _Line) -> bool:
    """Whether the next line is on another page or in another column."""
    down = before.y - after.y
    return before.page != after.page or not -_SAME_ROW * before.size <= down <= 5 * max(before.size, 1.0)


def _join(lines: Sequence[_Line]) -> tuple[str, list[int]]:
    """Join lines to a paragraph; return it with where each line begins in it."""
    pieces: list[str] = []
    offsets: list[int] = []
    length = 0
    for line in lines:
        if pieces:
            pieces.append("\n" if _HYPHEN.search(pieces[-1][-2:]) else " ")
            length += 1
        offsets.append(length)
        pieces.append(line.text)
        length += len(line.text)
    return "".join(pieces), offsets


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _outline(reader: PdfReader) -> dict[int, dict[str, int]]:
    """Return the document's own table of contents: for each page its headings' words with their depth."""
    marks: dict[int, dict[str, int]] = {}
    stack: list[tuple[Any, int]] = [(item, 1) for item in reversed(list(reader.outline))]
    for _ in range(MAX_PAGES):
        if not stack:
            break
        item, level = stack.pop()
        if isinstance(item, list):
            stack += [(each, level + 1) for each in reversed(item)]
            continue
        page = reader.get_destination_page_number(item)
        if page is not None and (words := _words(clean(item.title))):
            marks.setdefault(page, {})[words] = level
    return marks


def _said(reader: PdfReader) -> dict[str, str]:
    about: Any = reader.metadata or {}
    root: Any = reader.trailer.get("/Root", {})
    return {
        "title": clean(about.get("/Title") or ""),
        "author": clean(about.get("/Author") or ""),
        "date": iso_date(about.get("/CreationDate") or ""),
        "language": clean(root.get_object().get("/Lang") or "") if root else "",
    }
