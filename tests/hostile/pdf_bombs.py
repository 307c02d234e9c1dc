"""Hostile PDF files: streams that grow, structures that point at themselves, odd numbers, files in files."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from pypdf import PdfReader, PdfWriter

from tests.hostile.bomb import COMPLEX, DAMAGED, EMPTY, ENCRYPTED, READ, Bombs
from tests.hostile.packed import FONT, TYPES, Pdf, archive, document, entry, paragraph, pdf_of, said, zlib_stream

PDF = Bombs("pdf")

_FLATE = "/Filter /FlateDecode"
_TEXT = said("The ferry leaves every twenty minutes.", "It takes bicycles.")
_GOOD = pdf_of(_TEXT)


def _packed(*parts: tuple[bytes, int]) -> Pdf:
    """Return a file whose page shows pieces, each repeated."""
    return pdf_of(zlib_stream(*parts), _FLATE)


# ---- what grows ----------------------------------------------------------------------------------------------------


@PDF.add("M43: a stream of 1 GiB", COMPLEX, EMPTY)
def _gibibyte_stream(host: Path) -> bytes:
    return _packed((b" " * 2**20, 1024)).write()


@PDF.add("M44: 60 MiB of text operators", COMPLEX)
def _text_operators(host: Path) -> bytes:
    return _packed((b"BT /F1 11 Tf 70 700 Td (word) Tj ET\n" * 30_000, 60)).write()


@PDF.add("M45: 9,000 pages that share one stream of 1 MiB", COMPLEX)
def _shared_stream(host: Path) -> bytes:
    content = zlib_stream((b"BT /F1 11 Tf 70 700 Td (word) Tj ET\n" * 29_000, 1))
    return pdf_of(content, _FLATE, pages=9_000).write()


@PDF.add("10,000 pages of one line each", READ, COMPLEX)
def _many_pages(host: Path) -> bytes:
    return pdf_of(_TEXT, pages=9_999).write()


@PDF.add("filters one after the other, each growing a thousandfold", COMPLEX, EMPTY, DAMAGED)
def _filter_chain(host: Path) -> bytes:
    data = zlib_stream((b" " * 2**20, 500))
    for _ in range(3):
        data = zlib.compress(data, 9)
    return pdf_of(data, "/Filter [/FlateDecode /FlateDecode /FlateDecode /FlateDecode]").write()


@PDF.add("a thousand filters", DAMAGED, COMPLEX, EMPTY)
def _thousand_filters(host: Path) -> bytes:
    return pdf_of(zlib.compress(_TEXT), f"/Filter [{'/FlateDecode ' * 1000}]").write()


@PDF.add("LZW codes that grow", COMPLEX, EMPTY, DAMAGED)
def _lzw(host: Path) -> bytes:
    # Each code stands for the string before and its first letter: n codes make n*n/2 letters, from the clear code on.
    codes = [256, 32, *range(258, 510)] * 30_000
    packed, held, count = bytearray(), 0, 0
    for code in codes:
        held, count = (held << 9) | code, count + 9
        while count >= 8:
            count -= 8
            packed.append((held >> count) & 255)
        held &= (1 << count) - 1
    return pdf_of(bytes(packed), "/Filter /LZWDecode").write()


@PDF.add("run lengths that grow", COMPLEX, EMPTY, DAMAGED)
def _run_length(host: Path) -> bytes:
    return pdf_of(zlib_stream((b"\x81 " * 2**19, 20)), "/Filter [/FlateDecode /RunLengthDecode]").write()


@PDF.add("ASCII85, each z four zeros, 40 MB of them", COMPLEX, EMPTY, DAMAGED)
def _ascii_85(host: Path) -> bytes:
    return pdf_of(zlib_stream((b"z" * 10**6, 40)), "/Filter [/FlateDecode /ASCII85Decode]").write()


@PDF.add("hexadecimal, 60 MB of it", COMPLEX, EMPTY, DAMAGED)
def _ascii_hex(host: Path) -> bytes:
    return pdf_of(zlib_stream((b"20" * 10**6, 30)), "/Filter [/FlateDecode /ASCIIHexDecode]").write()


@PDF.add("a predictor of 2 billion columns and colours", DAMAGED, EMPTY, COMPLEX, READ)
def _predictor(host: Path) -> bytes:
    about = "/DecodeParms << /Predictor 15 /Columns 2147483647 /Colors 2147483647 /BitsPerComponent 16 >>"
    return pdf_of(zlib.compress(b"\2" * 10**6), f"{_FLATE} {about}").write()


@PDF.add("a predictor of one column for 40 MB", COMPLEX, EMPTY, DAMAGED)
def _predictor_of_one_column(host: Path) -> bytes:
    about = "/DecodeParms << /Predictor 15 /Columns 1 /Colors 1 /BitsPerComponent 8 >>"
    return pdf_of(zlib_stream((b"\2 " * 10**6, 20)), f"{_FLATE} {about}").write()


@PDF.add("a stream of objects that says it has 2 million", DAMAGED, COMPLEX, EMPTY)
def _object_stream(host: Path) -> bytes:
    head = b"".join(b"%d %d " % (number, 0) for number in range(10, 50_010))
    packed = zlib.compress(head + b"<< >>")
    about = f"/Type /ObjStm /N 2000000 /First {len(head)} /Extends 5 0 R {_FLATE}"
    file = pdf_of(_TEXT)
    number = file.stream(packed, about)
    return _with_xref_stream(file, {2: (2, number, 0), 3: (2, number, 1), 4: (2, number, 2)})


@PDF.add("a cross-reference stream with 100 million entries, some at negative numbers", DAMAGED, COMPLEX, READ)
def _xref_stream_index(host: Path) -> bytes:
    file = Pdf(dict(_GOOD.objects))
    about = f"/Type /XRef /Size 100000000 /W [1 2 1] /Index [-5 100000000] /Root 1 0 R {_FLATE}"
    file.stream(zlib.compress(b"\0" * 10**6), about)
    return _ending_with_xref_stream(file)


@PDF.add("a cross-reference stream with negative widths", DAMAGED, COMPLEX, READ)
def _xref_stream_widths(host: Path) -> bytes:
    file = Pdf(dict(_GOOD.objects))
    file.stream(b"\0" * 100, "/Type /XRef /Size 10 /W [-1 2 -1] /Root 1 0 R")
    return _ending_with_xref_stream(file)


@PDF.add("a cross-reference stream with widths of 0, a billion entries", DAMAGED, COMPLEX, READ)
def _xref_stream_empty(host: Path) -> bytes:
    file = Pdf(dict(_GOOD.objects))
    file.stream(b"", "/Type /XRef /Size 1000000000 /W [0 0 0] /Root 1 0 R")
    return _ending_with_xref_stream(file)


@PDF.add("characters mapped one by one: a range of 4 billion", READ, COMPLEX, DAMAGED)
def _giant_character_map(host: Path) -> bytes:
    ranges = b"<0000> <FFFFFFFF> <0041>\n<00000000> <FFFFFFFF> <D800>\n" * 50
    return _with_character_map(b"100 beginbfrange\n" + ranges + b"endbfrange\n")


@PDF.add("100,000 ranges of characters of 65,536 each", READ, COMPLEX, DAMAGED)
def _many_character_ranges(host: Path) -> bytes:
    return _with_character_map(b"beginbfrange\n" + b"<0000> <FFFF> <0041>\n" * 100_000 + b"endbfrange\n")


@PDF.add("characters mapped to half characters, to 10,000 characters, and to nothing", COMPLEX, READ, EMPTY, DAMAGED)
def _odd_character_map(host: Path) -> bytes:
    chars = b"<54> <D800>\n<68> <DC00D800>\n<65> <" + b"0041" * 10_000 + b">\n<20> <>\n<66> <0>\n"
    return _with_character_map(b"5 beginbfchar\n" + chars + b"endbfchar\n")


@PDF.add("100,000 notes on a page", READ, COMPLEX)
def _many_notes(host: Path) -> bytes:
    notes = "<< /Type /Annot /Subtype /Text /Contents (note) /Rect [0 0 1 1] >> " * 100_000
    return pdf_of(_TEXT, page=f"/Annots [{notes}]").write()


@PDF.add("a million lines on one page, all one paragraph", READ, COMPLEX)
def _many_lines(host: Path) -> bytes:
    lines = b"(These words are the same in each of the lines, and they never end,) Tj T*\n" * 10_000
    return _packed((b"BT /F1 11 Tf 1 TL 70 700 Td ", 1), (lines, 20), (b" ET", 1)).write()


@PDF.add("a line of 300,000 pieces", READ, COMPLEX)
def _long_line(host: Path) -> bytes:
    return _packed((b"BT /F1 11 Tf 70 700 Td ", 1), (b"(word ) Tj " * 10_000, 30), (b" ET", 1)).write()


@PDF.add("100,000 lines that all look like headings, of as many sizes", READ, COMPLEX)
def _many_headings(host: Path) -> bytes:
    lines = "".join(
        f"BT /F1 {10 + number % 5000 / 10} Tf 1 0 0 1 70 {800 - number % 700} Tm (H {number}) Tj ET\n"
        for number in range(100_000)
    )
    return pdf_of(zlib.compress(lines.encode()), _FLATE).write()


# ---- what points at itself -----------------------------------------------------------------------------------------


@PDF.add("M46: a page tree whose branch is the tree", DAMAGED, EMPTY, READ)
def _page_tree_loop(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.objects[2] = b"<< /Type /Pages /Count 3 /Kids [2 0 R 4 0 R 2 0 R] >>"
    return file.write()


@PDF.add("M46: 200,000 branches", COMPLEX, DAMAGED)
def _many_kids(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.objects[2] = b"<< /Type /Pages /Count 200000 /Kids [" + b"4 0 R " * 200_000 + b"] >>"
    return file.write()


@PDF.add("a page tree 100,000 deep", DAMAGED, COMPLEX, READ)
def _deep_page_tree(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    for number in range(10, 100_010):
        file.objects[number] = b"<< /Type /Pages /Count 1 /Kids [%d 0 R] >>" % (number + 1)
    file.objects[2] = b"<< /Type /Pages /Count 1 /Kids [10 0 R] >>"
    return file.write()


@PDF.add("a page tree that doubles thirty times", COMPLEX, DAMAGED)
def _doubling_page_tree(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    for number in range(10, 40):
        file.objects[number] = b"<< /Type /Pages /Count 2 /Kids [%d 0 R %d 0 R] >>" % (number + 1, number + 1)
    file.objects[40] = file.objects[4]
    file.objects[2] = b"<< /Type /Pages /Count 2 /Kids [10 0 R] >>"
    return file.write()


@PDF.add("a form that draws itself", READ, EMPTY, DAMAGED)
def _form_loop(host: Path) -> bytes:
    file = pdf_of(_TEXT + b" /X Do", resources=f"{FONT} /XObject << /X 5 0 R >>")
    file.stream(b"/X Do " + _TEXT, f"/Type /XObject /Subtype /Form /Resources << {FONT} /XObject << /X 5 0 R >> >>")
    return file.write()


@PDF.add("forms that draw the next one twice, forty deep", COMPLEX, READ, DAMAGED)
def _doubling_forms(host: Path) -> bytes:
    file = pdf_of(_TEXT + b" /X Do", resources=f"{FONT} /XObject << /X 5 0 R >>")
    for number in range(6, 46):
        about = f"/Type /XObject /Subtype /Form /Resources << {FONT} /XObject << /X {number} 0 R >> >>"
        file.stream(b"/X Do /X Do " + _TEXT, about)
    file.stream(_TEXT, "/Type /XObject /Subtype /Form")
    return file.write()


@PDF.add("a table of contents that goes in circles", READ, DAMAGED)
def _outline_loop(host: Path) -> bytes:
    file = pdf_of(_TEXT, catalogue="/Outlines 5 0 R")
    file.add("<< /Type /Outlines /First 6 0 R /Last 6 0 R /Count 1 >>")
    file.add("<< /Title (One) /Parent 5 0 R /First 5 0 R /Next 7 0 R /Dest [4 0 R /Fit] >>")
    file.add("<< /Title (Two) /Parent 6 0 R /First 6 0 R /Next 6 0 R /Dest [4 0 R /Fit] >>")
    return file.write()


@PDF.add("a table of contents 50,000 deep", READ, COMPLEX, DAMAGED)
def _deep_outline(host: Path) -> bytes:
    file = pdf_of(_TEXT, catalogue="/Outlines 10 0 R")
    for number in range(10, 50_010):
        file.objects[number] = b"<< /Title (x) /First %d 0 R /Dest [4 0 R /Fit] >>" % (number + 1)
    return file.write()


@PDF.add("a table of contents of 100,000 lines to named places that go in circles", READ, COMPLEX, DAMAGED)
def _named_places(host: Path) -> bytes:
    file = pdf_of(_TEXT, catalogue="/Outlines 10 0 R /Names << /Dests 5 0 R >> /Dests << /a /a /b 5 0 R >>")
    file.add("<< /Kids [5 0 R 5 0 R] /Names [(a) 5 0 R (b) (a)] >>")
    file.objects[10] = b"<< /Type /Outlines /First 11 0 R >>"
    for number in range(11, 100_011):
        file.objects[number] = b"<< /Title (x) /Next %d 0 R /Dest (a) >>" % (number + 1)
    return file.write()


@PDF.add("a cross-reference table whose predecessor is itself", READ, DAMAGED)
def _previous_loop(host: Path) -> bytes:
    file = Pdf(dict(_GOOD.objects), b"/Prev %010d" % 0)
    first = file.write()
    return first.replace(b"/Prev 0000000000", b"/Prev %010d" % first.rindex(b"xref\n0"))


@PDF.add("20,000 cross-reference tables, each with a predecessor", READ, DAMAGED, COMPLEX)
def _previous_chain(host: Path) -> bytes:
    pieces = [_GOOD.write()]
    place, before = len(pieces[0]), pieces[0].rindex(b"xref\n0")
    for _ in range(20_000):
        piece = b"xref\n0 0\ntrailer\n<< /Size 9 /Root 1 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n" % (before, place)
        pieces.append(piece)
        before, place = place, place + len(piece)
    return b"".join(pieces)


@PDF.add("a cross-reference table that stands at its own end", DAMAGED, READ)
def _startxref_outside(host: Path) -> bytes:
    return _GOOD.write(startxref=10**15)


@PDF.add("objects that are references to themselves and to each other", DAMAGED, EMPTY, READ)
def _reference_loop(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.objects[3] = b"3 0 R"
    file.add("6 0 R")
    file.add("5 0 R")
    file.objects[4] = file.objects[4].replace(b"[0 0 595 842]", b"5 0 R")
    return file.write()


@PDF.add("a stream whose length is the stream itself", COMPLEX, READ, DAMAGED, EMPTY)
def _length_loop(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.objects[3] = file.objects[3].replace(b"/Length %d" % len(_TEXT), b"/Length 3 0 R")
    return file.write()


@PDF.add("a parent that is its own child's child, where boxes and fonts are inherited", COMPLEX, READ, DAMAGED, EMPTY)
def _parent_loop(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.objects[4] = b"<< /Type /Page /Parent 4 0 R /Contents 3 0 R >>"
    return file.write()


# ---- numbers, names and nesting ------------------------------------------------------------------------------------


@PDF.add("streams of negative and of huge length", READ, DAMAGED, EMPTY)
def _lengths(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.objects[3] = file.objects[3].replace(b"/Length %d" % len(_TEXT), b"/Length -1")
    file.stream(_TEXT, length=10**18)
    return file.write()


@PDF.add("a page box of numbers that are none or huge", COMPLEX, READ, DAMAGED)
def _page_box(host: Path) -> bytes:
    file = pdf_of(_TEXT, pages=4)
    boxes = (b"[NaN 0 inf 842]", b"[0 0 1" + b"0" * 400 + b" -1" + b"0" * 400 + b"]", b"[0 0]", b"[(a) (b) null 1]")
    for number, box in enumerate(boxes, start=4):
        file.objects[number] = file.objects[number].replace(b"[0 0 595 842]", box)
    return file.write()


@PDF.add("text placed at infinity, and at no place", COMPLEX, READ, DAMAGED)
def _text_at_infinity(host: Path) -> bytes:
    huge = "9" * 300
    places = (
        f"{huge} 0 0 {huge} {huge} {huge} cm " * 3,
        f"1 0 0 1 {huge} -{huge} Tm",
        f"0 0 0 0 {huge}.0 -{huge}.0 Tm",
    )
    content = " ".join(f"q BT /F1 {huge} Tf {place} (Text at infinity.) Tj ET Q" for place in places)
    return pdf_of(content.encode() + _TEXT).write()


@PDF.add("arrays in arrays, 200,000 deep", DAMAGED, COMPLEX, READ)
def _deep_arrays(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.objects[2] = b"[" * 200_000 + b"]" * 200_000
    return file.write()


@PDF.add("dictionaries in dictionaries in the text's operators, 100,000 deep", READ, DAMAGED, COMPLEX, EMPTY)
def _deep_operands(host: Path) -> bytes:
    return pdf_of(b"<< /A " * 100_000 + b">>" * 100_000 + b" BDC " + _TEXT).write()


@PDF.add("5 million graphics states, one inside of the other", READ, COMPLEX)
def _graphics_states(host: Path) -> bytes:
    return _packed((b"q " * 10**5, 50), (_TEXT, 1)).write()


@PDF.add("a string of 20 MB that never ends, full of brackets", DAMAGED, COMPLEX, EMPTY, READ)
def _open_string(host: Path) -> bytes:
    return pdf_of(_TEXT + b"(" * 10_000_000).write()


@PDF.add("a comment of 20 MB", READ, COMPLEX, DAMAGED)
def _long_comment(host: Path) -> bytes:
    return b"%PDF-1.7\n%" + b"%" * 20_000_000 + b"\n" + _GOOD.write()


@PDF.add("a picture inside of the text that never ends", READ, EMPTY, DAMAGED, COMPLEX)
def _open_picture(host: Path) -> bytes:
    return pdf_of(_TEXT + b" BI /W 10 /H 10 ID " + b"E I " * 2_000_000).write()


@PDF.add(
    "fonts: without encoding, with one that is a loop, of no kind, with widths without end",
    COMPLEX,
    READ,
    DAMAGED,
    EMPTY,
)
def _fonts(host: Path) -> bytes:
    differences = " ".join(f"{number} /g{number}" for number in range(0, 60_000, 7))
    fonts = (
        "/F1 << /Type /Font >> /F2 6 0 R /F3 << /Subtype /Type0 /DescendantFonts [] >> "
        "/F4 << /Subtype /Type0 /DescendantFonts [<< /W [0 [1 2] 3 99999999 5 1] /DW (x) >>] "
        "/Encoding /Identity-H >> "
        f"/F5 << /Subtype /Type1 /BaseFont /Symbol /Encoding << /Differences [{differences} -5 /x /y (z)] >> >> "
        "/F6 << /Subtype /Type3 /FirstChar -5 /LastChar 99999999 /Widths 6 0 R /FontMatrix [0 0 0 0 0 0] >> "
        "/F7 << /Subtype /TrueType /BaseFont 5 /Encoding /NoSuchEncoding /ToUnicode /Identity-H >>"
    )
    content = b" ".join(said("Text").replace(b"/F1", b"/F%d" % number) for number in range(1, 10))
    file = pdf_of(content, resources=f"/Font << {fonts} >>")
    file.add("<< >>")
    file.add("<< /Type /Font /Subtype /Type0 /DescendantFonts [6 0 R] /Encoding 6 0 R /ToUnicode 6 0 R >>")
    return file.write()


@PDF.add("pictures in JBIG2, JPEG 2000 and an unknown form where text is expected", EMPTY, DAMAGED, READ)
def _pictures(host: Path) -> bytes:
    file = pdf_of(b"\x97JB2\r\n\x1a\n" + b"\xff" * 1000, "/Filter /JBIG2Decode")
    for name in ("JPXDecode", "CCITTFaxDecode", "DCTDecode", "NoSuchDecode", "Crypt"):
        file.stream(
            b"\xff\x4f\xff\x51" + b"\xff" * 1000, f"/Filter /{name} /DecodeParms << /K -1 /Columns 99999999 >>"
        )
    file.objects[4] = file.objects[4].replace(b"3 0 R", b"[3 0 R 5 0 R 6 0 R 7 0 R 8 0 R 9 0 R]")
    return file.write()


@PDF.add("half characters in title, author, language and table of contents", READ)
def _half_characters(host: Path) -> bytes:
    half = "<FEFFD800DC00D800>"
    file = pdf_of(_TEXT, catalogue=f"/Lang {half} /Outlines 6 0 R")
    file.add(f"<< /Title {half} /Author {half} /CreationDate {half} >>")
    file.add("<< /First 7 0 R >>")
    file.add(f"<< /Title {half} /Dest [4 0 R /Fit] >>")
    file.trailer = b"/Info 5 0 R"
    return file.write()


@PDF.add("title, author, date and language that are no strings", READ, DAMAGED)
def _said_oddly(host: Path) -> bytes:
    file = pdf_of(_TEXT, catalogue="/Lang << /A [1 2 3] >>")
    file.add("<< /Title 5 0 R /Author [5 0 R (x)] /CreationDate 20141118 >>")
    file.trailer = b"/Info 5 0 R"
    return file.write()


# ---- encryption ----------------------------------------------------------------------------------------------------


@PDF.add("encrypted by nonsense", DAMAGED, ENCRYPTED)
def _nonsense_encryption(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.trailer = (
        b"/Encrypt << /Filter /Standard /V 5 /R 6 /Length -128 /O (x) /U (y) /OE () /UE () /P 1.5 >> /ID [() ()]"
    )
    return file.write()


@PDF.add("encrypted in a way of the future", DAMAGED, ENCRYPTED)
def _future_encryption(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.trailer = b"/Encrypt << /Filter /Unheard /V 99 /R 99 >> /ID [(a) (b)]"
    return file.write()


@PDF.add("encrypted by a dictionary that is not there", DAMAGED, ENCRYPTED, READ)
def _missing_encryption(host: Path) -> bytes:
    file = pdf_of(_TEXT)
    file.trailer = b"/Encrypt 77 0 R"
    return file.write()


@PDF.add("encrypted with a password", ENCRYPTED)
def _password(host: Path) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(_GOOD.write())))
    writer.encrypt(user_password="secret", owner_password="other", algorithm="AES-256")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


# ---- what acts, and what is something else -------------------------------------------------------------------------


@PDF.add("scripts, programs to start, addresses to open, files of the host, files inside", READ)
def _actions(host: Path) -> bytes:
    actions = (
        "/OpenAction << /S /JavaScript /JS (app.launchURL\\('http://127.0.0.1:9'\\)) >> "
        f"/AA << /WC << /S /Launch /F ({host}) /Win << /F (cmd.exe) >> >> >> "
        "/Names << /EmbeddedFiles << /Names [(evil.exe) << /F (../../evil.exe) /EF << /F 3 0 R >> >>] >> >>"
    )
    notes = (
        f"/Annots [<< /Subtype /Link /A << /S /GoToR /F ({host}) >> >> << /Subtype /FileAttachment /FS ({host}) >>]"
    )
    return pdf_of(_TEXT, catalogue=actions, page=notes).write()


@PDF.add("a stream that stands in a file of the host", EMPTY, DAMAGED)
def _stream_outside(host: Path) -> bytes:
    return pdf_of(b"", f"/F ({host}) /FFilter /FlateDecode").write()


@PDF.add("half of a file", DAMAGED, EMPTY, READ)
def _half_a_file(host: Path) -> bytes:
    whole = pdf_of(_TEXT * 200).write()
    return whole[: len(whole) // 2]


@PDF.add("only the first line", DAMAGED)
def _first_line(host: Path) -> bytes:
    return b"%PDF-1.7\n"


@PDF.add("50 MB of nearly nothing behind the first line", DAMAGED, COMPLEX)
def _nothing_behind(host: Path) -> bytes:
    return b"%PDF-1.7\n" + b"1 0 obj\n<< /Length 5 " * 2_300_000


@PDF.add("a PDF and a Word document at once", READ)
def _also_an_archive(host: Path) -> bytes:
    return archive([TYPES, entry("word/document.xml", document(paragraph("Word")))], before=_GOOD.write())


@PDF.add("a PDF and a web page at once", READ)
def _also_a_page(host: Path) -> bytes:
    return b"<html><script>alert(1)</script><p>Page</p><!--\n" + _GOOD.write() + b"-->"


@PDF.add("ten thousand files one after the other", READ, DAMAGED, COMPLEX)
def _many_ends(host: Path) -> bytes:
    return _GOOD.write() * 10_000


@PDF.add("objects of impossible numbers", DAMAGED, EMPTY, READ)
def _object_numbers(host: Path) -> bytes:
    file = _GOOD.write().replace(b"3 0 obj", b"99999999999999999999 99999 obj").replace(b"3 0 R", b"-3 -1 R")
    return file.replace(b"xref\n0 5", b"xref\n-7 5")


def _with_character_map(ranges: bytes) -> bytes:
    head = b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
    font = "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 5 0 R >> >>"
    file = pdf_of(_TEXT, resources=font)
    file.stream(head + ranges + b"endcmap")
    return file.write()


def _with_xref_stream(file: Pdf, inside: dict[int, tuple[int, int, int]]) -> bytes:
    """Return a file whose objects are found by a stream; some of them stand inside of another stream."""
    number = max(file.objects) + 1
    rows = [inside.get(each, (1, 9, 0)) for each in range(number + 1)]
    packed = b"".join(bytes([kind]) + place.to_bytes(4, "big") + bytes([at]) for kind, place, at in rows)
    file.stream(packed, f"/Type /XRef /Size {number + 1} /W [1 4 1] /Root 1 0 R")
    return _ending_with_xref_stream(file)


def _ending_with_xref_stream(file: Pdf) -> bytes:
    """Return a file whose last object is its cross-reference stream."""
    whole = file.write()
    body = whole[: whole.rindex(b"xref\n0")]
    place = body.rindex(b"%d 0 obj" % max(file.objects))
    return body + b"startxref\n%d\n%%%%EOF\n" % place
