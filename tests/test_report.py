"""The page of an evaluation: complete, self-contained, harmless whatever the documents say, always the same."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from eval.cases import CasesRejected
from eval.measures import LOWER_IS_BETTER, MEASURES, RANKING
from eval.records import Baseline, CalibrationBin, Estimate, LanguagePair, Place, Record, Report, StepTime
from eval.report import FAILURES, SYSTEM, TEXT_SHOWN, decimals, find_failures, percent, render, write_report
from service.abstention import RiskPoint
from tests.browser.chromium import ARGUMENTS, CHROMIUM

HOSTILE = (
    """</h4><script>window.hacked=1</script><img src="https://evil.example/x" onerror='window.hacked=1'> & "so'"""
)
GOLD = Place("fähre.txt", 120, 158, "Die Fähre legt um sechs Uhr morgens ab.")
RIGHT = Place("fähre.txt", 100, 158, "Es ist früh: Die Fähre legt um sechs Uhr morgens ab.")
WRONG = Place("markt.txt", 7, 44, "Der Markt öffnet samstags um acht Uhr.")
SURE = Estimate(0.625, 0.411, 0.807, 6)
NOTHING = Estimate(None, None, None, 6)
VOID = {"p", "br", "meta", "link", "img", "input", "hr"}


def record(name: str, **changed: Any) -> Record:
    """A question that was answered rightly, with changes."""
    usual = Record(
        id=name,
        language="de",
        document_language="de",
        group="fähre",
        question=f"Wann legt die Fähre ab? ({name})",
        gold=(GOLD,),
        answerable=True,
        answered=True,
        confidence=0.9,
        quote=RIGHT,
        right=True,
        rank=1,
        measures=dict.fromkeys(RANKING, 1.0),
        citations=2,
        valid_citations=2,
        timings_ms={"embed": 3.0, "total": 5.0},
    )
    return replace(usual, **changed)


RECORDS = (
    record("good"),
    record("forged", valid_citations=1),
    record("wrong", quote=WRONG, right=False, rank=4, confidence=0.7),
    record("wronger", quote=WRONG, right=False, rank=4, confidence=0.8),
    record("invented", gold=(), answerable=False, right=False, quote=WRONG, rank=None, document_language=""),
    record("sentence", answered=False, quote=WRONG, right=False, confidence=0.2, language="ru"),
    record(
        "lost", answered=False, quote=None, right=False, rank=None, confidence=0.0, citations=0, valid_citations=0
    ),
    record("timid", answered=False, confidence=0.1),
    record("honest", answered=False, answerable=False, gold=(), right=False, quote=None, rank=None, confidence=0.0),
)
EXPECTED = {
    "invalid": ["forged"],
    "wrong": ["wronger", "wrong"],
    "invented": ["invented"],
    "quote": ["sentence"],
    "lost": ["lost"],
    "timid": ["timid"],
}
BASELINES = tuple(
    Baseline(name, f"{name}, described", 17, dict.fromkeys(RANKING, Estimate(value, value - 0.1, value, 6)), 1.5, {})
    for name, value in (("chunks of 500", 0.375), ("BM25", 0.25))
)
REPORT = Report(
    form=2,
    created="2026-01-02T03:04:05+00:00",
    commit="abc1234-dirty",
    versions={"fundstelle": "0.1.0", "faiss-cpu": "1.15.1"},
    seed=77,
    dataset="fähren & märkte",
    documents=1234,
    passages=5678,
    generation=9,
    model="tiny-model 0123456789abcdef",
    engine="numpy-f32",
    settings={"min_confidence": 0.24, "max_statements": 3, "margin": None},
    measures={
        **{name: replace(SURE, value=0.5 + number / 100) for number, name in enumerate(MEASURES)},
        "quote characters": Estimate(181.4, 170.2, 190.6, 6),
    },
    languages=(
        LanguagePair("de", "de", 1.25, dict.fromkeys((*RANKING, "quote hit@1"), SURE)),
        LanguagePair("ru", "de", None, dict.fromkeys((*RANKING, "quote hit@1"), replace(SURE, value=0.5))),
    ),
    timings_ms={"embed": StepTime(3.0, 4.5), "total": StepTime(5.0, 7.25)},
    risk_coverage=(RiskPoint(0.5, 0.8, 0.25), RiskPoint(1.0, 0.0, 0.5)),
    calibration=(CalibrationBin(3, 0.05, 0.3333), CalibrationBin(6, 1.0, 0.8333)),
    baselines=BASELINES,
    records=RECORDS,
)
EMPTY = replace(
    REPORT,
    created="",
    commit="",
    dataset="",
    model="",
    versions={},
    settings={},
    measures={},
    languages=(),
    timings_ms={},
    risk_coverage=(),
    calibration=(),
    baselines=(),
    records=(),
)
EVERY_PLOT = {"systems", "ranks", "risk-coverage", "calibration", "confidence", "timings"}


