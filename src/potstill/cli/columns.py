"""How a column of a schema is shown in a table."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.artifact.values import days_to_iso
from potstill.types import Column, Schema

HEADS = ("name", "kind", "values", "missing")
_SHOWN_LEVELS = 4
_DIRECTIONS = {0: "", 1: " (monotone +1)", -1: " (monotone -1)"}


def rows_of(schema: Schema) -> list[Sequence[str]]:
    """One row for each column of ``schema``, under `HEADS`."""
    return [
        (column.name, column.kind, _values(column), "yes" if column.has_missing else "")
        for column in schema.columns
    ]


def _values(column: Column) -> str:
    if column.levels:
        more = len(column.levels) - _SHOWN_LEVELS
        return ", ".join(column.levels[:_SHOWN_LEVELS]) + (f" and {more:,} more" if more > 0 else "")
    if column.low is None or column.high is None:
        return ""
    if column.kind == "date":
        return f"{(days_to_iso(column.low) or '')[:10]} to {(days_to_iso(column.high) or '')[:10]}"
    return f"{column.low:g} to {column.high:g}{_DIRECTIONS[column.monotone]}"
