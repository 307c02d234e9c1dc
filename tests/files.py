"""The same document in every format that can be read, made by the tools people make them with."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import docx
from docx.enum.text import WD_BREAK
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, SimpleDocTemplate, Spacer
from reportlab.platypus import Paragraph as Flowing

FORMATS = ("txt", "md", "html", "pdf", "docx")


@dataclass(frozen=True, slots=True)
class Article:
    """A title and paragraphs; some begin a section, some a page."""

    title: str
    paragraphs: Sequence[str]
    sections: dict[int, str]
    """Headings before the paragraphs of these numbers."""
    pages: Sequence[int] = ()
    """Paragraphs that begin a page."""
    author: str = "Ada Beispiel"
    language: str = "de"

    def page_of(self, paragraph: int) -> int:
        """Return the page a paragraph is on."""
        return 1 + sum(start <= paragraph for start in self.pages)

    def section_of(self, paragraph: int) -> str:
        """Return the heading above a paragraph."""
        above = [number for number in self.sections if number <= paragraph]
        return self.sections[max(above)] if above else self.title


def article_of(text: str, page_length: int = 2) -> Article:
    """Make an article of a text of the sample: headings and page breaks are added at fixed places."""
    first, *rest = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    sections = {number: f"Abschnitt {number // 2 + 1}" for number in range(1, len(rest), 2)}
    return Article(first.lstrip("# "), rest, sections, tuple(range(page_length, len(rest), page_length)))


def as_bytes(article: Article, kind: str) -> bytes:
    """Return the article as a file."""
    return {"txt": _txt, "md": _md, "html": _html, "pdf": _pdf, "docx": _docx}[kind](article)


def _txt(article: Article) -> bytes:
    parts = [article.title]
    for number, paragraph in enumerate(article.paragraphs):
        parts += [article.sections[number]] if number in article.sections else []
        parts.append(paragraph)
    return ("\n\n".join(parts) + "\n").encode()


def _md(article: Article) -> bytes:
    parts = [f"# {article.title}"]
    for number, paragraph in enumerate(article.paragraphs):
        parts += [f"## {article.sections[number]}"] if number in article.sections else []
        parts.append(paragraph)
    return ("\n\n".join(parts) + "\n").encode()


def _html(article: Article) -> bytes:
    """A page as a newspaper's would be: with what surrounds the article, and soft hyphens in it."""
    body = [f"<h1>{html.escape(article.title)}</h1>"]
    for number, paragraph in enumerate(article.paragraphs):
        if number in article.sections:
            body.append(f"<h2>{html.escape(article.sections[number])}</h2>")
        first, _, rest = html.escape(paragraph).partition(" ")
        body.append(f"<p><b>{first}</b>\n   {rest}</p>")
    return (
        f'<!doctype html><html lang="{article.language}"><head><meta charset="utf-8">'
        f"<title>{html.escape(article.title)} | Zeitung</title>"
        f'<meta name="author" content="{article.author}">'
        '<meta property="article:published_time" content="2014-11-18T09:30:00+01:00">'
        "<script>var a = 'Alle Artikel';</script></head><body>"
        '<header><a href="/">Startseite</a></header><nav><ul><li><a href="/p">Politik</a></li></ul></nav>'
        '<div class="cookie-banner"><p>Wir verwenden Cookies. <button>Ja</button></p></div>'
        f"<main><article>{''.join(body)}</article></main>"
        "<aside><p>Mehr zum Thema</p></aside><footer><p>Impressum</p></footer></body></html>"
    ).encode()


def _pdf(article: Article) -> bytes:
    """A file with a running title and page numbers, paragraphs broken into lines."""
    styles = getSampleStyleSheet()

    def margins(canvas: Canvas, document: SimpleDocTemplate) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(70, 815, "Archiv der Gemeinde Hollerfelde")
        canvas.drawString(70, 24, f"Seite {document.page}")

    story: list[object] = [Flowing(html.escape(article.title), styles["Title"])]
    for number, paragraph in enumerate(article.paragraphs):
        if number in article.pages:
            story.append(PageBreak())
        if number in article.sections:
            story.append(Flowing(html.escape(article.sections[number]), styles["Heading2"]))
        story += [Flowing(html.escape(paragraph), styles["BodyText"]), Spacer(1, 6)]
    file = io.BytesIO()
    about = {"title": article.title, "author": article.author, "lang": article.language}
    SimpleDocTemplate(file, pagesize=A4, **about).build(story, onFirstPage=margins, onLaterPages=margins)
    return file.getvalue()


def _docx(article: Article) -> bytes:
    document = docx.Document()
    document.core_properties.title = "Dokument1"
    document.core_properties.author = article.author
    document.core_properties.language = article.language
    document.sections[0].header.paragraphs[0].text = "Archiv der Gemeinde Hollerfelde"
    document.add_heading(article.title, 0)
    for number, paragraph in enumerate(article.paragraphs):
        if number in article.sections:
            document.add_heading(article.sections[number], 1)
        added = document.add_paragraph()
        first, _, rest = paragraph.partition(" ")
        if number in article.pages:
            added.add_run().add_break(WD_BREAK.PAGE)
        added.add_run(f"{first} ").bold = True
        added.add_run(rest)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()
