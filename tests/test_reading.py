"""What becomes of files: text, layout and what they say of themselves, for every format."""

from __future__ import annotations

import io
import zipfile

import docx
import pytest
from pypdf import PdfReader, PdfWriter
from reportlab.pdfgen.canvas import Canvas

from index.errors import DocumentRejected
from index.layout import locate
from index.load import document_from_bytes
from index.reading.docx import read_docx
from index.reading.html import decode_html, read_html
from index.reading.markdown import read_markdown
from index.reading.parsed import Parsed, clean, iso_date
from index.reading.pdf import read_pdf
from service.statements import plain
from tests.files import FORMATS, Article, as_bytes

ARTICLE = Article(
    title="Die Gerberbrücke bleibt gesperrt",
    paragraphs=(
        "Der Stadtrat hat am Dienstag beschlossen, die Gerberbrücke erst im Oktober wieder zu öffnen. Die Träger "
        "sind stärker verrostet, als das Gutachten vom Frühjahr annahm.",
        "Die Sanierung kostet 4,2 Millionen Euro. Davon trägt das Land die Hälfte, den Rest teilen sich die Stadt "
        "und der Kreis nach einem Schlüssel, über den noch verhandelt wird.",
        "Bis dahin fährt eine Fähre. Sie verkehrt werktags alle zwanzig Minuten und nimmt auch Fahrräder mit.",
        "Der Bürgermeister bat um Geduld. Eine Behelfsbrücke, wie sie die Händler fordern, lehnte er ab.",
    ),
    sections={1: "Kosten", 2: "Verkehr"},
    pages=(2,),
)


def headings(parsed: Parsed) -> list[tuple[str, int]]:
    return [(parsed.text[each.start : each.end], each.level) for each in parsed.layout.headings]


@pytest.mark.parametrize("kind", FORMATS)
def test_all_formats_say_the_same(kind: str) -> None:
    data = as_bytes(ARTICLE, kind)
    raw = document_from_bytes(f"bridge.{kind}", data)
    for number, paragraph in enumerate(ARTICLE.paragraphs):
        assert plain(paragraph) in plain(raw.text)
        place = plain(raw.text).index(plain(paragraph))
        assert place == sorted(plain(raw.text).index(plain(each)) for each in ARTICLE.paragraphs)[number]
    for stranger in (
        "Archiv der Gemeinde",
        "Seite 1",
        "Startseite",
        "Politik",
        "Cookies",
        "Impressum",
        "Alle Artikel",
    ):
        assert stranger not in raw.text
    assert raw.title == ARTICLE.title
    assert raw.language == "de"
    assert raw.format == {"txt": "text", "md": "markdown"}.get(kind, kind)
    if kind in {"html", "pdf", "docx"}:
        assert raw.metadata["author"] == "Ada Beispiel"
        assert raw.original == data


@pytest.mark.parametrize("kind", FORMATS)
def test_a_place_has_page_section_and_paragraph(kind: str) -> None:
    raw = document_from_bytes(f"bridge.{kind}", as_bytes(ARTICLE, kind))
    for number, paragraph in enumerate(ARTICLE.paragraphs):
        words = paragraph[:30]
        start = raw.text.index(words)
        place = locate(raw.layout, start, start + len(words))
        assert place.page == (ARTICLE.page_of(number) if kind == "pdf" else None)
        assert place.last_page is None
        if kind == "txt":
            assert place.section is None
        else:
            assert place.section is not None
            assert raw.text[place.section.start : place.section.end] == ARTICLE.section_of(number)
        before = [each for each in ARTICLE.sections if each <= number]
        assert place.paragraph == 2 + number + len(before)


# ---- HTML ----------------------------------------------------------------------------------------------------------


