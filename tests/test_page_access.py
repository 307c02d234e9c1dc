"""The page for everyone: WCAG 2.2 AA in every state, by axe-core and by what axe-core cannot see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, FilePayload, Page, Route, expect

from index import Library
from service.app import build_app
from service.routes import AppState
from tests.browser import fake_api
from tests.browser.chromium import CHROMIUM, Watch, ask, chromium, serving, watch
from tests.browser.fake_api import FakeApi
from tests.tiny import TinyEncoder

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
QUESTION = "Was kostet die Sanierung der Brücke?"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        Library(tmp_path_factory.mktemp("page") / "data", TinyEncoder(), writable=True) as library,
        serving(build_app(AppState(library))) as where,
    ):
        yield where


# ---- the states ----------------------------------------------------------------------------------------------


@dataclass
class Shown:
    """A page on made-up answers."""

    page: Page
    api: FakeApi
    watched: Watch
    address: str
    held: list[Route]
    """Requests that are not answered."""

    def go(self, view: str) -> None:
        self.page.goto(f"{self.address}/#{view}")

    def hold(self, path: str) -> None:
        def keep(route: Route) -> None:
            self.held.append(route)

        self.page.route(f"**{path}", keep)

    def ask(self, status: int = 200, **body: Any) -> None:
        self.api.ask = lambda asked: (status, body.get("whole") or fake_api.answer(asked["question"], **body))
        ask(self.page, QUESTION)


def nothing_asked(shown: Shown) -> None:
    shown.go("ask")


def no_documents(shown: Shown) -> None:
    shown.api.documents = []
    shown.go("ask")
    expect(shown.page.locator("#no-documents")).to_be_visible()


def searching(shown: Shown) -> None:
    shown.go("ask")
    shown.hold("/v1/ask")
    shown.page.fill("#question", QUESTION)
    shown.page.keyboard.press("Enter")
    expect(shown.page.locator(".searching")).to_be_visible()


def answered(shown: Shown) -> None:
    shown.go("ask")
    shown.ask()
    shown.page.locator("summary").first.click()


def written(shown: Shown) -> None:
    shown.go("ask")
    shown.ask(whole=fake_api.written(QUESTION))


def not_written(shown: Shown) -> None:
    failed = {"sentences": [], "model": "m", "withheld": 0, "problem": "writer_timeout"}
    shown.go("ask")
    shown.ask(written=failed)


def refused(shown: Shown) -> None:
    shown.go("ask")
    shown.ask(whole=fake_api.refusal(QUESTION))


def followed_up(shown: Shown) -> None:
    shown.go("ask")
    shown.ask()
    shown.ask(searched=f"{QUESTION} Und wann?", confidence=0.4)


def failed(shown: Shown) -> None:
    shown.go("ask")
    shown.ask(500, whole=fake_api.error())


def source_open(shown: Shown) -> None:
    answered(shown)
    shown.page.locator(".chip").first.click()
    expect(shown.page.locator("#source-text mark")).to_be_in_viewport()


def source_changed(shown: Shown) -> None:
    shown.api.text = lambda _: "Etwas ganz anderes."
    answered(shown)
    shown.page.locator(".chip").first.click()
    expect(shown.page.locator("#source-problem .notice")).to_be_visible()


def documents(shown: Shown) -> None:
    shown.go("documents")
    expect(shown.page.locator("#document-list li")).to_have_count(3)


def nothing_matches(shown: Shown) -> None:
    documents(shown)
    shown.page.fill("#filter-words", "nothing like it")
    expect(shown.page.locator("#library-none")).to_be_visible()


def uploaded(shown: Shown) -> None:
    documents(shown)
    replies = [
        (201, {"documents": [fake_api.document(9, status="updated")], "rejected": []}),
        (422, fake_api.error("document_empty", "There is no letter or digit in it.", "Leave it out.")),
    ]
    shown.api.upload = lambda _: replies.pop(0)
    files: list[FilePayload] = [
        {"name": name, "mimeType": "text/plain", "buffer": b"x"} for name in ("one.pdf", "two.docx", "three.exe")
    ]
    shown.page.set_input_files("#files", files)
    expect(shown.page.locator("#uploads .failed")).to_have_count(2)


def uploading(shown: Shown) -> None:
    documents(shown)
    shown.hold("/v1/documents")
    shown.page.set_input_files("#files", {"name": "a.pdf", "mimeType": "x/y", "buffer": b"x" * 9})
    expect(shown.page.locator("#uploads progress")).to_be_visible()


def removing(shown: Shown) -> None:
    documents(shown)
    shown.page.locator("#document-list .quiet").first.click()
    expect(shown.page.locator("#confirm")).to_be_visible()


def history(shown: Shown) -> None:
    refused(shown)
    shown.page.evaluate("location.hash = '#history'")
    expect(shown.page.locator("#history-list li")).to_have_count(1)


def no_history(shown: Shown) -> None:
    shown.go("history")
    expect(shown.page.locator("#history-empty")).to_be_visible()


STATES = (
    nothing_asked, no_documents, searching, answered, written, not_written, refused, followed_up, failed, source_open,
    source_changed, documents, nothing_matches, uploaded, uploading, removing, history, no_history,
)  # fmt: skip
LOOKS = {
    "light-wide-en": ("light", 1280, "en-GB"),
    "dark-wide-de": ("dark", 1280, "de-DE"),
    "light-phone-de": ("light", 390, "de-DE"),
    "dark-narrow-en": ("dark", 320, "en-GB"),
}


@pytest.fixture
def show(browser: Browser, address: str) -> Iterator[Callable[..., Shown]]:
    """Open a page in a look; every page must stay without console errors and foreign requests."""
    opened: list[Shown] = []

    def open_page(look: str = "light-wide-en", **options: Any) -> Shown:
        scheme, width, locale = LOOKS[look]
        context = browser.new_context(
            **{"color_scheme": scheme, "locale": locale, "reduced_motion": "reduce",
               "viewport": {"width": width, "height": 800}} | options
        )  # fmt: skip
        watched, api = watch(context, address), FakeApi()
        watched.refusals = True
        api.serve(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        opened.append(Shown(page, api, watched, address, []))
        return opened[-1]

    yield open_page
    for shown in opened:
        wrong = shown.watched.wrong()
        for route in shown.held:
            route.abort()
        shown.page.context.close()
        assert {kind: seen for kind, seen in wrong.items() if "status of 500" not in str(seen)} == {}


def violations(page: Page) -> list[str]:
    """Return what axe-core finds: rule and element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(document, options)", options)
    assert len(found["passes"]) > 10
    return [
        f"{each['id']}: {node['html'][:150]}: {node.get('failureSummary', '')}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


SMALL = """
() => [...document.querySelectorAll('button, a, select, input:not(.unseen), textarea, summary, .drop')]
  .filter((each) => each.offsetParent && !each.closest('[inert]'))
  .map((each) => [each.outerHTML.slice(0, 120), each.getBoundingClientRect()])
  .filter(([, box]) => box.width < 24 || box.height < 24)
  .map(([html, box]) => `${html} is ${box.width} by ${box.height}`)
"""
SIDEWAYS = """
() => [document.documentElement.scrollWidth > innerWidth ? 'the page scrolls sideways' : '',
  ...[...document.querySelectorAll('body *')].filter((each) => each.scrollWidth > each.clientWidth + 1
    && each.clientWidth > 0 && ['auto', 'scroll'].includes(getComputedStyle(each).overflowX))
    .map((each) => `#${each.id} scrolls sideways`)].filter(Boolean)
"""
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenfabrikantenwitwenversicherung" * 2
FAR_APART = """
() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('* { line-height: 1.5 !important; letter-spacing: .12em !important }'
    + '* { word-spacing: .16em !important } p { margin-bottom: 2em !important }');
  document.adoptedStyleSheets = [sheet];
}
"""
TWICE_AS_LARGE = "() => { document.documentElement.style.fontSize = '200%' }"


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS)
def test_every_state_is_accessible(show: Callable[..., Shown], look: str) -> None:
    """By axe-core; targets of 24 pixels; no sideways scrolling, at 320 pixels, with text spaced out or doubled."""
    found: dict[str, list[str]] = {}
    for state in STATES:
        shown = show(look)
        if LOOKS[look][1] < 400:
            shown.api.documents = [fake_api.document(n, title=LONG, source=f"{LONG}.pdf") for n in (1, 2, 3)]
        state(shown)
        page = shown.page
        problems = violations(page) + page.evaluate(SMALL) + page.evaluate(SIDEWAYS)
        page.evaluate(FAR_APART)
        problems += page.evaluate(SIDEWAYS)
        page.evaluate("document.adoptedStyleSheets = []")
        if LOOKS[look][1] > 640:
            page.evaluate(TWICE_AS_LARGE)
            problems += page.evaluate(SIDEWAYS)
        if problems:
            found[state.__name__] = problems
    assert found == {}


