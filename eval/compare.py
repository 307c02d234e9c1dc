"""Two runs side by side: paired differences with bootstrap intervals, so that a change can be gated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from eval.cases import CasesRejected
from eval.measures import (
    LOWER_IS_BETTER,
    MEASURES,
    NEITHER_IS_BETTER,
    Outcomes,
    draw_groups,
)
from eval.records import Record, Report

_REPORTS: TypeAdapter[Report] = TypeAdapter(Report)


@dataclass(frozen=True, slots=True)
class Difference:
    """New minus old for one measure over the same cases, with a 95 % bootstrap interval."""

    measure: str
    old: float
    new: float
    low: float
    high: float
    direction: int
    """1 if more is better, -1 if less is, 0 if neither."""

    @property
    def worse(self) -> bool:
        """Whether the measure got worse beyond chance: the whole interval lies on the bad side of 0."""
        return max(self.low * self.direction, self.high * self.direction) < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences; ``worse`` if any measure got worse."""

    cases: int
    differences: tuple[Difference, ...]

    @property
    def worse(self) -> bool:
        """Whether any measure got worse beyond chance."""
        return any(difference.worse for difference in self.differences)


def read_report(file: Path) -> Report:
    """Read what ``fundstelle eval run`` wrote.

    Raises:
        CasesRejected: if the file is not such a result.
    """
    try:
        return _REPORTS.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise CasesRejected("results_invalid", f"'{file}' is not a result of 'fundstelle eval run'.") from error


def compare_files(old: Path, new: Path) -> Comparison:
    """Compare two results of ``fundstelle eval run`` on the cases both have.

    Raises:
        CasesRejected: if a file is not a result, or they share no case.
    """
    before, after = ({record.id: record for record in read_report(file).records} for file in (old, new))
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise CasesRejected("results_invalid", f"'{old}' and '{new}' share no case.")
    return compare_records([before[i] for i in shared], [after[i] for i in shared])


def compare_records(old: Sequence[Record], new: Sequence[Record]) -> Comparison:
    """Compare records of the same cases, in the same order; whole groups of cases are resampled."""
    before, after = Outcomes.of(old), Outcomes.of(new)
    samples = draw_groups([record.group for record in new])
    differences: list[Difference] = []
    for name, measure in MEASURES.items():
        values = measure(before), measure(after)
        if np.isnan(values).any():
            continue
        changes = np.array([measure(after.take(rows)) - measure(before.take(rows)) for rows in samples])
        low, high = np.nanquantile(changes, [0.025, 0.975])
        direction = 0 if name in NEITHER_IS_BETTER else -1 if name in LOWER_IS_BETTER else 1
        differences.append(Difference(name, *values, float(low), float(high), direction))
    return Comparison(len(new), tuple(differences))


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Print a comparison."""
    yield f"{comparison.cases} cases, new - old with 95 % intervals"
    for item in comparison.differences:
        mark = "  WORSE" if item.worse else ""
        yield (
            f"  {item.measure:18} {item.old:.3f} -> {item.new:.3f}"
            f"  {item.new - item.old:+.3f} [{item.low:+.3f}, {item.high:+.3f}]{mark}"
        )
