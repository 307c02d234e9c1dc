"""Bytes and files in, documents out.

The text of a ``.txt`` or ``.md`` file is what its bytes decode to, unchanged but for a leading byte order mark:
line ends stay as they are, nothing is normalised, so an offset into the text is an offset into the file. Other files
are read in a process of their own (:mod:`index.sandbox`); their text is what their reader makes of them, and final.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from charset_normalizer import from_bytes

from index.errors import DocumentRejected, FundstelleError, NothingReadable
from index.language import detect_language
from index.layout import Layout, layout_problem, paragraph_starts
from index.reading.markdown import atx_title, read_markdown
from index.reading.parsed import MAX_CHARACTERS, MAX_LINES, MAX_PARAGRAPHS, Parsed
from index.records import Metadata, RawDocument
from index.sandbox import shared

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
READERS = {"text": 1, "markdown": 1, "html": 1, "pdf": 1, "docx": 1}
"""Version of each reader; with a new one, files are read again when they are imported again."""
MAX_BYTES = 50 * 2**20
MAX_SOURCE_BYTES = 255
MAX_METADATA_BYTES = 16 * 2**10

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DETECTION_SAMPLE = 2**17
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_LETTER = re.compile(r"[^\W_]")
"""A letter or digit of any script, as str.isalnum has it."""
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_WRITTEN = re.compile(r"[^\r\n\t ]")
_BEGINNING = 2000
"""Characters at the beginning of a text in which its title is looked for."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file an import came across: its path, and the name its document will have."""

    path: Path
    source: str
    origin: str = ""
    """The folder that was given to the import, absolute."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file an import left out, and why."""

    source: str
    error: FundstelleError
    origin: str = ""
    """As for a file that is taken in."""


