"""Hostile Word documents: archives that lie or grow, XML that reaches out, structures without end."""

from __future__ import annotations

import bz2
import lzma
from dataclasses import replace
from pathlib import Path

from tests.hostile.bomb import COMPLEX, DAMAGED, EMPTY, ENCRYPTED, FILE, LARGE, READ, Bombs
from tests.hostile.packed import TYPES, Entry, W, archive, deflate, document, entry, packed, paragraph, word, word_of

WORD = Bombs("docx")

_HEAD = f'<?xml version="1.0"?><w:document xmlns:w="{W}"><w:body>'.encode()
_END = b"</w:body></w:document>"
_GOOD = document(paragraph("The ferry leaves every twenty minutes."))
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@WORD.add("M40: 3 million empty paragraphs", COMPLEX, EMPTY)
def _million_paragraphs(host: Path) -> bytes:
    return word_of((_HEAD, 1), (b"<w:p/>" * 10_000, 300), (_END, 1))


@WORD.add("3 million paragraphs of one letter each", COMPLEX)
def _million_letters(host: Path) -> bytes:
    return word_of((_HEAD, 1), (b"<w:p><w:r><w:t>x</w:t></w:r></w:p>" * 10_000, 300), (_END, 1))


@WORD.add("M41: one text of 512 MiB", COMPLEX, DAMAGED)
def _huge_text(host: Path) -> bytes:
    return word_of((_HEAD + b"<w:p><w:r><w:t>", 1), (b"x" * 2**20, 512), (b"</w:t></w:r></w:p>" + _END, 1))


@WORD.add("texts of 1 MiB each, 150 of them: more than a document may have", LARGE, COMPLEX)
def _long_texts(host: Path) -> bytes:
    text = b"<w:p><w:r><w:t>" + b"word " * 2**18 + b"</w:t></w:r></w:p>"
    return word_of((_HEAD, 1), (text, 150), (_END, 1))


@WORD.add("M42: entities that grow a hundredfold, ten times", DAMAGED)
def _entity_bomb(host: Path) -> bytes:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 100}">' for n in range(1, 11))
    return word(document(paragraph("&e10;"), f'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY e0 "ha">{levels}]>'))


@WORD.add("one entity of 1 MB, used 10,000 times", DAMAGED)
def _quadratic_entity(host: Path) -> bytes:
    head = f'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY e "{"x" * 10**6}">]>'
    return word(document(paragraph("&e;" * 10_000), head))


@WORD.add("an external entity that is a file of the host", DAMAGED)
def _external_entity(host: Path) -> bytes:
    head = f'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY e SYSTEM "{FILE}{host}">]>'
    return word(document(paragraph("Stolen: &e;"), head))


@WORD.add("an external document type, with a parameter entity that is a file of the host", DAMAGED)
def _parameter_entity(host: Path) -> bytes:
    head = f'<?xml version="1.0"?><!DOCTYPE w SYSTEM "{FILE}{host}" [<!ENTITY % p SYSTEM "{FILE}{host}"> %p;]>'
    return word(document(paragraph("Stolen"), head))


@WORD.add("the same in the part that says title and author", READ)
def _entity_in_title(host: Path) -> bytes:
    core = (
        f'<?xml version="1.0"?><!DOCTYPE c [<!ENTITY e SYSTEM "{FILE}{host}">]>'
        '<c xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>&e;</dc:title><dc:creator>&e;</dc:creator></c>'
    )
    return word(_GOOD, {"docProps/core.xml": core.encode()})


@WORD.add("an inclusion (XInclude) of a file of the host", READ)
def _inclusion(host: Path) -> bytes:
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{FILE}{host}" parse="text"/>'
    return word(document(paragraph("Before") + f"<w:p><w:r><w:t>{include}</w:t></w:r></w:p>"))


