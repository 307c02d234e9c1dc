"""What monitoring sees of a library, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as EXPOSITION_TYPE

from index import Library
from service.outcome import BUCKETS
from service.turns import Turns

if TYPE_CHECKING:  # loaded only by a service that writes
    from service.writer import Writer

__all__ = ["EXPOSITION_TYPE", "Measured", "exposition"]

STEPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds, for the histogram of a question's steps."""


class Measured:
    """What is counted as it happens."""

    def __init__(self) -> None:
        self._seconds = Histogram(
            "fundstelle_question_seconds",
            "Time that a step of a question took.",
            ["step"],
            buckets=STEPS,
            registry=None,
        )
        self._answers = Counter(
            "fundstelle_answers", "Questions answered, by whether the documents say.", ["outcome"], registry=None
        )

    def note_steps(self, timings_ms: Mapping[str, float]) -> None:
        """Count how long the steps of a question took."""
        for step, milliseconds in timings_ms.items():
            self._seconds.labels(step).observe(milliseconds / 1000)

    def note_answer(self, *, answerable: bool) -> None:
        """Count an answer, or that the documents do not say."""
        self._answers.labels("answered" if answerable else "refused").inc()

    def register(self, registry: CollectorRegistry) -> None:
        """Add what was counted to ``registry``."""
        registry.register(self._seconds)
        registry.register(self._answers)


def exposition(
    library: Library, writer: Writer | None = None, measured: Measured | None = None, lines: Sequence[Turns] = ()
) -> bytes:
    """Return the present figures.

    Args:
        library: what is served.
        writer: what writes answers, if anything does.
        measured: what was counted as it happened.
        lines: where requests wait.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(library))
    registry.register(_Lines(lines))
    if measured is not None:
        measured.register(registry)
    if writer is not None:
        registry.register(_WriterFigures(writer))
    return generate_latest(registry)


class _Lines:
    """How the lines are doing."""

    def __init__(self, lines: Sequence[Turns]) -> None:
        self._lines = lines

    def collect(self) -> Iterator[Metric]:
        labels = ["work"]
        running = GaugeMetricFamily("fundstelle_work_running", "Pieces of work under way.", labels=labels)
        waiting = GaugeMetricFamily("fundstelle_work_waiting", "Requests that wait for their turn.", labels=labels)
        refused = CounterMetricFamily(
            "fundstelle_work_refused", "Requests refused: the line was full.", labels=labels
        )
        expired = CounterMetricFamily("fundstelle_work_expired", "Requests whose turn came too late.", labels=labels)
        for turns in self._lines:
            running.add_metric([turns.kind], turns.line.running)
            waiting.add_metric([turns.kind], turns.line.waiting)
            refused.add_metric([turns.kind], turns.line.refused)
            expired.add_metric([turns.kind], turns.line.expired)
        yield from (running, waiting, refused, expired)


class _Figures:
    """Reads the figures when they are asked for; nothing is counted twice."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def collect(self) -> Iterator[Metric]:
        counts, state = self._library.counts(), self._library.index_state()
        for name, text, value in (
            ("generation", "Number of the newest change that questions see.", state.generation),
            ("documents", "Documents stored.", counts.documents),
            ("passages", "Passages that can be found.", counts.passages),
            ("index_layers", "Indexes that a question searches.", state.layers),
            ("index_unsettled_passages", "Passages the index on disk lacks, or has although dead.", state.unsettled),
            ("read_only", "1 while the disk is full or failing and nothing can be written.", self._is_read_only()),
        ):
            yield GaugeMetricFamily(f"fundstelle_{name}", text, value=value)
        vectors = GaugeMetricFamily("fundstelle_index_vectors", "Vectors searched.", labels=["index", "kind"])
        recall = GaugeMetricFamily(
            "fundstelle_index_recall", "Share of the ten true neighbours found, as last measured.", labels=["index"]
        )
        effort = GaugeMetricFamily("fundstelle_index_effort", "Lists a search looks into.", labels=["index"])
        for name, described in (("passages", state.passages), ("sentences", state.sentences)):
            vectors.add_metric([name, described.kind], described.vectors)
            effort.add_metric([name], described.effort)
            if described.recall is not None:
                recall.add_metric([name], described.recall)
        yield from (vectors, recall, effort)

    def _is_read_only(self) -> int:
        return int(bool(self._library.write_problem))


class _WriterFigures:
    """Reads how written answers went since the start."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def collect(self) -> Iterator[Metric]:
        tally = self._writer.tally()
        outcomes = CounterMetricFamily(
            "fundstelle_written_answers", "Answers that were to be written.", labels=["outcome"]
        )
        for outcome, count in sorted(tally.outcomes.items()):
            outcomes.add_metric([outcome], count)
        withheld = CounterMetricFamily(
            "fundstelle_written_sentences_withheld", "Sentences that a check objected to.", labels=["objection"]
        )
        for objection, count in sorted(tally.withheld.items()):
            withheld.add_metric([objection], count)
        seconds = HistogramMetricFamily("fundstelle_written_seconds", "Time that writing took.")
        limits = [(str(limit), float(count)) for limit, count in zip(BUCKETS, tally.buckets, strict=True)]
        seconds.add_metric([], [*limits, ("+Inf", float(tally.count))], tally.seconds)
        yield from (outcomes, withheld, seconds)
        yield GaugeMetricFamily(
            "fundstelle_writer_paused", "1 while the endpoint is left alone after faults.", value=int(tally.open)
        )
