"""One run as a page to read: can it be trusted, and where does it fail?

The page is one file that asks for nothing else. matplotlib draws the plots as SVG with colours that only stand for a
role; the page's style says what each role looks like in light and in dark.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from eval.cases import CasesRejected
from eval.measures import DEPTH, LOWER_IS_BETTER, NEITHER_IS_BETTER, RANKING, RESAMPLES
from eval.records import Baseline, Estimate, LanguagePair, Place, Record, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html")
SYSTEM = "Fundstelle"
FAILURES_SHOWN = 8
GOLD_SHOWN = 2
TEXT_SHOWN = 700
"""Characters of one text; where whole documents are gold, nobody wants to read all of them."""

QUOTES = ("quote hit@1", "quote characters", "citation validity")
DECISION = (
    "answered right",
    "coverage",
    "risk",
    "refusal precision",
    "refusal recall",
    "refusal AUROC",
    "calibration error",
)
EXPLANATIONS = {
    "hit@1": "How often the first passage holds the answer.",
    "hit@5": "How often one of the first five passages holds the answer.",
    "recall@10": "How much of what is relevant is among the first ten passages.",
    "nDCG@10": "How near the top of the first ten the relevant passages stand; 1 is the best order.",
    "MRR@10": "Mean of 1 / rank of the first relevant passage, 0 if it is not among the first ten.",
    "quote hit@1": "How often the best evidence is a place that answers, also where it was then refused.",
    "quote characters": "Mean length of that quote; a long quote hits easily.",
    "citation validity": "How many citations say exactly what the document says at their place. Must be 1.",
    "answered right": "Of the questions that have an answer, how many got it, with the right quote.",
    "coverage": "How many of all questions were answered rather than refused.",
    "risk": "How many of the answers given were wrong.",
    "refusal precision": "How many of the refusals were of questions that the documents do not answer.",
    "refusal recall": "How many of the questions that the documents do not answer were refused.",
    "refusal AUROC": "How well confidence tells questions with an answer from those without; 0.5 is chance.",
    "calibration error": "How far the stated confidence is from the share that is right, on average.",
}
DOT_PLOT = ("hit@1", "hit@5", "MRR@10", "nDCG@10")
LANGUAGE_MEASURES = ("hit@1", "hit@5", "MRR@10", "quote hit@1")
HEAT_STEPS = 5
HEAT_SPAN = 0.20
"""Difference between pairs of languages that deserves the strongest colour; smaller ones may be chance."""

ROLES = ("ink", "soft", "line", "accent", "warn", "sheet", "other-1", "other-2", "other-3")
COLOURS = {role: f"#0000{number:02x}" for number, role in enumerate(ROLES, start=1)}
"""What matplotlib is told to draw a role with; nothing else on a plot has these colours."""
INK, SOFT, LINE, ACCENT, WARN, SHEET, *OTHERS = COLOURS.values()
STYLE: Mapping[Any, object] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.titlecolor": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
}
WIDTH = 3.5
"""Inches of a plot: about what a phone shows, so that its words stay readable there."""
NAME_SHOWN = 18
"""Characters of a name on a plot."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing, and what it says in words for those who cannot see it."""

    name: str
    title: str
    note: str
    """How to read it."""
    svg: str


@dataclass(frozen=True, slots=True)
class FailureClass:
    """A way to fail; ``badness`` sorts the worst first."""

    key: str
    title: str
    meaning: str
    fits: Callable[[Record], bool]
    badness: Callable[[Record], float]


