r"""Grades one answer: strictly by what is boxed last, leniently by the last number or letter if nothing is boxed.

Thoughts are passed over, but for the lenient reading of a text that has nothing after them.
"""

from __future__ import annotations

from fractions import Fraction

from pipeline.records import Question, Score
from pipeline.scoring.choices import label_of
from pipeline.scoring.expressions import equal_expressions
from pipeline.scoring.extract import boxed, final_part, last_letter, last_number
from pipeline.scoring.values import plain_values, same_writing


def grade(question: Question, text: str, *, truncated: bool) -> Score:
    r"""Grades the last agent's text.

    Numbers and expressions are compared by value, choices by label. The time is bounded for any text, in any thread.

    Args:
        question: The question, of any kind but code, which `programs` grades.
        text: What the last agent wrote, any string.
        truncated: Whether the text ended at the token budget.

    Returns:
        The score. Its reason is about the strict answer: `correct`; `wrong`; `not_an_option` if what is boxed names
        none of the row's options; if nothing is boxed after the thoughts `truncated` or `no_answer`.
    """
    assert question.kind != "code", "programs are run, not read"
    said = final_part(text)
    content = boxed(said)
    if content is not None:
        return _grade_boxed(question, content)
    guess = _guess(question, said) or _guess(question, text) or ""
    return Score(
        correct=False,
        correct_lenient=bool(guess) and _is_right(question, guess),
        prediction="",
        prediction_lenient=guess,
        reason="truncated" if truncated else "no_answer",
    )


def _guess(question: Question, text: str) -> str | None:
    return last_letter(text, question.labels) if question.kind == "choice" else last_number(text)


def _grade_boxed(question: Question, content: str) -> Score:
    label = label_of(content, _options(question)) if question.kind == "choice" else None
    prediction = label or content
    right = _is_right(question, prediction)
    off_list = question.kind == "choice" and label not in question.labels
    return Score(
        correct=right,
        correct_lenient=right,
        prediction=prediction,
        prediction_lenient=prediction,
        reason="correct" if right else "not_an_option" if off_list else "wrong",
    )


def _options(question: Question) -> dict[str, str]:
    """The options' texts by label, as far as the question's text lists them: one a line, last of all."""
    options = dict.fromkeys(question.labels, "")
    for line in question.text.splitlines():
        label, dot, text = line.partition(". ")
        if dot and label in options:
            options[label] = text
    return options


def _is_right(question: Question, prediction: str) -> bool:
    return prediction == question.gold if question.kind == "choice" else same_value(question.gold, prediction)


def same_value(gold: str, answer: str) -> bool:
    """Whether two written numbers or expressions have the same value.

    Args:
        gold: The right answer.
        answer: Any string.

    Returns:
        True if a plain reading of both is equal, if they are written the same (a gold may be a pair or a ratio, which
        has no value), or else if math-verify finds the expressions equal.
    """
    golds, answers = plain_values(gold), plain_values(answer)
    if set(golds) & set(answers):
        return True
    # Two plain numbers that differ, differ; only a gold like 1/3 may still be met by a rounded decimal (0.333333).
    if golds and answers and all(_is_decimal(value) for value in golds):
        return False
    return same_writing(gold, answer) or equal_expressions(gold, answer)


def _is_decimal(value: Fraction) -> bool:
    """Whether finitely many decimals write the value: its denominator has no prime factor but 2 and 5."""
    return pow(10, value.denominator.bit_length(), value.denominator) == 0
