"""A02 in small: 300 worlds of three tenants; each check switched off is noticed."""

from __future__ import annotations

import random

import pytest

from tests.security.tenants import BREAKS, run


@pytest.mark.timeout(900)
def test_tenants_see_nothing_of_one_another() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    figures = run(300, seed)
    assert figures["violations"] == 0, figures


@pytest.mark.parametrize("control", BREAKS)
def test_a_check_that_is_switched_off_is_noticed(control: str) -> None:
    assert run(20, 1, control)["violations"] > 0
