"""Two runs side by side: paired differences with bootstrap intervals, so that a change can be gated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.cases import CasesRejected

MEASURES = ("hit_at_1", "hit_at_5", "reciprocal_rank", "quote_hit_at_1", "right_decision")
RESAMPLES = 10_000
SEED = 20251122


@dataclass(frozen=True, slots=True)
class Difference:
    """New minus old for one measure over the same cases, with a 95 % bootstrap interval."""

    measure: str
    old: float
    new: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """Whether the measure fell beyond chance: the whole interval lies below 0."""
        return self.high < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences; ``worse`` if any measure got worse."""

    cases: int
    differences: tuple[Difference, ...]

    @property
    def worse(self) -> bool:
        """Whether any measure fell beyond chance."""
        return any(difference.worse for difference in self.differences)


def compare_files(old: Path, new: Path) -> Comparison:
    """Compare two results of ``fundstelle eval run`` on the cases both have.

    Raises:
        CasesRejected: if a file is not a result, or they share no case.
    """
    before, after = _records(old), _records(new)
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise CasesRejected("results_invalid", f"'{old}' and '{new}' share no case.")
    return Comparison(
        len(shared),
        tuple(_difference(name, [before[i] for i in shared], [after[i] for i in shared]) for name in MEASURES),
    )


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Print a comparison."""
    yield f"{comparison.cases} cases, new - old with 95 % intervals"
    for item in comparison.differences:
        mark = "  WORSE" if item.worse else ""
        yield (
            f"  {item.measure:16} {item.old:.3f} -> {item.new:.3f}"
            f"  {item.new - item.old:+.3f} [{item.low:+.3f}, {item.high:+.3f}]{mark}"
        )


def _records(file: Path) -> dict[str, dict[str, Any]]:
    try:
        records = json.loads(file.read_text("utf-8"))["records"]
        return {record["id"]: record for record in records}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CasesRejected("results_invalid", f"'{file}' is not a result of 'fundstelle eval run'.") from error


def _difference(measure: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Difference:
    old, new = (np.array([_value(measure, record) for record in records]) for records in (before, after))
    keep = ~np.isnan(old) & ~np.isnan(new)
    old, new = old[keep], new[keep]
    if not len(old):
        return Difference(measure, 0.0, 0.0, 0.0, 0.0)
    draws = np.random.default_rng(SEED).integers(0, len(old), (RESAMPLES, len(old)))
    means = (new - old)[draws].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(measure, float(old.mean()), float(new.mean()), float(low), float(high))


def _value(measure: str, record: dict[str, Any]) -> float:
    if measure == "right_decision":
        return float(record["answerable"] == record["answered"])
    if not record["answerable"]:
        return float("nan")
    return float(record[measure] or 0.0)
