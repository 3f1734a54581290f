"""From a command line to a question: read and checked like a row of a user's own file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from pipeline.config import Method
from pipeline.records import Kind

if TYPE_CHECKING:
    from pipeline.records import Question

METHODS: tuple[Method, ...] = get_args(Method)
KINDS: tuple[Kind, ...] = get_args(Kind)
WORDS = {
    "column 'answer'": "--gold",
    "answer ": "--gold ",
    "column 'choices'": "--choices",
    "there must be": "--choices: there must be",
    "column 'question'": "the question",
}
"""How what is wrong with a row begins, and how that is said here."""


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
    known = kind_of(kind, choices)
    if (known == "choice") != bool(choices):
        need = "needs the options" if known == "choice" else "has no options; leave --choices and --choice out"
        raise ValueError(f"--kind {known} {need}: --choices A,B,... or --choice A --choice B ...")
    if not id.strip():
        raise ValueError(f"--question-id is {id!r}; give some word, or leave the flag out")
    if known == "code" and gold is not None:
        raise ValueError(
            "--gold can't be checked with --kind code, which takes tests; eval.py --task FILE has them run"
        )
    try:
        return _read(asked, known, choices, gold, id)
    except ValueError as error:
        raise ValueError(_in_flags(str(error))) from error


def kind_of(kind: str | None, choices: Sequence[str]) -> Kind:
    """The kind that is asked for.

    Raises:
        ValueError: It is unknown.
    """
    name = kind or ("choice" if choices else "number")
    for known in KINDS:
        if name == known:
            return known
    raise ValueError(f"--kind is {kind!r}; allowed: {', '.join(KINDS)}")


def _in_flags(message: str) -> str:
    """What is wrong with a row, said of the flags that it came from."""
    start = next((start for start in WORDS if message.startswith(start)), "")
    return WORDS.get(start, "") + message.removeprefix(start)


def _read(text: str, kind: Kind, choices: Sequence[str], gold: str | None, id: str) -> Question:
    """Reads a question as a row of a file is read; one without a gold needs no more than itself."""
    from pipeline.benchmarks.base import letters_for, on_one_line, text_in, texts_in, with_options
    from pipeline.benchmarks.own import own_question
    from pipeline.records import Question

    row = {"question": text, "kind": kind, "choices": list(choices), "answer": gold}
    if gold is not None:
        return own_question(row, id)
    asked = text_in(row, "question").strip()
    options = [on_one_line(option) for option in texts_in(row["choices"], "column 'choices'")]
    if not options:
        return Question(id=id, text=asked, kind=kind, gold="")
    if len(set(options)) < len(options):
        raise ValueError(f"column 'choices' holds an option twice: {', '.join(options)}")
    return Question(id=id, text=with_options(asked, options), kind=kind, gold="", labels=letters_for(options))


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
