"""What a benchmark is, and the checks that every family's row reader shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from pipeline.records import Kind, Question

Row = Mapping[str, Any]
"""One row of a data set, by column."""

ToQuestion = Callable[[Row, str], Question]
"""Reads a row; the second argument is the id to use if the row has none. Raises ValueError saying what is wrong."""

DEFAULT_MAX_NEW_TOKENS = 2048
"""The cap of questions for which the paper gives none: the demo's and users' own."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One data set and how its rows become questions."""

    name: str
    """Its name on the command line."""
    kinds: tuple[Kind, ...]
    """The kinds of question in it; one, except for the demo."""
    columns: tuple[str, ...]
    """The columns that every row must have; no others are read."""
    to_question: ToQuestion
    """Reads one row; pure."""
    max_new_tokens: int
    """Most tokens that an agent writes for one of its questions, as in the paper."""
    file: str = ""
    """Its Parquet file in a data folder."""
    hub_id: str = ""
    """Its repository on the Hugging Face Hub; empty where it has none."""
    config: str | None = None
    """Its configuration there."""
    split: str = "test"
    """Its split there."""
    embedded: Callable[[], list[Row]] | None = None
    """Where the rows come with this package: returns them. Then neither a folder nor the Hub is looked at."""


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
    if not _is_text(value):
        raise ValueError(f"column {column!r} must hold text, got {shown(value)}")
    return str(value)


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
    if not isinstance(values, list) or not all(map(_is_text, values)):
        raise ValueError(f"{what} must be a list of texts, got {shown(values)}")
    return [value.strip() for value in values]


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and no file or tokenizer takes
        return False
    return True


def letters_for(options: Sequence[str]) -> tuple[str, ...]:
    """The labels under which options are shown: A, B, ...

    Raises:
        ValueError: If there are fewer than 2 options or more than 26.
    """
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise ValueError(f"there must be 2 to {len(ascii_uppercase)} options, got {len(options)}")
    return tuple(ascii_uppercase[: len(options)])


def with_options(stem: str, options: Sequence[str]) -> str:
    """The text of a choice question: the stem, then one option a line."""
    lines = [f"{letter}. {option}" for letter, option in zip(letters_for(options), options, strict=True)]
    return "\n".join([stem.strip(), "", *lines])


def on_one_line(text: str) -> str:
    """An option's text without line breaks and doubled spaces, since options are listed one a line."""
    return " ".join(text.split())


def shown(value: object) -> str:
    """A value as an error message quotes it: on one line, and not all of a long one."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def one_line(error: BaseException) -> str:
    """What an exception says, on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
