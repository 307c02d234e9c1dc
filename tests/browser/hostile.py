"""Every payload in every place of the page that shows somebody else's words: nothing runs, nothing is fetched.

    python -m tests.browser.hostile --trials 1500 --save

In a headless Chromium, on the page as it is served, batch by batch: the answers of ``/v1`` are made up so that each
payload stands in each field (:data:`PLACES`); file names, questions, filters and the kept history have it, too. After
each step the page is walked: an element, attribute or address that the page's own code does not make is counted, and
so is a place where the payload does not stand as the plain text it is.

The null control takes away what is tested: texts are inserted as HTML. Without the policy, scripts then run and
requests leave; with it, they still must not.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, Request, Route

from index import Library
from service.app import build_app
from service.routes import AppState
from tests.browser import fake_api
from tests.browser.chromium import Watch, chromium, serving, watch
from tests.browser.fake_api import Body, FakeApi
from tests.browser.payloads import make_payloads
from tests.tiny import TinyEncoder

ROOT = Path(__file__).parent.parent.parent
RESULT = ROOT / "docs" / "results" / "browser.json"
BATCH = 20
CONTROLS = ("html", "html-without-policy")

PLACES = {
    "question": ".turn > h2",
    "searched": ".searched q",
    "follow-up button": ".searched .short",
    "quote": ".place blockquote p",
    "title": ".place cite",
    "facts": ".place .facts bdi",
    "passage": ".passage mark",
    "written sentence": ".written",
    "model": ".model",
    "problem of the writer": ".note",
    "error": ".problem p",
    "document": "#document-list .open",
    "document's facts": "#document-list .facts bdi",
    "upload's name": "#uploads bdi",
    "upload's reason": "#uploads .reason",
    "earlier question": "#history-list .open",
    "source": "#source-text",
    "source's title": "#source-title",
    "source's facts": "#source-facts bdi",
    "removal": "#confirm-title",
}
"""What shows a payload, by selector. Placed besides: ids, languages, formats, sources, labels, keys, hashes."""

LOOK = """
places => {
  const known = new Set(['HTML', 'HEAD', 'META', 'TITLE', 'LINK', 'SCRIPT', 'BODY', 'HEADER', 'NAV', 'MAIN', 'ASIDE',
    'SECTION', 'ARTICLE', 'DIV', 'SPAN', 'P', 'H1', 'H2', 'H3', 'A', 'IMG', 'BUTTON', 'FORM', 'LABEL', 'INPUT',
    'TEXTAREA', 'SELECT', 'OPTION', 'OPTGROUP', 'UL', 'OL', 'LI', 'DIALOG', 'FIGURE', 'FIGCAPTION', 'BLOCKQUOTE',
    'CITE', 'BDI', 'Q', 'I', 'STRONG', 'MARK', 'DETAILS', 'SUMMARY', 'PROGRESS', 'NOSCRIPT']);
  const once = { SCRIPT: 1, IMG: 1, FORM: 4, DIALOG: 2, A: 6, TITLE: 1 };
  const harmful =
    /^(on|style$|srcdoc|formaction|action|background|ping|poster|srcset|xlink|is$|shadowroot|popover|name$)/;
  const own = ['#ask', '#documents', '#history'];
  const count = {};
  const strangers = [];
  for (const each of document.querySelectorAll('*')) {
    count[each.tagName] = (count[each.tagName] ?? 0) + 1;
    if (!known.has(each.tagName) || each.shadowRoot) strangers.push(each.outerHTML.slice(0, 200));
    for (const { name, value } of each.attributes) {
      const fixed = (name === 'name' && each.closest('head, #composer'));
      if (harmful.test(name) && !fixed) strangers.push(`${each.tagName} ${name}=${value.slice(0, 100)}`);
      const elsewhere = name === 'href' || name === 'src' || name === 'data';
      if (!elsewhere || own.includes(value)) continue;
      const address = new URL(value, location.origin);
      const right = each.tagName === 'A'
        ? /^\\/v1\\/documents\\/[^/?#]*\\/original$/.test(value)
        : value.startsWith('/static/');
      if (!right || address.origin !== location.origin) strangers.push(`${each.tagName} ${name}=${value}`);
    }
  }
  for (const [tag, most] of Object.entries(once)) if (count[tag] > most) strangers.push(`${count[tag]} ${tag}`);
  const texts = {};
  for (const [place, selector] of Object.entries(places)) {
    const found = [...document.querySelectorAll(selector)].map((each) => each.textContent);
    if (found.length) texts[place] = found;
  }
  return { strangers, texts };
}
"""
"""Elements, attributes and addresses that the page's code does not make; and what stands at each place."""

OPEN_EACH = """
async ({ opener, close }) => {
  const seen = [];
  const settled = () => document.querySelector('#source-text').getAttribute('aria-busy') === 'false';
  for (const each of document.querySelectorAll(opener)) {
    if (!each.isConnected || !each.offsetParent) continue;
    each.click();
    for (let i = 0; i < 400 && !settled(); i += 1) await new Promise((done) => setTimeout(done, 5));
    seen.push(['#source-text', '#source-title', '#source-facts'].map((id) => document.querySelector(id).textContent));
    document.querySelector('#source-close').click();
  }
  return seen;
}
"""

REMOVE_EACH = """
async () => {
  const seen = [];
  for (const each of document.querySelectorAll('#document-list .quiet, #history-list .quiet')) {
    if (!each.offsetParent) continue;
    each.click();
    seen.push(document.querySelector('#confirm-title').textContent);
    document.querySelector('#confirm [value=no]').click();
    await new Promise((done) => setTimeout(done));
  }
  return seen;
}
"""


@dataclass
class Seen:
    """What a run adds up."""

    strangers: list[str] = field(default_factory=list)
    shown: Counter[str] = field(default_factory=Counter)
    """How many payloads stood as plain text at each place."""


def as_shown(text: str) -> str:
    """Return a text without white space: where lines and paragraphs end is for the page to choose."""
    return re.sub(r"\s+", "", text)


# ---- bodies in which every field is the payload ----------------------------------------------------------------


def hostile_document(payload: str, number: int) -> Body:
    return fake_api.document(
        number, id=payload, source=payload, title=payload, language=payload, format=payload,
        metadata={"author": payload, "date": payload, payload: payload}, status=payload,
    )  # fmt: skip


def hostile_citation(payload: str, number: int) -> Body:
    return fake_api.citation(
        number, document_id=payload, source=f"{payload} ", title=payload, language=payload, quote=payload, start=0,
        end=len(payload), passage={"start": 0, "end": len(payload), "text": payload},
        location={"page": None, "last_page": None, "section": payload, "paragraph": None},
        metadata={"author": payload, "date": payload},
    )  # fmt: skip


def hostile_turns(payload: str) -> list[Body]:
    """Return three turns as the history keeps them: written, extractive after a failure, refused."""
    told: Body = {"searched": f"{payload} {payload}", "citations": [hostile_citation(payload, 1)]}
    sentences = [{"text": payload, "citations": [1, 2]}]
    writer: Body = {"sentences": sentences, "model": payload, "withheld": 2, "problem": None}
    failed: Body = {"sentences": [], "model": payload, "withheld": 0, "problem": payload}
    passage = {key: value for key, value in hostile_citation(payload, 1).items() if key != "quote"}
    answers = [
        fake_api.answer(payload, **told, answer_kind="written", written=writer),
        fake_api.answer(payload, **told, written=failed),
        fake_api.refusal(payload) | {"closest": [passage | {"text": payload}], "searched": f"{payload} {payload}"},
    ]
    return [{"question": payload, "previous": payload, "answer": each, "at": 1.7e12} for each in answers]


# ---- one batch -------------------------------------------------------------------------------------------------


def run_batch(page: Page, api: FakeApi, payloads: Sequence[str], address: str, seen: Seen) -> None:
    """Put each payload into each place, and look after each step."""
    api.documents = [hostile_document(payload, number) for number, payload in enumerate(payloads, 1)]
    history = [{"id": "kept", "turns": [turn for payload in payloads for turn in hostile_turns(payload)]}]
    history += [{"id": payload, "turns": hostile_turns(payload)[:1]} for payload in payloads]
    page.goto(f"{address}/#ask")
    page.evaluate(
        "kept => { localStorage.setItem('fundstelle.history', kept);"
        " sessionStorage.setItem('fundstelle.conversation', 'kept'); }",
        json.dumps(history),
    )
    page.reload()
    page.locator(".turn").nth(len(payloads) * 3 - 1).wait_for(state="attached")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    look(page, payloads, seen)
    opened = page.evaluate(OPEN_EACH, {"opener": ".turn:nth-child(3n) .place > .chip"})
    count_opened(opened, payloads, seen)
    page.locator("#language").evaluate("each => each.click()")
    look(page, payloads, Seen(strangers=seen.strangers))
    ask_each(page, api, payloads, seen)
    page.evaluate("location.hash = '#history'")
    look(page, payloads, seen)
    removed = page.evaluate(REMOVE_EACH)
    page.evaluate("location.hash = '#documents'")
    upload_each(page, api, payloads)
    look(page, payloads, seen)
    count_opened(page.evaluate(OPEN_EACH, {"opener": "#document-list .open"}), payloads, seen)
    removed += page.evaluate(REMOVE_EACH)
    seen.shown["removal"] += sum(any(as_shown(payload) in as_shown(text) for text in removed) for payload in payloads)
    for payload in payloads:
        page.evaluate(
            "text => { const field = document.querySelector('#filter-words'); field.value = text;"
            " document.querySelector('#filters').requestSubmit(); }",
            payload,
        )
    look(page, payloads, Seen(strangers=seen.strangers))


def look(page: Page, payloads: Sequence[str], seen: Seen) -> None:
    """Walk the page; count strangers, and the payloads that stand at each place."""
    found = page.evaluate(LOOK, PLACES)
    seen.strangers += found["strangers"]
    for place, texts in found["texts"].items():
        together = as_shown("".join(texts))
        here = sum(as_shown(payload) in together for payload in payloads)
        if here:
            seen.shown[place] += here


def count_opened(opened: list[list[str]], payloads: Sequence[str], seen: Seen) -> None:
    for at, place in enumerate(("source", "source's title", "source's facts")):
        together = as_shown("".join(texts[at] for texts in opened))
        seen.shown[place] += sum(as_shown(payload) in together for payload in payloads)


def ask_each(page: Page, api: FakeApi, payloads: Sequence[str], seen: Seen) -> None:
    """Type each payload as a question; the answer is an error that repeats it."""
    page.locator("#new-conversation").evaluate("each => each.click()")
    for payload in payloads:
        api.ask = lambda asked, payload=payload: (422, fake_api.error(payload, payload, payload))  # type: ignore[misc]
        page.evaluate(
            "text => { document.querySelector('#question').value = text;"
            " document.querySelector('#composer').requestSubmit(); }",
            payload,
        )
        page.locator("[aria-busy=false] .problem").last.wait_for(state="attached")
    look(page, payloads, seen)


def upload_each(page: Page, api: FakeApi, payloads: Sequence[str]) -> None:
    """Upload a file for each payload, twice: once taken in, once refused with the payload as reason."""
    names = [f"{payload}.txt" for payload in payloads]
    waiting = [*payloads, *payloads]

    def uploaded(_: Request) -> tuple[int, Body]:
        payload = waiting.pop(0)
        if len(waiting) >= len(payloads):
            return 201, {"documents": [hostile_document(payload, 1)], "rejected": []}
        return 422, fake_api.error(payload, payload, payload)

    api.upload = uploaded
    for _ in range(2):
        before = page.locator("#uploads li").count()
        files: list[FilePayload] = [{"name": name, "mimeType": "text/plain", "buffer": b"x"} for name in names]
        page.locator("#files").set_input_files(files)
        page.locator("#uploads li:is(.done, .failed)").nth(before + len(files) - 1).wait_for(state="attached")


# ---- a run -----------------------------------------------------------------------------------------------------


def weaken(context: BrowserContext, control: str) -> None:
    """Serve a page that inserts texts as HTML; and, if asked for, without its policy."""

    def as_html(route: Route) -> None:
        answered = route.fetch()
        source = answered.text()
        weak = source.replace(
            "made.append(...children.filter((child) => child !== null));",
            "for (const child of children)"
            " if (typeof child === 'string') made.insertAdjacentHTML('beforeend', child);"
            " else if (child !== null) made.append(child);",
        )
        if weak == source:
            raise AssertionError("dom.js is not written as the null control expects")
        route.fulfill(response=answered, body=weak)

    def without_policy(route: Route) -> None:
        answered = route.fetch()
        kept = {name: value for name, value in answered.headers.items() if name != "content-security-policy"}
        route.fulfill(response=answered, headers=kept)

    context.route("**/static/dom.js", as_html)
    if control == "html-without-policy":
        context.route("**/", without_policy)


def run(browser: Browser, address: str, payloads: Sequence[str], control: str | None = None) -> dict[str, Any]:
    """Show every payload in every place; return the figures.

    Args:
        browser: a Chromium.
        address: of a running service.
        payloads: texts.
        control: one of :data:`CONTROLS`, or ``None``.
    """
    context = browser.new_context(locale="en-GB", reduced_motion="reduce")
    watched = watch(context, address)
    watched.refusals = True
    context.route(lambda url: not url.startswith(address), lambda route: route.abort())
    api, seen = FakeApi(text=lambda payload: payload), Seen()
    api.serve(context)
    if control:
        weaken(context, control)
    context.set_default_timeout(30_000 if control else 60_000)
    page = context.new_page()
    broken = 0
    for batch in batches(payloads):
        # The null control's page breaks down under what it inserts; that is counted, not feared.
        try:
            run_batch(page, api, batch, address, seen)
        except Exception:
            if not control:
                raise
            broken += 1
            page.close()
            page = context.new_page()
    context.close()
    return figures(payloads, watched, seen, broken)


def figures(payloads: Sequence[str], watched: Watch, seen: Seen, broken: int) -> dict[str, Any]:
    """Add up; a payload that does not stand where it should is a violation, too."""
    missing = {place: len(payloads) - seen.shown[place] for place in PLACES if seen.shown[place] < len(payloads)}
    counts = {
        "scripts_run": len(watched.ran),
        "foreign_requests": len(watched.foreign),
        "dialogs": len(watched.dialogs),
        "console_errors": len(watched.said),
        "strange_elements": len(seen.strangers),
    }
    return {
        "id": "A04",
        "trials": len(payloads),
        "places": len(PLACES),
        **counts,
        "not_shown": missing,
        "violations": sum(counts.values()) + sum(missing.values()),
        "broken_batches": broken,
        "examples": [str(each)[:300] for each in (*watched.ran, *watched.foreign, *watched.said, *seen.strangers)][
            :20
        ],
    }


def batches(payloads: Sequence[str]) -> Iterator[list[str]]:
    """Yield the payloads in batches."""
    rest = iter(payloads)
    while batch := list(islice(rest, BATCH)):
        yield batch


def main() -> None:
    """Run as a program: print the figures, save them if asked to, exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Show hostile text in every place of the page.")
    parser.add_argument("--trials", type=int, default=1500, help="how many payloads [default: 1500]")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="replays a run")
    parser.add_argument("--save", action="store_true", help="write the figures to docs/results/browser.json")
    parser.add_argument("--break", dest="control", choices=CONTROLS, help="null control: break the guarantee")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Library(Path(folder) / "data", TinyEncoder(), writable=True) as library,
        serving(build_app(AppState(library))) as address,
        chromium() as browser,
    ):
        result = run(browser, address, make_payloads(arguments.trials, arguments.seed), arguments.control)
        versions = {
            "chromium": browser.version,
            "playwright": version("playwright"),
            "python": platform.python_version(),
        }
    result |= {"seed": arguments.seed, "seconds": round(time.monotonic() - began, 1)}
    if arguments.control:
        result["null_control"] = arguments.control
    if arguments.save:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
        saved = {**result, "commit": commit.stdout.strip(), "versions": versions}
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(json.dumps(saved, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1), flush=True)
    sys.exit(1 if result["violations"] else 0)


if __name__ == "__main__":
    main()