def test_null_controls_small_targets_and_sideways_scrolling_are_reported(show: Callable[..., Shown]) -> None:
    page = show().page
    page.goto("about:blank")
    page.set_content("<button style='width:23px'>x</button><p style='width:2000px'>wide</p>")
    assert len(page.evaluate(SMALL)) == 1
    assert len(page.evaluate(SIDEWAYS)) == 1


@pytest.mark.parametrize(
    ("breaks", "rule"),
    [
        ("document.querySelector('label[for=question]').remove(); question.placeholder = ''", "label"),
        ("document.querySelector('#composer-hint').style.color = '#ccc'", "color-contrast"),
        ("for (const each of document.querySelectorAll('.views a'))"
         " each.style.cssText = 'font-size: 8px; padding: 0; margin: 0'", "target-size"),
        ("document.documentElement.lang = ''", "html-has-lang"),
        ("document.querySelector('h1').outerText = 'x'", "page-has-heading-one"),
    ],
)  # fmt: skip
def test_null_control_axe_reports_what_is_broken(show: Callable[..., Shown], breaks: str, rule: str) -> None:
    shown = show(bypass_csp=True)
    nothing_asked(shown)
    shown.page.evaluate(f"() => {{ {breaks} }}")
    assert any(each.startswith(f"{rule}:") for each in violations(shown.page))