@WORD.add("relations to files and addresses outside: template, image, sub-document", READ)
def _outside_relations(host: Path) -> bytes:
    kinds = ("attachedTemplate", "image", "subDocument", "aFChunk", "oleObject")
    targets = (f"{FILE}{host}", "http://127.0.0.1:9/x", f"\\\\127.0.0.1\\share{host}", str(host))
    relations = "".join(
        f'<Relationship Id="r{kind}{number}" Type="{_OFFICE}/{kind}" Target="{target}" TargetMode="External"/>'
        for kind in kinds
        for number, target in enumerate(targets)
    )
    body = "".join(f'<w:altChunk r:id="raFChunk{n}"/><w:subDoc r:id="rsubDocument{n}"/>' for n in range(4))
    main = document(paragraph("Text") + body, root=f'xmlns:r="{_OFFICE}"')
    parts = {"word/_rels/document.xml.rels": f'<Relationships xmlns="{_RELATIONS}">{relations}</Relationships>'}
    return word(main, {name: text.encode() for name, text in parts.items()})


@WORD.add("a chunk of HTML with a script and an image from outside", READ)
def _html_chunk(host: Path) -> bytes:
    main = document(paragraph("Text") + '<w:altChunk r:id="r1"/>', root=f'xmlns:r="{_OFFICE}"')
    chunk = f"<script>fetch('http://127.0.0.1:9')</script><iframe src='{FILE}{host}'></iframe>"
    return word(main, {"word/chunk.html": chunk.encode()})


@WORD.add("a relations part of 60 MB", READ)
def _huge_relations(host: Path) -> bytes:
    piece = b'<Relationship Id="r" Type="t" Target="x"/>' * 1000
    rels = packed("word/_rels/document.xml.rels", (b"<Relationships>", 1), (piece, 1500), (b"</Relationships>", 1))
    return archive([TYPES, entry("word/document.xml", _GOOD), rels])


@WORD.add("the archive says 10 bytes where 300 MiB come", DAMAGED, COMPLEX)
def _says_little(host: Path) -> bytes:
    true = packed("word/document.xml", (_HEAD + b"<w:p><w:r><w:t>", 1), (b"x" * 2**20, 300))
    return archive([TYPES, replace(true, size=10)])


@WORD.add("the archive says 4 GiB where a little comes", DAMAGED, READ)
def _says_much(host: Path) -> bytes:
    return archive([TYPES, replace(entry("word/document.xml", _GOOD), size=2**32 - 2)])


@WORD.add("members that overlap: one stream of 10 MiB, 1,000 times", COMPLEX, DAMAGED)
def _overlapping(host: Path) -> bytes:
    first = packed("word/media/0", (b"x" * 2**20, 10))
    others = [replace(first, name=f"word/media/{number}", data=b"", place=0, length=0) for number in range(1, 1000)]
    lying = [replace(each, length=len(first.data)) for each in others]
    return archive([first, *lying, entry("word/document.xml", _GOOD)])


@WORD.add("an archive in an archive in an archive, each a Word document by name", READ)
def _nested_archive(host: Path) -> bytes:
    inner = b"x" * 2**20
    for _ in range(6):
        inner = archive([TYPES, *(entry(f"word/{n}.docx", inner) for n in range(10))])
    return word(_GOOD, {"word/embeddings/inner.docx": inner})


@WORD.add("65,536 members", COMPLEX, DAMAGED)
def _many_members(host: Path) -> bytes:
    nothing = [Entry(f"word/{number}", b"", method=0) for number in range(65_535)]
    return archive([entry("word/document.xml", _GOOD), *nothing])


@WORD.add("says it has one member, has 20,000", COMPLEX, DAMAGED)
def _more_members_than_said(host: Path) -> bytes:
    many = [Entry(f"word/{number}", b"", method=0) for number in range(20_000)]
    return archive([entry("word/document.xml", _GOOD), *many], count=1)


@WORD.add("a member that is said to be encrypted", ENCRYPTED)
def _encrypted_member(host: Path) -> bytes:
    return archive([TYPES, replace(entry("word/document.xml", _GOOD), flags=1)])


