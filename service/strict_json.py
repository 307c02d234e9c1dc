"""JSON that says one thing only (RFC 8259, and RFC 7493 for names and characters).

Python's reader takes more than that: numbers that JSON has not, other encodings than UTF-8, half a surrogate pair,
a name that an object has twice, of which it drops the first. What one reader drops another one checks; a filter that
is there twice must not remove what half of it says.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""Part of a surrogate pair, or half of one."""


def parse(body: bytes) -> object:
    """Return what ``body`` says.

    Raises:
        json.JSONDecodeError: if it is not JSON in UTF-8, nested too deeply, or could be taken for something else.
    """
    try:
        said = json.loads(body.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_object)
        if _HALF.search(body):
            json.dumps(said, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(str(error), "", 0) from error
    return said


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found
