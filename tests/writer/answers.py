"""Written answers to check: the faithful ones, and the adversarial ones made from them or written by hand."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from service.faithful import EvidenceText

FOLDER = Path(__file__).parent.parent / "data" / "written"


@dataclass(frozen=True, slots=True)
class Case:
    """One sentence with what it cites."""

    id: str
    kind: str
    half: str
    question: str
    sentence: str
    cited: tuple[int, ...]
    evidence: tuple[EvidenceText, ...]

    @property
    def numbered(self) -> dict[int, EvidenceText]:
        """The evidence by its numbers."""
        return dict(enumerate(self.evidence, 1))


@cache
def faithful() -> tuple[Case, ...]:
    """Return the faithful answers."""
    return tuple(_faithful())


@cache
def last() -> tuple[Case, ...]:
    """Return the faithful answers of the last look."""
    return tuple(_faithful("last.toml"))


def _faithful(name: str = "faithful.toml") -> Iterator[Case]:
    for block in tomllib.loads((FOLDER / name).read_text("utf-8"))["block"]:
        evidence = tuple(EvidenceText(text, language) for language, text in block["evidence"])
        for at, (_, question, sentence, cited) in enumerate(block["answers"]):
            yield Case(f"{block['id']}/{at}", "faithful", block["half"], question, sentence, tuple(cited), evidence)


@cache
def adversarial() -> tuple[Case, ...]:
    """Return the adversarial answers: those made by ``tests.writer.make_adversarial`` and those written by hand."""
    made = _read_all("adversarial.jsonl")
    return (*made, *_by_hand("hard.toml"))


def _by_hand(name: str) -> Iterator[Case]:
    for at, row in enumerate(tomllib.loads((FOLDER / name).read_text("utf-8"))["answer"]):
        evidence = tuple(EvidenceText(text, language) for language, text in row["evidence"])
        cited = tuple(row["cited"])
        yield Case(f"hard/{at}", row["kind"], "hand", row["question"], row["sentence"], cited, evidence)


@cache
def second() -> tuple[Case, ...]:
    """Return the faithful answers of the second look."""
    return tuple(_faithful("second.toml"))


@cache
def second_adversarial() -> tuple[Case, ...]:
    """Return the adversarial answers of the second look, all written by hand."""
    return tuple(_by_hand("second_hard.toml"))


@cache
def last_adversarial() -> tuple[Case, ...]:
    """Return the adversarial answers made from those of the last look."""
    return tuple(_read_all("last.jsonl"))


def _read_all(name: str) -> list[Case]:
    return [_read(json.loads(line)) for line in (FOLDER / name).read_text("utf-8").splitlines()]


def _read(row: dict[str, object]) -> Case:
    evidence = tuple(EvidenceText(str(text), str(language)) for language, text in row["evidence"])  # type: ignore[attr-defined]
    cited: tuple[int, ...] = tuple(row["cited"])  # type: ignore[arg-type]
    return Case(
        str(row["id"]),
        str(row["kind"]),
        str(row["half"]),
        str(row["question"]),
        str(row["sentence"]),
        cited,
        evidence,
    )
