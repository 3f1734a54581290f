"""The benchmarks' real rows, for tests that are about them; they lie in a folder outside the repository."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from pipeline.benchmarks import BENCHMARKS, load_questions
from pipeline.records import Question

BESIDE = Path(__file__).parent.parent.parent / "shared" / "data"


def real_data_dir() -> str:
    """The folder with the benchmarks' Parquet files; skips the test where there is none."""
    folder = Path(os.environ.get("LATENTMAS_DATA") or BESIDE)
    if not folder.is_dir():
        pytest.skip(f"no benchmark files in {folder}; set LATENTMAS_DATA to a folder that has them")
    return str(folder)


@cache
def _load(task: str, folder: str) -> tuple[Question, ...]:
    return tuple(load_questions(task, data_dir=folder, limit=None))


def real_questions(task: str) -> tuple[Question, ...]:
    """All questions of a benchmark; skips the test where its file is not."""
    folder = real_data_dir()
    if not (Path(folder) / BENCHMARKS[task].file).is_file():
        pytest.skip(f"no {BENCHMARKS[task].file} in {folder}; set LATENTMAS_DATA to a folder that has it")
    return _load(task, folder)
