"""A12: everything works as nobody, on a read-only root, without privileges, network or room for temporary files."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.security.hardened import BREAKS, can_run, run_inside

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def able() -> None:
    """Only root can build such a place; CI is root."""
    if why := can_run():
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


def inside(*words: str, control: str | None = None, temporary: str = "/data") -> tuple[int, dict[str, Any]]:
    done = run_inside(["-m", "tests.security.hardened", "--inside", *words], control, temporary)
    lines = done.stdout.strip().splitlines()
    assert lines and lines[-1].startswith("{"), done.stdout[-2000:] + done.stderr[-4000:]
    return done.returncode, json.loads(lines[-1])


def test_a_service_answers_everything() -> None:
    status, said = inside()
    assert (status, said["weaknesses"]) == (0, [])
    assert said["answered"] > 15


def test_what_finds_no_room_for_temporary_files_is_refused_and_nothing_else() -> None:
    assert inside(temporary="/tmp") == (0, {"weaknesses": [], "answered": 0})


@pytest.mark.parametrize(
    ("control", "weakness"),
    list(zip(BREAKS, ("has capabilities", "writes outside of its folder", "reaches other machines"), strict=True)),
)
def test_a_weak_place_is_noticed(control: str, weakness: str) -> None:
    status, said = inside("--dry", control=control)
    assert status == 1
    assert weakness in said["weaknesses"]
