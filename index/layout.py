"""Where things stand in a text: its pages, headings and paragraphs, so that a citation can say "page 7, Kosten".

Kept beside the text, never in it: offsets into the text mean the same with and without. Plain numbers only, since the
processes that read files know nothing heavier.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice, pairwise

from index.errors import DataDamaged

_BREAK = re.compile(r"(?:\r\n|\r|\n)[ \t]*(?:\r\n|\r|\n)\s*|[\u2029\f]\s*")
_COUNTS = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading's range of code points, and its depth: 1 is the outermost."""

    start: int
    end: int
    level: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of one text, each list ascending."""

    pages: tuple[int, ...] = ()
    """Where each page begins; empty for what has no pages."""
    headings: tuple[Heading, ...] = ()
    paragraphs: tuple[int, ...] = ()
    """Where each paragraph begins."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a range of a text is, for a reader with the document in hand. Numbers begin with 1."""

    page: int | None = None
    last_page: int | None = None
    """Only if the range goes on to another page."""
    section: Heading | None = None
    """The nearest heading above."""
    paragraph: int | None = None


def paragraph_starts(text: str, most: int | None = None) -> tuple[int, ...]:
    """Return where each paragraph begins, text between blank lines; ``most`` of them at most."""
    starts = chain((0,), (match.end() for match in _BREAK.finditer(text)), (len(text),))
    written = (start for start, end in pairwise(starts) if start < end and not text[start:end].isspace())
    return tuple(islice(written, most))


def locate(layout: Layout, start: int, end: int) -> Place:
    """Say where ``text[start:end]`` is."""
    page = bisect_right(layout.pages, start)
    last = bisect_right(layout.pages, max(start, end - 1))
    above = bisect_right(layout.headings, start, key=lambda heading: heading.start)
    return Place(
        page or None,
        last if last > page else None,
        layout.headings[above - 1] if above else None,
        bisect_right(layout.paragraphs, start) or None,
    )


def pack(layout: Layout) -> bytes:
    """Return a small binary form: three counts, then differences of 32 bits, lowest byte first."""
    headings = [number for heading in layout.headings for number in (heading.start, heading.end, heading.level)]
    numbers = [*_differences(layout.pages), *headings, *_differences(layout.paragraphs)]
    counts = _COUNTS.pack(len(layout.pages), len(layout.headings), len(layout.paragraphs))
    return counts + struct.pack(f"<{len(numbers)}I", *numbers)


def unpack(data: bytes) -> Layout:
    """Return the layout of its packed form.

    Raises:
        DataDamaged: if it is none.
    """
    try:
        pages, headings, paragraphs = _COUNTS.unpack_from(data)
        numbers = struct.unpack(f"<{pages + 3 * headings + paragraphs}I", data[_COUNTS.size :])
    except struct.error as error:
        raise DataDamaged("data_damaged", "The layout of a document cannot be read.") from error
    middle = numbers[pages : pages + 3 * headings]
    return Layout(
        tuple(accumulate(numbers[:pages])),
        tuple(Heading(*middle[place : place + 3]) for place in range(0, len(middle), 3)),
        tuple(accumulate(numbers[pages + 3 * headings :])),
    )


def layout_problem(layout: Layout, characters: int) -> str:
    """Say what is wrong with a layout for a text of so many characters; empty if nothing is."""
    edges: Iterable[tuple[str, Sequence[int]]] = (
        ("pages", layout.pages),
        ("headings", [heading.start for heading in layout.headings]),
        ("paragraphs", layout.paragraphs),
    )
    for name, starts in edges:
        if any(before > after for before, after in pairwise(starts)) or any(
            not 0 <= at <= characters for at in starts
        ):
            return f"its {name} are out of order"
    if any(not heading.start < heading.end <= characters for heading in layout.headings):
        return "a heading is outside of its text"
    return ""


def _differences(numbers: Sequence[int]) -> list[int]:
    return [after - before for before, after in pairwise((0, *numbers))]