FAILURES = (
    FailureClass(
        "invalid",
        "Invalid citations",
        "A citation does not say what its document says at that place. This must never happen.",
        lambda record: record.valid_citations < record.citations,
        lambda record: record.citations - record.valid_citations,
    ),
    FailureClass(
        "wrong",
        "Confidently wrong",
        "Answered, but the quote is not what answers. Highest confidence first.",
        lambda record: record.answerable and record.answered and not record.right,
        lambda record: record.confidence,
    ),
    FailureClass(
        "invented",
        "Answered though nothing is there",
        "The documents do not answer, and it should have said so. Highest confidence first.",
        lambda record: not record.answerable and record.answered,
        lambda record: record.confidence,
    ),
    FailureClass(
        "quote",
        "Right passage, wrong quote",
        "The first passage holds the answer, but another sentence was quoted. Highest confidence first.",
        lambda record: record.answerable and record.rank == 1 and not record.right,
        lambda record: record.confidence,
    ),
    FailureClass(
        "lost",
        f"Gold not in the first {DEPTH}",
        f"No relevant passage among the first {DEPTH}. Highest confidence first.",
        lambda record: record.answerable and (record.rank is None or record.rank > DEPTH),
        lambda record: record.confidence,
    ),
    FailureClass(
        "timid",
        "Refused although right",
        "The evidence was right, but it was not trusted. Lowest confidence first.",
        lambda record: record.answerable and not record.answered and record.right,
        lambda record: -record.confidence,
    ),
)


@dataclass(frozen=True, slots=True)
class Failures:
    """The records of one class; those already shown in an earlier class are counted, but not shown again."""

    kind: FailureClass
    count: int
    shown: tuple[Record, ...]


def write_report(report: Report, file: Path, previous: Report | None = None) -> None:
    """Write the page of :func:`render` to ``file``."""
    file.write_text(render(report, previous), "utf-8")


def render(report: Report, previous: Report | None = None) -> str:
    """Return one self-contained HTML page about a run.

    Args:
        report: the run; any part of it may be empty.
        previous: an earlier run, to show how much each measure changed.

    Raises:
        CasesRejected: if the packages of the extra 'eval' are not installed.
    """
    try:
        import jinja2
        import matplotlib.figure  # noqa: F401 - before anything is drawn
    except ImportError as error:
        raise CasesRejected(
            "extra_missing", "The page of a report needs the packages jinja2 and matplotlib."
        ) from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        decimals=decimals, percent=percent, interval=interval, excerpt=excerpt, thousands=lambda number: f"{number:,}"
    )
    environment.tests["share"] = _is_share
    answerable = [record for record in report.records if record.answerable]
    return (
        environment.from_string(TEMPLATE.read_text("utf-8"))
        .render(
            report=report,
            previous=previous,
            system=SYSTEM,
            depth=DEPTH,
            gold_shown=GOLD_SHOWN,
            resamples=RESAMPLES,
            drawn_groups=len({record.group or f"\0{record.id}" for record in report.records}),
            explanations=EXPLANATIONS,
            language_measures=LANGUAGE_MEASURES,
            groups=_groups(report),
            changes=_changes(report, previous) if previous else {},
            answerable=len(answerable),
            answered=sum(record.answered for record in report.records),
            citations=sum(record.citations for record in report.records),
            valid=sum(record.valid_citations for record in report.records),
            plots={plot.name: plot for plot in _plots(report)},
            heat=_heat(report.languages),
            failures=find_failures(report.records),
            failed={record.id: _labels(record) for record in report.records},
            language_of=_language_of,
            same_words=_same_words,
        )
        .lstrip()
    )


def find_failures(records: Sequence[Record], shown: int = FAILURES_SHOWN) -> list[Failures]:
    """Return every class of failures, the gravest first, with up to ``shown`` of its worst.

    A record is shown once, in the first class it fits, but counts in each.
    """
    seen: set[str] = set()
    found = []
    for kind in FAILURES:
        fitting = [record for record in records if kind.fits(record)]
        unseen = [record for record in fitting if record.id not in seen]
        worst = tuple(sorted(unseen, key=lambda record: (-kind.badness(record), record.id))[:shown])
        seen.update(record.id for record in worst)
        found.append(Failures(kind, len(fitting), worst))
    return found


def decimals(value: float | None, name: str = "") -> str:
    """Write a figure as the table shows it; – where there was nothing to measure."""
    if value is None:
        return "–"
    return f"{value:.0f}" if not _is_share(name) else f"{value:.3f}"


