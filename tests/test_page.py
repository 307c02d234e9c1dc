"""The page in a real browser: from upload to the highlighted source, and every state that it can be in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, expect

from index import Encoder, Library
from service.answer import AnswerPolicy
from service.app import build_app
from service.routes import AppState
from tests.browser import fake_api
from tests.browser.chromium import CHROMIUM, ask, chromium, serving, watch
from tests.browser.fake_api import FakeApi
from tests.conftest import ROOT
from tests.files import FORMATS, article_of, as_bytes

expect.set_options(timeout=20_000)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]
HOSTILE = "<img src=x onerror=ran(1)><script>ran(2)</script>"
TEXT = (
    f"Ein Fährmann heißt Jörg 😀 und {HOSTILE} schreibt er gern.\n\n"
    "Die Brücke schließt im Oktober 🎉 für elf Monate. Danach fährt die Fähre alle zwanzig Minuten."
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def address(open_library: Callable[..., Library]) -> Iterator[str]:
    """The service on the tiny encoder."""
    with serving(build_app(AppState(open_library(), AnswerPolicy(min_confidence=0.02)))) as where:
        yield where


@pytest.fixture
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    """Nothing may go wrong in it: no script of a text, no foreign request, no dialog, no error in the console."""
    made = browser.new_context(locale="en-GB")
    made.set_default_timeout(60_000)
    watched = watch(made, address)
    yield made
    wrong = watched.wrong()
    made.close()
    assert wrong == {}


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    opened = context.new_page()
    opened.goto(address)
    return opened


@pytest.fixture
def fake(context: BrowserContext, page: Page) -> FakeApi:
    """The page on made-up answers."""
    api = FakeApi()
    api.serve(context)
    page.reload()
    return api


def show(page: Page, view: str) -> None:
    page.evaluate("view => { location.hash = view }", f"#{view}")
    expect(page.locator(f"#view-{view}")).to_be_visible()


def upload(page: Page, name: str, content: str | bytes, shown: str = "") -> None:
    show(page, "documents")
    data = content if isinstance(content, bytes) else content.encode()
    page.locator("#files").set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": data})
    expect(page.locator("#uploads li").first).to_have_class("done")
    expect(page.locator("#document-list")).to_contain_text(shown or name.rpartition(".")[0])


def latest(page: Page) -> Any:
    return page.locator(".turn").last


# ---- the whole way, on the real service ----------------------------------------------------------------------


def test_from_upload_to_the_highlighted_source(page: Page) -> None:
    upload(page, "brücke.txt", TEXT)
    ask(page, "Wann schließt die Brücke?")
    quote = latest(page).locator("blockquote").first.inner_text().strip()
    assert "Die Brücke schließt im Oktober 🎉 für elf Monate." in quote
    expect(latest(page)).to_contain_text("Word for word from the documents")
    latest(page).get_by_role("button").first.click()
    mark = page.locator(".source-text mark").first
    expect(mark).to_be_in_viewport()
    assert "Die Brücke schließt im Oktober 🎉 für elf Monate." in mark.inner_text()
    page.keyboard.press("Escape")
    expect(page.locator(".source-text")).to_be_hidden()


@pytest.fixture
def real(browser: Browser, open_library: Callable[..., Library], e5: Encoder) -> Iterator[Page]:
    """The page on the embedded model, with the measured threshold."""
    with serving(build_app(AppState(open_library(encoder=e5)))) as where:
        made = browser.new_context(locale="en-GB")
        watched = watch(made, where)
        opened = made.new_page()
        opened.goto(where)
        yield opened
        wrong = watched.wrong()
        made.close()
        assert wrong == {}


def test_the_missions_question_from_upload_to_source_with_the_real_model(real: Page) -> None:
    for name in ("deutschland-frankreich-hilfe.txt", "bridge-closure.txt"):
        upload(real, name, (ROOT / "sample" / name).read_bytes())
    ask(real, "what did Germany offer France?")
    place = latest(real).locator(".place").first
    expect(place.locator("blockquote")).to_contain_text(
        "die kurdischen Peschmerga im Norden des Irak weiter zu schulen"
    )
    expect(place.locator("cite")).to_have_text("Berlin stellt Paris Hilfe im Irak und in Mali in Aussicht")
    place.locator("blockquote").click()
    expect(real.locator("#source-text mark")).to_be_in_viewport()
    expect(real.locator("#source-text mark")).to_contain_text("Deutschland hat Frankreich angeboten")
    expect(real.locator("#source-facts")).to_contain_text("deutschland-frankreich-hilfe.txt")
    real.keyboard.press("Escape")
    ask(real, "From which day is the bridge closed?")
    ask(real, "And when will it open again?")
    expect(latest(real).locator(".searched q")).to_have_text(
        "From which day is the bridge closed? And when will it open again?"
    )
    expect(latest(real)).to_contain_text("the bridge will open again in the last week of August")
    ask(real, "At what temperature does liquid nitrogen boil in space?")
    expect(latest(real).locator(".verdict")).to_contain_text("not say")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_from_upload_to_the_highlighted_source_and_its_original(real: Page, kind: str) -> None:
    article = article_of((ROOT / "sample" / "deutschland-frankreich-hilfe.txt").read_text("utf-8"))
    data = as_bytes(article, kind)
    upload(real, f"hilfe.{kind}", data, article.title)
    ask(real, "How many soldiers does Germany have in Mali so far?")
    latest(real).locator(".place .chip").first.click()
    mark = real.locator("#source-text mark")
    expect(mark).to_be_in_viewport()
    assert "acht" in mark.inner_text()
    (paragraph,) = [number for number, text in enumerate(article.paragraphs) if "acht" in text]
    facts = real.locator("#source-facts")
    if kind == "pdf":
        expect(facts).to_contain_text(f"page {article.page_of(paragraph)}")
        expect(facts).to_contain_text(f"{len(article.pages) + 1} pages")
    if kind in ("html", "pdf", "docx"):
        expect(facts).to_contain_text(article.author)
        with real.expect_download() as downloading:
            real.locator("#source-original").click()
        assert downloading.value.suggested_filename == f"hilfe.{kind}"
        assert downloading.value.path().read_bytes() == data
    else:
        expect(real.locator("#source-original")).to_be_hidden()


def test_sources_of_one_statement_and_differing_ones_are_told(page: Page) -> None:
    fee = "Die Pacht für den Garten beträgt vierzig Euro im Jahr."
    for name, text in (("a", fee), ("b", fee), ("c", fee.replace("vierzig", "fünfzig"))):
        upload(page, f"{name}.txt", text)
    ask(page, "Wie hoch ist die Pacht für den Garten im Jahr?")
    relations = latest(page).locator(".place")
    expect(relations.nth(0).locator(".relation")).to_have_count(0)
    expect(relations.nth(1)).to_contain_text("The same words as in 1")
    expect(relations.nth(2)).to_contain_text("Differs from 1")


def test_a_document_can_be_removed(page: Page) -> None:
    upload(page, "weg.txt", "Dieses Dokument verschwindet gleich wieder.")
    listed = page.get_by_role("list", name="Documents").get_by_role("listitem").filter(has_text="weg.txt")
    listed.get_by_role("button", name="Remove").click()
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    expect(listed).to_have_count(1)
    listed.get_by_role("button", name="Remove").click()
    page.locator("#confirm").get_by_role("button", name="Remove").click()
    expect(listed).to_have_count(0)
    expect(page.locator("#library-empty")).to_be_visible()


def test_a_removed_document_is_told_when_its_place_is_opened(page: Page, context: BrowserContext) -> None:
    upload(page, "weg.txt", TEXT)
    ask(page, "Wann schließt die Brücke?")
    context.route("**/text", lambda route: fake_api.reply(route, 200, {}))
    latest(page).locator(".chip").first.click()
    expect(page.locator("#source-problem")).to_contain_text("The document has changed since this answer")
    expect(page.locator("#source-text mark")).to_have_count(0)


# ---- answers -------------------------------------------------------------------------------------------------


def test_a_citation_says_page_section_date_author_and_score(page: Page, fake: FakeApi) -> None:
    ask(page, "Was kostet die Sanierung?")
    facts = latest(page).locator(".place .facts").first
    for fact in ("Bericht 1", "page 7", "section “Kosten”", "1 May 2024", "Jost Kämmerling", "German", "score 0.87"):
        expect(facts).to_contain_text(fact)
    latest(page).locator(".chip").first.click()
    for fact in ("page 7", "section “Kosten”", "1 May 2024", "Jost Kämmerling", "12 pages", "score 0.87"):
        expect(page.locator("#source-facts")).to_contain_text(fact)
    original = page.locator("#source-original")
    expect(original).to_have_text("Download the original (PDF)")
    expect(original).to_have_attribute("href", f"/v1/documents/{1:016x}/original")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ({"page": 7, "last_page": 8, "section": None, "paragraph": 3}, "pages 7–8"),
        ({"page": None, "last_page": None, "section": None, "paragraph": 3}, "paragraph 3"),
        ({"section": "Kosten"}, "section “Kosten”"),
        ({"section": "Bericht 1 über die Gerberbrücke", "paragraph": 3}, "paragraph 3"),
        (None, "berichte/bruecke-1.pdf"),
    ],
)  # fmt: skip
def test_a_place_is_told_as_far_as_it_is_known(
    page: Page, fake: FakeApi, location: dict[str, Any] | None, said: str
) -> None:
    cited = [fake_api.citation(1, location=location, metadata={})]
    fake.ask = lambda asked: (200, fake_api.answer(asked["question"], cited))
    ask(page, "Was?")
    facts = latest(page).locator(".facts bdi").all_inner_texts()
    assert facts[0] == said
    assert len(facts) == (4 if location else 3)


@pytest.mark.parametrize(
    ("format_", "offered"), [("pdf", 1), ("docx", 1), ("html", 1), ("text", 0), ("markdown", 0), (None, 0)]
)
def test_the_original_is_offered_where_it_says_more(
    page: Page, fake: FakeApi, format_: str | None, offered: int
) -> None:
    fake.documents = [fake_api.document(1, format=format_)]
    ask(page, "Was?")
    latest(page).locator(".chip").first.click()
    expect(page.locator("#source-text mark")).to_be_visible()
    expect(page.locator("#source-original:visible")).to_have_count(offered)


def test_older_services_without_the_newer_fields_are_understood(page: Page, fake: FakeApi) -> None:
    old = fake_api.answer("Was?", [fake_api.citation(1)])
    for key in ("searched", "answer_kind", "written"):
        del old[key]
    del old["citations"][0]["location"]
    fake.ask = lambda _: (200, old)
    fake.documents = [
        {key: value for key, value in fake_api.document(1).items() if key not in ("format", "pages", "metadata")}
    ]
    ask(page, "Was?")
    expect(latest(page).locator("blockquote")).to_have_text(fake_api.QUOTE)


def test_a_written_answer_has_its_citations_and_says_who_wrote_it(page: Page, fake: FakeApi) -> None:
    fake.ask = lambda asked: (200, fake_api.written(asked["question"]))
    ask(page, "What does the repair cost?")
    turn = latest(page)
    expect(turn.locator(".written")).to_have_text(
        "The repair is estimated at 4.2 million euros.12 Another report differs.3"
    )
    expect(turn.locator(".origin")).to_have_text("Written by small-model-7b from the evidence below, checked")
    expect(turn.locator(".note")).to_contain_text("1 sentence was withheld")
    expect(turn).not_to_contain_text("Word for word")
    turn.locator(".written .chip").nth(1).click()
    expect(page.locator("#source-kind")).to_have_text("Citation 2")
    expect(turn.locator(".written .chip[aria-current]")).to_have_text("2")


@pytest.mark.parametrize(
    ("problem", "why"), [(None, ""), ("writer_timeout", "it took too long"), ("writer_else", "writer_else")]
)
def test_an_answer_of_quotes_is_marked_as_such_and_says_why(
    page: Page, fake: FakeApi, problem: str | None, why: str
) -> None:
    told = {"sentences": [], "model": "m", "withheld": 0, "problem": problem} if problem else None
    fake.ask = lambda asked: (200, fake_api.answer(asked["question"], written=told))
    ask(page, "Was?")
    expect(latest(page).locator(".origin")).to_have_text("Word for word from the documents")
    expect(latest(page).locator(".written")).to_have_count(0)
    note = latest(page).locator(".note")
    expect(note).to_have_text([f"No answer could be written: {why}. These are the quotes themselves."] if why else [])


def test_a_citation_number_that_is_not_there_opens_nothing(page: Page, fake: FakeApi) -> None:
    told = {"sentences": [{"text": "So it is.", "citations": [9]}], "model": "m", "withheld": 0, "problem": None}
    fake.ask = lambda asked: (200, fake_api.answer(asked["question"], answer_kind="written", written=told))
    ask(page, "Was?")
    expect(latest(page).locator(".written")).to_have_text("So it is. [9]")
    expect(latest(page).locator(".written button")).to_have_count(0)


@pytest.mark.parametrize(
    ("confidence", "said", "sure"),
    [
        (0.04, "The documents do not say.", "Very sure 4% likely that they do after all"),
        (0.25, "The documents probably do not say.", "Fairly sure 25%"),
        (0.45, "The documents probably do not say.", "Rather unsure 45%"),
        (0.7, "The documents may say it, but not surely enough for an answer.", "Unsure 70%"),
    ],
)
def test_a_refusal_is_an_answer_with_its_confidence(
    page: Page, fake: FakeApi, confidence: float, said: str, sure: str
) -> None:
    fake.ask = lambda asked: (200, fake_api.refusal(asked["question"], confidence))
    ask(page, "Was?")
    expect(latest(page).locator(".verdict")).to_have_text(said)
    expect(latest(page).locator(".confidence")).to_contain_text(sure)
    expect(latest(page).locator(".closest h3")).to_have_text("Nearest, but not an answer")
    expect(latest(page).locator(".closest .place")).to_have_count(2)
    latest(page).locator(".closest .chip").first.click()
    expect(page.locator("#source-kind")).to_have_text("Nearest, but not an answer")


@pytest.mark.parametrize(
    ("confidence", "sure"), [(0.95, "Very sure"), (0.75, "Fairly sure"), (0.6, "Rather unsure"), (0.3, "Unsure")]
)
def test_the_confidence_of_an_answer_is_said_in_words(
    page: Page, fake: FakeApi, confidence: float, sure: str
) -> None:
    fake.ask = lambda asked: (200, fake_api.answer(asked["question"], confidence=confidence))
    ask(page, "Was?")
    expect(latest(page).locator(".confidence strong")).to_have_text(sure)


# ---- follow-ups ----------------------------------------------------------------------------------------------


def test_a_follow_up_carries_what_was_searched_and_can_be_searched_alone(page: Page, fake: FakeApi) -> None:
    def answer(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        searched = " ".join(filter(None, (asked.get("previous"), asked["question"])))
        return 200, fake_api.answer(asked["question"], searched=searched)

    fake.ask = answer
    ask(page, "What does the bridge cost?")
    expect(latest(page).locator(".searched")).to_have_count(0)
    ask(page, "And when?")
    ask(page, "Why?")
    assert [asked.get("previous") for asked in fake.asked] == [
        None, "What does the bridge cost?", "What does the bridge cost? And when?",
    ]  # fmt: skip
    expect(latest(page).locator(".searched p")).to_have_text(
        "Searched for: What does the bridge cost? And when? Why?"
    )
    latest(page).get_by_role("button", name="Search only “Why?”").click()
    expect(latest(page).locator(".searched")).to_have_count(0)
    assert fake.asked[-1] == {"question": "Why?"}
    page.locator("#new-conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#question")).to_be_focused()
    ask(page, "And the ferry?")
    assert fake.asked[-1] == {"question": "And the ferry?"}


def test_a_failed_question_is_no_earlier_one(page: Page, fake: FakeApi, context: BrowserContext) -> None:
    ask(page, "What?")
    fake.ask = lambda _: (200, {"broken": True})
    page.evaluate("console.error = () => {}")
    ask(page, "Is this broken?")
    expect(latest(page).locator(".problem")).to_be_visible()
    fake.ask = lambda asked: (200, fake_api.answer(asked["question"]))
    ask(page, "And now?")
    assert fake.asked[-1]["previous"] == "What?"


# ---- history -------------------------------------------------------------------------------------------------


def kept(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(page.evaluate("localStorage.getItem('fundstelle.history') ?? '[]'"))
    return found


def test_the_history_survives_a_reload_and_goes_on(page: Page, fake: FakeApi) -> None:
    ask(page, "What does the bridge cost?")
    page.reload()
    expect(page.locator(".turn h2")).to_have_text("What does the bridge cost?")
    expect(page.locator(".turn .hint")).to_contain_text("the answer is the one given then")
    page.locator(".place .chip").first.click()
    expect(page.locator("#source-text mark")).to_have_text(fake_api.QUOTE)
    page.keyboard.press("Escape")
    ask(page, "And when?")
    assert fake.asked[-1]["previous"] == "What does the bridge cost?"
    assert [len(each["turns"]) for each in kept(page)] == [2]


def test_earlier_conversations_are_reopened_forgotten_and_cleared(page: Page, fake: FakeApi) -> None:
    for question in ("First?", "Second?", "Third?"):
        ask(page, question)
        page.locator("#new-conversation").click()
    show(page, "history")
    titles = page.locator("#history-list .open")
    expect(titles).to_have_text(["Third?", "Second?", "First?"])
    titles.nth(1).click()
    expect(page.locator(".turn h2")).to_have_text("Second?")
    asked = len(fake.asked)
    show(page, "history")
    page.get_by_role("button", name="Forget “Third?”").click()
    page.locator("#confirm [value=yes]").click()
    expect(titles).to_have_text(["Second?", "First?"])
    page.locator("#history-clear").click()
    page.locator("#confirm [value=yes]").click()
    expect(page.locator("#history-empty")).to_be_visible()
    assert kept(page) == []
    page.reload()
    show(page, "ask")
    expect(page.locator(".turn")).to_have_count(0)
    assert len(fake.asked) == asked, "reading the history asks the service nothing"


def test_the_history_is_bounded(page: Page, fake: FakeApi) -> None:
    ask(page, "The one?")
    (one,) = kept(page)
    many = [one | {"id": f"old-{number}"} for number in range(80)]
    page.evaluate("all => localStorage.setItem('fundstelle.history', JSON.stringify(all))", many)
    ask(page, "More?")
    assert len(kept(page)) == 50
    long = one["turns"][0] | {"question": "x" * 400_000}
    page.evaluate(
        "all => localStorage.setItem('fundstelle.history', JSON.stringify(all))",
        [{"id": f"long-{number}", "turns": [long]} for number in range(9)],
    )
    ask(page, "Still more?")
    assert page.evaluate("localStorage.getItem('fundstelle.history').length") <= 1_500_000
    assert kept(page)[0]["turns"][-1]["question"] == "Still more?"


@pytest.mark.parametrize(
    "script",
    [
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }",
        "Storage.prototype.getItem = Storage.prototype.setItem = () => {"
        " throw new DOMException('no', 'SecurityError') }",
        "for (const name of ['localStorage', 'sessionStorage'])"
        " Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError') } })",
    ],
    ids=["full", "refused", "forbidden"],
)
def test_storage_that_is_refused_or_full_breaks_nothing(page: Page, fake: FakeApi, script: str) -> None:
    page.add_init_script(script)
    page.reload()
    ask(page, "First?")
    page.locator("#language").click()
    ask(page, "Zweite?")
    show(page, "history")
    expect(page.locator("#history-list .open")).to_have_text("First?")
    expect(page.locator("#history-lost")).to_be_visible()
    page.locator("#history-clear").click()
    page.locator("#confirm [value=yes]").click()
    expect(page.locator("#history-list .open")).to_have_count(0)


@pytest.mark.parametrize(
    "content",
    [
        "{", "null", "7", '{"a": 1}', "[1, null, {}]", '[{"id": "x", "turns": [1]}]',
        '[{"id": "x", "turns": [{"question": 1}]}]',
        '[{"id": "x", "turns": [{"question": "q", "at": 1, "answer": null}]}]',
        '[{"id": "x", "turns": [{"question": "q", "at": 1, "answer":'
        ' {"answerable": true, "confidence": 1, "citations": [{}]}}]}]',
    ],
)  # fmt: skip
def test_a_history_nobody_can_read_is_left_out(page: Page, fake: FakeApi, content: str) -> None:
    page.evaluate("text => localStorage.setItem('fundstelle.history', text)", content)
    page.evaluate("sessionStorage.setItem('fundstelle.conversation', 'x')")
    page.reload()
    ask(page, "First?")
    show(page, "history")
    expect(page.locator("#history-list .open")).to_have_text("First?")


def test_another_tab_sees_the_same_history(page: Page, fake: FakeApi, context: BrowserContext, address: str) -> None:
    other = context.new_page()
    other.goto(f"{address}/#history")
    ask(page, "First?")
    expect(other.locator("#history-list .open")).to_have_text("First?")


# ---- documents -----------------------------------------------------------------------------------------------


def test_documents_are_filtered_and_counted(page: Page, fake: FakeApi) -> None:
    fake.documents = [
        fake_api.document(number, language="en" if number % 3 else "de", format="docx" if number % 2 else "pdf")
        for number in range(1, 121)
    ]
    page.reload()
    show(page, "documents")
    count, listed = page.locator("#document-count"), page.locator("#document-list li")
    expect(count).to_have_text("120 documents")
    expect(listed).to_have_count(50)
    page.locator("#more").click()
    expect(listed).to_have_count(100)
    expect(listed.nth(50).locator(".open")).to_be_focused()
    page.fill("#filter-words", "bericht 11")
    expect(count).to_have_text("11 documents match")
    page.select_option("#filter-format", "docx")
    expect(count).to_have_text("6 documents match")
    page.select_option("#filter-language", "de")
    expect(count).to_have_text("2 documents match")
    assert fake.listed[-1] == {"limit": ["50"], "q": ["bericht 11"], "language": ["de"], "format": ["docx"]}
    page.select_option("#filter-language", "fi")
    expect(page.locator("#library-none")).to_contain_text("No document matches.")
    page.locator("#filter-clear").click()
    expect(count).to_have_text("120 documents")
    expect(listed.first).to_contain_text("Jost Kämmerling")
    expect(listed.first).to_contain_text("12 pages")


def test_languages_are_offered_by_name_in_the_pages_language(page: Page, fake: FakeApi) -> None:
    fake.documents = [fake_api.document(1, language="de"), fake_api.document(2, language="und")]
    page.reload()
    show(page, "documents")
    here = page.locator("#filter-language optgroup").first.locator("option")
    expect(here).to_have_text(["German"])
    page.locator("#language").click()
    expect(here).to_have_text(["Deutsch"])
    expect(page.locator("#filter-language optgroup").nth(1).locator("option", has_text="Finnisch")).to_have_count(1)


def files(*names: str) -> list[FilePayload]:
    return [{"name": name, "mimeType": "x/y", "buffer": name.encode()} for name in names]


def test_each_file_has_its_own_result_and_reason(page: Page, fake: FakeApi) -> None:
    replies = [
        (201, {"documents": [fake_api.document(1, status="added", passages=1)], "rejected": []}),
        (
            201,
            {"documents": [], "rejected": [{"source": "b.pdf", **fake_api.error("x", "Encrypted.", "Decrypt it.")}]},
        ),
        (201, {"documents": [fake_api.document(2, status="unchanged")], "rejected": []}),
    ]
    fake.upload = lambda _: replies.pop(0)
    show(page, "documents")
    page.set_input_files("#files", files("a.pdf", "b.pdf", "c.HTM", "d.exe"))
    rows = page.locator("#uploads li")
    expect(rows.nth(0)).to_contain_text("a.pdf Added · 1 passage")
    expect(rows.nth(1)).to_contain_text("b.pdf Not added")
    expect(rows.nth(1).locator(".reason")).to_have_text("Encrypted. Decrypt it.")
    expect(rows.nth(2)).to_contain_text("c.HTM Already there, unchanged")
    expect(rows.nth(3).locator(".reason")).to_have_text("This kind of file cannot be read.")
    expect(page.locator("#status")).to_have_text("2 of 4 files added.")
    assert replies == []


def test_files_can_be_dropped_anywhere(page: Page, fake: FakeApi) -> None:
    drop = """
    () => {
      const carried = new DataTransfer();
      for (const name of ['a.txt', 'b.md', 'c.html', 'd.pdf', 'e.docx']) carried.items.add(new File(['x'], name));
      const told = { dataTransfer: carried, bubbles: true, cancelable: true };
      const event = (kind) => dispatchEvent(new DragEvent(kind, told));
      event('dragover');
      const dropping = document.body.classList.contains('dropping');
      event('drop');
      return dropping;
    }
    """
    assert page.evaluate(drop)
    expect(page.locator("#view-documents")).to_be_visible()
    expect(page.locator("#uploads li.done")).to_have_count(5)
    assert not page.evaluate("document.body.classList.contains('dropping')")


def test_an_upload_shows_how_much_has_left_and_that_it_is_read(
    page: Page, context: BrowserContext, browser: Browser
) -> None:
    """On the real service, over a slow line."""
    show(page, "documents")
    line = context.new_cdp_session(page)
    line.send("Network.enable")
    line.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 20, "downloadThroughput": 10**7, "uploadThroughput": 400_000},
    )
    page.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => {
            const bar = document.querySelector('#uploads progress');
            const text = document.querySelector('#uploads .outcome')?.textContent ?? '';
            window.seen.push([bar ? bar.getAttribute('value') : 'gone', text]);
          }).observe(document.querySelector('#uploads'), { childList: true, subtree: true });
        }"""
    )
    text = "Die Brücke schließt im Oktober für elf Monate, und danach fährt die Fähre alle Tage. " * 12_000
    page.set_input_files("#files", {"name": "lang.txt", "mimeType": "text/plain", "buffer": text.encode()})
    expect(page.locator("#uploads li.done")).to_have_count(1, timeout=60_000)
    seen = page.evaluate("window.seen")
    shares = [float(value) for value, said in seen if said.startswith("Uploading") and value not in (None, "gone")]
    assert len({share for share in shares if 0 < share < 1}) >= 2
    assert shares == sorted(shares)
    assert any(value is None and said == "Being read …" for value, said in seen)