@WORD.add("a member that is said to be encrypted strongly, its name hidden", DAMAGED, ENCRYPTED)
def _encrypted_strongly(host: Path) -> bytes:
    return archive([TYPES, replace(entry("word/document.xml", _GOOD), flags=0x2041)])


@WORD.add("two members of the same name, a harmless and a harmful one", DAMAGED)
def _same_name(host: Path) -> bytes:
    return archive(
        [TYPES, entry("word/document.xml", _GOOD), entry("word/document.xml", document(paragraph("Other")))]
    )


@WORD.add("names that lead out of the archive", READ)
def _names_outside(host: Path) -> bytes:
    names = ("../../../evil.txt", str(host), "C:\\evil.txt", "word/../../evil", "\\\\host\\share\\evil", "evil\0.txt")
    return archive([TYPES, entry("word/document.xml", _GOOD), *(entry(name, b"overwritten") for name in names)])


@WORD.add("the text is a symbolic link to a file of the host", DAMAGED)
def _symbolic_link(host: Path) -> bytes:
    link = replace(entry("word/document.xml", str(host).encode()), attributes=0o120777 << 16)
    return archive([TYPES, link])


@WORD.add("packed in an unknown way", DAMAGED)
def _unknown_method(host: Path) -> bytes:
    return archive([TYPES, Entry("word/document.xml", _GOOD, method=99, size=len(_GOOD))])


@WORD.add("packed with bzip2, which inflates 4 KiB to gigabytes at once", DAMAGED, COMPLEX)
def _bzip2(host: Path) -> bytes:
    once = bz2.compress(b"\0" * 45_000_000, 9)
    return archive([TYPES, Entry("word/document.xml", once * 20, method=12, size=900_000_000)])


@WORD.add("packed with LZMA, which inflates 4 KiB to megabytes at once", DAMAGED, COMPLEX)
def _lzma(host: Path) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 2**24}]
    raw = lzma.compress(b"\0" * 8_000_000, lzma.FORMAT_RAW, filters=filters)
    head = b"\x09\x04\x05\x00\x5d" + (2**24).to_bytes(4, "little")
    return archive([TYPES, Entry("word/document.xml", head + raw, method=14, size=8_000_000)])