def interval(estimate: Estimate, name: str = "") -> str:
    """Write the interval of a figure."""
    if estimate.low is None or estimate.high is None:
        return "–"
    return f"{decimals(estimate.low, name)} to {decimals(estimate.high, name)}"


def percent(value: float | None) -> str:
    """Write a share for reading; it is 0 % or 100 % only if it is exactly that."""
    if value is None:
        return "–"
    return f"{100 * value:.0f} %" if value in (0, 1) else f"{min(99.9, max(0.1, 100 * value)):.1f} %"


def excerpt(place: Place) -> str:
    """Return the words of a place, cut if they are very many."""
    if len(place.text) <= TEXT_SHOWN:
        return place.text
    return f"{place.text[:TEXT_SHOWN]} … ({len(place.text) - TEXT_SHOWN:,} more characters)"


def _is_share(name: str) -> bool:
    return name != "quote characters"


def _groups(report: Report) -> list[tuple[str, str, tuple[str, ...], tuple[Baseline, ...]]]:
    known = {*RANKING, *QUOTES, *DECISION}
    groups = [
        ("passages", "Passages found", RANKING, report.baselines),
        ("quotes", "Quotes", QUOTES, ()),
        ("decision", "Decision to answer", DECISION, ()),
        ("others", "Further measures", tuple(name for name in report.measures if name not in known), ()),
    ]
    return [
        (key, title, kept, baselines)
        for key, title, names, baselines in groups
        if (kept := tuple(name for name in names if name in report.measures))
    ]


def _changes(report: Report, previous: Report) -> dict[str, tuple[str, str]]:
    """Return for each measure the difference to ``previous`` and whether that is better, worse, or neither."""
    changes = {}
    for name, now in report.measures.items():
        before = previous.measures.get(name)
        if now.value is None or before is None or before.value is None:
            changes[name] = ("–", "")
            continue
        written = f"{now.value - before.value:+.3f}" if _is_share(name) else f"{now.value - before.value:+.0f}"
        if not written.strip("+-0."):
            changes[name] = ("0", "")
            continue
        better = (now.value > before.value) != (name in LOWER_IS_BETTER)
        judgement = "" if name in NEITHER_IS_BETTER else "better" if better else "worse"
        changes[name] = (written.replace("-", "−"), judgement)
    return changes


def _heat(pairs: Sequence[LanguagePair]) -> dict[tuple[str, str, str], int]:
    """Return how far each cell is behind the best of its column, from 0 to ``HEAT_STEPS``."""
    heat = {}
    for name in (*LANGUAGE_MEASURES, "mean rank"):
        ranked = name == "mean rank"
        values = {
            (pair.question_language, pair.document_language): value
            for pair in pairs
            if (value := pair.mean_rank if ranked else pair.measures[name].value if name in pair.measures else None)
            is not None
        }
        if not values:
            continue
        best = min(values.values()) if ranked else max(values.values())
        behind = {pair: abs(value - best) for pair, value in values.items()}
        span = 1.0 if ranked else HEAT_SPAN
        for (question, document), distance in behind.items():
            heat[question, document, name] = round(min(1.0, distance / span) * HEAT_STEPS)
    return heat


def _labels(record: Record) -> list[str]:
    return [kind.title for kind in FAILURES if kind.fits(record)]


def _language_of(record: Record, place: Place) -> str:
    """Return the language of a place where it is known: in the document whose language the record names."""
    known = next((gold.source for gold in record.gold if gold.text), None)
    return record.document_language if place.source == known else ""


def _same_words(record: Record) -> bool:
    """Whether a wrong quote holds the very words of the gold: then it may be right although nobody marked it."""
    if record.right or not record.quote:
        return False
    marked = [re.escape(words) for gold in record.gold if (words := gold.text.strip())]
    return any(re.search(rf"(?<!\w){words}(?!\w)", record.quote.text, re.IGNORECASE) for words in marked)


