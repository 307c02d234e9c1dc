"""Faults of the disk, at the size of CI: failing system calls (R05), a full disk (R06), damaged files (R07).

Each guarantee has a null control: the same program with the guarantee broken must find violations.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.durability.common import run_program

pytestmark = pytest.mark.slow


def run(module: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Run a program; where the machine cannot inject its faults, skip, but never in CI."""
    status, figures = run_program(module, *options, timeout=280)
    if problem := figures.get("cannot_run"):
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)
    return status, figures


def test_a_failing_system_call_loses_nothing_that_was_acknowledged() -> None:
    status, figures = run("faults_io", "--trials", "100")
    assert (status, figures["violations"]) == (0, 0), figures
    assert figures["hit"] > 50
    assert figures["backups_restored"] > 0


def test_acknowledging_what_failed_is_noticed() -> None:
    status, figures = run("faults_io", "--trials", "15", "--break", "ack-anyway")
    assert status == 1
    assert figures["violations"] > 0


def test_a_full_disk_stops_writing_only_and_only_while_it_is_full() -> None:
    status, figures = run("disk_full", "--trials", "5")
    assert (status, figures["violations"]) == (0, 0), figures
    assert figures["reads"] > figures["documents"]
    assert figures["reads_refused"] == 0


def test_acknowledging_what_did_not_fit_is_noticed() -> None:
    status, figures = run("disk_full", "--trials", "1", "--break", "ack-anyway")
    assert status == 1
    assert figures["violations"] > 0


def test_no_damage_leads_to_a_wrong_answer() -> None:
    status, figures = run("corruption", "--trials", "500")
    assert (status, figures["violations"]) == (0, 0), figures
    assert figures["outcomes"]["index: detected"] > 100


@pytest.mark.parametrize("control", ["no-check", "no-row-check"])
def test_an_unchecked_file_gives_wrong_answers(control: str) -> None:
    status, figures = run("corruption", "--trials", "100", "--break", control)
    assert status == 1
    assert figures["violations"] > 0