@WORD.add("a deflate stream that breaks off", DAMAGED)
def _broken_deflate(host: Path) -> bytes:
    whole = entry("word/document.xml", document(paragraph("Text. ") * 5000))
    return archive([TYPES, replace(whole, data=whole.data[: len(whole.data) // 2])])


@WORD.add("a wrong checksum", DAMAGED)
def _wrong_checksum(host: Path) -> bytes:
    return archive([TYPES, replace(entry("word/document.xml", _GOOD), crc=1)])


@WORD.add("a central directory that points behind the file's end", DAMAGED)
def _places_outside(host: Path) -> bytes:
    return archive([TYPES, replace(entry("word/document.xml", _GOOD), place=2**31 - 1)])


@WORD.add("an archive behind 10 MB of something else, with a comment that looks like an archive's end", READ, DAMAGED)
def _hidden_archive(host: Path) -> bytes:
    return archive(
        [TYPES, entry("word/document.xml", _GOOD)], before=b"x" * 10**7, comment=b"PK\x05\x06" + b"\0" * 18
    )


@WORD.add("an attribute of 9 MB", READ, DAMAGED)
def _huge_attribute(host: Path) -> bytes:
    return word_of((_HEAD + b'<w:p w:rsidR="', 1), (b"x" * 10**6, 9), (b'"><w:r><w:t>a</w:t></w:r></w:p>' + _END, 1))


@WORD.add("an element with 200,000 attributes", READ, DAMAGED, COMPLEX)
def _many_attributes(host: Path) -> bytes:
    attributes = " ".join(f'a{number}="x"' for number in range(200_000))
    return word(document(f"<w:p {attributes}><w:r><w:t>a</w:t></w:r></w:p>"))


@WORD.add("200,000 name spaces", READ, DAMAGED, COMPLEX)
def _many_name_spaces(host: Path) -> bytes:
    spaces = " ".join(f'xmlns:n{number}="urn:{number}"' for number in range(200_000))
    return word(document(paragraph("a"), root=spaces))


@WORD.add("tables in tables, 100,000 deep", DAMAGED)
def _deep_tables(host: Path) -> bytes:
    open_ = b"<w:tbl><w:tr><w:tc>"
    return word_of((_HEAD, 1), (open_, 100_000), (b"<w:p/>", 1), (b"</w:tc></w:tr></w:tbl>", 100_000), (_END, 1))


@WORD.add("tables in tables, as deep as XML may be, 300 times, with text in each", READ, COMPLEX)
def _deep_tables_often(host: Path) -> bytes:
    text = b"<w:p><w:r><w:t>" + b"word " * 20 + b"</w:t></w:r></w:p>"
    deep = (b"<w:tbl><w:tr><w:tc>" + text) * 60 + b"</w:tc></w:tr></w:tbl>" * 60
    return word_of((_HEAD, 1), (deep, 300), (_END, 1))


@WORD.add("runs in runs, 100,000 deep", DAMAGED)
def _deep_runs(host: Path) -> bytes:
    return word_of((_HEAD + b"<w:p>", 1), (b"<w:r>", 100_000), (b"</w:r>", 100_000), (b"</w:p>" + _END, 1))


@WORD.add("a table's cell of 100,000 paragraphs", READ, COMPLEX)
def _long_cell(host: Path) -> bytes:
    text = b"<w:p><w:r><w:t>A short paragraph.</w:t></w:r></w:p>" * 1000
    cell = b"<w:tbl><w:tr><w:tc>", b"</w:tc></w:tr></w:tbl>"
    return word_of((_HEAD + cell[0], 1), (text, 100), (cell[1] + _END, 1))


@WORD.add("a paragraph of a million runs", READ, COMPLEX)
def _long_paragraph(host: Path) -> bytes:
    runs = b"<w:r><w:t>word </w:t></w:r>" * 1000
    return word_of((_HEAD + b"<w:p>", 1), (runs, 1000), (b"</w:p>" + _END, 1))


@WORD.add("deleted text of 150 MB", EMPTY, COMPLEX)
def _long_deletion(host: Path) -> bytes:
    runs = b"<w:r><w:delText>word </w:delText></w:r>" * 1000
    return word_of((_HEAD + b"<w:p><w:del>", 1), (runs, 3800), (b"</w:del></w:p>" + _END, 1))


@WORD.add("2 million elements nobody knows", EMPTY, COMPLEX)
def _unknown_elements(host: Path) -> bytes:
    return word_of((_HEAD, 1), (b"<w:foo><x/></w:foo>" * 1000, 2000), (_END, 1))


@WORD.add("comments and instructions of 100 MB", READ, COMPLEX)
def _comments(host: Path) -> bytes:
    text = paragraph("a").encode()
    return word_of((_HEAD, 1), (b"<!-- comment --><?pi instruction?>" * 1000, 3000), (text + _END, 1))


@WORD.add("200,000 headings of all depths", READ, COMPLEX)
def _many_headings(host: Path) -> bytes:
    heading = b"".join(
        b'<w:p><w:pPr><w:outlineLvl w:val="%d"/></w:pPr><w:r><w:t>H</w:t></w:r></w:p>' % level for level in range(9)
    )
    return word_of((_HEAD, 1), (heading * 100, 222), (_END, 1))


@WORD.add("a document type and nothing else that is wrong", DAMAGED)
def _document_type(host: Path) -> bytes:
    return word(document(paragraph("Text"), '<?xml version="1.0"?><!DOCTYPE html>'))


@WORD.add("XML in UTF-16 that says it is UTF-8", READ, DAMAGED)
def _utf_16(host: Path) -> bytes:
    return word(_GOOD.decode().encode("utf-16"))


@WORD.add("XML in UTF-7, with an entity hidden in it", DAMAGED)
def _utf_7(host: Path) -> bytes:
    head = f'<?xml version="1.0" encoding="UTF-7"?>+ADw-!DOCTYPE w [+ADw-!ENTITY e SYSTEM "{FILE}{host}">]>'
    return word(document(paragraph("&e;"), head))


@WORD.add("XML in an encoding that does not exist", DAMAGED, READ)
def _unknown_encoding(host: Path) -> bytes:
    return word(document(paragraph("Text"), '<?xml version="1.0" encoding="x-nonsense"?>'))


@WORD.add("no text part", DAMAGED)
def _no_text(host: Path) -> bytes:
    return archive([TYPES, entry("word/styles.xml", b"<styles/>")])


@WORD.add("a text part of no bytes", DAMAGED)
def _empty_text(host: Path) -> bytes:
    return word(b"")


@WORD.add("styles that are based on each other", READ)
def _style_cycle(host: Path) -> bytes:
    styles = "".join(
        f'<w:style w:styleId="{a}"><w:basedOn w:val="{b}"/></w:style>'
        for a, b in (("A", "B"), ("B", "A"), ("C", "C"))
    )
    main = document("".join(paragraph("Text", f'<w:pPr><w:pStyle w:val="{name}"/></w:pPr>') for name in "ABC"))
    return word(main, {"word/styles.xml": f'<w:styles xmlns:w="{W}">{styles}</w:styles>'.encode()})


@WORD.add("a million styles", READ, COMPLEX)
def _million_styles(host: Path) -> bytes:
    style = b'<w:style w:styleId="S"><w:name w:val="heading 1"/><w:basedOn w:val="S"/></w:style>' * 1000
    root = f'<w:styles xmlns:w="{W}">'.encode(), b"</w:styles>"
    styles = packed("word/styles.xml", (root[0], 1), (style, 1000), (root[1], 1))
    return archive([TYPES, entry("word/document.xml", _GOOD), styles])


@WORD.add("levels of headings that are no numbers, or huge ones", READ)
def _odd_levels(host: Path) -> bytes:
    levels = ("99999999999999999999", "-1", "\u0663", "\u00b2", "1e9", "", "NaN")
    body = "".join(paragraph("Text", f'<w:pPr><w:outlineLvl w:val="{level}"/></w:pPr>') for level in levels)
    styles = "".join(
        f'<w:style w:styleId="S{n}"><w:name w:val="heading {level}"/><w:outlineLvl w:val="{level}"/></w:style>'
        for n, level in enumerate(levels)
    )
    styled = "".join(paragraph("Text", f'<w:pPr><w:pStyle w:val="S{n}"/></w:pPr>') for n in range(len(levels)))
    return word(document(body + styled), {"word/styles.xml": f'<w:styles xmlns:w="{W}">{styles}</w:styles>'.encode()})


@WORD.add("marks of direction, of no width and of no meaning in text, title and author", READ)
def _marks(host: Path) -> bytes:
    marks = "\u202e\u2066\u200b\ufeff\u0600\U000e0041\u2028\u2029\x85"
    core = (
        '<c xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{marks}T{marks * 1000}</dc:title><dc:creator>{marks}</dc:creator></c>"
    )
    main = document(paragraph(f"a{marks}b") + paragraph(marks * 10_000))
    return word(main, {"docProps/core.xml": core.encode()})


@WORD.add("an old .doc file by its first bytes", ENCRYPTED, ending="docx")
def _old_document(host: Path) -> bytes:
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 5000


@WORD.add("only the end of an archive", DAMAGED)
def _only_the_end(host: Path) -> bytes:
    return archive([])


@WORD.add("a member deflated twice", DAMAGED)
def _deflated_twice(host: Path) -> bytes:
    inner = deflate((_GOOD, 1))
    return archive([TYPES, entry("word/document.xml", inner)])