def test_a_file_beyond_the_limit_is_not_sent(page: Page, fake: FakeApi) -> None:
    show(page, "documents")
    page.evaluate(
        """() => {
          const carried = new DataTransfer();
          const file = new File(['x'], 'big.pdf');
          Object.defineProperty(file, 'size', { value: 60 * 2 ** 20 });
          carried.items.add(file);
          const big = { types: ['Files'], files: [file] };
          const event = new Event('drop', { cancelable: true });
          Object.defineProperty(event, 'dataTransfer', { value: big });
          dispatchEvent(event);
        }"""
    )
    expect(page.locator("#uploads .reason")).to_have_text("This is too large.")


# ---- both languages, every width -----------------------------------------------------------------------------


def test_the_language_is_switched_and_remembered(page: Page, fake: FakeApi) -> None:
    ask(page, "Was?")
    page.locator("#language").click()
    expect(page.locator(".origin")).to_have_text("Wörtlich aus den Dokumenten")
    expect(page.locator(".confidence strong")).to_have_text("Sehr sicher")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    for view, title in (("documents", "Dokumente"), ("history", "Verlauf")):
        show(page, view)
        expect(page.locator(f"#view-{view} h1")).to_have_text(title)


def test_the_browsers_back_button_goes_through_the_views(page: Page, fake: FakeApi) -> None:
    for name in ("Documents", "History"):
        page.get_by_role("link", name=name, exact=True).click()
    page.go_back()
    expect(page.locator("#view-documents")).to_be_visible()
    expect(page.locator(".views [aria-current]")).to_have_text("Documents")


@pytest.mark.parametrize("width", [390, 1280])
def test_no_sideways_scrolling(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
