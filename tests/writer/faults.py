"""Written answers from an endpoint that fails in twenty ways: always the extractive answer, in time, and it says so.

    python -m tests.writer.faults --trials 20000 --seed 1 --save      # docs/results/writer/faults.json

A trial asks one of twenty wrong endpoints with a short deadline, and looks at the outcome, the time and where the
key went.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from index import Library, document_from_text
from index.encoder import Encoder
from service.answer import Answer, AnswerPolicy, answer_question
from service.breaker import Breaker
from service.llm import Endpoint
from service.outcome import Written
from service.writer import PROBLEMS, Writer
from tests.tiny import TinyEncoder
from tests.writer.stub import KINDS, Stub, serving

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "writer" / "faults.json"
KEY = "canary-5f1c09a7e2"
QUESTION = "How much does the repair of the old bridge cost?"
TEXT = "The old bridge closes in October. Its repair costs four million euros."
ANSWER = "The old bridge closes in October. [1] Its repair costs four million euros. [1]"
AT_ONCE = 8
DEADLINES = (0.4, 0.8)
"""Seconds."""
OVERHEAD = 1.0
"""Seconds beyond the deadline that a busy machine may need to notice it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How one wrong endpoint ended."""

    kind: str
    written: Written
    deadline: float

    @property
    def wrong(self) -> str | None:
        """What the contract was broken by, or ``None``."""
        if self.written.sentences or self.written.problem is None:
            return "written"
        if self.written.problem not in PROBLEMS:
            return f"unknown problem {self.written.problem}"
        if self.written.seconds > self.deadline + OVERHEAD:
            return f"late by {self.written.seconds - self.deadline:.2f} s"
        return None


@contextmanager
def prepared(encoder: Encoder) -> Iterator[Answer]:
    """Yield an extractive answer."""
    with tempfile.TemporaryDirectory() as folder, Library(Path(folder) / "data", encoder, writable=True) as library:
        library.add([document_from_text("bridge.txt", TEXT)])
        answer = answer_question(library, QUESTION, policy=AnswerPolicy(min_confidence=0.0))
        assert answer.answerable
        yield answer


@contextmanager
def endpoints() -> Iterator[tuple[Stub, Stub]]:
    """Run a wrong endpoint, and one to which it redirects."""
    with serving(lambda asked: ANSWER) as elsewhere, serving(lambda asked: ANSWER, elsewhere.url) as stub:
        yield stub, elsewhere


def address(kind: str, stub: Stub) -> str:
    """Return where a kind of fault is to be had."""
    if kind == "refused":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    return stub.url.replace("http:", "https:") if kind == "tls" else stub.url


def attempt(writer: Writer, kind: str, answer: Answer, encoder: Encoder) -> Trial:
    """Have one answer written by one wrong endpoint."""
    written = writer.answer(answer, encoder)
    assert written is not None
    return Trial(kind, written, writer.endpoint.deadline)


def run(
    trials: int, seed: int, make: Callable[[str, str, float], Endpoint] | None = None
) -> tuple[list[Trial], list[str], int]:
    """Run trials side by side.

    Args:
        trials: how many, the kinds in turn.
        seed: of deadlines and order.
        make: another way to make an endpoint of an address, a kind and a deadline, for null controls.

    Returns:
        The trials, the keys that arrived anywhere else, and how often the right place was asked.
    """
    random_ = random.Random(seed)
    encoder = TinyEncoder()
    made = make or (lambda url, kind, deadline: Endpoint(url, kind, KEY, deadline, at_once=AT_ONCE))
    plan = [KINDS[at % len(KINDS)] for at in range(trials)]
    random_.shuffle(plan)
    with prepared(encoder) as answer, endpoints() as (stub, elsewhere), ThreadPoolExecutor(AT_ONCE) as pool:
        writers = {
            kind: Writer(
                made(address(kind, stub), kind, random_.uniform(*DEADLINES)), breaker=Breaker(failures=10**9)
            )
            for kind in KINDS
        }
        try:
            done = list(pool.map(lambda kind: attempt(writers[kind], kind, answer, encoder), plan))
        finally:
            for writer in writers.values():
                writer.close()
        return done, list(elsewhere.seen.keys), stub.seen.requests


def main() -> None:
    """Run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    started = time.perf_counter()
    trials, leaked, asked = run(given.trials, given.seed)
    problems: dict[str, Counter[str]] = defaultdict(Counter)
    for trial in trials:
        problems[trial.kind][trial.written.problem or "written"] += 1
    wrong = [f"{trial.kind}: {trial.wrong}" for trial in trials if trial.wrong]
    result = {
        "trials": len(trials),
        "seed": given.seed,
        "extractive_in_time_and_flagged": len(trials) - len(wrong),
        "wrong": wrong[:20],
        "requests_elsewhere": len(leaked),
        "requests_to_the_endpoint": asked,
        "latest_beyond_deadline_s": round(max(trial.written.seconds - trial.deadline for trial in trials), 3),
        "seconds": round(time.perf_counter() - started, 1),
        "problems_by_kind": {kind: dict(counts) for kind, counts in sorted(problems.items())},
    }
    print(json.dumps(result, indent=1))
    if given.save:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
