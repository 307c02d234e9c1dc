"""How many faithful answers are kept and adversarial ones withheld, by kind, and what each check is good for.

    python -m tests.writer.checks --save               # docs/results/writer/checks.json
    python -m tests.writer.checks --set last --save    # docs/results/writer/last.json

The null control switches one check off after the other: the kind of answer that it is there for is then kept.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from index import open_encoder
from index.encoder import EncodedPassages, Encoder, TokenStates
from index.language import detect_language
from index.sentences import split_sentences
from service.faithful import Faithfulness
from service.lexicon import divide
from tests.writer.answers import Case, adversarial, faithful, last, last_adversarial, second, second_adversarial

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "writer"
REQUIRED = ("number", "not", "name", "citation", "ellipsis", "across")
"""Kinds of which every one must be withheld."""
SETS = {
    "checks": (faithful, adversarial),
    "last": (last, last_adversarial),
    "second": (second, second_adversarial),
}
"""Those that the checks were made with, and those that came afterwards."""
GUARDS = {
    "number": ("number", "date"),
    "not": ("negation", "opposite"),
    "name": ("name",),
    "citation": ("uncited", "citation"),
    "ellipsis": ("quote", "negation", "form"),
    "across": ("quote",),
}
"""Which checks each kind is there for."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A case with all objections to it, in the order of the checks."""

    case: Case
    objections: tuple[str, ...]

    def is_kept(self, without: Iterable[str] = ()) -> bool:
        """Say whether it would be shown with some checks switched off."""
        return not set(self.objections) - set(without)


class Remembering:
    """An encoder that reads each sentence once, and many at a time."""

    def __init__(self, encoder: Encoder, texts: Iterable[tuple[str, str]]) -> None:
        self._encoder = encoder
        pieces = {piece for text, language in texts for piece in split_sentences(divide(text), language)}
        known = sorted(pieces, key=len)
        self._states: dict[str, TokenStates] = {}
        for start in range(0, len(known), 64):
            some = known[start : start + 64]
            self._states |= zip(some, encoder.encode_passages(some).tokens, strict=True)

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """Return what is known, or encode it now."""
        states = [self._states.get(text) or self._encoder.encode_passages([text]).tokens[0] for text in texts]
        return EncodedPassages(np.empty((0, 0), np.float32), tuple(states))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def judge(encoder: Encoder, cases: Sequence[Case]) -> list[Judged]:
    """Check each case, with all checks side by side; what cases share is read once."""
    shared = {(item.text, item.language) for case in cases for item in case.evidence}
    said = {(case.sentence, detect_language(case.sentence)) for case in cases}
    encoder = cast(Encoder, Remembering(encoder, shared | said))
    prepared: dict[tuple[object, ...], Faithfulness] = {}
    judged: list[Judged] = []
    for case in cases:
        key = (case.question, case.evidence)
        if key not in prepared:
            prepared[key] = Faithfulness(encoder, case.question, case.numbered)
        judged.append(Judged(case, prepared[key].objections(case.sentence, case.cited)))
    return judged


def objections(encoder: Encoder, case: Case) -> tuple[str, ...]:
    """Return every objection to a case."""
    return judge(encoder, [case])[0].objections


def summary(kept: Sequence[Judged], attacked: Sequence[Judged]) -> dict[str, object]:
    """Return the figures by kind."""
    faithful_by_half: dict[str, Counter[str]] = defaultdict(Counter)
    for judged in kept:
        faithful_by_half[judged.case.half]["of"] += 1
        faithful_by_half[judged.case.half]["kept"] += judged.is_kept()
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for judged in attacked:
        kinds[judged.case.kind]["of"] += 1
        kinds[judged.case.kind]["withheld"] += not judged.is_kept()
        if judged.case.kind in GUARDS:
            kinds[judged.case.kind]["kept_without_its_check"] += judged.is_kept(GUARDS[judged.case.kind])
    return {
        "faithful": {half: dict(counts) for half, counts in faithful_by_half.items()},
        "adversarial": {kind: dict(counts) for kind, counts in kinds.items()},
        "withheld_of_required_kinds": [
            sum(counts["withheld"] for kind, counts in kinds.items() if kind in REQUIRED),
            sum(counts["of"] for kind, counts in kinds.items() if kind in REQUIRED),
        ],
        "faithful_withheld": [
            [judged.case.id, judged.objections[0], judged.case.sentence] for judged in kept if not judged.is_kept()
        ],
        "adversarial_kept": [[judged.case.id, judged.case.sentence] for judged in attacked if judged.is_kept()],
    }


def main() -> None:
    """Judge everything and print or save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--set", choices=SETS, default="checks", help="which answers [default: those of development]")
    given = parser.parse_args()
    encoder = open_encoder()
    kept, attacked = SETS[given.set]
    result = summary(judge(encoder, kept()), judge(encoder, attacked()))
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if given.save:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{given.set}.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
