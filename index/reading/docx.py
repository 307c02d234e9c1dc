"""Word documents (.docx), streamed by zipfile and lxml, the only place that knows them.

The archive is not trusted: members are counted while they are inflated, whatever their headers say, and the XML is
read as a stream in which every paragraph is forgotten once it is read.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO

from lxml import etree

from index.errors import DocumentRejected
from index.reading.parsed import Parsed, TextBuilder, clean, iso_date

MAX_MEMBERS = 10_000
MAX_INFLATED = 200 * 2**20
"""Bytes a document's members may have together, inflated."""
MAX_RATIO = 200
"""How much an archive may grow; a usual document grows by 10 to 30 times."""
_RATIO_COUNTS_FROM = 10 * 2**20

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/wordprocessingml/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_DC = "{http://purl.org/dc/elements/1.1/}"
_CREATED = "{http://purl.org/dc/terms/}created"
_CHUNK = 2**16
_MAX_STYLES = 10
_SKIPPED = frozenset({"moveFrom", "del", "instrText", "delText", "comment", "rt"})
_NOTES = ("word/footnotes.xml", "word/endnotes.xml")
_TITLE_LEVEL = 1


def read_docx(data: bytes) -> Parsed:
    """Read a document: its paragraphs, tables and notes in order, without what was deleted or is hidden.

    Raises:
        DocumentRejected: if it is no such document, encrypted, or built to exhaust whoever reads it.
    """
    archive = _Archive(data)
    styles = _Styles(archive.root("word/styles.xml"))
    said = _said(archive.root("docProps/core.xml"))
    body = _Body(styles)
    for member in ("word/document.xml", *_NOTES):
        if member == "word/document.xml" or member in archive:
            body.read(archive.open(member))
    said["title"] = body.title or said["title"] or body.builder.first_heading()
    return body.builder.parsed(**said)


class _Archive:
    """The members of a zip archive, each read once, all of them counted."""

    def __init__(self, data: bytes) -> None:
        self._limit = max(_RATIO_COUNTS_FROM, min(MAX_INFLATED, MAX_RATIO * len(data)))
        self._inflated = 0
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
            if data.startswith(b"\xd0\xcf\x11\xe0"):
                message = "The file is an old Word document, or encrypted; save it as .docx without a password."
                raise DocumentRejected("document_encrypted", message) from error
            raise DocumentRejected("document_damaged", "The file is not a Word document.") from error
        entries = self._zip.infolist()
        if len(entries) > MAX_MEMBERS:
            raise DocumentRejected("document_too_complex", f"The file has more than {MAX_MEMBERS:,} parts.")
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise DocumentRejected("document_damaged", "The file has two parts of the same name.")
        places = sorted((entry.header_offset, entry.compress_size) for entry in entries)
        if any(start + size > following for (start, size), (following, _) in pairwise(places)):
            raise DocumentRejected("document_too_complex", "The file's parts overlap.")
        if "word/document.xml" not in self._entries:
            raise DocumentRejected("document_damaged", "The file is not a Word document.")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def open(self, name: str) -> _Counted:
        """Open a member.

        Raises:
            DocumentRejected: if it is encrypted or packed in an unknown way.
        """
        entry = self._entries[name]
        if entry.flag_bits & 1:
            raise DocumentRejected("document_encrypted", "The file is encrypted.")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            # Word knows no other, and zipfile inflates others without a limit.
            raise DocumentRejected("document_damaged", "A part of the file is packed in an unknown way.")
        try:
            return _Counted(self, self._zip.open(entry))
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, RuntimeError) as error:
            raise DocumentRejected("document_damaged", "A part of the file cannot be unpacked.") from error

    def root(self, name: str) -> etree._Element | None:
        """Return the parsed XML of a small member; ``None`` if there is none, or it is damaged: it only describes."""
        if name not in self._entries:
            return None
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        try:
            source = self.open(name)
            while piece := source.read(_CHUNK):
                parser.feed(piece)
            return parser.close()
        except etree.XMLSyntaxError:
            return None

    def count(self, size: int) -> None:
        """Count inflated bytes.

        Raises:
            DocumentRejected: if there are too many.
        """
        self._inflated += size
        if self._inflated > self._limit:
            raise DocumentRejected("document_too_complex", "The file grows far too large when it is unpacked.")


