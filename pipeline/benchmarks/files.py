"""Reads rows from files on disk: Parquet, and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.benchmarks.base import Row, one_line, shown


@dataclass(frozen=True, kw_only=True)
class PlacedRow:
    """A row, and where it stands."""

    place: str
    """Where, in users' words."""
    first: int
    """The number that the first place has."""
    row: Row
    """The row."""


def numbered(rows: Sequence[Row]) -> list[PlacedRow]:
    """Rows placed by their number, from 0."""
    return [PlacedRow(place=f"row {number}", first=0, row=row) for number, row in enumerate(rows)]


def read_parquet(path: Path, columns: Sequence[str] | None = None, limit: int | None = None) -> list[PlacedRow]:
    """The rows of a Parquet file.

    Args:
        path: The file.
        columns: The columns to read, which must be there; by default all that there are.
        limit: Take only the first so many rows.

    Returns:
        The rows, in order.

    Raises:
        ValueError: If it can't be read or a column is missing.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check_columns(columns or (), file.schema_arrow.names, str(path))
            table = file.read(columns=None if columns is None else list(columns))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} can't be read as Parquet: {one_line(error)} (--data-dir, --task)") from error
    return numbered(table.slice(0, limit).to_pylist())


def check_columns(needed: Sequence[str], columns: Sequence[str], source: str) -> None:
    """Raises a `ValueError` that names the missing columns and those there are, unless all are there."""
    missing = [column for column in needed if column not in columns]
    if missing:
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing))}; "
            f"it has {', '.join(columns) or 'none'} (--task, --data-dir)"
        )


def read_json_lines(path: Path) -> list[PlacedRow]:
    """The rows of a file with one JSON object a line; blank lines are passed over.

    Raises:
        ValueError: If it can't be read, or a line is no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as UTF-8 text: {one_line(error)} (--task)") from error
    # Not splitlines(): JSON lets a text hold other line separators than the line feed.
    lines = [(f"line {number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [PlacedRow(place=place, first=1, row=_json_object(line, f"{path}, {place}")) for place, line in lines]


def _json_object(line: str, where: str) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} (the first is 1): no valid JSON: {one_line(error)}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where} (the first is 1): must be a JSON object, {{...}}, got {shown(row)}")
    return row


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python's own reading takes the last of two values of one name without a word."""
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{shown(next(name for name in names if names.count(name) > 1))} stands there twice")
    return row
