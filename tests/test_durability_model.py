"""The library against its model (R08) and backups while others write (R16), at the size of CI.

Each guarantee has a null control: the same program with the guarantee broken must find violations.
"""

from __future__ import annotations

import pytest

from tests.durability.common import run_program

pytestmark = pytest.mark.slow


def test_the_library_does_what_the_model_does() -> None:
    code, figures = run_program("model", "--trials", "2000")
    assert (code, figures["violations"]) == (0, 0), figures
    assert figures["trials"] >= 2000
    for kind in ("crash", "restore", "change the model", "looks at the past", "looks through a held view", "hits"):
        assert figures["done"][kind], f"there was no '{kind}'"


@pytest.mark.parametrize("control", ["forgetful", "no-mask", "early-purge"])
def test_the_model_finds_what_is_broken(control: str) -> None:
    code, figures = run_program("model", "--trials", "2000", "--break", control)
    assert (code, figures["violations"]) == (1, 1), figures


def test_backups_made_while_others_write() -> None:
    code, figures = run_program("backups", "--trials", "5")
    assert (code, figures["violations"]) == (0, 0), figures
    assert figures["mb_largest_backup"] > 20
    assert figures["changes_during_backups"], "nobody wrote during the backups"


def test_a_copied_file_is_no_backup() -> None:
    code, figures = run_program("backups", "--trials", "2", "--break", "copy")
    assert code == 1
    assert figures["violations"], figures
