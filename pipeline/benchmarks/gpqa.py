"""GPQA Diamond (Rein et al., 2023): questions of biology, physics and chemistry for experts.

Its authors ask that the questions not be spread in plain text, so no copy was at hand: this reader follows the data
set's description and was not tried on the real data. A row that is different ends with a line that says how.
"""

from __future__ import annotations

import re

from pipeline.benchmarks.base import Benchmark, Row, shown, text_in
from pipeline.records import Question

_LABELS = ("A", "B", "C", "D")


def expert_question(row: Row, default_id: str) -> Question:
    """Reads a row whose question text ends with the options A to D.

    Args:
        row: The row; columns `question` and `answer` (a letter, large or small).
        default_id: The question's id.

    Returns:
        The question, its text as it is.

    Raises:
        ValueError: If a column holds no text, the answer is none of the letters, or the text doesn't name all four.
    """
    text, gold = text_in(row, "question").strip(), text_in(row, "answer").strip().upper()
    if gold not in _LABELS:
        raise ValueError(f"column 'answer' must hold one letter of A to D, got {shown(row['answer'])}")
    missing = [label for label in _LABELS if not re.search(rf"(?<!\w){label}(?!\w)", text, re.IGNORECASE)]
    if missing:
        raise ValueError(f"column 'question' must list the options A to D, but names no {', '.join(missing)}")
    return Question(id=default_id, text=text, kind="choice", gold=gold, labels=_LABELS)


GPQA_DIAMOND = Benchmark(
    name="gpqa_diamond",
    hub_id="fingertap/GPQA-Diamond",
    file="gpqa_diamond.parquet",
    kinds=("choice",),
    columns=("question", "answer"),
    to_question=expert_question,
    max_new_tokens=8192,
)