class _Counted:
    """A member as lxml reads it."""

    def __init__(self, archive: _Archive, stream: IO[bytes]) -> None:
        self._archive = archive
        self._stream = stream

    def read(self, size: int = _CHUNK) -> bytes:
        """Return up to ``size`` bytes."""
        try:
            piece = self._stream.read(min(max(size, 1), _CHUNK))
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise DocumentRejected("document_damaged", "A part of the file is damaged.") from error
        except Exception as error:  # zlib.error and its like, by whatever name
            raise DocumentRejected("document_damaged", "A part of the file cannot be unpacked.") from error
        self._archive.count(len(piece))
        return piece


def _name(tag: object) -> str:
    """Return a tag's name if it is of WordprocessingML, in either of its two name spaces."""
    text = tag if isinstance(tag, str) else ""
    for space in (_W, _STRICT):
        if text.startswith(space):
            return text[len(space) :]
    return ""


def _value(element: etree._Element, name: str = "val") -> str:
    return element.get(_W + name) or element.get(_STRICT + name) or ""


def _on(element: etree._Element) -> bool:
    return _value(element).lower() not in {"0", "false", "off", "none"}


class _Styles:
    """Which paragraph styles are headings, and of what depth; 0 is the title."""

    def __init__(self, root: etree._Element | None) -> None:
        self._levels: dict[str, int] = {}
        self._based: dict[str, str] = {}
        for style in root if root is not None else ():
            if _name(style.tag) != "style":
                continue
            id_ = _value(style, "styleId")
            for child in style.iter():
                match _name(child.tag):
                    case "outlineLvl" if _value(child).isdecimal() and int(_value(child)) < _MAX_STYLES - 1:
                        self._levels[id_] = int(_value(child)) + 1
                    case "basedOn":
                        self._based[id_] = _value(child)
                    case "name":
                        name = _value(child).lower()
                        if name == "title":
                            self._levels[id_] = 0
                        elif name.startswith("heading ") and name[8:].isdecimal():
                            self._levels.setdefault(id_, int(name[8:]))

    def level(self, id_: str) -> int | None:
        """Return the depth of headings of this style; ``None`` if it is no heading's."""
        for _ in range(_MAX_STYLES):
            if id_ in self._levels:
                return self._levels[id_]
            if id_ not in self._based:
                return None
            id_ = self._based[id_]
        return None


@dataclass(slots=True)
class _Paragraph:
    pieces: list[str] = field(default_factory=list)
    level: int | None = None


@dataclass(slots=True)
class _Table:
    rows: list[str] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=lambda: [[]])
    """Pieces of each cell of the present row; the last is the one being read."""