def html(body: str, head: str = "") -> Parsed:
    return read_html(f"<!doctype html><html><head>{head}</head><body>{body}</body></html>".encode())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>a <b>b</b><i>c</i>\n d</p>", "a bc d"),
        ("<p>one<p>two<div>three</div>four", "one\n\ntwo\n\nthree\n\nfour"),
        ("one<br>two", "one\ntwo"),
        ("<pre>a  b\n  c</pre>", "a  b\n  c"),
        ("<ul><li>one<li>two<ul><li>three</ul></ul>", "one\n\ntwo\n\nthree"),
        ("<table><tr><th>Year<th>Sum<tr><td>2014<td>3 <b>million</b></table>", "Year\tSum\n2014\t3 million"),
        ("<table><tr><td><p>a</p><p>b</p><td>c</table>", "a b\tc"),
        ("<table><tr><td>a<table><tr><td>b<td>c</table><td>d</table>", "a\n\nb\tc\n\nd"),
        ("<table><tr><td><h2>Layout</h2><p>a</p><p>b</p></table>", "Layout\n\na\n\nb"),
        ("<dl><dt>Term<dd>What it means</dl>", "Term\n\nWhat it means"),
        ("Deutsch&shy;land&nbsp;hilft &amp; zahlt", "Deutsch\u00adland\u00a0hilft & zahlt"),
        ("<p>visible<p hidden>not<p style='display: none'>not<p aria-hidden=true>not", "visible"),
        ("<script>no()</script><style>p{}</style><template>no</template><p>yes<!-- no -->", "yes"),
        ("<article><p>a</article><p>" + "long " * 20, "a\n\n" + ("long " * 20).strip()),
    ],
)
def test_a_pages_structure(body: str, text: str) -> None:
    assert html(body).text == text


def test_what_surrounds_the_content_is_left_out_unless_little_else_is_there() -> None:
    surroundings = "<nav>Home</nav><ul><li><a>One</a><li><a>Two</a></ul><div class='site-footer'>Imprint</div>"
    article = "<p>" + "The bridge over the Tess is closed until October. " * 5 + "</p>"
    assert html(surroundings + article).text == article[3:-4].strip()
    assert "Home" in html("<nav>Home and a longer text than the rest</nav><p>Short</p>").text  # better too much
    links = "<ul>" + "<li><a>A river that has a name</a>" * 20 + "</ul>"
    assert html(f"<p>Rivers</p>{links}").text.count("A river") == 20  # a list that is the content


def test_a_page_says_what_it_is() -> None:
    said = html("<h1>Heading</h1><p>Text</p>", "<title>Heading | Paper</title><meta name=author content='A  B'>")
    assert (said.title, said.author, said.date) == ("Heading", "A B", "")
    linked = '{"@graph": [{"headline": "H", "datePublished": "2014-11-18T08:00", "author": [{"name": "N"}]}]}'
    said = html("<p>Text</p>", f"<script type='application/ld+json'>{linked}</script>")
    assert (said.title, said.author, said.date) == ("H", "N", "2014-11-18")
    said = html("<p>Text <time datetime='2015-02-30'>then</time></p>", "<title>Only a title</title>")
    assert (said.title, said.date) == ("Only a title", "")
    for hostile in ("[" * 100_000, '{"@graph": 5}', '{"author": {"name": ["x"]}}', "[1, null]"):
        html("<p>Text</p>", f"<script type='application/ld+json'>{hostile}</script>")


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("<meta charset=windows-1252>", "cp1252"),
        ("<meta charset='iso-8859-1'>", "cp1252"),
        ("<meta http-equiv=content-type content='text/html; charset=windows-1251'>", "cp1251"),
        ("<meta charset=utf-16>", "utf-8"),  # as browsers have it
        ("<meta charset=nonsense>", "utf-8"),
        ("<meta charset=base64>", "utf-8"),
        ("", "utf-8"),
        ("", "cp1252"),
        ("", "utf-16"),
    ],
)
def test_a_pages_encoding(head: str, encoding: str) -> None:
    text = "Мост закрыт" if encoding == "cp1251" else "Die Brücke über die Tesse – „gesperrt“"
    page = f"<html><head>{head}</head><body><p>{text}</p>".encode(encoding)
    assert text in decode_html(page)


