"""R01: the library is killed at random moments; what it acknowledged must be there each time, and nothing else.

    python -m tests.durability.kills [--trials 300] [--seed S] [--jobs 2] [--chain N] [--break CONTROL] [--save]

A trial: a process opens a folder and works on it until SIGKILL, at a random moment up to 60 ms after a random line of
its journal; every fifth is killed while it opens the folder. Some folders are then opened and killed again once or
twice, which interrupts the recovery. Another process compares what is there with the journal of the first. The next
trial goes on in the same folder; after 25 there is a new one.

The null controls: ``early-ack`` acknowledges before the call, ``split`` replaces a document by deleting and adding
it, ``keep`` acknowledges deletes without making them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.durability.common import finish, parse_arguments, run_forked
from tests.durability.workload import (
    KINDS,
    Expected,
    Journal,
    State,
    Version,
    Violation,
    check,
    last_words,
    open_and_close,
    operations,
    replay,
    work,
)

TRIALS_PER_FOLDER = 25
LINES = 24
"""Of the journal, before the latest kill."""
SHORTEST, LONGEST = 0.0003, 0.06
"""Seconds between a line and the kill; the logarithm is evenly spread, so that slow and fast steps are hit."""
OPENING = 0.03
"""About the time a folder takes to open, and more."""
MOST_EXAMPLES = 20
_RECENT, _OLDER = 10, 5
"""So many versions of a trial, and of those before, are looked for after each kill if they should be gone."""


@dataclass
class Findings:
    """What was counted and what went wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def note(self, violation: Violation, where: str) -> None:
        """Count a violation and keep the first ones."""
        self.kinds[violation.kind] += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(f"{violation.kind}: {violation.detail} ({where})")

    def add(self, other: Findings) -> None:
        """Take over what another process found."""
        self.counts += other.counts
        self.kinds += other.kinds
        self.examples = (self.examples + other.examples)[:MOST_EXAMPLES]


@dataclass
class Chain:
    """Trials one after another on the same folder."""

    seed: int
    number: int
    control: str | None = None
    findings: Findings = field(default_factory=Findings)
    state: State = field(default_factory=dict)
    known: set[Version] = field(default_factory=set)
    """Every version that was ever handed in."""
    generation: int = 0

    def run(self, trials: int) -> Findings:
        """Kill ``trials`` times; a folder with a violation is given up for a new one."""
        with tempfile.TemporaryDirectory() as scratch:
            for trial in range(trials):
                folder = Path(scratch, str(self.findings.counts["folders"]))
                if not self._trial(folder, trial):
                    self.findings.counts["folders"] += 1
                    self.state, self.known, self.generation = {}, set(), 0
        self.findings.counts["folders"] += 1
        return self.findings

    def _trial(self, folder: Path, trial: int) -> bool:
        where = f"--seed {self.seed} --chain {self.number}, trial {trial}"
        draw = random.Random(f"{self.seed} {self.number} {trial}")
        journal = self._killed(folder, draw, f"zq{self.number:04d}t{trial:02d}", where)
        self.known |= set(journal.versions)
        self.generation = max(self.generation, journal.generation)
        self._recover(folder, draw)
        recent = journal.versions[-_RECENT:]
        older = sorted(self.known - set(recent), key=lambda version: version.word)
        earlier = (*recent, *draw.sample(older, min(_OLDER, len(older))))
        expected = Expected(journal.before, journal.after, earlier, self.generation)
        found = check(folder, expected, run_forked)
        for violation in found.violations:
            self.findings.note(violation, where)
        self.state = found.state
        self.findings.counts["in_flight_and_stored"] += found.state == journal.after != journal.before
        return not found.violations

    def _killed(self, folder: Path, draw: random.Random, name: str, where: str) -> Journal:
        counts = self.findings.counts
        todo = list(operations(draw, self.state, name, draw.choice((5, 50, 50, 50))))
        held, moment = draw.randint(2, LINES), SHORTEST * (LONGEST / SHORTEST) ** draw.random()
        if draw.random() < 0.2:
            held, moment = 0, draw.uniform(0, OPENING)
        ended = run_forked(work, folder, todo, self.control, held, kill_after=moment)
        if ended.status:
            self.findings.note(Violation("failed", last_words(ended)), where)
        journal = replay(ended.output, self.state)
        counts["acknowledged"] += journal.acknowledged
        if ended.signal == signal.SIGKILL:
            counts["kills"] += 1
            counts[f"kills_while {journal.reached}"] += 1
            if journal.in_flight is not None:
                counts["kills_while_in_flight"] += 1
                counts[f"in_flight {journal.in_flight.kind}"] += 1
        return journal

    def _recover(self, folder: Path, draw: random.Random) -> None:
        """Now and then, open the folder and kill that too."""
        while draw.random() < 0.25:
            ended = run_forked(open_and_close, folder, kill_after=draw.uniform(0, OPENING))
            self.findings.counts["kills_during_recovery"] += ended.signal == signal.SIGKILL


def kill(seed: int, control: str | None, number: int, trials: int) -> Findings:
    """Run one chain; what the processes of the pool call."""
    return Chain(seed, number, control).run(trials)


def in_parallel(jobs: int, call: Callable[[int, int], Findings], parts: list[tuple[int, int]]) -> Findings:
    """Make calls in several processes and add up what they found."""
    findings = Findings()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        for each in pool.map(call, *zip(*parts, strict=True)):
            findings.add(each)
    return findings


def _nested(counts: Counter[str]) -> dict[str, int | dict[str, int]]:
    """Return counts by name; those of two words by their first and then by their second."""
    result: dict[str, int | dict[str, int]] = {}
    for name, count in sorted(counts.items()):
        group, _, member = name.partition(" ")
        inner = result.setdefault(group, {} if member else count)
        if isinstance(inner, dict):
            inner[member] = count
    return result


def main() -> None:
    """Run the trials and report."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--chain", type=int)
    own, sys.argv[1:] = parser.parse_known_args()
    arguments = parse_arguments(__doc__, 300, ["early-ack", "split", "keep"])
    began = time.monotonic()
    chains = [
        (number, min(TRIALS_PER_FOLDER, arguments.trials - first))
        for number, first in enumerate(range(0, arguments.trials, TRIALS_PER_FOLDER))
        if own.chain is None or own.chain == number
    ]
    findings = in_parallel(own.jobs, partial(kill, arguments.seed, arguments.control), chains)
    for example in findings.examples:
        print(example)
    trials = sum(trials for _, trials in chains)
    figures: dict[str, object] = {
        "id": "R01",
        "trials": trials,
        "violations": findings.kinds.total(),
        **{kind: findings.kinds[kind] for kind in KINDS},
        **_nested(findings.counts),
        "ms_per_trial": round((time.monotonic() - began) * 1000 / trials, 1),
    }
    if findings.examples:
        figures["examples"] = findings.examples[:3]
    finish(arguments, figures, began)


if __name__ == "__main__":
    main()