def _plots(report: Report) -> Iterator[Plot]:
    """Draw what there is to draw."""
    import matplotlib

    # Nobody's own settings of matplotlib change the page.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        for draw in (
            _draw_systems,
            _draw_ranks,
            _draw_risk_coverage,
            _draw_calibration,
            _draw_confidence,
            _draw_timings,
        ):
            if plot := draw(report):
                yield plot


def _draw_systems(report: Report) -> Plot | None:
    names = [name for name in DOT_PLOT if _value(report, name) is not None]
    if not names or not report.baselines:
        return None
    systems = [(SYSTEM, report.measures), *((each.name, each.measures) for each in report.baselines)]
    step = 0.8 / len(systems)
    figure = _figure(max(2.4, 0.5 + len(names) * (0.26 + 0.17 * len(systems))))
    axes = figure.add_subplot()
    lowest = 1.0
    said = []
    for number, (system, measures) in enumerate(systems):
        known = [(row, name, each) for row, name in enumerate(names) if (each := measures.get(name))]
        points = [
            (row - 0.4 + step * (number + 0.5), each.value, each.low or 0.0, each.high or 0.0)
            for row, _, each in known
            if each.value is not None
        ]
        colour = ACCENT if number == 0 else OTHERS[(number - 1) % len(OTHERS)]
        axes.hlines(
            [y for y, *_ in points], [low for *_, low, _ in points], [high for *_, high in points], colour, lw=1.6
        ).set_clip_on(False)
        axes.plot(
            [value for _, value, *_ in points],
            [y for y, *_ in points],
            "osD^v"[min(number, 4)],
            color=colour,
            markerfacecolor=colour if number == 0 else SHEET,
            markersize=6 if number == 0 else 5,
            label=_short(system),
            clip_on=False,
        )
        lowest = min([lowest, *(low for *_, low, _ in points)])
        said.append(f"{system}: " + ", ".join(f"{name} {decimals(each.value)}" for _, name, each in known))
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color=LINE, lw=0.6)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(max(0.0, int(lowest * 20 - 0.2) / 20), 1)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=2, handletextpad=0.3, columnspacing=1.2, borderaxespad=0.2)
    return Plot(
        "systems",
        "Against trivial systems",
        "Dots are the figures, lines their 95 % intervals; further right is better.",
        _svg(figure, "systems", "; ".join(said)),
    )


def _draw_ranks(report: Report) -> Plot | None:
    ranks = [record.rank for record in report.records if record.answerable]
    if not ranks:
        return None
    counts = [sum(rank == place for rank in ranks) for place in range(1, DEPTH + 1)]
    lost = len(ranks) - sum(counts)
    figure = _figure(2.6)
    axes = figure.add_subplot()
    bars = axes.bar(range(1, DEPTH + 1), counts, color=ACCENT, width=0.75)
    axes.bar_label(bars, [str(count or "") for count in counts], padding=2, fontsize=8, color=INK)
    none = axes.bar([DEPTH + 1.5], [lost], color=WARN, width=0.75)
    axes.bar_label(none, [str(lost)], padding=2, fontsize=8, color=INK)
    axes.set_xticks([*range(1, DEPTH + 1), DEPTH + 1.5], [*map(str, range(1, DEPTH + 1)), "none"])
    axes.set_xlabel("rank of the first relevant passage")
    axes.set_ylabel("questions")
    axes.locator_params(axis="y", integer=True)
    axes.margins(y=0.12)
    return Plot(
        "ranks",
        "Where the gold stands",
        "Questions that have an answer, by the rank of the first passage that holds it.",
        _svg(
            figure,
            "ranks",
            f"Of {len(ranks)} questions with an answer, the first relevant passage stands first for {counts[0]}, "
            f"second to fifth for {sum(counts[1:5])}, sixth to tenth for {sum(counts[5:])}, "
            f"and is not among the first {DEPTH} for {lost}.",
        ),
    )


