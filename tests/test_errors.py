from __future__ import annotations

import re
from pathlib import Path

import pytest

import eval.cases
from index.errors import FundstelleError, InputError, all_codes
from service.errors import PROTOCOL, STATUS

ROOT = Path(__file__).parent.parent
OFFLINE = set(eval.cases.CasesRejected.codes)
"""Codes that only the command line can give."""


def test_every_code_has_a_status_and_the_other_way_round() -> None:
    assert set(STATUS) == set(all_codes()) - OFFLINE


def test_every_code_has_a_hint_that_is_a_sentence() -> None:
    for code, hint in all_codes().items():
        assert re.fullmatch(r"[a-z0-9_]+", code)
        assert hint[0].isupper(), code
        assert hint.endswith("."), code


def test_every_code_is_raised_somewhere() -> None:
    sources = [
        path.read_text("utf-8") for folder in ("index", "service", "eval") for path in (ROOT / folder).glob("*.py")
    ]
    for code in {*all_codes(), *PROTOCOL}:
        assert sum(source.count(f'"{code}"') for source in sources) >= 2, f"{code} is declared but never used"


def test_an_undeclared_code_is_a_bug() -> None:
    with pytest.raises(KeyError):
        InputError("made_up", "A message.")


def test_the_text_of_an_error_says_what_to_do() -> None:
    class Example(FundstelleError):
        codes = {"example": "Do this."}

    assert str(Example("example", "It broke.")) == "It broke. Do this."
    Example.codes = {}
