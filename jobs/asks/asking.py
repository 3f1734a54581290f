"""From a command line to a question: read and checked like a row of a user's own file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from pipeline.config import Method
from pipeline.records import Kind

if TYPE_CHECKING:
    from pipeline.records import Question

METHODS = get_args(Method)
KINDS = get_args(Kind)
WORDS = {"column 'answer'": "--gold", "column 'choices'": "--choices", "column 'question'": "the question"}
"""How the columns of a row are called here."""


def question_of(text: str, *, kind: str | None, choices: Sequence[str], gold: str | None, id: str) -> Question:
    """Makes a question of what was given.

    Args:
        text: What is asked; `-` reads it from stdin.
        kind: number, choice or code; none is choice where there are choices, else number.
        choices: The options of a choice question.
        gold: The right answer, if it is known.
        id: What the question is called; its sampling noise is keyed by that.

    Returns:
        The question; without a gold its own is empty.

    Raises:
        ValueError: Something in it can't be; one line.
    """
    asked = (sys.stdin.read() if text == "-" else text).strip()
    if not asked:
        raise ValueError("the question is empty; give it in quotes, or - to read it from stdin")
    known = kind or ("choice" if choices else "number")
    if known not in KINDS:
        raise ValueError(f"--kind is {known!r}; allowed: {', '.join(KINDS)}")
    if (known == "choice") != bool(choices):
        need = "needs the options" if known == "choice" else "has no options; leave --choices and --choice out"
        raise ValueError(f"--kind {known} {need}: --choices A,B,... or --choice A --choice B ...")
    if not id.strip():
        raise ValueError(f"--question-id is {id!r}; give some word, or leave the flag out")
    return _code(asked, gold, id) if known == "code" else _graded(asked, known, choices, gold, id)


def _code(text: str, gold: str | None, id: str) -> Question:
    from pipeline.records import Question

    if gold is not None:
        raise ValueError(
            "--gold can't be checked with --kind code, which would need tests; ask a file of eval.py --task"
        )
    return Question(id=id, text=text, kind="code", gold="")


def _graded(text: str, kind: str, choices: Sequence[str], gold: str | None, id: str) -> Question:
    from dataclasses import replace

    from pipeline.benchmarks.own import own_question

    right = ("A" if choices else "0") if gold is None else gold  # a row has to have one
    try:
        question = own_question({"question": text, "kind": kind, "choices": list(choices), "answer": right}, id)
    except ValueError as error:
        message = str(error)
        for column, flag in WORDS.items():
            message = message.replace(column, flag)
        raise ValueError(
            message.replace("answer ", "--gold ", 1) if message.startswith("answer ") else message
        ) from error
    return question if gold is not None else replace(question, gold="")


def methods_of(text: str) -> tuple[Method, ...]:
    """The methods that `--methods` asks for.

    Raises:
        ValueError: One of them is unknown, or there twice.
    """
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in METHODS or names.count(name) > 1]
    if wrong:
        raise ValueError(f"--methods is {text!r}; allowed: {', '.join(METHODS)}, each once, with commas between them")
    return tuple(name for name in METHODS if name in names)