def _draw_risk_coverage(report: Report) -> Plot | None:
    curve = sorted(report.risk_coverage, key=lambda point: point.coverage)
    if not curve:
        return None
    figure = _figure(2.9)
    axes = figure.add_subplot()
    axes.step([each.coverage for each in curve], [each.risk for each in curve], color=ACCENT, lw=1.8, where="post")
    said = f"Answering every question would be wrong for {percent(curve[-1].risk)}."
    coverage, risk = (_value(report, name) for name in ("coverage", "risk"))
    top = min(1.05, max(0.05, 1.35 * max(risk or 0.0, *(each.risk for each in curve))))
    if coverage is not None and risk is not None:
        axes.plot([coverage], [risk], "o", color=WARN, markersize=8, markeredgecolor=SHEET, markeredgewidth=1.5)
        threshold = _threshold(report)
        since = f" (confidence {threshold:.2f})" if threshold is not None else ""
        left, above = coverage > 0.5, risk < 0.6 * top
        axes.annotate(
            f"now{since}:\n{percent(coverage)} answered,\n{percent(risk)} of them wrong",
            (coverage, risk),
            xytext=(-9 if left else 9, 9 if above else -9),
            textcoords="offset points",
            ha="right" if left else "left",
            va="bottom" if above else "top",
            fontsize=8.5,
            bbox={"facecolor": SHEET, "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
        said = f"Now{since} {percent(coverage)} are answered and {percent(risk)} of those are wrong. {said}"
    axes.set(xlim=(0, 1.02), ylim=(0, top), xlabel="questions answered", ylabel="of those wrong")
    _as_percent(axes, "xy")
    axes.grid()
    return Plot(
        "risk-coverage",
        "What fewer refusals would cost",
        "Risk–coverage curve: answering more, those of less confidence too, makes more of the answers wrong.",
        _svg(figure, "risk-coverage", said),
    )


def _draw_calibration(report: Report) -> Plot | None:
    bins = report.calibration
    if not bins:
        return None
    figure = _figure(3.3)
    axes, strip = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], "--", color=SOFT, lw=1)
    axes.vlines(
        [each.confidence for each in bins],
        [each.confidence for each in bins],
        [each.right for each in bins],
        WARN,
        lw=2,
    )
    axes.plot(
        [each.confidence for each in bins],
        [each.right for each in bins],
        "o",
        color=ACCENT,
        markersize=6,
        clip_on=False,
    )
    axes.text(0.03, 0.95, "too modest", color=SOFT, fontsize=8.5, va="top")
    axes.text(0.97, 0.05, "too sure", color=SOFT, fontsize=8.5, ha="right")
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), ylabel="right")
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid()
    bars = strip.bar(
        [min(9, int(each.confidence * 10)) / 10 + 0.05 for each in bins], [each.count for each in bins], 0.08
    )
    for bar in bars:
        bar.set_color(LINE)
    strip.bar_label(bars, padding=1, fontsize=8, color=INK)
    strip.set_yticks([])
    strip.margins(y=0.45)
    strip.spines["left"].set_visible(False)
    strip.set_xlabel("stated confidence; bars: number of questions")
    _as_percent(axes, "y")
    _as_percent(strip, "x")
    error = _value(report, "calibration error")
    return Plot(
        "calibration",
        "Does confidence mean what it says?",
        "Reliability diagram: on the dashed line, 70 % confidence is right 7 times in 10. Lines show the gap.",
        _svg(
            figure,
            "calibration",
            "; ".join(
                f"at confidence {percent(each.confidence)} {percent(each.right)} of {each.count} are right"
                for each in bins
            )
            + (f". Calibration error {error:.3f}." if error is not None else "."),
        ),
    )