# ---- what axe-core cannot see --------------------------------------------------------------------------------

FOCUSED = """
() => {
  const at = document.activeElement;
  const box = at.getBoundingClientRect();
  const marked = [at, at.closest('.field'), at.closest('.drop')].filter(Boolean).map((it) => getComputedStyle(it));
  const over = document.elementFromPoint(box.x + box.width / 2, box.y + Math.min(box.height / 2, 200));
  return {
    name: at.id || at.className || at.getAttribute('href') || at.tagName,
    outlined: marked.some((style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2),
    seen: !!over && (at.contains(over) || over.contains(at) || at.matches('.unseen')),
  };
}
"""


def tab_through(page: Page) -> list[dict[str, Any]]:
    """Press Tab until the focus has been everywhere; return where it was."""
    page.mouse.click(1, 1)
    stops: list[dict[str, Any]] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        stops.append(page.evaluate(FOCUSED))
    return stops


@pytest.mark.parametrize(
    "state", [written, refused, followed_up, source_open, documents, history], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("look", ["light-wide-en", "dark-narrow-en"])
def test_the_focus_is_always_seen_and_never_hidden(
    show: Callable[..., Shown], state: Callable[[Shown], None], look: str
) -> None:
    shown = show(look)
    state(shown)
    stops = tab_through(shown.page)
    assert len(stops) >= 3
    assert [stop for stop in stops if not (stop["outlined"] and stop["seen"])] == []


def test_the_focus_goes_in_reading_order(show: Callable[..., Shown]) -> None:
    shown = show()
    written(shown)
    names = [stop["name"] for stop in tab_through(shown.page)]
    assert names == [
        "brand", "#ask", "#documents", "#history", "language",
        "chip", "chip", "chip", "chip", "SUMMARY", "chip", "SUMMARY", "chip", "SUMMARY",
        "question", "send", "new-conversation",
    ]  # fmt: skip


def test_everything_works_from_the_keyboard(show: Callable[..., Shown]) -> None:
    shown = show()
    page = shown.page
    shown.go("ask")
    page.locator("#question").focus()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    chip = page.locator(".place .chip").first
    expect(chip).to_be_visible()
    chip.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#source-title")).to_be_focused()
    expect(page.locator("#source-text mark")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(chip).to_be_focused()
    page.locator(".views a").nth(1).press("Enter")
    expect(page.locator("#view-documents")).to_be_visible()
    page.locator("#document-list .quiet").first.press("Enter")
    expect(page.locator("#confirm [value=no]")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#document-list li")).to_have_count(2)
    expect(page.locator("#document-list .open").first).to_be_focused()


def test_what_happens_is_told_to_screen_readers(show: Callable[..., Shown]) -> None:
    shown = show()
    status = shown.page.locator("#status")
    answered(shown)
    assert status.get_attribute("role") == "status"
    expect(status).to_contain_text("Answer with 3 quotes. Very sure 1: Die Sanierung")
    assert status.locator("span").first.get_attribute("lang") == "de"
    shown.ask(whole=fake_api.refusal(QUESTION))
    expect(status).to_contain_text("The documents do not say. Very sure")
    shown.ask(searched=f"{QUESTION} Und wann?")
    expect(status).to_contain_text(f"Searched for: {QUESTION} Und wann?")
    shown.ask(500, whole=fake_api.error())
    expect(status).to_contain_text("The service has made a mistake.")
    shown.page.locator("#new-conversation").click()
    expect(status).to_contain_text("A new conversation")
    uploaded(shown)
    expect(status).to_have_text("1 of 3 files added.")
    shown.page.fill("#filter-words", "Bericht 2")
    expect(status).to_have_text("1 document matches")


@pytest.mark.parametrize("state", [searching, source_open], ids=lambda each: each.__name__)
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_those_who_do_not_want_it(
    show: Callable[..., Shown], state: Callable[[Shown], None], motion: str
) -> None:
    shown = show(reduced_motion=motion)
    shown.page.add_init_script("addEventListener('animationstart', () => { window.moved = true })")
    state(shown)
    shown.page.wait_for_timeout(300)
    assert bool(shown.page.evaluate("window.moved")) == (motion == "no-preference")


def test_words_of_other_languages_say_so(show: Callable[..., Shown]) -> None:
    shown = show()
    source_open(shown)
    page = shown.page
    assert page.locator("html").get_attribute("lang") == "en"
    for selector in (".place blockquote", ".place cite", ".passage p", "#source-title", "#source-text"):
        assert page.locator(selector).first.get_attribute("lang") == "de", selector
    page.locator("#language").click()
    assert page.locator("html").get_attribute("lang") == "de"
    assert page.locator("#language").get_attribute("lang") == "en"
    expect(page.locator("#source-kind")).to_have_text("Fundstelle 1")
