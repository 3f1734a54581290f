"""The demo: a few dozen questions written for this project, so that everything runs without a download.

Their rows have the benchmarks' own columns and are read by the same functions. Kinds alternate, easy questions first.
"""

from __future__ import annotations

import json
from importlib.resources import files

from pipeline.benchmarks import arc, code, gsm8k
from pipeline.benchmarks.base import DEFAULT_MAX_NEW_TOKENS, Benchmark, Row, ToQuestion
from pipeline.records import Kind, Question

_PARTS: dict[Kind, tuple[tuple[str, ...], ToQuestion]] = {
    "number": (gsm8k.GSM8K.columns, gsm8k.number_question),
    "choice": (arc.ARC_EASY.columns, arc.choice_question),
    "code": (code.HUMANEVALPLUS.columns, code.function_question),
}


def rows() -> list[Row]:
    """The embedded rows, kinds alternating."""
    samples = files("pipeline.benchmarks") / "samples"
    parts = [(samples / f"demo_{kind}.jsonl").read_text(encoding="utf-8").splitlines() for kind in _PARTS]
    return [json.loads(line) for lines in zip(*parts, strict=True) for line in lines]


def _to_question(row: Row, default_id: str) -> Question:
    reader = next(reader for columns, reader in _PARTS.values() if row.keys() >= set(columns))
    return reader(row, default_id)


DEMO = Benchmark(
    name="demo",
    kinds=tuple(_PARTS),
    columns=(),
    to_question=_to_question,
    max_new_tokens=DEFAULT_MAX_NEW_TOKENS,
    embedded=rows,
)
