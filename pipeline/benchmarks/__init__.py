"""Benchmarks: data sets declared as records, and their rows read as `Question`s.

A new benchmark is one record in its family's module and its name in `table.BENCHMARKS`.
"""

from pipeline.benchmarks.base import Benchmark
from pipeline.benchmarks.loading import load_questions, short_name, task_names, token_cap
from pipeline.benchmarks.table import BENCHMARKS

__all__ = ["BENCHMARKS", "Benchmark", "load_questions", "short_name", "task_names", "token_cap"]
