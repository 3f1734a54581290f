"""Benchmarks: data sets declared as records, and their rows read as `Question`s.

A new benchmark is one record in its family's module and its name in `table.BENCHMARKS`.
"""

from pipeline.benchmarks.base import Benchmark
from pipeline.benchmarks.loading import load_questions
from pipeline.benchmarks.table import BENCHMARKS

__all__ = ["BENCHMARKS", "Benchmark", "load_questions"]
