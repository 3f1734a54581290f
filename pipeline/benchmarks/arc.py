"""ARC (Clark et al., 2018): science questions from school exams, with three to five options."""

from __future__ import annotations

from pipeline.benchmarks.base import Benchmark, Row, letters_for, text_in, texts_in, with_options
from pipeline.records import Question


def choice_question(row: Row, default_id: str) -> Question:
    """Reads a row with options labelled A, B, ... or 1, 2, ...; both are shown and graded as letters.

    Args:
        row: The row; columns `id`, `question`, `choices` (`text` and `label` lists) and `answerKey`.
        default_id: Not used: the rows have ids.

    Returns:
        The question; its text ends with one option a line.

    Raises:
        ValueError: If a column doesn't hold what it should, or the answer key is no option of the row.
    """
    choices = row.get("choices")
    if not isinstance(choices, dict):
        raise ValueError("column 'choices' must hold 'text' and 'label' lists")
    options = texts_in(choices.get("text"), "choices.text")
    letters = _letters(texts_in(choices.get("label"), "choices.label"))
    gold = letters.get(text_in(row, "answerKey").strip())
    if gold is None:
        raise ValueError(f"answerKey {row['answerKey']!r} is not among the options {', '.join(letters)}")
    if len(options) != len(letters):
        raise ValueError(f"there are {len(options)} option texts for {len(letters)} labels")
    return Question(
        id=text_in(row, "id").strip(),
        text=with_options(text_in(row, "question"), options),
        kind="choice",
        gold=gold,
        labels=tuple(letters.values()),
    )


def _letters(labels: list[str]) -> dict[str, str]:
    """The row's own labels, in order, and the letters they are shown as."""
    letters = letters_for(labels)
    numbers = [str(number) for number in range(1, len(labels) + 1)]
    if labels not in (list(letters), numbers):
        raise ValueError(f"labels must be A, B, ... or 1, 2, ... in order, got {', '.join(labels)}")
    return dict(zip(labels, letters, strict=True))


_COLUMNS = ("id", "question", "choices", "answerKey")

ARC_EASY = Benchmark(
    name="arc_easy",
    hub_id="allenai/ai2_arc",
    config="ARC-Easy",
    file="arc_easy.parquet",
    kinds=("choice",),
    columns=_COLUMNS,
    to_question=choice_question,
    max_new_tokens=2048,
)

ARC_CHALLENGE = Benchmark(
    name="arc_challenge",
    hub_id="allenai/ai2_arc",
    config="ARC-Challenge",
    file="arc_challenge.parquet",
    kinds=("choice",),
    columns=_COLUMNS,
    to_question=choice_question,
    max_new_tokens=2048,
)
