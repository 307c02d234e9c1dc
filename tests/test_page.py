"""The chat page in a real browser against the real service: from upload to the highlighted source."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from index import Library
from service.answer import AnswerPolicy
from service.app import build_app
from service.routes import AppState

expect.set_options(timeout=20_000)
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
TEXT = (
    f"Ein Fährmann heißt Jörg 😀 und {HOSTILE} schreibt er gern.\n\n"
    "Die Brücke schließt im Oktober 🎉 für elf Monate. Danach fährt die Fähre alle zwanzig Minuten."
)


@pytest.fixture
def address(open_library: Callable[..., Library]) -> Iterator[str]:
    policy = AnswerPolicy(min_confidence=0.02)
    server = uvicorn.Server(
        uvicorn.Config(build_app(AppState(open_library(), policy)), log_level="error", access_log=False)
    )
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(15_000)
    said: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(address) else None)
    page.goto(address)
    yield page
    assert not page.evaluate("window.hacked"), "a script in a document ran"
    assert foreign == []
    assert said == []
    context.close()


def upload(page: Page, name: str, text: str) -> None:
    page.goto(page.url.split("#")[0] + "#documents")
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
    )
    expect(page.locator("body")).to_contain_text(name)
    expect(page.get_by_text("added", exact=False).first).to_be_visible()


def ask(page: Page, question: str) -> None:
    page.goto(page.url.split("#")[0] + "#ask")
    page.locator("#question").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn").last).to_have_attribute("aria-busy", "false")


def test_from_upload_to_the_highlighted_source(page: Page) -> None:
    upload(page, "brücke.txt", TEXT)
    ask(page, "Wann schließt die Brücke?")
    quote = page.locator(".turn").last.locator("blockquote").first.inner_text().strip()
    assert "Die Brücke schließt im Oktober 🎉 für elf Monate." in quote
    page.locator(".turn").last.get_by_role("button").first.click()
    mark = page.locator(".source-text mark").first
    expect(mark).to_be_in_viewport()
    marked = "".join(page.locator(".source-text mark").all_inner_texts())
    assert "Die Brücke schließt im Oktober 🎉 für elf Monate." in marked
    page.keyboard.press("Escape")
    expect(page.locator(".source-text")).to_be_hidden()


def test_sources_of_one_statement_and_differing_ones_are_told(page: Page) -> None:
    fee = "Die Pacht für den Garten beträgt vierzig Euro im Jahr."
    for name, text in (("a", fee), ("b", fee), ("c", fee.replace("vierzig", "fünfzig"))):
        upload(page, f"{name}.txt", text)
    ask(page, "Wie hoch ist die Pacht für den Garten im Jahr?")
    relations = page.locator(".turn").last.locator(".place")
    expect(relations.nth(0).locator(".relation")).to_have_count(0)
    expect(relations.nth(1)).to_contain_text("The same words as in 1")
    expect(relations.nth(2)).to_contain_text("Differs from 1")


def test_hostile_text_stays_text(page: Page) -> None:
    upload(page, "boese.txt", TEXT)
    ask(page, f"Wie heißt der Fährmann Jörg {HOSTILE}?")
    expect(page.locator("body")).to_contain_text("onerror")
    assert page.locator(".turn img, .turn script").count() == 0


def test_the_documents_do_not_say(page: Page, address: str) -> None:
    ask(page, "Who won the cup?")
    expect(page.locator(".turn").last).to_contain_text("do not say")


def test_a_document_can_be_removed(page: Page) -> None:
    upload(page, "weg.txt", "Dieses Dokument verschwindet gleich wieder.")
    listed = page.get_by_role("list", name="Documents").get_by_role("listitem").filter(has_text="weg.txt")
    listed.get_by_role("button", name="Remove").click()
    page.locator("#confirm").get_by_role("button", name="Remove").click()
    expect(listed).to_have_count(0)


@pytest.mark.parametrize("width", [390, 1280])
def test_no_sideways_scrolling(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