class _Body:
    """Builds the text from the events of the XML; what is nested (text boxes, tables in tables) keeps its order."""

    def __init__(self, styles: _Styles) -> None:
        self.builder = TextBuilder()
        self.title = ""
        self._styles = styles
        self._paragraphs: list[_Paragraph] = []
        self._tables: list[_Table] = []
        self._skipping = 0
        self._hidden = False
        self._run: list[str] = []

    def read(self, source: _Counted) -> None:
        """Read one part of the document.

        Raises:
            DocumentRejected: if it is not well-formed, or declares a document type.
        """
        try:
            events = etree.iterparse(
                source,
                events=("start", "end"),
                resolve_entities=False,
                no_network=True,
                load_dtd=False,
                huge_tree=False,
            )
            for event, element in self._guarded(events):
                (self._start if event == "start" else self._end)(element)
        except etree.XMLSyntaxError as error:
            raise DocumentRejected("document_damaged", "The file's text is not well-formed.") from error

    @staticmethod
    def _guarded(events: etree.iterparse[tuple[str, etree._Element]]) -> Iterator[tuple[str, etree._Element]]:
        first = True
        for event, element in events:
            if first and element.getroottree().docinfo.doctype:
                raise DocumentRejected(
                    "document_damaged", "The file declares a document type, which Word never does."
                )
            first = False
            yield event, element

    def _start(self, element: etree._Element) -> None:
        name = _name(element.tag)
        if element.tag == _FALLBACK or name in _SKIPPED:
            self._skipping += 1
        elif self._skipping:
            return
        elif name == "p":
            self._paragraphs.append(_Paragraph())
        elif name == "tbl":
            self._tables.append(_Table())
        elif name == "r":
            self._hidden, self._run = False, []

    def _end(self, element: etree._Element) -> None:  # noqa: PLR0912 - one branch for each kind of element
        name = _name(element.tag)
        if element.tag == _FALLBACK or name in _SKIPPED:
            self._skipping -= 1
            _forget(element)
            return
        if self._skipping:
            return
        match name:
            case "t":
                self._run.append(element.text or "")
            case "tab" | "ptab" if _name(_tag(element.getparent())) == "r":
                self._run.append("\t")
            case "br" | "cr" if _value(element, "type") in {"", "textWrapping"}:
                self._run.append("\n")
            case "noBreakHyphen":
                self._run.append("\u2011")
            case "softHyphen":
                self._run.append("\u00ad")
            case "vanish" if _name(_tag(element.getparent())) == "rPr":
                self._hidden = self._hidden or _on(element)
            case "pStyle" if self._paragraphs:
                self._paragraphs[-1].level = self._styles.level(_value(element))
            case "outlineLvl" if self._paragraphs and _value(element).isdecimal():
                self._paragraphs[-1].level = min(int(_value(element)) + 1, _MAX_STYLES)
            case "r":
                if self._paragraphs and not self._hidden:
                    self._paragraphs[-1].pieces += self._run
                self._run, self._hidden = [], False
                _forget(element)
            case "p":
                self._end_paragraph()
                _forget(element)
            case "tc":
                if self._tables:
                    self._tables[-1].cells.append([])
            case "tr":
                self._end_row()
                _forget(element)
            case "tbl":
                self._end_table()
                _forget(element)
            case _:
                pass

    def _end_paragraph(self) -> None:
        if not self._paragraphs:
            return
        paragraph = self._paragraphs.pop()
        text = "\n".join(line.strip(" \t") for line in "".join(paragraph.pieces).split("\n")).strip("\n")
        if not text.strip():
            return
        if self._tables:
            self._tables[-1].cells[-1].append(" ".join(text.split("\n")))
            return
        level = paragraph.level
        if level == 0 and not self.title:
            self.title = clean(text)
        self.builder.add(text, _TITLE_LEVEL if level == 0 else min(level or 0, _MAX_STYLES - 1))

    def _end_row(self) -> None:
        if self._tables:
            table = self._tables[-1]
            if row := "\t".join(" ".join(cell) for cell in table.cells if cell):
                table.rows.append(row)
            table.cells = [[]]

    def _end_table(self) -> None:
        if not self._tables:
            return
        rows = self._tables.pop().rows
        if self._tables:  # a table in a cell is a part of its text
            self._tables[-1].cells[-1] += rows
        else:
            self.builder.add("\n".join(rows))


def _tag(element: etree._Element | None) -> object:
    return None if element is None else element.tag


def _forget(element: etree._Element) -> None:
    """Free what was read: the element's content, and its elder siblings."""
    element.clear()
    parent = element.getparent()
    if parent is not None:
        while element.getprevious() is not None:
            del parent[0]


def _said(root: etree._Element | None) -> dict[str, str]:
    values = {child.tag: child.text or "" for child in root} if root is not None else {}
    return {
        "title": values.get(_DC + "title", ""),
        "author": clean(values.get(_DC + "creator", "")),
        "date": iso_date(values.get(_CREATED, "")),
        "language": clean(values.get(_DC + "language", "")),
    }