def test_a_page_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(DocumentRejected) as refused:
        html("<div>" * 5_000 + "text")
    assert refused.value.code == "document_too_complex"
    assert html("<div>" * 300 + "text").text == "text"


# ---- PDF -----------------------------------------------------------------------------------------------------------


def drawn(*pages: list[tuple[float, float, str]], size: float = 11, encrypt: str | None = None) -> bytes:
    """Return a file with strings at places."""
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(595, 842))
    for page in pages:
        canvas.setFont("Helvetica", size)
        for x, y, text in page:
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    if encrypt is None:
        return file.getvalue()
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(file.getvalue())))
    writer.encrypt(user_password=encrypt, owner_password="owner", algorithm="AES-256")
    locked = io.BytesIO()
    writer.write(locked)
    return locked.getvalue()


def lines(x: float, top: float, *texts: str, leading: float = 14) -> list[tuple[float, float, str]]:
    return [(x, top - leading * number, text) for number, text in enumerate(texts)]


LONG = ("The council has decided to close the bridge over the", "river until October, since its girders are rusty")


def test_lines_become_paragraphs() -> None:
    file = drawn([*lines(70, 700, *LONG, "and nobody knew it."), *lines(70, 640, "A ferry runs instead.")])
    assert read_pdf(file).text == f"{LONG[0]} {LONG[1]} and nobody knew it.\n\nA ferry runs instead."


def test_indented_lines_begin_paragraphs() -> None:
    file = drawn([(84, 700, LONG[0]), (70, 686, LONG[1]), (84, 672, LONG[0]), (70, 658, LONG[1])])
    assert read_pdf(file).text == f"{LONG[0]} {LONG[1]}\n\n{LONG[0]} {LONG[1]}"


def test_columns_are_read_one_after_the_other() -> None:
    left = lines(70, 700, *LONG, "and nobody knew it for many a long year before the")
    right = lines(320, 700, "flood of May. Now a ferry runs from bank to bank.", "It takes bicycles too.")
    assert read_pdf(drawn([*left, *right])).text == " ".join(
        [*LONG, "and nobody knew it for many a long year before the", right[0][2], right[1][2]]
    )


def test_a_paragraph_that_goes_on_over_a_page_has_both_pages() -> None:
    parsed = read_pdf(drawn(lines(70, 300, *LONG), lines(70, 700, "and nobody knew it for a year.", "A ferry runs.")))
    assert parsed.text == f"{LONG[0]} {LONG[1]} and nobody knew it for a year.\n\nA ferry runs."
    start = parsed.text.index("since its girders")
    place = locate(parsed.layout, start, start + 40)
    assert (place.page, place.last_page) == (1, 2)
    place = locate(parsed.layout, parsed.text.index("A ferry"), len(parsed.text))
    assert (place.page, place.last_page) == (2, None)


def test_a_word_divided_at_the_end_of_a_line_keeps_its_line_break() -> None:
    file = drawn(lines(70, 700, "Der Stadtrat hat die Sperrung der Brücke um ein Jahr ver-", "längert."))
    assert read_pdf(file).text == "Der Stadtrat hat die Sperrung der Brücke um ein Jahr ver-\nlängert."


def test_running_titles_and_page_numbers_are_left_out_but_nothing_else() -> None:
    pages = [
        [(70, 810, "Annual report 2014"), *lines(70, 700, *LONG), (290, 30, f"- {number} -")]
        for number in range(1, 5)
    ]
    text = read_pdf(drawn(*pages)).text
    assert text.count(LONG[0]) == 4  # the same words on every page, but in its middle
    assert "Annual report" not in text
    assert "- 1 -" not in text
    only = drawn([(70, 810, "Annual report 2014"), *lines(70, 700, *LONG)])
    assert "Annual report" in read_pdf(only).text  # on one page, nobody can know