def decode(data: bytes) -> str:
    """Decode the bytes of a text file.

    A byte order mark decides; then UTF-8 if it fits; then the encoding charset-normalizer finds, unless the
    bytes are UTF-8 with damage in it, where a guess would turn every umlaut into two wrong letters.

    Raises:
        DocumentRejected: ``document_binary`` for anything that is not text, ``document_encoding`` for text
            whose encoding is broken or cannot be told.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return _printable(data[len(mark) :].decode(encoding))
            except UnicodeDecodeError as error:
                raise DocumentRejected(
                    "document_encoding",
                    f"The file is marked as {encoding.upper()} but is not valid: byte {error.start + len(mark)}.",
                ) from error
    if b"\0" in data:
        raise DocumentRejected("document_binary", "The file is not text: it contains zero bytes.")
    try:
        return _printable(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        damaged_at = error.start
    if _UTF8_SEQUENCE.search(data):
        raise DocumentRejected("document_encoding", f"The file is UTF-8 but damaged at byte {damaged_at}.")
    guess = from_bytes(data[:_DETECTION_SAMPLE]).best()
    if guess is None:
        raise DocumentRejected("document_binary", "The file is not text in any known encoding.")
    try:
        return _printable(data.decode(guess.encoding))
    except UnicodeDecodeError as error:
        raise DocumentRejected(
            "document_encoding", f"The file looks like {guess.encoding} but is not valid at byte {error.start}."
        ) from error


def format_of(source: str) -> str:
    """Return the format that a name stands for; empty if it cannot be read."""
    return FORMATS.get(PurePosixPath(source).suffix.lower(), "")


def document_from_bytes(source: str, data: bytes, metadata: Metadata | None = None) -> RawDocument:
    """Turn the bytes of a file named ``source`` into a document.

    Raises:
        DocumentRejected: if the name, the format, the size or the content cannot be used.
    """
    name = check_source(source)
    kind = format_of(name)
    if not kind:
        raise DocumentRejected("document_format", f"'{name}' is not in a format that can be read.")
    if len(data) > MAX_BYTES:
        raise DocumentRejected("document_too_large", f"'{name}' has {len(data):,} bytes; {MAX_BYTES:,} is the limit.")
    if kind == "text":
        parsed = Parsed(decode(data))
    elif kind == "markdown":
        parsed = read_markdown(decode(data))
    else:
        parsed = shared().read(kind, data)
    return _document(name, kind, parsed, data, metadata)


def document_from_text(
    source: str, text: str, title: str | None = None, metadata: Metadata | None = None
) -> RawDocument:
    """Turn text that is already decoded into a document.

    Raises:
        DocumentRejected: if the name, the title, the metadata or the text cannot be used.
    """
    name = check_source(source)
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DocumentRejected(
            "document_encoding", f"'{name}' contains half a character at offset {error.start}."
        ) from error
    if len(data) > MAX_BYTES:
        raise DocumentRejected("document_too_large", f"'{name}' has {len(data):,} bytes; {MAX_BYTES:,} is the limit.")
    if title is not None and not (title.strip() and title.isprintable() and len(title) <= MAX_SOURCE_BYTES):
        raise DocumentRejected("metadata_invalid", f"The title of '{source}' cannot be used.")
    whole = _printable(text.removeprefix("\ufeff"))
    kind = "markdown" if format_of(name) == "markdown" else "text"
    parsed = read_markdown(whole) if kind == "markdown" else Parsed(whole)
    return _document(name, kind, replace(parsed, title=title) if title else parsed, data, metadata)


def read_file(found: FoundFile) -> RawDocument:
    """Read one file of an import.

    Raises:
        DocumentRejected: if the file cannot be read or used.
    """
    return _read(found, _file_bytes(found))


def read_unless_known(found: FoundFile, known: Callable[[str, tuple[str, int]], bool]) -> RawDocument | None:
    """Read one file of an import; ``None`` if it is known.

    Args:
        found: the file.
        known: told the SHA-256 of its bytes, and its format with the version of that format's reader.

    Raises:
        DocumentRejected: if the file cannot be read or used.
    """
    data = _file_bytes(found)
    kind = format_of(found.source)
    if known(hashlib.sha256(data).hexdigest(), (kind, READERS.get(kind, 0))):
        return None
    return _read(found, data)


def find_files(paths: Sequence[Path]) -> Iterator[FoundFile | Rejection]:
    """Walk files and folders in a fixed order; name each file relative to the folder it was found under.

    Hidden files and folders are passed over, links that leave their folder are rejected, and a second file that
    would take the name of an earlier one is rejected rather than allowed to overwrite it. A folder that cannot be
    listed is a rejection whose name ends with a slash.

    Raises:
        NothingReadable: if a path does not exist.
    """
    taken: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise NothingReadable("nothing_readable", f"There is no file or folder '{path}'.")
        root = path if path.is_dir() else path.parent
        origin = str(root.resolve())
        unlisted: list[OSError] = []
        for file in _walk(path, unlisted):
            source = file.relative_to(root).as_posix()
            earlier = taken.setdefault(source, file)
            if earlier.resolve() != file.resolve():
                message = f"'{file}' would overwrite '{earlier}': both are named '{source}'."
                yield Rejection(source, DocumentRejected("source_conflict", message), origin)
            elif earlier is not file:
                continue
            elif not file.resolve().is_relative_to(root.resolve()):
                message = f"'{source}' is a link that leaves its folder."
                yield Rejection(source, DocumentRejected("document_unreadable", message), origin)
            elif not format_of(source):
                message = f"'{source}' is not in a format that can be read."
                yield Rejection(source, DocumentRejected("document_format", message), origin)
            else:
                yield FoundFile(file, source, origin)
        for problem in unlisted:
            name = Path(os.path.relpath(str(problem.filename), root)).as_posix() + "/"
            message = f"The folder '{name}' cannot be listed: {problem.strerror}."
            yield Rejection(name, DocumentRejected("document_unreadable", message), origin)


def _file_bytes(found: FoundFile) -> bytes:
    try:
        size = found.path.stat().st_size
        if size > MAX_BYTES:
            raise DocumentRejected(
                "document_too_large", f"'{found.source}' has {size:,} bytes; {MAX_BYTES:,} is the limit."
            )
        return found.path.read_bytes()
    except OSError as error:
        raise DocumentRejected(
            "document_unreadable", f"'{found.source}' cannot be read: {error.strerror}."
        ) from error


def _read(found: FoundFile, data: bytes) -> RawDocument:
    return replace(document_from_bytes(found.source, data), origin=found.origin)


def check_source(source: str) -> str:
    """Return ``source`` if it can name a document: printable, relative, 1 to 255 bytes.

    A source is metadata and never becomes a path on disk; the check keeps citations readable.

    Raises:
        DocumentRejected: ``source_invalid``.
    """
    try:
        size = len(source.encode("utf-8"))
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= MAX_SOURCE_BYTES or not source.strip() or not source.isprintable():
        raise DocumentRejected("source_invalid", f"{source[:80]!a} cannot name a document.")
    return source


def _walk(path: Path, unlisted: list[OSError]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, subfolders, files in os.walk(path, onerror=unlisted.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _document(source: str, kind: str, parsed: Parsed, data: bytes, metadata: Metadata | None) -> RawDocument:
    text = parsed.text
    if not _LETTER.search(text):
        raise DocumentRejected("document_empty", f"'{source}' contains no text.")
    if len(text) > MAX_CHARACTERS:
        raise DocumentRejected(
            "document_too_large", f"'{source}' has {len(text):,} characters; {MAX_CHARACTERS:,} is the limit."
        )
    if text.count("\n") + text.count("\r") - text.count("\r\n") > MAX_LINES:
        raise DocumentRejected("document_too_complex", f"'{source}' has more than {MAX_LINES:,} lines.")
    paragraphs = paragraph_starts(text, MAX_PARAGRAPHS + 1)
    if len(paragraphs) > MAX_PARAGRAPHS:
        message = f"'{source}' has more than {MAX_PARAGRAPHS:,} paragraphs."
        raise DocumentRejected("document_too_complex", message)
    layout = Layout(parsed.layout.pages, parsed.layout.headings, paragraphs)
    if problem := layout_problem(layout, len(text)):
        raise DocumentRejected("document_damaged", f"'{source}' cannot be read: {problem}.")
    said = {"author": parsed.author, "date": parsed.date}
    own = {key: value for key, value in said.items() if value and key not in (metadata or {})}
    return RawDocument(
        source=source,
        text=text,
        title=parsed.title or _title(source, text),
        language=detect_language(text, parsed.language),
        sha256=hashlib.sha256(data).hexdigest(),
        metadata=_check_metadata(source, {**own, **(metadata or {})}),
        original=None if data == text.encode("utf-8") else data,
        format=kind,
        layout=layout,
        reader=READERS[kind],
    )


def _check_metadata(source: str, metadata: Metadata) -> Metadata:
    flat = all(isinstance(value, str | int | float | bool | None) for value in metadata.values())
    try:
        size = len(json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False).encode("utf-8")) if flat else -1
    except ValueError:  # not finite, or half a character
        size = -1
    if not 0 <= size <= MAX_METADATA_BYTES:
        raise DocumentRejected("metadata_invalid", f"The metadata of '{source}' cannot be stored.")
    return metadata


def _printable(text: str) -> str:
    """Return ``text`` unless control characters show that it is no text at all."""
    few = len(text) // 100
    controls = sum(1 for _ in islice(_CONTROL.finditer(text), few + 1))
    if "\0" in text or controls > few:
        raise DocumentRejected("document_binary", "The file is not text: it is full of control characters.")
    return text


def _title(source: str, text: str) -> str:
    """Take the first heading, or a first line that stands alone and reads like one, or the file's name."""
    begin = _WRITTEN.search(text)
    start = begin.start() if begin else 0
    lines = text[start : start + _BEGINNING].splitlines()[:2] or [""]
    first = lines[0].strip()
    if heading := atx_title(first):
        first = heading
    elif len(lines) < 2 or lines[1].strip() or first.endswith((".", ",", ";", ":")):
        first = ""
    fits = 3 <= len(first) <= 120 and first.isprintable()
    return first if fits else PurePosixPath(source).stem
