"""The page and hostile text (A04): whatever a document, a question or an answer says, it stays text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from index import Library, document_from_bytes, document_from_text
from service.answer import AnswerPolicy
from service.app import build_app
from service.routes import AppState
from tests.browser.chromium import CHROMIUM, ask, chromium, serving, watch
from tests.browser.hostile import LOOK, OPEN_EACH, as_shown, run
from tests.browser.payloads import make_payloads
from tests.files import Article, as_bytes

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]
PAYLOADS = 300


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def library(open_library: Callable[..., Library]) -> Library:
    return open_library()


@pytest.fixture
def address(library: Library) -> Iterator[str]:
    with serving(build_app(AppState(library, AnswerPolicy(min_confidence=0.02)))) as where:
        yield where


@pytest.fixture
def seed() -> int:
    chosen = random.SystemRandom().randrange(2**32)
    print(f"seed {chosen}")
    return chosen


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_300_payloads_in_every_place_run_nothing_and_fetch_nothing(browser: Browser, address: str, seed: int) -> None:
    figures = run(browser, address, make_payloads(PAYLOADS, seed))
    print(figures)
    assert figures["violations"] == 0, figures
    assert (figures["trials"], figures["broken_batches"]) == (PAYLOADS, 0)


@pytest.mark.slow
def test_null_control_texts_inserted_as_html_are_caught(browser: Browser, address: str) -> None:
    # How many depends on how far the page comes before the first of them takes it over: on a busy machine not far.
    figures = run(browser, address, make_payloads(20, 1), "html-without-policy")
    assert figures["scripts_run"] > 0
    assert figures["foreign_requests"] > 0
    assert figures["strange_elements"] > 0


@pytest.mark.slow
def test_the_policy_alone_stops_texts_inserted_as_html(browser: Browser, address: str) -> None:
    figures = run(browser, address, make_payloads(20, 1), "html")
    assert (figures["scripts_run"], figures["foreign_requests"], figures["dialogs"]) == (0, 0, 0)
    assert any("TrustedHTML" in example for example in figures["examples"])
    assert figures["broken_batches"] == 1


def printable(payload: str, limit: int) -> str:
    """Return what of a payload may be a name or a title."""
    kept = "".join(each if each.isprintable() else " " for each in payload)
    return kept.encode()[:limit].decode(errors="ignore").strip()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["html", "pdf", "docx"])
def test_hostile_files_are_read_as_text(
    browser: Browser, library: Library, address: str, seed: int, kind: str
) -> None:
    """Payloads as a file's title, author, headings and paragraphs; in more web pages they stand as they are."""
    payloads = [printable(payload, 500) for payload in make_payloads(PAYLOADS, seed)]
    files = []
    for at in range(0, PAYLOADS, 60):
        some = payloads[at : at + 60]
        sections = dict(enumerate(payloads[at : at + 5]))
        data = as_bytes(Article(some[0], some, sections, author=printable(some[1], 200), language="de"), kind)
        files.append(document_from_bytes(f"{at} {printable(some[2], 100)} x.{kind}", data))
        if kind == "html":
            data = data.replace(b"<article>", b"<article>" + "<p>x</p>".join(some).encode())
            files.append(document_from_bytes(f"{at} raw {printable(some[3], 100)} x.{kind}", data))
    library.add(files)
    context = browser.new_context(locale="en-GB", reduced_motion="reduce")
    watched = watch(context, address)
    page = context.new_page()
    page.goto(f"{address}/#documents")
    page.locator("#document-list li").nth(len(files) - 1).wait_for()
    opened = page.evaluate(OPEN_EACH, {"opener": "#document-list .open"})
    ask(page, f"What is {payloads[7]}?")
    found = page.evaluate(LOOK, {})
    context.close()
    assert watched.wrong() == {}
    assert found["strangers"] == []
    shown = as_shown("".join(text for text, _, _ in opened))
    assert len(opened) == len(files)
    # A PDF's font has Latin letters only, and long words are broken.
    least = {"docx": 290, "pdf": 100, "html": 290}[kind]
    assert sum(as_shown(payload) in shown for payload in payloads) >= least


@pytest.mark.slow
def test_300_hostile_documents_through_the_real_service(
    browser: Browser, library: Library, address: str, seed: int
) -> None:
    payloads = [re.sub(r"[\x00-\x08\x0e-\x1f]", "", payload) for payload in make_payloads(PAYLOADS, seed)]
    documents = [
        document_from_text(
            f"{number} {printable(payload, 200)}.txt",
            f"Number{number} begins here.\n\n{payload}\n\nNumber{number} says: {payload} So it ends.",
            printable(payload, 200) or None,
            {"author": payload, "date": payload, "own": payload},
        )
        for number, payload in enumerate(payloads)
    ]
    assert len(library.add(documents)) == PAYLOADS
    context = browser.new_context(locale="en-GB", reduced_motion="reduce")
    watched = watch(context, address)
    page = context.new_page()
    page.goto(f"{address}/#documents")
    for shown in range(50, PAYLOADS, 50):
        page.locator("#document-list li").nth(shown - 1).wait_for()
        page.locator("#more").click()
    page.locator("#document-list li").nth(PAYLOADS - 1).wait_for()
    opened = page.evaluate(OPEN_EACH, {"opener": "#document-list li:nth-child(5n) .open"})
    page.goto(f"{address}/#ask")
    for number in range(0, PAYLOADS, 15):
        ask(page, f"What does number{number} say? {payloads[number]}")
    page.locator(".turn .place").first.wait_for()
    found = page.evaluate(LOOK, {"question": ".turn > h2", "quote": ".place blockquote"})
    context.close()
    assert watched.wrong() == {}
    assert found["strangers"] == []
    assert len(found["texts"]["question"]) == PAYLOADS / 15
    texts = {text for text, _, _ in opened}
    assert sum(payload.replace("\r", "\n") in "\n".join(texts) for payload in payloads) >= len(texts) == PAYLOADS / 5
