"""Code in the schema of HumanEval+ (Chen et al., 2021; Liu et al., 2023): complete a function, checked by tests."""

from __future__ import annotations

from pipeline.benchmarks.base import Row, text_in
from pipeline.records import Question

_INSTRUCTION = "Complete this Python function so that it does what its description says."


def function_question(row: Row, default_id: str) -> Question:
    """Reads a row with a function's head, its reference body and a `check` function.

    Args:
        row: The row; columns `task_id`, `prompt`, `canonical_solution`, `entry_point` and `test`.
        default_id: Not used: the rows have ids.

    Returns:
        The question; its gold is the whole reference function, its tests end with the call of `check`.

    Raises:
        ValueError: If a column holds no text, or the prompt doesn't define the entry point.
    """
    prompt, entry_point = text_in(row, "prompt"), text_in(row, "entry_point").strip()
    if f"def {entry_point}(" not in prompt:
        raise ValueError(f"column 'prompt' must define the entry point {entry_point!r}")
    return Question(
        id=text_in(row, "task_id").strip(),
        text=f"{_INSTRUCTION}\n\n{prompt.strip()}",
        kind="code",
        gold=prompt + text_in(row, "canonical_solution"),
        tests=f"{text_in(row, 'test')}\ncheck({entry_point})",
        entry_point=entry_point,
    )


COLUMNS = ("task_id", "prompt", "canonical_solution", "entry_point", "test")
"""The columns that `function_question` reads."""
