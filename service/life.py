"""Whether the service is still to be given work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Life:
    """One flag that the signal to end sets, and that readiness and connections look at."""

    ending: bool = False
