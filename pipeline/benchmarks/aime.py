"""AIME 2024 and 2025: problems of the American Invitational Mathematics Examination; answers are 0 to 999."""

from __future__ import annotations

import re

from pipeline.benchmarks.base import Benchmark, Row, text_in
from pipeline.records import Question

_GOLD = re.compile("[0-9]{1,3}")


def contest_question(row: Row, default_id: str) -> Question:
    """Reads a row with a problem and its answer.

    Args:
        row: The row; columns `problem` and `answer`. Other columns are not read: the editions in circulation number
            their problems differently.
        default_id: The question's id.

    Returns:
        The question; its gold is as it is written, possibly with leading zeros.

    Raises:
        ValueError: If there is no problem, or the answer is no whole number from 0 to 999.
    """
    gold = text_in(row, "answer").strip()
    if not _GOLD.fullmatch(gold):
        raise ValueError(f"column 'answer' must hold a whole number from 0 to 999, got {gold!r}")
    return Question(id=default_id, text=text_in(row, "problem").strip(), kind="number", gold=gold)


_COLUMNS = ("problem", "answer")

AIME24 = Benchmark(
    name="aime24",
    hub_id="HuggingFaceH4/aime_2024",
    split="train",
    file="aime_2024.parquet",
    kinds=("number",),
    columns=_COLUMNS,
    to_question=contest_question,
    max_new_tokens=20000,
)

AIME25 = Benchmark(
    name="aime25",
    hub_id="yentinglin/aime_2025",
    split="train",
    file="aime_2025.parquet",
    kinds=("number",),
    columns=_COLUMNS,
    to_question=contest_question,
    max_new_tokens=20000,
)