class Page(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and their words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Mapping[str, str]]] = []
        self.path: list[str] = []
        self.words: list[str] = []
        self.unclosed: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.path.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.path or self.path.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        if not {"style", "svg"} & set(self.path):
            self.words.append(data)

    @property
    def text(self) -> str:
        """Its words, as one line."""
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[Mapping[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def harm(html: str) -> list[str]:
    """Everything in a page that could run or fetch something."""
    page = Page(html)
    tags = {"script", "iframe", "object", "embed", "img", "image", "link", "base", "form", "audio", "video"}
    found = [f"<{tag}>" for tag, _ in page.elements if tag in tags]
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name.startswith("on"):
                found.append(f"{tag} {name}")
            if name in {"src", "srcset", "href", "xlink:href", "action", "data"} and not value.startswith("#"):
                found.append(f"{tag} {name}={value}")
    return found + re.findall(r"@import|url\((?!#)[^)]*", html)


def faults(html: str) -> list[str]:
    """What is malformed or hard to reach: ids, links, headings, tables, drawings."""
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    found = [f"id {name} twice" for name, count in Counter(ids).items() if count > 1]
    for tag, attributes in page.elements:
        named = [attributes[name].removeprefix("#") for name in ("href", "aria-labelledby") if name in attributes]
        found += [f"{tag} names {name}, which is not there" for name in named if name not in ids]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    found += [
        f"h{level} after h{last}" for last, level in zip([0, *levels], levels, strict=False) if level > last + 1
    ]
    found += [f"{tag} is not nested" for tag in page.unclosed + page.path]
    found += ["th without scope" for attributes in page.of("th") if "scope" not in attributes]
    if len(page.of("table")) != len(page.of("caption")):
        found.append("table without caption")
    found += [
        "svg without words"
        for attributes in page.of("svg")
        if attributes.get("role") != "img" or not attributes.get("aria-label")
    ]
    return found


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawings, which take most of the time, where a test is about words."""
    monkeypatch.setattr("eval.report._plots", lambda report: iter(()))


def plots(html: str) -> set[str]:
    return {
        attributes["id"].removeprefix("plot-")
        for attributes in Page(html).of("figure")
        if attributes["id"].startswith("plot-")
    }


@pytest.fixture(scope="module")
def html() -> str:
    return render(REPORT)


# ---- what must never happen ----------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_and_runs_nothing(html: str) -> None:
    assert harm(html) == []
    (policy,) = (each["content"] for each in Page(html).of("meta") if "http-equiv" in each)
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize(
    "added",
    [
        "<script>1</script>",
        "<img src=x>",
        "<p onclick=x>",
        "<a href='https://example.org'>x</a>",
        "<a href='javascript:x'>x</a>",
        "<use xlink:href='other.svg#x'/>",
        "<style>p { background: url(x.png) }</style>",
        "<style>@import 'x'</style>",
        "<link rel=stylesheet href=#x>",
    ],
)
def test_harm_would_be_noticed(html: str, added: str) -> None:
    assert harm(html.replace("</body>", f"{added}</body>"))


def hostile() -> Report:
    """A report in which every word that comes from outside tries to break out."""
    place = Place(HOSTILE, 0, 5, HOSTILE)
    return replace(
        REPORT,
        created=HOSTILE,
        commit=HOSTILE,
        dataset=HOSTILE,
        model=HOSTILE,
        engine=HOSTILE,
        versions={HOSTILE: HOSTILE},
        settings={HOSTILE: HOSTILE},
        languages=tuple(replace(each, question_language=HOSTILE) for each in REPORT.languages),
        timings_ms={HOSTILE: StepTime(1, 2)},
        baselines=tuple(replace(each, name=HOSTILE, description=HOSTILE) for each in BASELINES),
        records=tuple(
            replace(
                each, id=HOSTILE + each.id, language=HOSTILE, document_language=HOSTILE, question=HOSTILE,
                gold=(place,) if each.gold else (), quote=place if each.quote else None,
            )
            for each in RECORDS
        ),
    )  # fmt: skip


def test_words_of_documents_stay_words() -> None:
    page = render(hostile(), hostile())
    assert harm(page) == []
    assert faults(page) == []
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 20
    quotes = [each for each in Page(page).of("h4") if each["lang"] == HOSTILE]
    assert len(quotes) == 7, "an attribute holds all of it, quotation marks too"


def test_two_renders_are_equal(html: str) -> None:
    assert render(REPORT) == html
    assert render(replace(REPORT, generation=10)) != html


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_what_is_missing_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(CasesRejected) as error:
        render(REPORT)
    assert error.value.code == "extra_missing"
    assert missing in str(error.value)


# ---- what is there -------------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_accessible(html: str) -> None:
    assert faults(html) == []
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.of("html") == [{"lang": "en"}]
    assert len(page.of("h1")) == 1
    assert len(page.of("svg")) == len(EVERY_PLOT)


@pytest.mark.parametrize(
    "added",
    [
        "<p id=run>",
        "<a href=#nowhere>x</a>",
        "<h5>x</h5><h1>x</h1><h3>x</h3>",
        "<div>",
        "<table><tr><th scope=row>x</th></tr></table>",
        "<table><caption>x</caption><tr><th>x</th></tr></table>",
        "<svg role=img></svg>",
    ],
)
def test_a_fault_would_be_noticed(html: str, added: str) -> None:
    assert faults(html.replace("</body>", f"{added}</body>"))


@pytest.mark.usefixtures("undrawn")
def test_every_measure_is_shown_with_interval_and_explanation(html: str) -> None:
    text = Page(html).text
    for name, figure in REPORT.measures.items():
        shown = re.search(rf"{re.escape(name)} ([A-Z][^.]+\.).*? {decimals(figure.value, name)} ", text)
        assert shown, name
        low, high = decimals(figure.low, name), decimals(figure.high, name)
        assert f"{decimals(figure.value, name)} {low} to {high}" in text
    assert "0.777" not in text
    further = replace(REPORT, measures={**REPORT.measures, "a new one": replace(SURE, value=0.777)})
    assert "a new one 0.777 0.411 to 0.807" in Page(render(further)).text, "a measure without explanation, too"


def test_baselines_are_columns_and_dots(html: str) -> None:
    text = Page(html).text
    assert f"Measure {SYSTEM} chunks of 500 BM25 hit@1" in text
    assert "0.375 0.275 to 0.375 0.250 0.150 to 0.250" in text
    assert "chunks of 500, described" in text
    drawn = next(each["aria-label"] for each in Page(html).of("svg") if "BM25" in each["aria-label"])
    assert f"{SYSTEM}: hit@1 0.500" in drawn
    assert "BM25: hit@1 0.250" in drawn
    alone = render(replace(REPORT, baselines=()))
    assert "BM25" not in alone
    assert plots(alone) == EVERY_PLOT - {"systems"}


@pytest.mark.usefixtures("undrawn")
def test_the_run_can_be_repeated_from_the_page(html: str) -> None:
    text = Page(html).text
    for stated in (
        "fähren & märkte", "2026-01-02T03:04:05+00:00", "abc1234-dirty", "tiny-model 0123456789abcdef", "numpy-f32",
        "1,234 in 5,678 passages", "Generation of the index 9", "min_confidence 0.24", "max_statements 3", "margin –",
        "fundstelle 0.1.0", "faiss-cpu 1.15.1", "seed 77", "form 2", "1,000 resamples",
    ):  # fmt: skip
        assert stated in text, stated
    assert "cannot be repeated exactly" in text
    assert "cannot be repeated exactly" not in render(replace(REPORT, commit="abc1234"))


def test_drawings_say_what_they_show(html: str) -> None:
    assert plots(html) == EVERY_PLOT
    said = " ".join(each["aria-label"] for each in Page(html).of("svg"))
    assert "Of 7 questions with an answer, the first relevant passage stands first for 4" in said
    assert "second to fifth for 2" in said
    assert "not among the first 10 for 1" in said
    assert "at confidence 100 % 83.3 % of 6 are right" in said
    assert "Now (confidence 0.24)" in said
    assert "wrong evidence: 4 questions" in said
    assert "no answer there: 2 questions, median confidence 0.45, 1 answered" in said
    assert "total: median 5 ms, 95 % within 7.25 ms" in said


def test_drawings_take_their_colours_from_the_page(html: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert re.findall(r"#[0-9a-fA-F]{6}\b", drawn) == []
    assert {f"var(--{role})" for role in ("ink", "soft", "line", "accent", "warn")} <= set(
        re.findall(r"var\(--[\w-]+\)", drawn)
    )
    assert {match[0] for match in re.finditer(r"(?<=var\()--[\w-]+", html)} <= {
        *re.findall(r"--[\w-]+(?=:)", html)
    }, "no colour without a meaning"


@pytest.mark.usefixtures("undrawn")
def test_languages_are_a_table_if_there_are_several(html: str) -> None:
    page = Page(html)
    assert "ru de 6 0.500 0.411 to 0.807" in page.text
    assert any("heat-" in each.get("class", "") for each in page.of("td"))
    one = render(replace(REPORT, languages=REPORT.languages[:1]))
    assert "Measures by languages" not in one
    assert "#languages" not in one


@pytest.mark.usefixtures("undrawn")
def test_changes_are_shown_and_judged() -> None:
    before = {name: replace(SURE, value=0.9) for name in MEASURES}
    page = Page(render(REPORT, replace(REPORT, commit="older", measures=before))).text
    assert "commit older" in page
    for name in ("hit@1", "risk", "coverage"):
        difference = (REPORT.measures[name].value or 0) - 0.9
        judged = "better" if name in LOWER_IS_BETTER else "" if name == "coverage" else "worse"
        assert f"0.807 −{-difference:.3f} {judged}".strip() in page, name
    assert "asked other questions" not in page
    assert "asked other questions" in render(REPORT, replace(REPORT, records=RECORDS[:2]))
    same = Page(render(REPORT, REPORT)).text
    assert "better " not in same.split("Plots")[0].split("commit abc1234")[-1].replace("less is better", "")
    unknown = Page(render(REPORT, replace(REPORT, measures={})))
    assert "0.411 to 0.807 –" in unknown.text


# ---- failures ------------------------------------------------------------------------------------------------


def test_failures_are_classed_and_the_worst_come_first() -> None:
    found = {each.kind.key: [record.id for record in each.shown] for each in find_failures(RECORDS)}
    assert found == EXPECTED
    assert find_failures(RECORDS[::-1]) == find_failures(RECORDS), "whatever the order of the records"
    assert [each.count for each in find_failures((record("good"),))] == [0] * len(FAILURES)


def test_equal_failures_are_sorted_by_name_and_cut() -> None:
    many = [record(f"{number:02}", answered=False, confidence=0.1) for number in range(20)]
    (timid,) = (each for each in find_failures(many[::-1], shown=3) if each.count)
    assert timid.count == 20
    assert [each.id for each in timid.shown] == ["00", "01", "02"]


@pytest.mark.usefixtures("undrawn")
def test_a_failure_is_shown_once_and_counts_in_every_class() -> None:
    both = record("both", quote=WRONG, right=False, valid_citations=0)
    found = {each.kind.key: each for each in find_failures((both,))}
    assert {key for key, each in found.items() if each.count} == {"invalid", "wrong", "quote"}
    assert {key for key, each in found.items() if each.shown} == {"invalid"}
    html = render(replace(REPORT, records=(both,)))
    assert html.count("Wann legt die Fähre ab? (both)") == 1
    assert faults(html) == []


def test_a_failure_can_be_read(html: str) -> None:
    shown = {words for each in EXPECTED.values() for words in each}
    headings = re.findall(r"<h4 [^>]*>.*\((\w+)\)</h4>", html)
    assert headings == [name for each in EXPECTED.values() for name in each]
    assert {"good", "honest"} & shown == set()
    text = Page(html).text
    article = text[text.index("(wronger)") : text.index("(wrong)")]
    for part in (
        "answered, confidence 0.80", "rank 4", "not the gold", "wronger",
        f"{GOLD.text} {GOLD.source} , 120–158", f"{WRONG.text} {WRONG.source} , 7–44",
    ):  # fmt: skip
        assert part in article, part
    assert "Best evidence, not shown to the user" in text[text.index("(timid)") :]
    assert "not among the first 10" in text[text.index("(lost)") : text.index("(timid)")]
    assert "1 of 2 citations invalid" in text


def test_words_carry_their_language_and_direction(html: str) -> None:
    page = Page(html)
    assert all(each["dir"] == "auto" for each in page.of("h4"))
    assert [each["lang"] for each in page.of("h4")].count("ru") == 1
    words = [each["lang"] for each in page.of("p") if each.get("class") == "words"]
    assert set(words) == {"de", ""}, "of a document other than the gold's nothing is known"


@pytest.mark.usefixtures("undrawn")
def test_invalid_citations_are_an_alarm(html: str) -> None:
    alarm = "1 of 16 citations are not what their document says."
    assert alarm in html
    assert "This must never happen; " not in render(replace(REPORT, records=RECORDS[2:]))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("gold", "quote", "same"),
    [("acht", WRONG.text, True), ("ACHT UHR", WRONG.text, True), ("ach", WRONG.text, False), ("", WRONG.text, False)],
)
def test_a_quote_with_the_words_of_the_gold_is_noted(gold: str, quote: str, same: bool) -> None:
    case = record("x", gold=(replace(GOLD, text=gold),), quote=replace(WRONG, text=quote), right=False)
    assert ("holds the words of the gold" in render(replace(REPORT, records=(case,)))) is same
    right = replace(case, right=True, answered=False)
    assert "holds the words of the gold" not in render(replace(REPORT, records=(right,)))


@pytest.mark.usefixtures("undrawn")
def test_much_gold_is_cut_and_gold_never_indexed_is_named() -> None:
    long = replace(GOLD, text="Wellen " * 1000)
    gold = (long, replace(GOLD, source="weg.txt", text=""), GOLD, GOLD)
    html = render(replace(REPORT, records=(record("x", gold=gold, answered=False),)))
    assert html.count("Wellen") == TEXT_SHOWN // len("Wellen ")
    assert "(6,300 more characters)" in html
    assert "Its document was not in the index." in html
    assert "and 2 more" in html
    assert GOLD.text not in html.replace(RIGHT.text, "")


# ---- empty parts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"records": (), "baselines": ()}, {"ranks", "confidence", "systems"}),
        ({"records": [each for each in RECORDS if each.answerable], "settings": {}, "languages": ()}, set()),
        (
            {
                "records": [each for each in RECORDS if not each.answerable],
                "measures": dict.fromkeys(MEASURES, NOTHING),
                "baselines": [replace(each, measures={}) for each in BASELINES],
            },
            {"ranks", "systems"},
        ),
        (
            {
                "records": RECORDS[:1],
                "risk_coverage": (RiskPoint(1, 0, 0),),
                "baselines": [replace(each, measures=dict.fromkeys(RANKING, NOTHING)) for each in BASELINES],
            },
            set(),
        ),
        (
            {
                "records": [replace(each, timings_ms={}, quote=None) for each in RECORDS],
                "timings_ms": {},
                "calibration": (),
            },
            {"timings", "calibration"},
        ),
        ({"measures": {}, "risk_coverage": ()}, {"systems", "risk-coverage"}),
        (
            {
                "measures": {"hit@1": Estimate(0.5, None, None, 1)},
                "baselines": BASELINES * 4,
                "languages": [replace(each, measures={}, mean_rank=None) for each in REPORT.languages],
            },
            set(),
        ),
        (
            {
                "settings": {"min_confidence": "none"},
                "timings_ms": {"total": StepTime(0, 0)},
                "risk_coverage": (RiskPoint(1, 1, 1),),
            },
            set(),
        ),
    ],
)
def test_empty_parts_are_left_out(changed: dict[str, Any], missing: set[str]) -> None:
    html = render(replace(REPORT, **changed))
    assert faults(html) == []
    assert plots(html) == EVERY_PLOT - missing
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r"None were", "", Page(html).text))


def test_a_report_of_nothing_is_a_page() -> None:
    html = render(EMPTY)
    assert faults(html) == []
    assert harm(html) == []
    assert plots(html) == set()
    text = Page(html).text
    for stated in ("Nothing was measured.", "There is nothing to draw.", "None were written down."):
        assert stated in text


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (0.0, "0 %"), (1.0, "100 %"), (0.99999, "99.9 %"), (0.0001, "0.1 %"), (0.8125, "81.2 %")],
)
def test_a_share_is_all_or_nothing_only_if_it_is(value: float | None, written: str) -> None:
    assert percent(value) == written


# ---- in a browser --------------------------------------------------------------------------------------------


def complaints(chromium: Browser, file: Path) -> list[str]:
    """What goes wrong with a page: what the browser says, and parts that are wider than it."""
    said: list[str] = []
    for width in (1200, 390):
        page = chromium.new_page(viewport={"width": width, "height": 800})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        for dark in (False, True):
            page.emulate_media(color_scheme="dark" if dark else "light")
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                said.append(f"sideways at {width}")
            ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            if (sum(map(int, re.findall(r"\d+", ground))) < 3 * 128) is not dark:
                said.append(f"{ground} where dark is {dark}")
        if page.evaluate("window.hacked"):
            said.append("hacked")
        page.close()
    return said


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    broken = "<div style='width:3000px'>x</div><img src='https://example.org/x.png'>"
    long = replace(RECORDS[2], question="Donaudampfschiff" * 40, id="x" * 300, quote=replace(WRONG, source="y" * 300))
    write_report(replace(REPORT, records=(*RECORDS, long)), tmp_path / "page.html")
    write_report(hostile(), tmp_path / "hostile.html")
    write_report(EMPTY, tmp_path / "empty.html")
    (tmp_path / "broken.html").write_text(render(EMPTY).replace("</body>", f"{broken}</body>"), "utf-8")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        found = {
            name: complaints(chromium, tmp_path / f"{name}.html") for name in ("page", "hostile", "empty", "broken")
        }
        chromium.close()
    assert any("Security" in each for each in found["broken"]), "null control: the policy holds"
    assert {"sideways at 1200", "sideways at 390"} <= set(found.pop("broken")), "null control"
    assert found == {"page": [], "hostile": [], "empty": []}
