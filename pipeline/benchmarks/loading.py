"""Reads a benchmark's rows - embedded, from a folder or from the Hub - and turns them into questions.

Every bad input is a ValueError of one line: what was got, what is allowed, which flag to change.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.benchmarks.base import Benchmark, Row
from pipeline.benchmarks.table import BENCHMARKS
from pipeline.records import Question


def load_questions(task: str, *, data_dir: str | None, limit: int | None) -> list[Question]:
    """Loads the questions of a benchmark.

    Args:
        task: A key of `BENCHMARKS`.
        data_dir: The folder with `<task>.parquet`; without it the data set comes from the Hugging Face Hub.
        limit: Take only the first so many rows, 1 or more.

    Returns:
        The questions, in the order of the rows; their ids are unique and stable between runs.

    Raises:
        ValueError: If the task, the limit, the folder, the file, a row or the Hub is at fault.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"--limit must be 1 or more, got {limit}")
    benchmark = _find(task)
    source, rows = _read(benchmark, data_dir, limit)
    questions = [_question(benchmark, row, number, source) for number, row in enumerate(rows)]
    if not questions:
        raise ValueError(f"{source} has no rows; at least one is needed (--task, --data-dir)")
    _check_ids(questions, source)
    return questions


def task_names(text: str) -> tuple[str, ...]:
    """The benchmarks that `--task` names: one, several with commas between them, or `all` (which leaves the demo out).

    Raises:
        ValueError: One of them is unknown, or named twice.
    """
    if text.strip() == "all":
        return tuple(name for name in BENCHMARKS if name != "demo")
    names = tuple(_find(name.strip()).name for name in text.split(","))
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"--task {text!r} names {name} twice; name every benchmark once")
    return names


def short_name(task: str) -> str:
    """What a benchmark is called where a path would be too long, such as in the name of a folder."""
    return _find(task).name


def token_cap(task: str) -> int:
    """The paper's `--max-new-tokens` for a benchmark; 2048 for one that is not in the paper."""
    _find(task)
    return 2048


def _find(task: str) -> Benchmark:
    if task in BENCHMARKS:
        return BENCHMARKS[task]
    near = get_close_matches(task, BENCHMARKS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"--task {task!r} is unknown{hint}; allowed: {', '.join(sorted(BENCHMARKS))}")


def _read(benchmark: Benchmark, data_dir: str | None, limit: int | None) -> tuple[str, Iterable[Row]]:
    """What the rows' source is called in messages, and the rows."""
    if benchmark.embedded:
        return f"the embedded {benchmark.name}", islice(benchmark.embedded(), limit)
    if data_dir is not None:
        path = Path(data_dir) / benchmark.file_name
        return str(path), _read_file(benchmark, path, limit)
    return benchmark.hub_id, _read_hub(benchmark, limit)


def _read_file(benchmark: Benchmark, path: Path, limit: int | None) -> list[Row]:
    if not path.parent.is_dir():
        raise ValueError(f"--data-dir {str(path.parent)!r} is not a folder; give one that holds {path.name}")
    if not path.is_file():
        there = ", ".join(sorted(other.name for other in path.parent.glob("*.parquet"))) or "no Parquet files"
        raise ValueError(f"--data-dir {str(path.parent)!r} has no {path.name}; it has {there}")
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_columns(benchmark, file.schema_arrow.names, str(path))
            table = file.read(columns=list(benchmark.columns))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} can't be read as Parquet: {_one_line(error)} (--data-dir)") from error
    rows: list[Row] = table.slice(0, limit).to_pylist()
    return rows


def _read_hub(benchmark: Benchmark, limit: int | None) -> Iterable[Row]:
    import datasets

    try:
        table: Any = datasets.load_dataset(benchmark.hub_id, benchmark.config, split=benchmark.split)
    except Exception as error:  # the Hub's clients': four libraries' exceptions, no common base, and they change
        raise ValueError(
            f"{benchmark.hub_id} can't be loaded from the Hugging Face Hub: {_one_line(error)}; offline, give "
            f"--data-dir with {benchmark.file_name} or point HF_HOME at a filled cache; "
            "if it is gated, run hf auth login"
        ) from error
    _check_columns(benchmark, table.column_names, benchmark.hub_id)
    return islice(table, limit)


def _check_columns(benchmark: Benchmark, columns: list[str], source: str) -> None:
    missing = [column for column in benchmark.columns if column not in columns]
    if missing:
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing))}, which {benchmark.name} needs; "
            f"it has {', '.join(columns) or 'none'} (--task, --data-dir)"
        )


def _question(benchmark: Benchmark, row: Row, number: int, source: str) -> Question:
    try:
        return benchmark.to_question(row, f"{benchmark.name}/{number:04d}")
    except ValueError as error:
        raise ValueError(f"{source}, row {number} (the first is 0): {error}") from error


def _check_ids(questions: list[Question], source: str) -> None:
    first: dict[str, int] = {}
    for number, question in enumerate(questions):
        if question.id in first:
            raise ValueError(f"{source}: rows {first[question.id]} and {number} have the same id {question.id!r}")
        first[question.id] = number


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
