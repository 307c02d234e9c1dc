"""Entity tags: whether a reader has already what they ask for, and still means what they change (RFC 9110, 13)."""

from __future__ import annotations

import hashlib
import re

_TAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|\Z)')


def tag_of(data: bytes) -> str:
    """Return the strong tag of exactly these bytes."""
    return f'"{hashlib.sha256(data).hexdigest()}"'


def is_known(tag: str, given: str | None) -> bool:
    """Say whether an If-None-Match header names ``tag``: then nothing need be sent."""
    return given is not None and (given.strip() == "*" or tag in {each for _, each in _tags(given)})


def is_meant(tag: str, given: str) -> bool:
    """Say whether an If-Match header names ``tag``: then a change is wanted."""
    return given.strip() == "*" or tag in {each for weak, each in _tags(given) if not weak}


def _tags(given: str) -> list[tuple[str, str]]:
    """Return weakness and tag of all; none if the header is malformed."""
    found, place = [], 0
    while place < len(given):
        match = _TAG.match(given, place)
        if match is None:
            return []
        found.append((match[1] or "", match[2]))
        place = match.end()
    return found
