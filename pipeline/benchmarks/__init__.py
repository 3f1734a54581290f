"""Benchmarks: data sets declared as records, users' own files, and the rows of both read as `Question`s.

A new benchmark is one record in its family's module and its name in `table.BENCHMARKS`. Nothing here needs torch or
Ray, and `datasets` is imported only to ask the Hub.
"""

from pipeline.benchmarks.base import Benchmark
from pipeline.benchmarks.loading import load_questions
from pipeline.benchmarks.names import located, short_name, task_names, token_cap
from pipeline.benchmarks.table import BENCHMARKS

__all__ = ["BENCHMARKS", "Benchmark", "load_questions", "located", "short_name", "task_names", "token_cap"]
