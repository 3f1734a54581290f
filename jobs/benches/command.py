"""What the subcommands share: settings from a command line, what the machine is, progress lines and tables."""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from jobs.cli import parse, plain_parser
from pipeline.config import field_docs
from pipeline.validation import flag

Settings = TypeVar("Settings")
WIDE = 160
"""Columns of a table that no terminal's edge limits."""


def settings_of(kind: type[Settings], argv: Sequence[str], *, prog: str, description: str | None) -> Settings:
    """The settings that a command line asks for: a flag for every field of a dataclass, with its line as help.

    Args:
        kind: The dataclass; every field has a default and a line of documentation.
        argv: The command line after the subcommand.
        prog: What messages call it.
        description: What `--help` says first.

    Raises:
        ValueError: A flag or a value is wrong; one line.
    """
    parser = plain_parser(prog, description or "")
    types, docs = typing.get_type_hints(kind), field_docs(typing.cast(Any, kind))
    known = fields(typing.cast(Any, kind))
    for field in known:
        bare: dict[str, Any] = {"nargs": "?", "const": True} if types[field.name] is bool else {}
        name = field.name
        parser.add_argument(flag(name), type=types[name], default=field.default, help=docs[name], **bare)
    values = parse(parser, argv)
    return kind(**{field.name: values[field.name] for field in known})


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them; a 0 for what is no number."""
    return [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]


def words(text: str) -> list[str]:
    """Words with commas between them."""
    return [part.strip() for part in text.split(",") if part.strip()]


def listed(names: Iterable[str]) -> str:
    """Names as a message lists them."""
    return ", ".join(names)


def machine() -> dict[str, Any]:
    """What it runs on, and how busy that is now."""
    return {"cpus": os.cpu_count(), "load_average": load_average()}


def load_average() -> float:
    """How many processes have wanted a CPU during the last minute."""
    return round(os.getloadavg()[0], 1)


def say(text: str) -> None:
    """Writes a line of progress."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_table(columns: Mapping[str, str], measured: Sequence[Mapping[str, Any]], *, title: str | None = None) -> None:
    """Prints measurements on stderr, one a line.

    Args:
        columns: Titles by field of a measurement, in their order; a field that a measurement lacks stays empty.
        measured: The measurements.
        title: What stands above them.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns.values(), title=title, title_justify="left")
    for one in measured:
        table.add_row(*(_shown(one.get(name)) for name in columns))
    console = Console(stderr=True)
    if not console.is_terminal:  # in a file or a pipe there is no edge to keep to
        console.width = WIDE
    console.print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
