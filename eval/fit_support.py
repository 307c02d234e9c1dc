"""Choose the thresholds of :mod:`service.faithful_support` on sentences and their translations.

Positive: a sentence of XQuAD's articles against its translation, which stands in the other language between its
neighbours. Negative: the same evidence against other sentences of the same article, and against the sentence itself
with a piece of another one added. The thresholds let ``KEPT`` of the translations pass; what they let through is
measured on articles left out. Some neighbouring sentences are not divided alike in both languages, so a few positives
are none.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index import open_encoder
from index.encoder import Encoder
from index.sentences import split_sentences
from service.alignment import Compared, read_texts, similarities
from service.faithful_support import Limits, Support, measure_support

KEPT = 0.98
FOLDS = 5
_FILE = Path(__file__).parent.parent / "service" / "support.json"
_SHORTEST, _LONGEST = 30, 400
_AT_ONCE = 48


@dataclass(frozen=True, slots=True)
class Pair:
    """Neighbouring sentences in two languages: what is written, and the evidence around its translation."""

    article: str
    written: tuple[str, str]
    evidence: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Measured:
    """One sentence against one evidence; ``kind`` is "same", "other" or "added"."""

    article: str
    kind: str
    support: Support


def read_pairs(xquad: Path) -> Iterator[Pair]:
    """Yield the sentences of paragraphs that are divided into as many sentences in German and English."""
    for file in sorted((xquad / "full" / "de").iterdir()):
        german = file.read_text("utf-8").split("\n\n")
        english = (xquad / "full" / "en" / file.name).read_text("utf-8").split("\n\n")
        if len(german) != len(english):
            continue
        for one, other in zip(german, english, strict=True):
            first = [sentence.strip() for sentence in split_sentences(one, "de")]
            second = [sentence.strip() for sentence in split_sentences(other, "en")]
            if len(first) != len(second):
                continue
            for at, (de, en) in enumerate(zip(first, second, strict=True)):
                if _SHORTEST < len(de) < _LONGEST and _SHORTEST < len(en) < _LONGEST:
                    yield Pair(file.stem, (en, "en"), (" ".join(first[max(0, at - 1) : at + 2]), "de"))
                    yield Pair(file.stem, (de, "de"), (" ".join(second[max(0, at - 1) : at + 2]), "en"))


def measure(encoder: Encoder, pairs: list[Pair], seed: int) -> list[Measured]:
    """Measure each pair, and each evidence against what it does not say."""
    random_ = random.Random(seed)
    jobs: list[tuple[str, str, tuple[str, str], tuple[str, str]]] = []
    for pair in pairs:
        others = [
            other.written[0]
            for other in pairs
            if other.article == pair.article
            and other.written[1] == pair.written[1]
            and other.evidence[0] not in pair.evidence[0]
            and pair.evidence[0] not in other.evidence[0]
        ]
        jobs.append((pair.article, "same", pair.written, pair.evidence))
        if not others:
            continue
        strange, language = random_.choice(others), pair.written[1]
        joint = " and " if language == "en" else " und "
        added = pair.written[0].rstrip(".") + joint + " ".join(strange.split()[:7]) + "."
        jobs.append((pair.article, "other", (strange, language), pair.evidence))
        jobs.append((pair.article, "added", (added, language), pair.evidence))
    found: list[Measured] = []
    for start in range(0, len(jobs), _AT_ONCE):
        some = jobs[start : start + _AT_ONCE]
        texts = read_texts(encoder, [text for _, _, *both in some for text in both])
        for (article, kind, _, _), written, evidence in zip(some, texts[::2], texts[1::2], strict=True):
            compared = [Compared(evidence, similarities(written, evidence))]
            found.append(Measured(article, kind, measure_support(written, compared)))
    return found


def choose(measured: list[Measured]) -> Limits:
    """Return the thresholds that together let ``KEPT`` of what is supported pass."""
    same = [item.support for item in measured if item.kind == "same"]
    usual = sum(mean * words for mean, words in (each.whole for each in same)) / sum(each.whole[1] for each in same)
    shortfalls = np.array([each.shortfalls(usual) for each in same])
    whole, part = np.quantile(shortfalls, 1 - (1 - KEPT) / 2, axis=0).tolist()
    return Limits(usual, whole, part)


def passed(measured: list[Measured], kind: str, limits: Limits) -> float:
    """Return the share of one kind that passes."""
    items = [item.support.is_enough(limits) for item in measured if item.kind == kind]
    return float(np.mean(items)) if items else 0.0


def main() -> None:
    """Fit, report on articles left out, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("xquad", type=Path, help="folder xquad-dev")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="replace the shipped thresholds")
    given = parser.parse_args()
    pairs = list(read_pairs(given.xquad))
    measured = measure(open_encoder(), pairs, given.seed)
    articles = sorted({item.article for item in measured})
    kinds = ("same", "other", "added")
    shares: dict[str, list[float]] = {kind: [] for kind in kinds}
    for fold in range(FOLDS):
        left_out = set(articles[fold::FOLDS])
        limits = choose([item for item in measured if item.article not in left_out])
        rest = [item for item in measured if item.article in left_out]
        for kind in kinds:
            shares[kind].append(passed(rest, kind, limits))
        print(f"fold {fold}: {limits}, passed " + ", ".join(f"{kind} {shares[kind][-1]:.3f}" for kind in kinds))
    chosen = choose(measured)
    result = {
        "usual": round(chosen.usual, 3),
        "whole": round(chosen.whole, 3),
        "part": round(chosen.part, 3),
        "pairs": len(pairs),
        "kept": KEPT,
        "passed_left_out": {kind: round(float(np.mean(values)), 3) for kind, values in shares.items()},
    }
    print(json.dumps(result, indent=1))
    if given.write:
        _FILE.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
