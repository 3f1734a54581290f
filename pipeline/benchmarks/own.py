"""Questions of users' own: one row each, with the columns of `COLUMNS`, in a file of JSON lines or in Parquet.

Everything is checked, because nobody else has: what is wrong in a row ends the run before it starts. A column that
holds null, an empty text or an empty list counts as absent.
"""

from __future__ import annotations

import builtins
import re
import symtable
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, get_args

from pipeline.benchmarks.base import Row, letters_for, on_one_line, shown, text_in, texts_in, with_options
from pipeline.records import Kind, Question

COLUMNS = ("question", "answer", "kind", "choices", "tests", "entry_point", "id")
"""The columns that a row may have; the first three it must have."""

_ONLY_FOR: dict[str, Kind] = {"choices": "choice", "tests": "code", "entry_point": "code"}
_COMMAND = re.compile(r"\\[A-Za-z]+|(?<=[0-9])[eE](?=[-+]?[0-9])")
_MAX_NUMBER_CHARS = 100
# What looks like a number and has no value: 0,5 outside of brackets, where it may be a pair; 1.2.3; 1 2 3; 1/0.
_THOUSANDS = re.compile(r"(?<![0-9])[0-9]{1,3}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)(?![0-9])|[0-9]+ (?=[0-9]+\s?/\s?[0-9])")
_IN_BRACKETS = re.compile(r"(?:\\left|[\\$])*[(\[{]")
_NO_VALUE = re.compile(
    r"[0-9]\.[0-9]*\.|[0-9]\s+[0-9.]|/\s*(?=[0.]*0)0*\.?0*(?![0-9.])"
    r"|\\[dt]?frac(?:\s*\{[^{}]*\}\s*\{\s*0+\.?0*\s*\}|\s*[0-9]\s*0)"
)


def own_question(row: Row, default_id: str) -> Question:
    """Reads a row of a user's file.

    Args:
        row: The row. `kind` is number, choice or code. `choices` holds the options' texts of a choice question, whose
            `answer` is a letter or an option's text. For code `answer` is a program that solves the task, `tests` one
            that calls its function, and `entry_point` that function's name.
        default_id: The question's id if the row has none.

    Returns:
        The question.

    Raises:
        ValueError: If a column is unknown, missing, of the wrong kind of question, or doesn't hold what it should.
    """
    _check_columns(row)
    given = {column: value for column, value in row.items() if not _is_absent(value)}
    kind = given.get("kind")
    if kind not in get_args(Kind):
        raise ValueError(f"column 'kind' must be {', '.join(get_args(Kind))}, got {shown(kind)}")
    astray = [column for column, only in _ONLY_FOR.items() if column in given and kind != only]
    if astray:
        raise ValueError(f"column {astray[0]!r} is for {_ONLY_FOR[astray[0]]} questions, this one is of kind {kind}")
    name = text_in(_with_digits(given, "id"), "id").strip() if "id" in given else default_id
    return _READERS[kind](_with_digits(given, "answer"), name)


def _check_columns(row: Row) -> None:
    for column in row:
        if column not in COLUMNS:
            near = get_close_matches(str(column), COLUMNS, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"column {shown(column)} is unknown{hint}; allowed: {', '.join(COLUMNS)}")


def _is_absent(value: object) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _with_digits(row: Row, column: str) -> Row:
    """The row with a number in a column as its text: `"answer": 18` is as clear as `"answer": "18"`."""
    value = row.get(column)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {**row, column: str(value)} if is_number else row


def _number(row: Row, name: str) -> Question:
    gold = text_in(row, "answer").strip()
    has_value = re.search(r"[0-9]|\\pi(?![A-Za-z])", gold)
    has_words = re.search(r"[^\W\d_]", _COMMAND.sub("", gold))
    if not has_value or has_words or len(gold) > _MAX_NUMBER_CHARS or _lacks_value(gold):
        allowed = (
            rf"a number without words, such as 18, 2,125, 0.5 or \frac{{1}}{{2}}, a pair (1, 2) or a ratio 3:2, "
            f"of up to {_MAX_NUMBER_CHARS} characters"
        )
        raise ValueError(f"column 'answer' must hold {allowed}, got {shown(gold)}")
    return Question(id=name, text=text_in(row, "question").strip(), kind="number", gold=gold)


