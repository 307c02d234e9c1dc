"""R13 in small: twenty thousand requests, and the service is as it was."""

from __future__ import annotations

import random

import pytest

from tests.load import soak

pytestmark = pytest.mark.timeout(1500)


def test_twenty_thousand_requests_leave_nothing_behind() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    figures = soak.run(20_000, seed)
    assert figures["violations"] == 0, figures


def test_a_leak_is_noticed() -> None:
    assert "memory" in soak.run(3000, 1, "leak")["examples"]
