"""Reads a task's rows - embedded, from a folder, from the Hub, from a user's file - and turns them into questions.

Every bad input is a ValueError of one line: what was got, what is allowed, which flag to change.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from pipeline.benchmarks.base import Benchmark, ToQuestion, one_line
from pipeline.benchmarks.files import PlacedRow, check_columns, numbered, read_json_lines, read_parquet
from pipeline.benchmarks.hub import load_table
from pipeline.benchmarks.names import checked, short_name
from pipeline.benchmarks.own import own_question
from pipeline.benchmarks.table import BENCHMARKS
from pipeline.records import Question


def load_questions(task: str, *, data_dir: str | None, limit: int | None) -> list[Question]:
    """Loads the questions of one task.

    Args:
        task: A key of `BENCHMARKS`, or the path of a user's own file (.jsonl or .parquet).
        data_dir: The folder with the benchmark's Parquet file; without it the data set comes from the Hugging Face Hub.
        limit: Take only the first so many rows, 1 or more. All rows of a user's own file are checked nevertheless.

    Returns:
        The questions, in the order of the rows; their ids are unique and stable between runs.

    Raises:
        ValueError: If the task, the limit, the folder, the file, a row or the Hub is at fault.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"--limit must be 1 or more, got {limit}")
    benchmark = BENCHMARKS.get(checked(task))
    if benchmark is None:
        return _own_questions(Path(task))[:limit]
    source, rows = _read(benchmark, data_dir, limit)
    return _questions(rows, benchmark.to_question, benchmark.name, source)


def _own_questions(path: Path) -> list[Question]:
    rows = read_json_lines(path) if path.suffix == ".jsonl" else read_parquet(path)
    questions = _questions(rows, own_question, short_name(str(path)), str(path))
    # A published benchmark is what it is; in a file of one's own the same question twice is a slip.
    _check_unique([question.text for question in questions], rows, "question", str(path))
    return questions


def _read(benchmark: Benchmark, data_dir: str | None, limit: int | None) -> tuple[str, list[PlacedRow]]:
    """What the rows' source is called in messages, and the rows."""
    if benchmark.embedded:
        return f"the embedded {benchmark.name}", numbered(benchmark.embedded()[:limit])
    if data_dir is not None:
        path = Path(data_dir) / benchmark.file
        _check_file(path)
        return str(path), read_parquet(path, benchmark.columns, limit)
    if not benchmark.hub_id:
        raise ValueError(f"{benchmark.name} is not on the Hugging Face Hub; give --data-dir with {benchmark.file}")
    table = load_table(benchmark)
    check_columns(benchmark.columns, table.column_names, benchmark.hub_id)
    return benchmark.hub_id, numbered(list(islice(table, limit)))


def _check_file(path: Path) -> None:
    if not os.path.isdir(path.parent):  # unlike Path.is_dir(), it takes a name that is too long for no folder's
        raise ValueError(f"--data-dir {str(path.parent)!r} is not a folder; give one that holds {path.name}")
    if not path.is_file():
        there = ", ".join(sorted(other.name for other in path.parent.glob("*.parquet"))) or "no Parquet files"
        raise ValueError(f"--data-dir {str(path.parent)!r} has no {path.name}; it has {there}")


def _questions(rows: list[PlacedRow], to_question: ToQuestion, name: str, source: str) -> list[Question]:
    if not rows:
        raise ValueError(f"{source} has no rows; at least one is needed (--task, --data-dir)")
    questions: list[Question] = []
    for number, placed in enumerate(rows):
        try:
            questions.append(to_question(placed.row, f"{name}/{number:04d}"))
        except ValueError as error:
            raise ValueError(f"{source}, {placed.place} (the first is {placed.first}): {one_line(error)}") from error
    _check_unique([question.id for question in questions], rows, "id", source)
    return questions


def _check_unique(values: Iterable[str], rows: list[PlacedRow], what: str, source: str) -> None:
    first: dict[str, str] = {}
    for value, placed in zip(values, rows, strict=True):
        if value in first:
            short = value if len(value) <= 60 else value[:57] + "..."
            both = f"{first[value]} and {placed.place} (the first is {placed.first})"
            raise ValueError(f"{source}: {both} have the same {what} {short!r}")
        first[value] = placed.place