def _draw_confidence(report: Report) -> Plot | None:
    groups = [
        ("right evidence", ACCENT, [each for each in report.records if each.answerable and each.right]),
        ("wrong evidence", WARN, [each for each in report.records if each.answerable and not each.right]),
        ("no answer there", OTHERS[0], [each for each in report.records if not each.answerable]),
    ]
    groups = [group for group in groups if group[2]]
    if not groups:
        return None
    figure = _figure(0.65 + 0.8 * len(groups))
    threshold = _threshold(report)
    said = []
    for axes, (name, colour, records) in zip(
        figure.subplots(len(groups), sharex=True, squeeze=False)[:, 0], groups, strict=True
    ):
        values = [record.confidence for record in records]
        axes.hist(values, bins=20, range=(0, 1), color=colour, rwidth=0.9)
        axes.set_title(f"{name} ({len(values)})", loc="left", pad=3)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, 1)
        if threshold is not None:
            axes.axvline(threshold, color=INK, lw=1, ls=":")
        answered = sum(record.answered for record in records)
        said.append(f"{name}: {len(values)} questions, median confidence {median(values):.2f}, {answered} answered")
    axes.set_xlabel("confidence" + ("; dotted: answered from here on" if threshold is not None else ""))
    _as_percent(axes, "x")
    return Plot(
        "confidence",
        "Confidence of right and wrong",
        "The further right evidence stands from the others, the better it can decide when to answer. "
        "Each group has a scale of its own; its number of questions is in brackets.",
        _svg(figure, "confidence", "; ".join(said) + "."),
    )


def _draw_timings(report: Report) -> Plot | None:
    steps = list(report.timings_ms.items())
    if not steps:
        return None
    figure = _figure(0.75 + 0.34 * len(steps))
    axes = figure.add_subplot()
    rows = range(len(steps))
    axes.barh(rows, [time.p95 for _, time in steps], 0.5, color=LINE, label="95 % of questions within")
    axes.barh(rows, [time.median for _, time in steps], 0.5, color=ACCENT, label="median")
    widest = max(time.p95 for _, time in steps) or 1.0
    for row, (_, time) in zip(rows, steps, strict=True):
        axes.text(
            time.p95 + widest * 0.015, row, f"{time.median:.3g} / {time.p95:.3g}", va="center", fontsize=8, color=INK
        )
    axes.set_yticks(rows, [_short(name) for name, _ in steps], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    axes.set(xlim=(0, widest * 1.28), xlabel="milliseconds")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], loc="outside upper left", ncols=2, columnspacing=1.2, borderaxespad=0.2
    )
    return Plot(
        "timings",
        "Time of each step",
        "Median and 95th percentile of one question, on the machine of this run.",
        _svg(
            figure,
            "timings",
            "; ".join(f"{name}: median {time.median:.3g} ms, 95 % within {time.p95:.3g} ms" for name, time in steps),
        ),
    )


def _figure(height: float) -> Figure:
    """Return an empty drawing ``WIDTH`` by ``height`` inches."""
    from matplotlib.figure import Figure

    return Figure((WIDTH, height), layout="constrained")


def _short(name: str) -> str:
    """Cut a name to what leaves room for the drawing."""
    return name if len(name) <= NAME_SHOWN else f"{name[: NAME_SHOWN - 1]}…"


def _as_percent(axes: Axes, which: str) -> None:
    from matplotlib.ticker import PercentFormatter

    for axis in which:
        (axes.xaxis if axis == "x" else axes.yaxis).set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _value(report: Report, name: str) -> float | None:
    figure = report.measures.get(name)
    return figure.value if figure else None


def _threshold(report: Report) -> float | None:
    threshold = report.settings.get("min_confidence")
    return float(threshold) if isinstance(threshold, int | float) else None


def _svg(figure: Figure, name: str, words: str) -> str:
    """Return a figure as SVG to stand in HTML: its ids its own, its colours the page's, the same at every run."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = name
    with io.StringIO() as out:
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)
    svg = re.sub(r"font: ((?:\d+ )?[\d.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    for role, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    width, height = figure.get_size_inches() * 72
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(words)}">'
    return opening + svg[svg.index(">") + 1 :]
