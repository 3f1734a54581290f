"""GSM8K (Cobbe et al., 2021): word problems of grade-school mathematics; the gold stands after `####`."""

from __future__ import annotations

import re

from pipeline.benchmarks.base import Benchmark, Row, text_in
from pipeline.records import Question

_GOLD = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def number_question(row: Row, default_id: str) -> Question:
    """Reads a row with a question and a worked solution that ends in `#### <number>`.

    Args:
        row: The row; columns `question` and `answer`.
        default_id: The question's id, since the rows have none.

    Returns:
        The question; thousands commas are removed from its gold.

    Raises:
        ValueError: If a column holds no text, or no number follows the last `####`.
    """
    _, mark, gold = text_in(row, "answer").rpartition("####")
    gold = gold.strip().replace(",", "")
    if not mark or not _GOLD.fullmatch(gold):
        raise ValueError(f"column 'answer' must end in '#### <number>', got {row['answer'][-30:]!r}")
    return Question(id=default_id, text=text_in(row, "question").strip(), kind="number", gold=gold)


GSM8K = Benchmark(
    name="gsm8k",
    hub_id="openai/gsm8k",
    config="main",
    file="gsm8k.parquet",
    kinds=("number",),
    columns=("question", "answer"),
    to_question=number_question,
    max_new_tokens=2048,
)
