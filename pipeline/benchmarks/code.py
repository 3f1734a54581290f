"""Code: HumanEval+ and MBPP+ (Liu et al., 2023), Python functions that have to pass the row's tests.

HumanEval+ asks to complete a function from its head and docstring; MBPP+ describes one and shows a few of its tests.
"""

from __future__ import annotations

import ast
import warnings

from pipeline.benchmarks.base import Benchmark, Row, text_in, texts_in
from pipeline.records import Question

_COMPARED = "        exact_match = exp == (out is not None)\n"
_MENDED = {
    "HumanEval/32": (
        "assert _poly(*candidate(*inp), inp) <= 0.0001",
        "assert abs(_poly(*inp, candidate(*inp))) <= 0.0001",
    ),
    **dict.fromkeys(("Mbpp/737", "Mbpp/787", "Mbpp/794"), (_COMPARED, f"{_COMPARED}    assert exact_match\n")),
}
"""Tests that fail on the data set's own solution (a root is unpacked as a list) or pass on any program (what was
compared is not asserted), and what they were meant to be."""
_COMPLETE = "Complete this Python function so that it does what its description says."
_EXAMPLES = "Your function must pass tests such as these:"


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
    task_id, test = text_in(row, "task_id").strip(), text_in(row, "test")
    return Question(
        id=task_id,
        text=f"{_COMPLETE}\n\n{prompt.strip()}",
        kind="code",
        gold=prompt + text_in(row, "canonical_solution"),
        tests=f"{_mended(task_id, test)}\ncheck({entry_point})",
        entry_point=entry_point,
    )


def described_question(row: Row, default_id: str) -> Question:
    """Reads a row with a function's description, its reference code, a few tests and the program of all tests.

    Args:
        row: The row; columns `task_id`, `prompt`, `code`, `test_imports`, `test_list` and `test`.
        default_id: Not used: the rows have numbers, which become `Mbpp/NUMBER`, as the data set's makers write them.

    Returns:
        The question; its text shows the tests of `test_list`, which tell the function's name and arguments. What the
        tests import stands before both the gold and the tests.

    Raises:
        ValueError: If a column doesn't hold what it should, or not exactly one function of `code` is tested.
    """
    number = row.get("task_id")
    if not isinstance(number, int):
        raise ValueError(f"column 'task_id' must hold a whole number, got {number!r}")
    code, examples = text_in(row, "code"), texts_in(row.get("test_list"), "test_list")
    imports = texts_in(row.get("test_imports"), "test_imports")
    return Question(
        id=f"Mbpp/{number}",
        text="\n".join([text_in(row, "prompt").strip(), "", _EXAMPLES, "", *imports, *examples]),
        kind="code",
        gold="\n".join([*imports, code]),
        tests="\n".join([*imports, _mended(f"Mbpp/{number}", text_in(row, "test"))]),
        entry_point=_tested_function(code, examples),
    )


def _mended(task_id: str, test: str) -> str:
    return test.replace(*_MENDED[task_id]) if task_id in _MENDED else test


def _tested_function(code: str, examples: list[str]) -> str:
    """The one function of a program that the examples call; the other functions are its helpers."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes such as '\w', which are no concern of users
            defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
            calls = [node.func for node in ast.walk(ast.parse("\n".join(examples))) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"columns 'code' and 'test_list' must hold Python: {error}") from error
    tested = defined & {function.id for function in calls if isinstance(function, ast.Name)}
    if len(tested) != 1:
        found = ", ".join(sorted(tested)) or "none"
        raise ValueError(f"the tests of 'test_list' must call exactly one function of 'code', they call {found}")
    return tested.pop()


HUMANEVALPLUS = Benchmark(
    name="humanevalplus",
    hub_id="evalplus/humanevalplus",
    file="humanevalplus.parquet",
    kinds=("code",),
    columns=("task_id", "prompt", "canonical_solution", "entry_point", "test"),
    to_question=function_question,
    max_new_tokens=4096,
)

MBPPPLUS = Benchmark(
    name="mbppplus",
    hub_id="evalplus/mbppplus",
    file="mbppplus.parquet",
    kinds=("code",),
    columns=("task_id", "code", "prompt", "test_imports", "test_list", "test"),
    to_question=described_question,
    max_new_tokens=4096,
)
