"""The page where the service wants a key: it asks for one, uses it for everything, and forgets it with the tab."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from index import Library, document_from_bytes
from service.access import Scope
from service.answer import AnswerPolicy
from service.app import build_app
from service.guard import Admission
from service.keys import KeyRing
from service.routes import AppState
from tests.browser.chromium import ask, chromium, serving, watch

PAGE = "<title>Brücke</title><p>The old bridge closes in October. It opens again in May.</p>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def secret(tmp_path: Path) -> str:
    return KeyRing(tmp_path / "data").create("page", Scope.WRITE)[1]


@pytest.fixture
def page(browser: Browser, open_library: Callable[..., Library], secret: str, tmp_path: Path) -> Iterator[Page]:
    library = open_library()
    library.add([document_from_bytes("bridge.html", PAGE.encode())])
    state = AppState(library, AnswerPolicy(min_confidence=0.0), admission=Admission(KeyRing(tmp_path / "data")))
    with serving(build_app(state)) as address:
        context = browser.new_context(locale="en-GB")
        context.set_default_timeout(60_000)
        watched = watch(context, address)
        watched.refusals = True
        opened = context.new_page()
        opened.goto(address)
        yield opened
        wrong = watched.wrong()
        context.close()
        assert wrong == {}


def give(page: Page, key: str) -> None:
    page.locator("#key-field").fill(key)
    page.locator("#key-field").press("Enter")


def test_a_key_is_asked_for_and_then_used_for_everything(page: Page, secret: str, tmp_path: Path) -> None:
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("A key is needed")
    expect(page.locator("#key-field")).to_be_focused()
    give(page, "fst_wrong")
    expect(dialog).to_contain_text("That key is unknown, expired or revoked.")
    give(page, secret)
    expect(dialog).to_be_hidden()
    ask(page, "When does the bridge close?")
    expect(page.locator(".turn").last).to_contain_text("closes in October")
    page.locator(".places button").first.click()
    expect(page.locator("#source-text mark").first).to_contain_text("October")
    with page.expect_download() as download:
        page.locator("#source-original").click()
    assert download.value.suggested_filename == "bridge.html"
    assert download.value.path().read_text("utf-8") == PAGE
    file = tmp_path / "ferry.txt"
    file.write_text("The ferry leaves every twenty minutes.")
    page.evaluate("location.hash = '#documents'")
    page.locator("input[type=file]").set_input_files(file)
    expect(page.locator("#view-documents")).to_contain_text("ferry.txt")
    page.reload()
    expect(page.locator("#view-documents")).to_contain_text("bridge.html")
    expect(dialog).to_be_hidden()
    stored = page.evaluate("JSON.stringify([{...localStorage}, location.href, document.cookie])")
    assert secret not in json.dumps(stored), "kept for the tab alone"


def test_whoever_has_no_key_is_told_so(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.locator("#question").fill("When does the bridge close?")
    page.locator("#question").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator(".turn").last).to_contain_text("A key is needed")
