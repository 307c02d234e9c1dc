"""Filters on documents, compiled to SQL conditions with values apart; no text of a caller becomes SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from index.errors import FilterRejected
from index.records import Scalar

Filters: TypeAlias = Mapping[str, Scalar | Sequence[Scalar]]
"""Field to one value or several of which one must match; all fields must match."""

_COLUMNS = {"source": "documents.source", "language": "versions.language", "document_id": "documents.id"}
_METADATA = "metadata."


def compile_filters(filters: Filters) -> tuple[list[str], list[Scalar]]:
    """Return SQL conditions on ``documents`` and ``versions``, and the values for their marks.

    Raises:
        FilterRejected: if a filter names an unknown field or has a wrong shape.
    """
    conditions: list[str] = []
    values: list[Scalar] = []
    for field, wanted in filters.items():
        if not _can_be_stored(field):
            raise FilterRejected("filter_invalid", "A filter's field is not valid text.")
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


def _can_be_stored(value: object) -> bool:
    """Say whether SQLite can hold a value: whole characters, 64 bits, finite."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))