def _lacks_value(gold: str) -> bool:
    rest = _THOUSANDS.sub("0", gold)
    return bool(_NO_VALUE.search(rest) or (re.search("[0-9],[0-9]", rest) and not _IN_BRACKETS.match(gold)))


def _choice(row: Row, name: str) -> Question:
    options = [on_one_line(option) for option in texts_in(row.get("choices"), "column 'choices'")]
    if len(set(options)) < len(options):
        twice = next(option for option in options if options.count(option) > 1)
        raise ValueError(f"column 'choices' holds {shown(twice)} twice")
    labels = letters_for(options)
    return Question(
        id=name,
        text=with_options(text_in(row, "question"), options),
        kind="choice",
        gold=_chosen(on_one_line(text_in(row, "answer")), dict(zip(labels, options, strict=True))),
        labels=labels,
    )


def _chosen(answer: str, options: dict[str, str]) -> str:
    """The label that an answer means: it is a label, or an option's text."""
    meant = {label for label, option in options.items() if answer in (label, label.lower(), option)}
    if not meant:
        raise ValueError(f"answer {shown(answer)} is none of the choices; give {', '.join(options)} or a choice's text")
    if len(meant) > 1:
        raise ValueError(
            f"answer {shown(answer)} is one choice's letter and another's text; give a letter that is no choice's text"
        )
    return meant.pop()


def _code(row: Row, name: str) -> Question:
    text, gold, tests = (text_in(row, column) for column in ("question", "answer", "tests"))
    entry_point = _entry_point(row, _wanted(tests))
    if entry_point not in _defined(_symbols(gold, "answer")):
        raise ValueError(f"column 'answer' must define the entry point {entry_point!r}")
    # The tests will call the function by its name, so a question that doesn't tell the name can't be answered.
    told = re.search(rf"\b{re.escape(entry_point)}\b", text)
    asked = text.strip() if told else f"{text.strip()}\n\nThe function's name must be {entry_point}."
    return Question(id=name, text=asked, kind="code", gold=gold, tests=tests, entry_point=entry_point)


def _entry_point(row: Row, wanted: set[str]) -> str:
    """The function that the tests want of the answer: the one that is named, or the only one it can be."""
    if "entry_point" in row:
        named = text_in(row, "entry_point").strip()
        if named not in wanted:
            raise ValueError(f"column 'tests' must call the entry point {named!r}, and must not define it")
        return named
    candidates = sorted(wanted - set(dir(builtins)))
    if len(candidates) != 1:
        found = ", ".join(candidates) or "none"
        raise ValueError(f"give column 'entry_point': the names that 'tests' uses and doesn't define are {found}")
    return candidates[0]


def _wanted(tests: str) -> set[str]:
    """The names that a program uses and defines nowhere, those of Python's own among them."""
    scopes = [_symbols(tests, "tests")]
    defined, used = _defined(scopes[0]), set()
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        is_top = scope.get_type() == "module"
        used |= {s.get_name() for s in scope.get_symbols() if s.is_referenced() and (is_top or s.is_global())}
    return used - defined


def _defined(top: symtable.SymbolTable) -> set[str]:
    """The names that a program's top level defines."""
    return {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}


def _symbols(program: str, column: str) -> symtable.SymbolTable:
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes such as '\w', which still work
            return symtable.symtable(program, column, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"column {column!r} must hold a Python program: {error}") from error


_READERS: dict[Any, Callable[[Row, str], Question]] = {"number": _number, "choice": _choice, "code": _code}
