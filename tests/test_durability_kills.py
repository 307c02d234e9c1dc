"""What a kill at any moment leaves behind: R01, R03, the order of fsyncs, R18; each with what makes it fail.

The programs run in processes of their own, see ``tests/durability``; ``make bench`` runs many more trials.
"""

from __future__ import annotations

import os
import shutil

import pytest

from index.faults import Point
from tests.durability.common import run_program

KINDS = ("lost", "resurrected", "half", "phantom", "duplicate", "index", "backwards", "failed")


def test_kills_at_random_moments_lose_and_resurrect_nothing() -> None:
    code, figures = run_program("kills", "--trials", "300")
    assert {kind: figures[kind] for kind in KINDS} == dict.fromkeys(KINDS, 0), figures
    assert code == figures["violations"] == 0
    assert figures["trials"] == 300
    # as many kills in the middle of things as make the result worth something
    assert figures["kills_while_in_flight"] > 60
    assert figures["kills_during_recovery"] > 20
    assert figures["acknowledged"] > 300


@pytest.mark.parametrize("control", ["early-ack", "split", "keep"])
def test_kills_detect_a_broken_guarantee(control: str) -> None:
    trials = {"keep": "25"}.get(control, "50")
    code, figures = run_program("kills", "--trials", trials, "--break", control)
    assert code == 1
    assert figures["lost"] + figures["resurrected"] > 0, figures


def test_a_kill_at_every_point_of_every_operation_leaves_before_or_after() -> None:
    code, figures = run_program("points", "--recovery", "25")
    assert code == figures["violations"] == 0, figures.get("examples")
    assert set(figures["kills_at"]) == set(Point)
    assert min(figures["kills_at"].values()) > 0, figures["kills_at"]
    assert figures["kills_during_recovery"] > 5


@pytest.mark.parametrize(
    ("control", "step", "kind"),
    [
        ("early-ack", "add/change.before-commit/1", "lost"),
        ("split", "update/change.begun/2", "lost"),
        ("in-place", "compact/index.current-written/1", "index"),
    ],
)
def test_points_detect_a_broken_guarantee(control: str, step: str, kind: str) -> None:
    code, figures = run_program("points", "--only", step, "--break", control)
    assert code == 1
    assert figures[kind] > 0, figures


def test_a_point_that_nothing_reaches_is_noticed() -> None:
    code, figures = run_program("points", "--count", "--break", "blind")
    assert code == 1
    assert figures["unreached"] == sum(point.startswith("restore.") for point in Point)


@pytest.fixture
def strace() -> None:
    if shutil.which("strace") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is missing: the order of fsyncs must be tested here")
        pytest.skip("strace is missing")


@pytest.mark.usefixtures("strace")
def test_what_is_acknowledged_is_synced() -> None:
    code, figures = run_program("fsync_order", "--trials", "30")
    assert code == figures["violations"] == 0, figures.get("examples")
    assert figures["acknowledged"] >= 30
    assert figures["renames"] >= 6


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("control", ["no-sync", "no-fsync"])
def test_fsync_order_detects_what_is_not_synced(control: str) -> None:
    code, figures = run_program("fsync_order", "--trials", "9", "--break", control)
    assert code == 1
    assert figures["violations"] > 5, figures


def test_a_folder_in_use_is_refused_and_free_after_a_kill() -> None:
    code, figures = run_program("locks", "--trials", "10")
    assert code == figures["violations"] == 0, figures.get("examples")


def test_locks_detect_a_missing_lock() -> None:
    code, figures = run_program("locks", "--trials", "2", "--break", "no-lock")
    assert code == 1
    assert figures["violations"] > 0
