"""F02 in small: two thousand damaged files and seventy hostile ones made by hand, uploaded to a running service.

``tests.hostile.uploads`` says what is measured and how. Here the model is tiny and files get 3 s of the processor, so
that it takes some five minutes; ``make bench-hostile`` is the same with fifty thousand files, the real model and the
real limits. Questions may be four times as slow meanwhile, not twice: tests share a machine with whatever else runs
on it, and a question to the tiny model takes so little that any wait doubles it. The strict number is the bench's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from index import Encoder
from index.errors import DocumentRejected
from index.load import document_from_bytes
from tests.durability.common import run_program
from tests.hostile.bombs import BOMBS
from tests.hostile.mutate import mutated
from tests.hostile.text_bombs import MARKDOWN, TEXT

SLOWER = "4"
SEED = "20260501"
PHASES = ("mutated", "bombs")
BY_HAND = 70
"""Of the hostile files made by hand; all of them take ten minutes and more."""

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    made_by_hand = ("--bombs", "--most", str(BY_HAND))
    options = ("--trials", "2000", *made_by_hand, "--quick", "--slower", SLOWER, "--seed", SEED)
    _, figures = run_program("uploads", *options, package="hostile", timeout=3000)
    print(figures)
    return figures


@pytest.mark.parametrize("name", PHASES)
def test_hostile_files_do_no_harm(report: dict[str, Any], name: str) -> None:
    """No fault, no late or missing answer, no stray process or file, no quote that is not in its document."""
    harm = report[name]["kinds"].keys() - {"memory", "slower"}  # these have bounds and tests of their own
    assert not harm, report[name]


@pytest.mark.parametrize("name", PHASES)
def test_memory_does_not_grow(report: dict[str, Any], name: str) -> None:
    assert report[name]["grown_mib"] <= 50, report[name]["memory_mib"]


@pytest.mark.parametrize("name", PHASES)
def test_questions_are_answered_meanwhile(report: dict[str, Any], name: str) -> None:
    assert min(report[name]["questions"].values()) >= 20, "too few to tell anything"
    assert report[name]["p99_ratio"] <= float(SLOWER), report[name]["ms"]


def test_as_many_as_was_promised(report: dict[str, Any]) -> None:
    assert report["mutated"]["files"] >= 2000
    assert report["bombs"]["files"] == BY_HAND >= 60
    assert len(BOMBS) > 2 * BY_HAND
    taken = sum(ends.get(end, 0) for ends in report["mutated"]["ends"].values() for end in ("added", "updated"))
    assert taken > 500, "nearly all are refused: the mutations are too coarse to get past the containers"
    assert report["mutated"]["quotes_checked"] > 100


CONTROLS = {
    "crash": ("status", "--trials", "30"),
    "hoard": ("memory", "--trials", "150"),
    "litter": ("outside", "--trials", "5"),
    "leave": ("left", "--trials", "5"),
    "misquote": ("quote", "--trials", "5"),
    "crowd": ("slower", "--trials", "30"),
    "free": ("child", "--trials", "0", "--bombs", "--only", "idna"),
}
"""What each null control must be noticed by."""


@pytest.mark.parametrize("control", CONTROLS)
def test_the_program_notices(control: str) -> None:
    kind, *options = CONTROLS[control]
    options += ["--quick", "--slower", SLOWER, "--seed", SEED, "--break", control]
    code, figures = run_program("uploads", *options, package="hostile")
    assert code == 1
    assert kind in {each for name in PHASES if name in figures for each in figures[name]["kinds"]}, figures


def test_mutations_are_the_same_each_time() -> None:
    assert [mutated(5, number).data for number in range(30)] == [mutated(5, number).data for number in range(30)]
    assert len({mutated(5, number).data for number in range(200)}) > 190


def test_bombs_have_names_of_their_own() -> None:
    assert len({bomb.name for bomb in BOMBS}) == len(BOMBS)


@pytest.mark.parametrize("bomb", [*TEXT.all, *MARKDOWN.all], ids=lambda bomb: bomb.name)
def test_the_real_model_takes_hostile_text(bomb: Any, e5: Encoder, tmp_path: Path) -> None:
    """The beginning of each text, as passages of the greatest length: what is unusual is in all of it."""
    data = bomb.make(tmp_path / "host")[:6000]
    try:
        text = document_from_bytes(bomb.name, data).text
    except DocumentRejected:
        return
    pieces = [text[start : start + 1500] for start in range(0, len(text), 1500)]
    encoded = e5.encode_passages(pieces)
    assert encoded.vectors.shape == (len(pieces), e5.info.dimension)
    assert all(count > 0 for count in e5.count_tokens(pieces))