def test_empty_pages_count() -> None:
    parsed = read_pdf(drawn([], lines(70, 700, "Second page."), [], lines(70, 700, "Fourth page.")))
    place = locate(parsed.layout, parsed.text.index("Fourth"), len(parsed.text))
    assert place.page == 4
    assert len(parsed.layout.pages) == 4


def test_a_table_of_contents_marks_headings() -> None:
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(595, 842))
    canvas.setFont("Helvetica", 11)
    for x, y, text in [(70, 700, "Fees"), *lines(70, 660, *LONG)]:
        canvas.drawString(x, y, text)
    canvas.bookmarkPage("fees")
    canvas.addOutlineEntry("Fees", "fees", 1 - 1)
    canvas.save()
    assert headings(read_pdf(file.getvalue())) == [("Fees", 1)]


@pytest.mark.parametrize("title", ["Microsoft Word - brief.docx", "untitled", "scan.pdf", ""])
def test_a_files_title_that_says_nothing_is_not_used(title: str) -> None:
    file = io.BytesIO()
    canvas = Canvas(file)
    canvas.setTitle(title)
    canvas.setFont("Helvetica", 20)
    canvas.drawString(70, 760, "The Ferry")
    canvas.setFont("Helvetica", 11)
    canvas.drawString(70, 720, "It runs every twenty minutes on working days, and it takes bicycles too.")
    canvas.save()
    assert read_pdf(file.getvalue()).title == "The Ferry"


def test_a_file_that_only_forbids_copying_is_read_and_one_with_a_password_is_not() -> None:
    assert read_pdf(drawn(lines(70, 700, "Open to read."), encrypt="")).text == "Open to read."
    with pytest.raises(DocumentRejected) as refused:
        read_pdf(drawn(lines(70, 700, "Closed."), encrypt="secret"))
    assert refused.value.code == "document_encrypted"


def test_a_scan_without_text_is_refused_with_advice() -> None:
    with pytest.raises(DocumentRejected) as refused:
        read_pdf(drawn([]))
    assert refused.value.code == "document_empty"
    assert "OCR" in refused.value.hint


