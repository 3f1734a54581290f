"""The table of benchmarks: a name on the command line is a key here."""

from __future__ import annotations

from pipeline.benchmarks.aime import AIME24, AIME25
from pipeline.benchmarks.arc import ARC_CHALLENGE, ARC_EASY
from pipeline.benchmarks.base import Benchmark
from pipeline.benchmarks.code import HUMANEVALPLUS, MBPPPLUS
from pipeline.benchmarks.demo import DEMO
from pipeline.benchmarks.gpqa import GPQA_DIAMOND
from pipeline.benchmarks.gsm8k import GSM8K
from pipeline.benchmarks.medqa import MEDQA

PAPER = (ARC_EASY, ARC_CHALLENGE, GSM8K, MEDQA, MBPPPLUS, HUMANEVALPLUS, AIME24, AIME25, GPQA_DIAMOND)
"""The benchmarks of the paper: what `--task all` runs."""

BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in (*PAPER, DEMO)}
"""All benchmarks by name."""
