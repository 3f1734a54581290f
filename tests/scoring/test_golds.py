r"""Every gold of the real benchmarks is right however it is written, and what is not the gold is wrong."""

from collections.abc import Callable
from itertools import cycle

import pytest

from pipeline.records import Question
from pipeline.scoring import grade
from realdata import real_questions

NUMBERS = ("gsm8k", "aime24", "aime25")
CHOICES = ("arc_easy", "arc_challenge", "medqa")

NUMBER_FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda gold: gold,
    "commas": lambda gold: f"{float(gold):,.10g}" if "." in gold else f"{int(gold):,}",
    "LaTeX commas": lambda gold: f"{int(float(gold)):,}".replace(",", "{,}") if "." not in gold else gold,
    "spaced thousands": lambda gold: f"{int(float(gold)):,}".replace(",", r"\,") if "." not in gold else gold,
    "dollars": lambda gold: rf"\${gold}",
    "bare dollars": lambda gold: f"${gold}",
    "mathematics": lambda gold: f"${gold}$",
    "decimals": lambda gold: gold if "." in gold else f"{gold}.00",
    "full stop": lambda gold: f"{gold}.",
    "unit": lambda gold: f"{gold} dollars",
    "short unit": lambda gold: f"{gold} cm",
    "unit in text": lambda gold: rf"{gold}\text{{ hours}}",
    "spaced unit": lambda gold: rf"{gold}\,\text{{cm}}^2",
    "percent": lambda gold: rf"{gold}\%",
    "text": lambda gold: rf"\text{{{gold}}}",
    "bold": lambda gold: rf"\mathbf{{{gold}}}",
    "underlined": lambda gold: rf"\underline{{{gold}}}",
    "coloured": lambda gold: rf"\textcolor{{red}}{{{gold}}}",
    "quoted": lambda gold: f"`{gold}`",
    "foreign unit": lambda gold: f"{gold}\\text{{ pi\u00f1atas}}",
    "degrees": lambda gold: rf"{gold}\degree",
    "trailing space": lambda gold: rf"{gold}\quad",
    "sentence": lambda gold: f"The answer is {gold}",
    "text with unit": lambda gold: rf"\text{{{gold} apples}}",
    "equation": lambda gold: f"x = {gold}",
    "leading zeros": lambda gold: gold if gold.startswith("-") else f"0{gold}",
}

CHOICE_FORMS: dict[str, Callable[[str, str], str]] = {
    "letter": lambda label, text: label,
    "brackets": lambda label, text: f"({label})",
    "text": lambda label, text: rf"\text{{{label}}}",
    "text in brackets": lambda label, text: rf"\text{{({label})}}",
    "bold": lambda label, text: rf"\mathbf{{{label}}}",
    "small": lambda label, text: f"{label.lower()}.",
    "mathematics": lambda label, text: f"${label}$",
    "markdown": lambda label, text: f"**{label}**",
    "named": lambda label, text: f"Option {label}",
    "with its text": lambda label, text: f"{label}. {text}",
    "brackets and text": lambda label, text: f"({label}) {text}",
    "text in brackets after it": lambda label, text: f"{label} ({text})",
    "dash": lambda label, text: f"{label} \u2014 {text}",
    "underlined": lambda label, text: rf"\underline{{{label}}}",
    "coloured": lambda label, text: rf"\textcolor{{red}}{{{label}}}",
    "quoted": lambda label, text: f"'{label}'",
    "display": lambda label, text: rf"\[{label}\]",
    "sentence": lambda label, text: f"{label} is the correct answer",
    "one bracket": lambda label, text: f"{label}) {text}",
    "colon": lambda label, text: f"{label}: {text}",
    "all in text": lambda label, text: rf"\text{{{label}. {text}}}",
}


def failures(questions: tuple[Question, ...], answer: Callable[[Question], str], *, correct: bool) -> list[str]:
    """Questions that are not graded as they should be when the answer is boxed."""
    wrong = []
    for question in questions:
        text = rf"\boxed{{{answer(question)}}}"
        if grade(question, text, truncated=False).correct is not correct:
            wrong.append(f"{question.id} (gold {question.gold}): {text}")
    return wrong


def option_text(question: Question, label: str) -> str:
    lines = [line for line in question.text.splitlines() if line.startswith(f"{label}. ")]
    return lines[-1][3:]


@pytest.mark.parametrize("form", NUMBER_FORMS)
@pytest.mark.parametrize("task", NUMBERS)
def test_every_number_is_right_however_it_is_written(task: str, form: str) -> None:
    write = NUMBER_FORMS[form]
    assert failures(real_questions(task), lambda question: write(question.gold), correct=True) == []


@pytest.mark.parametrize("form", CHOICE_FORMS)
@pytest.mark.parametrize("task", CHOICES)
def test_every_letter_is_right_however_it_is_written(task: str, form: str) -> None:
    def write(question: Question) -> str:
        return CHOICE_FORMS[form](question.gold, option_text(question, question.gold))

    assert failures(real_questions(task), write, correct=True) == []


@pytest.mark.parametrize("task", NUMBERS)
def test_another_number_is_wrong_for_every_question(task: str) -> None:
    questions = real_questions(task)
    assert failures(questions, lambda question: f"{float(question.gold) + 1:.10g}", correct=False) == []
    assert failures(questions, lambda question: f"1{question.gold.lstrip('-')}", correct=False) == []


@pytest.mark.parametrize("task", CHOICES)
def test_every_other_option_is_wrong_for_every_question(task: str) -> None:
    forms = cycle(CHOICE_FORMS.values())

    def write(question: Question) -> str:
        other = next(label for label in question.labels if label != question.gold)
        return next(forms)(other, option_text(question, other))

    assert failures(real_questions(task), write, correct=False) == []


@pytest.mark.parametrize("task", NUMBERS + CHOICES)
def test_every_gold_that_is_not_boxed_counts_leniently_and_not_strictly(task: str) -> None:
    scores = [(q, grade(q, f"So the answer is {q.gold}.", truncated=False)) for q in real_questions(task)]
    assert [question.id for question, score in scores if score.correct or not score.correct_lenient] == []


@pytest.mark.parametrize(("task", "rows"), [("arc_easy", 2376), ("arc_challenge", 1172)])
def test_rows_with_three_or_five_options_or_numeric_labels_are_all_there(task: str, rows: int) -> None:
    questions = real_questions(task)
    assert len(questions) == rows
    assert {len(question.labels) for question in questions} == {3, 4, 5}
    assert all("".join(question.labels) == "ABCDE"[: len(question.labels)] for question in questions)
    beyond = [q.id for q in questions if grade(q, rf"\boxed{{{'ABCDEF'[len(q.labels)]}}}", truncated=False).correct]
    assert beyond == []
