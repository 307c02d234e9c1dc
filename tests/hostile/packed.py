"""Containers written byte by byte, so that they can lie: deflate streams, zip archives, PDF files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


def deflate(*parts: tuple[bytes, int]) -> bytes:
    """Return a raw deflate stream of pieces, each repeated; costs as much as one of each."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed: list[bytes] = [packer.flush(zlib.Z_FULL_FLUSH)]
    for piece, times in parts:
        packed += [packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)] * times
    return b"".join([*packed, packer.flush()])


def zlib_stream(*parts: tuple[bytes, int]) -> bytes:
    """Return the same with zlib's head and checksum, as PDF has it."""
    checksum = 1
    for piece, times in parts:
        for _ in range(times):
            checksum = zlib.adler32(piece, checksum)
    return b"\x78\xda" + deflate(*parts) + struct.pack(">I", checksum)


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of an archive; what is not given is what it should be."""

    name: str
    data: bytes
    """As it stands in the file: deflated already if the method says so."""
    method: int = 8
    flags: int = 0
    crc: int = 0
    size: int = 0
    attributes: int = 0
    place: int | None = None
    """Where the central directory says that it begins."""
    length: int | None = None
    """What the central directory says of its packed length."""


def entry(name: str, data: bytes) -> Entry:
    """Return a member that is what it says."""
    return Entry(name, deflate((data, 1)), crc=zlib.crc32(data), size=len(data))


def archive(
    entries: Sequence[Entry], *, comment: bytes = b"", before: bytes = b"", count: int | None = None
) -> bytes:
    """Return a zip archive.

    Args:
        entries: its members.
        comment: at its end.
        before: what stands before it.
        count: how many members it says it has.
    """
    body, directory = [before], []
    place = len(before)
    for each in entries:
        name = each.name.encode()
        length = len(each.data) if each.length is None else each.length
        common = struct.pack("<HHHHIIIHH", each.flags, each.method, 0, 33, each.crc, length, each.size, len(name), 0)
        local = b"PK\x03\x04\x14\x00" + common + name
        at = place if each.place is None else each.place
        directory.append(
            b"PK\x01\x02\x14\x03\x14\x00" + common + struct.pack("<HHHII", 0, 0, 0, each.attributes, at) + name
        )
        body += [local, each.data]
        place += len(local) + len(each.data)
    central = b"".join(directory)
    number = len(entries) if count is None else count
    end = b"PK\x05\x06" + struct.pack(
        "<HHHHIIH", 0, 0, number & 0xFFFF, number & 0xFFFF, len(central), place, len(comment)
    )
    return b"".join([*body, central, end, comment])


@dataclass(slots=True)
class Pdf:
    """A PDF file of raw objects; object 1 is the catalogue."""

    objects: dict[int, bytes] = field(default_factory=dict)
    trailer: bytes = b""
    """Further entries of the trailer."""

    def add(self, body: bytes | str) -> int:
        """Add an object; return its number."""
        number = max(self.objects, default=0) + 1
        self.objects[number] = body if isinstance(body, bytes) else body.encode("latin-1")
        return number

    def stream(self, data: bytes, about: str = "", *, length: int | None = None) -> int:
        """Add a stream; return its number."""
        head = f"<< /Length {len(data) if length is None else length} {about} >>".encode("latin-1")
        return self.add(head + b"\nstream\n" + data + b"\nendstream")

    def write(self, *, root: int = 1, startxref: int | None = None) -> bytes:
        """Return the file."""
        out = [b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"]
        place = len(out[0])
        places: dict[int, int] = {}
        for number, body in self.objects.items():
            piece = b"%d 0 obj\n%b\nendobj\n" % (number, body)
            places[number] = place
            place += len(piece)
            out.append(piece)
        size = max(places, default=0) + 1
        table = [b"xref\n0 %d\n0000000000 65535 f \n" % size]
        table += [b"%010d %05d %b \n" % (places.get(n, 0), 0, b"n" if n in places else b"f") for n in range(1, size)]
        end = b"trailer\n<< /Size %d /Root %d 0 R %b >>\nstartxref\n%d\n%%%%EOF\n"
        out += [*table, end % (size, root, self.trailer, place if startxref is None else startxref)]
        return b"".join(out)


FONT = "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"


def pdf_of(
    content: bytes, about: str = "", *, resources: str = FONT, page: str = "", catalogue: str = "", pages: int = 1
) -> Pdf:
    """Return a file whose pages all have the same content.

    Objects: 1 catalogue, 2 page tree, 3 content, from 4 on pages.
    """
    file = Pdf()
    file.add(f"<< /Type /Catalog /Pages 2 0 R {catalogue} >>")
    kids = " ".join(f"{number} 0 R" for number in range(4, 4 + pages))
    file.add(f"<< /Type /Pages /Count {pages} /Kids [{kids}] >>")
    file.stream(content, about)
    about_page = f"/MediaBox [0 0 595 842] /Resources << {resources} >> /Contents 3 0 R {page}"
    for _ in range(pages):
        file.add(f"<< /Type /Page /Parent 2 0 R {about_page} >>")
    return file


def said(*texts: str) -> bytes:
    """Return the operators that show some lines."""
    lines = " ".join(f"({text}) Tj T*" for text in texts)
    return f"BT /F1 11 Tf 14 TL 70 700 Td {lines} ET".encode("latin-1")


W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def document(body: str, head: str = '<?xml version="1.0" encoding="UTF-8"?>', root: str = "") -> bytes:
    """Return the main part of a Word document."""
    return f'{head}<w:document xmlns:w="{W}" {root}><w:body>{body}</w:body></w:document>'.encode()


def paragraph(text: str, properties: str = "") -> str:
    """Return a paragraph of a Word document."""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


TYPES = entry(
    "[Content_Types].xml",
    b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
)


def word(main: bytes, others: Mapping[str, bytes] | None = None) -> bytes:
    """Return a Word document of raw parts."""
    parts = {"word/document.xml": main, **(others or {})}
    return archive([TYPES, *(entry(name, data) for name, data in parts.items())])


def word_of(*parts: tuple[bytes, int]) -> bytes:
    """Return a Word document whose main part is pieces, each repeated."""
    return archive([TYPES, packed("word/document.xml", *parts)])


def packed(name: str, *parts: tuple[bytes, int]) -> Entry:
    """Return a member that is pieces, each repeated."""
    crc = 0
    for piece, times in parts:
        for _ in range(times):
            crc = zlib.crc32(piece, crc)
    return Entry(name, deflate(*parts), crc=crc, size=sum(len(piece) * times for piece, times in parts))