# ---- Word ----------------------------------------------------------------------------------------------------------

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def word(body: str, **members: str) -> bytes:
    """Return a document of raw XML."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        document = (
            f'<w:document xmlns:w="{W}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        )
        archive.writestr("word/document.xml", f"{document}<w:body>{body}</w:body></w:document>")
        for name, text in members.items():
            archive.writestr(name.replace("__", "/") + ".xml", text)
    return file.getvalue()


NOT_HIDDEN = '<w:vanish w:val="0"/>'


def run(text: str, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t xml:space='preserve'>{text}</w:t></w:r>"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (f"<w:p>{run('one ')}{run('two')}</w:p><w:p>{run('three')}</w:p>", "one two\n\nthree"),
        (f"<w:p>{run('a')}<w:r><w:br/></w:r>{run('b')}<w:r><w:tab/></w:r>{run('c')}</w:p>", "a\nb\tc"),
        (f"<w:p>{run('a')}<w:r><w:br w:type='page'/></w:r>{run('b')}</w:p>", "ab"),
        (f"<w:p>{run('E')}<w:r><w:noBreakHyphen/></w:r>{run('Mail')}</w:p>", "E\u2011Mail"),
        (
            f"<w:p><w:ins>{run('new ')}</w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>{run('x')}</w:p>",
            "new x",
        ),
        (f"<w:p><w:moveFrom>{run('old')}</w:moveFrom>{run('x')}</w:p>", "x"),
        (f"<w:p>{run('seen')}{run(' not', '<w:vanish/>')}{run(' back', NOT_HIDDEN)}</w:p>", "seen back"),
        (
            f"<w:p><mc:AlternateContent><mc:Choice>{run('a')}</mc:Choice><mc:Fallback>{run('b')}</mc:Fallback>"
            "</mc:AlternateContent></w:p>",
            "a",
        ),
        (f"<w:p><w:r><w:instrText>TOC</w:instrText></w:r><w:hyperlink>{run('link')}</w:hyperlink></w:p>", "link"),
        (
            "<w:tbl>"
            + "".join(
                f"<w:tr><w:tc><w:p>{run(a)}</w:p></w:tc><w:tc><w:p>{run(b)}</w:p><w:p>{run('z')}</w:p></w:tc></w:tr>"
                for a, b in (("Year", "Sum"), ("2014", "3"))
            )
            + "</w:tbl>",
            "Year\tSum z\n2014\t3 z",
        ),
    ],
)
def test_a_documents_structure(body: str, text: str) -> None:
    assert read_docx(word(body)).text == text


def test_notes_follow_the_text() -> None:
    note = f'<w:footnotes xmlns:w="{W}"><w:footnote><w:p>{run("A note.")}</w:p></w:footnote></w:footnotes>'
    assert read_docx(word(f"<w:p>{run('Text.')}</w:p>", word__footnotes=note)).text == "Text.\n\nA note."


def test_headings_by_style_by_their_parent_and_by_outline() -> None:
    styles = (
        f'<w:styles xmlns:w="{W}"><w:style w:styleId="H"><w:name w:val="heading 2"/></w:style>'
        '<w:style w:styleId="Mine"><w:basedOn w:val="H"/></w:style>'
        '<w:style w:styleId="Loop"><w:basedOn w:val="Loop"/></w:style></w:styles>'
    )
    body = "".join(
        f"<w:p><w:pPr>{properties}</w:pPr>{run(text)}</w:p>"
        for properties, text in (
            ('<w:pStyle w:val="Mine"/>', "Fees"),
            ('<w:pStyle w:val="Loop"/>', "Not a heading"),
            ('<w:outlineLvl w:val="0"/>', "Outlined"),
            ('<w:outlineLvl w:val="9"/>', "Body level"),
        )
    )
    assert headings(read_docx(word(body, word__styles=styles)))[:2] == [("Fees", 2), ("Outlined", 1)]


def test_a_real_document_says_what_it_is() -> None:
    document = docx.Document()
    document.core_properties.title = "The Ferry"
    document.core_properties.author = "A. Author"
    document.add_paragraph("It runs every twenty minutes.")
    file = io.BytesIO()
    document.save(file)
    parsed = read_docx(file.getvalue())
    assert (parsed.title, parsed.author, parsed.date[:2]) == ("The Ferry", "A. Author", "20")


# ---- Markdown ------------------------------------------------------------------------------------------------------


def test_markdown_stays_as_it_is_and_its_headings_are_noted() -> None:
    text = (
        '---\ntitle: "The Ferry"\ndate: 2014-11-18\nauthor: A. Author\nlang: en\n---\n\nFirst\r\n=====\n\n'
        "## Second ##\n"
        "```\n# not a heading\n```\n\nA paragraph\nof two lines\n---\n\n#not one\n\nThird\n---\n"
    )
    parsed = read_markdown(text)
    assert parsed.text == text
    assert headings(parsed) == [("First", 1), ("Second", 2), ("Third", 2)]
    assert (parsed.title, parsed.date, parsed.author, parsed.language) == (
        "The Ferry",
        "2014-11-18",
        "A. Author",
        "en",
    )


# ---- what all share ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "date"),
    [
        ("2014-11-18T09:30", "2014-11-18"),
        ("D:20141118093000+01'00'", "2014-11-18"),
        ("2014-11", "2014-11"),
        ("2014", "2014"),
        ("2014-02-30", ""),
        ("18.11.2014", ""),
        ("0000", ""),
        ("", ""),
    ],
)
def test_dates(given: str, date: str) -> None:
    assert iso_date(given) == date


def test_what_a_file_says_is_cleaned() -> None:
    assert clean("a\0b\n c\u202e") == "a b c"
    assert len(clean("x" * 5_000)) == 255
