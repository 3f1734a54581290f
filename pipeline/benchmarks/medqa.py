"""MedQA (Jin et al., 2021): cases from medical exams. The sample of 300 that the paper uses, which is a file only."""

from __future__ import annotations

from pipeline.benchmarks.base import Benchmark, Row, letters_for, on_one_line, text_in, texts_in, with_options
from pipeline.records import Question


def case_question(row: Row, default_id: str) -> Question:
    """Reads a row whose question text lists the options too, once or several times; here they are listed once.

    Args:
        row: The row; columns `question`, `options` (each "A. text", in order) and `answer` (the right option's text).
        default_id: The question's id.

    Returns:
        The question; its gold is the letter of the option whose text is the answer.

    Raises:
        ValueError: If a column doesn't hold what it should, or the answer is not the text of exactly one option.
    """
    listed, answer = texts_in(row.get("options"), "options"), on_one_line(text_in(row, "answer"))
    labels = letters_for(listed)
    if any(not option.startswith(f"{label}. ") for label, option in zip(labels, listed, strict=True)):
        raise ValueError(f"options must start with 'A. ', 'B. ', ... in order, got {', '.join(listed)}")
    options = [on_one_line(option[3:]) for option in listed]
    if options.count(answer) != 1:
        raise ValueError(f"the answer {answer!r} must be the text of exactly one option: {', '.join(options)}")
    stem, _, _ = text_in(row, "question").partition("\n" + "\n".join(row["options"]))
    return Question(
        id=default_id,
        text=with_options(stem, options),
        kind="choice",
        gold=labels[options.index(answer)],
        labels=labels,
    )


MEDQA = Benchmark(
    name="medqa",
    file="medqa.parquet",
    kinds=("choice",),
    columns=("question", "options", "answer"),
    to_question=case_question,
    max_new_tokens=4096,
)
