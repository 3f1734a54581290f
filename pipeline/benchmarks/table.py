"""The table of benchmarks: a name on the command line is a key here."""

from __future__ import annotations

from pipeline.benchmarks.arc import ARC_CHALLENGE, ARC_EASY
from pipeline.benchmarks.base import Benchmark
from pipeline.benchmarks.demo import DEMO
from pipeline.benchmarks.gsm8k import GSM8K

BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in (ARC_CHALLENGE, ARC_EASY, DEMO, GSM8K)}
"""All benchmarks by name."""
