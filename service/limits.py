"""How much a caller may ask in what time: the library limits, counting in this process."""

from __future__ import annotations

import math
import time
from functools import cached_property
from typing import TYPE_CHECKING

from index.errors import SettingsRejected

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import RateLimiter

FAILURES = "10/minute"
"""Wrong keys from one address; more, and no key from there is looked at for a while."""


class RateLimit:
    """One limit for many callers, each counted alone.

    Args:
        rate: such as ``600/minute`` or ``20/second``; "" for none.
    """

    def __init__(self, rate: str) -> None:
        self._text = rate

    def prepare(self) -> RateLimit:
        """See that the rate can be understood, before the first request.

        Raises:
            SettingsRejected: if not.
        """
        if self._rate is not None:
            _ = self._limiter
        return self

    @cached_property
    def _rate(self) -> RateLimitItem | None:
        return _parse(self._text) if self._text else None

    @cached_property
    def _limiter(self) -> RateLimiter:
        from limits.storage import MemoryStorage
        from limits.strategies import SlidingWindowCounterRateLimiter

        return SlidingWindowCounterRateLimiter(MemoryStorage())

    def allows(self, who: str) -> bool:
        """Count a request and say whether it is within the limit."""
        return self._rate is None or self._limiter.hit(self._rate, who)

    def exhausted(self, who: str) -> bool:
        """Say whether the next one would be beyond it, without counting."""
        return self._rate is not None and not self._limiter.test(self._rate, who)

    def retry_after(self, who: str) -> int:
        """Return the seconds after which it is worth trying again, at least 1."""
        if self._rate is None:
            return 1
        reset = self._limiter.get_window_stats(self._rate, who).reset_time
        return max(1, math.ceil(reset - time.time()))


def _parse(rate: str) -> RateLimitItem:
    from limits import parse  # takes a third of a second, and many services need none

    try:
        return parse(rate)
    except ValueError as error:
        raise SettingsRejected(
            "settings_invalid", f"'{rate}' is no rate; write '600/minute', for example."
        ) from error
