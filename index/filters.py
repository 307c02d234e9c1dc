"""Filters on documents, compiled to SQL conditions with values apart; no text of a caller becomes SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from index.errors import FilterRejected
from index.records import Scalar

Range: TypeAlias = Mapping[str, Scalar]
"""``from`` and ``to``, or one of them; both inclusive."""
Filters: TypeAlias = Mapping[str, Scalar | Sequence[Scalar] | Range]
"""Field to one value, to several of which one must match, or to a range; all fields must match."""

_COLUMNS = {
    "source": "documents.source",
    "language": "versions.language",
    "format": "versions.format",
    "document_id": "documents.id",
}
_METADATA = "metadata."
_SHORT = {"date": "metadata.date", "author": "metadata.author"}
"""What files say of themselves is metadata with a name of its own."""


def compile_filters(filters: Filters) -> tuple[list[str], list[Scalar]]:
    """Return SQL conditions on ``documents`` and ``versions``, and the values for their marks.

    Raises:
        FilterRejected: if a filter names an unknown field or has a wrong shape.
    """
    conditions: list[str] = []
    values: list[Scalar] = []
    for name, wanted in filters.items():
        if not _can_be_stored(name):
            raise FilterRejected("filter_invalid", "A filter's field is not valid text.")
        field = _SHORT.get(name, name)
        if isinstance(wanted, Mapping):
            conditions.append(_compile_range(field, wanted, values))
            continue
        choices: list[Scalar] = list(wanted) if isinstance(wanted, list | tuple) else [wanted]  # type: ignore[list-item]
        if not choices or not all(map(_can_be_stored, choices)):
            raise FilterRejected("filter_invalid", f"The filter '{field}' needs one value or a list of values.")
        marks = ", ".join("?" * len(choices))
        if field in _COLUMNS:
            conditions.append(f"{_COLUMNS[field]} IN ({marks})")
        elif field.startswith(_METADATA) and len(field) > len(_METADATA):
            match = f"value IN ({marks})" + (" OR value IS NULL" if None in choices else "")
            conditions.append(f"EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND ({match}))")  # noqa: S608
            values.append(field.removeprefix(_METADATA))
        else:
            raise FilterRejected("filter_invalid", f"There is no field '{field}' to filter on.")
        values += choices
    return conditions, values


def _compile_range(field: str, wanted: Range, values: list[Scalar]) -> str:
    """Return a condition for a range of text, dates as ISO 8601 above all, or of numbers; add its values."""
    unknown = FilterRejected("filter_invalid", f"The range for '{field}' needs 'from', 'to' or both, of one type.")
    texts = [isinstance(bound, str) for bound in wanted.values()]
    numbers = [isinstance(bound, int | float) and not isinstance(bound, bool) for bound in wanted.values()]
    one_type = all(texts) or all(numbers)
    if (
        not wanted
        or not wanted.keys() <= {"from", "to"}
        or not one_type
        or not all(map(_can_be_stored, wanted.values()))
    ):
        raise unknown
    own = field in _COLUMNS
    value = _COLUMNS[field] if own else "value"
    conditions = [f"typeof({value}) IN {_TEXT if texts[0] else _NUMBERS}"]
    if not own:
        if not field.startswith(_METADATA) or len(field) == len(_METADATA):
            raise FilterRejected("filter_invalid", f"There is no field '{field}' to filter on.")
        values.append(field.removeprefix(_METADATA))
    if "from" in wanted:
        conditions.append(f"{value} >= ?")
        values.append(wanted["from"])
    if "to" in wanted:
        last = wanted["to"]
        conditions.append(f"{value} <= ?")
        # The end of a range counts whole: "2014" goes up to the last day of that year.
        values.append(last + _AFTER_ALL if isinstance(last, str) else last)
    joined = " AND ".join(conditions)
    return joined if own else f"EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND {joined})"  # noqa: S608


_TEXT, _NUMBERS = "('text')", "('integer', 'real')"
_AFTER_ALL = chr(0x10FFFF)


def _can_be_stored(value: object) -> bool:
    """Say whether SQLite can hold a value: whole characters, 64 bits, finite."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))
