"""What a benchmark is, and the checks that every family's row reader shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.records import Kind, Question

Row = Mapping[str, Any]
"""One row of a data set, by column."""

ToQuestion = Callable[[Row, str], Question]
"""Reads a row; the second argument is the id to use if the row has none. Raises ValueError saying what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One data set and how its rows become questions."""

    name: str
    """Its name on the command line."""
    kinds: tuple[Kind, ...]
    """The kinds of question in it; one, except for the demo."""
    columns: tuple[str, ...]
    """The columns that every row must have."""
    to_question: ToQuestion
    """Reads one row; pure."""
    hub_id: str = ""
    """Its repository on the Hugging Face Hub."""
    config: str | None = None
    """Its configuration there."""
    split: str = "test"
    """Its split there."""
    embedded: Callable[[], list[Row]] | None = None
    """Where the rows come with this package: returns them. Then neither a folder nor the Hub is looked at."""

    @property
    def file_name(self) -> str:
        """Its file in a data folder."""
        return f"{self.name}.parquet"


def text_in(row: Row, column: str) -> str:
    """The text in a row's column.

    Args:
        row: The row.
        column: The column's name.

    Returns:
        The text as it is.

    Raises:
        ValueError: If there is no text in it.
    """
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"column {column!r} must hold text, got {_shown(value)}")
    return value


def texts_in(values: object, what: str) -> list[str]:
    """The texts of a list, each stripped.

    Args:
        values: What the row holds.
        what: What the list is called in an error message.

    Returns:
        The texts.

    Raises:
        ValueError: If it is no list of texts, or one of them is empty.
    """
    if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
        raise ValueError(f"{what} must be a list of texts, got {_shown(values)}")
    return [value.strip() for value in values]


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
